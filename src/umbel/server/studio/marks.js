// Marks spans in a text. The server counts code points, a script's strings count UTF-16 units; here all is code points.

import { element } from "./dom.js";

const COLOURS = 8;
const SURE = 0.5; // less likely spans get a broken line
const LINE = 32; // pixels of a line of text
const STEP = 5; // pixels between two lanes' lines

// Gives every span a lane that no span overlapping it has, lowest first: the longer of two that begin together is first.
export function lanes(spans) {
  const ends = [];
  return [...spans]
    .sort((one, other) => one.start - other.start || other.end - one.end)
    .map((span) => {
      let lane = ends.findIndex((end) => end <= span.start);
      if (lane < 0) lane = ends.length;
      ends[lane] = span.end;
      return { ...span, lane };
    });
}

// Cuts a text where any span begins or ends; each piece knows the spans that cover it.
export function pieces(text, spans) {
  const points = Array.from(text);
  const placed = lanes(spans);
  const cuts = [...new Set([0, points.length, ...placed.flatMap((span) => [span.start, span.end])])].sort((a, b) => a - b);
  return cuts.slice(0, -1).map((start, place) => {
    const end = cuts[place + 1];
    return {
      start,
      words: points.slice(start, end).join(""),
      spans: placed.filter((span) => span.start <= start && end <= span.end),
    };
  });
}

// Names get colours in the order in which they are met.
export function palette() {
  const met = new Map();
  return (name) => {
    if (!met.has(name)) met.set(name, met.size % COLOURS);
    return `colour-${met.get(name)}`;
  };
}

const depthOf = (spans) => Math.max(0, ...lanes(spans).map((span) => span.lane + 1));

// Shows a text with its spans underlined, one line a lane, and each span's label where it begins; into `place`.
export function mark(place, text, spans, colour) {
  const depth = depthOf(spans);
  place.style.setProperty("line-height", `${LINE + STEP * depth}px`);
  const parts = pieces(text, spans).map((piece) => {
    if (!piece.spans.length) return document.createTextNode(piece.words);
    const tags = piece.spans
      .filter((span) => span.start === piece.start)
      .map((span) => element("span", { class: `tag ${colour(span.label)}` }, span.label));
    let inner = element("span", { class: "words" }, piece.words);
    for (let lane = 0; lane < depth; lane++) {
      const span = piece.spans.find((each) => each.lane === lane);
      if (!span) continue;
      const sure = span.probability >= SURE ? "lane" : "lane unsure";
      inner = element("span", { class: `${sure} ${colour(span.label)}`, style: { "padding-bottom": `${STEP * lane}px` } }, inner);
    }
    const told = piece.spans.map((span) => `${span.label}: ${span.text} (${Math.round(100 * span.probability)} %)`);
    return element("mark", { title: told.join("\n") }, ...tags, inner);
  });
  place.replaceChildren(...parts);
}
