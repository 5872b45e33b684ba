// What the server does now, from /metrics: numbers that grow become rates between two looks.

import * as api from "./api.js";
import { bar } from "./answers.js";
import { element, find } from "./dom.js";
import { attempt, complain, state } from "./state.js";
import { duration, percent, say } from "./words.js";
import { EXAMPLES } from "./examples.js";

const EVERY = 1000; // milliseconds between two looks
const KEPT = 60; // looks that the lines show
const MESSAGES = 64;
const AT_ONCE = 8;
const STAGES = ["tokenising", "encoding", "heads", "branches"];
let timer = null;
let paused = false;
let lost = false; // whether the last look found no server
let looks = []; // { at, values: sums by name }

// Sums the samples of each name over their labels; of `umbel_stage_seconds_total` each stage is kept, too.
export function parse(lines) {
  const values = {};
  for (const line of lines.split("\n")) {
    const sample = line.match(/^(\w+)(\{.*\})? (\S+)$/);
    if (!sample) continue;
    const [, name, labels = "", value] = sample;
    values[name] = (values[name] ?? 0) + Number(value);
    if (name === "umbel_stage_seconds_total") values[`stage_${labels.match(/stage="(\w+)"/)[1]}`] = Number(value);
  }
  return values;
}

const sum = (name) => (look) => look.values[name] ?? 0;
const rate = (name) => (look, before) => ((sum(name)(look) - sum(name)(before)) / (look.at - before.at)) * 1000;
const ratio = (above, below, scale = 1) => (look, before) => {
  const count = sum(below)(look) - sum(below)(before);
  return count ? (scale * (sum(above)(look) - sum(above)(before))) / count : null;
};
const number = (value) => (value < 10 && value % 1 ? value.toFixed(1) : Math.round(value).toLocaleString());

const TILES = [
  ["requests", rate("umbel_requests_total"), number, "umbel_requests_total"],
  ["texts", rate("umbel_encodings_total"), number, "umbel_encodings_total"],
  ["answers", rate("umbel_tasks_total"), number, "umbel_tasks_total"],
  ["questions", rate("umbel_questions_total"), number, "umbel_questions_total"],
  ["tokens", rate("umbel_written_tokens_total"), number, "umbel_written_tokens_total"],
  ["latency", ratio("umbel_request_seconds_sum", "umbel_request_seconds_count", 1000), duration, null],
  ["batch", ratio("umbel_batch_jobs_sum", "umbel_batch_jobs_count"), number, null],
  ["shared", ratio("umbel_tasks_per_encoding_sum", "umbel_tasks_per_encoding_count"), number, null],
  ["waiting", sum("umbel_queue_jobs"), number, null],
  ["hits", rate("umbel_cache_hits_total"), number, "umbel_cache_hits_total"],
  ["rejected", rate("umbel_rejections_total"), number, "umbel_rejections_total"],
];

export const changed = () => {};

export function start() {
  find("pause").addEventListener("click", () => {
    paused = !paused;
    find("pause").setAttribute("aria-pressed", String(paused));
  });
  find("load").addEventListener("click", () => attempt(load).finally(() => (find("load").disabled = false)));
}

export function show() {
  hide();
  draw();
  return look();
}
export const refresh = draw;

export function hide() {
  clearTimeout(timer);
  timer = null;
}

async function look() {
  const mine = (timer = setTimeout(look, EVERY));
  if (paused || document.hidden) return;
  try {
    const values = parse(await api.metrics());
    if (mine !== timer) return;
    looks = [...looks, { at: performance.now(), values }].slice(-KEPT - 1);
    if (lost) complain(null);
    lost = false;
    draw();
  } catch (error) {
    if (mine !== timer) return;
    if (error.status === 401) hide(); // until there is a key
    lost = true;
    complain(error);
  }
}

function draw() {
  const latest = looks.at(-1);
  find("tiles").replaceChildren(...TILES.map(([name, worth, show, total]) => tile(name, worth, show, latest && total && sum(total)(latest))));
  const all = latest ? STAGES.map((stage) => sum(`stage_${stage}`)(latest)) : [];
  const whole = all.reduce((one, other) => one + other, 0);
  const rows = whole ? STAGES.map((stage, place) => bar(say(stage), all[place] / whole, percent(all[place] / whole))) : [];
  find("stages").replaceChildren(element("ul", { class: "bars" }, ...rows));
}

function tile(name, worth, show, total) {
  const worths = looks.slice(1).map((look, place) => worth(look, looks[place]));
  const last = worths.at(-1) ?? null;
  return element(
    "div",
    { class: "tile", "data-tile": name },
    element("h3", {}, say(name)),
    element("p", { class: "big" }, last === null ? "–" : show(last)),
    line(worths.map((each) => each ?? 0)),
    typeof total === "number" ? element("p", { class: "quiet" }, say("total", number(total))) : null,
  );
}

function line(worths) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["viewBox", `0 0 ${KEPT} 20`], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
  const most = Math.max(...worths, 1e-9);
  const path = document.createElementNS(svg.namespaceURI, "polyline");
  const from = KEPT - worths.length;
  path.setAttribute("points", worths.map((worth, place) => `${from + place},${(19 - 18 * (worth / most)).toFixed(1)}`).join(" "));
  svg.append(path);
  return svg;
}

// Some of the example messages, a few requests at a time, so that there is something to see.
async function load() {
  find("load").disabled = true;
  const texts = Array.from({ length: MESSAGES }, (_, place) => `${EXAMPLES[place % EXAMPLES.length]} (${place + 1})`);
  const began = performance.now();
  let done = 0;
  const send = async (from) => {
    for (let place = from; place < texts.length; place += AT_ONCE) {
      await api.analyze(state.pack, [texts[place]]);
      find("load-status").textContent = say("loading", ++done, texts.length);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, (_, from) => send(from)));
  find("load-status").textContent = say("loaded", texts.length, duration(performance.now() - began));
}
