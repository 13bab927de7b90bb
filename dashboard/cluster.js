// The machines as cards, each with a bar of its memory: what of which model lies there.

import { $, command, h, named, s, show } from "./dom.js";
import { bytes, duration, fares, layersHeld, ms, passing, plural, speed } from "./format.js";
import { showSplits } from "./split.js";

export const KINDS = { coordinator: "this machine", rpc: "rpc-server", dllama: "dllama worker", ollama: "Ollama", openai: "server" };
export const LOOK = { rpc: "rpc check", dllama: "dllama check --verify", ollama: "nodes health", openai: "nodes health" };
const MANY = 12; // machines, above which their cards are small
const SOURCES = { environment: "from the environment", scan: "found by a scan", local: "started here" };
const PARTS = [["model_bytes", "weights"], ["kv_bytes", "KV cache"], ["compute_bytes", "compute"]];

export function showCluster(now) {
  show($("first"), isNew(now) ? firstSteps() : null);
  show($("tiles"), tiles(now));
  showSplits($("splits"), now);
  $("machines").classList.toggle("many", now.machines.length > MANY);
  show($("machines"), now.machines.map((machine) => card(machine, now.at)),
    now.machines.length > 1 ? null : h("p", { class: "card empty" }, "No other machine is known yet."));
  show($("legend"), [...PARTS, ["other", "in use by others"], ["free", "free"]].map(([name, word]) => h("span", { class: "key" }, swatch(name), ` ${word}`)),
    now.links_are_measured ? h("span", {}, "↑ sent from here ↓ received here") : h("span", {}, "what passes to and from each worker is not measured on this system"));
}

const isNew = ({ summary, coordinators, answers }) => !summary.workers.known && !summary.servers.ready && !coordinators.length && !answers.running.length && !answers.recent.length;

function firstSteps() {
  return h("article", { class: "card first" }, h("h2", {}, "Begin here"),
    h("p", {}, "No worker is known yet, and no server answers. Each of these opens the console with its line; Enter runs it."),
    h("dl", { class: "steps" }, [
      ["demo", "see it work on this machine: two workers, the model that is shipped, one question"],
      ["discover", "find workers and servers of models on this machine's networks"],
      ["rpc add ", "use workers whose addresses you know"],
      ["nodes add ", "use an Ollama node, or any server that speaks the OpenAI API"],
      ["doctor", "check what is installed here, and how to mend what is missing"],
    ].map(([line, why]) => [h("dt", {}, command(line)), h("dd", {}, why)])));
}

function tiles({ summary, distributed, model, machines, answers, coordinators: split }) {
  const { workers, servers, coordinators, answering, tokens_per_second } = summary;
  const held = machines.flatMap((each) => each.holds).reduce((sum, each) => sum + each.model_bytes + each.kv_bytes + each.compute_bytes, 0);
  const [starting, failed] = ["starting", "failed"].map((word) => split.filter((each) => each.state === word).length);
  return [
    tile("workers ready", of(workers), ...health(workers, workers.known ? "all well" : "try: rpc discover")),
    tile("coordinators", of(coordinators), ...(failed ? [`✗ ${failed} failed`, "bad"] : starting ? [`◐ ${starting} loading`, "attention"] : [held ? `${bytes(held)} loaded` : "nothing loaded", ""])),
    tile("speed", tokens_per_second ? speed(tokens_per_second) : answering ? "waiting" : "idle", answering ? plural(answering, "answer") : last(answers.recent), tokens_per_second ? "good" : ""),
    tile("servers", of(servers), ...health(servers, "Ollama, OpenAI")),
    tile("model", named(model), distributed ? "distributed on" : "distributed off"),
  ];
}

const of = ({ known, ready }) => (known ? `${ready} of ${known}` : "none");

const last = ([newest]) => (newest?.tokens_per_second ? `last: ${speed(newest.tokens_per_second)}` : "no answer yet");

function health({ known, ready, lost }, well) {
  if (lost) return [`✗ ${lost} lost`, "bad"];
  return ready < known ? [`! ${known - ready} not ready`, "attention"] : [well, ""];
}

function tile(label, value, note, tone = "") {
  return h("li", { class: "tile", "data-key": label }, h("span", { class: "dim" }, label), h("strong", {}, value), h("span", { class: `note ${tone}` }, note));
}

function card(machine, at) {
  const { sign, tone, word } = fares(machine);
  const isHere = machine.kind === "coordinator";
  const name = isHere ? "this machine" : machine.endpoint;
  return h("article", { class: `card machine is-${tone}`, "aria-label": name, "data-key": machine.endpoint, "data-endpoint": machine.endpoint },
    h("header", {}, h("h3", {}, named(name)), isHere ? null : h("span", { class: `state ${tone}` }, `${sign} ${word}`)),
    h("p", { class: "dim" }, facts(machine, isHere)),
    machine.health === "ready" ? h("p", { class: "dim moving" }, moving(machine)) : null,
    machine.health === "lost" ? null : memory(machine),
    machine.holds.map(holding),
    machine.loaded.length ? h("p", { class: "holding" }, h("strong", {}, named(machine.loaded.join(", "))), machine.loaded_bytes ? ` ${bytes(machine.loaded_bytes)} in memory` : " loaded") : null,
    machine.detail && h("p", { class: `cause ${tone === "good" ? "dim" : tone}` }, machine.detail),
    tone !== "good" && !isHere && h("p", { class: "dim" }, `${away(machine, at)}try: `, command(LOOK[machine.kind])));
}

/** Since when nothing is heard of it. A worker in use answers its coordinator, not us: when it last did so nobody knows. */
function away({ health, state: doing, since, last_seen }, at) {
  if (health === "lost") return doing === "in-use" ? "" : `lost ${duration(at - since)} ago · `;
  return last_seen ? `last answered ${duration(at - last_seen)} ago · ` : "";
}

function facts(machine, isHere) {
  const words = isHere ? [machine.version, ...machine.devices] : [machine.models !== null && machine.version ? null : KINDS[machine.kind] ?? machine.kind, machine.version];
  if (machine.devices.length > 1) words.push(plural(machine.devices.length, "device"));
  if (machine.models !== null && machine.health === "ready") words.push(plural(machine.models, "model"));
  if (machine.source) words.push(SOURCES[machine.source] ?? machine.source);
  return words.filter(Boolean).join(" · ");
}

/** What is another number every two seconds, on a line of its own: nothing else moves with it. */
function moving(machine) {
  const words = [
    machine.cpu_percent !== null && `CPU\u00a0${Math.round(machine.cpu_percent)}\u00a0%`,
    machine.latency_ms !== null && `${ms(machine.latency_ms)} away`.replace(" ", "\u00a0"),
    machine.running && plural(machine.running, "request"),
    machine.sent_per_second !== null && passing(machine),
  ];
  return words.filter(Boolean).join(" · ");
}

/** What is known to be held, what others use, and the rest. Sizes that are too small to see get a sliver. */
function memory(machine) {
  const held = PARTS.map(([name]) => [name, machine.holds.reduce((sum, each) => sum + each[name], 0)]);
  const ours = held.reduce((sum, [, size]) => sum + size, 0);
  if (!machine.total) return ours ? h("p", { class: "dim" }, `${bytes(ours)} held; how much memory it has it does not tell`) : null;
  const isHere = machine.kind === "coordinator";
  const other = Math.max(0, machine.total - machine.free - (isHere ? ours : 0));
  const parts = [...held, ["other", other]].filter(([, size]) => size > 0);
  let x = 0;
  const rects = parts.map(([name, size]) => {
    const width = Math.min(Math.max((size / machine.total) * 100, 0.8), 100 - x);
    const rect = s("rect", { x: `${x}%`, y: 0, width: `${width}%`, height: "100%", class: `part ${name}`, fill: `url(#fill-${name})` });
    x += width;
    return rect;
  });
  const free = Math.max(0, machine.total - other - ours);
  const words = `${bytes(free)} free of ${bytes(machine.total)}`;
  return h("div", { class: "memory" },
    s("svg", { class: "bar-of-memory", height: 14, role: "img", "aria-label": words }, rects),
    h("p", { class: "dim split" }, h("span", {}, ours ? `${bytes(ours)} held` : "nothing held"), h("span", {}, words)));
}

function holding(held) {
  const parts = PARTS.filter(([name]) => held[name]).map(([name, word]) => `${bytes(held[name])} ${word}`);
  const layers = held.layers ? `${layersHeld(held.layers, held.cut)} · ` : "";
  return h("p", { class: "holding", "data-key": held.model }, h("strong", { title: held.model }, named(held.model)), ` ${layers}${parts.join(" · ")}`);
}

function swatch(name) {
  return s("svg", { class: "swatch", width: 16, height: 12, "aria-hidden": "true" }, s("rect", { width: 16, height: 12, class: `part ${name}`, fill: name === "free" ? "none" : `url(#fill-${name})` }));
}
