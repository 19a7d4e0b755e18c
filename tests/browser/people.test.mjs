// Who comes in, by which way, and what each may see and do.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { isOn, launch, shows, visitor } from './chromium.mjs';
import { atEnd } from './ending.mjs';
import { clockedGateway, serve } from './gateway.mjs';
import { inviteLink, joined, logIn, makeKey, operator, owner, passwordOf, signUp, tryLogIn } from './people.mjs';

const file = { after };
const browser = await launch(file);

const problem = (page) => page.getByRole('alert').textContent();

test('a wrong password is told in the same words as an unknown name', async (t) => {
  const gateway = await serve(t);
  const page = await visitor(t, browser, gateway);
  await signUp(page, 'known');
  const told = [];
  for (const login of ['known', 'unknown']) {
    await tryLogIn(page, login, 'not the right one');
    told.push(await problem(page));
    assert.equal(await page.getByLabel('Login name').inputValue(), login, 'what was typed is kept');
    assert.equal(await page.getByLabel('Password').inputValue(), '', 'and a password is not');
  }
  assert.equal(told[0], told[1]);
  await logIn(page, 'known');
});

test('a taken name is signed up for in the same words as a free one', async (t) => {
  const gateway = await serve(t);
  const told = [];
  for (const password of ['the password of the first', 'the password of the second']) {
    const page = await visitor(t, browser, gateway);
    await page.goto('/sign-up');
    await page.getByLabel('Login name').fill('wanted');
    await page.getByLabel('New password').fill(password);
    await page.getByRole('button', { name: 'Sign up' }).click();
    await isOn(page, 'Now log in');
    told.push(await page.getByRole('main').textContent());
  }
  assert.equal(told[0], told[1]);
  const page = await visitor(t, browser, gateway);
  await tryLogIn(page, 'wanted', 'the password of the second');
  assert.match(await problem(page), /password/);
  await tryLogIn(page, 'wanted', 'the password of the first');
  await page.getByRole('button', { name: 'Log out' }).waitFor();
});

test('a name may be tried ten times a minute, and again when time has passed', async (t) => {
  const gateway = await clockedGateway(t);
  const page = await visitor(t, browser, gateway);
  await signUp(page, 'tried');
  // That was an attempt, too.
  await gateway.advance(60);
  const told = [];
  for (let attempt = 0; attempt < 11; attempt += 1) {
    await tryLogIn(page, 'tried', 'not the right one');
    told.push(await problem(page));
  }
  assert.equal(new Set(told.slice(0, 10)).size, 1);
  assert.notEqual(told[10], told[9]);
  // Not even the right one, until a minute is over.
  await tryLogIn(page, 'tried');
  assert.equal(await problem(page), told[10]);
  await gateway.advance(60);
  await logIn(page, 'tried');
});

test('whoever opens a link joins the account, and the link is used up', async (t) => {
  const gateway = await serve(t);
  const boss = await owner(t, browser, gateway, 'boss');
  const link = await inviteLink(boss, 'admin');
  assert.ok(link.startsWith(`${gateway.console}/link/`), link);
  const admin = await joined(t, browser, gateway, 'newcomer', link);
  await shows(admin, /admin of acct_/);
  await boss.goto('/settings');
  await shows(boss, 'newcomer');

  const late = await visitor(t, browser, gateway);
  await late.goto(link);
  assert.equal(await late.getByRole('button', { name: 'Join and log in' }).count(), 0);
});

test('viewers look, admins make keys, owners say who belongs to the account', async (t) => {
  const gateway = await serve(t);
  const boss = await owner(t, browser, gateway, 'boss');
  await makeKey(boss, 'the key of the account');
  const invited = async (role) => joined(t, browser, gateway, role, await inviteLink(boss, role));
  const [viewer, admin] = [await invited('viewer'), await invited('admin')];

  const may = async (page) => {
    await page.goto('/keys');
    await shows(page, 'the key of the account');
    const isKeeper = await page.getByRole('button', { name: 'Generate New Key' }).count();
    const changes = await page.getByText('Change', { exact: true }).count();
    await page.goto('/settings');
    const isHost = await page.getByRole('button', { name: 'Make a link', exact: true }).count();
    return { isKeeper, changes, isHost };
  };
  assert.deepEqual(await may(viewer), { isKeeper: 0, changes: 0, isHost: 0 });
  assert.deepEqual(await may(admin), { isKeeper: 1, changes: 1, isHost: 0 });
  assert.deepEqual(await may(boss), { isKeeper: 1, changes: 1, isHost: 1 });
  const keyOfAdmin = await makeKey(admin, 'made by the admin');
  assert.match(keyOfAdmin, /^sk-sc-/);
  await viewer.goto('/keys');
  await shows(viewer, 'made by the admin');
});

test('nobody sees anything of another account', async (t) => {
  const gateway = await serve(t);
  const [one, other] = [await owner(t, browser, gateway, 'one'), await owner(t, browser, gateway, 'other')];
  await makeKey(one, 'private to one');
  const account = (await one.getByText(/owner of acct_/).textContent()).match(/acct_\w+/)[0];
  for (const href of await hrefs(other)) {
    await other.goto(href);
    const text = await other.content();
    for (const secret of ['private to one', account]) assert.ok(!text.includes(secret), `${secret} on ${href}`);
  }
});

test('operators see every account, and pages that others do not', async (t) => {
  const gateway = await serve(t);
  const one = await owner(t, browser, gateway, 'one');
  const root = await operator(t, browser, gateway, 'root');
  await root.goto('/settings');
  await shows(root, /one · owner of acct_/);
  const theirs = await hrefs(one);
  // What they alone see, they alone may open.
  const beyond = (await hrefs(root)).filter((path) => !theirs.includes(path));
  assert.ok(beyond.length > 2, beyond.join(' '));
  for (const href of beyond) {
    const answer = await one.goto(href);
    assert.ok([403, 404].includes(answer.status()), `${href} for an owner: ${answer.status()}`);
  }
});

test('who has logged out is nobody', async (t) => {
  const gateway = await serve(t);
  const page = await owner(t, browser, gateway, 'leaver');
  const all = await hrefs(page);
  await page.getByRole('button', { name: 'Log out' }).click();
  await isOn(page, 'Log in');
  for (const href of all) {
    await page.goto(href);
    await isOn(page, 'Log in');
  }
  await page.goBack();
  await isOn(page, 'Log in');
  assert.deepEqual(await page.context().cookies(), []);
});

test('a changed password is the one that counts, and other sessions end', async (t) => {
  const gateway = await serve(t);
  const page = await owner(t, browser, gateway, 'changer');
  const elsewhere = await visitor(t, browser, gateway);
  await logIn(elsewhere, 'changer');
  await page.goto('/settings');
  await page.getByLabel('Current password').fill(passwordOf('changer'));
  await page.getByLabel('New password').fill('another horse altogether');
  await page.getByRole('button', { name: 'Change the password' }).click();
  await shows(page, 'Your password is changed');
  await elsewhere.goto('/keys');
  await isOn(elsewhere, 'Log in');
  await tryLogIn(elsewhere, 'changer');
  assert.match(await problem(elsewhere), /password/);
  await tryLogIn(elsewhere, 'changer', 'another horse altogether');
  await elsewhere.getByRole('button', { name: 'Log out' }).waitFor();
});

test('where sign-up is closed nothing leads to it', async (t) => {
  const gateway = await serve(t, { signUp: 'closed' });
  const page = await visitor(t, browser, gateway);
  await page.goto('/');
  await isOn(page, 'Log in');
  assert.equal(await page.getByRole('link', { name: 'Sign up' }).count(), 0);
  assert.equal((await page.goto('/sign-up')).status(), 404);
});

test('what somebody has smuggled into a page neither runs nor fetches', async (t) => {
  const gateway = await serve(t);
  const context = await browser.newContext({ baseURL: gateway.console });
  atEnd(t, () => context.close());
  const page = await context.newPage();
  await page.goto('/log-in');
  const refused = await page.evaluate(async () => {
    const directives = [];
    const { promise, resolve } = Promise.withResolvers();
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => {
      directives.push(effectiveDirective);
      if (directives.length === 3) resolve();
    });
    const script = document.createElement('script');
    script.textContent = 'globalThis.hasRun = true';
    const style = document.createElement('style');
    style.textContent = 'body { display: none }';
    const image = new Image();
    image.src = 'http://127.0.0.1:9/seen';
    document.body.append(script, style, image);
    await promise;
    return { directives: directives.sort(), hasRun: globalThis.hasRun ?? false };
  });
  assert.deepEqual(refused, { directives: ['img-src', 'script-src-elem', 'style-src-elem'], hasRun: false });
});

// Where the navigation leads.
function hrefs(page) {
  const links = page.getByRole('navigation', { name: 'Pages' }).getByRole('link');
  return links.evaluateAll((all) => all.map((link) => link.getAttribute('href')));
}
