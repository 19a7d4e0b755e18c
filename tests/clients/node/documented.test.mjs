// The examples of docs/api.md in JavaScript do what the page says. tools/clients runs this from the project's folder.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const stage = JSON.parse(process.env.STAGE).described;
const page = readFileSync('docs/api.md', 'utf8');
const mark = '---- next example ----';

// What no two runs have in common: only its type is compared.
const changing = new Set(['account', 'bytes', 'created_at', 'expires_at', 'lookup_time_ms', 'timestamp']);

// The code blocks in JavaScript, in the page's order, each with the JSON that stands below it, if any.
function examples() {
  const found = [];
  for (const [, kind, text] of page.matchAll(/^```(\w+)\n(.*?)^```$/gms)) {
    if (kind === 'js') found.push({ code: text, shown: undefined });
    if (kind === 'json') found.at(-1).shown = JSON.parse(text);
  }
  return found;
}

// `value` with its type in place of what changes.
function settled(value) {
  const member = (name, inner) => (changing.has(name) ? typeof inner : inner);
  return JSON.parse(JSON.stringify(value), member);
}

test('the examples print what the page shows', () => {
  const found = examples();
  assert.ok(found.length > 7);
  const program = found.map(({ code }) => `${code}\nconsole.log('${mark}');\n`).join('');
  const env = { ...process.env, GATEWAY: stage.gateway, KEY: stage.documented.js };
  // The runner's own word to its children is not for this one.
  delete env.NODE_TEST_CONTEXT;
  const options = { input: program, env, encoding: 'utf8', timeout: 60_000 };
  const done = spawnSync(process.execPath, ['--input-type=module', '-'], options);
  assert.deepEqual([done.status, done.stderr], [0, ''], done.stdout);
  const printed = done.stdout.split(mark);
  assert.equal(printed.length, found.length + 1);
  found.forEach(({ code, shown }, index) => {
    const text = printed[index].trim();
    if (shown === undefined) assert.equal(text, '', code);
    else assert.deepEqual(settled(JSON.parse(text)), settled(shown), code);
  });
});
