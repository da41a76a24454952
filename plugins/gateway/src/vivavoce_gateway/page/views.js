// What the page shows: transcript, latency, events.

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

export class Transcript {
  constructor(list) {
    this.list = list;
    this.entries = new Map();
  }

  #entry(id, role) {
    let entry = this.entries.get(id);
    if (!entry) {
      const words = element("span");
      const who = element("small", { textContent: role === "user" ? "You" : "Reply" });
      const item = element("li", { className: role }, who, words);
      entry = { item, words, who, text: "" };
      this.entries.set(id, entry);
      this.list.append(item);
    }
    return entry;
  }

  add(id, role) {
    this.#entry(id, role);
    this.#scroll();
  }

  write(id, role, text, { whole = false } = {}) {
    const entry = this.#entry(id, role);
    entry.text = whole ? text : entry.text + text;
    entry.words.textContent = entry.text;
    this.#scroll();
  }

  interrupted(id, ms) {
    const entry = this.entries.get(id);
    if (entry) entry.who.textContent = `Reply, interrupted after ${(ms / 1000).toFixed(1)} s`;
  }

  remove(id) {
    this.entries.get(id)?.item.remove();
    this.entries.delete(id);
  }

  note(text, kind = "note") {
    this.list.append(element("li", { className: `note ${kind}`, textContent: text }));
    this.#scroll();
  }

  #scroll() {
    this.list.scrollTop = this.list.scrollHeight;
  }
}

const SVG = "http://www.w3.org/2000/svg";
const draw = (name, attributes, text = "") => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};

// Bars, one a turn: milliseconds from the end of the user's turn to the first sound that was played.
export class Latency {
  constructor(svg, words) {
    Object.assign(this, { svg, words, turns: [] });
  }

  add(ms) {
    this.turns = [...this.turns.slice(-15), Math.round(ms)];
    const most = Math.max(200, ...this.turns);
    const floor = 94;
    const marks = [draw("line", { x1: 0, x2: 320, y1: floor, y2: floor })];
    this.turns.forEach((turn, index) => {
      const height = Math.max(2, (turn / most) * 74);
      marks.push(draw("rect", { x: index * 20 + 2, y: floor - height, width: 15, height, rx: 2 }));
      marks.push(draw("text", { x: index * 20 + 9.5, y: floor - height - 3, "text-anchor": "middle" }, String(turn)));
      marks.push(draw("text", { x: index * 20 + 9.5, y: 106, "text-anchor": "middle" }, String(index + 1)));
    });
    this.svg.replaceChildren(...marks);
    const sorted = [...this.turns].sort((a, b) => a - b);
    const half = (sorted.length - 1) / 2;
    const middle = Math.round((sorted[Math.floor(half)] + sorted[Math.ceil(half)]) / 2);
    const words = `Last ${this.turns.at(-1)} ms, median ${middle} ms over ${this.turns.length} ${this.turns.length === 1 ? "turn" : "turns"}.`;
    this.svg.setAttribute("aria-label", words);
    this.words.textContent = words;
  }
}

const KEPT = 400;

export class Events {
  constructor(list, filter, deltas) {
    Object.assign(this, { list, filter, deltas, start: performance.now() });
    filter.addEventListener("input", () => this.#sift());
    deltas.addEventListener("change", () => this.#sift());
  }

  add(event, out) {
    const time = ((performance.now() - this.start) / 1000).toFixed(2).padStart(7);
    const summary = element("summary", { textContent: `${time} ${out ? "→" : "←"} ${event.type}`, className: out ? "out" : "in" });
    const details = element("details", {}, summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) {
        details.append(element("pre", { textContent: JSON.stringify(event, shorten, 2) }));
      }
    });
    const item = element("li", {}, details);
    item.dataset.type = event.type;
    item.hidden = this.#sifted(event.type);
    this.list.prepend(item);
    while (this.list.childElementCount > KEPT) this.list.lastElementChild.remove();
  }

  #sifted(type) {
    const quiet = type.endsWith(".delta") || type === "input_audio_buffer.append";
    return (quiet && !this.deltas.checked) || !type.includes(this.filter.value.trim());
  }

  #sift() {
    for (const item of this.list.children) item.hidden = this.#sifted(item.dataset.type);
  }

  clear() {
    this.list.replaceChildren();
  }
}

const shorten = (key, value) =>
  (key === "delta" || key === "audio") && typeof value === "string" && value.length > 120 ? `${value.slice(0, 40)}… (${value.length} characters)` : value;
