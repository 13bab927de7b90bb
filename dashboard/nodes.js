// The servers that have models of their own: Ollama nodes, llama-server, vLLM and others.

import { $, command, h, show } from "./dom.js";
import { bytes, clock, ms, plural, rate, state } from "./format.js";

const MOST = 12; // models of one server that are named

export function showNodes(now) {
  const known = now.nodes.filter((node) => node.health === "ready" || node.source !== "default");
  show($("servers"), known.length ? known.map(card) : h("p", { class: "card empty" }, "No server is known: ", command("nodes discover"), " looks for some, ", command("nodes add "), " takes an address."));
}

function card(node) {
  const { sign, tone, word } = state(node.health);
  const facts = [node.software || node.kind, node.version, node.latency_ms !== null && ms(node.latency_ms), node.tokens_per_second && `${rate(node.tokens_per_second)} tok/s`, node.memory && `${bytes(node.memory)} loaded`, node.has_gpu && "GPU", node.running && plural(node.running, "request")];
  return h("article", { class: `card machine is-${tone}`, "data-key": node.url },
    h("header", {}, h("h3", {}, node.name || node.endpoint), h("span", { class: `state ${tone}` }, `${sign} ${word}`)),
    h("p", { class: "dim" }, facts.filter(Boolean).join(" · ")),
    node.load_in_words && h("p", {}, node.load_in_words),
    node.detail && h("p", { class: `cause ${tone}` }, node.detail),
    node.models.length ? h("ul", { class: "models" }, node.models.slice(0, MOST).map(model), node.models.length > MOST && h("li", { class: "dim" }, `and ${node.models.length - MOST} more`)) : h("p", { class: "dim" }, node.health === "ready" ? "it has no models" : node.last_seen ? `last answered at ${clock(node.last_seen)}` : "it has never answered"));
}

function model(each) {
  return h("li", {}, each.is_loaded ? "● " : "○ ", each.name, h("span", { class: "dim" }, ` ${[each.is_loaded && "loaded", each.bytes && bytes(each.bytes), each.quantization].filter(Boolean).join(" · ")}`));
}
