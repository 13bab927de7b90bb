// Light, dark, or as the system has it. Kept in this browser.

import { h, show } from "./dom.js";

const KEY = "synaptic-theme", ORDER = ["system", "light", "dark"];

export function startTheme(button) {
  let now = ORDER.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system";
  const paint = () => {
    document.documentElement.dataset.theme = now;
    const [sign, word] = { system: ["◐", "auto"], light: ["○", "light"], dark: ["●", "dark"] }[now];
    button.setAttribute("aria-label", `${word}: light or dark`);
    show(button, sign, h("span", { class: "word" }, ` ${word}`));
  };
  const next = () => {
    now = ORDER[(ORDER.indexOf(now) + 1) % ORDER.length];
    localStorage.setItem(KEY, now);
    paint();
  };
  button.addEventListener("click", next);
  paint();
  return next;
}
