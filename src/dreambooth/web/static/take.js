// What one takes home from a run.

import { get } from "./api.js";
import { $, h, put, say, toast } from "./dom.js";

let shown = "";

const entry = (href, text, more) => h("li", {}, h("a", { class: "button quiet", href, download: "" }, text), h("span", { class: "note" }, more));

/** Show the downloads that are there. */
export async function showTake(page) {
  const { view, base } = page;
  $("home").hidden = !view.has_model;
  const now = JSON.stringify([view.has_model, view.adapter, view.has_report, view.has_share, view.called]);
  if (!view.has_model || now === shown) return;
  shown = now;
  put($("exports"),
    view.has_share ? entry(`${base}/share`, "A picture to share", "Your photos and what was drawn, for a friend’s phone.") : null,
    entry(`${base}/export/model.zip`, "The model", "A folder as diffusers opens it, with a card that says what it is."),
    view.adapter.map((file) => entry(`${base}/adapter/${encodeURIComponent(file)}`, file, file.includes("kohya") ? "The LoRA for ComfyUI and A1111: put it in models/loras." : "What was learned alone, for diffusers.")),
    view.has_report ? entry(`${base}/report`, "The report", "One page with everything, to keep or to send.") : null);
  try { say($("snippet"), (await get(`${base}/snippet`)).text); } catch (error) { toast(error.message); }
}

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("snippet").textContent);
    say($("copy"), "Copied");
  } catch {
    getSelection().selectAllChildren($("snippet"));
    say($("copy"), "Selected: copy it by your keyboard");
  }
  setTimeout(() => say($("copy"), "Copy"), 4000);
});
