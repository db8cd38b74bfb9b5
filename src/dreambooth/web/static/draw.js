// Asking for more samples, in words that have the subject's own name.

import { get, post, put as set, sampleUrl } from "./api.js";
import { $, h, put, say, toast } from "./dom.js";
import { view } from "./viewer.js";
import { spoken as said, template } from "./words.js";

let page = null;
let shown = "";
let asked = 0;

const spoken = (idea) => said(idea, page.view.spoken);

function reads() {
  const words = $("prompt").value.trim();
  const found = template(words, page.view.spoken);
  if (!words) say($("reads"), "");
  else if (!found.includes("{}")) say($("reads"), `This does not say ${page.view.spoken}: something else will be drawn.`);
  else say($("reads"), `The model reads: ${found.replaceAll("{}", page.view.called || page.view.noun)}`);
}

async function generate(event) {
  event.preventDefault();
  const words = $("prompt").value.trim();
  if (!words) { $("prompt").focus(); return; }
  const seed = $("seed").value === "" || !$("lock").checked ? Math.floor(Math.random() * 1e6) : Number($("seed").value);
  $("seed").value = seed;
  try {
    await post(`${page.base}/generate`, { prompts: [template(words, page.view.spoken)], count: Number($("count").value) || 4, seed });
    asked = Date.now();
    show();
  } catch (error) { toast(error.message); }
}

let writing = Promise.resolve();

/** Mark a sample, or take its mark away: the marks are kept as one list, so this one goes into the list as it is now. */
function star(sample) {
  const name = `${sample.stage}/${sample.file}`, marked = !page.favourites.includes(name);
  const changed = (names) => [...names.filter((each) => each !== name), ...(marked ? [name] : [])];
  page.favourites = changed(page.favourites);
  page.starred += 1;
  const mine = page.starred;
  show();
  writing = writing.then(async () => {
    try {
      const samples = changed((await get(`${page.base}/samples`)).favourites);
      await set(`${page.base}/favourites`, { samples });
      if (page.starred === mine) page.favourites = samples;
    } catch (error) {
      page.favourites = marked ? page.favourites.filter((each) => each !== name) : [...page.favourites, name];
      toast(error.message);
    }
    show();
  });
}

function again(sample) {
  $("prompt").value = spoken(sample.template);
  $("seed").value = sample.seed;
  $("lock").checked = true;
  reads();
  $("prompt").focus();
}

function figure(sample, index, list) {
  const name = `${sample.stage}/${sample.file}`, words = spoken(sample.template), marked = page.favourites.includes(name);
  const large = () => view(list.map((its) => ({ url: sampleUrl(page.id, its), file: its.file, caption: `“${spoken(its.template)}”, seed ${its.seed}` })), index, page.photos);
  return h("figure", {}, h("button", { type: "button", class: "open", "aria-label": `Enlarge: ${words}, seed ${sample.seed}`, onclick: large },
    h("img", { src: sampleUrl(page.id, sample, 512), alt: words, loading: "lazy" })),
  h("figcaption", {}, words),
  h("div", { class: "tools" },
    h("button", { type: "button", class: "quiet star", "aria-pressed": String(marked), "aria-label": `Favourite: ${words}, seed ${sample.seed}`, onclick: () => star(sample) }, marked ? "★" : "☆"),
    h("button", { type: "button", class: "quiet", "aria-label": `The same seed again: ${sample.seed}`, onclick: () => again(sample) }, String(sample.seed)),
    h("a", { class: "button quiet", href: sampleUrl(page.id, sample), download: sample.file, "aria-label": `Download: ${words}, seed ${sample.seed}` }, "↓")));
}

function show() {
  $("draw").hidden = !page.view.has_model;
  if (!page.view.has_model) return;
  const busy = ["waiting", "starting", "running"].includes(page.view.state);
  if (!busy && Date.now() - asked > 3000) asked = 0;
  $("generate").disabled = busy || asked > 0;
  say($("generate"), busy || asked ? "Drawing…" : "Draw");
  const own = page.samples.filter((sample) => sample.stage === "own").sort((a, b) => b.made - a.made);
  const list = $("only").checked ? own.filter((sample) => page.favourites.includes(`${sample.stage}/${sample.file}`)) : own;
  const now = JSON.stringify([list.map((sample) => sample.file), page.favourites, page.view.ideas]);
  if (now === shown) return;
  shown = now;
  put($("own"), list.map(figure));
  put($("ideas"), page.view.ideas.map((idea) => h("button", { type: "button", class: "chip", onclick: () => { $("prompt").value = spoken(idea); reads(); $("prompt").focus(); } }, spoken(idea))));
}

$("wish").addEventListener("submit", generate);
$("prompt").addEventListener("input", reads);
$("only").addEventListener("change", show);
$("seed").addEventListener("input", () => { $("lock").checked = $("seed").value !== ""; });

/** Show what can be drawn, and what was. */
export function showDrawing(its) {
  page = its;
  if (!$("prompt").value && its.view.ideas.length) $("prompt").placeholder = spoken(its.view.ideas[0]);
  show();
}
