// A line to the program and what it answers, as it comes. One runs at a time; it can be stopped.

import { $, h } from "./dom.js";
import { say } from "./header.js";
import { openTab } from "./tabs.js";
import { token } from "./token.js";
import { drawResult } from "./result.js";

const CHIPS = ["status", "rpc list", "rpc check", "coordinator list", "model list", "metrics", "doctor", "help"];
const MOST = 100; // results that stay
const MOST_PAST = 200; // lines that this tab remembers, also after a reload
const PAST = "synaptic-lines";
const past = JSON.parse(sessionStorage.getItem(PAST) ?? "[]");
let at = past.length;
let running = null;

export function openConsole() {
  openTab("console");
  $("line").focus();
}

/** Into the console's line, for a person to read and run. */
export function offer(line) {
  openConsole();
  $("line").value = line;
}

export function startConsole() {
  const line = $("line");
  $("command").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = line.value.trim();
    if (!text || running) return;
    line.value = "";
    run(text);
  });
  line.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !past.length || (line.value && line.value !== past[at])) return; // the arrows of a line being typed choose among its completions
    event.preventDefault();
    at = Math.min(Math.max(at + step, 0), past.length);
    line.value = past[at] ?? "";
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("chips").append(...CHIPS.map((text) => h("button", { type: "button", onclick: () => running || run(text) }, text)));
  line.addEventListener("focus", learnCommands, { once: true });
}

/** The names of all commands, for completion. */
async function learnCommands() {
  const answer = await post({ line: "help" }, "application/json").catch(() => null);
  if (!answer?.ok) return;
  const { commands } = await answer.json();
  $("commands").append(...commands.map(({ name, summary }) => h("option", { value: name }, summary)));
}

async function run(line, yes = false) {
  remember(line);
  const out = h("div", { class: "out" });
  const entry = h("article", { class: "entry" }, h("p", { class: "asked" }, h("span", { class: "prompt" }, "synaptic> "), line), out);
  const all = $("transcript");
  all.append(entry);
  while (all.childElementCount > MOST) all.firstElementChild.remove();
  running = new AbortController();
  busy(true);
  try {
    const answer = await post({ line, yes }, "application/x-ndjson", running.signal);
    if (!answer.ok) out.append(failure((await answer.json()).error, line));
    else for await (const frame of frames(answer.body)) draw(out, frame, line);
  } catch (error) {
    out.append(h("p", { class: error.name === "AbortError" ? "dim" : "bad" }, error.name === "AbortError" ? "interrupted" : "✗ the program does not answer"));
  } finally {
    running = null;
    busy(false);
    say(`${line}: done`);
  }
}

function remember(line) {
  if (past.at(-1) !== line) past.push(line);
  sessionStorage.setItem(PAST, JSON.stringify(past.slice(-MOST_PAST)));
  at = past.length;
}

function post(body, accept, signal) {
  return fetch("/api/run", { method: "POST", signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json", Accept: accept, Authorization: `Bearer ${token()}` } });
}

async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}

function draw(out, frame, line) {
  const isAtEnd = nearEnd();
  if (frame.type === "head" || frame.type === "tail") out.append(h("p", { class: "dim" }, frame.text));
  else if (frame.type === "piece") lastText(out, "answer-text").append(frame.text);
  else if (frame.type === "line") lastText(out, "log-text").append(`${frame.text}\n`);
  else if (frame.type === "result") showResult(out, frame, line);
  else if (frame.type === "error") out.append(failure(frame.error, line, frame.details));
  $("line").value ||= frame.prefill ?? frame.view?.prefill ?? ""; // one Enter does what was probably meant
  if (isAtEnd) $("transcript").scrollTop = $("transcript").scrollHeight;
}

function showResult(out, frame, line) {
  if (frame.again) out.replaceChildren();
  const drawn = line.endsWith(" --json") ? h("pre", {}, JSON.stringify(frame.json, null, 2)) : drawResult(frame.view);
  if (drawn) out.append(drawn);
  if (frame.error) out.append(failure(frame.error, line));
}

function failure({ message, hint }, line, details = []) {
  const needsYes = hint?.includes("--yes");
  return h("div", { class: "failed" }, h("p", { class: "bad text" }, `✗ ${message}`),
    needsYes ? h("button", { type: "button", onclick: (event) => { event.target.disabled = true; if (!running) run(line, true); } }, "yes, do it") : hint && h("p", { class: "dim text" }, hint),
    details.length ? h("pre", { class: "dim" }, details.join("\n")) : null);
}

function lastText(out, kind) {
  const last = out.lastElementChild;
  if (last?.classList.contains(kind)) return last;
  out.append(h("pre", { class: kind }));
  return out.lastElementChild;
}

const nearEnd = () => { const all = $("transcript"); return all.scrollHeight - all.scrollTop - all.clientHeight < 80; };

function busy(isBusy) {
  $("run").hidden = isBusy;
  $("stop").hidden = !isBusy;
  const all = $("transcript");
  all.scrollTop = all.scrollHeight;
}
