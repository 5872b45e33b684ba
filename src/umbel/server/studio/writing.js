// A text that a decoder writes, shown as it comes, with what it rests on and what the pack found in it.

import * as api from "./api.js";
import { element, find, options } from "./dom.js";
import { speaker } from "./streams.js";
import { complain, packInUse, state, text } from "./state.js";
import { duration, say } from "./words.js";

const voice = speaker(find("write-said"));
let running = null; // the controller of the stream that runs
let told = null; // draws the status anew, in the language of the moment

export const hide = () => {};
export const changed = () => {};

export function start() {
  const form = find("write-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  find("write").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    if (event.key === "Escape") running?.abort();
  });
  find("write-stop").addEventListener("click", () => running?.abort());
}

export function show() {
  const names = packInUse()?.writes ?? [];
  options(find("write-task"), names, find("write-task").value || names[0]);
  find("write-button").disabled = !names.length;
  find("no-writer").hidden = names.length > 0;
  for (const option of find("write-task").options) option.textContent = say(`write_${option.value}`) ?? option.value;
  if (told) find("write-status").textContent = told();
}
export const refresh = show;

function tell(words) {
  told = words;
  find("write-status").textContent = words();
}

async function write() {
  if (find("write-button").disabled) return;
  complain(null);
  const words = text();
  if (!words.trim()) {
    tell(() => say("empty"));
    find("text").focus();
    return;
  }
  running?.abort();
  const mine = (running = new AbortController());
  begin();
  const most = find("write-most").valueAsNumber;
  const wanted = { pack: state.pack, task: find("write-task").value, text: words, ...(most ? { max_tokens: most } : {}) };
  try {
    const result = await api.generate(wanted, mine.signal, (name, data) => mine === running && name === "token" && add(data.text));
    if (mine === running) finish(result);
  } catch (error) {
    if (mine !== running) return;
    tell(() => (error.name === "AbortError" ? say("stopped") : ""));
    if (error.name !== "AbortError") complain(error);
  } finally {
    if (mine === running) end();
  }
}

function begin() {
  tell(() => say("writing"));
  find("write-text").hidden = false;
  find("write-text").replaceChildren();
  find("write-notes").replaceChildren();
  find("write-stop").disabled = false;
  find("write").setAttribute("aria-busy", "true");
  voice.begin();
}

function add(words) {
  find("write-text").append(words);
  voice.add(words);
}

function end() {
  running = null;
  voice.end();
  const focused = document.activeElement === find("write-stop");
  find("write-stop").disabled = true;
  if (focused) find("write-button").focus();
  find("write-text").hidden = !find("write-text").textContent;
  find("write").removeAttribute("aria-busy");
}

// What stands in for a text that the pack did not pass takes its place.
function finish(result) {
  const place = find("write-text");
  if (place.textContent !== result.text) {
    place.textContent = result.text;
    voice.begin();
    voice.add(result.text);
  }
  place.lang = result.language;
  tell(() => say("written", result.usage.completion_tokens, duration(result.milliseconds), duration(result.milliseconds_first)));
  find("write-notes").replaceChildren(...notes(result));
}

function* notes(result) {
  const warn = (words) => element("p", { class: "warn" }, words);
  if (result.flagged) yield warn(say("flagged", result.flags.join(", ")));
  if (result.finish_reason === "length") yield warn(say("cutShort"));
  if (result.finish_reason === "time") yield warn(say("outOfTime"));
  if (result.dropped_turns || result.cut_tokens) yield warn(say("leftOut", result.dropped_turns, result.cut_tokens));
  if (!result.sources.length) return;
  yield element("h3", {}, say("sources"));
  const rows = result.sources.map((each) => element("li", { value: each.number }, element("q", {}, each.text), " ", element("span", { class: "quiet" }, each.source)));
  yield element("ol", { class: "sources" }, ...rows);
}
