// The client's shell, without a browser: what pages call and hear, timers, the clock, the cache, the browser's events. Time is the test's own; what the core
// decides is tested in core.test.js and rooms.test.js.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Client, LIMITS, connect, webSocket } from "../../src/web/client.js";
import { alert, state } from "./driver.js";

const page = new EventTarget();
const START = 1_000_000_000_000;
const open = []; // clients of the test

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: START });
  mock.method(Math, "random", () => 0.5);
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
});
afterEach(() => {
  for (const client of open.splice(0)) client.close();
  mock.timers.reset();
  mock.restoreAll();
  delete globalThis.addEventListener;
  delete globalThis.removeEventListener;
  delete globalThis.document;
  delete globalThis.requestAnimationFrame;
});

/** Lets promises that are due have their turn. */
async function settle() {
  for (let i = 0; i < 20; i++) await null;
}

async function pass(ms) {
  mock.timers.tick(ms);
  await settle();
}

/** A transport that is driven by hand: `opened` has each connection, and what was sent over it. */
function byHand() {
  const transport = {
    opened: [],
    open(to, handlers) {
      const connection = { to, handlers, sent: [], isClosed: false };
      transport.opened.push(connection);
      return { kind: transport.kind, send: (text) => connection.sent.push(JSON.parse(text)), close: () => (connection.isClosed = true) };
    },
    get last() {
      return transport.opened.at(-1);
    },
    say: (...messages) => messages.forEach((message) => transport.last.handlers.onMessage(JSON.stringify(message))),
    find: (type) => transport.last.sent.findLast((message) => message.type === type),
    welcome() {
      transport.last.handlers.onOpen();
      transport.say({ type: "welcome", ts: Date.now(), data: { session: "s", user: "u1", heartbeat_ms: 30_000, capabilities: ["ping"] } });
    },
    live(name, seq = 0) {
      const { id } = transport.last.sent.findLast((message) => message.type === "subscribe" && message.room === name);
      const lanes = (value) => ({ alert: value, update: value, metric: value });
      transport.say({ type: "subscribed", id, room: name, epoch: "e1", from: lanes(seq + 1), seq: lanes(seq) }, { type: "caught_up", room: name });
    },
  };
  return transport;
}

async function connected(options = {}) {
  const transport = options.transport ?? byHand();
  const client = connect({ url: "https://push.example/v1/ws", token: "t", ...options, transport });
  open.push(client);
  await settle();
  transport.welcome();
  return { client, transport };
}

test("a connection is opened with the token; `view` is the same object until something changes", async () => {
  const asked = [];
  const transport = byHand();
  const client = new Client({ url: "https://push.example/v1/ws?x=1", token: async (why) => (asked.push(why), "t1"), tokenIn: "message", transport });
  open.push(client);
  assert.deepEqual([client.state, transport.opened.length, client.view.quality, client.view.user], ["disconnected", 0, "offline", null]);
  client.connect();
  await settle();
  assert.deepEqual([asked, transport.last.to], [["connect"], { url: "wss://push.example/v1/ws?x=1", token: "t1", tokenIn: "message", misses: 0 }]);
  let changes = 0;
  client.on("change", () => (changes += 1));
  const before = client.view;
  assert.equal(client.view, before);
  assert.ok(Object.isFrozen(before));
  transport.kind = "pigeon";
  transport.welcome();
  assert.deepEqual(transport.last.sent[0], { type: "auth", token: "t1" });
  assert.notEqual(client.view, before);
  const { state, substate, reason, quality, transport: kind, attempts, retryAt, rttMs, queued, user, capabilities } = client.view;
  assert.deepEqual([state, substate, reason.name, quality, kind], ["connected", null, "caught_up", "good", "websocket"]);
  assert.deepEqual([attempts, retryAt, rttMs, queued, user, capabilities], [0, null, null, 0, "u1", ["ping"]]);
  assert.ok(changes >= 3);
});

test("an address is made one of a WebSocket; without one it is that of the page's own server", async () => {
  const address = async (url, location) => {
    if (location) globalThis.location = { href: location };
    const { client, transport } = await connected({ url });
    client.close();
    delete globalThis.location;
    return transport.last.to.url;
  };
  assert.equal(await address(new URL("ws://a/v1/ws")), "ws://a/v1/ws");
  assert.equal(await address("http://a:1/x"), "ws://a:1/x");
  assert.equal(await address(undefined, "https://desk.example/app/page"), "wss://desk.example/v1/ws");
});

test("whoever asks for a room gets the same one; it is left when all have left it, and is another one after that", async () => {
  const { client, transport } = await connected();
  const room = client.room("r", { history: 3, delta: true });
  assert.equal(client.room("r"), room);
  const { history, delta } = transport.find("subscribe");
  assert.deepEqual([room.name, history, delta], ["r", 3, true]);
  room.leave();
  await pass(LIMITS.lingerMs);
  assert.equal(transport.find("unsubscribe"), undefined, "one of two is there");
  room.leave();
  await pass(LIMITS.lingerMs - 1);
  assert.equal(client.room("r"), room, "who comes back at once finds it");
  room.leave();
  await pass(LIMITS.lingerMs);
  assert.equal(transport.find("unsubscribe").room, "r");
  const heard = [];
  room.on("event", (event) => heard.push(event));
  const again = client.room("r");
  assert.notEqual(again, room);
  transport.live("r");
  transport.say(alert("r", 1));
  assert.deepEqual([heard, again.view.events.length], [[], 1]);
});

test("a room's view: loading, then its events and states; a new object only if something changed", async () => {
  const { client, transport } = await connected();
  const room = client.room("r");
  assert.deepEqual([room.view.status, room.view.isLoading, room.state("EQUITY_UPDATED"), room.state("EQUITY_UPDATED", "k")], ["joining", true, undefined, undefined]);
  transport.live("r");
  const { view } = room;
  assert.deepEqual([view.isLoading, view.error, view.staleSince, view.name, Object.isFrozen(view)], [false, null, null, "r", true]);
  assert.equal(room.view, view);
  transport.say(state("r", 1, { data: { v: 1 } }), state("r", 1, { key: "k2", data: { v: 2 } }), { ...state("r", 1, { data: { v: 3 } }), type: "other" }, alert("r", 1));
  assert.notEqual(room.view, view);
  assert.deepEqual(room.view.states.map(({ type, key, data }) => [type, key, data.v]), [["EQUITY_UPDATED", "k", 1], ["EQUITY_UPDATED", "k2", 2], ["other", "k", 3]]);
  assert.deepEqual([room.view.events.length, room.state("EQUITY_UPDATED").v, room.state("EQUITY_UPDATED", "k2").v, room.state("other").v], [1, 1, 2, 3]);
  transport.last.handlers.onClose(1006, "");
  assert.deepEqual([room.view.status, room.view.isLoading, room.view.staleSince], ["stale", false, START]);
  const denied = client.room("d");
  await pass(500);
  transport.welcome();
  const { id } = transport.last.sent.findLast((message) => message.room === "d");
  transport.say({ type: "error", id, code: 103, name: "access_denied", category: "permission", message: "no" });
  assert.deepEqual([denied.view.status, denied.view.isLoading, denied.view.error.name], ["denied", false, "access_denied"]);
});

test("each listener hears what it asked for until it does not want to any more; the client hears the events of all rooms", async () => {
  const { client, transport } = await connected();
  const [a, b] = [client.room("a"), client.room("b")];
  const heard = [];
  const ends = [
    a.on("event", ({ seq }) => heard.push(`a ${seq}`)),
    b.on("event", ({ seq }) => heard.push(`b ${seq}`)),
    client.on("event", ({ room, seq }) => heard.push(`client ${room} ${seq}`)),
    a.on("gap", ({ from, to }) => heard.push(`gap ${from} ${to}`)),
    a.on("change", () => heard.push("change")),
  ];
  transport.live("a");
  transport.live("b");
  transport.say(alert("a", 1), alert("b", 1), alert("a", 3));
  assert.deepEqual(heard, ["change", "change", "a 1", "client a 1", "b 1", "client b 1", "gap 2 2", "a 3", "client a 3"]);
  ends.forEach((end) => end());
  transport.say(alert("a", 4));
  assert.equal(heard.length, 9);
});

test("`view` is said once for however much has changed: at the next frame, or soon if the page is hidden", async () => {
  const { client, transport } = await connected();
  const room = client.room("r");
  let views = 0;
  room.on("view", () => (views += 1));
  transport.live("r");
  transport.say(alert("r", 1), alert("r", 2));
  await pass(49);
  assert.equal(views, 0);
  await pass(1);
  assert.equal(views, 1);
  const frames = [];
  globalThis.document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  globalThis.requestAnimationFrame = (callback) => frames.push(callback);
  transport.say(alert("r", 3), alert("r", 4));
  await pass(1000);
  assert.deepEqual([views, frames.length], [1, 1]);
  frames[0]();
  assert.equal(views, 2);
  transport.say(alert("r", 5));
  assert.equal(frames.length, 2);
  frames[1]();
});

test("commands resolve to their answers, or are rejected; one with an event_id is sent again, one without is not", async () => {
  const { client, transport } = await connected();
  const published = client.publish({ type: "note", data: 1 });
  const { id, ...sent } = transport.find("note");
  assert.deepEqual(sent, { type: "note", data: 1 });
  transport.say({ ok: true, id, result: "accepted", seq: 7 });
  assert.equal((await published).seq, 7);
  const refused = client.publish({ type: "other", data: 1 });
  transport.say({ ok: false, id: transport.find("other").id, code: 200, name: "rate_limited", message: "slow", retry_after_ms: 5 });
  await assert.rejects(refused, { name: "rate_limited", code: 200, retryAfterMs: 5 });

  const safe = client.publish({ type: "safe", event_id: "e", data: 1 });
  const unsafe = client.publish({ type: "unsafe", data: 1 });
  const acked = client.ack({ event_id: "n1", room: "r", lane: "alert", seq: 3 });
  const rejected = assert.rejects(unsafe, { name: "connection_lost" });
  transport.last.handlers.onClose(1006, "");
  await rejected;
  await pass(500);
  transport.welcome();
  assert.deepEqual([transport.find("safe").event_id, transport.find("unsafe"), transport.find("ack").event_id], ["e", undefined, "n1"]);
  transport.say({ ok: true, id: transport.find("safe").id }, { type: "ok", id: transport.find("ack").id });
  assert.equal((await safe).ok, true);
  await acked;

  const room = client.room("r");
  transport.live("r", 4);
  await client.ack({ room: "r", lane: "alert", seq: 4 });
  assert.deepEqual(transport.find("ack"), { type: "ack", room: "r", lane: "alert", epoch: "e1", seq: 4 });
  const refreshed = room.refresh();
  transport.say({ type: "ok", id: transport.find("snapshot").id });
  await refreshed;
  assert.equal(transport.find("snapshot").room, "r");
  client.disconnect();
  const late = client.publish({ type: "late", data: 1 }, { ttlMs: 100 });
  const expired = assert.rejects(late, { name: "expired" });
  await pass(100);
  await expired;
});

test("time: it tries again when the backoff is over, and asks when nothing is heard", async () => {
  const { client, transport } = await connected();
  transport.say({ type: "ok", id: transport.find("ping").id });
  assert.equal(client.view.rttMs, 0);
  transport.last.handlers.onClose(1006, "");
  assert.deepEqual([client.state, client.view.retryAt, client.view.attempts], ["reconnecting", START + 500, 1]);
  await pass(499);
  assert.equal(transport.opened.length, 1);
  await pass(1);
  assert.equal(transport.opened.length, 2);
  transport.welcome();
  transport.say({ type: "ok", id: transport.find("ping").id });
  const pings = () => transport.last.sent.filter(({ type }) => type === "ping").length;
  await pass(35_000);
  assert.equal(pings(), 2);
  await pass(5000);
  assert.deepEqual([transport.last.isClosed, client.view.reason.name], [true, "silence"]);
});

test("a clock that is set back does not stop it", async () => {
  const { client, transport } = await connected();
  await pass(10_000);
  mock.timers.setTime(START - 3_600_000);
  transport.last.handlers.onClose(1006, "");
  assert.equal(client.view.retryAt, START + 500, "it goes on from the latest time that it has seen");
  await pass(500);
  assert.equal(transport.opened.length, 2);
});

test("what is heard of a former connection, or told while something is told, is in its place", async () => {
  const { client, transport } = await connected();
  const former = transport.last;
  former.handlers.onClose(1006, "");
  await pass(500);
  former.handlers.onMessage('{"type":"welcome","ts":1,"data":{"user":"former"}}');
  former.handlers.onClose(4001, "");
  assert.deepEqual([client.state, client.view.user], ["reconnecting", "u1"]);
  transport.welcome();
  const order = [];
  const room = client.room("r");
  room.on("event", ({ seq }) => {
    order.push(seq);
    if (seq === 1) transport.say(alert("r", 2));
    order.push(-seq);
  });
  transport.live("r");
  transport.say(alert("r", 1));
  assert.deepEqual(order, [1, -1, 2, -2]);
});

test("a transport or a token that fails is told, and tried again", async () => {
  const errors = [];
  const transport = byHand();
  const { open: works } = transport;
  transport.open = () => {
    throw new Error("no transport");
  };
  let [isDown, given] = [false, 0];
  const token = () => {
    if (isDown) throw new Error("no token");
    return `t${(given += 1)}`;
  };
  const client = new Client({ url: "ws://a", token, transport });
  open.push(client);
  client.on("error", ({ message }) => errors.push(message));
  client.connect();
  await settle();
  assert.deepEqual([errors, client.state, client.view.reason.text], [["no transport"], "reconnecting", "Error: no transport"]);
  transport.open = works;
  await pass(500);
  transport.welcome();
  isDown = true;
  transport.last.handlers.onClose(4300, "");
  await pass(1000);
  assert.deepEqual([errors.at(-1), client.view.reason.name], ["no token", "token_failed"]);
  isDown = false;
  await pass(client.view.retryAt - Date.now());
  assert.equal(transport.opened.length, 2);
});

test("the browser's events: online, offline, a page that is shown again; none is heard after close()", async () => {
  globalThis.document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const { client, transport } = await connected();
  transport.last.handlers.onClose(1006, "");
  page.dispatchEvent(new Event("offline"));
  assert.equal(client.view.substate, "offline");
  await pass(1000);
  transport.last.handlers.onClose(1006, "");
  page.dispatchEvent(new Event("online"));
  assert.equal(client.view.substate, null);
  for (let i = 0; i < 6; i++) {
    await pass(30_000);
    transport.last.handlers.onClose(1006, "");
  }
  const { retryAt } = client.view;
  await pass(1500);
  document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(client.view.retryAt, retryAt, "it is hidden");
  const count = transport.opened.length;
  document.visibilityState = "visible";
  document.dispatchEvent(new Event("visibilitychange"));
  await pass(0);
  assert.equal(transport.opened.length, count + 1);
  transport.last.handlers.onClose(1006, "");
  await pass(1500);
  page.dispatchEvent(new Event("pageshow"));
  await pass(0);
  assert.equal(transport.opened.length, count + 2);
  transport.welcome();
  client.close();
  assert.deepEqual([transport.last.isClosed, client.state, client.view.reason.name], [true, "disconnected", "close"]);
  page.dispatchEvent(new Event("offline"));
  await pass(1e6);
  assert.deepEqual([client.state, transport.opened.length], ["disconnected", count + 2]);
});

test("disconnect() keeps the rooms, and connect() goes on where they were", async () => {
  const { client, transport } = await connected();
  const room = client.room("r");
  transport.live("r", 4);
  client.disconnect();
  assert.deepEqual([client.state, room.view.status, transport.last.isClosed], ["disconnected", "stale", true]);
  client.connect();
  await settle();
  transport.welcome();
  assert.deepEqual(transport.find("subscribe").since, { epoch: "e1", seq: { alert: 4, update: 4, metric: 4 } });
});

test("CLI-06: the cache: loaded before a room is asked for, saved a second after a change and at the end; what fails is told", async () => {
  const saved = [];
  let [failure, load] = [null, async () => null];
  const store = {
    load: (name) => load(name),
    save: async (name, kept) => {
      if (failure) throw failure;
      saved.push([name, structuredClone(kept)]);
    },
  };
  const { client, transport } = await connected({ store });
  const errors = [];
  client.on("error", ({ message }) => errors.push(message));
  let give;
  load = () => new Promise((resolve) => (give = resolve));
  client.room("r");
  assert.equal(transport.find("subscribe"), undefined, "it waits for the cache");
  give(null);
  await settle();
  transport.live("r");
  transport.say(alert("r", 1, { event_id: "x" }), state("r", 2, { data: { v: 1 } }));
  await pass(999);
  assert.equal(saved.length, 0);
  await pass(1);
  const [[name, { epoch, seq, states, events, eventIds, user, at, format }]] = saved;
  assert.deepEqual([name, epoch, seq, user, format, at], ["r", "e1", { alert: 1, update: 0, metric: 0 }, "u1", 1, START]);
  assert.deepEqual([states[0][1].data, events.length, eventIds[0][0]], [{ v: 1 }, 1, "x"]);
  failure = new Error("the disk is full");
  transport.say(alert("r", 2));
  await pass(1000);
  assert.deepEqual([errors, saved.length], [["the disk is full"], 1]);
  failure = null;
  transport.say(alert("r", 3));
  client.close();
  await settle();
  assert.equal(saved.at(-1)[1].seq.alert, 3, "not only after a second");

  load = async () => saved[0][1];
  const next = await connected({ store });
  const room = next.client.room("r");
  assert.equal(room.view.status, "loading");
  await settle();
  assert.deepEqual(next.transport.find("subscribe").since, { epoch: "e1", seq: { alert: 1, update: 0, metric: 0 } });
  assert.deepEqual([room.view.staleSince, room.view.isLoading, room.state("EQUITY_UPDATED")], [START, false, { v: 1 }]);
  load = async () => {
    throw new Error("private mode");
  };
  next.client.room("q");
  await settle();
  assert.equal(next.transport.find("subscribe").room, "q", "without the cache, then");
});

// ---- WebSocket -------------------------------------------------------------------------------------------------------

class FakeSocket {
  static made = [];

  constructor(url, protocols) {
    Object.assign(this, { url: String(url), protocols, sent: [], isClosed: false });
    FakeSocket.made.push(this);
  }

  send(text) {
    this.sent.push(text);
  }

  close() {
    this.isClosed = true;
  }
}

test("AUT-02: over WebSocket the token is in the subprotocol, or the query, or neither; a closed one is not heard any more", () => {
  const before = globalThis.WebSocket;
  globalThis.WebSocket = FakeSocket;
  const heard = [];
  const handlers = { onOpen: () => heard.push("open"), onMessage: (text) => heard.push(text), onClose: (...end) => heard.push(...end) };
  const made = (tokenIn) => {
    const connection = webSocket.open({ url: "wss://a/v1/ws?x=1", token: "t", tokenIn }, handlers);
    const { url, protocols } = FakeSocket.made.at(-1);
    return { connection, how: [url, protocols] };
  };
  assert.deepEqual(made("query").how, ["wss://a/v1/ws?x=1&token=t", ["tickerd.v1"]]);
  assert.deepEqual(made("message").how, ["wss://a/v1/ws?x=1", ["tickerd.v1"]]);
  const { connection, how } = made("subprotocol");
  assert.deepEqual(how, ["wss://a/v1/ws?x=1", ["tickerd.v1", "bearer.t"]]);
  const socket = FakeSocket.made.at(-1);
  socket.onopen();
  socket.onmessage({ data: "m" });
  socket.onclose({ code: 1006, reason: "gone" });
  connection.send("s");
  assert.deepEqual([heard, socket.sent], [["open", "m", 1006, "gone"], ["s"]]);
  connection.close();
  assert.deepEqual([socket.isClosed, socket.onopen, socket.onmessage, socket.onclose], [true, null, null, null]);
  globalThis.WebSocket = before;
});

/** Modules are loaded in their own time, which is not the test's. */
async function until(condition) {
  for (let i = 0; !condition(); i++) {
    assert.ok(i < 100_000, String(condition));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("a client that is closed while a module is loaded opens nothing", async () => {
  const transport = byHand();
  const client = connect({ url: "wss://a/v1/ws", token: "t", transport, shared: true });
  await settle();
  client.close();
  await import("../../src/web/client-tabs.js");
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(transport.opened.length, 0);
});

for (const shared of [false, true]) {
  test(`CLI-08: after three attempts that brought nothing it does without WebSocket, unless it is not to${shared ? "; also where tabs cannot share" : ""}`, async () => {
    const before = globalThis.WebSocket;
    const asked = [];
    globalThis.WebSocket = FakeSocket;
    mock.method(globalThis, "fetch", async (url) => {
      asked.push(String(url));
      return new Response('{"messages":[{"type":"welcome","ts":1,"data":{"user":"u9","heartbeat_ms":30000}}]}');
    });
    try {
      for (const fallback of [true, false]) {
        FakeSocket.made.length = 0;
        asked.length = 0;
        const client = connect({ url: "wss://a/v1/ws", token: "t", fallback, shared });
        open.push(client);
        for (let attempt = 1; attempt <= (fallback ? 3 : 5); attempt++) {
          await until(() => FakeSocket.made.length === attempt);
          FakeSocket.made.at(-1).onclose({ code: 1006, reason: "" });
          mock.timers.tick(client.view.retryAt - Date.now());
        }
        await until(() => (fallback ? client.view.user !== null : FakeSocket.made.length === 6));
        if (fallback) assert.deepEqual([FakeSocket.made.length, asked[0], client.view.user, client.view.transport], [3, "https://a/v1/poll", "u9", "sse"]);
        else assert.deepEqual([FakeSocket.made.length, asked], [6, []]);
        client.close();
      }
    } finally {
      globalThis.WebSocket = before;
    }
  });
}
