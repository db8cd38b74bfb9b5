import { get, post, sampleUrl } from "./api.js";
import * as chart from "./chart.js";
import { showDrawing } from "./draw.js";
import { $, h, put, say, toast } from "./dom.js";
import "./shell.js";
import { showSamples } from "./slider.js";
import { showTake } from "./take.js";
import { sentence } from "./words.js";

const id = document.body.dataset.id;
const base = `/api/runs/${id}`;
const page = { id, base, view: null, samples: [], best: [], favourites: [], starred: 0, scores: [], photos: [] };
let losses = [];
let stopping = 0;
let spokenAt = 0;
let wasBusy = false;

const WORDS = { waiting: "waiting", starting: "starting", running: "at work", finished: "finished", stopped: "stopped", failed: "failed", lost: "lost" };
const BUSY = ["waiting", "starting", "running"];

async function doing(work) {
  try { await work(); } catch (error) { toast(error.message); }
}

// What it does now

function headline(view) {
  if (view.state === "running" && view.is_learning) return `Step ${view.step} of ${view.steps}${view.left ? ` · ${view.left}` : ""}`;
  if (view.state === "running") return `${view.doing[0].toUpperCase()}${view.doing.slice(1)}${view.total > 1 ? ` · ${view.done} of ${view.total}` : ""}${view.left ? ` · ${view.left}` : ""}`;
  if (view.state === "finished") return view.likeness ? `Finished: ${view.likeness.says} of the way to the photos.` : "Finished.";
  if (view.state === "stopped") return view.step ? `Stopped after step ${view.step} of ${view.steps}. ${view.saved < view.step ? `Saved up to step ${view.saved}.` : "All of it is saved."}` : "Stopped.";
  if (view.state === "failed") return "It could not go on.";
  if (view.state === "lost") return "It has gone silent.";
  return `${view.doing[0].toUpperCase()}${view.doing.slice(1)}.`;
}

function showNow(view) {
  say($("name"), view.name);
  say($("about"), [view.noun, view.method, view.model, view.photos ? `${view.photos} photos` : ""].filter(Boolean).join(" · "));
  $("state").className = `state ${view.state}`;
  say($("state"), WORDS[view.state]);
  say($("doing"), headline(view));
  const busy = BUSY.includes(view.state);
  $("bar").hidden = view.state !== "running";
  const [done, total] = view.is_learning ? [view.step, view.steps] : [view.done, view.total];
  if (total) { $("bar").max = total; $("bar").value = done; } else $("bar").removeAttribute("value");
  const nearer = view.likeness && busy ? `At step ${view.likeness.step} it was ${view.likeness.says} of the way to the photos. ` : "";
  say($("left"), nearer + (view.state === "running" && view.is_learning && view.doing !== "learning" ? "Now it draws and measures." : ""));
  $("message").hidden = !view.message;
  say($("message"), view.message);
  if (Date.now() - spokenAt > 20000 || wasBusy !== busy) { spokenAt = Date.now(); say($("spoken"), headline(view)); }
  document.title = `${busy && view.steps ? `${Math.round((100 * view.step) / view.steps)}% ` : view.state === "finished" ? "✓ " : ""}${view.name} · DreamBooth`;
  if (wasBusy && !busy) ended(view);
  wasBusy = busy;
}

function ended(view) {
  stopping = 0;
  if (document.hidden && "Notification" in window && Notification.permission === "granted") new Notification(`${view.name}: ${headline(view)}`);
}

const button = (text, kind, onclick) => h("button", { type: "button", class: kind, onclick }, text);

function showButtons(view) {
  const found = [];
  const busy = BUSY.includes(view.state);
  if (view.state === "waiting") found.push(button("Take it out of the queue", "quiet", () => stop(false)));
  else if (busy && !stopping) {
    found.push(button("Stop & save", "primary", () => stop(false)));
    if (view.state === "running" && view.is_learning) found.push(button("Sample now", "quiet", sampleNow));
  }
  else if (busy) {
    found.push(h("span", { class: "note" }, "Saving, and stopping…"));
    if (view.is_ours && Date.now() - stopping > 15000) found.push(button("Stop at once", "quiet", () => stop(true)));
  }
  if (["stopped", "failed", "lost"].includes(view.state)) found.push(button(view.step ? "Continue" : "Try again", "primary", () => more(0)));
  if (view.state === "finished" && view.undrawn) found.push(button("Draw the rest", "primary", () => more(0)));
  if (view.state === "finished" && view.steps) {
    for (const steps of [Math.max(1, Math.round(view.steps / 2)), view.steps]) found.push(button(`+ ${steps} steps`, "quiet", () => more(steps)));
  }
  if (busy && "Notification" in window && Notification.permission === "default" && window.isSecureContext) {
    found.push(button("Tell me when it is done", "quiet", () => Notification.requestPermission().then(() => showButtons(view))));
  }
  const key = found.map((each) => each.textContent).join("|");
  if ($("buttons").dataset.key !== key) { $("buttons").dataset.key = key; put($("buttons"), found); }
}

const stop = (atOnce) => doing(async () => { stopping = Date.now(); showButtons(page.view); await post(`${base}/stop`, { at_once: atOnce }); });
const sampleNow = () => doing(async () => { await post(`${base}/sample`); toast("It draws some samples after its next step."); });
const more = (steps) => doing(async () => { await post(`${base}/continue`, { more: steps }); });

// What came of it

function showVerdict(view) {
  const verdict = view.recommended;
  $("verdict").hidden = !verdict && !view.foreign;
  if (view.foreign) put($("says"), `These photos are of nothing that this model can draw. ${view.foreign}`);
  else if (verdict) put($("says"), verdict.says);
  showHero(view);
  put($("findings"), view.findings.map((its) => h("article", { class: "finding" }, h("h3", {}, its.failure), h("p", {}, its.says), h("p", { class: "note" }, its.change))));
  say($("reason"), verdict ? `${verdict.reason}. (${verdict.way}.)` : "");
  say($("rule"), verdict ? `The rule: ${verdict.rule}.` : "");
}

/** A photo, and three of the results. */
function showHero(view) {
  const best = page.best.map((file) => page.samples.find((its) => its.stage === "after" && its.file === file)).filter(Boolean);
  const key = JSON.stringify(best.map((its) => [its.file, its.made]));
  if ($("hero").dataset.key === key) return;
  $("hero").dataset.key = key;
  const shown = (src, caption) => h("figure", {}, h("img", { src, alt: caption }), h("figcaption", {}, caption));
  put($("hero"), best.length ? [shown(`${base}/photos/0?size=512`, "one of your photos"), best.map((its) => shown(sampleUrl(id, its, 512), sentence(its, view)))] : []);
}

function showCharts() {
  const points = page.scores.filter((its) => its.step > 0 && typeof its.ways.dino === "number").map((its) => [its.step, its.ways.dino]);
  const best = page.view && page.view.recommended ? page.view.recommended.step : null;
  replaceChart($("likeness"), points.length ? chart.likeness([[0, 0], ...points], best) : null);
  replaceChart($("loss"), losses.length > 5 ? chart.loss(losses) : null);
}

function replaceChart(figure, picture) {
  figure.hidden = !picture;
  const old = figure.querySelector("svg");
  if (old) old.remove();
  if (picture) figure.append(picture);
}

function showAll() {
  showVerdict(page.view);
  showSamples(page);
  showDrawing(page);
  showTake(page);
  showCharts();
}

// The run as it changes

async function readSamples() {
  const starred = page.starred, found = await get(`${base}/samples`);
  Object.assign(page, { samples: found.samples, best: found.best });
  if (page.starred === starred) page.favourites = found.favourites; // else the answer is older than what was just marked
}

function showPhotos(view) {
  if (page.photos.length === view.photos) return;
  page.photos = Array.from({ length: view.photos }, (_, number) => `${base}/photos/${number}?size=256`);
  put($("photos"), page.photos.map((src, number) => h("figure", {}, h("img", { src, alt: `your photo ${number + 1}`, onerror: (event) => event.target.closest("figure").remove() }))));
}

let waiting = new Set();
let reading = null;
function changed(what) {
  for (const each of what) waiting.add(each);
  if (!reading) reading = setTimeout(() => doing(async () => {
    const now = waiting;
    waiting = new Set();
    reading = null;
    if (now.has("samples")) await readSamples();
    if (now.has("scores") || now.has("verdict")) page.scores = await get(`${base}/scores`);
    showAll();
  }), 200);
}

let drawing = null;
let events = null;
/** Follow the run while the page is seen: a browser has six connections to one host, and a stream holds one. */
function follow() {
  if (events || document.hidden) return;
  const stream = events = new EventSource(`${base}/events`);
  stream.addEventListener("status", (event) => {
    const view = JSON.parse(event.data);
    if (view.gone) return;
    $("now").classList.remove("away");
    showRun(view);
    changed([]);
  });
  stream.addEventListener("losses", (event) => {
    const told = JSON.parse(event.data);
    losses = told.restart ? told.rows : losses.concat(told.rows);
    if (!drawing) drawing = setTimeout(() => { drawing = null; showCharts(); }, 1000);
  });
  stream.addEventListener("changed", (event) => changed(JSON.parse(event.data)));
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) { unfollow(); setTimeout(follow, 2000); }
    say($("left"), "The studio does not answer; the run goes on without it. Trying again…");
  };
}

function unfollow() {
  if (events) events.close();
  events = null;
}

function showRun(view) {
  page.view = view;
  showNow(view);
  showButtons(view);
  showPhotos(view);
}

/** A page that is not seen only asks now and then: its title has the percentage, and it tells when the run has ended. */
async function glance() {
  if (!document.hidden || (page.view && !wasBusy)) return;
  try {
    const view = await get(base);
    if (document.hidden) showRun(view); // else the stream has told what is newer
  } catch { /* asked again, and told once the page is seen */ }
}

await doing(async () => showRun(await get(base)));
follow();
document.addEventListener("visibilitychange", () => { if (document.hidden) unfollow(); else follow(); });
setInterval(glance, 10000);
setInterval(() => { if (page.view && stopping) showButtons(page.view); }, 5000);
