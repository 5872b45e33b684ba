// Free questions on the text: choice, predicate, score, spans of types. One request, one reading of the text.

import * as api from "./api.js";
import { questionCard } from "./answers.js";
import { element, find, newest } from "./dom.js";
import { mark, palette } from "./marks.js";
import { asks, complain, state, text } from "./state.js";
import { chosen, duration, say } from "./words.js";

const KINDS = ["choice", "predicate", "score", "mentions"];
const FIRST = {
  en: [
    { kind: "choice", words: "Which team should answer?", options: "billing: payments and refunds\ntechnical: something does not work\nshipping" },
    { kind: "predicate", words: "The customer wants money back", options: "" },
    { kind: "score", words: "How angry is the customer?", options: "calm\nannoyed\nfurious" },
    { kind: "mentions", words: "", options: "product\nproblem" },
  ],
  zh: [
    { kind: "choice", words: "应该由哪个团队回复？", options: "账单：付款和退款\n技术：无法正常使用\n物流" },
    { kind: "predicate", words: "顾客想要退款", options: "" },
    { kind: "score", words: "顾客有多生气？", options: "平静\n不满\n愤怒" },
    { kind: "mentions", words: "", options: "产品\n问题" },
  ],
};
const colour = palette();
let questions = null; // as they stand in the form; null: the first ones, in the interface's language
let last = null;

export const show = () => (drawForm(), draw());
export const hide = () => {};
export const changed = () => {};
export const refresh = show;

export function start() {
  find("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run().catch(complain).finally(() => find("ask").removeAttribute("aria-busy"));
  });
  find("ask-form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("ask-form").requestSubmit();
  });
  find("add-question").addEventListener("click", () => {
    edited().push({ kind: "choice", words: "", options: "" });
    drawForm();
    find("questions").lastElementChild.querySelector("select").focus();
  });
}

const run = newest(async ({ signal, stale }) => {
  complain(null);
  if (!text().trim()) {
    find("ask-status").textContent = say("empty");
    find("text").focus();
    return;
  }
  find("ask").setAttribute("aria-busy", "true");
  find("ask-status").textContent = say("working");
  const words = text();
  const began = performance.now();
  let found;
  try {
    found = await api.ask(state.pack, words, now().map(given), signal);
  } catch (error) {
    if (!stale()) find("ask-status").textContent = "";
    throw error;
  }
  if (stale()) return;
  last = { words, answers: found.answers, time: performance.now() - began };
  draw();
});

const now = () => questions ?? FIRST[chosen()];
const edited = () => (questions ??= structuredClone(FIRST[chosen()]));

// "name: what tells it apart", one a line.
function optionsOf(lines) {
  return lines
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean)
    .map((line) => {
      const [, name, description] = line.match(/^(.+?)\s*[:：]\s*(.*)$/) ?? [null, line, ""];
      return { name, description };
    });
}

function given({ kind, words, options }) {
  if (kind === "choice") return { kind, question: words, options: optionsOf(options) };
  if (kind === "predicate") return { kind, statement: words };
  if (kind === "score") return { kind, question: words, levels: optionsOf(options) };
  return { kind, types: optionsOf(options), overlapping: true };
}

function drawForm() {
  find("questions").replaceChildren(...(asks() ? now().map(drawQuestion) : [element("p", { class: "quiet" }, say("asksNot"))]));
  for (const button of find("ask-form").querySelectorAll(".row button")) button.disabled = !asks();
}

function drawQuestion(question, place) {
  const change = (name) => (event) => (edited()[place][name] = event.target.value);
  const id = (name) => `question-${place}-${name}`;
  const kinds = element(
    "select",
    { id: id("kind"), onchange: (event) => (change("kind")(event), drawForm(), find(id("kind")).focus()) },
    ...KINDS.map((kind) => element("option", { value: kind }, say(`kind_${kind}`))),
  );
  kinds.value = question.kind;
  const parts = [element("label", { for: id("kind") }, say("kind")), kinds];
  if (question.kind !== "mentions") {
    parts.push(element("label", { for: id("words") }, say(`words_${question.kind}`)));
    parts.push(element("input", { id: id("words"), value: question.words, required: true, oninput: change("words") }));
  }
  if (question.kind !== "predicate") {
    parts.push(element("label", { for: id("options") }, say(`options_${question.kind}`)));
    parts.push(element("textarea", { id: id("options"), rows: "3", required: true, oninput: change("options") }, question.options));
  }
  const remove = () => {
    edited().splice(place, 1);
    drawForm();
    find("add-question").focus();
  };
  parts.push(element("button", { type: "button", class: "link", "aria-label": say("removeQuestion", place + 1), onclick: remove }, say("remove")));
  return element("fieldset", { class: "panel" }, element("legend", {}, say("question", place + 1)), ...parts);
}

function draw() {
  find("ask-status").textContent = last ? say("asked", last.answers.length, duration(last.time)) : "";
  find("ask-answers").replaceChildren(...(last?.answers ?? []).map((answer) => questionCard(answer.question, answer, colour)));
  const spans = (last?.answers ?? []).flatMap((answer) => answer.spans ?? []);
  find("ask-marked").hidden = !spans.length;
  mark(find("ask-marked"), last?.words ?? "", spans, colour);
}
