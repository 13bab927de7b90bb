// A stream of lines: filter, follow, pause. It holds the last 2000 and draws those that pass the filter.

import { h } from "./dom.js";
import { clock, plural } from "./format.js";
import { Link } from "./link.js";

const MOST = 2000;
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
    this.all = [];
    this.waiting = 0; // new ones since the pause
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
    this.frame = 0;
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
    this.isPaused = !this.isPaused;
    this.waiting = 0;
    this.pauseButton.textContent = this.isPaused ? "go on" : "pause";
    this.pauseButton.classList.toggle("on", this.isPaused);
    this.redraw();
  }

  clear() { this.all = []; this.waiting = 0; this.redraw(); }

  changed(state) {
    if (state === "open") { this.all = []; this.redraw(); } // the backlog comes again
    this.list.classList.toggle("stale", state !== "open");
  }

  hear(text) {
    const line = this.read(text);
    this.all.push(line);
    if (this.all.length > MOST) this.all.shift();
    if (this.isPaused) { this.waiting += 1; this.tell(); return; }
    this.fresh.push(line);
    if (this.fresh.length > MOST) this.fresh.shift(); // nothing is drawn while the page is in the background
    this.frame ||= requestAnimationFrame(() => this.append());
  }

  append() {
    this.frame = 0;
    this.list.append(...this.fresh.filter((line) => this.passes(line)).map(row));
    this.fresh = [];
    while (this.list.childElementCount > MOST) this.list.firstElementChild.remove();
    this.tell();
    this.scroll();
  }

  redraw() {
    if (this.isPaused && this.waiting) { this.tell(); return; }
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
    const hidden = this.all.length - this.waiting - shown;
    const words = [plural(shown, "line")];
    if (hidden > 0) words.push(`${hidden} filtered out`);
    if (this.isPaused) words.push(`paused, ${this.waiting} new`);
    this.count.textContent = words.join(" · ");
  }

  scroll() { if (this.follow.checked && !this.isPaused) this.list.scrollTop = this.list.scrollHeight; }

  /** Scrolling up stops following, and down to the end goes on. */
  scrolled() {
    const left = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight;
    if (left > 60) this.follow.checked = false;
    else if (left < 4) this.follow.checked = true;
  }
}

function row({ at, who, type, message, level }) {
  return h("li", { class: `row ${level}` },
    h("time", {}, at), h("span", { class: "sign", title: level }, SIGNS[level] ?? "·"),
    h("span", { class: "who" }, who), h("span", { class: "type" }, type), h("span", { class: "message" }, message));
}
