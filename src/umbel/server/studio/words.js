// The interface speaks English and Chinese. Names of packs, tasks and labels stay as the pack has them.

import { EN } from "./words_en.js";
import { ZH } from "./words_zh.js";

export const WORDS = { en: EN, zh: ZH };

let language = "en";

export const chosen = () => language;

export function say(name, ...values) {
  const word = WORDS[language][name];
  return typeof word === "function" ? word(...values) : word;
}

// Puts the words of a language into the page: [data-word] text, [data-name] names for readers, [data-hint] placeholders.
export function speak(wanted) {
  language = wanted in WORDS ? wanted : "en";
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  document.title = say("title");
  for (const each of document.querySelectorAll("[data-word]")) each.textContent = say(each.dataset.word);
  for (const each of document.querySelectorAll("[data-name]")) each.setAttribute("aria-label", say(each.dataset.name));
  for (const each of document.querySelectorAll("[data-hint]")) each.placeholder = say(each.dataset.hint);
}

export const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

export const signed = (value, digits = 2) => `${value > 0 ? "+" : ""}${value.toFixed(digits)}`;

export function duration(milliseconds) {
  if (milliseconds < 1) return say("microseconds", (1000 * milliseconds).toFixed(0));
  if (milliseconds < 1000) return say("milliseconds", milliseconds.toFixed(milliseconds < 10 ? 1 : 0));
  return say("seconds", (milliseconds / 1000).toFixed(1));
}
