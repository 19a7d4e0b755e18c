// `make screenshots`: pictures of the console for the README, of a gateway with a month of made-up traffic.
//
// The clock is set, and whatever is random is written over where it is shown, so that a picture changes only when its
// page does. Not so the playground's: its milliseconds are those of the run.

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { launch, shows } from './chromium.mjs';
import { ask, clockedGateway, operate, START } from './gateway.mjs';
import { inviteLink, joined, logIn, makeKey, openRow, operator, owner } from './people.mjs';

const file = { after };
const FOLDER = process.env.SCREENSHOTS;

const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 360, height: 780 };
const LONGEST = 2000;
// Between two things that happen, so that lists have one order.
const A_WHILE = 20;
const AN_HOUR = 3600;
const SPAN = 27 * 24 + 6;

// How much is asked in each hour of a day, and of which a week has which share.
const HOURS = [0, 0, 0, 0, 0, 1, 2, 4, 9, 12, 13, 11, 7, 10, 13, 12, 9, 6, 3, 2, 2, 1, 1, 0];
const WEEK = [1, 1.1, 0.9, 1, 0.3, 0.2, 1];

const TOPICS = ['token buckets', 'lighthouses', 'caches', 'the tides', 'hash functions', 'glaciers', 'paper', 'bridges',
  'bees', 'comets', 'salt', 'violins', 'canals', 'maps', 'clocks', 'ferns', 'kites', 'locks', 'moss', 'owls'];
const MODELS = ['demo-large', 'demo-small', 'demo-large'];

// Who else is there.
const ACCOUNTS = [
  { id: 'acme', name: 'Acme Anvils', plan: 'enterprise' },
  { id: 'globex', name: 'Globex', plan: 'pro' },
  { id: 'initech', name: 'Initech', plan: 'free' },
];

// The same numbers from 0 to 1 in each run.
function dice(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

// Asks as much as in a month, at the pace of the gateway's clock; what was asked once is asked again.
async function traffic(gateway, keys) {
  const roll = dice(7);
  for (let hour = 0; hour < SPAN; hour += 1) {
    const ofDay = (8 + hour) % 24;
    const many = Math.round(HOURS[ofDay] * WEEK[Math.floor(hour / 24) % 7] * (0.7 + 0.6 * roll()));
    for (let count = 0; count < many; count += 1) {
      const topic = TOPICS[Math.floor(roll() * roll() * TOPICS.length)];
      const depth = Math.floor(roll() * roll() * 6);
      const key = keys[roll() < 0.75 ? 0 : 1];
      const answer = await ask(gateway, key, `Tell me about ${topic}, in ${depth + 1} sentences.`, MODELS[Math.floor(roll() * 3)]);
      await answer.text();
      await gateway.advance(A_WHILE);
    }
    // Somebody's loop goes wild.
    if (hour === 16 * 24 + 3) for (let count = 0; count < 60; count += 1) await (await ask(gateway, keys[1], 'Again')).text();
    await gateway.advance(AN_HOUR - many * A_WHILE);
  }
}

// Writes over what no two runs have in common.
function settle(console) {
  const known = new Map();
  const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  // As many digits of the base as there were, made of how many were written over before.
  const steady = (found, base) => {
    if (!known.has(found)) {
      let state = known.size + 1;
      const digit = () => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return DIGITS[Math.floor((state / 2 ** 32) * base)];
      };
      known.set(found, Array.from(found, digit).join(''));
    }
    return known.get(found);
  };
  // Lists in the order of ids, which are random, go by name.
  const name = (row) => row.querySelector('strong')?.textContent ?? '';
  for (const list of document.querySelectorAll('ul.rows')) {
    list.append(...[...list.children].sort((one, other) => name(one).localeCompare(name(other))));
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    text.data = text.data
      .replace(/(?<=\b(acct_|key_|sk-sc-))[0-9A-Za-z]+/g, (found) => steady(found, 62))
      .replace(/(?<=\bsk-sc-\w{10}_)[0-9A-Za-z]+/g, (found) => steady(found, 62))
      .replace(/\b[0-9a-f]{8,}(?=…)/g, (found) => steady(found, 16))
      .replaceAll(console, 'http://127.0.0.1:9091')
      .replace(/127\.0\.0\.1:(?!9091)\d+/g, '127.0.0.1:8000')
      .replace(/\/tmp\/[\w-]+\//g, '/etc/safecache/');
  }
}

// Takes pictures of a page as it is: wide and narrow, light and dark. A narrow one, and a long one, is not shown to its end.
async function take(page, name, looks = ['light', 'dark', 'narrow'], most = LONGEST) {
  await page.evaluate(settle, new URL(page.url()).origin);
  for (const look of looks) {
    const size = look === 'narrow' ? NARROW : WIDE;
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme: look === 'dark' ? 'dark' : 'light' });
    await page.mouse.move(0, 0);
    // Charts are drawn anew for a new width or theme, a frame later.
    await page.evaluate(() => new Promise((done) => {
      requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)));
    }));
    const whole = await page.evaluate(() => document.documentElement.scrollHeight);
    const clip = { x: 0, y: 0, width: size.width, height: look === 'narrow' ? size.height : Math.min(whole, most) };
    await page.screenshot({ path: join(FOLDER, `${name}-${look}.png`), clip, fullPage: true, animations: 'disabled', caret: 'hide' });
  }
}

test('pictures', async (t) => {
  const browser = await launch(file);
  const gateway = await clockedGateway(file, { ttl: '7d', yaml: 'plans: {free: {requests_per_minute: 60, burst: 40}}' });
  const options = { viewport: WIDE, reducedMotion: 'reduce' };
  const ada = await owner(t, browser, gateway, 'ada', options, 'Ada Lovelace');
  const later = (made) => gateway.advance(A_WHILE).then(() => made);
  const keys = [
    await later(await makeKey(ada, 'production backend', { environment: 'production' })),
    await later(await makeKey(ada, 'batch jobs', { environment: 'staging', expires: '90d' })),
  ];
  await later(await joined(t, browser, gateway, 'grace', await inviteLink(ada, 'admin'), {}, 'Grace Hopper'));
  await later(await joined(t, browser, gateway, 'alan', await inviteLink(ada, 'viewer'), {}, 'Alan Turing'));
  const root = await operator(t, browser, gateway, 'root', options, 'Linus');
  for (const account of ACCOUNTS) await operate(gateway, '/accounts', account);
  await operate(gateway, '/accounts/initech/suspend');
  await traffic(gateway, keys);
  const now = (START + SPAN * AN_HOUR + 4 * A_WHILE) * 1000;

  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  for (const [page, login] of [[ada, 'ada'], [root, 'root']]) {
    await page.clock.setFixedTime(now);
    await page.goto('/log-in');
    if (login === 'ada') await take(page, 'log-in', ['light']);
    await logIn(page, login);
  }

  await ada.goto('/?range=30d');
  await take(ada, 'overview');
  await ada.goto('/usage?range=30d');
  await take(ada, 'usage');
  await ada.goto('/cache');
  await take(ada, 'cache', ['light'], WIDE.height);
  await ada.goto('/settings');
  await take(ada, 'settings', ['light']);

  await ada.goto('/playground');
  await ada.getByLabel('API key').fill(keys[0]);
  await ada.getByLabel('Model', { exact: true }).fill('demo-large');
  for (const outcome of ['miss', 'hit']) {
    await ada.getByRole('button', { name: 'Send' }).click();
    await ada.getByRole('status').filter({ hasText: `200, ${outcome}` }).waitFor();
  }
  await take(ada, 'playground', ['light', 'narrow']);

  await ada.goto('/keys');
  await (await openRow(ada, 'batch jobs')).getByRole('button', { name: 'Rotate' }).click();
  await shows(ada, /Its old secret works until/);
  await makeKey(ada, 'notebook', { environment: 'development', expires: '30d' });
  await take(ada, 'keys');

  const links = await root.getByRole('navigation', { name: 'Pages' }).getByRole('link').evaluateAll((all) => all.map((link) => link.pathname));
  for (const name of ['accounts', 'plans', 'config'].filter((name) => links.includes(`/${name}`))) {
    await root.goto(`/${name}`);
    await take(root, name, ['light']);
  }
});
