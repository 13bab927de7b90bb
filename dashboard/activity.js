// The answers on their way, the long works, the last minutes in charts, and the answers that ended.

import { $, command, h, named, show } from "./dom.js";
import { bytes, clock, duration, ms, plural, rate, state } from "./format.js";
import { chart } from "./chart.js";

const MINUTES = 5;
const AMOUNTS = [3, 4, 5]; // columns of numbers that are compared

export function showActivity(now, points) {
  const { running, recent } = now.answers;
  show($("running"), now.works.map((work) => working(work, now.at)), running.map((each) => answer(each, now.at)),
    running.length || now.works.length ? null : h("div", { class: "card empty nobody" }, h("p", {}, "Nothing is being answered now."), h("p", {}, "Ask something in the shell, through the gateway, or here: ", command("ask What is a worker?"))));
  show($("charts"), charts(now, points));
  show($("recent"), recent.length ? table(recent) : h("p", { class: "card empty" }, "No answer has ended yet."));
}

function working({ what, began, done, total, unit }, at) {
  const isBytes = unit === "B" || unit === "bytes";
  const word = (value) => (isBytes ? bytes(value) : Math.round(value));
  const amount = done === null ? "" : ` · ${word(done)}${total ? ` of ${word(total)}` : ""}${isBytes ? "" : ` ${unit}`}`;
  return h("article", { class: "card work", "data-key": what }, h("p", {}, "◐ ", what, h("span", { class: "dim" }, `${amount} · ${duration(at - began)}`)),
    total ? h("progress", { max: total, value: Math.min(done ?? 0, total), "aria-label": what }) : h("progress", { "aria-label": what }));
}

function answer(each, at) {
  const { sign, tone, word } = each.state === "waiting" && each.failovers.length ? state("moving") : state(each.state);
  const why = each.why && !each.failovers.length ? ` (${each.why})` : ""; // of the route that it began on
  return h("article", { class: "card answer", "aria-label": `answer of ${each.model}`, "data-key": each.number },
    h("header", {}, h("h3", {}, named(each.model)), h("span", { class: `state ${tone}` }, `${sign} ${word}`)),
    h("p", { class: "dim" }, `→ ${each.via} · ${each.where}${why}`),
    h("div", { class: "figures" },
      figure(rate(each.tokens_per_second), "tok/s"), figure(String(each.tokens), each.tokens === 1 ? "token" : "tokens"),
      figure(ms(each.ttft_ms), "to first"), figure(duration(at - each.began), "so far")),
    each.cost && h("p", { class: "dim" }, costs(each.cost)),
    each.failovers.map(failover));
}

/** What a token takes where this program computes itself. */
function costs({ computing_ms, waiting_ms, waits }) {
  const whom = waits.map(([worker, each]) => `${worker} ${ms(each)}`).join(", ");
  return `each token: ${ms(computing_ms)} computing here, ${ms(waiting_ms)} waiting for others${whom && ` (${whom})`}`;
}

const figure = (value, unit) => h("div", { class: "figure" }, h("strong", {}, value), h("span", { class: "dim" }, unit));

function failover({ at, lost, tokens, where, cause }) {
  return h("p", { class: "failover attention", title: cause }, `! ${clock(at)} ${lost.length ? `${lost.join(", ")} was lost` : "its coordinator was lost"} after ${plural(tokens, "token")}; went on, on ${where}`);
}

function charts(now, points) {
  const from = now.at - MINUTES * 60, to = now.at;
  const column = parseFloat(getComputedStyle($("charts")).gridTemplateColumns); // pixels of the first one
  const width = Math.max(160, Math.floor(column || 300) - 34);
  const line = (name) => points.map((point) => [point.at, point[name]]);
  const waits = [...now.answers.running, ...now.answers.recent].filter((each) => each.ttft_ms !== null).map((each) => [each.began + each.ttft_ms / 1000, each.ttft_ms]).sort(([one], [other]) => one - other);
  const here = now.machines[0];
  return [
    chart({ name: "tokens/s", lines: [{ points: line("tokens_per_second") }], word: tokens, from, to, width }),
    chart({ name: "time to first token", lines: [{ points: waits, isDots: true }], word: ms, from, to, width }),
    chart({ name: "answers (dashed: ready workers)", lines: [{ points: line("answering") }, { points: line("ready"), look: 1 }], word: (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1)), from, to, width, note: String(now.summary.answering) }),
    chart({ name: "memory used here (dashed: held by models)", lines: [{ points: line("used") }, { points: line("held"), look: 1 }], word: bytes, step: 1024, from, to, width }),
    chart({ name: "to workers (dashed: from them)", lines: [{ points: line("sent_per_second") }, { points: line("received_per_second"), look: 1 }], word: (value) => `${bytes(Math.round(value))}/s`, step: 1024, from, to, width }),
    chart({ name: "CPU of this machine", lines: [{ points: line("cpu_percent") }], word: (value) => `${Math.round(value)} %`, from, to, width, note: here.cpu_percent === null ? "" : `${Math.round(here.cpu_percent)} %` }),
  ];
}

const tokens = (value) => (Number.isInteger(value) ? String(value) : rate(value));

function table(recent) {
  const head = ["when", "model", "route", "tokens", "tok/s", "first token", "end"];
  return h("table", { class: "table stacking" }, h("thead", {}, h("tr", {}, head.map((word, index) => h("th", { class: AMOUNTS.includes(index) ? "amount" : "" }, word)))), h("tbody", {}, recent.map((each) => row(each, head))));
}

function row(each, head) {
  const { sign, tone, word } = state(each.state);
  const end = `${sign} ${word}${each.failovers.length ? ` · ${plural(each.failovers.length, "failover")}` : ""}`;
  const cells = [clock(each.began), each.model, `${each.via} · ${each.where}`, each.tokens, rate(each.tokens_per_second), ms(each.ttft_ms), end];
  const more = { 2: each.cost && `· ${costs(each.cost)}`, 6: each.cause };
  return h("tr", { "data-key": each.number, title: each.cause || each.why },
    cells.map((cell, index) => h("td", { "data-name": head[index], class: index === 6 ? `state ${tone}` : AMOUNTS.includes(index) ? "number amount" : index ? "" : "number" }, String(cell), more[index] && h("span", { class: "dim" }, ` ${more[index]}`))));
}
