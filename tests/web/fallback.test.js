// The client where WebSockets do not get through: down the ladder and up again, in a real Chromium, with a real daemon behind a proxy that blocks.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { alert, equity, house, numbersOf, seen, startClient, toGet, upTo } from "./client-page.js";
import { blockingProxy, certificate, Daemon, mint, waitUntil } from "./house.js";

const tls = certificate();
after(() => tls.end());
const here = house({ trusted: tls.hash });

/** Runs a test with a daemon of its own behind a proxy of its own, and a page whose client goes through it. */
function withProxy(name, blocked, body, { options, tokens = () => [mint({ rooms: ["*"], scope: "publish" })] } = {}) {
  test(name, async () => {
    const daemon = await Daemon.start(["--origin", here.pages.url, "--data-dir", "DIR"], options);
    const proxy = await blockingProxy(daemon, blocked);
    const page = await here.browser.context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    try {
      await page.goto(here.pages.url);
      await startClient(page, proxy.url, { tokens: tokens(), fallbackLimits: { climbMs: 16_000, streamMs: 2000, pauseMs: 200 } });
      await body({ daemon, proxy, page });
      assert.deepEqual(await page.evaluate(() => seen.gaps), []);
    } finally {
      await page.close();
      proxy.end();
      await daemon.end();
    }
  });
}

/** The client waits up to 30 s before an attempt, and may need a few. */
const PATIENCE_MS = 120_000;
const on = (page, transport) => page.waitForFunction((transport) => client.view.transport === transport && room.view.status === "live" && client.state === "connected", transport, { timeout: PATIENCE_MS });
const numbers = async (page) => numbersOf(await seen(page));

withProxy("CLI-08: WebSocket blocked: server-sent events, then back by itself, with nothing missed or doubled", ["websocket"], async ({ daemon, proxy, page }) => {
  await on(page, "sse");
  assert.equal(proxy.counts.websocket, 3, "after three attempts");
  await daemon.publish(...upTo(20).map(alert), equity({ current_equity: "7.00" }));
  await toGet(page, 20);
  await page.waitForFunction(() => room.state("EQUITY_UPDATED")?.current_equity === "7.00");
  // Wishes about states go with the stream.
  const state = (type, data) => ({ type, room: "r:some", lane: "update", mode: "state", key: "a", data });
  await daemon.publish(state("t.other", 1), state("t.wanted", 2));
  await page.evaluate(() => (globalThis.some = client.room("r:some", { everyMs: 1000, types: ["t.wanted"] })));
  await page.waitForFunction(() => some.state("t.wanted", "a") === 2);
  await daemon.publish(state("t.other", 3), state("t.wanted", 4));
  await page.waitForFunction(() => some.state("t.wanted", "a") === 4);
  assert.equal(await page.evaluate(() => some.state("t.other", "a")), undefined);
  proxy.blocked.delete("websocket");
  await on(page, "websocket");
  await daemon.publish(...upTo(10).map((n) => alert(20 + n)));
  await toGet(page, 30);
  assert.deepEqual(await numbers(page), upTo(30));
  assert.deepEqual(await page.evaluate(() => seen.transports), ["sse", "websocket"]);
});

withProxy("CLI-08: streams blocked too: long polls, then up again", ["websocket", "events"], async ({ daemon, proxy, page }) => {
  await on(page, "poll");
  await daemon.publish(...upTo(20).map(alert), equity({ current_equity: "7.00" }));
  await toGet(page, 20);
  await page.waitForFunction(() => room.state("EQUITY_UPDATED")?.current_equity === "7.00");
  proxy.blocked.delete("events");
  await on(page, "sse");
  await daemon.publish(alert(21));
  await toGet(page, 21);
  proxy.blocked.delete("websocket");
  await on(page, "websocket");
  await daemon.publish(alert(22));
  await toGet(page, 22);
  assert.deepEqual(await numbers(page), upTo(22));
});

withProxy(
  "TLS: the same over https: streams, polls, and wss again",
  ["websocket"],
  async ({ daemon, proxy, page }) => {
    await on(page, "sse");
    await daemon.publish(alert(1));
    await toGet(page, 1);
    proxy.blocked.add("events");
    await daemon.restart();
    await on(page, "poll");
    await daemon.publish(alert(2));
    await toGet(page, 2);
    proxy.blocked.clear();
    await on(page, "websocket");
    await daemon.publish(alert(3));
    await toGet(page, 3);
    assert.deepEqual(await numbers(page), upTo(3));
  },
  { options: { tls } },
);

withProxy("a proxy that holds streams back is noticed", ["websocket", "flush"], async ({ daemon, page }) => {
  await on(page, "poll");
  await daemon.publish(alert(1));
  await toGet(page, 1);
});

for (const blocked of [["websocket"], ["websocket", "events"]]) {
  const way = blocked.length === 1 ? "events" : "polls";
  withProxy(`ERR-05, DLV-14: over ${way}, a daemon that is killed and comes back costs nothing`, blocked, async ({ daemon, page }) => {
    await on(page, blocked.length === 1 ? "sse" : "poll");
    for (let round = 0; round < 2; round++) {
      await daemon.publish(...upTo(10).map((n) => alert(20 * round + n)));
      await toGet(page, 20 * round + 10);
      await daemon.restart(["SIGKILL", "SIGTERM"][round]);
      await daemon.publish(...upTo(10).map((n) => alert(20 * round + 10 + n)));
      await toGet(page, 20 * round + 20);
    }
    assert.deepEqual(await numbers(page), upTo(40));
  });

  withProxy(`over ${way}, commands are done all the same: publish, ack, refresh; what cannot be is said`, blocked, async ({ daemon, page }) => {
    await on(page, blocked.length === 1 ? "sse" : "poll");
    const answer = await page.evaluate(() => client.publish({ type: "RISK_ALERT", data: { challenge_id: "8f", n: 1 } }));
    assert.deepEqual([answer.ok, answer.seq, answer.members], [true, 1, blocked.length === 1 ? 1 : answer.members]);
    await toGet(page, 1);
    assert.equal(await page.evaluate(() => client.publish({ type: "unknown", data: 1 }).catch((error) => error.name)), "unknown_event");
    await daemon.publish(equity({ current_equity: "1.00" }), { type: "notification", event_id: "n1", data: { user_id: "u1" } });
    await page.waitForFunction(() => room.state("EQUITY_UPDATED") !== undefined);
    await page.evaluate(() => room.refresh());
    await page.evaluate(() => void (globalThis.own = client.room("user:u1")));
    await page.waitForFunction(() => own.view.status === "live");
    await page.evaluate(() => client.ack({ event_id: "n1" }));
    await page.evaluate(() => client.ack({ room: "user:u1", lane: "update", seq: 1 }));
    await page.waitForFunction(() => seen.errors.some((error) => error.includes("event_id alone")));
    const denied = await page.evaluate(async () => {
      const other = client.room("user:somebody");
      for (;;) {
        if (other.view.status === "denied") return other.view.error.name;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    });
    assert.equal(denied, "access_denied");
    assert.equal(await page.evaluate(() => client.state), "connected");
  });

  withProxy(
    `AUT-06: over ${way}, a token that expires is replaced without a new connection`,
    blocked,
    async ({ daemon, page }) => {
      await on(page, blocked.length === 1 ? "sse" : "poll");
      await new Promise((resolve) => setTimeout(resolve, 27_000));
      await daemon.publish(alert(1));
      await toGet(page, 1);
      const { asked, errors } = await seen(page);
      assert.deepEqual([asked[0], errors], ["connect", []]);
      assert.ok(asked.includes("expiring") && !asked.includes("expired"), asked.join());
    },
    { tokens: () => [mint({ rooms: ["*"], ttl: 25 }), mint({ rooms: ["*"] })] },
  );

  withProxy(`over ${way}, more rooms than a browser has connections are live`, blocked, async ({ daemon, page }) => {
    await on(page, blocked.length === 1 ? "sse" : "poll");
    await page.evaluate(() => void (globalThis.rooms = Array.from({ length: 8 }, (_, n) => client.room(`quote:${n}`))));
    await page.waitForFunction(() => rooms.every(({ view }) => view.status === "live"));
    await daemon.publish(...upTo(8).map((n) => ({ type: "note", room: `quote:${n - 1}`, lane: "alert", mode: "stream", data: { n } })));
    await page.waitForFunction(() => rooms.every(({ view }) => view.events.length === 1));
    await page.evaluate(() => rooms.slice(4).forEach((room) => room.leave()));
    await page.waitForFunction(() => client.state === "connected");
  });
}

test("an EventSource reads a room with a ticket, and resumes by itself", async () => {
  const daemon = await Daemon.start(["--origin", here.pages.url, "--data-dir", "DIR"]);
  const page = await here.browser.context.newPage();
  try {
    await page.goto(here.pages.url);
    const open = (since) =>
      page.evaluate(
        async ([url, token, since]) => {
          const answer = await fetch(`${url}/v1/ticket`, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
          const { ticket } = await answer.json();
          globalThis.events ??= [];
          const source = new EventSource(`${url}/v1/events?room=challenge:8f&ticket=${ticket}${since ? `&since=${since}` : ""}`);
          source.onmessage = ({ data, lastEventId }) => {
            events.push(JSON.parse(data));
            globalThis.lastEventId = lastEventId;
          };
          source.onerror = () => {
            globalThis.readyState = source.readyState;
          };
          globalThis.source = source;
        },
        [daemon.url, mint({ rooms: ["*"] }), since],
      );
    await open();
    await page.waitForFunction(() => events.some(({ type }) => type === "caught_up"));
    await daemon.publish(alert(1), alert(2));
    await page.waitForFunction(() => events.some(({ seq }) => seq === 2));
    await daemon.restart();
    await waitUntil(() => page.evaluate(() => globalThis.readyState === EventSource.CLOSED), "the ticket is good once, so it gives up");
    await daemon.publish(alert(3));
    await open(await page.evaluate(() => lastEventId));
    await page.waitForFunction(() => events.some(({ seq }) => seq === 3));
    assert.deepEqual(await page.evaluate(() => events.filter(({ seq }) => typeof seq === "number").map(({ seq }) => seq)), [1, 2, 3]);
  } finally {
    await page.close();
    await daemon.end();
  }
});
