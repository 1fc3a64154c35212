// A page that is open for hours: its heap does not grow. What is measured is the slope over the events, garbage collected, after all that is bounded is full;
// the bound is a fraction of one event that would be kept.

import assert from "node:assert/strict";
import { test } from "node:test";

import { house } from "./client-page.js";
import { Daemon, LONG, mint } from "./house.js";

const here = house();
const PER_SECOND = 500;
const FEW = ["c01", "c02", "c03", "c04"]; // each keeps a thousand ids of events, which are full after eight seconds
const DESK = Array.from({ length: 20 }, (_, i) => `c${String(i + 1).padStart(2, "0")}`);
const BYTES_PER_EVENT = 30; // an id of an event that is kept takes seventy, what does not grow less than seven

let n = 0;
/** A twentieth of a second of a busy desk: trades with ids, states that change, an alert now and then. */
function busy(rooms) {
  const events = Array.from({ length: PER_SECOND / 20 }, () => {
    n += 1;
    return { type: "TRADE_EXECUTED", event_id: `t${n}`, data: { challenge_id: rooms[n % rooms.length], n, side: "BUY", symbol: "EURUSD", realized_pnl: "1.00" } };
  });
  const equity = rooms.slice(0, 10).map((id) => ({ type: "EQUITY_UPDATED", data: { challenge_id: id, current_equity: `${n}.00`, daily_pnl: "1.00" } }));
  if (n % 1000 < events.length) events.push({ type: "RISK_ALERT", data: { challenge_id: rooms[0], severity: "HIGH", message: `alert ${n}` } });
  return [...events, ...equity];
}

async function publishFor(daemon, rooms, seconds) {
  const began = Date.now();
  for (let tick = 0; tick < seconds * 20; tick++) {
    await daemon.publish(...busy(rooms));
    const waitMs = began + tick * 50 - Date.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

/** The slope of `ys` over `xs`, by least squares. */
function slope(xs, ys) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(xs), mean(ys)];
  return xs.reduce((sum, each, i) => sum + (each - x) * (ys[i] - y), 0) / xs.reduce((sum, each) => sum + (each - x) ** 2, 0);
}

async function assertFlat(page, daemon, rooms, { warmUp, seconds }) {
  const devtools = await page.context().newCDPSession(page);
  const used = async () => {
    for (let i = 0; i < 2; i++) await devtools.send("HeapProfiler.collectGarbage");
    return (await devtools.send("Runtime.getHeapUsage")).usedSize;
  };
  await publishFor(daemon, rooms, warmUp);
  const [events, bytes] = [[n], [await used()]];
  for (let i = 0; i < 8; i++) {
    await publishFor(daemon, rooms, seconds / 8);
    events.push(n);
    bytes.push(await used());
  }
  const perEvent = slope(events, bytes);
  console.log(`heap: ${bytes.map((each) => (each / 1e6).toFixed(2)).join(" ")} MB over ${n - events[0]} events, ${perEvent.toFixed(1)} bytes an event`);
  assert.ok(perEvent < BYTES_PER_EVENT, `${perEvent} bytes an event: ${bytes.join(", ")}`);
}

/** Runs `body` with a daemon, and a page at that address, which may be the daemon's. */
async function withPage(addressOf, body) {
  const daemon = await Daemon.start();
  const page = await here.browser.context.newPage();
  try {
    await page.goto(addressOf(daemon));
    await body(page, daemon);
  } finally {
    await page.close();
    await daemon.end();
  }
}

for (const shared of [false, true]) {
  test(`the client's heap does not grow with what it is told${shared ? ", in a shared connection" : ""}`, async () => {
    await withPage(() => here.pages.url, async (page, daemon) => {
      await page.evaluate(
        async ([url, token, rooms, shared]) => {
          const { connect } = await import(`${url}/client.js`);
          globalThis.client = connect({ url: `${url.replace("http", "ws")}/v1/ws`, token, shared });
          globalThis.rooms = rooms.map((id) => client.room(`challenge:${id}`, { delta: true, keep: 20 }));
          for (const room of globalThis.rooms) room.on("view", () => (document.title = room.view.events.at(-1)?.data.n));
        },
        [daemon.url, mint({ rooms: ["challenge:*"] }), FEW, shared],
      );
      await page.waitForFunction(() => rooms.every(({ view }) => view.status === "live"));
      await assertFlat(page, daemon, FEW, { warmUp: 10, seconds: LONG ? 120 : 10 });
    });
  });
}

if (LONG) {
  test("the desk's page does not grow either", async () => {
    const token = mint({ rooms: ["challenge:*"] });
    await withPage(({ url }) => `${url}/#rooms=challenge:c01..20&token=${token}`, async (page, daemon) => {
      await page.waitForFunction(() => document.querySelector("#book-count").textContent === "21 of 21 live");
      await assertFlat(page, daemon, DESK, { warmUp: 90, seconds: 120 });
    });
  });
}
