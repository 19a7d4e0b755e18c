// The playground: a question with a key is asked and answered on the page, and the key stays nowhere.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { isOn, launch } from './chromium.mjs';
import { serve } from './gateway.mjs';
import { makeKey, owner } from './people.mjs';

const file = { after };
const browser = await launch(file);
const gateway = await serve(file);

const state = (page, text) => page.getByRole('status').filter({ hasText: text }).waitFor();
const answer = (page) => page.getByRole('region', { name: 'Answer' }).last();

test('a question is answered word by word, and by the cache when it is asked again', async (t) => {
  const page = await owner(t, browser, gateway, 'player');
  const key = await makeKey(page, 'played with');
  const addresses = [];
  page.context().on('request', (request) => addresses.push(request.url()));
  await page.getByRole('link', { name: 'Playground' }).click();
  await isOn(page, 'Playground');
  await page.getByLabel('API key').fill(key);
  await page.getByLabel('Model', { exact: true }).fill('demo-large');
  await page.getByLabel('Question').fill('What do you know of lighthouses?');
  // Each state of the answer, as it grows.
  await answer(page).evaluate((element) => {
    globalThis.seen = [];
    new MutationObserver(() => globalThis.seen.push(element.textContent)).observe(element, { childList: true });
  });
  await page.getByRole('button', { name: 'Send' }).click();
  await state(page, /^200, miss, in \d+ ms/);
  const whole = await answer(page).textContent();
  assert.match(whole, /lighthouses/);
  const seen = await page.evaluate(() => globalThis.seen);
  assert.ok(seen.length > 3, `it came in ${seen.length} pieces`);
  seen.forEach((text) => assert.ok(whole.startsWith(text)));

  await page.getByRole('button', { name: 'Send' }).click();
  await state(page, /^200, hit, in \d+ ms/);
  assert.equal(await answer(page).textContent(), whole);

  await page.getByLabel('Stream the answer').uncheck();
  await page.getByRole('button', { name: 'Send' }).click();
  await page.waitForFunction(() => document.querySelectorAll('#runs tbody tr').length === 3);
  assert.equal(await answer(page).textContent(), whole);
  const runs = await page.locator('#runs tbody tr').evaluateAll((rows) => rows.map((row) => row.cells[0].textContent));
  assert.deepEqual(runs, ['hit', 'hit', 'miss']);

  await nowhere(page, key, addresses);
});

// The key is in nothing that outlives the page, and in no address.
async function nowhere(page, key, addresses) {
  const kept = await page.evaluate(async () => JSON.stringify([
    { ...localStorage },
    { ...sessionStorage },
    await indexedDB.databases(),
    await caches.keys(),
    history.state,
  ]));
  const cookies = JSON.stringify(await page.context().cookies());
  for (const text of [kept, cookies, page.url(), ...addresses]) assert.ok(!text.includes(key), text);
  assert.equal(kept, '[{},{},[],[],null]');
  await page.reload();
  assert.equal(await page.getByLabel('API key').inputValue(), '');
}

test('a key that nobody knows is refused in the same place', async (t) => {
  const page = await owner(t, browser, gateway, 'guesser');
  await page.goto('/playground');
  await page.getByLabel('API key').fill('sk-nobody-knows-this-key');
  await page.getByLabel('Model', { exact: true }).fill('demo-small');
  await page.getByRole('button', { name: 'Send' }).click();
  await state(page, /^401, refused/);
  assert.match(await answer(page).textContent(), /invalid or has been revoked/);
});

test('an answer can be stopped on its way', async (t) => {
  const page = await owner(t, browser, gateway, 'stopper');
  const key = await makeKey(page, 'stopped');
  await page.goto('/playground');
  await page.getByLabel('API key').fill(key);
  await page.getByLabel('Model', { exact: true }).fill('demo-large');
  await page.getByLabel('Question').fill('Tell a story, and then another one, and one more, until you are stopped. '.repeat(20));
  await page.getByRole('button', { name: 'Send' }).click();
  await answer(page).filter({ hasText: /\w+/ }).waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await state(page, 'Stopped.');
});

test('without a script the playground says what it needs', async (t) => {
  const page = await owner(t, browser, gateway, 'scriptless', { javaScriptEnabled: false });
  await page.goto('/playground');
  assert.match(await page.locator('noscript').innerText(), /The playground needs JavaScript\./);
});
