// Draws a flow: a box a step, in rows by what each comes after, and lines between them; lit up where a text has gone.

import { element } from "./dom.js";
import { duration, say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const ROOT = "message";
const GONE = ["done", "fallback"]; // states of steps that the path leads through
const ARROW = 5; // pixels
const LANE = 9; // pixels between lines that pass rows
const GUTTER = 44; // pixels beside the boxes where they stand in one column

// Gives each step its row: one below the lowest of those that it comes after.
export function rowsOf(steps) {
  const depth = new Map([[ROOT, 0]]);
  const rows = [];
  for (const step of steps) {
    const row = 1 + Math.max(0, ...step.after.map((each) => depth.get(each.step) ?? 0));
    depth.set(step.name, row);
    (rows[row - 1] ??= []).push(step);
  }
  return rows;
}

// Draws into `place`; returns what sets a step's state, and redraws.
export function drawing(place, flow) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const root = box(ROOT, say("message"));
  const boxes = new Map([[ROOT, root], ...flow.steps.map((step) => [step.name, stepBox(step)])]);
  const row = (items) => element("li", {}, element("ul", {}, ...items));
  const rows = [[ROOT], ...rowsOf(flow.steps).map((steps) => steps.map((step) => step.name))];
  const items = rows.map((names) => row(names.map((name) => boxes.get(name))));
  place.replaceChildren(svg, element("ol", { "aria-label": say("flowSteps") }, ...items));
  const states = new Map();
  const redraw = () => drawLines(place, svg, flow, boxes, states, rows);
  const watching = new ResizeObserver(redraw);
  for (const each of [place, ...boxes.values()]) watching.observe(each);
  const set = (name, state, { milliseconds, reason, lines = [] } = {}) => {
    states.set(name, state);
    fill(boxes.get(name), state, milliseconds, reason, lines);
    redraw();
  };
  const write = (name, words) => boxes.get(name).querySelector(".said").append(words);
  return { set, write, states, close: () => watching.disconnect() };
}

function box(name, title, ...more) {
  const state = element("p", { class: "state" });
  return element("li", { class: "step", "data-step": name }, element("h4", {}, title), ...more, state, element("ul", { class: "got" }), element("p", { class: "said" }));
}

function stepBox(step) {
  const others = step.answers.filter((name) => name !== step.name);
  const limits = [step.timeout && say("atMost", step.timeout), step.fallback && say("hasFallback")].filter(Boolean);
  return box(
    step.name,
    step.name,
    element("p", { class: "does" }, say(`step_${step.action}`) ?? step.action, others.length ? `: ${others.join(", ")}` : ""),
    step.when ? element("p", { class: "when" }, say("condition", step.when)) : null,
    limits.length ? element("p", { class: "quiet" }, limits.join(", ")) : null,
  );
}

function fill(place, state, milliseconds, reason, lines) {
  place.dataset.state = state;
  const told = [say(`state_${state}`), milliseconds ? duration(milliseconds) : null, reason].filter(Boolean);
  place.querySelector(".state").textContent = place.dataset.step === ROOT ? (reason ?? "") : told.join(" · ");
  place.querySelector(".got").replaceChildren(...lines.map((line) => element("li", {}, line)));
  if (state === "waiting" || lines.length) place.querySelector(".said").replaceChildren();
}

function drawLines(place, svg, flow, boxes, states, rows) {
  const all = place.getBoundingClientRect();
  svg.setAttribute("viewBox", `0 0 ${all.width} ${all.height}`);
  const at = new Map([...boxes].map(([name, found]) => [name, within(found.getBoundingClientRect(), all)]));
  const edges = flow.steps.flatMap((step) => step.after.filter((each) => boxes.has(each.step)).map((each) => ({ ...each, from: each.step, to: step.name })));
  const paths = getComputedStyle(place).getPropertyValue("--column").trim() === "1" ? bows(edges, at) : curves(edges, at, rows, all.width);
  const lines = edges.map((edge, number) => ({ path: paths[number], kind: kindOf(edge, states) }));
  lines.sort((one, other) => one.kind.includes("lit") - other.kind.includes("lit")); // what is lit lies on top
  svg.replaceChildren(...lines.flatMap(({ path, kind }) => [shape("path", { d: path.line, class: kind }), shape("path", { d: path.head, class: `${kind} head` })]));
}

const within = (found, all) => {
  const [left, top] = [found.left - all.left, found.top - all.top];
  return { left, top, right: left + found.width, bottom: top + found.height, middle: left + found.width / 2, width: found.width, height: found.height };
};

// A line is lit where both its ends ran; `seen` where its end ran for what its beginning did not say.
function kindOf(edge, states) {
  const gone = (name) => (name === ROOT ? states.size > 0 : GONE.includes(states.get(name)));
  const arrived = gone(edge.to) || states.get(edge.to) === "running";
  const lit = arrived && (gone(edge.from) ? " lit" : edge.condition && states.get(edge.from) === "skipped" ? " lit seen" : "");
  return `edge${lit || ""}${edge.needed ? "" : " loose"}`;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// From below a box to the top of another; beside the rows between them, where there are any.
function curves(edges, at, rows, width) {
  const lanes = lanesOf(edges, at, rows, width);
  const aim = (edge, end) => lanes.get(edge) ?? at.get(edge[end]).middle;
  // Lines of one box stand apart, in the order of where they go.
  const port = (edge, end, other) => {
    const mine = edges.filter((each) => each[end] === edge[end]).sort((one, two) => aim(one, other) - aim(two, other));
    const found = at.get(edge[end]);
    return found.left + (found.width * (mine.indexOf(edge) + 1)) / (mine.length + 1);
  };
  return edges.map((edge) => {
    const [x, y, toX, toY] = [port(edge, "from", "to"), at.get(edge.from).bottom, port(edge, "to", "from"), at.get(edge.to).top];
    const end = toY - ARROW;
    const head = `M${toX - ARROW} ${end - ARROW}L${toX} ${toY}L${toX + ARROW} ${end - ARROW}Z`;
    const bend = (fromX, fromY, x, y) => `C${fromX} ${(fromY + y) / 2} ${x} ${(fromY + y) / 2} ${x} ${y}`;
    if (!lanes.has(edge)) return { line: `M${x} ${y}${bend(x, y, toX, end)}`, head };
    const lane = lanes.get(edge);
    const between = rows.slice(rows.findIndex((row) => row.includes(edge.from)) + 1, rows.findIndex((row) => row.includes(edge.to))).flat();
    const top = Math.min(...between.map((name) => at.get(name).top));
    const bottom = Math.max(...between.map((name) => at.get(name).bottom));
    return { line: `M${x} ${y}${bend(x, y, lane, top)}L${lane} ${bottom}${bend(lane, bottom, toX, end)}`, head };
  });
}

// Gives each line that passes rows a lane of its own beside them, on the side where it begins.
function lanesOf(edges, at, rows, width) {
  const rowOf = (name) => rows.findIndex((row) => row.includes(name));
  const long = edges.filter((edge) => rowOf(edge.to) - rowOf(edge.from) > 1);
  long.sort((one, other) => rowOf(one.to) - rowOf(one.from) - (rowOf(other.to) - rowOf(other.from)));
  const taken = { left: 0, right: 0 };
  return new Map(
    long.map((edge) => {
      const between = rows.slice(rowOf(edge.from) + 1, rowOf(edge.to)).flat().map((name) => at.get(name));
      const side = at.get(edge.from).middle + at.get(edge.to).middle < width - 1 ? "left" : "right";
      const out = LANE * ++taken[side] + LANE;
      const lane = side === "left" ? Math.min(...between.map((each) => each.left)) - out : Math.max(...between.map((each) => each.right)) + out;
      return [edge, Math.min(Math.max(lane, 3), width - 3)];
    }),
  );
}

// In one column a line leaves and arrives at the left, the further out the further it goes.
function bows(edges, at) {
  const rank = new Map([...at.keys()].map((name, number) => [name, number]));
  return edges.map((edge) => {
    const [from, to] = [at.get(edge.from), at.get(edge.to)];
    const [y, toY] = [from.top + from.height / 2 + 4, to.top + to.height / 2 - 4];
    const out = from.left - Math.min(GUTTER - 4, 10 + 5 * (rank.get(edge.to) - rank.get(edge.from)));
    const end = to.left - ARROW;
    return {
      line: `M${from.left} ${y}C${out} ${y} ${out} ${y} ${out} ${y + 14}L${out} ${toY - 14}C${out} ${toY} ${out} ${toY} ${end} ${toY}`,
      head: `M${end - ARROW} ${toY - ARROW}L${to.left} ${toY}L${end - ARROW} ${toY + ARROW}Z`,
    };
  });
}
