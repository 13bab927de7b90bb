// A picture of each model that is spread: the coordinator, its links, and which layers lie where.

import { command, h, named, s, show, visible } from "./dom.js";
import { bytes, fares, layersHeld, passing, plural, shortened, speed, state } from "./format.js";

const NARROW = 620; // pixels, below which the workers stand under the coordinator
const MANY = 8; // workers, above which they do so in columns
const ROOT = 64, GAP = 14; // pixels
const WHOLE = { column: 310, height: 70, gap: 14 }, SMALL = { column: 285, height: 46, gap: 8 }; // boxes of workers, and where there are many
const pen = document.createElement("canvas").getContext("2d");
const HERE = "here", MOST_TICKS = 130;

export function showSplits(parent, now) {
  if (!now.coordinators.length) {
    show(parent, h("p", { class: "card empty" }, "No model is loaded by a coordinator now. The next prompt that needs one shows here where its layers lie; ", command(`coordinator start ${now.model}`), " loads it at once."));
    return;
  }
  const width = Math.max(300, Math.floor(parent.clientWidth) - 34);
  show(parent, now.coordinators.map((each) => picture(each, now, width)));
}

function picture(split, now, width) {
  const { sign, tone, word } = condition(split, now);
  const running = split.state === "ready" ? now.answers.running.filter((each) => each.model === split.model) : [];
  const rate = running.reduce((sum, each) => sum + (each.tokens_per_second ?? 0), 0);
  const facts = [split.engine === "builtin" ? "built-in root" : split.engine, split.port && `port ${split.port}`, plural(split.layers, "layer"), split.bytes && bytes(split.bytes), `${split.context} tokens of context${split.slots > 1 ? ` × ${split.slots}` : ""}`, split.kv_type !== "f16" && `KV ${split.kv_type}`, !split.is_ours && split.owner && `run by process ${split.owner}`];
  const holders = holdersOf(split, now);
  return h("article", { class: "card splitting", "aria-label": split.model, "data-key": split.name },
    h("header", {}, h("h3", {}, named(split.model)), h("p", { class: "dim facts-of" }, facts.filter(Boolean).join(" · ")), h("span", { class: `state ${tone}` }, `${sign} ${word}${rate ? ` · writing ${plural(running.length, "answer")}` : ""}`)),
    split.cause && h("p", { class: "cause bad" }, split.cause),
    holders.length ? [split.cut === "layers" ? layers(split, holders, width) : slices(split, holders), drawing(split, holders, width, rate)] : h("p", { class: "dim" }, split.state === "starting" ? "loading; where its layers lie shows as soon as its log proves it" : "nothing is known of its layers"));
}

/** A coordinator is as well as its workers: without one of them it answers nobody. */
function condition(split, now) {
  const lost = now.machines.filter(({ endpoint, health }) => health === "lost" && split.backends.includes(endpoint)).length;
  return split.state === "ready" && lost ? { sign: "✗", tone: "bad", word: `${plural(lost, "worker")} lost` } : state(split.state);
}

/** In the order of the plan; this machine last. */
function holdersOf(split, now) {
  const shares = new Map(split.shares.map((share) => [share.endpoint, share]));
  const links = new Map(split.links.map((link) => [link.endpoint, link]));
  const order = [...new Set([...split.backends, ...shares.keys()])].sort((one, other) => (one === HERE) - (other === HERE));
  let last = 0;
  return order.map((endpoint, index) => {
    const machine = now.machines.find((each) => each.endpoint === endpoint);
    const share = shares.get(endpoint) ?? { layers: 0, model_bytes: 0, kv_bytes: 0, compute_bytes: 0 };
    const first = last + 1;
    last += share.layers;
    return { endpoint, index, share, which: whichLayers(split.cut, first, last), link: links.get(endpoint), fare: machine ? fares(machine) : state("unknown"), held: share.model_bytes + share.kv_bytes + share.compute_bytes };
  });
}

function whichLayers(cut, first, last) {
  if (last < first) return "no layers";
  if (cut === "tensor") return layersHeld(last - first + 1, cut);
  return first === last ? `layer ${first}` : `layers ${first}–${last}`;
}

/** All layers in a row, each holder's with a look of its own and its number of layers in it. */
function layers(split, holders, width) {
  const holding = holders.filter(({ share }) => share.layers);
  const total = holding.reduce((sum, { share }) => sum + share.layers, 0);
  if (!total) // its room is kept: what lies below stays where it is when the layers arrive
    return split.state === "starting" && split.layers ? layerRow(`layers 1–${split.layers}`, `${plural(split.layers, "layer")}, on the way`, 26, s("rect", { width: "100%", height: 26, class: "unplaced" })) : null;
  let x = 0;
  const pieces = holding.map(({ endpoint, index, share, which }) => {
    const part = (share.layers / total) * 100, left = x;
    x += part;
    return s("g", { class: `layer-run look-${index % 4}` }, s("title", {}, `${which}: ${endpoint}`),
      s("rect", { x: `${left}%`, width: `${part}%`, y: 0, height: 26 }),
      (part / 100) * width > 22 && s("text", { x: `${left + part / 2}%`, y: 18, "text-anchor": "middle" }, String(share.layers)));
  });
  const said = holding.map(({ endpoint, which }) => `${which} at ${endpoint}`).join(", ");
  return layerRow(`layers 1–${total}`, `${plural(total, "layer")}: ${said}`, 26, pieces);
}

/** Every layer is cut: each holder has a slice of all of them. */
function slices(split, holders) {
  const holding = holders.filter(({ held }) => held);
  if (split.cut !== "tensor" || !holding.length || !split.layers) return null;
  const height = Math.max(26, holding.length * 7), slice = height / holding.length;
  const pieces = holding.map(({ endpoint, index }, at) => s("g", { class: `layer-run look-${index % 4}` }, s("title", {}, `a slice of every layer: ${endpoint}`), s("rect", { x: 0, width: "100%", y: at * slice, height: slice })));
  const ticks = split.layers <= MOST_TICKS ? Array.from({ length: split.layers - 1 }, (_, at) => s("line", { x1: `${((at + 1) / split.layers) * 100}%`, x2: `${((at + 1) / split.layers) * 100}%`, y1: 0, y2: height, class: "tick" })) : [];
  const words = `layers 1–${split.layers}, each cut into ${holding.length}`;
  return layerRow(words, `${words}: ${holding.map(({ endpoint }) => endpoint).join(", ")}`, height, [pieces, ticks]);
}

function layerRow(words, label, height, pieces) {
  return h("div", { class: "layer-row" }, h("span", { class: "dim" }, words), s("svg", { height, role: "img", "aria-label": label }, pieces));
}

function drawing(split, holders, width, rate) {
  const workers = holders.filter(({ endpoint }) => endpoint !== HERE);
  const size = workers.length > MANY ? SMALL : WHOLE;
  const plan = width < NARROW || size === SMALL ? below(workers, width, size) : beside(workers, width);
  const here = holders.find(({ endpoint }) => endpoint === HERE);
  const isLoading = split.state === "starting";
  const said = workers.map((each) => `${each.endpoint} ${each.fare.word}`).join(", ");
  return s("svg", { class: `drawing${rate ? " writing" : ""}`, width, height: plan.height, viewBox: `0 0 ${width} ${plan.height}`, role: "img", "aria-label": `${split.model}: a coordinator and ${plural(workers.length, "worker")}${said && `: ${said}`}` },
    plan.places.map((place) => wire(place, split)),
    rootBox(plan.root, `${split.engine === "builtin" ? "root" : "coordinator"}${split.port ? ` :${split.port}` : ""}`, rate ? speed(rate) : isLoading ? "loading" : here?.held ? `${bytes(here.held)} on this machine` : "this machine"),
    plan.places.map((place) => worker(place, size, isLoading)));
}

/** The coordinator on the left, its workers on the right. */
function beside(workers, width) {
  const box = Math.min(520, width * 0.46), { height: tall, gap } = WHOLE;
  const height = Math.max(ROOT, workers.length * (tall + gap) - gap);
  const root = { x: 0, y: (height - ROOT) / 2, width: Math.min(360, width * 0.3) };
  const places = workers.map((each, row) => {
    const x = width - box, y = row * (tall + gap), middle = (root.width + x) / 2, at = y + tall / 2;
    return { ...each, x, y, width: box, height: tall, path: `M${root.width} ${height / 2} C${middle} ${height / 2} ${middle} ${at} ${x} ${at}` };
  });
  return { root, places, height };
}

/** The coordinator on top, its workers below it, in as many columns as there is room for. */
function below(workers, width, { column: least, height, gap }) {
  const columns = Math.max(1, Math.min(Math.floor(width / least), Math.ceil(workers.length / 2)));
  const rows = Math.ceil(workers.length / columns), column = width / columns;
  const places = workers.map((each, number) => {
    const left = Math.floor(number / rows) * column, x = left + 44, y = ROOT + GAP + (number % rows) * (height + gap);
    return { ...each, x, y, width: column - 44 - (columns > 1 ? GAP : 0), height, path: `M${left + 20} ${ROOT} V${y + height / 2} H${x}` };
  });
  return { root: { x: 0, y: 0, width }, places, height: ROOT + GAP + rows * (height + gap) };
}

function wire({ path, share, fare, link }, split) {
  const thick = 1.5 + 6 * (split.cut === "layers" ? share.layers / Math.max(split.layers, 1) : 1 / Math.max(split.backends.length, 1));
  const isUsed = link && link.sent_per_second + link.received_per_second > 0;
  return s("path", { d: path, class: `wire ${fare.tone}${isUsed ? " used" : ""}`, "stroke-width": thick.toFixed(1) });
}

/** Its name, what it holds, what passes, how it is; of many: without what passes, which their cards tell. */
function worker({ endpoint, index, share, which, link, fare, held, x, y, width, height }, size, isLoading) {
  const { sign, tone, word } = fare;
  const what = share.layers || held ? `${which} · ${bytes(held)}` : isLoading ? "its part is on the way" : "holds nothing";
  const isSmall = size === SMALL, fares = isSmall && tone === "good" ? sign : `${sign} ${word}`;
  const room = width - 30 - (isSmall ? measured(fares, 12.5) + 8 : 0);
  const name = shortened(visible(endpoint), room, (text) => measured(text, 13.5));
  return s("g", { class: `node is-${tone} look-${index % 4}` }, s("title", {}, endpoint),
    s("rect", { x, y, width, height, rx: 8, class: "box" }),
    s("rect", { x, y, width: 7, height, class: "stripe" }),
    s("text", { x: x + 18, y: y + (isSmall ? 19 : 22), class: "name" }, name),
    s("text", { x: x + 18, y: y + (isSmall ? 37 : 41), class: "small" }, what),
    s("text", { x: x + width - 12, y: y + (isSmall ? 19 : 59), "text-anchor": "end", class: `small state ${tone}` }, fares),
    !isSmall && link && s("text", { x: x + 18, y: y + 59, class: "small" }, passing(link)));
}

/** How wide it is in bold letters of so many pixels. */
function measured(text, size) {
  pen.font = `600 ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

function rootBox({ x, y, width }, name, note) {
  return s("g", { class: "node root" },
    s("rect", { x: x + 1, y: y + 1, width: width - 2, height: ROOT - 2, rx: 8, class: "box" }),
    s("text", { x: x + 16, y: y + 27, class: "name" }, name),
    s("text", { x: x + 16, y: y + 48, class: "small" }, note));
}
