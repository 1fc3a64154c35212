// What the operator's page makes of metrics, and how it asks for them: without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as figures from "../../src/web/dashboard/figures.js";
import { EVERY_MS, Refused, Unreachable, failureOf, freshness, pause } from "../../src/web/dashboard/poll.js";

const SCRAPE = `# HELP tickerd_delivery_seconds x
# TYPE tickerd_delivery_seconds histogram
tickerd_delivery_seconds_bucket{lane="alert",le="0.00001"} 2
tickerd_delivery_seconds_bucket{lane="alert",le="0.001"} 7
tickerd_delivery_seconds_bucket{lane="alert",le="+Inf"} 8
tickerd_delivery_seconds_bucket{lane="metric",le="0.00001"} 100
tickerd_frames_sent_total{lane="alert"} 8
tickerd_frames_sent_total{lane="metric"} 1e3
tickerd_users 12
tickerd_x{reason="a b{}",why=""} 3
`;

test("OBS-01: a scrape is read: names, labels, values, histograms", () => {
  const samples = figures.parse(SCRAPE);
  assert.equal(figures.sum(samples, "tickerd_users"), 12);
  assert.equal(figures.sum(samples, "tickerd_frames_sent_total"), 1008);
  assert.equal(figures.sum(samples, "tickerd_frames_sent_total", { lane: "alert" }), 8);
  assert.equal(figures.sum(samples, "tickerd_nothing"), 0);
  assert.deepEqual(figures.by(samples, "tickerd_frames_sent_total", "lane"), { alert: 8, metric: 1000 });
  assert.deepEqual(samples.get("tickerd_x"), [{ labels: { reason: "a b{}", why: "" }, value: 3 }]);
  assert.deepEqual(figures.histogram(samples, "tickerd_delivery_seconds", { lane: "alert" }), { bounds: [0.00001, 0.001, Infinity], counts: [2, 7, 8] });
});

test("OBS-14: what came between two scrapes, by bucket; nothing if the daemon began anew", () => {
  const at = (...counts) => ({ bounds: [1, 2, Infinity], counts });
  assert.deepEqual(figures.between(at(2, 7, 8), at(3, 9, 12)), [1, 1, 2]);
  assert.deepEqual(figures.between(at(2, 7, 8), at(2, 7, 8)), [0, 0, 0]);
  assert.equal(figures.between(at(2, 7, 8), at(0, 0, 1)), null);
  assert.equal(figures.between({ bounds: [], counts: [] }, at(1, 1, 1)), null);
});

test("OBS-14: percentiles lie in their bucket, and grow with the share", () => {
  const bounds = [0.001, 0.01, 0.1, Infinity];
  const of = (counts, ...shares) => shares.map((share) => figures.percentile(bounds, counts, share));
  assert.deepEqual(of([0, 0, 0, 0], 0.5), [null]);
  assert.deepEqual(of([0, 1, 0, 0], 1), [0.01]);
  assert.ok(Math.abs(of([0, 100, 0, 0], 0.5)[0] - 0.001 * 10 ** 0.5) < 1e-9, "the middle of a bucket, on a logarithmic scale");
  assert.ok(Math.abs(of([10, 0, 0, 0], 0.5)[0] - 0.0005 * 2 ** 0.5) < 1e-9, "the first bucket begins at half its bound");
  assert.deepEqual(of([0, 0, 0, 5], 0.5), [0.1], "what is beyond the last bound counts as that");
  assert.deepEqual(of([90, 9, 1, 0], 0.9, 0.99, 1).map((s) => Number(s.toFixed(9))), [0.001, 0.01, 0.1]);
  // Against all values of the bucket in order: any histogram, any share.
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  for (let run = 0; run < 2000; run++) {
    const counts = bounds.map(() => (random() < 0.4 ? 0 : Math.floor(random() * 50)));
    const total = counts.reduce((a, b) => a + b, 0);
    if (total === 0) continue;
    let former = 0;
    for (const share of [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) {
      const found = figures.percentile(bounds, counts, share);
      let [rank, bucket] = [Math.max(1, Math.ceil(share * total - 1e-9)), 0];
      while (rank > counts[bucket]) rank -= counts[bucket++];
      const [low, high] = [bucket === 0 ? bounds[0] / 2 : bounds[bucket - 1], bucket === 3 ? bounds[2] : bounds[bucket]];
      assert.ok(found >= former && found >= low * (1 - 1e-9) && found <= high * (1 + 1e-9), `${counts} ${share}: ${found}`);
      former = found;
    }
  }
});

test("OBS-14: rates of the last seconds; a restart begins anew; what is old goes", () => {
  const history = new figures.History(60_000);
  const events = ({ events }) => events;
  assert.equal(history.rate(events, 10_000), null);
  for (let i = 0; i <= 40; i++) assert.equal(history.add({ at: i * 2000, started: 1, events: i * 20 }), i > 0);
  assert.equal(history.records.length, 31);
  assert.equal(history.rate(events, 10_000), 10);
  assert.equal(history.rate(events, 1e9), 10, "of what there is");
  history.add({ at: 82_000, started: 1, events: 1000 });
  assert.equal(history.rate(events, 2000), 100);
  assert.equal(history.add({ at: 84_000, started: 2, events: 5 }), false);
  assert.equal(history.rate(events, 10_000), null);
  history.add({ at: 86_000, started: 2, events: 3 });
  assert.equal(history.rate(events, 10_000), 0, "never below nothing");
});

test("ERR-01: what grew, the most first", () => {
  const history = new figures.History(600_000);
  assert.deepEqual(figures.growth(history, (r) => r.by, 60_000), []);
  history.add({ at: 0, started: 1, by: { a: 1, b: 5 } });
  assert.deepEqual(figures.growth(history, (r) => r.by, 60_000), []);
  history.add({ at: 2000, started: 1, by: { a: 2, b: 5, c: 7, d: 1 } });
  assert.deepEqual(figures.growth(history, (r) => r.by, 60_000), [["c", 7], ["a", 1], ["d", 1]]);
});

test("CLI-11: figures are written in few digits", () => {
  const written = (write, ...values) => values.map(write);
  assert.deepEqual(written(figures.rate, null, 0, 0.04, 0.5, 9.94, 9.96, 1234, 99_999, 100_000, 9_990_000, 12_340_000, 123_000_000), ["–", "0", "0.0", "0.5", "9.9", "10", "1,234", "99,999", "100 k", "9,990 k", "12.3 M", "123 M"]);
  assert.deepEqual(written(figures.bytes, null, 0, 999, 1000, 1023, 1024, 10_240, 102_400, 1_023_000, 5 * 2 ** 30, 2 ** 50), ["–", "0 B", "999 B", "0.98 KiB", "1.00 KiB", "1.00 KiB", "10.0 KiB", "100 KiB", "999 KiB", "5.00 GiB", "1024 TiB"]);
  assert.deepEqual(written(figures.seconds, null, 1e-5, 0.00012345, 0.0009999, 0.0123, 0.5, 1.5, 10, 200), ["–", "10.0 µs", "123 µs", "1.00 ms", "12.3 ms", "500 ms", "1.50 s", "10.0 s", "3 min 20 s"]);
  assert.deepEqual(written(figures.ago, null, 0, 999, 1000, 61_000, 3_600_000, 90_061_000), ["–", "0 s", "0 s", "1 s", "1 min 1 s", "1 h", "1 d 1 h"]);
  assert.deepEqual(written(figures.percent, null, 0, 0.012, 0.099, 0.5, 1.5), ["–", "0.0 %", "1.2 %", "9.9 %", "50 %", "150 %"]);
  assert.deepEqual(written(figures.whole, null, 0.4, 1234567.6), ["–", "0", "1,234,568"]);
});

test("CLI-11: what is said of failed rounds, and when the next one is", () => {
  const kinds = [401, 403, 404, 429, 503, 500].map((status) => failureOf(new Refused(status, { message: "m", retry_after_ms: 700 })));
  assert.deepEqual(kinds.map(({ kind, isFinal, afterMs }) => [kind, isFinal, afterMs]), [
    ["signed-out", true, 0], ["forbidden", true, 0], ["forbidden", true, 0], ["busy", false, 700], ["busy", false, 700], ["broken", false, 0],
  ]);
  assert.equal(failureOf(new Unreachable("x")).kind, "offline");
  assert.equal(failureOf(new TypeError("x")).kind, "broken", "a defect of the page is no silence of the server");
  assert.deepEqual([1, 2, 3, 9].map((failures) => pause(failures, 0)), [EVERY_MS, 2 * EVERY_MS, 4 * EVERY_MS, 30_000]);
  assert.equal(pause(1, 20_000), 20_000);

  const at = (now, more = {}) => freshness({ goodAt: 1000, failure: null, now, ...more });
  assert.equal(freshness({ goodAt: null, failure: null, now: 9e9 }), "loading");
  assert.equal(freshness({ goodAt: null, failure: { kind: "offline" }, now: 0 }), "offline");
  assert.deepEqual([at(1000), at(5999), at(6000)], ["live", "live", "stale"]);
  assert.equal(at(6000, { shownAt: 5000 }), "live", "the tab was hidden until a second ago");
  assert.equal(at(5999, { failure: { kind: "offline" } }), "live", "one round that failed is not told");
  assert.equal(at(6000, { failure: { kind: "offline" } }), "offline");
  assert.equal(at(1000, { failure: { kind: "forbidden", isFinal: true } }), "forbidden");
});
