// What all views share: the packs that are served, the one in use, its tasks, the text. Views are told of changes.

import * as api from "./api.js";
import { clean } from "./api.js";
import { find, options } from "./dom.js";
import { say } from "./words.js";

export const state = { packs: [], pack: "", tasks: new Map() };
export const changes = new EventTarget(); // "text", "pack"

export const text = () => clean(find("text").value);
export const asks = () => state.packs.find((pack) => pack.name === state.pack)?.asks ?? false;
export const teachable = (task) => task.kind === "text-classification" && !task.multi_label;

export function setText(words) {
  find("text").value = words;
  changes.dispatchEvent(new Event("text"));
}

export async function loadPacks() {
  state.packs = await api.packs();
  const names = state.packs.map((pack) => pack.name);
  await usePack(names.includes(state.pack) ? state.pack : names[0]);
}

export async function usePack(name) {
  const tasks = await api.tasks(name);
  state.pack = name;
  state.tasks = new Map(tasks.map((task) => [task.name, task]));
  options(find("pack"), state.packs.map((pack) => pack.name), name);
  changes.dispatchEvent(new Event("pack"));
}

// Shows what went wrong, in the server's words where it gave any; null takes it away.
export function complain(error) {
  const place = find("error");
  place.hidden = !error;
  place.textContent = !error ? "" : error instanceof TypeError ? say("unreached") : error.message;
  if (error?.status === 401) find("key-dialog").showModal();
}

// Runs what a person asked for, and shows what went wrong.
export async function attempt(run) {
  try {
    complain(null);
    return await run();
  } catch (error) {
    complain(error);
    return undefined;
  }
}
