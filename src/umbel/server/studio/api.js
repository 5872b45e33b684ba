// Calls the server's native routes. Errors carry the server's own words.

import { events } from "./streams.js";

const KEY = "umbel-key";
const RETRIES = 3;
const LONGEST = 15; // seconds that a full queue is waited for

export const busy = new EventTarget(); // "wait" with the seconds in `detail`, and "done"

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export class ServerError extends Error {
  constructor(status, message, hint) {
    super(hint ? `${message} (${hint})` : message);
    this.status = status;
  }
}

// An answer that ended before its end.
export class BrokenError extends Error {}

// No server answers.
export class UnreachedError extends Error {}

async function reached(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new UnreachedError();
  }
}

async function whole(answer) {
  try {
    return await answer.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new BrokenError();
  }
}

function pause(seconds, signal) {
  return new Promise((done, failed) => {
    const end = setTimeout(done, 1000 * seconds);
    signal?.addEventListener("abort", () => (clearTimeout(end), failed(signal.reason)), { once: true });
  });
}

const failure = (status, told, otherwise) => new ServerError(status, told?.error?.message ?? otherwise, told?.error?.hint);

// A full queue is asked again, when it says.
async function send(method, path, body, signal) {
  const headers = key.get() ? { authorization: `Bearer ${key.get()}` } : {};
  if (body) headers["content-type"] = "application/json";
  for (let left = RETRIES; ; left--) {
    const answer = await reached(path, { method, headers, signal, body: body && JSON.stringify(body) });
    if (answer.ok) return answer;
    const seconds = Number(answer.headers.get("retry-after")) || 1;
    if (answer.status !== 429 || !left || seconds > LONGEST) {
      throw failure(answer.status, await answer.json().catch(() => null), `${answer.status} ${answer.statusText}`.trim());
    }
    busy.dispatchEvent(new CustomEvent("wait", { detail: seconds }));
    try {
      await pause(seconds, signal);
    } finally {
      busy.dispatchEvent(new Event("done"));
    }
  }
}

const post = async (path, body, signal) => whole(await send("POST", path, body, signal));
const get = async (path, signal) => whole(await send("GET", path, null, signal));

// Calls `heard(name, data)` with each event as it comes, and returns the data of the last one, `result`.
async function stream(path, body, signal, heard) {
  const answer = await send("POST", path, { ...body, stream: true }, signal);
  try {
    for await (const { name, data } of events(answer.body)) {
      if (name === "result") return data;
      if (name === "error") throw failure(0, data, name);
      heard(name, data);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ServerError) throw error;
    throw new BrokenError();
  }
  throw new BrokenError();
}

// Lone halves of UTF-16 pairs have no UTF-8; each becomes one U+FFFD, so that offsets stay as they are.
export const clean = (text) => text.toWellFormed?.() ?? text;
const named = (pack) => encodeURIComponent(pack);

export const packs = async () => (await get("/v1/packs")).packs;
export const tasks = async (pack) => (await get(`/v1/tasks?pack=${named(pack)}`)).tasks;
export const report = (pack, signal) => get(`/v1/packs/${named(pack)}/report`, signal);
export const flowOf = (pack, signal) => get(`/v1/packs/${named(pack)}/flow`, signal);
export const analyze = (pack, texts, signal) => post("/v1/analyze", { pack, texts: texts.map(clean), cost: true }, signal);
export const ask = (pack, text, questions, signal) => post("/v1/ask", { pack, text: clean(text), questions }, signal);
export const answer = (pack, document, questions, must, signal) =>
  post("/v1/answer", { pack, document: clean(document), questions, must_answer: must }, signal);
export const teach = (lesson) => post("/v1/teach", lesson);
export const generate = (wanted, signal, heard) => stream("/v1/generate", wanted, signal, heard);
export const flow = (pack, text, signal, heard) => stream("/v1/flow", { pack, text: clean(text) }, signal, heard);
export const metrics = async (signal) => (await send("GET", "/metrics", null, signal)).text();
