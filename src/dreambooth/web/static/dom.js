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

/** Put children in place of those that are there; where one of them had the keyboard's focus, its successor has it. */
export function put(element, ...children) {
  const was = document.activeElement;
  const place = was !== element && element.contains(was) ? placeOf(was, element) : null;
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (place) focusAgain(place, element);
}

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";
const within = (element) => [...element.querySelectorAll(FOCUSABLE)];

/** What tells one from another: made anew it has the same. */
const keyOf = (its) => its.id || its.dataset.key || (its.name ? `${its.name} ${its.value}` : its.getAttribute("href") || its.getAttribute("aria-label") || its.textContent);

/** Of one kind are those that say the same: the "Remove" of every photo. */
const kindOf = (its) => `${its.tagName} ${its.textContent}`;

const placeOf = (was, element) => ({
  key: keyOf(was), kind: kindOf(was), named: Boolean(was.name),
  index: within(element).filter((its) => kindOf(its) === kindOf(was)).indexOf(was),
});

/** Focus the element of the same key, else the next one of its kind, else what holds them: never an other button. */
function focusAgain(place, element) {
  const alike = within(element).filter((its) => kindOf(its) === place.kind);
  const same = within(place.named ? document : element).find((its) => keyOf(its) === place.key); // a radio may move
  const next = same || alike[Math.min(place.index, alike.length - 1)];
  if (next) next.focus({ preventScroll: true });
  if (next && document.activeElement === next) return;
  element.tabIndex = -1;
  element.focus({ preventScroll: true });
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
