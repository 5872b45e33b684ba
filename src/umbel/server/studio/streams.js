// Reads server-sent events of a response's body, and says aloud what is written, sentence by sentence.

const SENTENCE = /^[\s\S]*?(?:[.!?…]+(?=\s)|[。！？；\n]+)/;

// Yields { name, data } of each event; comments are left out. An end in the midst of an event drops it.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // what nobody reads any more is not to be written
  }
}

function parsed(block) {
  let name = "message";
  const lines = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = line.match(/^(\w+): ?(.*)$/) ?? [];
    if (field === "event") name = value;
    if (field === "data") lines.push(value);
  }
  return lines.length ? { name, data: JSON.parse(lines.join("\n")) } : null;
}

// Puts text that grows into a region that is read aloud, a sentence at a time: every few letters would be a stutter.
export function speaker(place) {
  let waiting = "";
  return {
    begin: () => ((waiting = ""), place.replaceChildren()),
    add: (words) => {
      waiting += words;
      for (let found; (found = waiting.match(SENTENCE)); waiting = waiting.slice(found[0].length)) put(place, found[0]);
    },
    end: () => (put(place, waiting), (waiting = "")),
  };
}

function put(place, words) {
  if (!words.trim()) return;
  const line = document.createElement("p");
  line.textContent = words.trim();
  place.append(line);
}
