import { get, patch, post, put as set, remove, upload } from "./api.js";
import { cropped } from "./crop.js";
import { $, h, put, say, toast } from "./dom.js";
import "./shell.js";

const id = document.body.dataset.id;
const base = `/api/drafts/${id}`;
let draft = null;

async function doing(work) {
  try { await work(); } catch (error) { toast(error.message); }
}

let sent = Promise.resolve();
let failures = 0;

/** Change the draft after all that was asked before, and show the last answer. work: answers the draft; field: where
 * the change was written, which has the kept value again where it fails. */
function change(work, field) {
  const mine = sent.then(async () => {
    try {
      draft = await work();
    } catch (error) {
      failures += 1;
      if (field) $(field).value = kept.get(field);
      toast(error.message);
    }
    if (mine === sent) show();
  });
  sent = mine;
  return mine;
}

const refresh = () => change(() => get(base));
const afterwards = (work) => change(async () => { await work(); return get(base); });
const wish = (changes, field) => change(() => patch(base, changes), field);

// Photos

function frame(photo) {
  const square = photo.crop || photo.best;
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  return h("span", { class: "frame" },
    h("img", { src: `${base}/photos/${photo.id}?size=256`, alt: photo.name }),
    photo.crop ? h("span", { class: "square", style: {
      left: percent(square.left, photo.width), top: percent(square.top, photo.height),
      width: percent(square.side, photo.width), height: percent(square.side, photo.height) } }) : null);
}

function card(photo) {
  const drop = h("button", { type: "button", class: "quiet", "data-key": `remove ${photo.id}`, "aria-label": `Remove ${photo.name}`, onclick: () => afterwards(() => remove(`${base}/photos/${photo.id}`)) }, "Remove");
  if (photo.refused) {
    return h("li", { class: "photo refused" }, h("div", { class: "body" },
      h("span", { class: "verdict bad" }, "✕ Cannot be used"), h("span", { class: "note" }, photo.name),
      h("p", {}, photo.refused), h("div", { class: "row" }, drop)));
  }
  const cut = h("button", { type: "button", class: "quiet", "data-key": `crop ${photo.id}`, "aria-label": `Crop ${photo.name}`, onclick: async () => {
    const square = await cropped(photo, `${base}/photos/${photo.id}?size=512`), path = `${base}/photos/${photo.id}/crop`;
    if (square !== undefined) afterwards(() => (square ? set(path, square) : remove(path)));
  } }, "Crop");
  const careful = photo.cautions.length > 0;
  return h("li", { class: "photo" }, h("div", { class: "picture" }, frame(photo)), h("div", { class: "body" },
    h("span", { class: `verdict ${careful ? "warn" : "good"}` }, careful ? "! Look again" : "✓ Good"),
    h("span", { class: "note" }, photo.name),
    photo.cautions.map((text) => h("p", {}, text)), h("div", { class: "row" }, cut, drop)));
}

async function add(files) {
  let number = 0;
  adding += 1;
  for (const file of files) {
    say($("uploading"), `Looking at ${++number} of ${files.length}: ${file.name}`);
    try {
      await upload(`${base}/photos?name=${encodeURIComponent([...file.name].slice(-80).join(""))}`, file);
    } catch (error) {
      toast(`${file.name}: ${error.message}`);
      if (error.status === 0 || error.status === 409) break;
    }
    await refresh();
  }
  adding -= 1;
  show();
  say($("uploading"), "");
  $("files").value = "";
  guess();
}

$("files").addEventListener("change", (event) => add([...event.target.files]));
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (name === "drop") add([...event.dataTransfer.files]);
  });
}

// Name, noun, base, settings

/** Ask what the photos show, once of each photos and base, where nothing else needs the machine: the noun, and whether
 * the base can draw such things at all, which a typed noun does not tell. */
function guess() {
  if (draft.base && !draft.busy && draft.photos.some((photo) => !photo.refused) && asked !== question()) suggest();
}

/** What the answer depends on. */
function question() {
  return JSON.stringify([draft.base, draft.photos.filter((photo) => !photo.refused).map((photo) => photo.id)]);
}

let asked = "";
let asking = false;
async function suggest() {
  if (asking) return;
  asking = true;
  asked = question();
  put($("suggested"), h("span", { class: "note" }, "looking at the photos…"));
  try {
    const found = await post(`${base}/noun`);
    put($("suggested"),
      found.nouns.map((each) => h("button", { type: "button", class: "chip", onclick: () => { $("noun").value = each.noun; wish({ noun: each.noun }); } }, `${each.noun} ${each.share}%`)),
      found.says ? h("span", { class: "note" }, found.says) : null);
  } catch (error) {
    put($("suggested"), h("span", { class: "note" }, error.message));
  }
  asking = false;
  guess(); // of what was changed meanwhile
}

const gb = (amount) => `${amount >= 10 ? Math.round(amount) : amount} GB`;

function baseCard(its) {
  const weights = its.size ? `About ${gb(its.size)} of weights${its.is_here ? ", on this machine already" : ""}${its.asks ? "; the hub asks you to accept its terms" : ""}.` : "On this machine already.";
  return h("label", { class: "base" },
    h("input", { type: "radio", name: "base", value: its.id, checked: its.id === draft.base, onchange: async () => { await wish({ base: its.id }); guess(); } }),
    h("b", {}, its.title), h("span", {}, its.draws), h("span", { class: "note" }, weights),
    its.fits ? h("span", { class: "note warn" }, its.fits) : null,
    h("span", { class: "note" }, `Licence: ${its.licence}`));
}

function bases() {
  const first = draft.bases.filter((its) => its.is_first || its.id === draft.base || (its.is_here && its.size));
  const others = draft.bases.filter((its) => !first.includes(its));
  put($("bases"), first.map(baseCard));
  put($("others"), others.map(baseCard));
  const chosen = draft.bases.find((its) => its.id === draft.base);
  for (const option of $("method").options) option.disabled = Boolean(chosen && chosen.unfit.includes(option.value));
}

// The plan: made by the server when nothing is lacking, and anew when anything is changed

let planned = "";
async function plan() {
  const now = problems().length ? "" : JSON.stringify([draft.photos.map((photo) => photo.id), draft.noun, draft.base, draft.wished]);
  put($("extras"), Object.entries(draft.extras).map(([name, value]) => h("button", { type: "button", class: "chip", "aria-label": `Undo ${name}: ${value}`, onclick: () => wish({ unset: [name] }) }, `${name.replaceAll("_", " ")}: ${value} ✕`)));
  if (now === planned) return;
  planned = now;
  put($("plan"));
  put($("cheaper"));
  say($("planning"), now ? "Working out time, memory and disk…" : "It comes once nothing is lacking.");
  if (!now) return;
  try {
    const its = await get(`${base}/plan`);
    if (now !== planned) return;
    say($("planning"), its.says);
    put($("plan"), its.rows.map(fact));
    put($("cheaper"), its.less.map((less) => h("li", {}, `${setting(less.flag)}: ${less.says} `,
      h("button", { type: "button", class: "quiet", "aria-label": `Use ${setting(less.flag)}`, onclick: () => change(() => post(`${base}/savings`, { flag: less.flag })) }, "Use it"))));
  } catch (error) {
    if (now === planned) { planned = ""; say($("planning"), error.message); }
  }
}

/** A flag as the words of its setting. */
function setting(flag) {
  return flag.replace(/^--/, "").replaceAll("-", " ");
}

const NAMES = { plan: "Work", time: "Time", memory: "Memory", disk: "Disk" };

/** A row of the plan: what matters large, the rest small. */
function fact(row) {
  const [, value, more] = row.text.match(/^(.*?)(?: \((.*)|; (.*))?$/);
  const rest = (more || row.text.slice(value.length + 2)).replace(/\): /, ": ");
  return h("div", {}, h("dt", {}, NAMES[row.name] || row.name), h("dd", {}, value, rest ? h("small", {}, rest) : null));
}

function settle(name, value) { return value === null ? { unset: [name] } : { [name]: value }; }

$("name").addEventListener("change", (event) => wish({ name: event.target.value }, "name"));
$("noun").addEventListener("change", (event) => wish({ noun: event.target.value }, "noun"));
$("suggest").addEventListener("click", suggest);
$("method").addEventListener("change", (event) => {
  for (const field of ["steps", "images"]) wrong.delete(field); // they are chosen anew
  wish({ method: event.target.value, unset: ["max_train_steps", "num_class_images"] }, "method");
});
$("early").addEventListener("change", (event) => wish({ early_stopping: event.target.checked }));
$("keep").addEventListener("change", (event) => wish(event.target.checked ? { checkpoints_total_limit: 1000 } : { unset: ["checkpoints_total_limit"] }));
$("identifier").addEventListener("change", (event) => wish(settle("identifier", event.target.value.trim() || null), "identifier"));
for (const [field, name] of [["steps", "max_train_steps"], ["seed", "seed"], ["images", "num_class_images"]]) {
  $(field).addEventListener("change", ({ target }) => {
    if (target.validity.valid) {
      wrong.delete(field);
      wish(settle(name, target.value === "" ? null : Number(target.value)), field);
    } else {
      wrong.set(field, `${target.labels[0].textContent.trim()}: write a whole number from ${target.min} to ${target.max}.`);
      show();
    }
  });
}

// The page

const kept = new Map();
const wrong = new Map();
let starting = false;
let adding = 0;

function fill(field, value) {
  kept.set(field, value ?? "");
  if (document.activeElement !== $(field) && !wrong.has(field)) $(field).value = value ?? "";
  $(field).setAttribute("aria-invalid", String(wrong.has(field)));
}

/** What is in the way of a start: of the draft, and of numbers that stand in a field and cannot be kept. */
function problems() {
  return [...draft.problems, ...wrong.values()];
}

function show() {
  if (!draft) return;
  put($("photos"), draft.photos.map(card));
  put($("nouns"), draft.nouns.map((noun) => h("option", { value: noun })));
  fill("name", draft.name);
  fill("noun", draft.noun);
  bases();
  plan();
  $("suggest").hidden = !draft.base || !draft.photos.some((photo) => !photo.refused);
  const its = draft.settings;
  fill("method", its.method);
  fill("steps", its.max_train_steps);
  fill("seed", its.seed);
  fill("images", its.num_class_images);
  fill("identifier", draft.wished.identifier);
  $("keep").checked = its.checkpoints_total_limit > 100;
  $("early").checked = Boolean(its.early_stopping);
  put($("problems"), problems().map((text) => h("li", {}, text)));
  $("start").disabled = starting || adding > 0 || problems().length > 0;
  say($("start"), draft.busy ? "Start when it is free" : "Start");
}

$("start").addEventListener("click", async () => {
  const before = failures;
  starting = $("start").disabled = true;
  await sent; // what was just written may still be on its way
  if (failures === before) {
    try {
      location.assign(`/runs/${(await post(`${base}/start`)).run}`);
      return;
    } catch (error) { toast(error.message); }
  }
  starting = false;
  show();
  if (document.activeElement === document.body) $("start").focus(); // a button that was disabled has lost it
});
$("discard").addEventListener("click", () => doing(async () => {
  await remove(base);
  location.assign("/");
}));
await refresh();
