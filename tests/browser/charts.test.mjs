// What a key has asked is seen in charts: drawn, under the pointer, and as numbers.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { isOn, launch, visitor } from './chromium.mjs';
import { clockedGateway, statusWith } from './gateway.mjs';
import { logIn, makeKey, owner } from './people.mjs';

const file = { after };
const browser = await launch(file);

const A_DAY = 24 * 3600;

// What is asked yesterday and today, by how many steps of the chart it is before the end.
const EXPECTED = [
  { back: 1, counts: { Hits: '1', Misses: '1' } },
  { back: 0, counts: { Hits: '3', Misses: '2', 'Rate limited': '1', Errors: '1' } },
];

// A gateway with somebody who has used up a bucket of six requests with their key, and asked once more.
async function busyGateway(t) {
  const gateway = await clockedGateway(t, { yaml: 'plans: {free: {requests_per_minute: 60, burst: 6}}' });
  const page = await owner(t, browser, gateway, 'watcher');
  const key = await makeKey(page, 'watched');
  const asked = async (question) => statusWith(gateway, key, question);
  assert.deepEqual([await asked('one'), await asked('one')], [200, 200]);
  await gateway.advance(A_DAY);
  await logIn(page, 'watcher');
  const statuses = [];
  for (const question of ['two', 'two', 'three', 'three', 'two']) statuses.push(await asked(question));
  statuses.push(await nowhere(gateway, key), await asked('two'));
  assert.deepEqual(statuses, [200, 200, 200, 200, 200, 404, 429]);
  return page;
}

// A path that the model does not know.
async function nowhere(gateway, key) {
  const answer = await fetch(`${gateway.data}/v1/nowhere`, { headers: { authorization: `Bearer ${key}` } });
  await answer.text();
  return answer.status;
}

const chart = (page, title) => page.getByRole('figure', { name: title });

// The numbers of the table under a chart, `back` steps before its end, but for zeros.
async function numbers(figure, back) {
  const table = figure.getByRole('table');
  const names = await table.locator('thead th').allTextContents();
  const cells = await table.locator('tbody tr').nth(-1 - back).locator('td').allTextContents();
  return Object.fromEntries(names.slice(1).map((name, at) => [name, cells[at]]).filter(([, text]) => text !== '0'));
}

// What is said under the pointer over the same step: its head, and its lines but for zeros.
async function underPointer(figure, back) {
  const steps = await figure.locator('tbody tr').count();
  const plot = figure.locator('.u-over');
  const { width, height } = await plot.boundingBox();
  await plot.hover({ position: { x: (width * (steps - back - 0.5)) / steps, y: height / 2 } });
  await figure.locator('.tip').waitFor();
  const lines = await figure.locator('.tip span').allTextContents();
  const pairs = lines.map((line) => line.split(': ')).filter(([, text]) => text !== '0');
  return Object.fromEntries(pairs);
}

// How many pixels of the chart have each of the colours that its table names.
function painted(figure) {
  return figure.evaluate((element) => {
    const canvas = element.querySelector('canvas');
    const pen = canvas.getContext('2d');
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Map();
    for (let at = 0; at < data.length; at += 4) {
      const pixel = `${data[at]},${data[at + 1]},${data[at + 2]}`;
      if (data[at + 3] === 255) seen.set(pixel, (seen.get(pixel) ?? 0) + 1);
    }
    const rgb = (name) => {
      const swatch = document.createElement('canvas').getContext('2d');
      swatch.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
      swatch.fillRect(0, 0, 1, 1);
      return swatch.getImageData(0, 0, 1, 1).data.slice(0, 3).join();
    };
    const heads = [...element.querySelectorAll('th[data-tone]')];
    return Object.fromEntries(heads.map((head) => [head.textContent, seen.get(rgb(head.dataset.tone)) ?? 0]));
  });
}

for (const path of ['/', '/usage']) {
  test(`the charts of ${path} show what a key has asked`, async (t) => {
    const page = await busyGateway(t);
    await page.goto(path);
    await page.getByRole('link', { name: '30 days' }).click();
    await page.locator('a[aria-current]', { hasText: '30 days' }).waitFor();
    const [requests, tokens] = [chart(page, 'Requests'), chart(page, 'Tokens saved and used')];
    await requests.getByText('Numbers of this chart').click();
    await tokens.getByText('Numbers of this chart').click();
    for (const { back, counts } of EXPECTED) {
      assert.deepEqual(await numbers(requests, back), counts);
      assert.deepEqual(await underPointer(requests, back), counts);
      const summed = await numbers(tokens, back);
      assert.deepEqual(Object.keys(summed), ['Saved', 'Prompt', 'Completion']);
      assert.deepEqual(await underPointer(tokens, back), summed);
    }
    for (const [name, pixels] of Object.entries(await painted(requests))) {
      const isExpected = EXPECTED.some(({ counts }) => name in counts);
      assert.equal(pixels > 20, isExpected, `${name}: ${pixels} pixels`);
    }
    const legend = await requests.locator('.legend li').allTextContents();
    assert.deepEqual(legend, ['Hits', 'Misses', 'Rate limited', 'Errors']);
  });
}

test('an account that has asked nothing is told what to do', async (t) => {
  const gateway = await clockedGateway(t);
  const page = await owner(t, browser, gateway, 'newcomer');
  await isOn(page, /Welcome/);
  await page.getByRole('main').getByRole('link', { name: 'Generate one' }).click();
  await isOn(page, 'API Keys');
});
