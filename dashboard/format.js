// Numbers as a person reads them, never parted from their unit. Bytes in powers of 1024, as the shell has them.

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = count, unit = 0;
  while (Math.abs(size) >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${size >= 100 || unit === 0 || Number.isInteger(size) ? Math.round(size) : size.toFixed(1)}\u00a0${units[unit]}`;
}

export const rate = (value) => (value === null || value === undefined ? "–" : value >= 100 ? Math.round(value).toString() : value.toFixed(1));

export const speed = (value) => `${rate(value)}\u00a0tok/s`;

/** Bytes per second to a machine and from it, or of this one. */
export const passing = ({ sent_per_second, received_per_second }) => `↑\u00a0${perSecond(sent_per_second)} ↓\u00a0${perSecond(received_per_second)}`;

const perSecond = (count) => `${bytes(Math.round(count))}/s`;

/** What of `text` is so wide at most, as `measured(text)` tells; what is left out is in the middle, for addresses differ at both ends. */
export function shortened(text, width, measured) {
  if (measured(text) <= width) return text;
  const cut = (half) => `${text.slice(0, half)}…${text.slice(-half)}`;
  let half = Math.floor(text.length / 2);
  while (half > 2 && measured(cut(half)) > width) half -= 1;
  return cut(half);
}

export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Where a model is cut by tensors, each machine has a slice of every layer. */
export const layersHeld = (count, cut) => (cut === "tensor" ? `a slice of ${plural(count, "layer")}` : plural(count, "layer"));

export function ms(value) {
  if (value === null || value === undefined) return "–";
  return value >= 1000 ? `${(value / 1000).toFixed(1)}\u00a0s` : `${value >= 10 ? Math.round(value) : value.toFixed(1)}\u00a0ms`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))}\u00a0s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)}\u00a0min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)}\u00a0h` : `${Math.round(seconds / 86400)}\u00a0d`;
}

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

/** How a machine or server fares: what it does while it is well, else what is wrong. */
export const fares = ({ state: doing, health }) => state(health === "ready" ? doing : health);

/** A state in a word, with a sign that needs no colour, and the tone that colour may add. */
export function state(word) {
  return STATES[word] ?? { sign: "?", tone: "attention", word: word || "unknown" };
}

const STATES = {
  idle: { sign: "✓", tone: "good", word: "idle" },
  ready: { sign: "✓", tone: "good", word: "ready" },
  done: { sign: "✓", tone: "good", word: "done" },
  "in-use": { sign: "●", tone: "good", word: "in use" },
  writing: { sign: "●", tone: "good", word: "writing" },
  starting: { sign: "◐", tone: "attention", word: "starting" },
  stopping: { sign: "◑", tone: "attention", word: "stopping" },
  waiting: { sign: "◐", tone: "attention", word: "waiting for the first token" },
  moving: { sign: "◐", tone: "attention", word: "going on elsewhere" },
  busy: { sign: "!", tone: "attention", word: "busy" },
  resting: { sign: "…", tone: "attention", word: "resting" },
  unverified: { sign: "?", tone: "attention", word: "not asked" },
  unknown: { sign: "?", tone: "attention", word: "not asked" },
  incomplete: { sign: "!", tone: "bad", word: "incomplete" },
  incompatible: { sign: "≠", tone: "bad", word: "incompatible" },
  stopped: { sign: "■", tone: "", word: "stopped" },
  unreachable: { sign: "✗", tone: "bad", word: "unreachable" },
  down: { sign: "✗", tone: "attention", word: "down" }, // it never answered, where a lost one did
  lost: { sign: "✗", tone: "bad", word: "lost" },
  failed: { sign: "✗", tone: "bad", word: "failed" },
};
