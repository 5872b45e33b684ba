// The same text, answered by two packs: a row a task, and what differs.

import * as api from "./api.js";
import { headline } from "./answers.js";
import { debounced, element, find, newest, options } from "./dom.js";
import { complain, state, text } from "./state.js";
import { percent, say } from "./words.js";

const PAUSE = 250;
let last = null; // { left, right, versions }

export const hide = () => {};

export function start() {
  for (const id of ["left", "right"]) find(id).addEventListener("change", refresh);
  find("differing").addEventListener("change", draw);
}

export function show() {
  const names = state.packs.map((pack) => pack.name);
  const right = find("right").value || names.find((name) => name !== state.pack);
  options(find("left"), names, find("left").value || state.pack);
  options(find("right"), names, right);
  return refresh();
}

// Puts two packs side by side, from elsewhere.
export function choose(left, right) {
  const names = state.packs.map((pack) => pack.name);
  options(find("left"), names, left);
  options(find("right"), names, right);
}

const run = newest(async ({ signal, stale }) => {
  if (state.packs.length < 2 || !text().trim()) {
    last = null;
    draw();
    return;
  }
  const asked = [find("left").value, find("right").value];
  const found = await Promise.all(asked.map((pack) => api.analyze(pack, [text()], signal)));
  if (stale()) return;
  last = { names: found.map((each) => `${each.pack} ${each.version}`), answers: found.map((each) => each.results[0].answers) };
  complain(null);
  draw();
});

export const refresh = () => run().catch(complain);
export const changed = debounced(refresh, PAUSE);

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function draw() {
  if (!last) {
    find("compare-status").textContent = state.packs.length < 2 ? say("onlyOne") : say("empty");
    find("comparison").replaceChildren();
    return;
  }
  const [left, right] = last.answers;
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  const differing = names.filter((name) => !same(left[name], right[name]));
  find("compare-status").textContent = say("differences", differing.length, names.length);
  const shown = find("differing").checked ? differing : names;
  const head = [say("task"), ...last.names].map((words) => element("th", { scope: "col" }, words));
  const rows = shown.map((name) => {
    const differs = differing.includes(name);
    const flag = differs ? element("span", { class: "note" }, say("differs")) : null;
    return element(
      "tr",
      { class: differs ? "differs" : null, "data-task": name },
      element("th", { scope: "row" }, name, flag),
      cell(left[name]),
      cell(right[name]),
    );
  });
  find("comparison").replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
}

function cell(answer) {
  if (!answer) return element("td", { class: "quiet" }, say("missing"));
  const share = answer.probability;
  return element(
    "td",
    {},
    headline(answer),
    share === undefined ? null : element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "fill", style: { width: `${100 * share}%` } })),
    share === undefined ? null : element("span", { class: "quiet" }, percent(share)),
  );
}
