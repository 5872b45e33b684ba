// Questions on a document, answered in its own words, with the words marked where they stand.

import * as api from "./api.js";
import { bar } from "./answers.js";
import { element, find, newest } from "./dom.js";
import { mark, palette } from "./marks.js";
import { asks, complain, state } from "./state.js";
import { chosen, duration, percent, say } from "./words.js";

const FIRST = {
  en: {
    document:
      "Our shop in Lisbon ☕ is open from nine to five. Returns are possible within 30 days.\n\n" +
      "The shop was founded by Maria Silva in 1998.",
    questions: "Who founded the shop?\nWhen was it founded?\nWho is the baker?",
  },
  zh: {
    document: "北风户外🏕️成立于1998年，总部位于宁波，由王伟创立。\n\n订单满六十元免运费。未使用的商品可在三十天内退货。",
    questions: "总部在哪里？\n谁创立了公司？\n帐篷保修多久？",
  },
};
const colour = palette();
let touched = false;
let last = null;

export const hide = () => {};
export const changed = () => {};

export function show() {
  if (!touched) {
    find("document-text").value = FIRST[chosen()].document;
    find("document-questions").value = FIRST[chosen()].questions;
  }
  find("document-form").querySelector("[type=submit]").disabled = !asks();
  draw();
  if (!asks()) find("document-status").textContent = say("asksNot");
}
export const refresh = show;

export function start() {
  for (const id of ["document-text", "document-questions"]) find(id).addEventListener("input", () => (touched = true));
  find("document-form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("document-form").requestSubmit();
  });
  find("document-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run().catch(complain).finally(() => find("document").removeAttribute("aria-busy"));
  });
}

const run = newest(async ({ signal, stale }) => {
  complain(null);
  const words = api.clean(find("document-text").value);
  const questions = find("document-questions").value.split("\n").map((line) => line.trim()).filter(Boolean);
  find("document").setAttribute("aria-busy", "true");
  find("document-status").textContent = say("working");
  const began = performance.now();
  let found;
  try {
    found = await api.answer(state.pack, words, questions, find("must-answer").checked, signal);
  } catch (error) {
    if (!stale()) find("document-status").textContent = "";
    throw error;
  }
  if (stale()) return;
  last = { words, answers: found.answers, time: performance.now() - began };
  draw();
});

function draw() {
  find("document-status").textContent = last ? say("asked", last.answers.length, duration(last.time)) : "";
  find("document-marked").hidden = !last;
  if (!last) return;
  const spans = last.answers
    .map((answer, place) => ({ ...answer, label: String(place + 1), text: answer.answer }))
    .filter((answer) => answer.answer !== null);
  mark(find("document-marked"), last.words, spans, colour);
  find("document-answers").replaceChildren(...last.answers.map(drawAnswer));
}

function drawAnswer(answer, place) {
  const label = String(place + 1);
  const found = answer.answer !== null;
  return element(
    "article",
    { class: "card", "data-found": String(found) },
    element("header", {}, element("h3", {}, element("span", { class: `tag ${colour(label)}` }, label), ` ${answer.question}`)),
    element("p", { class: found ? "headline" : "quiet" }, found ? element("q", {}, answer.answer) : say("noAnswer")),
    element("ul", { class: "bars" }, bar(say("probability"), answer.probability, percent(answer.probability), found)),
    found ? element("button", { type: "button", class: "link", onclick: () => lead(label) }, say("showThere")) : null,
  );
}

function lead(label) {
  const tag = [...find("document-marked").querySelectorAll(".tag")].find((each) => each.textContent === label);
  const mark = tag.closest("mark");
  mark.tabIndex = -1;
  mark.focus({ preventScroll: true });
  mark.scrollIntoView({ block: "center" });
}
