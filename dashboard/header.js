// What one look tells: the headline, whether the page is live, and what needs attention.

import { $, command, h, show, visible } from "./dom.js";
import { clock, plural, speed, state } from "./format.js";

const MOST_ALERTS = 6;
let lastSeen = 0;
let counting = 0;
let before = null; // what was said of

export function showHeader(now) {
  lastSeen = now.at;
  const { workers, answering, tokens_per_second } = now.summary;
  const up = now.coordinators.filter((each) => each.state === "ready");
  const loading = now.coordinators.find((each) => each.state === "starting");
  const words = [
    workers.known ? `${workers.ready} of ${plural(workers.known, "worker")} ready` : "no workers yet",
    up.length ? up.map((each) => `${file(each.model)} ${each.backends.length ? `over ${plural(each.backends.length, "worker")}` : "on this machine"}`).join(", ")
      : loading ? `${file(loading.model)} is loading` : `model ${file(now.model)}`,
    answering ? plural(answering, "answer").replace(" ", "\u00a0") + (tokens_per_second ? ` at ${speed(tokens_per_second)}` : "") : "idle",
  ];
  $("headline").textContent = visible(words.join(" · "));
  $("version").textContent = now.version;
  const trouble = now.alerts.length ? `${now.alerts.length} ! ` : "";
  document.title = `${trouble}${tokens_per_second ? `${speed(tokens_per_second)} · ` : ""}synaptic`;
  const more = now.alerts.length - MOST_ALERTS;
  show($("alerts"), now.alerts.slice(0, MOST_ALERTS).map(alert), more > 0 && h("li", { class: "alert attention" }, `and ${more} more; the cards of the cluster tell which`));
  announce(now);
}

/** Of a model that is named by its path, the end. */
const file = (model) => model.replace(/^[/~].*[/](?=.)/, "");

/** To those who hear the page: what changed its state. Never how fast, or what is written. */
function announce(now) {
  const states = new Map([...now.coordinators.map((each) => [`${each.engine} ${each.model}`, each.state]), ...now.machines.map((each) => [each.endpoint, each.health])]);
  const news = before ? [...states].filter(([name, word]) => before.get(name) !== word).map(([name, word]) => `${name}: ${state(word).word}`) : [];
  before = states;
  if (news.length) say(news.join(". "));
}

export function say(text) { $("said").textContent = visible(text); }

function alert({ severity, message, hint }) {
  return h("li", { class: `alert ${severity === "error" ? "bad" : "attention"}` },
    h("span", { class: "sign", role: "img", "aria-label": severity }, severity === "error" ? "✗" : "!"),
    h("span", {}, message, hint && [" · try: ", command(hint)]));
}

const SAID = { open: "connected, live", waiting: "disconnected: the program does not answer", locked: "this page needs its token" };

/** The pill at the top, and a banner while nobody answers. */
export function showLink(link, seconds) {
  clearInterval(counting);
  const pill = $("link"), banner = $("banner");
  if (pill.dataset.state !== link) say(SAID[link]);
  pill.dataset.state = link;
  pill.textContent = { open: "● live", waiting: "✗ disconnected", locked: "! locked" }[link];
  if (link !== "open") document.title = `${pill.textContent} · synaptic`; // no speed of a program that is gone
  document.body.classList.toggle("stale", link !== "open");
  banner.hidden = link !== "waiting";
  if (link !== "waiting") return;
  let left = Math.ceil(seconds);
  const count = () => {
    const seen = lastSeen ? ` What you see is from ${clock(lastSeen)}.` : "";
    banner.textContent = `Disconnected: the program does not answer. ${left > 0 ? `Trying again in ${left} s.` : "Trying again now."}${seen}`;
    left -= 1;
  };
  count();
  counting = setInterval(count, 1000);
}
