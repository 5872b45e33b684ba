// Corrects a task's answers, teaches the task, and shows the change and the proof that the others did not move.

import * as api from "./api.js";
import { bars, headline } from "./answers.js";
import { choose, same } from "./comparing.js";
import { debounced, element, find, newest, options } from "./dom.js";
import { attempt, complain, loadPacks, state, teachable, text, usePack } from "./state.js";
import { percent, say } from "./words.js";

const PAUSE = 250;
const SHORT = 60; // characters of a text that are shown
let corrections = []; // { task, text, label }
let coming = false; // from the card of an answer, until the view is shown
let now = null; // the answers to the text above
let result = null; // { learned, texts, before, after }

const task = () => find("teach-task").value;
const shorten = (words) => (Array.from(words).length > SHORT ? `${Array.from(words).slice(0, SHORT).join("")}…` : words);

export const hide = () => {};

export function start() {
  find("teach-task").addEventListener("change", drawTask);
  find("correct-form").addEventListener("submit", (event) => {
    event.preventDefault();
    add();
  });
  find("teach-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(teach);
  });
}

// Comes from the card of an answer.
export function correct(name) {
  location.hash = "teach";
  options(find("teach-task"), teachables(), name);
  coming = true;
}

const teachables = () => [...state.tasks.values()].filter(teachable).map((each) => each.name);

export function show() {
  options(find("teach-task"), teachables(), task());
  if (!find("teach-name").value) find("teach-name").value = `${state.pack}-taught`.slice(0, 64);
  drawTask();
  drawResult();
  if (coming) find("teach-label").focus();
  coming = false;
  return look();
}

export function refresh() {
  show();
}

const run = newest(async ({ signal, stale }) => {
  now = null;
  const words = text();
  if (!words.trim()) {
    drawNow();
    return;
  }
  const found = await api.analyze(state.pack, [words], signal);
  if (stale()) return;
  now = found.results[0].answers;
  drawNow();
});
const look = () => run().catch(complain);
export const changed = debounced(look, PAUSE);

function drawTask() {
  options(find("teach-label"), state.tasks.get(task())?.labels ?? [], find("teach-label").value);
  find("teach-button").disabled = !teachables().length;
  if (!teachables().length) find("teach-status").textContent = say("nothingToTeach");
  drawNow();
  drawCorrections();
}

function drawNow() {
  const answer = now?.[task()];
  find("teach-now").replaceChildren(
    ...(answer ? [say("now"), " ", element("strong", {}, answer.label), ` ${percent(answer.probability)}`] : [say("needText")]),
  );
}

function add() {
  complain(null);
  const words = text();
  if (!words.trim()) {
    find("text").focus();
    return;
  }
  corrections = corrections.filter((each) => each.task !== task() || each.text !== words);
  corrections.push({ task: task(), text: words, label: find("teach-label").value });
  find("teach-status").textContent = "";
  drawCorrections();
}

function drawCorrections() {
  const mine = corrections.filter((each) => each.task === task());
  find("no-corrections").hidden = mine.length > 0;
  find("corrections").replaceChildren(
    ...mine.map((each) => {
      const remove = () => {
        corrections = corrections.filter((other) => other !== each);
        drawCorrections();
        find("teach-label").focus();
      };
      const name = say("removeCorrection", shorten(each.text));
      return element(
        "li",
        {},
        element("q", {}, shorten(each.text)),
        " → ",
        element("strong", {}, each.label),
        " ",
        element("button", { type: "button", class: "link", "aria-label": name, onclick: remove }, say("remove")),
      );
    }),
  );
}

async function teach() {
  const mine = corrections.filter((each) => each.task === task());
  if (!mine.length) {
    find("teach-status").textContent = say("needCorrection");
    find("teach-label").focus();
    return;
  }
  const pack = state.pack;
  const examples = mine.map(({ text, label }) => ({ text, label }));
  const texts = examples.map((each) => each.text);
  const lesson = { task: task(), examples, pack, name: find("teach-name").value, correct: true };
  const ticking = tick();
  find("teach-button").disabled = true;
  try {
    const before = (await api.analyze(pack, texts)).results;
    const learned = await api.teach(lesson);
    const after = (await api.analyze(learned.pack, texts)).results;
    result = { learned, from: pack, examples, before, after };
  } finally {
    clearInterval(ticking);
    find("teach-button").disabled = false;
    find("teach-status").textContent = "";
  }
  await loadPacks();
  drawResult();
  find("teach-status").textContent = say("taught", result.learned.task, result.learned.pack);
}

// The seconds that pass are seen, but read out only now and then.
function tick() {
  const began = performance.now();
  const place = find("teach-status");
  const seconds = element("span", { "aria-hidden": "true" }, say("teaching", 0));
  place.replaceChildren(element("span", { class: "hidden" }, say("working")), seconds);
  return setInterval(() => (seconds.textContent = say("teaching", Math.round((performance.now() - began) / 1000))), 1000);
}

function drawResult() {
  if (!result) return;
  const { learned, from, examples, before, after } = result;
  const others = before.flatMap((each, place) =>
    Object.keys(each.answers)
      .filter((name) => name !== learned.task)
      .map((name) => same(each.answers[name], after[place].answers[name])),
  );
  const use = () => attempt(() => usePack(learned.pack));
  const compare = () => {
    choose(from, learned.pack);
    location.hash = "compare";
  };
  find("teach-result").replaceChildren(
    element("h3", {}, say("change")),
    ...examples.map((each, place) => drawChange(each, before[place].answers[learned.task], after[place].answers[learned.task])),
    element("h3", {}, say("proof")),
    element(
      "ul",
      { class: "proof", "data-same": String(others.every(Boolean)) },
      element("li", {}, say("proofServer", learned.unchanged.files, learned.unchanged.answers)),
      element("li", {}, say("proofHere", others.filter(Boolean).length, others.length)),
    ),
    element(
      "div",
      { class: "row" },
      element("button", { type: "button", onclick: use }, say("usePack")),
      from === learned.pack ? null : element("button", { type: "button", onclick: compare }, say("comparePacks")),
    ),
  );
}

function drawChange(example, before, after) {
  const side = (name, answer) =>
    element("div", { class: "card", "data-side": name }, element("h4", {}, say(name)), element("p", { class: "headline" }, headline(answer)), bars(answer.probabilities, [answer.label]));
  return element("div", { class: "change" }, element("p", {}, element("q", {}, shorten(example.text)), " → ", element("strong", {}, example.label)), element("div", { class: "cards" }, side("before", before), side("after", after)));
}
