// Starts everything: the token, the link to the program, the views, the keys.

import { $ } from "./dom.js";
import { Link } from "./link.js";
import { keepToken, takeToken } from "./token.js";
import { startTheme } from "./theme.js";
import { current, onTab, openNumber, startTabs } from "./tabs.js";
import { showHeader, showLink } from "./header.js";
import { showCluster } from "./cluster.js";
import { showActivity } from "./activity.js";
import { showNodes } from "./nodes.js";
import { Feed, asEvent, asLine } from "./feed.js";
import { openConsole, offer, startConsole } from "./console.js";

takeToken();
const nextTheme = startTheme($("theme"));

let newest = null; // the last snapshot
let points = []; // of the charts
let width = 0;

const feeds = {
  nodes: new Feed($("node-feed"), "/ws/ollama_logs", asEvent),
  llama: new Feed($("llama-feed"), "/ws/llama_cpp_logs", asEvent, { quiet: "log", quietLabel: "the engine's own log" }),
  logs: new Feed($("log-feed"), "/ws/logs", asLine),
};

function hear(text) {
  const snapshot = JSON.parse(text);
  if (newest && newest.version !== snapshot.version) location.reload();
  newest = snapshot;
  remember(snapshot);
  showHeader(newest);
  draw();
}

/** The points so far came with the first snapshot; each later one has the newest. */
function remember({ history, sample }) {
  if (history) points = history;
  else if (sample && sample.at !== points.at(-1)?.at) points = [...points.slice(-600), sample];
}

/** What is looked at; nothing while the page is in the background. */
function draw() {
  if (!newest || document.hidden) return;
  ({ cluster: showCluster, activity: (now) => showActivity(now, points), nodes: showNodes })[current()]?.(newest);
}

const link = new Link("/ws/dashboard", hear, (state, seconds) => {
  showLink(state, seconds);
  $("unlock").hidden = state !== "locked";
});

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken($("token").value);
  $("token").value = "";
  link.open();
  Object.values(feeds).forEach((feed) => feed.reopen());
});

onTab((name) => {
  feeds[name]?.open();
  draw();
});
startTabs();
startConsole();
link.open();
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width !== width) draw(); // pictures are drawn for a width
  width = contentRect.width;
}).observe(document.querySelector("main"));
document.addEventListener("visibilitychange", draw);
document.addEventListener("click", ({ target }) => {
  const line = target.closest("[data-command]")?.dataset.command;
  if (line) offer(line);
});

const keys = $("keys");
$("help").addEventListener("click", () => keys.showModal());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.closest("input, textarea, select");
  if (event.key === "Escape") {
    if (isTyping) event.target.blur();
    return; // a dialog closes itself
  }
  if (isTyping || keys.open) return;
  if (/^[1-6]$/.test(event.key)) openNumber(Number(event.key));
  else if (event.key === "?") keys.showModal();
  else if (event.key === "/") feeds[current()] ? feeds[current()].focus() : openConsole();
  else if (event.key === "p") feeds[current()]?.pause();
  else if (event.key === "t") nextTheme();
  else return;
  event.preventDefault();
});
