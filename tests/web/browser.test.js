// The client in a real Chromium, against the real daemon.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { ROOM, TOKEN, alert, equity, house, numbersOf, seen, startClient, toBeLive, toGet, upTo, view } from "./client-page.js";
import { Daemon, LONG, certificate, freeze, mint, withoutLongTasks } from "./house.js";

const tls = certificate();
after(() => tls.end());
const here = house({ trusted: tls.hash });

/** A page whose client is connected to the daemon, and that notes what it gets. */
async function open(daemon, options = {}, { tokens, isWaiting = true } = {}) {
  const page = await here.browser.context.newPage();
  page.connections = [];
  page.on("websocket", (socket) => page.connections.push(socket.url()));
  await page.goto(here.pages.url);
  await startClient(page, daemon.url, { options, tokens });
  if (isWaiting) await page.waitForFunction(() => globalThis.room.view.status === "live");
  return page;
}

/** Runs a test with a daemon of its own. */
function withDaemon(name, flags, body, options = {}) {
  test(name, async () => {
    const daemon = await Daemon.start(flags, options);
    try {
      await body(daemon);
    } finally {
      await daemon.end();
      for (const page of here.browser.context.pages().slice(1)) await page.close();
    }
  });
}

withDaemon("AUT-02: each way of bringing a token gets in, and a bad one does not", ["--query-token"], async (daemon) => {
  for (const tokenIn of ["subprotocol", "message", "query"]) {
    const page = await open(daemon, { tokenIn });
    assert.equal((await view(page)).user, "u1", tokenIn);
    const bad = await open(daemon, { tokenIn }, { tokens: ["not.a.token"], isWaiting: false });
    await bad.waitForFunction(() => client.state === "disconnected");
    const { reason } = await view(bad);
    assert.deepEqual([reason.name, reason.code], ["refused", 4001], tokenIn);
  }
});

withDaemon("CLI-09, NET-09: ten rooms live over one connection, without any request", [], async (daemon) => {
  const rooms = upTo(10).map((n) => `challenge:${n}`);
  const page = await open(daemon, {}, { tokens: [mint({ rooms: [ROOM, ...rooms] })] });
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.evaluate((rooms) => void (globalThis.rooms = rooms.map((name) => client.room(name))), rooms);
  await page.waitForFunction(() => rooms.every(({ view }) => view.status === "live"));
  await daemon.publish(equity({ current_equity: "10000.00", open: { EURUSD: "1.00" }, note: "x".repeat(200) }), alert(1));
  await page.waitForFunction(() => room.state("EQUITY_UPDATED")?.current_equity === "10000.00");
  await daemon.publish(equity({ current_equity: "10000.50", open: {}, note: "x".repeat(200) }));
  await page.waitForFunction(() => room.state("EQUITY_UPDATED", "8f").current_equity === "10000.50");
  const state = await page.evaluate(() => room.state("EQUITY_UPDATED"));
  assert.deepEqual(state, { challenge_id: "8f", current_equity: "10000.50", open: {}, note: "x".repeat(200) });
  await page.evaluate(() => room.refresh());
  const { events, gaps } = await seen(page);
  assert.deepEqual([numbersOf({ events }), gaps, requests, page.connections.length], [[1], [], [], 1]);
  await daemon.publish({ type: "EQUITY_UPDATED", room: ROOM, key: "8f", data: null });
  await page.waitForFunction(() => room.state("EQUITY_UPDATED") === undefined);
});

withDaemon("ERR-05, DLV-14: killed and restarted, nothing is missing or doubled", ["--data-dir", "DIR"], async (daemon) => {
  const page = await open(daemon);
  const { born } = await seen(page);
  for (let round = 0; round < 3; round++) {
    await daemon.publish(...upTo(10).map((n) => alert(20 * round + n)));
    await toGet(page, 20 * round + 10);
    await daemon.restart(["SIGKILL", "SIGTERM", "SIGKILL"][round]);
    await daemon.publish(...upTo(10).map((n) => alert(20 * round + 10 + n)));
    await toGet(page, 20 * round + 20);
  }
  const { events, gaps, states } = await seen(page);
  assert.deepEqual([numbersOf({ events }), gaps], [upTo(60), []]);
  assert.equal(await page.evaluate(() => performance.timeOrigin), born, "the page was never loaded again");
  const reasons = states.filter(([state]) => state === "reconnecting").map(([, , reason, code]) => `${reason} ${code}`);
  assert.ok(reasons.includes("server 4101"), "SIGTERM says when to come back");
  assert.ok(reasons.includes("network 1006"), "SIGKILL does not");
  assert.equal((await view(page)).state, "connected");
});

withDaemon("a daemon without a disk that is restarted has a gap of unknown length, and everything new", [], async (daemon) => {
  const page = await open(daemon);
  await daemon.publish(...upTo(5).map(alert), equity({ current_equity: "1.00" }));
  await toGet(page, 5);
  await daemon.restart();
  await daemon.publish(alert(6));
  await toGet(page, 6);
  const { events, gaps } = await seen(page);
  assert.deepEqual(numbersOf({ events }), upTo(6));
  assert.ok(gaps.length > 0 && gaps.every((gap) => gap.to === null), JSON.stringify(gaps));
  await page.waitForFunction(() => room.state("EQUITY_UPDATED") === undefined, null, { timeout: 5000 });
});

withDaemon("AUT-06: a token that expires is replaced in band; if that fails, after the close", [], async (daemon) => {
  const long = TOKEN();
  const inBand = await open(daemon, {}, { tokens: [mint({ rooms: [ROOM], ttl: 6 }), long] });
  const byClose = await open(daemon, {}, { tokens: [mint({ rooms: [ROOM], ttl: 6 }), "", long] });
  await byClose.waitForFunction(() => seen.states.some(([, , , code]) => code === 4300), null, { timeout: 30_000 });
  await byClose.waitForFunction(() => client.view.state === "connected" && room.view.status === "live");
  await daemon.publish(alert(1));
  await Promise.all([inBand, byClose].map((page) => toGet(page, 1)));
  assert.deepEqual((await seen(inBand)).asked, ["connect", "expiring"]);
  assert.deepEqual((await seen(byClose)).asked, ["connect", "expiring", "expired"]);
  assert.deepEqual([inBand.connections.length, byClose.connections.length], [1, 2]);
});

withDaemon("CLI-08: offline is noticed, and online comes back with what was missed", [], async (daemon) => {
  const page = await open(daemon);
  daemon.process.kill("SIGSTOP"); // an emulated loss of the network does not cut what is connected
  await here.browser.context.setOffline(true);
  await page.waitForFunction(() => client.view.substate === "offline");
  assert.deepEqual(await page.evaluate(() => [room.view.status, room.view.staleSince !== null]), ["stale", true]);
  daemon.process.kill("SIGCONT");
  await daemon.publish(alert(1));
  await here.browser.context.setOffline(false);
  await toGet(page, 1);
  assert.deepEqual((await seen(page)).gaps, []);
});

withDaemon("a page that did not run for a while asks before it gives the connection up", ["--heartbeat", "5s"], async (daemon) => {
  const page = await open(daemon);
  const renderers = here.browser.renderers();
  assert.ok(renderers.length > 0);
  renderers.forEach((pid) => process.kill(pid, "SIGSTOP")); // what sleep and throttling are to a page
  await daemon.publish(...upTo(20).map(alert));
  await new Promise((resolve) => setTimeout(resolve, 12_000)); // a heartbeat and its slack are ten seconds
  renderers.forEach((pid) => process.kill(pid, "SIGCONT"));
  await toGet(page, 20);
  await page.waitForFunction(() => client.view.quality !== "poor");
  const { events, gaps, states } = await seen(page);
  assert.deepEqual([numbersOf({ events }), gaps, page.connections.length], [upTo(20), [], 1]);
  assert.deepEqual(states.filter(([state]) => state === "reconnecting"), []);
});

withDaemon("CLI-06, DLV-14: a page that was frozen over a restart shows that it is stale, and then what it missed", ["--data-dir", "DIR"], async (daemon) => {
  const page = await open(daemon);
  await daemon.publish(alert(1));
  await toGet(page, 1);
  const wake = await freeze(page);
  await daemon.publish(...upTo(10).map((n) => alert(1 + n)));
  await daemon.restart();
  await daemon.publish(...upTo(10).map((n) => alert(11 + n)));
  await wake();
  await toGet(page, 21);
  await toBeLive(page);
  const { events, gaps, statuses, states } = await seen(page);
  assert.deepEqual([numbersOf({ events }), gaps, statuses.slice(-3)], [upTo(21), [], ["stale", "catching_up", "live"]]);
  assert.ok(states.some(([state, , reason]) => state === "reconnecting" && reason === "network"));
});

withDaemon(
  "TLS: wss and https with a certificate of one's own, over HTTP/1.1; one that nobody vouches for is not taken",
  ["--data-dir", "DIR"],
  async (daemon) => {
    const page = await open(daemon);
    await daemon.publish(...upTo(5).map(alert), equity({ current_equity: "7.00" }));
    await toGet(page, 5);
    await daemon.restart();
    await daemon.publish(...upTo(5).map((n) => alert(5 + n)));
    await toGet(page, 10);
    const { events, gaps } = await seen(page);
    assert.deepEqual([numbersOf({ events }), gaps, new Set(page.connections)], [upTo(10), [], new Set([`wss://${daemon.address}/v1/ws`])]);
    const desk = await here.browser.context.newPage();
    await desk.goto(`${daemon.url}/`);
    const protocols = await desk.evaluate(() => performance.getEntries().map(({ nextHopProtocol }) => nextHopProtocol).filter(Boolean));
    assert.ok(protocols.length > 1 && protocols.every((protocol) => protocol === "http/1.1"), protocols.join());
    const other = certificate();
    const stranger = await Daemon.start([], { tls: other });
    try {
      await startClient(page, daemon.url, { options: { url: `wss://${stranger.address}/v1/ws`, fallback: false } });
      await page.waitForFunction(() => client.view.attempts >= 2);
      assert.equal(await page.evaluate(() => seen.states.some(([, substate]) => substate === "authenticating")), false);
    } finally {
      await stranger.end();
      other.end();
    }
  },
  { tls },
);

withDaemon("CLI-06: the cache shows a room while the daemon is away, two tabs share it in peace", ["--data-dir", "DIR"], async (daemon) => {
  const page = await open(daemon, { cache: "u1" });
  const other = await open(daemon, { cache: "u1" });
  await daemon.publish(equity({ current_equity: "7.00" }), alert(1), alert(2));
  await Promise.all([page, other].map((tab) => toGet(tab, 2)));
  await new Promise((resolve) => setTimeout(resolve, 1500)); // it is saved a second after a change
  await page.reload();
  await other.reload();
  await startClient(other, daemon.url, { options: { cache: "u1", url: "ws://127.0.0.1:9/v1/ws" } });
  await other.waitForFunction(() => room.view.staleSince !== null);
  const kept = () => room.view.events.map(({ data }) => data.n);
  const offline = await other.evaluate(() => [room.state("EQUITY_UPDATED").current_equity, room.view.isLoading]);
  assert.deepEqual([offline, await other.evaluate(kept)], [["7.00", false], [1, 2]]);
  await startClient(page, daemon.url, { options: { cache: "u1" } });
  await page.waitForFunction(() => room.view.status === "live");
  await daemon.publish(alert(3));
  await toGet(page, 1);
  assert.deepEqual(numbersOf(await seen(page)), [3], "what is in the cache does not come again");
  assert.deepEqual(await page.evaluate(kept), [1, 2, 3]);
  const someoneElse = await open(daemon, { cache: "u1" }, { tokens: [mint({ sub: "u2", rooms: [ROOM] })] });
  assert.deepEqual(await someoneElse.evaluate(() => [room.view.events.length, seen.gaps]), [3, []], "u2 reads it from the server");
});

withDaemon("PRF-09: 500 updates a second, and no task of the page takes 50 ms", [], async (daemon) => {
  const page = await open(daemon);
  await page.evaluate(() => {
    document.body.innerHTML = "<output id=equity></output><ol id=alerts></ol>";
    room.on("view", () => {
      document.querySelector("#equity").textContent = room.state("EQUITY_UPDATED")?.current_equity ?? "";
      document.querySelector("#alerts").replaceChildren(
        ...room.view.events.slice(-20).map(({ data }) => Object.assign(document.createElement("li"), { textContent: data.n })),
      );
    });
  });
  const seconds = LONG ? 60 : 10;
  const perTick = 25;
  let sent = 0;
  await withoutLongTasks(page, async (round) => {
    const began = Date.now() - (sent / 500) * 1000;
    while (sent < (round + 1) * seconds * 500) {
      const events = Array.from({ length: perTick }, () => ({ type: "TRADE_EXECUTED", data: { challenge_id: "8f", n: (sent += 1) } }));
      await daemon.publish(...events, equity({ current_equity: `${sent}.00` }));
      const waitMs = began + (sent / 500) * 1000 - Date.now();
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    await toGet(page, sent);
    await page.waitForFunction((sent) => document.querySelector("#equity").textContent === `${sent}.00`, sent);
  });
  const { events, gaps } = await seen(page);
  assert.deepEqual([numbersOf({ events }), gaps], [upTo(sent), []]);
});
