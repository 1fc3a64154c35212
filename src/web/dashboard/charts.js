// What the operator's page draws over the last minutes. The time axis moves evenly: what is shown ends a round ago, so that there is always a next point
// to go to, and nothing jumps when figures come.

import { prepare } from "./plots.js";
import { EVERY_MS } from "./poll.js";

export const SPAN_MS = 300_000;
/** How long the axis is, how it is divided, and what its beginning is called: as long as is known at the least. */
const SPANS = [[60_000, 6, "−1 min"], [120_000, 4, "−2 min"], [SPAN_MS, 5, "−5 min"]];
const DELAY_MS = EVERY_MS + 500;
const GAP_MS = 4 * EVERY_MS;
const FASTEST_S = 1e-5;
const DECADES = 6; // from 10 µs to 10 s
const NAMES = ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"];

const axis = (points, now) => SPANS.find(([span]) => span >= now - (points[0]?.at ?? now)) ?? SPANS.at(-1);

/** Where a time is on an axis that is so long, of a plot that is so wide. */
const across = (now, span, width) => (at) => width + ((at - now + DELAY_MS) / span) * width;

/** Follows the points; a line begins anew after a gap. */
function trace(context, points, x, y, of) {
  let last = null;
  context.beginPath();
  for (const point of points) {
    const value = of(point);
    if (value !== null) {
      const goesOn = last !== null && point.at - last < GAP_MS;
      context[goesOn ? "lineTo" : "moveTo"](x(point.at), y(value));
    }
    last = value === null ? null : point.at;
  }
}

/** The area below a line, or between two. */
function fill(context, points, x, high, low) {
  let run = [];
  const flush = () => {
    context.beginPath();
    run.forEach((point, i) => context[i === 0 ? "moveTo" : "lineTo"](x(point.at), high(point)));
    run.reverse().forEach((point) => context.lineTo(x(point.at), low(point)));
    context.fill();
    run = [];
  };
  for (const point of points) {
    const isBreak = high(point) === null || (run.length > 0 && point.at - run.at(-1).at >= GAP_MS);
    if (isBreak && run.length > 0) flush();
    if (high(point) !== null) run.push(point);
  }
  if (run.length > 0) flush();
}

/** One value over time, from nothing up. The scale follows the largest value slowly. */
export function drawSpark(canvas, points, { now, colour, isStill }) {
  const place = prepare(canvas);
  if (!place) return;
  const { context, width, height } = place;
  const most = Math.max(0, ...points.map(({ value }) => value ?? 0));
  const top = canvas.top > 0 && !isStill ? canvas.top + (most - canvas.top) * 0.25 : most;
  canvas.top = top;
  const x = across(now, axis(points, now)[0], width);
  const y = (value) => height - 1.5 - (top > 0 ? Math.min(1, value / top) : 0) * (height - 4);
  context.strokeStyle = context.fillStyle = colour;
  context.globalAlpha = 0.13;
  fill(context, points, x, ({ value }) => (value === null ? null : y(value)), () => height);
  context.globalAlpha = 1;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  trace(context, points, x, y, ({ value }) => value);
  context.stroke();
}

/** Percentiles over time on a logarithmic scale, the same for all lanes. */
export function drawPercentiles(canvas, points, { now, colours }) {
  const place = prepare(canvas);
  if (!place) return;
  const { context, width, height } = place;
  const [left, floor] = [46, height - 18];
  const y = (seconds) => floor - (Math.min(DECADES, Math.max(0, Math.log10(seconds / FASTEST_S))) / DECADES) * (floor - 6);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = colours.quiet;
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.textAlign = "right";
  NAMES.forEach((name, i) => {
    const at = Math.round(y(FASTEST_S * 10 ** i)) + 0.5;
    line(context, left, at, width, at);
    if (height > 120 || i % 2 === 0) context.fillText(name, left - 6, at + 3.5);
  });
  const [span, parts, begin] = axis(points, now);
  for (let part = 0; part <= parts; part++) {
    const at = Math.round(left + (part / parts) * (width - left - 1)) + 0.5;
    line(context, at, 6, at, floor);
  }
  context.fillText("now", width, height - 4);
  context.textAlign = "left";
  context.fillText(begin, left, height - 4);
  if (points.every(({ p50 }) => p50 === null)) {
    context.textAlign = "center";
    context.fillText("no deliveries", (left + width) / 2, floor / 2);
  }
  const along = across(now, span, width - left);
  const x = (at) => left + along(at);
  context.save();
  context.beginPath();
  context.rect(left, 0, width - left, height);
  context.clip();
  context.strokeStyle = context.fillStyle = colours.lane;
  context.lineJoin = "round";
  context.globalAlpha = 0.12;
  fill(context, points, x, ({ p99 }) => (p99 === null ? null : y(p99)), ({ p50 }) => y(p50));
  for (const [name, lineWidth, alpha, dash] of [["p999", 1, 0.75, [2, 3]], ["p99", 1.25, 0.85, []], ["p50", 2, 1, []]]) {
    Object.assign(context, { lineWidth, globalAlpha: alpha });
    context.setLineDash(dash);
    trace(context, points, x, y, (point) => point[name]);
    context.stroke();
  }
  context.restore();
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}
