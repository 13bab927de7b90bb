// A websocket that comes back: with growing patience, and never to a stranger on the same port.

import { token, whoAnswers } from "./token.js";

const FIRST = 500, LONGEST = 15000; // milliseconds

/** `heard(text)` for each message; `changed(state, seconds)`: "open", "waiting" (trying again in so long), "locked" (no token, or a wrong one). */
export class Link {
  constructor(path, heard, changed = () => {}) {
    this.path = path;
    this.heard = heard;
    this.changed = changed;
    this.patience = FIRST;
    this.timer = 0;
  }

  async open() {
    clearTimeout(this.timer);
    const who = await whoAnswers();
    if (who === "stranger") { this.changed("locked", 0); return; }
    if (who === "unreachable") { this.again(); return; }
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}`, ["synaptic", `token.${token()}`]);
    socket.onopen = () => { this.patience = FIRST; this.changed("open", 0); };
    socket.onmessage = (message) => this.heard(message.data);
    socket.onclose = () => this.again();
  }

  again() {
    const wait = this.patience * (0.75 + Math.random() / 2);
    this.patience = Math.min(this.patience * 1.8, LONGEST);
    this.changed("waiting", wait / 1000);
    this.timer = setTimeout(() => this.open(), wait);
  }
}
