// Every task's answer to the text, live: debounced, and only the newest text's answers are shown.

import * as api from "./api.js";
import { card } from "./answers.js";
import { debounced, element, find, newest } from "./dom.js";
import { mark, palette } from "./marks.js";
import { complain, state, teachable, text } from "./state.js";
import { duration, say } from "./words.js";

const PAUSE = 250; // milliseconds without a key until the text is sent
const colour = palette();
const shownTasks = new Map(); // by task: whether its marks are shown, as chosen by hand
let last = null; // { words, result, time }

export const correcting = { start: () => {} }; // set by main

const run = newest(async ({ signal, stale }) => {
  const words = text();
  if (!words.trim()) {
    last = null;
    draw();
    return;
  }
  find("analyse").setAttribute("aria-busy", "true");
  const began = performance.now();
  const found = await api.analyze(state.pack, [words], signal);
  if (stale()) return;
  last = { words, result: found.results[0], time: performance.now() - began };
  complain(null);
  draw();
});

export const refresh = () =>
  run()
    .catch(complain)
    .finally(() => find("analyse").removeAttribute("aria-busy"));
export const changed = debounced(refresh, PAUSE);
export const show = refresh;
export const hide = () => {};

export function draw() {
  find("analyse-status").textContent = last ? say("analysed", Object.keys(last.result.answers).length, duration(last.time)) : say("empty");
  for (const id of ["analyse-cost", "answers", "other-answers", "chips", "marked"]) if (!last) find(id).replaceChildren();
  find("marked-box").hidden = find("others").hidden = true;
  if (!last) return;
  const { answers, language } = last.result;
  const known = Object.keys(answers).filter((name) => state.tasks.has(name));
  const fits = (name) => speaks(state.tasks.get(name), language);
  drawCost();
  drawMarks(known, fits);
  find("answers").replaceChildren(...known.filter(fits).map(drawCard));
  const others = known.filter((name) => !fits(name));
  find("others").hidden = !others.length;
  find("others-title").textContent = say("othersTitle", others.length);
  find("other-answers").replaceChildren(...others.map(drawCard));
}

const speaks = (task, language) => !task.languages.length || task.languages.includes(language) || !["en", "zh"].includes(language);

function drawCard(name) {
  const task = state.tasks.get(name);
  const answer = last.result.answers[name];
  const correct = teachable(task) ? () => correcting.start(name) : null;
  return card(task, answer, last.result.cost?.milliseconds[name], colour, correct);
}

// One bar for what was shared and for what each task added.
function drawCost() {
  const { tokens, milliseconds, milliseconds_encoding: reading } = last.result.cost;
  const all = Object.values(milliseconds);
  const tasks = all.reduce((sum, each) => sum + each, 0);
  const part = (name, share) => element("span", { class: name, style: { "flex-grow": String(share) } });
  find("analyse-cost").replaceChildren(
    element("div", { class: "split", "aria-hidden": "true" }, part("reading", reading), part("tasks", tasks)),
    element(
      "ul",
      {},
      element("li", { class: "reading" }, `${say("costReading")}: ${reading ? duration(reading) : say("costKept")} (${say("costTokens", tokens)})`),
      element("li", { class: "tasks" }, `${say("costTasks", all.length)}: ${duration(tasks)}`),
    ),
  );
}

// Of spans that several tasks give alike, the likeliest.
function distinct(spans) {
  const found = new Map();
  for (const span of spans) {
    const name = `${span.start} ${span.end} ${span.label}`;
    if (!(found.get(name)?.probability >= span.probability)) found.set(name, span);
  }
  return [...found.values()];
}

function drawMarks(known, fits) {
  const spanned = known.filter((name) => last.result.answers[name].spans?.length);
  find("marked-box").hidden = !spanned.length;
  const shown = (name) => shownTasks.get(name) ?? fits(name);
  const spans = spanned.filter(shown).flatMap((name) => last.result.answers[name].spans);
  mark(find("marked"), last.words, distinct(spans), colour);
  const chosen = document.activeElement?.dataset?.chip;
  find("chips").replaceChildren(
    ...spanned.map((name) => {
      const box = element("input", { type: "checkbox", "data-chip": name, onchange: () => (shownTasks.set(name, box.checked), draw()) });
      box.checked = shown(name);
      return element("label", { class: "chip" }, box, ` ${name}`);
    }),
  );
  if (chosen) find("chips").querySelector(`[data-chip="${chosen}"]`)?.focus();
}

