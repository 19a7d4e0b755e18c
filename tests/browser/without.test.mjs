// The console without a script, and without a mouse.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { comesToShow, isOn, launch, shows, tabTo, visitor } from './chromium.mjs';
import { serve, statusWith } from './gateway.mjs';
import { inviteLink, joined, logIn, makeKey, openRow, owner, passwordOf, signUp } from './people.mjs';

const file = { after };
const browser = await launch(file);
const gateway = await serve(file);
const scriptless = { javaScriptEnabled: false };

test('without a script the whole way leads to a key that works', async (t) => {
  const page = await owner(t, browser, gateway, 'scriptless', scriptless);
  const key = await makeKey(page, 'made without a script', { environment: 'staging', expires: '90d' });
  assert.equal(await statusWith(gateway, key), 200);
  await page.goto('/keys');
  await comesToShow(page, /Last used/);

  const row = await openRow(page, 'made without a script');
  await row.getByRole('button', { name: 'Rotate' }).click();
  await shows(page, /Its old secret works until/);
  const renewed = await page.locator('code[data-copy]').textContent();
  assert.equal(await statusWith(gateway, renewed), 200);
  const again = await openRow(page, 'made without a script');
  await again.locator('summary', { hasText: 'Delete' }).click();
  await again.getByRole('button', { name: 'Delete for good' }).click();
  await shows(page, 'The key is deleted.');
  assert.equal(await statusWith(gateway, renewed), 401);

  // A link is shown without the console's address then.
  const link = await inviteLink(page, 'viewer');
  assert.match(link, /^\/link\/[\w-]+$/);
  const viewer = await joined(t, browser, gateway, 'scriptless-too', link, scriptless);
  await shows(viewer, /viewer of acct_/);
  await page.getByRole('button', { name: 'Log out' }).click();
  await isOn(page, 'Log in');
});

test('without a mouse the way leads from the log-in to a key, and the focus is always seen', async (t) => {
  const page = await visitor(t, browser, gateway);
  await signUp(page, 'mouseless');
  await page.goto('/');
  await tabTo(page, '#login');
  await page.keyboard.type('mouseless');
  await tabTo(page, '#password');
  await page.keyboard.type(passwordOf('mouseless'));
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Log out' }).waitFor();

  await tabTo(page, 'nav a[href="/keys"]');
  await page.keyboard.press('Enter');
  await isOn(page, 'API Keys');
  await tabTo(page, '#name');
  await page.keyboard.type('made with a keyboard');
  await tabTo(page, '#environment');
  await page.keyboard.type('prod');
  await tabTo(page, 'form summary');
  await page.keyboard.press('Enter');
  await tabTo(page, '#allowed_ips');
  await page.keyboard.type('127.0.0.0/8');
  await tabTo(page, 'form[action="/keys"] > button');
  await page.keyboard.press('Enter');
  await shows(page, 'Copy this key now');
  await shows(page, 'made with a keyboard');
  await shows(page, /^production$/);
  const key = await page.locator('code[data-copy]').textContent();
  assert.equal(await statusWith(gateway, key), 200);

  // And back to nobody.
  await tabTo(page, '.who button');
  await page.keyboard.press('Enter');
  await isOn(page, 'Log in');
});

test('the first stop of Tab leads past the navigation', async (t) => {
  const page = await visitor(t, browser, gateway);
  await signUp(page, 'skipper');
  await logIn(page, 'skipper');
  await page.goto('/keys');
  await tabTo(page, 'a[href="#main"]');
  await page.keyboard.press('Enter');
  await tabTo(page, 'main *');
  assert.equal(await page.evaluate(() => document.activeElement.closest('main')?.id), 'main');
});
