// The browser of the tests: Debian's Chromium, one process a file, and for each visitor a profile of their own in it.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

import { atEnd } from './ending.mjs';

const FLAGS = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
  '--no-first-run',
  '--no-sandbox',
];

// How long anything on a page is waited for. Generous: only what never comes takes this long.
const PATIENCE = 30_000;

// What Chromium itself says of an answer that refuses a form: no fault of the page.
const REFUSED = /^Failed to load resource: the server responded with a status of 4\d\d/;

// Starts it, until the suite `t` is over. What it leaves in the folder for temporary files goes with it.
export async function launch(t) {
  const folder = mkdtempSync(join(tmpdir(), 'safecache-chromium-'));
  atEnd(t, () => rmSync(folder, { recursive: true, force: true }));
  const env = { ...process.env, TMPDIR: folder };
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, env });
  atEnd(t, () => browser.close());
  return browser;
}

// A page of somebody who has not been here before. When `t` is over it must have had no error: none of its scripts, and
// nothing that the content security policy has refused.
export async function visitor(t, browser, gateway, options = {}) {
  const context = await browser.newContext({ baseURL: gateway.console, locale: 'en-GB', timezoneId: 'UTC', ...options });
  context.setDefaultTimeout(PATIENCE);
  const faults = [];
  context.on('weberror', (error) => faults.push(String(error.error())));
  context.on('console', (message) => {
    const isFault = ['error', 'warning'].includes(message.type()) && !REFUSED.test(message.text());
    if (isFault) faults.push(message.text());
  });
  context.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== gateway.console && protocol !== 'data:') faults.push(`asked ${request.url()}`);
  });
  atEnd(t, async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  return context.newPage();
}

// Waits until the page shows this text.
export async function shows(page, text) {
  await page.getByText(text).filter({ visible: true }).first().waitFor();
}

// The same for what is known a moment later, so that the page has to be asked for again.
export async function comesToShow(page, text) {
  const latest = Date.now() + PATIENCE;
  const element = page.getByText(text).filter({ visible: true }).first();
  while (!(await element.isVisible())) {
    assert.ok(Date.now() < latest, `${text} is never shown`);
    await page.reload();
  }
}

// The heading of the page that one is on, once it is this.
export async function isOn(page, title) {
  await page.getByRole('heading', { level: 1, name: title }).waitFor();
}

// Presses Tab until the element that `selector` names has the focus, which must be seen at each stop.
export async function tabTo(page, selector) {
  for (let stop = 0; stop < 100; stop += 1) {
    await page.keyboard.press('Tab');
    const found = await page.evaluate((wanted) => {
      const focused = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(focused);
      const box = focused.getBoundingClientRect();
      const isSeen = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 && box.width > 0 && box.height > 0;
      return { isThere: focused.matches(wanted), isSeen, what: focused.outerHTML.slice(0, 120) };
    }, selector);
    assert.ok(found.isSeen, `the focus is not seen on ${found.what}`);
    if (found.isThere) return;
  }
  assert.fail(`Tab does not lead to ${selector}`);
}
