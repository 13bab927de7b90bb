// A picture of each model that is spread: the coordinator, its links, and which layers lie where.

import { h, s, show } from "./dom.js";
import { bytes, plural, rate, state } from "./format.js";

const NARROW = 620; // pixels, below which the workers stand under the coordinator
const HERE = "here";

export function showSplits(parent, now) {
  if (!now.coordinators.length) {
    show(parent, h("p", { class: "card empty" }, "No model is loaded by a coordinator now. The next prompt that needs one shows here where its layers lie; ", h("code", {}, `coordinator start ${now.model}`), " loads it at once."));
    return;
  }
  const width = Math.max(300, Math.floor(parent.clientWidth) - 34);
  show(parent, now.coordinators.map((each) => picture(each, now, width)));
}

function picture(split, now, width) {
  const { sign, tone, word } = state(split.state);
  const running = now.answers.running.filter((each) => each.model === split.model);
  const speed = running.reduce((sum, each) => sum + (each.tokens_per_second ?? 0), 0);
  const facts = [split.engine, split.port && `:${split.port}`, plural(split.layers, "layer"), split.bytes && bytes(split.bytes), `${split.context} tokens of context${split.slots > 1 ? ` × ${split.slots}` : ""}`, split.kv_type !== "f16" && `KV ${split.kv_type}`, !split.is_ours && split.owner && `run by process ${split.owner}`];
  const holders = holdersOf(split, now);
  return h("article", { class: "card splitting", "data-key": split.name },
    h("header", {}, h("h3", {}, split.model), h("span", { class: `state ${tone}` }, `${sign} ${word}${speed ? ` · writing ${plural(running.length, "answer")}` : ""}`)),
    h("p", { class: "dim" }, facts.filter(Boolean).join(" · ")),
    split.cause && h("p", { class: "cause bad" }, split.cause),
    holders.length ? [layers(holders), drawing(split, holders, width, speed)] : h("p", { class: "dim" }, split.state === "starting" ? "loading; where its layers lie shows as soon as its log proves it" : "nothing is known of its layers"));
}

/** In the order of the plan; this machine last. */
function holdersOf(split, now) {
  const shares = new Map(split.shares.map((share) => [share.endpoint, share]));
  const order = [...new Set([...split.backends, ...shares.keys()])].sort((one, other) => (one === HERE) - (other === HERE));
  return order.map((endpoint) => {
    const machine = now.machines.find((each) => each.endpoint === endpoint);
    const share = shares.get(endpoint) ?? { layers: 0, model_bytes: 0, kv_bytes: 0, compute_bytes: 0 };
    return { endpoint, share, health: machine?.health === "lost" ? "lost" : machine?.state ?? "unknown", held: share.model_bytes + share.kv_bytes + share.compute_bytes };
  });
}

/** All layers in a row, each holder's with a look of its own and its number of layers in it. */
function layers(holders) {
  const holding = holders.filter(({ share }) => share.layers);
  const total = holding.reduce((sum, { share }) => sum + share.layers, 0);
  if (!total) return null;
  let first = 0;
  const pieces = holding.map(({ endpoint, share }, index) => {
    const x = (first / total) * 100, width = (share.layers / total) * 100;
    const label = `layers ${first + 1}–${first + share.layers}: ${endpoint}`;
    const ticks = share.layers > 1 && total <= 130 ? Array.from({ length: share.layers - 1 }, (_, at) => tick(((first + at + 1) / total) * 100)) : [];
    first += share.layers;
    return s("g", { class: `layer-run look-${index % 4}` }, s("title", {}, label),
      s("rect", { x: `${x}%`, width: `${width}%`, y: 0, height: 26 }), ticks,
      s("text", { x: `${x + width / 2}%`, y: 17, "text-anchor": "middle" }, String(share.layers)));
  });
  return h("div", { class: "layer-row" }, h("span", { class: "dim" }, `layers 1–${total}`), s("svg", { height: 26, role: "img", "aria-label": `${plural(total, "layer")} over ${plural(holding.length, "machine")}` }, pieces));
}

const tick = (x) => s("line", { x1: `${x}%`, x2: `${x}%`, y1: 21, y2: 26, class: "tick" });

function drawing(split, holders, width, speed) {
  const isLoading = split.state === "starting";
  const workers = holders.filter(({ endpoint }) => endpoint !== HERE);
  const here = holders.find(({ endpoint }) => endpoint === HERE);
  const isNarrow = width < NARROW, box = { width: isNarrow ? width - 48 : Math.min(360, width * 0.46), height: 54, gap: 14 };
  const root = { x: 0, y: 0, width: isNarrow ? width : Math.min(260, width * 0.34), height: 64 };
  const column = Math.max(workers.length * (box.height + box.gap) - box.gap, 0);
  const height = isNarrow ? root.height + (workers.length ? box.gap + column : 0) : Math.max(root.height, column);
  if (!isNarrow) root.y = (height - root.height) / 2;
  const places = workers.map((worker, index) => ({ ...worker, index, x: width - box.width, y: (isNarrow ? root.height + box.gap : 0) + index * (box.height + box.gap), ...box }));
  return s("svg", { class: `drawing${speed ? " writing" : ""}`, width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${split.model}: a coordinator and ${plural(workers.length, "worker")}` },
    places.map((place) => wire(root, place, split, isNarrow)),
    boxOf(root, "root", `coordinator${split.port ? ` :${split.port}` : ""}`, speed ? `${rate(speed)} tok/s` : isLoading ? "loading" : here?.held ? `${bytes(here.held)} on this machine` : "this machine"),
    places.map((place) => worker(place, isLoading)));
}

function wire(root, place, split, isNarrow) {
  const thick = 1.5 + 6 * (place.share.layers / Math.max(split.layers, 1));
  const y = place.y + place.height / 2;
  const from = root.x + root.width, middle = (from + place.x) / 2;
  const d = isNarrow ? `M20 ${root.height} V${y} H${place.x}` : `M${from} ${root.y + root.height / 2} C${middle} ${root.y + root.height / 2} ${middle} ${y} ${place.x} ${y}`;
  return s("path", { d, class: `wire ${state(place.health).tone}`, "stroke-width": thick.toFixed(1) });
}

function worker(place, isLoading) {
  const { sign, tone, word } = state(place.health);
  const what = place.share.layers || place.held ? `${plural(place.share.layers, "layer")} · ${bytes(place.held)}` : isLoading ? "its part is on the way" : "holds nothing";
  return s("g", { class: `node is-${tone} look-${place.index % 4}` },
    s("rect", { x: place.x, y: place.y, width: place.width, height: place.height, rx: 8, class: "box" }),
    s("rect", { x: place.x, y: place.y, width: 7, height: place.height, class: "stripe" }),
    s("text", { x: place.x + 18, y: place.y + 22, class: "name" }, place.endpoint),
    s("text", { x: place.x + 18, y: place.y + 41, class: "small" }, what),
    s("text", { x: place.x + place.width - 12, y: place.y + 41, "text-anchor": "end", class: `small state ${tone}` }, `${sign} ${word}`));
}

function boxOf(place, kind, name, note) {
  return s("g", { class: `node ${kind}` },
    s("rect", { x: place.x + 1, y: place.y + 1, width: place.width - 2, height: place.height - 2, rx: 8, class: "box" }),
    s("text", { x: place.x + 16, y: place.y + 27, class: "name" }, name),
    s("text", { x: place.x + 16, y: place.y + 48, class: "small" }, note));
}
