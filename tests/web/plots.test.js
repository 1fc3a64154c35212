// What the dashboard computes and draws, on a canvas that notes it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Latencies, drawLatencies, drawLine } from "../../src/web/dashboard/plots.js";

const near = (actual, expected, share = 0.04) => assert.ok(Math.abs(actual / expected - 1) <= share, `${actual} is not near ${expected}`);

test("latencies: percentiles within a bin's width, of the last ten seconds; a rate of the last whole second", () => {
  const latencies = new Latencies();
  assert.deepEqual(latencies.look(0).p50, null);
  for (let ms = 1; ms <= 100; ms++) latencies.add(5_000 + ms, ms);
  for (let i = 0; i < 7; i++) latencies.add(6_999, 1000);
  let { count, perSecond, p50, p99 } = latencies.look(7_000);
  assert.deepEqual([count, perSecond], [107, 7]);
  near(p50, 54);
  near(p99, 1000);
  assert.equal(latencies.look(6_999).perSecond, 100, "the second that is not over does not count");
  assert.equal(latencies.look(14_999).count, 107);
  ({ count, perSecond, p50 } = latencies.look(15_000));
  assert.deepEqual([count, perSecond], [7, 0], "ten seconds back, the first is gone");
  near(p50, 1000);
  latencies.add(15_500, 10);
  assert.equal(latencies.look(15_500).count, 8, "its place is taken by what comes now");
  assert.equal(latencies.look(16_999).count, 1);
  assert.deepEqual([latencies.look(60_000).count, latencies.look(60_000).p99], [0, null]);
});

test("latencies: what is off the scale is at its ends; bins are even on a logarithmic scale", () => {
  const binOf = (ms) => {
    const latencies = new Latencies();
    latencies.add(0, ms);
    return latencies.look(0).bins.indexOf(1);
  };
  assert.deepEqual([-5, 0, 0.1, 10_000, 1e9].map(binOf), [0, 0, 0, 149, 149]);
  assert.deepEqual([1, 10, 100, 1000].map((ms) => binOf(ms * 1.01)), [30, 60, 90, 120]);
  const one = new Latencies();
  for (let i = 0; i < 99; i++) one.add(0, 1.01);
  one.add(0, 5000);
  near(one.look(0).p50, 1.04, 0.001);
  near(one.look(0).p99, 1.04, 0.001);
});

/** A canvas of that size, and what was drawn on it. */
function canvasOf(width, height) {
  const drawn = [];
  const note = (name) => (...args) => drawn.push([name, ...args]);
  const context = Object.fromEntries(
    ["setTransform", "clearRect", "beginPath", "moveTo", "lineTo", "stroke", "fill", "fillRect", "fillText", "arc", "save", "restore", "setLineDash"].map((name) => [name, note(name)]),
  );
  context.fillText = (...args) => drawn.push(["fillText", ...args, context.textAlign]);
  const canvas = { clientWidth: width, clientHeight: height, width: 0, height: 0, getContext: () => context };
  return { canvas, drawn, of: (...names) => drawn.filter(([name]) => names.includes(name)) };
}

const COLOURS = { line: "l", quiet: "q", lane: "a", stroke: "s" };

test("bars: as tall as the root of their share, the tallest to the top; none is too small to be seen", () => {
  const bins = new Uint32Array(150);
  Object.assign(bins, { 0: 100, 75: 25, 149: 1 });
  const { canvas, of } = canvasOf(300, 42);
  drawLatencies(canvas, bins, COLOURS, false);
  const [first, middle, [, x, y, , tall]] = of("fillRect");
  assert.deepEqual([first.slice(1), middle.slice(1)], [[0, 2, 2, 39], [150, 21.5, 2, 19.5]]);
  assert.deepEqual([x, y + tall], [298, 41]);
  near(tall, 3.9, 0.001);
  assert.deepEqual([of("fillText").length, of("moveTo").map(([, x]) => x)], [0, [0.5, 60.5, 120.5, 179.5, 239.5, 299.5]]);
  const scaled = canvasOf(300, 42);
  drawLatencies(scaled.canvas, bins, COLOURS, true);
  assert.deepEqual(
    scaled.of("fillText").map(([, text, , y, align]) => [text, y, align]),
    ["0.1", "1 ms", "10", "100", "1 s", "10 s"].map((text, i) => [text, 39, ["left", "center", "center", "center", "center", "right"][i]]),
  );
  assert.equal(scaled.of("fillRect")[0][4], 24, "above the scale");
  const empty = canvasOf(300, 42);
  drawLatencies(empty.canvas, new Uint32Array(150), COLOURS, false);
  assert.equal(empty.of("fillRect").length, 0);
  const hidden = canvasOf(0, 42);
  drawLatencies(hidden.canvas, bins, COLOURS, false);
  assert.deepEqual(hidden.drawn, []);
});

test("a canvas has the screen's resolution, and is made anew only if it changes", () => {
  globalThis.devicePixelRatio = 2;
  const { canvas, of } = canvasOf(100, 20);
  drawLatencies(canvas, new Uint32Array(150), COLOURS, false);
  delete globalThis.devicePixelRatio;
  assert.deepEqual([canvas.width, canvas.height, of("setTransform")[0].slice(1)], [200, 40, [2, 0, 0, 2, 0, 0]]);
});

test("a line steps from point to point over its span, and goes on to the present; it begins with the last point before the span", () => {
  const { canvas, of } = canvasOf(102, 46);
  const points = [0, 500, 1000, 1500].map((at, i) => ({ at, value: [7, 10, 20, 15][i] }));
  drawLine(canvas, points, { now: 1750, spanMs: 1000, colours: COLOURS });
  const path = of("moveTo", "lineTo").map(([, x, y]) => [x, Math.round(y * 100) / 100]);
  // Room above and below is 12 % of what lies between the lowest and the highest.
  const y = (value) => Math.round((46 - 3 - ((value - 10 + 1.2) / 12.4) * 40) * 100) / 100;
  assert.deepEqual(path, [[0, y(10)], [25, y(10)], [25, y(20)], [75, y(20)], [75, y(15)], [100, y(15)], [100, 46], [0, 46]]);
  assert.equal(of("fillText", "arc").length, 0);
});

test("a line's scale: the last value, the ends unless they are near it, and the mark", () => {
  const drawn = canvasOf(264, 146);
  const points = [{ at: 0, value: 100 }, { at: 500, value: 200 }, { at: 900, value: 150 }];
  drawLine(drawn.canvas, points, { now: 1000, spanMs: 1000, colours: COLOURS, mark: 120, hasScale: true });
  assert.deepEqual(drawn.of("fillText").map(([, text, x, , align]) => [text, x, align]), [["150", 264, "right"], ["100", 264, "right"], ["200", 264, "right"], ["day start", 2, "left"]]);
  assert.deepEqual([drawn.of("setLineDash").length, drawn.of("arc")[0][1]], [1, 200]);
  const close = canvasOf(264, 146);
  drawLine(close.canvas, [{ at: 0, value: 100 }, { at: 900, value: 199 }, { at: 950, value: 200 }], { now: 1000, spanMs: 1000, colours: COLOURS, hasScale: true });
  assert.deepEqual(close.of("fillText").map(([, text]) => text), ["200", "100"]);
  const flat = canvasOf(264, 146);
  drawLine(flat.canvas, [{ at: 0, value: 0 }], { now: 1000, spanMs: 1000, colours: COLOURS });
  assert.ok(flat.of("lineTo").flat().slice(1).every((each) => typeof each === "string" || Number.isFinite(each)), "one value is a line");
  const none = canvasOf(264, 146);
  drawLine(none.canvas, [], { now: 1000, spanMs: 1000, colours: COLOURS });
  assert.deepEqual(none.of("stroke", "fill"), []);
});
