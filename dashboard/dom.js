// Elements without markup: every text is a text node, whoever wrote it. No function here takes HTML.

const SVG = "http://www.w3.org/2000/svg";
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g; // as in synaptic/terminal.py

export const $ = (id) => document.getElementById(id);

/** h("p", {class: "dim", title: text, onclick: f}, "text", child, …); null and false are left out. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : visible(String(child)))));
  return element;
}

/** Foreign text with what would control it, or turn its order of reading around, as signs that do nothing. */
export const visible = (text) => text.replace(UNSAFE, (sign) => (sign < " " ? `^${String.fromCharCode(sign.charCodeAt(0) + 64)}` : `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`));

/** An address or the name of a model, which breaks after its own marks rather than anywhere. */
export const named = (text) => text.split(/(?<=[:/@_.-])/).flatMap((part, index) => (index ? [h("wbr"), part] : part));

/** Make `parent` hold what `wanted` says, and touch only what differs: focus, selection and scrolling stay. */
export function show(parent, ...wanted) {
  const fresh = document.createDocumentFragment();
  fresh.append(...wanted.flat(Infinity).filter(Boolean));
  match(parent, fresh);
}

/** A command that the console takes when it is clicked; main.js listens. */
export const command = (line) => h("button", { type: "button", class: "command", "data-command": line }, line);

function match(old, fresh) {
  const now = [...old.childNodes];
  const next = [...fresh.childNodes];
  next.forEach((node, index) => {
    const before = now[index];
    if (!before) old.append(node);
    else if (!alike(before, node)) before.replaceWith(node);
    else if (node.nodeType === Node.TEXT_NODE) {
      if (before.data !== node.data) before.data = node.data;
    } else {
      attributes(before, node);
      match(before, node);
    }
  });
  for (const node of now.slice(next.length)) node.remove();
}

function alike(one, other) {
  return one.nodeName === other.nodeName && one.nodeType === other.nodeType && one.dataset?.key === other.dataset?.key;
}

function attributes(old, fresh) {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}
