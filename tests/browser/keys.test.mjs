// From nothing to a key that works, and the rest of a key's life, as somebody at a browser sees it.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { comesToShow, launch, shows, visitor } from './chromium.mjs';
import { ask, serve, statusWith } from './gateway.mjs';
import { logIn, makeKey, openRow, owner, signUp } from './people.mjs';

const file = { after };
const browser = await launch(file);
const gateway = await serve(file);

test('from sign-up to a request with the key that was copied', async (t) => {
  const page = await visitor(t, browser, gateway);
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto('/');
  await page.getByRole('link', { name: 'Sign up' }).click();
  await signUp(page, 'ada', 'Ada Lovelace');
  await page.getByRole('link', { name: 'Log in' }).click();
  await logIn(page, 'ada');
  await shows(page, 'Ada Lovelace');

  await page.getByRole('link', { name: 'API Keys' }).click();
  await page.getByLabel('Name').first().fill('analytical engine');
  await page.getByLabel('Environment').selectOption('production');
  await page.getByRole('button', { name: 'Generate New Key' }).click();
  await shows(page, 'Copy this key now');
  await shows(page, 'Never used');
  await page.getByRole('button', { name: 'Copy' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  const key = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(key, /^sk-sc-[0-9A-Za-z]{10}_[0-9A-Za-z]{38}$/);

  const [first, second] = [await ask(gateway, key), await ask(gateway, key)];
  assert.deepEqual([first, second].map(({ status }) => status), [200, 200]);
  assert.deepEqual([first, second].map(({ headers }) => headers.get('x-cache')), ['MISS', 'HIT']);
  const { choices } = await first.json();
  assert.match(choices[0].message.content, /token bucket/);

  await page.getByRole('link', { name: 'API Keys' }).click();
  await comesToShow(page, /Last used/);
  assert.ok(!(await page.content()).includes(key), 'a key is shown once');
});

test('a rotated key has two secrets until the overlap is ended', async (t) => {
  const page = await owner(t, browser, gateway, 'rotator');
  const old = await makeKey(page, 'to be rotated');
  const row = await openRow(page, 'to be rotated');
  await row.getByLabel('The old secret works for').selectOption('1h');
  await row.getByRole('button', { name: 'Rotate' }).click();
  await shows(page, /Its old secret works until/);
  const renewed = await page.locator('code[data-copy]').textContent();
  assert.notEqual(renewed, old);
  assert.deepEqual([await statusWith(gateway, old), await statusWith(gateway, renewed)], [200, 200]);

  await (await openRow(page, 'to be rotated')).getByRole('button', { name: 'End the old secret now' }).click();
  await shows(page, 'Its newest secret alone is valid now.');
  assert.deepEqual([await statusWith(gateway, old), await statusWith(gateway, renewed)], [401, 200]);
});

test('a revoked key is refused, and stays in the list', async (t) => {
  const page = await owner(t, browser, gateway, 'revoker');
  const key = await makeKey(page, 'to be revoked');
  assert.equal(await statusWith(gateway, key), 200);
  const row = await openRow(page, 'to be revoked');
  await row.locator('summary', { hasText: 'Revoke' }).click();
  await row.getByRole('button', { name: 'Revoke for good' }).click();
  await shows(page, 'The key is refused from now on, for good.');
  assert.equal(await statusWith(gateway, key), 401);
  await shows(page, 'to be revoked');
  await shows(page, /^revoked$/);
});

test('a deleted key is refused, and gone from the list', async (t) => {
  const page = await owner(t, browser, gateway, 'deleter');
  const key = await makeKey(page, 'to be deleted');
  assert.equal(await statusWith(gateway, key), 200);
  const row = await openRow(page, 'to be deleted');
  await row.locator('summary', { hasText: 'Delete' }).click();
  await row.getByRole('button', { name: 'Delete for good' }).click();
  await shows(page, 'The key is deleted.');
  assert.equal(await statusWith(gateway, key), 401);
  await shows(page, 'There is none yet.');
});

test('a key is renamed, and its name is text whatever it says', async (t) => {
  const page = await owner(t, browser, gateway, 'renamer');
  await makeKey(page, 'first name');
  const name = '<img src=x onerror="alert(1)"> & \'second\' {{ name }}';
  const row = await openRow(page, 'first name');
  await row.getByLabel('Name', { exact: true }).fill(name);
  await row.getByRole('button', { name: 'Rename' }).click();
  await shows(page, 'The key is renamed.');
  await shows(page, name);
});

test('a form that is refused says why, and keeps what was typed', async (t) => {
  const page = await owner(t, browser, gateway, 'mistaken');
  await page.goto('/keys');
  await page.getByLabel('Name').first().fill('typed with care');
  await page.getByLabel('Environment').selectOption('staging');
  await page.getByLabel('Expires').selectOption('90d');
  await page.getByText('Bind it to addresses or models').click();
  await page.getByLabel('Allowed addresses').fill('10.0.0.0/8 nowhere');
  await page.getByLabel('Allowed models').fill('demo-small*');
  await page.getByRole('button', { name: 'Generate New Key' }).click();
  await page.getByRole('alert').waitFor();
  await shows(page, /nowhere/);
  const typed = async (label) => page.getByLabel(label).first().inputValue();
  const kept = [];
  for (const label of ['Name', 'Environment', 'Expires', 'Allowed addresses', 'Allowed models']) kept.push(await typed(label));
  assert.deepEqual(kept, ['typed with care', 'staging', '90d', '10.0.0.0/8 nowhere', 'demo-small*']);

  // Mended where it stands, it is accepted.
  await page.getByLabel('Allowed addresses').fill('127.0.0.0/8');
  await page.getByRole('button', { name: 'Generate New Key' }).click();
  await shows(page, 'Copy this key now');
  assert.equal(await statusWith(gateway, await page.locator('code[data-copy]').textContent()), 200);
});
