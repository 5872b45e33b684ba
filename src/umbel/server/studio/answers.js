// Draws answers of tasks and questions: labels, probabilities as bars, scores, spans, vectors.

import { element } from "./dom.js";
import { duration, percent, say } from "./words.js";

const SHORT = 3; // probabilities shown at first
const NUMBERS = 6; // of a vector

export function bar(name, share, worth, marked = false) {
  return element(
    "li",
    { class: marked ? "bar chosen" : "bar" },
    element("span", { class: "name" }, name),
    element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "fill", style: { width: `${100 * share}%` } })),
    element("span", { class: "worth" }, worth),
  );
}

// The likeliest first; the rest on demand.
export function bars(probabilities, marked = [], most = SHORT) {
  const rows = Object.entries(probabilities).map(([name, share]) => bar(name, share, percent(share), marked.includes(name)));
  const list = element("ul", { class: "bars" }, ...rows);
  if (rows.length <= most + 1) return list;
  for (const row of rows.slice(most)) row.hidden = true;
  const toggle = element(
    "button",
    {
      type: "button",
      class: "link",
      "aria-expanded": "false",
      onclick: () => {
        const open = toggle.getAttribute("aria-expanded") === "true";
        toggle.setAttribute("aria-expanded", String(!open));
        toggle.textContent = open ? say("all", rows.length) : say("fewer");
        for (const row of rows.slice(most)) row.hidden = open;
      },
    },
    say("all", rows.length),
  );
  return element("div", {}, list, toggle);
}

export function spanList(spans, colour = () => "") {
  if (!spans.length) return element("p", { class: "quiet" }, say("nothingFound"));
  const rows = spans.map((span) =>
    element(
      "li",
      {},
      element("span", { class: `tag ${colour(span.label)}` }, span.label),
      " ",
      element("q", {}, span.text),
      " ",
      element("span", { class: "quiet" }, percent(span.probability)),
    ),
  );
  return element("ul", { class: "spans" }, ...rows);
}

// A task's answer in a few words, as a headline or a cell of a table.
export function headline(answer) {
  if ("label" in answer) return answer.label;
  if ("labels" in answer) return answer.labels.join(", ") || say("none");
  if ("score" in answer) return answer.score.toFixed(2);
  if ("spans" in answer) return answer.spans.map((span) => `${span.label}: ${span.text}`).join("; ") || say("nothingFound");
  return answer.vector.slice(0, NUMBERS).map((number) => number.toFixed(3)).join(", ") + " …";
}

function note(answer) {
  if (answer.out_of_scope) return say("outOfScope");
  return answer.abstained ? say("abstained") : null;
}

export function body(answer, colour) {
  if ("spans" in answer) return spanList(answer.spans, colour);
  if ("vector" in answer) return element("p", { class: "quiet" }, say("vector", answer.vector.length), " ", headline(answer));
  const told = note(answer);
  return element(
    "div",
    {},
    element("p", { class: "headline" }, headline(answer), told && element("span", { class: "note" }, told)),
    answer.probabilities ? bars(answer.probabilities, answer.labels ?? [answer.label]) : null,
  );
}

export function card(task, answer, milliseconds, colour, correct) {
  return element(
    "article",
    { class: "card", "data-task": task.name },
    element(
      "header",
      {},
      element("h3", {}, task.name),
      milliseconds === undefined
        ? null
        : element("span", { class: "quiet cost-of", title: say("costOf", task.name, duration(milliseconds)) }, duration(milliseconds)),
    ),
    task.description ? element("p", { class: "quiet about" }, task.description) : null,
    body(answer, colour),
    correct ? element("button", { type: "button", class: "link", "aria-label": say("correctTask", task.name), onclick: correct }, say("correct")) : null,
  );
}

// The answer to a question decided on the spot.
export function questionCard(question, answer, colour) {
  const parts = [];
  if (answer.kind === "choice") parts.push(element("p", { class: "headline" }, answer.answer), bars(answer.probabilities, [answer.answer], 10));
  if (answer.kind === "score") {
    parts.push(element("p", { class: "headline" }, answer.answer, element("span", { class: "note" }, say("score", answer.score.toFixed(2)))));
    parts.push(bars(answer.probabilities, [answer.answer], 10));
  }
  if (answer.kind === "predicate") {
    const shares = { [say("holds")]: answer.probability, [say("holdsNot")]: 1 - answer.probability };
    const word = say(answer.answer ? "holds" : "holdsNot");
    parts.push(element("p", { class: "headline" }, word), bars(shares, [word]));
  }
  if (answer.kind === "mentions") parts.push(spanList(answer.spans, colour));
  return element("article", { class: "card", "data-kind": answer.kind }, element("header", {}, element("h3", {}, question)), ...parts);
}
