// Elements without innerHTML: h("p", {class: "note"}, "text", child). Attributes that are functions listen.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["checked", "disabled", "hidden", "value", "selected", "indeterminate"]);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (name === "style") Object.assign(element.style, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

export const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
export const $ = (id) => document.getElementById(id);

export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/** Change an element's text only where it is another: screen readers say it again otherwise. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A sentence at the bottom of the page, with one button at most. */
export function toast(sentence, label, action) {
  const close = () => line.remove();
  const line = h("div", {}, h("span", {}, sentence),
    h("button", { type: "button", onclick: () => { close(); if (action) action(); } }, label || "Close"));
  $("toast").append(line);
  if (!action) setTimeout(close, 12000);
}
