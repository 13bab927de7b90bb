// A stream of lines: filter, follow, pause. It holds the last 2000 and draws those that pass the filter.

import { h } from "./dom.js";
import { clock, plural } from "./format.js";
import { Link } from "./link.js";

const MOST = 2000;
const BREATH = 100; // milliseconds between two drawings: nobody reads faster, and hundreds of lines a second cost no more
const LEVEL = /^\S+ \S+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) ([^:]*): (.*)$/s;
const SIGNS = { error: "✗", warning: "!", info: "·", debug: "·" };

/** {"timestamp", "component", "type", "message", "level", "details"} */
export function asEvent(text) {
  const { timestamp, component, type, message, level } = JSON.parse(text);
  return { at: clock(timestamp), who: component, type, message, level, all: `${component} ${type} ${message} ${level}`.toLowerCase() };
}

/** A line of the application's log; one that is not in its form goes as it is. */
export function asLine(text) {
  const found = LEVEL.exec(text);
  const level = { WARNING: "warning", ERROR: "error", CRITICAL: "error", DEBUG: "debug" }[found?.[1]] ?? "info";
  const [at, who, message] = found ? [text.slice(11, 19), found[2].replace(/^synaptic\.?/, "") || "synaptic", found[3]] : ["", "", text];
  return { at, who, type: found ? found[1].toLowerCase() : "", message, level, all: text.toLowerCase() };
}

export class Feed {
  /** `quiet`: a type that is left out until its switch, `quietLabel`, is on. */
  constructor(parent, path, read, { quiet = "", quietLabel = "" } = {}) {
    this.read = read;
    this.quiet = quiet;
    this.all = []; // those that are shown, if they pass
    this.later = []; // those that came since the pause; of them as many as there is room for
    this.waiting = 0; // how many came since
    this.isPaused = false;
    this.filter = h("input", { type: "search", placeholder: "filter  ( / )", "aria-label": "filter", oninput: () => this.redraw() });
    this.level = h("select", { "aria-label": "least level", onchange: () => this.redraw() },
      h("option", { value: "" }, "every level"), h("option", { value: "warning" }, "warnings and errors"), h("option", { value: "error" }, "errors"));
    this.loud = h("input", { type: "checkbox", onchange: () => this.redraw() });
    this.follow = h("input", { type: "checkbox", checked: true, onchange: () => this.scroll() });
    this.pauseButton = h("button", { type: "button", title: "p", onclick: () => this.pause() }, "pause");
    this.count = h("span", { class: "dim count" });
    this.list = h("ol", { class: "lines", tabindex: "0", "aria-label": "lines", onscroll: () => this.scrolled() });
    parent.append(
      h("div", { class: "bar" }, this.filter, this.level, quiet && h("label", {}, this.loud, ` ${quietLabel}`),
        h("label", {}, this.follow, " follow"), this.pauseButton, h("button", { type: "button", onclick: () => this.clear() }, "clear"), this.count),
      this.list);
    this.link = new Link(path, (text) => this.hear(text), (state) => this.changed(state));
    this.isOpen = false;
    this.top = 0; // where the list was scrolled to
    new ResizeObserver(() => this.scroll()).observe(this.list);
    this.drawing = 0;
    this.fresh = [];
    this.tell();
  }

  /** Once; later calls only scroll. */
  open() {
    if (!this.isOpen) { this.isOpen = true; this.link.open(); }
    this.scroll();
  }

  reopen() { if (this.isOpen) this.link.open(); }

  focus() { this.filter.focus(); this.filter.select(); }

  pause() {
    this.append(); // what came before the pause is seen
    this.isPaused = !this.isPaused;
    this.all = [...this.all, ...this.later].slice(-MOST);
    this.forget();
    this.pauseButton.textContent = this.isPaused ? "go on" : "pause";
    this.pauseButton.classList.toggle("on", this.isPaused);
    this.isPaused ? this.tell() : this.redraw();
  }

  clear() {
    this.all = [];
    this.forget();
    this.redraw();
  }

  forget() { this.later = []; this.waiting = 0; }

  changed(state) {
    if (state === "open") { // the backlog comes again; a person who reads what is paused reads on
      this.all = [];
      this.forget();
      this.isPaused ? this.tell() : this.redraw();
    }
    this.list.classList.toggle("stale", state !== "open");
  }

  hear(text) {
    const line = this.read(text);
    if (this.isPaused) {
      add(this.later, line);
      this.waiting += 1;
      this.tell();
      return;
    }
    add(this.all, line);
    add(this.fresh, line); // a page in the background draws seldom
    this.drawing ||= setTimeout(() => this.append(), BREATH);
  }

  append() {
    clearTimeout(this.drawing);
    this.drawing = 0;
    this.list.append(...this.fresh.filter((line) => this.passes(line)).map(row));
    this.fresh = [];
    while (this.list.childElementCount > MOST) this.list.firstElementChild.remove();
    this.tell();
    this.scroll();
  }

  redraw() {
    this.fresh = [];
    this.list.replaceChildren(...this.all.filter((line) => this.passes(line)).map(row));
    this.tell();
    this.scroll();
  }

  passes(line) {
    if (this.quiet && line.type === this.quiet && !this.loud.checked) return false;
    const least = { "": 0, warning: 1, error: 2 }[this.level.value];
    if (({ warning: 1, error: 2 }[line.level] ?? 0) < least) return false;
    return this.filter.value.toLowerCase().split(/\s+/).every((word) => line.all.includes(word));
  }

  tell() {
    const shown = this.list.childElementCount;
    const hidden = this.all.length - shown;
    const words = [plural(shown, "line")];
    if (hidden > 0) words.push(`${hidden} filtered out`);
    if (this.isPaused) words.push(`paused, ${this.waiting} new`);
    this.count.textContent = words.join(" · ");
  }

  scroll() { if (this.follow.checked && !this.isPaused) this.list.scrollTop = this.list.scrollHeight; }

  /** Scrolling up stops following, and down to the end goes on; a list that became shorter was not scrolled. */
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    const left = scrollHeight - scrollTop - clientHeight;
    if (left > 60 && scrollTop < this.top) this.follow.checked = false;
    else if (left < 4) this.follow.checked = true;
    this.top = scrollTop;
  }
}

function add(lines, line) {
  lines.push(line);
  if (lines.length > MOST) lines.shift();
}

function row({ at, who, type, message, level }) {
  return h("li", { class: `row ${level}` },
    h("time", {}, at), h("span", { class: "sign", title: level }, SIGNS[level] ?? "·"),
    h("span", { class: "who" }, who), h("span", { class: "type" }, type), h("span", { class: "message" }, message));
}
