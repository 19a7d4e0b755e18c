// Every page as everybody sees it: at three widths, in both themes, nothing is cut off, nothing scrolls sideways, and
// axe-core finds nothing serious.
//
// Which pages there are is taken from the pages: whatever the navigation or another page leads to is looked at.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';

import { launch, shows, visitor } from './chromium.mjs';
import { ask, clockedGateway } from './gateway.mjs';
import { inviteLink, joined, makeKey, openRow, operator, owner } from './people.mjs';

const file = { after };
const browser = await launch(file);
const gateway = await clockedGateway(file);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const WIDTHS = [360, 768, 1440];
const THEMES = ['light', 'dark'];

// More pages than there are for anybody: the walk must end.
const MOST_PAGES = 60;

// A name that is as long as it may be, and gives no place to break a line at.
const LONG = 'W'.repeat(64);

// What is wrong in one way each, and what the look at it must say.
const WRONG = [
  ['<p>nothing</p>', null],
  ['<p style="width: 200vw">wide</p>', /scrolls sideways/],
  ['<p style="width: 4em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap">cut off at its end</p>', /cut off/],
  ['<p style="height: 1em; overflow: hidden">one line<br>and another</p>', /cut off/],
  ['<div style="width: 4em"><b style="white-space: nowrap">longer than its place</b></div>', /sticks out/],
  ['<label>Of <select style="width: 5em"><option>short</option><option>not at all short</option></select></label>', /an option needs/],
  ['<p style="color: #999; background: #aaa">hardly to be read</p>', /color-contrast/],
  ['<input>', /label/],
];

test('what is wrong is seen', async (t) => {
  const page = await visitor(t, browser, gateway);
  for (const [html, fault] of WRONG) {
    await page.setContent(`<!doctype html><html lang="en"><title>Wrong</title><main><h1>Wrong</h1>${html}</main></html>`);
    const found = [...(await page.evaluate(misplaced)), ...(await accessibility(page))];
    if (fault) assert.ok(found.some((one) => fault.test(one)), `${html}: ${found}`);
    else assert.deepEqual(found, []);
  }
});

test('nobody', async (t) => {
  const page = await visitor(t, browser, gateway);
  const boss = await owner(t, browser, gateway, 'host');
  const link = await inviteLink(boss, 'viewer');
  const paths = ['/log-in', '/sign-up', new URL(link).pathname, '/link/nothing'];
  await look(page, paths);
  await lookAt(page, 'a refused log-in', async () => {
    await page.goto('/log-in');
    await page.getByLabel('Login name').fill(LONG);
    await page.getByLabel('Password').fill('not the right one');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').waitFor();
  });
});

test('an owner with nothing yet', async (t) => {
  const page = await owner(t, browser, gateway, 'beginner');
  await look(page, await walk(page));
});

test('an owner', async (t) => {
  const page = await owner(t, browser, gateway, LONG);
  await lookAt(page, 'a new key', async () => makeKey(page, 'K'.repeat(128), { environment: 'production', expires: '365d' }));
  await furnish(t, page);
  await look(page, await walk(page));
});

test('an operator', async (t) => {
  const page = await operator(t, browser, gateway, `operator-${'M'.repeat(55)}`);
  await look(page, await walk(page));
});

// Fills an account with what takes up room on its pages.
async function furnish(t, page) {
  const key = await makeKey(page, 'a key in use', { environment: 'development' });
  for (const question of ['one', 'one', 'another']) await (await ask(gateway, key, question)).text();
  await (await openRow(page, 'a key in use')).getByRole('button', { name: 'Rotate' }).click();
  await shows(page, 'Copy this key now');
  await page.goto('/keys');
  await page.getByLabel('Name').first().fill('bound');
  await page.getByText('Bind it to addresses or models').click();
  await page.getByLabel('Allowed addresses').fill('10.0.0.0/8 2001:db8:1234:5678::/64 192.168.100.100');
  await page.getByLabel('Allowed models').fill(`${'m'.repeat(60)}* demo-small*`);
  await page.getByRole('button', { name: 'Generate New Key' }).click();
  await shows(page, 'Copy this key now');
  await makeKey(page, 'ended');
  const row = await openRow(page, 'ended');
  await row.locator('summary', { hasText: 'Revoke' }).click();
  await row.getByRole('button', { name: 'Revoke for good' }).click();
  await shows(page, /^revoked$/);
  await joined(t, browser, gateway, `member-${'m'.repeat(57)}`, await inviteLink(page, 'viewer'));
  await inviteLink(page, 'admin');
  await gateway.advance(90);
}

// Every address that the navigation and the pages behind it lead to; one of those that differ in ids, or in what the
// fields of their query say.
async function walk(page) {
  const kind = ({ pathname, searchParams }) => pathname.replace(/(?<=\/)[^/]*[0-9][^/]*/g, ':id') + [...searchParams.keys()].sort();
  const found = new Map([['/', '/']]);
  for (const path of found.values()) {
    const answer = await page.goto(path);
    assert.ok(answer.ok(), `${path} is a link that leads to a ${answer.status()}`);
    const links = await page.locator('a[href]:not([download])').evaluateAll((all) => all.map((link) => link.href));
    for (const url of links.map((href) => new URL(href))) {
      if (url.origin === gateway.console && !found.has(kind(url))) found.set(kind(url), url.pathname + url.search);
    }
    assert.ok(found.size <= MOST_PAGES, `no end of pages: ${[...found.values()].join(' ')}`);
  }
  assert.ok(found.has('/keys') && found.has('/settings'));
  return [...found.values()];
}

// Looks at each of the pages, with everything opened that can be.
async function look(page, paths) {
  for (const path of paths) await lookAt(page, path, () => page.goto(path));
}

// Opens one page in every width and theme, and looks at it.
async function lookAt(page, what, open) {
  const faults = [];
  await open();
  for (const width of WIDTHS) {
    for (const colorScheme of THEMES) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      await settled(page);
      for (const isOpen of [false, true]) {
        const hasMore = await openAll(page, isOpen);
        if (isOpen && !hasMore) continue;
        const where = `${what}, ${width} px, ${colorScheme}${isOpen ? ', all open' : ''}`;
        for (const fault of [...(await page.evaluate(misplaced)), ...(await accessibility(page))]) {
          faults.push(`${where}: ${fault}`);
        }
      }
    }
  }
  assert.deepEqual(faults, []);
}

// Opens or closes whatever opens and closes, and says whether there is any.
function openAll(page, isOpen) {
  return page.locator('main').evaluate((main, open) => {
    const all = [...main.querySelectorAll('details')];
    for (const one of all) one.open = open;
    return all.length > 0;
  }, isOpen);
}

// Waits until the page has been laid out and drawn with its new size and colours.
const settled = (page) => page.evaluate(() => new Promise((done) => {
  requestAnimationFrame(() => requestAnimationFrame(done));
}));

// What axe-core finds serious or worse. It comes by way of the debugger, so that the page's policy stays in force.
async function accessibility(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: axe });
  await session.detach();
  const violations = await page.evaluate(async () => (await globalThis.axe.run(document)).violations);
  const grave = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  return grave.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html.slice(0, 160)).join(' | ')}`);
}

// What is cut off, sticks out, or has the page scroll sideways. Runs in the page.
function misplaced() {
  const SLACK = 1;
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`scrolls sideways: ${root.scrollWidth} > ${root.clientWidth}`);
  const named = (element) => element.outerHTML.slice(0, 120);
  const hides = (value) => value === 'hidden' || value === 'clip';
  const scrolls = (value) => value === 'auto' || value === 'scroll';

  const clipped = (element) => {
    const style = getComputedStyle(element);
    const isWide = element.scrollWidth > element.clientWidth + SLACK && hides(style.overflowX);
    const isHigh = element.scrollHeight > element.clientHeight + SLACK && hides(style.overflowY);
    if (isWide || isHigh) found.push(`cut off: ${named(element)}`);
  };

  // The boxes that hold a text: each block around it, up to one that scrolls by itself.
  const holders = (element) => {
    const boxes = [];
    for (let box = element; box; box = box.parentElement) {
      const style = getComputedStyle(box);
      if (scrolls(style.overflowX)) break;
      if (style.display !== 'inline' && style.display !== 'contents') boxes.push(box);
    }
    return boxes;
  };

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (text.data.trim() === '' || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest('script, style, noscript, option, svg, .skip')) continue;
    range.selectNodeContents(text);
    const lines = [...range.getClientRects()].filter(({ width }) => width > 0);
    for (const box of holders(element)) {
      const edge = box.getBoundingClientRect();
      const isOut = lines.some(({ left, right }) => left < edge.left - SLACK || right > edge.right + SLACK);
      if (isOut) {
        found.push(`"${text.data.trim().slice(0, 40)}" sticks out of ${named(box)}`);
        break;
      }
    }
  }

  // A choice shows its longest option in its box, less the room for its arrow.
  const pen = document.createElement('canvas').getContext('2d');
  for (const select of document.querySelectorAll('select')) {
    if (!select.checkVisibility()) continue;
    const style = getComputedStyle(select);
    pen.font = style.font;
    const room = select.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 16;
    const widest = Math.max(...[...select.options].map(({ text }) => pen.measureText(text).width));
    if (widest > room + SLACK) found.push(`an option needs ${widest} of ${room} px: ${named(select)}`);
  }

  for (const element of document.body.querySelectorAll('*')) {
    if (element.checkVisibility() && element.textContent.trim() !== '') clipped(element);
  }
  return found;
}
