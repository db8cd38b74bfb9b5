import { get, remove, sampleUrl } from "./api.js";
import { $, h, put, toast } from "./dom.js";
import { begin } from "./shell.js";

const chosen = new Set();
let shown = "";

const WORDS = { waiting: "waiting", starting: "starting", running: "at work", finished: "finished", stopped: "stopped", failed: "failed", lost: "lost" };

function line(run) {
  if (run.state === "running" && run.is_learning) return `step ${run.step} of ${run.steps}${run.left ? ` · ${run.left}` : ""}`;
  if (run.doing) return run.doing;
  return run.likeness ? `${run.likeness.says} of the way to its photos` : run.steps ? `${run.step} of ${run.steps} steps` : "";
}

function item(run) {
  const cover = run.cover
    ? h("img", { class: "cover", src: sampleUrl(run.id, run.cover, 256), alt: "", loading: "lazy" })
    : h("div", { class: "cover none", "aria-hidden": "true" }, (run.name[0] || "?").toUpperCase());
  const box = h("input", { type: "checkbox", name: "run", value: run.id, "aria-label": `Compare ${run.name}`, checked: chosen.has(run.id), onchange: (event) => {
    if (event.target.checked) chosen.add(run.id); else chosen.delete(run.id);
    bar();
  } });
  return h("article", { class: "item" }, cover, h("div", { class: "body" },
    h("h2", { class: "title" }, h("a", { href: `/runs/${run.id}` }, run.name)),
    h("span", { class: `state ${run.state}` }, WORDS[run.state]),
    h("span", { class: "note" }, [run.noun, run.method, line(run)].filter(Boolean).join(" · ")),
    run.step ? h("label", { class: "check" }, box, "compare") : null));
}

function bar() {
  const few = chosen.size >= 2 && chosen.size <= 4;
  $("comparing").hidden = chosen.size === 0;
  const query = [...chosen].map((id) => `run=${id}`).join("&");
  put($("comparing"), h("span", { class: "note" }, few ? "" : "Choose two to four."),
    h("button", { type: "button", class: "primary", disabled: !few, onclick: () => location.assign(`/compare?${query}`) }, `Compare ${chosen.size}`));
}

function drafts(found) {
  put($("drafts"), found.map((draft) => h("p", { class: "row" },
    h("a", { href: `/drafts/${draft.id}` }, `Go on with ${draft.name || "a new subject"} (${draft.photos} photo${draft.photos === 1 ? "" : "s"})`),
    h("button", { class: "quiet", type: "button", "data-key": `discard ${draft.id}`, onclick: async () => {
      try { await remove(`/api/drafts/${draft.id}`); await refresh(); } catch (error) { toast(error.message); }
    } }, "Throw away"))));
}

async function refresh() {
  try {
    const [runs, begun] = await Promise.all([get("/api/runs"), get("/api/drafts")]);
    const now = JSON.stringify([runs, begun]);
    if (now !== shown) {
      shown = now;
      drafts(begun);
      put($("runs"), runs.map(item));
      $("empty").hidden = runs.length > 0 || begun.length > 0;
    }
    $("runs").removeAttribute("aria-busy");
  } catch (error) {
    if (!document.hidden && !$("toast").childElementCount) toast(error.message, "Try again", refresh);
  }
}

$("begin").addEventListener("click", begin);
await refresh();
setInterval(() => { if (!document.hidden) refresh(); }, 2500);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
