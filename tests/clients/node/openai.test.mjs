// OpenAI's own Node package against the gateway: what works, and what it throws when it is refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import OpenAI from 'openai';

const stage = JSON.parse(process.env.STAGE);
const hello = [{ role: 'user', content: 'Say hello to Node.' }];

// The package's client, and notes of when each of its requests went out and what came back.
function client(baseURL, apiKey, maxRetries = 0) {
  const sent = [];
  const answers = [];
  const noted = async (url, init) => {
    sent.push(performance.now());
    const answer = await fetch(url, init);
    answers.push(answer);
    return answer;
  };
  return { openai: new OpenAI({ baseURL, apiKey, maxRetries, fetch: noted }), sent, answers };
}

const demo = () => client(stage.demo.url, stage.demo.key).openai;

const gateway = (route, key, retries) =>
  client(`${stage.gateway}/${route}/v1`, stage.keys[key] ?? key, retries);

const ask = (openai, options = {}) =>
  openai.chat.completions.create({ model: 'demo-large', messages: hello, ...options });

async function refused(expected, status, { openai }) {
  const error = await ask(openai).then(() => assert.fail('it was not refused'), (error) => error);
  assert.ok(error instanceof expected, `${error.constructor.name}: ${error.message}`);
  assert.equal(error.status, status);
  assert.ok(error.requestID, 'the request id is there to be quoted');
  return error;
}

test('chat', async () => {
  const answer = await ask(demo());
  assert.match(answer.choices[0].message.content, /Say hello to Node\./);
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test('the second chat is a hit', async () => {
  const openai = demo();
  const messages = [{ role: 'user', content: 'Asked twice by Node.' }];
  const once = () => ask(openai, { messages }).withResponse();
  const [first, second] = [await once(), await once()];
  assert.deepEqual([first, second].map(({ response }) => response.headers.get('x-cache')), ['MISS', 'HIT']);
  assert.deepEqual(first.data, second.data);
});

test('stream', async () => {
  const openai = demo();
  const whole = await ask(openai);
  const chunks = [];
  for await (const chunk of await ask(openai, { stream: true, stream_options: { include_usage: true } })) {
    chunks.push(chunk);
  }
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).usage, whole.usage);
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
});

test('a stream can be left', async () => {
  const openai = demo();
  const messages = [{ role: 'user', content: 'Begin, Node will not listen to the end.' }];
  for await (const chunk of await ask(openai, { messages, stream: true })) {
    assert.equal(chunk.choices[0].delta.role, 'assistant');
    break;
  }
  assert.match((await ask(openai)).choices[0].message.content, /hello/);
});

test('embeddings', async () => {
  const openai = demo();
  const request = { model: 'demo-embedding', input: ['one', 'two'] };
  const asAsked = await openai.embeddings.create(request);
  const asFloats = await openai.embeddings.create({ ...request, encoding_format: 'float' });
  assert.deepEqual(asAsked.data.map((item) => item.index), [0, 1]);
  asAsked.data.forEach(({ embedding }, index) => {
    const plain = asFloats.data[index].embedding;
    assert.ok(Math.abs(Math.hypot(...plain) - 1) < 1e-4);
    assert.ok(Math.hypot(...embedding.map((x, at) => x - plain[at])) < 1e-5);
  });
});

test('models', async () => {
  const openai = demo();
  const listed = [];
  for await (const model of openai.models.list()) listed.push(model.id);
  assert.ok(listed.includes('demo-large'));
  assert.equal((await openai.models.retrieve('demo-large')).id, 'demo-large');
  await assert.rejects(openai.models.retrieve('no-such-model'), { status: 404, code: 'model_not_found' });
});

test('an unknown key is an AuthenticationError and is not tried again', async () => {
  const flat = gateway('flat', 'sk-nobody-knows-this-key', 2);
  assert.match((await refused(OpenAI.AuthenticationError, 401, flat)).message, /Invalid API key/);
  assert.equal(flat.sent.length, 1);
  const shaped = gateway('openai', 'sk-nobody-knows-this-key');
  assert.equal((await refused(OpenAI.AuthenticationError, 401, shaped)).code, 'invalid_api_key');
});

test('another model is a PermissionDeniedError, the right one passes', async () => {
  for (const route of ['flat', 'openai']) {
    await refused(OpenAI.PermissionDeniedError, 403, gateway(route, 'model_bound'));
  }
  const { openai } = gateway('flat', 'model_bound');
  assert.equal((await ask(openai, { model: 'demo-small' })).model, 'demo-small');
});

test('another address is a PermissionDeniedError', async () => {
  for (const route of ['flat', 'openai']) {
    await refused(OpenAI.PermissionDeniedError, 403, gateway(route, 'address_bound'));
  }
});

test('an empty bucket is a RateLimitError', async () => {
  for (const [route, key, code] of [['flat', 'exhausted'], ['openai', 'exhausted_too', 'rate_limit_exceeded']]) {
    const { openai } = gateway(route, key);
    await openai.models.list();
    const error = await refused(OpenAI.RateLimitError, 429, { openai });
    assert.ok(Number(error.headers.get('retry-after-ms')) > 0);
    if (code) assert.equal(error.code, code);
  }
});

test('the hinted wait is kept and is enough', async () => {
  // One a second: the package's own first wait, half a second, would be too short for its only retry.
  const { openai, sent, answers } = gateway('flat', 'patient', 1);
  await openai.models.list();
  await openai.models.list();
  assert.deepEqual(answers.map((answer) => answer.status), [200, 429, 200]);
  // Node's timers may fire up to a millisecond early.
  assert.ok(sent[2] - sent[1] >= Number(answers[1].headers.get('retry-after-ms')) - 1);
});

test('a dead upstream is an InternalServerError', async () => {
  const error = await refused(OpenAI.InternalServerError, 502, gateway('dead', 'good'));
  assert.ok(error.code, 'errors: openai gives it a code');
});

test('a request that was sent is not sent again', async () => {
  const hungUp = gateway('hangs_up', 'good', 2);
  const error = await refused(OpenAI.InternalServerError, 502, hungUp);
  assert.equal(error.headers.get('x-should-retry'), 'false');
  assert.equal(hungUp.sent.length, 1);
});
