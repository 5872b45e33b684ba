// Starts the studio: views by the address's hash, the pack, the language, the text, the key.

import * as analyse from "./analyse.js";
import { busy, key } from "./api.js";
import * as asking from "./asking.js";
import * as comparing from "./comparing.js";
import { element, find } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import * as flowing from "./flowing.js";
import * as live from "./live.js";
import * as reading from "./reading.js";
import * as reporting from "./reporting.js";
import { askForKey, attempt, changes, complain, loadPacks, setText, state, text, usePack } from "./state.js";
import * as teaching from "./teaching.js";
import { say, speak } from "./words.js";
import * as writing from "./writing.js";

const VIEWS = { analyse, ask: asking, document: reading, write: writing, flow: flowing, teach: teaching, compare: comparing, report: reporting, live };
const WITHOUT_TEXT = ["document", "report", "live"];
const LANGUAGE = "umbel-language";

const named = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "analyse");
let view = named();
let started = false;

function go() {
  VIEWS[view].hide();
  view = named();
  for (const name of Object.keys(VIEWS)) find(name).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash !== `#${view}`) link.removeAttribute("aria-current");
    else {
      link.setAttribute("aria-current", "page");
      const nav = link.parentElement; // on a phone it scrolls
      nav.scrollLeft = link.offsetLeft - nav.offsetLeft - (nav.clientWidth - link.offsetWidth) / 2;
    }
  }
  find("composer").hidden = WITHOUT_TEXT.includes(view);
  if (state.packs.length) VIEWS[view].show();
}

function drawText() {
  find("count").textContent = say("characters", Array.from(text()).length);
  const button = (words, place) =>
    element("button", { type: "button", class: "link", lang: /[\u4e00-\u9fff]/.test(words) ? "zh" : "en", title: words, onclick: () => setText(words) }, say("example", place + 1));
  find("samples").replaceChildren(...EXAMPLES.map(button));
}

function chooseLanguage(wanted) {
  speak(wanted);
  find("language").value = wanted;
  drawText();
}

// Says that a full queue is waited for.
function wait(seconds) {
  find("busy").hidden = !seconds;
  find("busy").textContent = seconds ? say("busy", seconds) : "";
}

function listen() {
  addEventListener("hashchange", () => {
    complain(null);
    go();
  });
  find("text").addEventListener("input", () => changes.dispatchEvent(new Event("text")));
  changes.addEventListener("text", () => {
    find("count").textContent = say("characters", Array.from(text()).length);
    VIEWS[view].changed();
  });
  changes.addEventListener("pack", () => started && VIEWS[view].refresh());
  find("pack").addEventListener("change", () => attempt(() => usePack(find("pack").value)));
  find("language").addEventListener("change", () => {
    localStorage.setItem(LANGUAGE, find("language").value);
    chooseLanguage(find("language").value);
    VIEWS[view].refresh();
  });
  find("key-button").addEventListener("click", () => askForKey(false));
  busy.addEventListener("wait", (event) => wait(event.detail));
  busy.addEventListener("done", () => wait(0));
  find("key-form").addEventListener("submit", () => {
    key.set(find("key-input").value.trim());
    attempt(loadPacks);
  });
}

listen();
for (const each of [asking, reading, writing, flowing, teaching, comparing, reporting, live]) each.start();
analyse.correcting.start = teaching.correct;
chooseLanguage(localStorage.getItem(LANGUAGE) ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
if (!find("text").value) find("text").value = EXAMPLES[navigator.language.startsWith("zh") ? 1 : 0];
drawText();
for (const name of Object.keys(VIEWS)) find(name).hidden = name !== named();
await attempt(loadPacks);
started = true;
go();
