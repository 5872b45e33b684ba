// Starts the studio: views by the address's hash, the pack, the language, the text, the key.

import * as analyse from "./analyse.js";
import { key } from "./api.js";
import * as asking from "./asking.js";
import * as comparing from "./comparing.js";
import { element, find } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import * as live from "./live.js";
import * as reading from "./reading.js";
import { attempt, changes, complain, loadPacks, setText, text, usePack } from "./state.js";
import * as teaching from "./teaching.js";
import { say, speak } from "./words.js";

const VIEWS = { analyse, ask: asking, document: reading, teach: teaching, compare: comparing, live };
const WITHOUT_TEXT = ["document", "live"];
const LANGUAGE = "umbel-language";

const named = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "analyse");
let view = named();

function go() {
  VIEWS[view].hide();
  view = named();
  for (const name of Object.keys(VIEWS)) find(name).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  find("composer").hidden = WITHOUT_TEXT.includes(view);
  complain(null);
  VIEWS[view].show();
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

function listen() {
  addEventListener("hashchange", go);
  find("text").addEventListener("input", () => changes.dispatchEvent(new Event("text")));
  changes.addEventListener("text", () => {
    find("count").textContent = say("characters", Array.from(text()).length);
    VIEWS[view].changed();
  });
  changes.addEventListener("pack", () => VIEWS[view].refresh());
  find("pack").addEventListener("change", () => attempt(() => usePack(find("pack").value)));
  find("language").addEventListener("change", () => {
    localStorage.setItem(LANGUAGE, find("language").value);
    chooseLanguage(find("language").value);
    VIEWS[view].refresh();
  });
  find("key-button").addEventListener("click", () => {
    find("key-input").value = key.get();
    find("key-dialog").showModal();
  });
  find("key-form").addEventListener("submit", () => {
    key.set(find("key-input").value.trim());
    attempt(loadPacks);
  });
}

listen();
for (const each of [asking, reading, teaching, comparing, live]) each.start();
analyse.correcting.start = teaching.correct;
chooseLanguage(localStorage.getItem(LANGUAGE) ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
if (!find("text").value) find("text").value = EXAMPLES[navigator.language.startsWith("zh") ? 1 : 0];
drawText();
for (const name of Object.keys(VIEWS)) find(name).hidden = name !== named();
await attempt(loadPacks);
go();
