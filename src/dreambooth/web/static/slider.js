// The samples of every probe: a step, and what was asked for.

import { post, sampleUrl } from "./api.js";
import { $, h, put, say, toast } from "./dom.js";
import { view } from "./viewer.js";
import { sentence } from "./words.js";

let chosen = null;
let follows = true;
let page = null;
let shown = "";

const KINDS = { subject: "alone", class: "another one" };

/** What a prompt is called on its chip: the place, or what it is for. */
function label(sample) {
  if (sample.kind === "class") return `any ${page.view.noun}`;
  const place = sample.template.replace(/^an? \{\}\s*/, "");
  return place || KINDS[sample.kind] || sample.template;
}

const rank = (sample) => (sample.kind === "class" ? 2 : sample.template === "a {}" ? 0 : 1);
const key = (sample) => `${sample.kind === "class" && sample.template === "a {}" ? "class" : "its"} ${sample.template}`;

function wanted(step) {
  const at = page.samples.filter((sample) => sample.step === step);
  const exact = at.filter((sample) => key(sample) === chosen);
  return exact.length || step > 0 ? exact : at.filter((sample) => `its ${sample.template}` === chosen);
}

function pictures(list) {
  return list.map((sample) => ({ url: sampleUrl(page.id, sample), file: sample.file, caption: `“${sample.prompt}”, ${sample.step === 0 ? "the base model" : `step ${sample.step}`}, seed ${sample.seed}` }));
}

function show() {
  const steps = [...new Set(page.samples.map((sample) => sample.step).filter((step) => step !== null))].sort((a, b) => a - b);
  $("watch").hidden = steps.length === 0;
  if (!steps.length) return;
  const slider = $("step"), best = page.view.recommended ? page.view.recommended.step : null;
  slider.max = steps.length - 1;
  if (follows) slider.value = best === null ? steps.length - 1 : Math.max(0, steps.indexOf(best));
  const step = steps[slider.value];
  const mark = page.view.recommended && page.view.recommended.by_hand ? "chosen" : "recommended";
  const words = step === 0 ? "0, the base model" : `${step}${step === best ? `, ${mark}` : ""}`;
  say($("at"), words);
  slider.setAttribute("aria-valuetext", `step ${words}`);
  put($("steps"), steps.map((each, index) => h("option", { value: index, label: each === best ? "best" : String(each) })));
  showUse(step, best);
  const asked = new Map();
  for (const sample of page.samples) if (sample.step !== null && sample.step > 0) asked.set(key(sample), sample);
  if (!asked.size) for (const sample of page.samples) if (sample.step === 0) asked.set(key(sample), sample);
  const order = [...asked].sort(([, one], [, other]) => rank(one) - rank(other));
  if (!asked.has(chosen)) chosen = order[0][0];
  const list = wanted(step);
  const drawing = page.view.state === "running" && step === steps.at(-1);
  const now = JSON.stringify([step, chosen, list.map((sample) => [sample.file, sample.made]), [...asked.keys()], best, drawing]);
  if (now === shown) return;
  shown = now;
  put($("prompts"), order.map(([name, sample]) => h("button", { type: "button", class: "chip", "aria-pressed": String(name === chosen), onclick: () => { chosen = name; show(); } }, label(sample))));
  put($("pictures"), list.map((sample, index) => h("figure", {}, h("button", { type: "button", class: "open", "aria-label": `Enlarge: ${sample.prompt}, seed ${sample.seed}`, onclick: () => view(pictures(list), index, page.photos) },
    h("img", { src: `${sampleUrl(page.id, sample, 256)}&at=${Math.round(sample.made)}`, alt: `${sample.prompt}, step ${step}` })))));
  if (!list.length) put($("pictures"), h("p", { class: "note" }, drawing ? "This is being drawn." : "This was not drawn at this step."));
  const scored = page.scores.find((its) => its.step === step);
  const way = scored && typeof scored.ways.dino === "number" ? `${Math.round(100 * scored.ways.dino)}% of the way to your photos` : "";
  say($("probe"), step === 0 ? `The base model, asked for any ${page.view.noun}.` : way);
}

/** The button for a step that the model is not made of; one whose weights are gone says so. */
function showUse(step, best) {
  const { offered, state } = page.view;
  const other = state === "finished" && best !== null && step > 0 && step !== best;
  $("use").hidden = !other || !offered.includes(step);
  $("use").dataset.step = step;
  say($("use"), `Use step ${step}`);
  say($("unkept"), other && !offered.includes(step) ? `The weights of step ${step} were not kept; those of ${offered.join(", ")} were.` : "");
}

$("use").addEventListener("click", async () => {
  try {
    await post(`${page.base}/use`, { step: Number($("use").dataset.step) });
    follows = true;
  } catch (error) { toast(error.message); }
});

$("step").addEventListener("input", () => { follows = false; show(); });

/** Show the samples of a page; the newest step, or the recommended one, until the slider is moved. */
export function showSamples(its) {
  page = its;
  show();
  pairs();
}

let paired = "";
function pairs() {
  const of = (stage) => new Map(page.samples.filter((sample) => sample.stage === stage).map((sample) => [`${sample.kind} ${sample.template} ${sample.seed}`, sample]));
  const [before, after] = [of("before"), of("after")];
  const seen = new Set(), rows = [];
  for (const [name, sample] of [...after].sort(([, one], [, other]) => rank(one) - rank(other))) {
    const asked = `${sample.kind} ${sample.template}`;
    if (before.has(name) && !seen.has(asked)) { seen.add(asked); rows.push([before.get(name), sample]); }
  }
  $("before").hidden = rows.length === 0;
  const now = JSON.stringify(rows.map((row) => row[1].made));
  if (now === paired) return;
  paired = now;
  put($("pairs"), rows.map((row) => h("article", {}, h("h3", {}, sentence(row[1], page.view)), h("div", { class: "pair" }, row.map((sample, index) => h("figure", {},
    h("button", { type: "button", class: "open", "aria-label": `Enlarge: ${sample.prompt}, ${index ? "after" : "before"}`, onclick: () => view(row.map((each, number) => ({ url: sampleUrl(page.id, each), file: each.file, caption: `“${each.prompt}”, ${number ? "after" : "before"}` })), index, page.photos) },
      h("img", { src: `${sampleUrl(page.id, sample, 512)}&at=${Math.round(sample.made)}`, alt: `${sample.prompt}, ${index ? "after" : "before"}`, loading: "lazy" })),
    h("figcaption", {}, index ? "after" : "before")))))));
}

