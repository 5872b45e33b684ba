// The report of the pack, as `umbel report` makes it; or one from a file, which the browser alone reads.

import * as api from "./api.js";
import { element, find, newest } from "./dom.js";
import { balance, lines, matrix, table } from "./plots.js";
import { drawStudy } from "./studying.js";
import { complain, state } from "./state.js";
import { chosen, duration, say, signed } from "./words.js";

let report = null;
let opened = false; // from a file

export const hide = () => {};
export const changed = () => {};

export function start() {
  find("report-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    complain(null);
    const found = await file.text().then(JSON.parse).catch(() => null);
    event.target.value = "";
    if (!found?.tasks || !found.size || !found.advice) {
      complain(new api.ServerError(0, say("notReport")));
      return;
    }
    [report, opened] = [found, true];
    draw();
  });
}

const load = newest(async ({ signal, stale }) => {
  const found = await api.report(state.pack, signal);
  if (stale()) return;
  [report, opened] = [found, false];
  draw();
});

export function show() {
  if (report && opened) return draw();
  return load().catch(complain);
}

export function refresh() {
  if (report?.pack !== state.pack) opened = false;
  return show();
}

const number = (value, digits = 1) => (typeof value === "number" ? value.toFixed(digits) : "");
const between = ([, low, high]) => (low === null || low === undefined ? "" : `${low.toFixed(1)} – ${high.toFixed(1)}`);
const count = (value) => (typeof value === "number" ? value.toLocaleString() : "");
const title = (words) => element("h3", {}, words);

function draw() {
  find("report-name").textContent = say("reportOf", report.pack, report.version);
  find("report-status").textContent = say(report.measured ? "reportMeasured" : "reportManifest");
  const parts = [...headline(), ...advice(), ...together(), ...scores(), ...drawStudy(report.interference), ...byLanguage(), ...costs(), ...byTask(), ...data()];
  find("report-body").replaceChildren(...parts);
}

function* headline() {
  if (report.description) yield element("p", {}, report.description);
  if (!report.mean_change) return;
  const [mean, low, high] = report.mean_change;
  const { task, change } = report.worst_change;
  yield element("p", {}, say("headline", signed(mean), signed(low), signed(high), report.gaining.length, report.losing.length, task, signed(change)));
}

function* advice() {
  yield title(say("next"));
  yield element("ul", {}, ...report.advice.map((each) => element("li", {}, ...coded(each[chosen()] ?? each.en))));
}

// Words between backticks are commands.
const coded = (words) => words.split("`").map((each, place) => (place % 2 ? element("code", {}, each) : each));

function* together() {
  const rows = Object.entries(report.tasks)
    .filter(([, task]) => typeof task.change === "number")
    .sort(([, one], [, other]) => other.change - one.change);
  if (!rows.length) return;
  yield title(say("together"));
  yield element("p", { class: "quiet" }, say("togetherAbout"));
  yield balance(rows.map(([name, task]) => [name, task.change, signed(task.change, 1)]));
}

function* scores() {
  const tasks = Object.entries(report.tasks);
  yield title(say("scores"));
  const row = ([name, task]) => [
    name,
    task.metric,
    number(task.score[0]),
    between(task.score),
    count(task.rows.read ?? task.rows.dev),
    number(task.alone),
    typeof task.change === "number" ? signed(task.change, 1) : "",
    task.published.map((each) => each.score).join(", "),
  ];
  const head = ["task", "metric", "scored", "interval", "rows", "alone", "changed", "published"].map((word) => say(word));
  yield table(say("scores"), head, tasks.map(row), [2, 3, 4, 5, 6, 7]);
  const notes = tasks.flatMap(([name, task]) => task.published.map((each) => `${name}: ${each.score} ${each.metric ?? task.metric}, ${each.by}, ${each.on}`));
  if (notes.length) yield element("details", {}, element("summary", {}, say("published")), element("ul", {}, ...notes.map((note) => element("li", {}, note))));
}

function* byLanguage() {
  const rows = Object.entries(report.tasks)
    .filter(([, task]) => Object.keys(task.by_language).length > 1)
    .flatMap(([name, task]) => Object.entries(task.by_language).map(([language, each]) => [name, language, count(each.rows), number(each.score[0]), between(each.score)]));
  if (!rows.length) return;
  yield title(say("languages"));
  yield table(say("languages"), ["task", "language", "rows", "scored", "interval"].map((word) => say(word)), rows, [2, 3, 4]);
}

function* costs() {
  const { size, costs: spent } = report;
  yield title(say("costs"));
  const shared = Object.entries(size.shared).map(([name, bytes]) => `${name} ${count(bytes)}`);
  yield element("p", {}, say("costShared", shared.join(", ") || say("none"), spent ? duration(spent.encoding_ms) : ""));
  const rows = Object.entries(size.tasks)
    .filter(([name, each]) => each.parameters || name in (spent?.task_ms ?? {}))
    .map(([name, each]) => [name, spent?.task_ms[name] === undefined ? "" : duration(spent.task_ms[name]), count(each.parameters), count(each.bytes)]);
  yield table(say("costs"), ["task", "timeText", "parameters", "bytes"].map((word) => say(word)), rows, [1, 2, 3]);
}

function* byTask() {
  yield title(say("taskByTask"));
  for (const [name, task] of Object.entries(report.tasks)) {
    const place = element("div");
    const box = element("details", { class: "panel", "data-report": name }, element("summary", {}, name), place);
    box.addEventListener("toggle", () => place.childNodes.length || place.replaceChildren(...ofTask(task)));
    yield box;
  }
}

function* ofTask(task) {
  if (task.description) yield element("p", { class: "quiet" }, task.description);
  const plots = [...curves(task)];
  if (plots.length) yield element("div", { class: "plots" }, ...plots);
  const confused = task.confusions;
  if (confused?.matrix && confused.labels.length > 1) {
    const shares = confused.matrix.map((row) => row.map((each) => each / Math.max(1, row.reduce((one, other) => one + other, 0))));
    yield matrix(say("confusion"), confused.labels, confused.labels, shares, (share) => (share ? Math.round(100 * share) : ""));
  } else if (confused?.pairs?.length) {
    yield table(say("confusion"), ["gold", "given", "rows"].map((word) => say(word)), confused.pairs.map((pair) => [pair.gold, pair.given, count(pair.rows)]), [2]);
  }
  if (task.mistakes?.length) {
    yield element("h4", {}, say("mistakes"));
    yield table(say("mistakes"), ["text", "gold", "given", "sure"].map((word) => say(word)), task.mistakes.map((each) => [each.text, listed(each.gold), listed(each.given), number(each.probability, 2)]), [3]);
  }
  if (!plots.length && !confused && !task.mistakes?.length) yield element("p", { class: "quiet" }, say("noDetails"));
}

const listed = (value) => (Array.isArray(value) ? value.map((each) => (Array.isArray(each) ? each.join(" ") : each)).join("; ") || "∅" : String(value));

function* curves(task) {
  const known = ["before", "after"].filter((name) => task.calibration?.[name]);
  if (known.length) {
    const series = known.map((name) => ({ name: say("calibrationOf", say(name), task.calibration[name].ece.toFixed(3)), points: task.calibration[name].points.map((each) => [each.confidence, each.right]) }));
    yield lines(say("calibrated"), series, { label: say("confidence"), from: 0, to: 1 }, { label: say("shareRight"), from: 0, to: 1 }, true);
  }
  if (task.risk?.length) {
    const points = task.risk.map((each) => [100 * each.coverage, 100 * each.risk]);
    yield lines(say("risk"), [{ name: say("risk"), points }], { label: say("coverage"), from: 0, to: 100 }, { label: say("shareWrong") });
  }
}

function* data() {
  yield title(say("data"));
  yield element("p", {}, say("weights", report.licence || say("notStated"), report.backbone.name));
  const rows = Object.entries(report.data).flatMap(([name, notes]) => notes.map((note) => [name, note.source, note.licence, note.language, count(note.train), count(note.dev)]));
  if (!rows.length) return;
  const shown = table(say("data"), ["task", "source", "licence", "language", "trainRows", "devRows"].map((word) => say(word)), rows, [4, 5]);
  yield element("details", {}, element("summary", {}, say("dataSets", rows.length)), shown);
}
