// Makes elements. Values become text, never markup; styles are set by script, as the page's rules allow.

export const find = (id) => document.getElementById(id);

// element("p", { class: "quiet", onclick }, "words", child): null children are left out.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [rule, worth] of Object.entries(value)) made.style.setProperty(rule, worth);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const options = (select, names, chosen) => {
  select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  if (names.includes(chosen)) select.value = chosen;
};

// Calls `run` once typing has paused.
export function debounced(run, milliseconds) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), milliseconds);
  };
}

// Gives only the newest call's answer on: those before it are aborted, and dropped should they arrive all the same.
export function newest(run) {
  let current = null;
  return async (...given) => {
    current?.abort();
    const mine = (current = new AbortController());
    const stale = () => mine !== current;
    try {
      await run({ signal: mine.signal, stale }, ...given);
    } catch (error) {
      if (!stale() && error.name !== "AbortError") throw error;
    }
  };
}
