import { get, sampleUrl } from "./api.js";
import { $, h, put } from "./dom.js";
import "./shell.js";
import { sentence } from "./words.js";

function table(title, names, rows) {
  return [h("h2", {}, title), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {},
    h("tr", {}, h("th", { scope: "col" }, h("span", { class: "hidden" }, "what")), names.map((name) => h("th", { scope: "col" }, name))),
    rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), row.values.map((value) => h("td", {}, value || "–"))))))];
}

function pictures(found) {
  return found.samples.map((row) => [
    h("h3", {}, sentence(row, found.runs[0])),
    h("div", { class: "side", tabindex: "0", role: "region", "aria-label": sentence(row, found.runs[0]) }, row.samples.map((samples, index) => h("figure", {},
      samples.map((sample) => h("a", { href: sampleUrl(found.runs[index].id, sample) }, h("img", { class: "open", src: sampleUrl(found.runs[index].id, sample, 256), alt: `${found.runs[index].name}: ${sample.prompt}, seed ${sample.seed}`, loading: "lazy" }))),
      h("figcaption", {}, found.runs[index].name))))]);
}

try {
  const query = new URLSearchParams(location.search).getAll("run").map((id) => `run=${encodeURIComponent(id)}`).join("&");
  const found = await get(`/api/compare?${query}`);
  const same = new Set(found.runs.map((run) => run.name)).size < found.runs.length;
  const names = found.runs.map((run) => (same ? run.id : run.name));
  put($("compared"), found.settings.length ? table("Set differently", names, found.settings) : h("p", {}, "All their settings are the same."),
    table("Measured", names, found.numbers), h("h2", {}, "Drawn"), pictures(found));
} catch (error) {
  put($("compared"), h("p", { class: "trouble" }, error.message), h("p", {}, h("a", { href: "/" }, "Choose runs")));
}
$("compared").removeAttribute("aria-busy");
