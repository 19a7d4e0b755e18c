// What operators do in the console: accounts, their plans and keys, the trail, and the configuration.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { isOn, launch, shows } from './chromium.mjs';
import { ask, serve, statusWith } from './gateway.mjs';
import { makeKey, operator, owner } from './people.mjs';

const file = { after };
const browser = await launch(file);

const accountOf = async (page) => (await page.getByText(/owner of acct_/).textContent()).match(/acct_\w+/)[0];

// The row of an account, with the forms that change it open.
async function openAccount(page, account) {
  await page.goto('/accounts');
  const row = page.getByRole('listitem').filter({ has: page.locator('code', { hasText: account }) });
  await row.locator('summary').first().click();
  return row;
}

test('an account is suspended and resumed, and its keys with it', async (t) => {
  const gateway = await serve(t);
  const one = await owner(t, browser, gateway, 'one');
  const key = await makeKey(one, 'of one');
  const account = await accountOf(one);
  const root = await operator(t, browser, gateway, 'root');
  assert.equal(await statusWith(gateway, key), 200);

  const row = await openAccount(root, account);
  await row.locator('summary', { hasText: 'Suspend' }).click();
  await row.getByRole('button', { name: 'Suspend the account' }).click();
  await shows(root, /^suspended$/);
  assert.equal(await statusWith(gateway, key), 401);
  // Its people still come in, and see what they had.
  await one.goto('/keys');
  await shows(one, 'of one');

  await (await openAccount(root, account)).getByRole('button', { name: /^Resume/ }).click();
  await shows(root, /^active$/);
  assert.equal(await statusWith(gateway, key), 200);

  await root.getByRole('link', { name: `What changed of ${account}` }).click();
  await isOn(root, 'What changed');
  const trail = await root.getByRole('table').textContent();
  for (const what of ['suspend', 'resume', 'root']) assert.ok(trail.includes(what), trail);
});

test('another plan is in force at once', async (t) => {
  const gateway = await serve(t);
  const one = await owner(t, browser, gateway, 'one');
  const key = await makeKey(one, 'of one');
  const limit = async () => (await ask(gateway, key)).headers.get('x-ratelimit-limit');
  assert.equal(await limit(), '60');
  const root = await operator(t, browser, gateway, 'root');
  const row = await openAccount(root, await accountOf(one));
  await row.getByLabel('Plan').selectOption('pro');
  await row.getByRole('button', { name: 'Save' }).click();
  await root.getByRole('status').waitFor();
  assert.equal(await limit(), '600');
  await root.getByRole('link', { name: 'Plans' }).click();
  await isOn(root, 'Plans');
  await one.goto('/keys');
  await shows(one, /plan pro/);
});

test('an operator makes an account and a key for it', async (t) => {
  const gateway = await serve(t);
  const root = await operator(t, browser, gateway, 'root');
  await root.getByRole('link', { name: 'Accounts' }).first().click();
  await isOn(root, 'Accounts');
  const form = root.locator('#new form');
  await form.getByLabel('Id').fill('acme');
  await form.getByLabel('Plan').selectOption('enterprise');
  await form.getByRole('button', { name: 'Make the account' }).click();
  await root.getByRole('link', { name: 'API Keys of acme' }).click();
  await shows(root, 'You look after account');
  await root.getByLabel('Name').first().fill('made for acme');
  await root.getByRole('button', { name: 'Generate New Key' }).click();
  await shows(root, 'Copy this key now');
  const key = await root.locator('code[data-copy]').textContent();
  const answer = await ask(gateway, key);
  assert.deepEqual([answer.status, answer.headers.get('x-ratelimit-limit')], [200, '6000']);
});

test('a configuration with a problem is refused with its place, and the mended one is taken', async (t) => {
  const gateway = await serve(t);
  const root = await operator(t, browser, gateway, 'root');
  const reload = () => root.getByRole('button', { name: 'Reload' }).click();
  const generation = () => root.locator('dl.facts div', { hasText: 'Generation' }).locator('dd').textContent();
  await root.getByRole('link', { name: 'Config' }).click();
  await isOn(root, 'Config');
  const before = await generation();

  gateway.configure('plans: {gold: {requests_per_minute: 0}}');
  await reload();
  await root.getByRole('alert').waitFor();
  assert.match(await root.getByRole('alert').textContent(), /gateway\.yaml:\d+:\d+.*requests_per_minute/s);
  assert.equal(await generation(), before);

  gateway.configure('plans: {gold: {requests_per_minute: 7, burst: 7}}');
  await reload();
  await shows(root, /^Reloaded:/);
  assert.equal(Number(await generation()), Number(before) + 1);
  await root.getByRole('link', { name: 'Plans' }).click();
  await root.getByRole('rowheader', { name: 'gold' }).waitFor();
});
