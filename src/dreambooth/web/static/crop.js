// A square on a photo: dragged, moved by arrow keys, sized by a slider.

import { $ } from "./dom.js";

const LEAST = 32;
let photo = null;
let square = null;
let done = null;

function scale() { return $("crop-image").clientWidth / photo.width || 1; }

function draw() {
  const box = $("crop-box"), by = scale();
  Object.assign(box.style, { left: `${square.left * by}px`, top: `${square.top * by}px`, width: `${square.side * by}px`, height: `${square.side * by}px` });
  box.setAttribute("aria-label", `the square, ${square.side} pixels, ${square.left} from the left, ${square.top} from above`);
}

function move(left, top) {
  square.left = Math.round(Math.max(0, Math.min(left, photo.width - square.side)));
  square.top = Math.round(Math.max(0, Math.min(top, photo.height - square.side)));
  draw();
}

function resize(side) {
  const [x, y] = [square.left + square.side / 2, square.top + square.side / 2];
  const most = Math.min(photo.width, photo.height);
  square.side = Math.round(Math.max(Math.min(LEAST, most), Math.min(side, most)));
  $("crop-size").value = Math.round((100 * square.side) / most);
  move(x - square.side / 2, y - square.side / 2);
}

function drag(event) {
  const box = $("crop-box"), by = scale(), from = { x: event.clientX, y: event.clientY, ...square };
  box.setPointerCapture(event.pointerId);
  const follow = (now) => move(from.left + (now.clientX - from.x) / by, from.top + (now.clientY - from.y) / by);
  box.addEventListener("pointermove", follow);
  box.addEventListener("pointerup", () => box.removeEventListener("pointermove", follow), { once: true });
}

function key(event) {
  const far = Math.max(1, Math.round(photo.width / (event.shiftKey ? 10 : 50)));
  const steps = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
  if (steps[event.key]) move(square.left + steps[event.key][0], square.top + steps[event.key][1]);
  else if (event.key === "+" || event.key === "=") resize(square.side + far);
  else if (event.key === "-") resize(square.side - far);
  else return;
  event.preventDefault();
}

function close(answer) {
  $("crop").close();
  done(answer);
}

$("crop-box").addEventListener("pointerdown", drag);
$("crop-box").addEventListener("keydown", key);
$("crop-size").addEventListener("input", (event) => resize((Math.min(photo.width, photo.height) * event.target.value) / 100));
$("crop-use").addEventListener("click", () => close(square));
$("crop-none").addEventListener("click", () => close(null));
$("crop-cancel").addEventListener("click", () => close(undefined));
$("crop").addEventListener("cancel", () => done(undefined));
addEventListener("resize", () => { if ($("crop").open) draw(); });

/** Ask for a square: resolves to it, to null for none, or to undefined where nothing is to change. */
export function cropped(its, url) {
  photo = its;
  square = { ...(its.crop || its.best) };
  return new Promise((resolve) => {
    done = resolve;
    const image = $("crop-image");
    image.alt = its.name;
    image.onload = () => { resize(square.side); };
    image.src = url;
    $("crop").showModal();
    $("crop-box").focus();
  });
}
