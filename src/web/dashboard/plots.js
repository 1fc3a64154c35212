// What the dashboard draws, on canvases: latencies by lane, and lines over time. Colours are the style sheet's.

const DECADES = 5; // from 0.1 ms to 10 s
const BINS = 150;
const SLOTS = 10; // seconds that are looked back on

/** Latencies of the last ten seconds, in bins that are equally wide on a logarithmic scale. */
export class Latencies {
  #slots = Array.from({ length: SLOTS }, () => ({ second: -1, count: 0, bins: new Uint32Array(BINS) }));
  #sum = new Uint32Array(BINS);

  add(now, ms) {
    const second = Math.floor(now / 1000);
    const slot = this.#slots[second % SLOTS];
    if (slot.second !== second) {
      Object.assign(slot, { second, count: 0 });
      slot.bins.fill(0);
    }
    slot.count += 1;
    slot.bins[binOf(ms)] += 1;
  }

  /** Count per second, percentiles in milliseconds, and the bins. */
  look(now) {
    const second = Math.floor(now / 1000);
    this.#sum.fill(0);
    let count = 0;
    let lastSecond = 0;
    for (const slot of this.#slots) {
      if (slot.second <= second - SLOTS) continue;
      count += slot.count;
      if (slot.second === second - 1) lastSecond = slot.count;
      for (let bin = 0; bin < BINS; bin++) this.#sum[bin] += slot.bins[bin];
    }
    const percentile = (share) => {
      if (count === 0) return null;
      let left = Math.max(1, Math.ceil(count * share));
      const bin = this.#sum.findIndex((inBin) => (left -= inBin) <= 0);
      return 0.1 * 10 ** (((bin + 0.5) / BINS) * DECADES);
    };
    return { count, perSecond: lastSecond, p50: percentile(0.5), p99: percentile(0.99), bins: this.#sum };
  }
}

const binOf = (ms) => Math.min(BINS - 1, Math.max(0, Math.floor((Math.log10(Math.max(ms, 0.1)) + 1) * (BINS / DECADES))));

/** The canvas at the screen's resolution: its context, width and height. Nothing if it is not to be seen. */
export function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width === 0 || height === 0) return null;
  const ratio = globalThis.devicePixelRatio ?? 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** How many events took how long. With `hasScale` the scale stands below. */
export function drawLatencies(canvas, bins, colours, hasScale) {
  const place = prepare(canvas);
  if (!place) return;
  const { context, width, height } = place;
  const floor = hasScale ? height - 16 : height - 1;
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.fillStyle = colours.quiet;
  context.font = "11px system-ui, sans-serif";
  for (const [ms, text] of [[0.1, "0.1"], [1, "1 ms"], [10, "10"], [100, "100"], [1000, "1 s"], [10_000, "10 s"]]) {
    const x = Math.round(((Math.log10(ms) + 1) / DECADES) * (width - 1)) + 0.5;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, floor);
    context.stroke();
    if (!hasScale) continue;
    context.textAlign = ms === 0.1 ? "left" : ms === 10_000 ? "right" : "center";
    context.fillText(text, x, height - 3);
  }
  const most = Math.max(...bins);
  if (most === 0) return;
  context.fillStyle = colours.lane;
  const step = width / BINS;
  bins.forEach((count, bin) => {
    if (count === 0) return;
    const tall = Math.max(3, Math.sqrt(count / most) * (floor - 2));
    context.fillRect(bin * step, floor - tall, Math.max(2, step - 0.5), tall);
  });
}

/** A line that only steps, over the time that ends now. `mark` is a value with a line of its own. */
export function drawLine(canvas, points, { now, spanMs, colours, mark, hasScale = false }) {
  const place = prepare(canvas);
  if (!place) return;
  const { context, width, height } = place;
  const begin = now - spanMs;
  const from = Math.max(0, points.findLastIndex((point) => point.at <= begin));
  const shown = points.slice(from);
  if (shown.length === 0) return;
  const values = shown.map((point) => point.value).concat(mark ?? []);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max((high - low) * 0.12, Math.abs(high) * 0.0002, 0.01);
  const right = hasScale ? width - 64 : width - 2;
  const x = (at) => Math.max(0, ((at - begin) / spanMs) * right);
  const y = (value) => height - 3 - ((value - low + room) / (high - low + 2 * room)) * (height - 6);
  const last = shown.at(-1);
  if (mark !== undefined) dashed(context, y(mark), right, colours.quiet);
  context.beginPath();
  context.moveTo(x(shown[0].at), y(shown[0].value));
  shown.slice(1).forEach((point, i) => {
    context.lineTo(x(point.at), y(shown[i].value));
    context.lineTo(x(point.at), y(point.value));
  });
  context.lineTo(right, y(last.value));
  context.strokeStyle = colours.stroke;
  context.lineWidth = hasScale ? 2 : 1.5;
  context.lineJoin = "round";
  context.stroke();
  context.lineTo(right, height);
  context.lineTo(x(shown[0].at), height);
  context.globalAlpha = 0.1;
  context.fillStyle = colours.stroke;
  context.fill();
  context.globalAlpha = 1;
  if (hasScale) label(context, y, { low, high, last: last.value, mark }, { right, width, height, colours });
}

function dashed(context, y, right, colour) {
  context.save();
  context.setLineDash([4, 4]);
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(right, y);
  context.stroke();
  context.restore();
}

function label(context, y, { low, high, last, mark }, { right, width, height, colours }) {
  const clamp = (at) => Math.min(height - 4, Math.max(11, at + 4));
  context.beginPath();
  context.arc(right, y(last), 3.5, 0, 2 * Math.PI);
  context.fillStyle = colours.stroke;
  context.fill();
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "right";
  context.fillText(last.toFixed(0), width, clamp(y(last)));
  context.fillStyle = colours.quiet;
  for (const value of new Set([low, high])) {
    if (Math.abs(y(value) - y(last)) > 16) context.fillText(value.toFixed(0), width, clamp(y(value)));
  }
  if (mark === undefined) return;
  context.textAlign = "left";
  context.fillText("day start", 2, clamp(y(mark) - 10));
}
