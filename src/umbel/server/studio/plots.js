// Small plots for a report: lines over axes, bars about a zero, matrices as tables whose cells are tinted.

import { element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [300, 190, 44, 36, 8, 14];
const TICKS = 4;

function part(name, attributes, words) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words !== undefined) made.textContent = words;
  return made;
}

const short = (value) => (Math.abs(value) >= 100 || Number.isInteger(value) ? String(Math.round(value)) : String(Number(value.toPrecision(2))));

// series: [{ name, points: [[x, y]] }]; x and y: { label, from, to }, fitted to the points where not given.
export function lines(title, series, x, y, diagonal = false) {
  const fit = (axis, place) => {
    const all = series.flatMap((each) => each.points.map((point) => point[place]));
    const [from, to] = [axis.from ?? Math.min(0, ...all), axis.to ?? Math.max(...all)];
    return [from, to > from ? to : from + 1];
  };
  const [[x0, x1], [y0, y1]] = [fit(x, 0), fit(y, 1)];
  const atX = (value) => LEFT + ((value - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
  const atY = (value) => HEIGHT - BOTTOM - ((value - y0) / (y1 - y0)) * (HEIGHT - BOTTOM - TOP);
  const svg = part("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img", "aria-label": title });
  for (let step = 0; step <= TICKS; step++) {
    const [alongX, alongY] = [x0 + ((x1 - x0) * step) / TICKS, y0 + ((y1 - y0) * step) / TICKS];
    svg.append(part("path", { class: "grid", d: `M${LEFT} ${atY(alongY)}H${WIDTH - RIGHT}` }));
    svg.append(part("text", { x: LEFT - 4, y: atY(alongY) + 3, "text-anchor": "end" }, short(alongY)));
    svg.append(part("text", { x: atX(alongX), y: HEIGHT - BOTTOM + 13, "text-anchor": "middle" }, short(alongX)));
  }
  svg.append(part("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 4, "text-anchor": "middle", class: "axis" }, x.label));
  const middle = (TOP + HEIGHT - BOTTOM) / 2;
  svg.append(part("text", { x: 11, y: middle, "text-anchor": "middle", class: "axis", transform: `rotate(-90 11 ${middle})` }, y.label));
  if (diagonal) svg.append(part("path", { class: "grid ideal", d: `M${atX(x0)} ${atY(y0)}L${atX(x1)} ${atY(y1)}` }));
  series.forEach((each, place) => {
    const colour = `colour-${place % 8}`;
    const points = each.points.map(([one, other]) => [atX(one).toFixed(1), atY(other).toFixed(1)]);
    svg.append(part("polyline", { class: `curve ${colour}`, points: points.map((point) => point.join(",")).join(" ") }));
    for (const [cx, cy] of points) svg.append(part("circle", { class: `dot ${colour}`, cx, cy, r: 2 }));
  });
  const keys = series.map((each, place) => element("li", { class: `colour-${place % 8}` }, each.name));
  return element("figure", { class: "plot-box" }, element("figcaption", {}, title), svg, keys.length > 1 ? element("ul", { class: "keys" }, ...keys) : null);
}

// rows: [name, value, told]; bars to the right of the middle where something is gained, to the left where lost.
export function balance(rows) {
  const most = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-9);
  const items = rows.map(([name, value, told]) => {
    const share = (50 * Math.abs(value)) / most;
    const style = { width: `${share}%`, left: value < 0 ? `${50 - share}%` : "50%" };
    return element(
      "li",
      { class: "bar" },
      element("span", { class: "name" }, name),
      element("span", { class: "track middle", "aria-hidden": "true" }, element("span", { class: value < 0 ? "fill lost" : "fill", style })),
      element("span", { class: "worth" }, told),
    );
  });
  const longest = Math.max(...rows.map(([, , told]) => told.length));
  return element("ul", { class: "bars balance", style: { "--worth": `${longest}ch` } }, ...items);
}

// A table that scrolls by itself; `numbers` are the columns set as numbers.
export function table(title, head, rows, numbers = []) {
  const set = (place) => (numbers.includes(place) ? "number" : null);
  const top = element("tr", {}, ...head.map((words, place) => element("th", { scope: "col", class: set(place) }, words)));
  const cells = (row) => row.map((words, place) => element(place ? "td" : "th", { scope: place ? null : "row", class: set(place) }, words));
  return scrolling(title, element("table", { class: "figures" }, element("thead", {}, top), element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row))))));
}

// A matrix as a table; `tell(value)` gives a cell's words, and its colour goes with its share of the largest.
export function matrix(title, across, down, values, tell, signed = false) {
  const most = Math.max(...values.flat().map((value) => Math.abs(value ?? 0)), 1e-9);
  const cell = (value) => {
    if (value === null || value === undefined) return element("td", { class: "unknown" });
    const share = Math.round((60 * Math.abs(value)) / most);
    return element("td", { class: signed && value < 0 ? "lost" : "gained", style: { "--share": `${share}%` } }, tell(value));
  };
  const top = element("tr", {}, element("td"), ...across.map((name) => element("th", { scope: "col" }, element("span", {}, name))));
  const rows = values.map((row, place) => element("tr", {}, element("th", { scope: "row" }, down[place]), ...row.map(cell)));
  return element("figure", { class: "plot-box" }, element("figcaption", {}, title), scrolling(title, element("table", { class: "heat" }, element("thead", {}, top), element("tbody", {}, ...rows))));
}

const scrolling = (title, inner) => element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, inner);
