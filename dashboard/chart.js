// A small chart of the last minutes: a line with its area, or dots. Its newest value stands beside its name.

import { h, s } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 96, PAD = 4;

/** `lines`: [{points: [[at, value], …], isDots, look}]; `word(value)` says a value. `from` and `to`: seconds. `step`: between two units, 1: no units. */
export function chart({ name, lines, word, from, to, width, step = 1, note = "" }) {
  const all = lines.flatMap((line) => line.points).filter(([at, value]) => at >= from && value !== null && value !== undefined);
  const top = nice(Math.max(...all.map(([, value]) => value), 0), step);
  const x = (at) => Math.min((at - from) / (to - from), 1) * (width - 4);
  const y = (value) => HEIGHT - PAD - (value / top) * (HEIGHT - 2 * PAD);
  const newest = lines[0].points.at(-1)?.[1];
  return h("figure", { class: "card chart", "data-key": name },
    h("figcaption", {}, h("span", {}, name), h("strong", {}, note || (newest === null || newest === undefined ? "–" : word(newest)))),
    s("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${name}: ${all.length ? `now ${word(newest ?? 0)}, at most ${word(Math.max(...all.map(([, value]) => value)))}` : "nothing yet"}` },
      s("line", { x1: 0, x2: width, y1: y(top), y2: y(top), class: "grid" }),
      s("line", { x1: 0, x2: width, y1: y(top / 2), y2: y(top / 2), class: "grid" }),
      s("line", { x1: 0, x2: width, y1: y(0), y2: y(0), class: "axis" }),
      lines.map((line) => drawn(line, from, x, y, word)),
      all.length > 0 && s("text", { x: 2, y: y(top) + 12, class: "scale" }, word(top))),
    h("div", { class: "times dim" }, h("span", {}, clock(from)), all.length ? null : h("span", {}, "nothing yet"), h("span", {}, clock(to))));
}

function drawn({ points, isDots = false, look = 0 }, from, x, y, word) {
  const seen = points.filter(([at, value]) => at >= from && value !== null && value !== undefined);
  if (!seen.length) return null;
  if (isDots) return seen.map(([at, value]) => s("circle", { cx: x(at).toFixed(1), cy: y(value).toFixed(1), r: 3.5, class: `dot series-${look}` }, s("title", {}, `${clock(at)}  ${word(value)}`)));
  const path = seen.map(([at, value], index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const area = `${path}L${x(seen.at(-1)[0]).toFixed(1)} ${y(0)}L${x(seen[0][0]).toFixed(1)} ${y(0)}Z`;
  return [look ? null : s("path", { d: area, class: `area series-${look}` }), s("path", { d: path, class: `curve series-${look}` })];
}

/** The next of 1, 2, 5, 10, … of its unit. */
function nice(value, step) {
  if (value <= 0) return 1;
  const unit = step > 1 ? step ** Math.max(0, Math.floor(Math.log(value) / Math.log(step))) : 1;
  const power = 10 ** Math.floor(Math.log10(value / unit));
  return [1, 2, 5, 10].map((each) => (step > 1 && each * power >= 1000 ? step : each * power) * unit).find((top) => top >= value);
}
