// Gateways for the tests: each in a process and a folder of its own, on ports that the system chooses.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

import { atEnd } from './ending.mjs';

const binary = process.env.SAFECACHE_BIN;
const clocked = join(dirname(binary), 'examples', 'clocked');

// How long a program may take to say where it listens, or to end. Generous: only a hang takes this long.
const PATIENCE = 60_000;

// 2027-01-15T08:00:00Z, where a clock that is moved by hand begins.
export const START = 1_800_000_000;

// A running program, as far as its lines of output tell about it.
class Program {
  constructor(command, args) {
    this.process = spawn(command, args, { stdio: 'pipe' });
    this.ended = new Promise((resolve) => this.process.once('close', resolve));
    this.ended.then(() => process.off('exit', this.kill));
    process.once('exit', this.kill);
    this.lines = [];
    this.waiting = new Set();
    for (const input of [this.process.stdout, this.process.stderr]) {
      createInterface({ input }).on('line', (line) => this.hear(line));
    }
  }

  // Whatever becomes of the tests, it does not outlive them.
  kill = () => this.process.kill('SIGKILL');

  hear(line) {
    this.lines.push(line);
    for (const look of this.waiting) look();
  }

  // The first match of `pattern` in a line from number `from` on, once there is one.
  async says(pattern, from = 0) {
    const { promise, resolve, reject } = Promise.withResolvers();
    const look = () => {
      const found = this.lines.slice(from).map((line) => line.match(pattern)).find(Boolean);
      if (found) resolve(found);
    };
    const fail = (why) => reject(new Error(`${why}; waited for ${pattern}, heard:\n${this.lines.join('\n')}`));
    const timer = setTimeout(() => fail('too slow'), PATIENCE);
    this.ended.then(() => fail('it has ended'));
    this.waiting.add(look);
    look();
    return promise.finally(() => {
      clearTimeout(timer);
      this.waiting.delete(look);
    });
  }

  tell(line) {
    this.process.stdin.write(`${line}\n`);
  }

  async stop() {
    this.process.kill('SIGTERM');
    const timer = setTimeout(this.kill, PATIENCE);
    await this.ended;
    clearTimeout(timer);
  }
}

// What opens the operator's API of every gateway of the tests.
const TOKEN = 'the-token-of-the-operators-api';

// What every gateway of the tests is: open to all.
function configuration(folder, llm, more) {
  return `
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0", sign_up: ${more.signUp ?? 'open'}, token: ${TOKEN}}
data_dir: ${folder}/data
upstreams:
  llm: {servers: ["${llm.url}"], authorization: "Bearer ${llm.key}"}
routes:
  - {path: /v1/*, upstream: llm, cache: {ttl: ${more.ttl ?? '1h'}}}
prices:
  "demo-small*": {prompt: 0.15, cached: 0.075, completion: 0.6}
  "*": {prompt: 2.5, cached: 1.25, completion: 10}
${more.yaml ?? ''}
`;
}

const folderFor = () => mkdtempSync(join(tmpdir(), 'safecache-browser-'));

// `safecache serve` before `safecache demo`, until the test or the suite `t` is over.
export async function serve(t, more = {}) {
  const folder = folderFor();
  atEnd(t, () => rmSync(folder, { recursive: true, force: true }));
  const demo = new Program(binary, ['demo', '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0']);
  atEnd(t, () => demo.stop());
  const [[, url], [, key]] = await Promise.all([demo.says(/^gateway: (\S+)/), demo.says(/^key: (\S+)/)]);
  const path = join(folder, 'gateway.yaml');
  writeFileSync(path, configuration(folder, { url, key }, more));
  const program = new Program(binary, ['serve', '--config', path]);
  atEnd(t, () => program.stop());
  // Writes the configuration anew, with further lines; a reload reads it.
  const configure = (yaml) => writeFileSync(path, configuration(folder, { url, key }, { ...more, yaml }));
  return { ...(await told(program)), configure };
}

// A gateway whose clock stands still until `advance` moves it, until the test or the suite `t` is over.
export async function clockedGateway(t, more = {}) {
  const folder = folderFor();
  atEnd(t, () => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'gateway.yaml');
  writeFileSync(path, configuration(folder, { url: '${LLM}', key: 'demo' }, more));
  const program = new Program(clocked, []);
  atEnd(t, () => program.stop());
  program.tell(`serve ${more.start ?? START} ${path}`);
  await program.says(/^ready$/);
  const advance = async (seconds) => {
    const from = program.lines.length;
    program.tell(`advance ${seconds}`);
    await program.says(/^advanced$/, from);
  };
  return { ...(await told(program)), advance };
}

// Where a program listens, and the link by which its first operator comes in.
async function told(program) {
  const patterns = [/^gateway: (\S+)/, /^admin: (\S+)/, /^console: (\S+)/];
  const [gateway, console, link] = await Promise.all(patterns.map((pattern) => program.says(pattern)));
  return { data: gateway[1], console: console[1], operatorLink: link[1] };
}

// Has the operator's API make or change something.
export async function operate(gateway, path, body) {
  const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
  const answer = await fetch(`${gateway.console}/admin/v1${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.text()}`);
}

// Asks a model something with a key, as a program would.
export function ask(gateway, key, question = 'What is a token bucket?', model = 'demo-small') {
  return fetch(`${gateway.data}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: question }] }),
  });
}

// The status that a question is answered with.
export async function statusWith(gateway, key, question) {
  const answer = await ask(gateway, key, question);
  await answer.text();
  return answer.status;
}
