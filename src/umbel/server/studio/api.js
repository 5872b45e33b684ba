// Calls the server's native routes. Errors carry the server's own words.

const KEY = "umbel-key";
const RETRIES = 3;

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

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// A full queue is asked again, when it says.
async function send(method, path, body, signal) {
  const headers = key.get() ? { authorization: `Bearer ${key.get()}` } : {};
  if (body) headers["content-type"] = "application/json";
  for (let left = RETRIES; ; left--) {
    const answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
    if (answer.ok) return answer;
    if (answer.status !== 429 || !left) {
      const told = await answer.json().catch(() => ({}));
      throw new ServerError(answer.status, told.error?.message ?? `${answer.status} ${answer.statusText}`, told.error?.hint);
    }
    await pause(Number(answer.headers.get("retry-after")) || 1);
    signal?.throwIfAborted();
  }
}

const post = async (path, body, signal) => (await send("POST", path, body, signal)).json();
const get = async (path) => (await send("GET", path)).json();

// Lone halves of UTF-16 pairs have no UTF-8; each becomes one U+FFFD, so that offsets stay as they are.
export const clean = (text) => text.toWellFormed?.() ?? text;

export const packs = async () => (await get("/v1/packs")).packs;
export const tasks = async (pack) => (await get(`/v1/tasks?pack=${encodeURIComponent(pack)}`)).tasks;
export const analyze = (pack, texts, signal) => post("/v1/analyze", { pack, texts: texts.map(clean), cost: true }, signal);
export const ask = (pack, text, questions, signal) => post("/v1/ask", { pack, text: clean(text), questions }, signal);
export const answer = (pack, document, questions, must, signal) =>
  post("/v1/answer", { pack, document: clean(document), questions, must_answer: must }, signal);
export const teach = (lesson) => post("/v1/teach", lesson);
export const metrics = async (signal) => (await send("GET", "/metrics", null, signal)).text();
