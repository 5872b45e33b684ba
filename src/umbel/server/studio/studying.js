// What a study of interference found, as a report holds it: who gains, who gives what to whom, and what training went through.

import { element } from "./dom.js";
import { balance, lines, matrix } from "./plots.js";
import { say, signed } from "./words.js";

export function* drawStudy(study) {
  if (!study?.mean_change) return;
  yield element("h3", {}, say("interference"));
  yield element("p", {}, say("studied", study.trainings, study.seeds.length, study.budget.rows), " ", say("studyMean", ...study.mean_change.map((each) => signed(each))));
  const changes = Object.entries(study.tasks).sort(([, one], [, other]) => other.change[0] - one.change[0]);
  yield balance(changes.map(([name, { change: [value, low, high] }]) => [name, value, `${signed(value, 1)} (${signed(low, 1)} – ${signed(high, 1)})`]));
  yield* transfers(study);
  if (!study.conflict?.length) return;
  yield element("div", { class: "plots" }, conflict(study.conflict), drift(study.drift));
}

function* transfers(study) {
  const order = study.order ?? Object.keys(study.tasks);
  const tell = (value) => signed(value, 1);
  if (study.pairs.length) {
    const values = order.map((from) => order.map((to) => study.pairs.find((pair) => pair.from === from && pair.to === to)?.change[0] ?? null));
    yield matrix(say("transferPairs"), order, order, values, tell, true);
  }
  if (!study.estimated) return;
  const values = study.estimated.lookahead.map((row, from) => row.map((value, to) => (from === to ? null : value)));
  yield matrix(say("transferEstimated"), order, order, values, (value) => signed(value), true);
}

function conflict(moments) {
  const groups = Object.keys(moments[0].groups);
  const series = groups.map((name) => ({ name, points: moments.map((moment) => [100 * moment.fraction, moment.groups[name].mean]) }));
  return lines(say("conflict"), series, { label: say("ofTraining"), from: 0, to: 100 }, { label: say("cosine") });
}

function drift(moments) {
  const points = moments.map((moment) => [100 * moment.fraction, moment.mean]);
  return lines(say("drift"), [{ name: say("drift"), points }], { label: say("ofTraining"), from: 0, to: 100 }, { label: say("moved") });
}
