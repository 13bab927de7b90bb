// What one look tells: the headline, whether the page is live, and what needs attention.

import { $, h, show } from "./dom.js";
import { clock, plural, rate } from "./format.js";

let lastSeen = 0;
let counting = 0;

export function showHeader(now) {
  lastSeen = now.at;
  const { workers, answering, tokens_per_second } = now.summary;
  const up = now.coordinators.filter((each) => each.state === "ready");
  const words = [
    workers.known ? `${workers.ready} of ${plural(workers.known, "worker")} ready` : "no workers yet",
    up.length ? up.map((each) => `${each.model} ${each.backends.length ? `over ${plural(each.backends.length, "worker")}` : "on this machine"}`).join(", ") : `model ${now.model}`,
    answering ? plural(answering, "answer") + (tokens_per_second ? ` at ${rate(tokens_per_second)} tok/s` : "") : "idle",
  ];
  $("headline").textContent = words.join(" · ");
  $("version").textContent = now.version;
  const trouble = now.alerts.length ? `${now.alerts.length} ! ` : "";
  document.title = `${trouble}${tokens_per_second ? `${rate(tokens_per_second)} tok/s · ` : ""}synaptic`;
  show($("alerts"), now.alerts.map(alert));
}

function alert({ severity, message, hint }) {
  return h("li", { class: `alert ${severity === "error" ? "bad" : "attention"}` },
    h("span", { class: "sign", "aria-label": severity }, severity === "error" ? "✗" : "!"),
    h("span", {}, message, " ", hint && h("code", { class: "dim" }, `try: ${hint}`)));
}

/** The pill at the top, and a banner while nobody answers. */
export function showLink(state, seconds) {
  clearInterval(counting);
  const pill = $("link"), banner = $("banner");
  pill.dataset.state = state;
  pill.textContent = { open: "● live", waiting: "✗ disconnected", locked: "! locked" }[state];
  document.body.classList.toggle("stale", state !== "open");
  banner.hidden = state !== "waiting";
  if (state !== "waiting") return;
  let left = Math.ceil(seconds);
  const say = () => {
    const seen = lastSeen ? ` What you see is from ${clock(lastSeen)}.` : "";
    banner.textContent = `Disconnected: the program does not answer. ${left > 0 ? `Trying again in ${left} s.` : "Trying again now."}${seen}`;
    left -= 1;
  };
  say();
  counting = setInterval(say, 1000);
}
