// The servers that have models of their own: Ollama nodes, llama-server, vLLM and others.

import { $, command, h, named, show } from "./dom.js";
import { bytes, duration, fares, ms, plural, speed } from "./format.js";
import { KINDS, LOOK } from "./cluster.js";

const MOST = 12; // models of one server that are named

export function showNodes(now) {
  const known = now.nodes.filter((node) => node.health === "ready" || node.source !== "default");
  show($("servers"), known.length ? known.map((node) => card(node, now.at)) : h("p", { class: "card empty" }, "No server is known: ", command("nodes discover"), " looks for some, ", command("nodes add "), " takes an address."));
}

function card(node, at) {
  const { sign, tone, word } = fares(node);
  const facts = [`${node.software || KINDS[node.kind]} ${node.version ?? ""}`.trim(), node.latency_ms !== null && ms(node.latency_ms), node.tokens_per_second && speed(node.tokens_per_second), node.memory && `${bytes(node.memory)} loaded`, node.has_gpu && "GPU", node.running && plural(node.running, "request")];
  const name = node.name || node.endpoint;
  return h("article", { class: `card machine is-${tone}`, "aria-label": name, "data-key": node.url },
    h("header", {}, h("h3", {}, named(name)), h("span", { class: `state ${tone}` }, `${sign} ${word}`)),
    h("p", { class: "dim" }, facts.filter(Boolean).join(" · ")),
    node.load_in_words && h("p", {}, node.load_in_words),
    node.detail && h("p", { class: `cause ${tone}` }, node.detail),
    node.models.length ? h("ul", { class: "models" }, node.models.slice(0, MOST).map(model), node.models.length > MOST && h("li", { class: "dim" }, `and ${node.models.length - MOST} more`)) : node.health === "ready" ? h("p", { class: "dim" }, "it has no models") : null,
    node.health !== "ready" && h("p", { class: "dim" }, node.last_seen ? `last answered ${duration(at - node.last_seen)} ago · try: ` : "it has never answered · try: ", command(LOOK[node.kind])));
}

function model(each) {
  return h("li", {}, each.is_loaded ? "● " : "○ ", named(each.name), h("span", { class: "dim" }, ` ${[each.is_loaded && "loaded", each.bytes && bytes(each.bytes), each.quantization].filter(Boolean).join(" · ")}`));
}
