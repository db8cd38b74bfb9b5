// Two small pictures of numbers over steps.

import { s } from "./dom.js";

const [W, H, LEFT, RIGHT, TOP, BOTTOM] = [420, 180, 40, 8, 12, 22];

function scales(steps, low, high) {
  const last = Math.max(...steps, 1);
  return [(step) => LEFT + (step / last) * (W - LEFT - RIGHT), (value) => H - BOTTOM - ((value - low) / (high - low || 1)) * (H - TOP - BOTTOM), last];
}

function axes(y, ticks, label, last) {
  return [
    ticks.map((tick) => [s("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(tick), y2: y(tick) }),
      s("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, label(tick))]),
    s("text", { x: LEFT, y: H - 4 }, "0"), s("text", { x: W - RIGHT, y: H - 4, "text-anchor": "end" }, `step ${last}`)];
}

const path = (points) => points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");

/** The way to the photos at every probe: [[step, share]], the recommended one marked. */
export function likeness(points, best) {
  const shares = points.map(([, share]) => Math.max(-0.2, Math.min(1.1, share)));
  const [x, y, last] = scales(points.map(([step]) => step), Math.min(0, ...shares), 1.05);
  const at = points.map(([step], index) => [x(step), y(shares[index])]);
  return s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": points.map(([step, share]) => `step ${step}: ${Math.round(100 * share)}%`).join(", ") },
    axes(y, [0, 0.5, 1], (tick) => `${Math.round(100 * tick)}%`, last), s("polyline", { class: "line", points: path(at) }),
    at.map(([left, top], index) => s("circle", { class: points[index][0] === best ? "best" : "dot", cx: left, cy: top, r: points[index][0] === best ? 6 : 4 })));
}

/** The loss of every step, thinned, and the mean of its neighbours. */
export function loss(rows) {
  const values = rows.map((row) => row[1]).sort((a, b) => a - b);
  const high = values[Math.floor(0.98 * (values.length - 1))] || 1;
  const [x, y, last] = scales(rows.map((row) => row[0]), 0, high);
  const window = Math.max(1, Math.floor(rows.length / 20)), stride = Math.ceil(rows.length / 400);
  const sums = [0];
  for (const row of rows) sums.push(sums[sums.length - 1] + row[1]);
  const raw = [], mean = [];
  for (let at = 0; at < rows.length; at += stride) {
    const [low, top] = [Math.max(0, at - window), Math.min(rows.length, at + window + 1)];
    raw.push([x(rows[at][0]), y(Math.min(rows[at][1], high))]);
    mean.push([x(rows[at][0]), y(Math.min((sums[top] - sums[low]) / (top - low), high))]);
  }
  return s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `loss over ${rows.length} steps` },
    axes(y, [0, high / 2, high], (tick) => tick.toPrecision(2), last), s("polyline", { class: "raw", points: path(raw) }), s("polyline", { class: "line", points: path(mean) }));
}
