// Tabs that share a connection, in a real Chromium, against the real daemon (CLI-09): who leads may close, crash, freeze and hang.

import assert from "node:assert/strict";
import { test } from "node:test";

import { ROOM, TOKEN, alert, equity, house, numbersOf, seen, startClient, toBeLive, toGet, upTo } from "./client-page.js";
import { Daemon, blockingProxy, freeze, mint, waitUntil } from "./house.js";

const here = house();

/** Runs a test with a daemon of its own. */
function withDaemon(name, body) {
  test(name, async () => {
    const daemon = await Daemon.start(["--data-dir", "DIR", "--origin", here.pages.url]);
    try {
      await body(daemon);
    } finally {
      for (const page of here.browser.context.pages().slice(1)) await page.close();
      await daemon.end();
    }
  });
}

/** A tab whose client shares. */
async function openTab(daemon, { url = daemon.url, options, tokens, context = here.browser.context, isWaiting = true, fallbackLimits } = {}) {
  const page = await context.newPage();
  page.sockets = [];
  page.on("websocket", (socket) => page.sockets.push(socket));
  await page.goto(here.pages.url);
  await startClient(page, url, { options: { shared: true, ...options }, tokens, fallbackLimits });
  if (isWaiting) await toBeLive(page);
  return page;
}

const openTabs = async (daemon, count, options) => {
  const tabs = [];
  for (let i = 0; i < count; i++) tabs.push(await openTab(daemon, options));
  await toShare(daemon);
  return tabs;
};

const leaderOf = (tabs) => tabs.find(({ sockets }) => sockets.some((socket) => !socket.isClosed()));

const toShare = (daemon, count = 1) => waitUntil(async () => (await daemon.connections()).length === count, `${count} connections`);

/** Publishes a hundred a second while `act` is done, and for a moment before and after. Returns how many there were. */
async function whilePublishing(daemon, act, { from = 0 } = {}) {
  let [count, isOver] = [from, false];
  const publishing = (async () => {
    while (!isOver) {
      await daemon.publish(alert((count += 1)), equity({ current_equity: `${count}.00` }));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  const moment = () => new Promise((resolve) => setTimeout(resolve, 300));
  await moment();
  await act();
  await moment();
  isOver = true;
  await publishing;
  return count;
}

async function toHaveAll(tabs, count) {
  for (const tab of tabs) {
    await toGet(tab, count);
    await tab.waitForFunction((last) => room.state("EQUITY_UPDATED")?.current_equity === last, `${count}.00`);
    const { events, gaps, born } = await seen(tab);
    assert.deepEqual([numbersOf({ events }), gaps], [upTo(count), []]);
    assert.equal(await tab.evaluate(() => performance.timeOrigin), born);
  }
}

/** How long it took the tab to be connected again. */
const awayMs = (tab) => tab.evaluate(() => Math.max(0, ...seen.away ?? []));

async function noteAway(tab) {
  await tab.evaluate(() => {
    Object.assign(seen, { away: [], lostAt: null });
    client.on("change", () => {
      if (client.state !== "connected") seen.lostAt ??= performance.now();
      else if (seen.lostAt !== null) seen.away.push(performance.now() - seen.lostAt), (seen.lostAt = null);
    });
  });
}

withDaemon("CLI-09: three tabs, one connection; each gets all, and does what it would alone", async (daemon) => {
  const tabs = await openTabs(daemon, 3, { tokens: [TOKEN({ scope: "publish" })] });
  await daemon.publish(...upTo(20).map(alert), equity({ current_equity: "1.00" }), equity({ current_equity: "20.00" }));
  await toHaveAll(tabs, 20);
  for (const [i, tab] of tabs.entries()) {
    const answer = await tab.evaluate((n) => client.publish({ type: "RISK_ALERT", data: { challenge_id: "8f", n } }), 21 + i);
    assert.deepEqual([answer.ok, answer.seq], [true, 21 + i]);
    await tab.evaluate(() => room.refresh());
    await tab.evaluate(() => client.ack({ room: room.name, lane: "alert", seq: 3 }));
    assert.deepEqual(await tab.evaluate(() => [client.view.user, client.view.transport, client.view.quality !== "offline"]), ["u1", "websocket", true]);
    const denied = await tab.evaluate(async () => {
      const other = client.room("challenge:other");
      while (other.view.status !== "denied") await new Promise((resolve) => setTimeout(resolve, 10));
      return other.view.error.name;
    });
    assert.equal(denied, "access_denied");
  }
  await Promise.all(tabs.map((tab) => toGet(tab, 23)));
  await tabs[1].evaluate(() => room.leave());
  await tabs[1].waitForTimeout(500);
  await daemon.publish(alert(24));
  await Promise.all([tabs[0], tabs[2]].map((tab) => toGet(tab, 24)));
  assert.equal(numbersOf(await seen(tabs[1])).length, 23);
  await toShare(daemon);
  await tabs[0].evaluate(() => room.leave());
  await tabs[2].evaluate(() => room.leave());
  await waitUntil(async () => (await daemon.connections())[0].rooms.length === 0, "the last one that leaves a room leaves it for all");
});

withDaemon("CLI-09: the leading tab is closed, crashes, goes elsewhere: the others miss nothing, and one leads", async (daemon) => {
  let tabs = await openTabs(daemon, 5);
  let count = 0;
  const ends = [
    (tab) => tab.close(),
    (tab) => tab.goto("chrome://crash").catch(() => {}),
    (tab) => tab.goto("about:blank"),
    (tab) => tab.evaluate(() => client.close()),
  ];
  for (const end of ends) {
    const leader = leaderOf(tabs);
    tabs = tabs.filter((tab) => tab !== leader);
    for (const tab of tabs) await noteAway(tab);
    count = await whilePublishing(daemon, () => end(leader), { from: count });
    await toHaveAll(tabs, count);
    await toShare(daemon);
    const longest = Math.max(...(await Promise.all(tabs.map(awayMs))));
    // Once it is at once; several in ten seconds are taken for failures, with the backoff that those have.
    assert.ok(longest > 0 && (end !== ends[0] || longest < 5000), `${longest} ms away`);
  }
});

withDaemon("CLI-09: the leading tab freezes: another leads; awake again, it follows and has all", async (daemon) => {
  const tabs = await openTabs(daemon, 3);
  let wake;
  let count = await whilePublishing(daemon, async () => (wake = await freeze(tabs[0])));
  await toHaveAll(tabs.slice(1), count);
  await toShare(daemon);
  count = await whilePublishing(daemon, () => wake(), { from: count });
  await toHaveAll(tabs, count);
  await toShare(daemon);
  // And one that follows: nothing heaps up for it.
  count = await whilePublishing(daemon, async () => (wake = await freeze(tabs[2])), { from: count });
  await toHaveAll(tabs.slice(0, 2), count);
  count = await whilePublishing(daemon, () => wake(), { from: count });
  await toHaveAll(tabs, count);
  await toShare(daemon);
});

withDaemon("CLI-09: a leading tab that hangs is replaced, and follows when it runs again", async (daemon) => {
  const tabs = await openTabs(daemon, 3);
  const hanging = tabs[0].evaluate(() => {
    for (const until = performance.now() + 15_000; performance.now() < until; );
  });
  const count = await whilePublishing(daemon, () => Promise.all(tabs.slice(1).map((tab) => tab.waitForFunction(() => seen.states.some(([, , , code]) => code === 4299)))));
  await toHaveAll(tabs.slice(1), count);
  await hanging;
  await toHaveAll(tabs, count);
  await toShare(daemon);
});

withDaemon("ERR-05: the daemon is killed and comes back: no tab misses anything, and they share again", async (daemon) => {
  const tabs = await openTabs(daemon, 3);
  for (let round = 0; round < 2; round++) {
    await daemon.publish(...upTo(10).map((n) => alert(20 * round + n)));
    await Promise.all(tabs.map((tab) => toGet(tab, 20 * round + 10)));
    await daemon.restart(["SIGKILL", "SIGTERM"][round]);
    await daemon.publish(...upTo(10).map((n) => alert(20 * round + 10 + n)), equity({ current_equity: `${20 * round + 20}.00` }));
    await toHaveAll(tabs, 20 * round + 20);
    await toShare(daemon);
  }
});

withDaemon("another user, other rights, another jti, and no token at all: nobody shares with those", async (daemon) => {
  const tokens = [
    TOKEN(),
    TOKEN({ sub: "u2" }),
    TOKEN({ rooms: [ROOM, "quote:*"] }),
    TOKEN({ jti: "t1" }),
    TOKEN({ ttl: 1800 }), // the first one's, but for its times
  ];
  const tabs = [];
  for (const token of tokens) tabs.push(await openTab(daemon, { tokens: [token] }));
  await toShare(daemon, 4);
  assert.deepEqual(await Promise.all(tabs.map((tab) => tab.evaluate(() => client.view.user))), ["u1", "u2", "u1", "u1", "u1"]);
  const bad = await openTab(daemon, { tokens: ["not.a.token"], isWaiting: false });
  await bad.waitForFunction(() => client.state === "disconnected");
  assert.deepEqual(await bad.evaluate(() => [client.view.reason.name, client.view.reason.code]), ["refused", 4001]);
});

withDaemon("AUT-06: the leading tab's token is replaced in band; one that says another thing parts them", async (daemon) => {
  const first = await openTab(daemon, { tokens: [TOKEN({ ttl: 64 }), TOKEN({ ttl: 66 }), TOKEN({ rooms: [ROOM, "quote:1"] })] });
  const second = await openTab(daemon, { tokens: [TOKEN({ ttl: 64 }), TOKEN()] });
  await toShare(daemon);
  await first.waitForFunction(() => seen.asked.length === 3, null, { timeout: 40_000 });
  await toShare(daemon, 2);
  await daemon.publish(alert(1), equity({ current_equity: "1.00" }));
  await toHaveAll([first, second], 1);
  assert.deepEqual([(await seen(first)).asked, (await seen(first)).states.filter(([state]) => state === "reconnecting")], [["connect", "expiring", "expiring"], []]);
  assert.deepEqual(await first.evaluate(async () => {
    const quote = client.room("quote:1");
    while (quote.view.status === "joining") await new Promise((resolve) => setTimeout(resolve, 10));
    return quote.view.status;
  }), "live");
});

withDaemon("where the browser has not what it takes, each tab has a connection of its own", async (daemon) => {
  const tabs = [];
  for (const missing of ["navigator.__proto__.locks", "BroadcastChannel", "crypto.__proto__.subtle"]) {
    const page = await here.browser.context.newPage();
    await page.addInitScript((path) => {
      const names = path.split(".");
      const last = names.pop();
      Object.defineProperty(names.reduce((object, name) => object[name], globalThis), last, { value: undefined, configurable: true });
    }, missing);
    await page.goto(here.pages.url);
    await startClient(page, daemon.url, { options: { shared: true } });
    await toBeLive(page);
    tabs.push(page);
  }
  assert.equal((await daemon.connections()).length, 3);
  await daemon.publish(alert(1), equity({ current_equity: "1.00" }));
  await toHaveAll(tabs, 1);
});

withDaemon("CLI-08: where no WebSocket gets through, tabs share what does", async (daemon) => {
  const proxy = await blockingProxy(daemon, ["websocket"]);
  try {
    const options = { url: proxy.url, fallbackLimits: { climbMs: 1e6 } };
    const tabs = [await openTab(daemon, options), await openTab(daemon, options)];
    for (const tab of tabs) await tab.waitForFunction(() => client.view.transport === "sse", null, { timeout: 40_000 });
    await daemon.publish(...upTo(5).map(alert), equity({ current_equity: "5.00" }));
    await toHaveAll(tabs, 5);
    await tabs.shift().close();
    await daemon.publish(...upTo(5).map((n) => alert(5 + n)), equity({ current_equity: "10.00" }));
    await toHaveAll(tabs, 10);
  } finally {
    proxy.end();
  }
});

withDaemon("rooms that another tab has: a late one gets its history, states and what is owed to it, all the same", async (daemon) => {
  const own = mint({ rooms: [ROOM, "quote:*"] });
  const [first, second] = await openTabs(daemon, 2, { tokens: [own] });
  await daemon.publish(...upTo(150).map(alert), equity({ current_equity: "1.00", note: "x".repeat(100) }), equity({ current_equity: "150.00", note: "x".repeat(100) }));
  await daemon.publish({ type: "notification", event_id: "n1", data: { user_id: "u1", text: "read me" } });
  await toHaveAll([first, second], 150);
  const late = await openTab(daemon, { tokens: [own] });
  await late.waitForFunction(() => room.state("EQUITY_UPDATED")?.current_equity === "150.00");
  assert.deepEqual(numbersOf(await seen(late)), upTo(150).slice(50), "the last hundred, as it asked for");
  for (const tab of [first, second, late]) {
    const given = await tab.evaluate(async () => {
      const mine = client.room("user:u1", { history: 5 });
      const events = [];
      mine.on("event", ({ event_id, redelivered }) => events.push([event_id, redelivered]));
      while (mine.view.status !== "live") await new Promise((resolve) => setTimeout(resolve, 10));
      return events.map(([id]) => id);
    });
    assert.deepEqual(given, ["n1"]);
  }
  await toShare(daemon);
});
