// One picture large, beside the photos; arrow keys go through the others.

import { $, h, put } from "./dom.js";

let list = [];
let at = 0;

function show() {
  const its = list[at];
  $("viewer-image").src = its.url;
  $("viewer-image").alt = its.caption;
  $("viewer-caption").textContent = its.caption;
  $("viewer-file").href = its.url;
  $("viewer-file").setAttribute("download", its.file);
  $("viewer-back").disabled = at === 0;
  $("viewer-on").disabled = at === list.length - 1;
}

function go(by) {
  at = Math.max(0, Math.min(list.length - 1, at + by));
  show();
}

$("viewer-back").addEventListener("click", () => go(-1));
$("viewer-on").addEventListener("click", () => go(1));
$("viewer-close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") go(-1);
  if (event.key === "ArrowRight") go(1);
});
$("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });

/** Open the viewer: pictures are {url, caption, file}, photos are addresses of small copies. */
export function view(pictures, index, photos) {
  list = pictures;
  at = index;
  put($("viewer-photos"), photos.map((url, number) => h("img", { src: url, alt: `your photo ${number + 1}`, onerror: (event) => event.target.remove() })));
  show();
  $("viewer").showModal();
}
