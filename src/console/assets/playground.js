// The playground: asks with a key, and shows the answer as it comes. The key stays in its field and is kept nowhere.
"use strict";

const form = document.getElementById("ask");
const answer = document.getElementById("answer");
const state = document.getElementById("state");
const runs = document.getElementById("runs");
const stop = document.getElementById("stop");
let running = null;

// What the gateway did, by the header that it says it in.
function outcome(response) {
  const cache = response.headers.get("x-cache");
  if (cache) return cache.toLowerCase();
  return response.ok ? "not cached" : "refused";
}

function milliseconds(span) {
  return `${Math.round(span)} ms`;
}

function add(cells) {
  const row = runs.tBodies[0].insertRow(0);
  for (const text of cells) row.insertCell().textContent = text;
  while (runs.tBodies[0].rows.length > 20) runs.tBodies[0].deleteRow(-1);
  runs.parentElement.hidden = false;
}

// The events of a stream of server-sent events, by their data alone.
async function* events(body) {
  let rest = "";
  for await (const piece of pieces(body)) {
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  }
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

// Shows a stream word by word; the tokens that it tells at its end.
async function showStream(response, first) {
  let usage = null;
  for await (const data of events(response.body)) {
    if (data === "[DONE]") continue;
    const event = JSON.parse(data);
    const text = event.choices?.[0]?.delta?.content;
    if (text) {
      first();
      answer.textContent += text;
    }
    if (event.error) answer.textContent += `\n${event.error.message ?? JSON.stringify(event.error)}`;
    usage = event.usage ?? usage;
  }
  return usage;
}

async function showWhole(response) {
  const text = await response.text();
  if (response.headers.get("content-type")?.startsWith("text/html")) {
    answer.textContent = new DOMParser().parseFromString(text, "text/html").querySelector("main")?.textContent.trim() ?? "";
    return null;
  }
  try {
    const said = JSON.parse(text);
    const failure = said.error?.message ?? said.message;
    answer.textContent = said.choices?.[0]?.message?.content ?? failure ?? JSON.stringify(said, null, 2);
    return said.usage ?? null;
  } catch {
    answer.textContent = text;
    return null;
  }
}

async function ask(signal) {
  const begun = performance.now();
  let firstAt = null;
  const first = () => {
    firstAt ??= performance.now();
  };
  answer.textContent = "";
  state.textContent = "Asking…";
  const response = await fetch(form.action, {
    method: "POST",
    body: new URLSearchParams(new FormData(form)),
    signal,
    credentials: "same-origin",
    redirect: "manual",
  });
  if (response.type === "opaqueredirect") throw new Error("your session has ended; log in again.");
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
  const usage = isStream ? await showStream(response, first) : await showWhole(response);
  const done = performance.now();
  const what = outcome(response);
  const left = response.headers.get("x-ratelimit-remaining");
  const limit = left === null ? "" : `; ${left} more before the limit`;
  state.textContent = `${response.status}, ${what}, in ${milliseconds(done - begun)}${limit}.`;
  const tokens = usage ? String(usage.total_tokens ?? "") : "–";
  add([what, String(response.status), milliseconds((firstAt ?? done) - begun), milliseconds(done - begun), tokens]);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  running?.abort();
  const mine = new AbortController();
  running = mine;
  stop.hidden = false;
  try {
    await ask(mine.signal);
  } catch (error) {
    if (running === mine) state.textContent = error.name === "AbortError" ? "Stopped." : `That did not work: ${error.message}`;
  }
  // Another question may have been asked meanwhile.
  if (running !== mine) return;
  running = null;
  stop.hidden = true;
});

stop.addEventListener("click", () => running?.abort());
