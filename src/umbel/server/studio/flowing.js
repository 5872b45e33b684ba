// The pack's flow: drawn as it is declared, then run on the text, step by step, with the path taken and the reply.

import * as api from "./api.js";
import { headline } from "./answers.js";
import { element, find, newest } from "./dom.js";
import { drawing } from "./drawing.js";
import { speaker } from "./streams.js";
import { complain, packInUse, state, text } from "./state.js";
import { duration, percent, say } from "./words.js";

const MOST = 6; // answers of a step that are shown
const STATES = { ran: "done", skipped: "skipped", failed: "failed", "timed out": "failed" };
const voice = speaker(find("flow-said"));
let declared = null; // { pack, flow }; flow null where the pack declares none
let map = null;
let running = null;
let last = null; // { states: what each step was told to be, result }

export const hide = () => {};
export const changed = () => {};

export function start() {
  find("flow-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  find("flow").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("flow-form").requestSubmit();
    if (event.key === "Escape") running?.abort();
  });
  find("flow-stop").addEventListener("click", () => running?.abort());
}

const load = newest(async ({ signal, stale }) => {
  const pack = state.pack;
  const flow = packInUse()?.flow ? await api.flowOf(pack, signal) : null;
  if (stale()) return;
  if (declared?.pack !== pack) last = null;
  declared = { pack, flow };
  draw();
});

export function show() {
  if (declared?.pack !== state.pack) running?.abort();
  return load().catch(complain);
}
export const refresh = show;

// Draws the flow anew, as far as the text has come: for a pack, and for a language.
function draw() {
  const { flow } = declared;
  map?.close();
  map = null;
  find("flow-button").disabled = !flow;
  find("flow-name").hidden = !flow;
  find("flow-name").textContent = flow ? `${flow.name} · ${say("flowSteps_of", flow.steps.length)}` : "";
  find("flow-about").textContent = flow ? flow.description : say("noFlow");
  find("flow-answer").hidden = true;
  find("flow-map").replaceChildren();
  find("flow-status").textContent = "";
  if (!flow) return;
  map = drawing(find("flow-map"), flow);
  for (const step of flow.steps) map.set(step.name, "waiting");
  map.states.clear(); // nothing has gone anywhere yet
  for (const [name, told] of last?.told ?? []) map.set(name, told.state, shown(told));
  if (last?.result) finish(last.result);
}

async function run() {
  if (!declared?.flow) return;
  complain(null);
  const words = text();
  if (!words.trim()) {
    find("flow-status").textContent = say("empty");
    find("text").focus();
    return;
  }
  running?.abort();
  const mine = (running = new AbortController());
  begin();
  try {
    const result = await api.flow(state.pack, words, mine.signal, (name, data) => mine === running && heard(name, data));
    if (mine === running) finish((last.result = result));
  } catch (error) {
    if (mine !== running) return;
    find("flow-status").textContent = error.name === "AbortError" ? say("stopped") : "";
    settle();
    if (error.name !== "AbortError") complain(error);
  } finally {
    if (mine === running) end();
  }
}

function begin() {
  last = null;
  draw();
  last = { told: new Map(), result: null };
  find("flow-status").textContent = say("working");
  find("flow-stop").disabled = false;
  find("flow").setAttribute("aria-busy", "true");
  voice.begin();
}

function end() {
  running = null;
  voice.end();
  const focused = document.activeElement === find("flow-stop");
  find("flow-stop").disabled = true;
  if (focused) find("flow-button").focus();
  find("flow").removeAttribute("aria-busy");
}

// What was on its way when all ended has not come to an end.
function settle() {
  for (const [name, told] of last.told) if (told.state === "running") tell({ ...told, name, state: "waiting" });
}

function tell(told) {
  last.told.set(told.name, told);
  map.set(told.name, told.state, shown(told));
}

function heard(name, data) {
  if (name === "step") {
    tell(data);
    if (data.state === "running") find("flow-status").textContent = say("flowRunning", data.name);
  }
  if (name === "token") {
    map.write(data.step, data.text);
    find("flow-answer").hidden = false;
    if (find("flow-reply").dataset.step !== data.step) find("flow-reply").replaceChildren();
    find("flow-reply").dataset.step = data.step;
    find("flow-reply").append(data.text);
    voice.add(data.text);
  }
}

const shown = ({ milliseconds, reason, answer }) => ({ milliseconds, reason, lines: linesOf(answer ?? {}) });

function finish(result) {
  for (const step of result.steps) {
    const known = last.told.get(step.name);
    const answer = known?.answer ?? Object.fromEntries(step.answers.map((name) => [name, result.answers[name]]));
    tell({ name: step.name, state: step.fallback ? "fallback" : STATES[step.state], reason: step.why, milliseconds: step.state === "skipped" ? undefined : step.milliseconds, answer });
  }
  map.set("message", "done", { reason: say("messageRead", duration(result.reading_milliseconds)) });
  const ran = result.steps.filter((step) => step.state === "ran" || step.fallback).length;
  find("flow-status").textContent = say("flowDone", ran, result.steps.length, duration(result.milliseconds));
  const reply = find("flow-reply");
  if (running && reply.textContent !== result.reply) {
    voice.begin();
    voice.add(result.reply ?? "");
  }
  find("flow-answer").hidden = false;
  reply.lang = result.language;
  reply.textContent = result.reply ?? say("flowNoReply");
  delete reply.dataset.step;
}

// A step's answers, a line each.
export function linesOf(answers) {
  const entries = Object.entries(answers);
  const lines = entries.slice(0, MOST).map(([name, answer]) => element("span", {}, element("b", {}, name), ` ${worth(answer)}`));
  return entries.length > MOST ? [...lines, "…"] : lines;
}

function worth(answer) {
  if ("holds" in answer) return `${say(answer.holds ? "holds" : "holdsNot")} ${percent(answer.probability)}`;
  if ("level" in answer) return `${answer.level} (${answer.score.toFixed(2)})`;
  if ("passages" in answer) return [say("passages", answer.passages.length), answer.passages[0]?.text].filter(Boolean).join(": ");
  if ("text" in answer) return answer.text ?? say("noAnswer");
  const share = answer.probability === undefined ? "" : ` ${percent(answer.probability)}`;
  return `${headline(answer) ?? say("abstained")}${share}`;
}
