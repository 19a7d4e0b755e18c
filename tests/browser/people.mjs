// What people do in the console, in as many words as a test wants to spend on it.

import { isOn, shows, visitor } from './chromium.mjs';

export const passwordOf = (login) => `correct horse of ${login}`;

// Signs up, and is told to log in.
export async function signUp(page, login, name = '') {
  await page.goto('/sign-up');
  await page.getByLabel('Login name').fill(login);
  await page.getByLabel('Your name').fill(name);
  await page.getByLabel('New password').fill(passwordOf(login));
  await page.getByRole('button', { name: 'Sign up' }).click();
  await isOn(page, 'Now log in');
}

// Fills the log-in form and sends it; what comes of it is the test's to see.
export async function tryLogIn(page, login, password = passwordOf(login)) {
  await page.goto('/log-in');
  await page.getByLabel('Login name').fill(login);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
}

export async function logIn(page, login) {
  await tryLogIn(page, login);
  await page.getByRole('button', { name: 'Log out' }).waitFor();
}

// Somebody with an account of their own, logged in.
export async function owner(t, browser, gateway, login, options, name = login) {
  const page = await visitor(t, browser, gateway, options);
  await signUp(page, login, name);
  await logIn(page, login);
  return page;
}

// Somebody who comes by a one-time link, logged in.
export async function joined(t, browser, gateway, login, link, options, name = login) {
  const page = await visitor(t, browser, gateway, options);
  await page.goto(link);
  await page.getByLabel('Login name').fill(login);
  await page.getByLabel('Your name').fill(name);
  await page.getByLabel('New password').fill(passwordOf(login));
  await page.getByRole('button', { name: 'Join and log in' }).click();
  await page.getByRole('button', { name: 'Log out' }).waitFor();
  return page;
}

export const operator = (t, browser, gateway, login, options, name) =>
  joined(t, browser, gateway, login, gateway.operatorLink, options, name);

// Makes a link into one's own account, and returns it as it is shown.
export async function inviteLink(page, role) {
  await page.goto('/settings');
  await page.getByLabel('Role').last().selectOption(role);
  await page.getByRole('button', { name: 'Make a link', exact: true }).click();
  await shows(page, 'Hand this link over now');
  return page.locator('code[data-link]').textContent();
}

// Makes a key under API Keys, and returns it as it is shown this once.
export async function makeKey(page, name, more = {}) {
  await page.goto('/keys');
  const form = page.locator('form').filter({ has: page.getByRole('button', { name: 'Generate New Key' }) });
  await form.getByLabel('Name').fill(name);
  if (more.environment) await form.getByLabel('Environment').selectOption(more.environment);
  if (more.expires) await form.getByLabel('Expires').selectOption(more.expires);
  await form.getByRole('button', { name: 'Generate New Key' }).click();
  await shows(page, 'Copy this key now');
  return page.locator('code[data-copy]').textContent();
}

// The row of a key, with the form that changes it open.
export async function openRow(page, name) {
  const row = page.getByRole('listitem').filter({ has: page.locator('strong', { hasText: name }) });
  await row.locator('summary').first().click();
  return row;
}
