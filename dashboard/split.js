// A picture of each model that is spread: the coordinator, its links, and which layers lie where.

import { command, h, s, show } from "./dom.js";
import { bytes, layersHeld, passing, plural, rate, shortened, state } from "./format.js";

const NARROW = 620; // pixels, below which the workers stand under the coordinator
const MANY = 8; // workers, above which they do so in columns
const COLUMN = 310, ROOT = 64, BOX = 70, GAP = 14, LETTER = 7.9; // pixels
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
  const { sign, tone, word } = state(split.state);
  const running = split.state === "ready" ? now.answers.running.filter((each) => each.model === split.model) : [];
  const speed = running.reduce((sum, each) => sum + (each.tokens_per_second ?? 0), 0);
  const facts = [split.engine === "builtin" ? "built-in root" : split.engine, split.port && `port ${split.port}`, plural(split.layers, "layer"), split.bytes && bytes(split.bytes), `${split.context} tokens of context${split.slots > 1 ? ` × ${split.slots}` : ""}`, split.kv_type !== "f16" && `KV ${split.kv_type}`, !split.is_ours && split.owner && `run by process ${split.owner}`];
  const holders = holdersOf(split, now);
  return h("article", { class: "card splitting", "data-key": split.name },
    h("header", {}, h("h3", {}, split.model), h("span", { class: `state ${tone}` }, `${sign} ${word}${speed ? ` · writing ${plural(running.length, "answer")}` : ""}`)),
    h("p", { class: "dim" }, facts.filter(Boolean).join(" · ")),
    split.cause && h("p", { class: "cause bad" }, split.cause),
    holders.length ? [split.cut === "layers" ? layers(holders, width) : slices(split, holders), drawing(split, holders, width, speed)] : h("p", { class: "dim" }, split.state === "starting" ? "loading; where its layers lie shows as soon as its log proves it" : "nothing is known of its layers"));
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
    return { endpoint, index, share, which: whichLayers(split.cut, first, last), link: links.get(endpoint), health: machine?.health === "lost" ? "lost" : machine?.state ?? "unknown", held: share.model_bytes + share.kv_bytes + share.compute_bytes };
  });
}

function whichLayers(cut, first, last) {
  if (last < first) return "no layers";
  if (cut === "tensor") return layersHeld(last - first + 1, cut);
  return first === last ? `layer ${first}` : `layers ${first}–${last}`;
}

/** All layers in a row, each holder's with a look of its own and its number of layers in it. */
function layers(holders, width) {
  const holding = holders.filter(({ share }) => share.layers);
  const total = holding.reduce((sum, { share }) => sum + share.layers, 0);
  if (!total) return null;
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

function drawing(split, holders, width, speed) {
  const workers = holders.filter(({ endpoint }) => endpoint !== HERE);
  const plan = width < NARROW || workers.length > MANY ? below(workers, width) : beside(workers, width);
  const here = holders.find(({ endpoint }) => endpoint === HERE);
  const isLoading = split.state === "starting";
  const said = workers.map((each) => `${each.endpoint} ${state(each.health).word}`).join(", ");
  return s("svg", { class: `drawing${speed ? " writing" : ""}`, width, height: plan.height, viewBox: `0 0 ${width} ${plan.height}`, role: "img", "aria-label": `${split.model}: a coordinator and ${plural(workers.length, "worker")}${said && `: ${said}`}` },
    plan.places.map((place) => wire(place, split)),
    rootBox(plan.root, `${split.engine === "builtin" ? "root" : "coordinator"}${split.port ? ` :${split.port}` : ""}`, speed ? `${rate(speed)} tok/s` : isLoading ? "loading" : here?.held ? `${bytes(here.held)} on this machine` : "this machine"),
    plan.places.map((place) => worker(place, isLoading)));
}

/** The coordinator on the left, its workers on the right. */
function beside(workers, width) {
  const box = Math.min(360, width * 0.46);
  const height = Math.max(ROOT, workers.length * (BOX + GAP) - GAP);
  const root = { x: 0, y: (height - ROOT) / 2, width: Math.min(260, width * 0.3) };
  const places = workers.map((each, row) => {
    const x = width - box, y = row * (BOX + GAP), middle = (root.width + x) / 2, at = y + BOX / 2;
    return { ...each, x, y, width: box, height: BOX, path: `M${root.width} ${height / 2} C${middle} ${height / 2} ${middle} ${at} ${x} ${at}` };
  });
  return { root, places, height };
}

/** The coordinator on top, its workers below it, in as many columns as there is room for. */
function below(workers, width) {
  const columns = Math.max(1, Math.min(Math.floor(width / COLUMN), Math.ceil(workers.length / 2)));
  const rows = Math.ceil(workers.length / columns), column = width / columns;
  const places = workers.map((each, number) => {
    const left = Math.floor(number / rows) * column, x = left + 44, y = ROOT + GAP + (number % rows) * (BOX + GAP);
    return { ...each, x, y, width: column - 44 - (columns > 1 ? GAP : 0), height: BOX, path: `M${left + 20} ${ROOT} V${y + BOX / 2} H${x}` };
  });
  return { root: { x: 0, y: 0, width }, places, height: ROOT + rows * (BOX + GAP) };
}

function wire({ path, share, health, link }, split) {
  const thick = 1.5 + 6 * (split.cut === "layers" ? share.layers / Math.max(split.layers, 1) : 1 / Math.max(split.backends.length, 1));
  const isUsed = link && link.sent_per_second + link.received_per_second > 0;
  return s("path", { d: path, class: `wire ${state(health).tone}${isUsed ? " used" : ""}`, "stroke-width": thick.toFixed(1) });
}

function worker({ endpoint, index, share, which, link, health, held, x, y, width, height }, isLoading) {
  const { sign, tone, word } = state(health);
  const what = share.layers || held ? `${which} · ${bytes(held)}` : isLoading ? "its part is on the way" : "holds nothing";
  return s("g", { class: `node is-${tone} look-${index % 4}` }, s("title", {}, endpoint),
    s("rect", { x, y, width, height, rx: 8, class: "box" }),
    s("rect", { x, y, width: 7, height, class: "stripe" }),
    s("text", { x: x + 18, y: y + 22, class: "name" }, shortened(endpoint, (width - 30) / LETTER)),
    s("text", { x: x + 18, y: y + 41, class: "small" }, what),
    s("text", { x: x + width - 12, y: y + 59, "text-anchor": "end", class: `small state ${tone}` }, `${sign} ${word}`),
    link && s("text", { x: x + 18, y: y + 59, class: "small" }, passing(link)));
}

function rootBox({ x, y, width }, name, note) {
  return s("g", { class: "node root" },
    s("rect", { x: x + 1, y: y + 1, width: width - 2, height: ROOT - 2, rx: 8, class: "box" }),
    s("text", { x: x + 16, y: y + 27, class: "name" }, name),
    s("text", { x: x + 16, y: y + 48, class: "small" }, note));
}
