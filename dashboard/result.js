// What a command answered, drawn as the shell draws it.

import { h } from "./dom.js";

const SHORT = 18; // letters of a cell that stay in one line

/** `view` is what web/view.py makes of a result; null where its text was shown already. */
export function drawResult(view) {
  if (!view) return null;
  return { note, rows, facts }[view.kind]?.(view) ?? null;
}

function note({ text, style, hint }) {
  return h("div", {}, h("p", { class: `text ${style}` }, text), hint && h("p", { class: "text dim" }, hint));
}

function rows({ columns, rows: all, empty, summary }) {
  if (!all.length) return h("div", {}, h("p", { class: "dim" }, empty), summary && h("p", { class: "text" }, summary));
  return h("div", {}, h("div", { class: "scroller" }, h("table", { class: "table stacking" },
    h("thead", {}, h("tr", {}, columns.map((name) => h("th", {}, name)))),
    h("tbody", {}, all.map((cells) => h("tr", {}, cells.map((cell, index) => h("td", { class: `${cell.style} ${cell.text.length <= SHORT ? "short" : ""}`, "data-name": columns[index] }, cell.text))))))),
  summary && h("p", { class: "text" }, summary));
}

function facts({ facts: all, tables, summary }) {
  return h("div", {}, h("dl", { class: "facts" }, all.map(([label, cell]) => [h("dt", {}, label), h("dd", { class: cell.style }, cell.text)])),
    tables.map(([label, table]) => [h("h3", {}, label), rows(table)]), summary && h("p", { class: "text" }, summary));
}
