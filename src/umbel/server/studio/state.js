// What all views share: the packs that are served, the one in use, its tasks, the text. Views are told of changes.

import * as api from "./api.js";
import { clean, key } from "./api.js";
import { find, options } from "./dom.js";
import { say } from "./words.js";

export const state = { packs: [], pack: "", tasks: new Map() };
export const changes = new EventTarget(); // "text", "pack"

export const text = () => clean(find("text").value);
export const packInUse = () => state.packs.find((pack) => pack.name === state.pack);
export const asks = () => packInUse()?.asks ?? false;
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

const TOLD = [401, 403, 413, 429, 503]; // statuses that have words of their own here

function toldOf(error) {
  if (error instanceof api.UnreachedError) return say("unreached");
  if (error instanceof api.BrokenError) return say("broken");
  const status = error.status >= 500 && error.status !== 503 && error.status !== 501 ? 500 : error.status;
  if (!(error instanceof api.ServerError)) reportError(error); // a fault of this page
  return TOLD.includes(status) || status === 500 ? `${say(`status${status}`)} ${error.message}` : error.message;
}

// Shows what went wrong, with the server's words where it gave any; null takes it away.
export function complain(error) {
  const place = find("error");
  place.hidden = !error;
  place.textContent = error ? toldOf(error) : "";
  if (error?.status === 401) askForKey(Boolean(key.get()));
}

// Asks for the server's key, and says where the one that is kept was refused.
export function askForKey(refused) {
  find("key-error").hidden = !refused;
  find("key-error").textContent = say("status401");
  find("key-input").value = key.get();
  if (!find("key-dialog").open) find("key-dialog").showModal();
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
