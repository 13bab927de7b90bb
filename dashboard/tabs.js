// The six views. Which one is open stands in the address, so that a reload comes back to it.

const buttons = [...document.querySelectorAll("[role=tab]")];
const names = buttons.map((button) => button.dataset.tab);
const listeners = [];

export const current = () => document.body.dataset.tab;

export function onTab(listener) { listeners.push(listener); }

export function openTab(name) {
  const chosen = names.includes(name) ? name : names[0];
  document.body.dataset.tab = chosen;
  for (const button of buttons) {
    const isChosen = button.dataset.tab === chosen;
    button.setAttribute("aria-selected", isChosen);
    button.tabIndex = isChosen ? 0 : -1;
    document.getElementById(button.dataset.tab).hidden = !isChosen;
    if (isChosen) button.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  history.replaceState(null, "", `#${chosen}`);
  listeners.forEach((listener) => listener(chosen));
}

export const openNumber = (number) => openTab(names[number - 1]);

export function startTabs() {
  for (const button of buttons) {
    button.addEventListener("click", () => openTab(button.dataset.tab));
    button.addEventListener("keydown", (event) => {
      const at = buttons.indexOf(button);
      const to = { ArrowRight: (at + 1) % buttons.length, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault(); // the page does not scroll
      const next = buttons.at(to);
      openTab(next.dataset.tab);
      next.focus();
    });
  }
  openTab(location.hash.slice(1));
}
