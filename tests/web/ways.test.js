// Streams, polls and the ladder over them, without a browser: what requests are made, what becomes of the answers. Time is the test's own; with a real browser
// and a real daemon it is fallback.test.js.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { LIMITS, Ladder } from "../../src/web/client-fallback.js";

const START = 1_000_000_000_000;
const URL_OF = "wss://push.example/base/v1/ws";
const WELCOME = { type: "welcome", ts: START, data: { session: "s", user: "u1", heartbeat_ms: 30_000 } };
const lanes = (value) => ({ alert: value, update: value, metric: value });

let asked; // requests that were made
let answers; // what the next ones get: by path, for requests without a room, at once

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: START });
  mock.method(Math, "random", () => 0.5);
  asked = [];
  answers = { poll: () => json({ messages: [WELCOME] }) };
  mock.method(globalThis, "fetch", (url, { method, headers, body, signal }) => {
    const { pathname, searchParams, origin } = new URL(url);
    const request = { path: pathname.replace("/base/v1/", ""), origin, method, token: headers.Authorization, type: headers["Content-Type"], body, signal };
    request.query = Object.fromEntries(searchParams);
    asked.push(request);
    return new Promise((resolve, reject) => {
      const answer = (response) => {
        signal.addEventListener("abort", () => response.abort?.(signal.reason));
        resolve(response);
      };
      Object.assign(request, { answer, fail: reject });
      signal.addEventListener("abort", () => reject(signal.reason));
      const now = !request.query.room && answers[request.path];
      if (now) Promise.resolve().then(now).then(resolve, reject);
    });
  });
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

const json = (value, status = 200) => new Response(JSON.stringify(value), { status });
const refusal = (name, category, status, more) => json({ name, category, code: 1, message: "no", ...more }, status);

/** A stream that is written by hand. */
function stream() {
  let controller;
  let isAborted = false;
  const encoder = new TextEncoder();
  const body = new ReadableStream({ start: (given) => (controller = given) });
  return {
    response: Object.assign(new Response(body), {
      abort: (reason) => {
        isAborted = true;
        controller.error(reason);
      },
    }),
    write: async (text) => {
      if (!isAborted) controller.enqueue(encoder.encode(text));
      await settle();
    },
    end: async () => {
      if (!isAborted) controller.close();
      await settle();
    },
  };
}

const event = (message, id) => `${id ? `id: ${id}\n` : ""}data: ${JSON.stringify(message)}\n\n`;

async function settle() {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(ms) {
  mock.timers.tick(ms);
  await settle();
}

/** A transport under the ladder, in place of WebSocket: the test says what becomes of each attempt. */
function sockets() {
  const made = [];
  return {
    made,
    open(to, handlers) {
      const socket = { to, handlers, sent: [], isClosed: false };
      made.push(socket);
      return { send: (text) => socket.sent.push(JSON.parse(text)), close: () => (socket.isClosed = true) };
    },
  };
}

/** Opens the ladder's present way, and notes what is heard of it. */
async function open(ladder, more = {}) {
  const heard = { messages: [], closed: [], opens: 0 };
  const handlers = { onOpen: () => (heard.opens += 1), onMessage: (text) => heard.messages.push(JSON.parse(text)), onClose: (...end) => heard.closed.push(end) };
  const connection = ladder.open({ url: URL_OF, token: "t1", tokenIn: "subprotocol", misses: 3, ...more }, handlers);
  await settle();
  heard.take = () => heard.messages.splice(0);
  heard.send = async (message) => {
    connection.send(JSON.stringify(message));
    await settle();
  };
  heard.connection = connection;
  return heard;
}

/** A connection by streams, welcomed. */
async function bySse(options) {
  const heard = await open(new Ladder(sockets()), options);
  assert.deepEqual([heard.opens, heard.take()], [1, [WELCOME]]);
  return heard;
}

/** A connection by polls, welcomed. */
async function byPoll(expires_at) {
  const ladder = new Ladder(sockets());
  answers.poll = () => json({ messages: [{ ...WELCOME, data: { ...WELCOME.data, expires_at } }] });
  const first = await open(ladder);
  await first.send({ type: "subscribe", id: 1, room: "r" });
  asked.at(-1).fail(new Error("blocked"));
  await settle();
  assert.deepEqual([first.connection.kind, first.closed[0][0]], ["sse", 1006]);
  // The introduction proves nothing: the way has brought no message of a room.
  const heard = await open(ladder);
  assert.equal(heard.connection.kind, "poll");
  heard.take();
  asked.length = 0;
  return heard;
}

const last = (path) => asked.findLast((request) => request.path === path && request.query.room);
const subscribed = (room, more) => ({ type: "subscribed", room, epoch: "e1", from: lanes(1), seq: lanes(0), ...more });

test("who we are is asked first, with the token in the header and never in the address", async () => {
  const heard = await bySse();
  const [{ path, origin, method, token, query, type }] = asked;
  assert.deepEqual([asked.length, path, origin, method, token, query, type], [1, "poll", "https://push.example", "GET", "Bearer t1", {}, undefined]);
  assert.equal(heard.connection.kind, "sse");
  await heard.send({ type: "auth", token: "t1" });
  assert.deepEqual([asked.length, heard.take()], [1, []], "the first message of a socket");
});

test("a stream: from the position, the answer with the command's id, events as they come, however they are cut", async () => {
  const heard = await bySse();
  await heard.send({ type: "subscribe", id: 7, room: "r", since: { epoch: "e1", seq: { alert: 1, update: 2, metric: 3 } }, history: 4, delta: true });
  assert.deepEqual([last("events").query, last("events").token], [{ room: "r", since: "e1:alert.1,update.2,metric.3", history: "4" }, "Bearer t1"]);
  const { response, write } = stream();
  last("events").answer(response);
  await write(event(WELCOME) + event(subscribed("r")));
  const text = event({ type: "note", room: "r", seq: 2, data: "a\\nb" }, "e1:alert.2");
  await write(text.slice(0, 20));
  await write(text.slice(20));
  await write(event(subscribed("r")) + event({ type: "heartbeat", ts: 1 }));
  assert.deepEqual(heard.take(), [{ ...subscribed("r"), id: 7 }, { type: "note", room: "r", seq: 2, data: "a\\nb" }, { type: "heartbeat", ts: 1 }]);
  assert.deepEqual(heard.closed, []);
});

test("a room without a position asks for none; one that is left is read no more; one that is asked for again is read anew", async () => {
  const heard = await bySse();
  await heard.send({ type: "subscribe", id: 1, room: "r" });
  const first = last("events");
  assert.deepEqual(first.query, { room: "r" });
  const { response, write } = stream();
  first.answer(response);
  await write(event(subscribed("r")));
  await heard.send({ type: "subscribe", id: 2, room: "r" });
  assert.ok(first.signal.aborted);
  await write(event({ type: "note", room: "r", seq: 1 }));
  await heard.send({ type: "unsubscribe", id: 3, room: "r" });
  assert.ok(last("events").signal.aborted);
  await heard.send({ type: "unsubscribe", id: 4, room: "never" });
  assert.deepEqual(heard.take(), [{ ...subscribed("r"), id: 1 }, { type: "ok", id: 3 }, { type: "ok", id: 4 }]);
  assert.deepEqual(heard.closed, []);
});

test("a stream that ends or says nothing ends the connection; the server's notice is told once, and says why", async () => {
  const silent = await bySse();
  await silent.send({ type: "subscribe", id: 1, room: "r" });
  last("events").answer(stream().response);
  await settle();
  await pass(LIMITS.streamMs - 1);
  assert.deepEqual(silent.closed, []);
  await pass(1);
  assert.deepEqual(silent.closed, [[1006, "the stream says nothing"]]);

  const ended = await bySse();
  await ended.send({ type: "subscribe", id: 1, room: "r" });
  const quiet = stream();
  last("events").answer(quiet.response);
  await quiet.write(event(subscribed("r")));
  await pass(10 * LIMITS.streamMs);
  assert.deepEqual(ended.closed, [], "once it has said something it may be quiet");
  await quiet.end();
  assert.deepEqual(ended.closed, [[1006, "the stream has ended"]]);

  const noticed = await bySse();
  const streams = [];
  for (const [i, room] of ["a", "b"].entries()) {
    await noticed.send({ type: "subscribe", id: i, room });
    streams.push(stream());
    last("events").answer(streams[i].response);
  }
  const notice = { type: "disconnect", code: 4101, reason: "shutdown", after_ms: 5 };
  for (const { write } of streams) await write(event(notice));
  for (const { end } of streams) await end();
  assert.deepEqual([noticed.closed, noticed.take()[0]], [[[4101, "shutdown"]], notice]);
});

test("polls: from the cursor on, until there is no more; then live; nothing is a sign of life", async () => {
  const heard = await byPoll();
  await heard.send({ type: "subscribe", id: 5, room: "r", history: 2 });
  assert.deepEqual(last("poll").query, { room: "r", history: "2", timeout_ms: String(LIMITS.pollMs) });
  const next = async (answer) => {
    last("poll").answer(json(answer));
    await settle();
    return heard.take();
  };
  const note = (seq) => ({ type: "note", room: "r", seq });
  assert.deepEqual(await next({ messages: [WELCOME, subscribed("r"), note(1)], cursor: "c1", more: true }), [{ ...subscribed("r"), id: 5 }, note(1)]);
  assert.equal(last("poll").query.since, "c1");
  assert.deepEqual(await next({ messages: [note(2)], cursor: "c2", more: false }), [note(2), { type: "caught_up", room: "r" }]);
  assert.deepEqual(await next({ messages: [note(3)], cursor: "c3", more: false }), [note(3)]);
  assert.deepEqual(await next({ messages: [], cursor: "c3", more: false }), [{ type: "heartbeat", queued: 0 }]);
  const waiting = last("poll");
  await heard.send({ type: "unsubscribe", id: 6, room: "r" });
  assert.deepEqual([waiting.signal.aborted, heard.take()], [true, [{ type: "ok", id: 6 }]]);
  assert.equal(asked.length, 5, "it polls no more");
  await heard.send({ type: "subscribe", id: 7, room: "q" });
  assert.deepEqual(await next({}), []);
  assert.equal(heard.closed[0][0], 1006, "what is no answer");
});

test("three rooms at a time; those beyond take turns, a moment apart", async () => {
  const heard = await byPoll();
  for (const [id, room] of ["a", "b", "c", "d", "e"].entries()) await heard.send({ type: "subscribe", id, room });
  const open = () => asked.filter((request) => !request.isDone).map(({ query }) => `${query.room} ${query.timeout_ms}`);
  assert.deepEqual(open(), ["a 25000", "b 25000", "c 25000", "d 0"]);
  const done = async (room) => {
    const request = asked.find((each) => each.query.room === room && !each.isDone);
    request.isDone = true;
    request.answer(json({ messages: [subscribed(room)], cursor: "c", more: false }));
    await settle();
  };
  await done("d");
  assert.deepEqual(open().slice(3), ["e 0"]);
  await done("e");
  assert.deepEqual(open().slice(3), []);
  await pass(LIMITS.pauseMs - 1);
  assert.deepEqual(open().slice(3), []);
  await pass(1);
  assert.deepEqual(open().slice(3), ["d 0"]);
  await done("d");
  assert.deepEqual(open().slice(3), ["e 0"]);
  // Whoever leaves makes place.
  await heard.send({ type: "unsubscribe", id: 9, room: "a" });
  await heard.send({ type: "subscribe", id: 10, room: "f" });
  assert.ok(open().includes("f 25000"));
  await heard.send({ type: "unsubscribe", id: 11, room: "e" });
  await pass(LIMITS.pauseMs);
  await pass(LIMITS.pauseMs);
  assert.equal(open().filter((each) => each === "e 0").length, 1, "who is left is not asked for again");
});

test("commands are requests, their answers come as over a socket", async () => {
  const heard = await bySse();
  await heard.send({ type: "ping", id: 1 });
  assert.deepEqual([asked.at(-1).path, asked.at(-1).query, heard.take()], ["poll", {}, [{ type: "ok", id: 1 }]]);

  await heard.send({ type: "snapshot", id: 2, room: "r" });
  assert.deepEqual(last("poll").query, { room: "r", history: "0" });
  last("poll").answer(json({ messages: [subscribed("r"), { type: "s", room: "r", key: "k", rev: 3, data: 1 }, { type: "note", room: "r", seq: 1 }] }));
  await settle();
  assert.deepEqual(heard.take(), [{ type: "ok", id: 2 }, { type: "s", room: "r", key: "k", rev: 3, data: 1 }, { type: "caught_up", room: "r" }]);

  answers.ack = () => json({ ok: true });
  await heard.send({ type: "ack", id: 3, event_id: "n1" });
  const { path, method, query, type } = asked.at(-1);
  assert.deepEqual([path, method, query, type, heard.take()], ["ack", "POST", { event_id: "n1" }, undefined, [{ type: "ok", id: 3 }]]);
  await heard.send({ type: "ack", event_id: "n2" });
  assert.deepEqual([asked.at(-1).query.event_id, heard.take()], ["n2", []]);
  await heard.send({ type: "ack", room: "r", lane: "alert", seq: 1 });
  const [{ name, code, category }] = heard.take();
  assert.deepEqual([name, code, category], ["bad_state", 302, "protocol"]);

  answers.publish = () => json({ ok: true, id: 4, seq: 9 });
  await heard.send({ type: "RISK_ALERT", id: 4, data: { n: 1 } });
  const publish = asked.at(-1);
  assert.deepEqual([publish.path, publish.method, publish.type, JSON.parse(publish.body)], ["publish", "POST", "application/json", { type: "RISK_ALERT", id: 4, data: { n: 1 } }]);
  assert.deepEqual(heard.take(), [{ ok: true, id: 4, seq: 9 }]);
});

test("a refused command is an error, and nothing else; refused joins are denied", async () => {
  const heard = await bySse();
  answers.publish = () => refusal("unknown_event", "validation", 400);
  await heard.send({ type: "what", id: 1, data: 1 });
  await heard.send({ type: "subscribe", id: 2, room: "r" });
  last("events").answer(refusal("access_denied", "permission", 403));
  await settle();
  await heard.send({ type: "subscribe", id: 3, room: "q" });
  last("events").answer(refusal("rate_limited", "rate", 429, { retry_after_ms: 70 }));
  await settle();
  assert.deepEqual(heard.take().map(({ type, id, name, category, retry_after_ms: after }) => [type, id, name, category, after]), [
    ["error", 1, "unknown_event", "validation", undefined],
    ["error", 2, "access_denied", "permission", undefined],
    ["error", 3, "rate_limited", "rate", 70],
  ]);
  assert.deepEqual([heard.closed, heard.connection.kind], [[], "sse"]);
  await heard.send({ type: "subscribe", id: 4, room: "s" });
  assert.equal(last("events").query.room, "s", "a denied room takes no place");
});

test("what concerns the connection ends it, with the code that a socket would have", async () => {
  const ends = [
    [() => refusal("token_expired", "auth", 401), 4300],
    [() => refusal("token_revoked", "auth", 401), 4301],
    [() => refusal("invalid_token", "auth", 401), 4001],
    [() => refusal("overloaded", "rate", 429), 4100],
    [() => refusal("draining", "server", 503), 4100],
    [() => refusal("authorizer_down", "upstream", 503), 4100],
    [() => refusal("bad_request", "protocol", 400), 1006],
    [() => new Response("Bad Gateway", { status: 502 }), 1006],
    [() => json({ error: "a proxy's" }, 403), 1006],
    [() => Promise.reject(new Error("refused")), 1006],
    [() => new Response("<html>"), 1006],
  ];
  for (const [answer, code] of ends) {
    answers.poll = answer;
    const heard = await open(new Ladder(sockets()));
    assert.deepEqual([heard.opens, heard.closed.map(([each]) => each), heard.take()], [0, [code], []]);
  }
  answers.poll = () => refusal("overloaded", "rate", 429, { retry_after_ms: 700 });
  const waiting = await open(new Ladder(sockets()));
  assert.deepEqual([waiting.take(), waiting.closed[0][0]], [[{ type: "disconnect", code: 4100, after_ms: 700 }], 4100]);
  // A room that was joined already, and its token ends.
  answers.poll = () => json({ messages: [WELCOME] });
  const polling = await byPoll();
  await polling.send({ type: "subscribe", id: 1, room: "r" });
  last("poll").answer(json({ messages: [subscribed("r")], cursor: "c", more: false }));
  await settle();
  last("poll").answer(refusal("access_denied", "permission", 403));
  await settle();
  assert.equal(polling.closed.length, 1);
  polling.take();
  await polling.send({ type: "ping", id: 9 });
  assert.deepEqual([polling.take(), polling.closed.length], [[], 1], "once");
});

test("AUT-06: a new token is tried, and then the streams go on with it where they were", async () => {
  const heard = await bySse();
  await heard.send({ type: "subscribe", id: 1, room: "r", since: { epoch: "e1", seq: lanes(1) } });
  const { response, write } = stream();
  last("events").answer(response);
  await write(event(subscribed("r")) + event({ type: "note", room: "r", seq: 2 }, "e1:alert.2"));
  heard.take();
  await heard.send({ type: "auth", id: 2, token: "t2" });
  const introduced = asked.findLast(({ path }) => path === "poll");
  assert.deepEqual([introduced.token, last("events").token, last("events").query.since], ["Bearer t2", "Bearer t2", "e1:alert.2"]);
  assert.deepEqual([heard.take(), heard.closed], [[{ type: "ok", id: 2 }], []]);
  const again = stream();
  last("events").answer(again.response);
  await again.write(event(subscribed("r")) + event({ type: "note", room: "r", seq: 3 }));
  assert.deepEqual(heard.take(), [{ type: "note", room: "r", seq: 3 }]);
  answers.poll = () => refusal("invalid_token", "auth", 401);
  await heard.send({ type: "auth", id: 3, token: "bad" });
  assert.equal(heard.closed[0][0], 4001);
});

test("polls tell by themselves when the token is about to end; streams leave that to the server", async () => {
  const heard = await byPoll(START / 1000 + 100);
  await pass(40_000 - 1);
  assert.deepEqual(heard.take(), []);
  await pass(1);
  assert.deepEqual(heard.take(), [{ type: "auth_expiring" }]);
  answers.poll = () => json({ messages: [{ ...WELCOME, ts: Date.now(), data: { expires_at: START / 1000 + 200 } }] });
  await heard.send({ type: "auth", id: 1, token: "t2" });
  await pass(100_000 - 1);
  assert.deepEqual(heard.take(), [{ type: "ok", id: 1 }]);
  await pass(1);
  assert.deepEqual(heard.take(), [{ type: "auth_expiring" }]);
  heard.connection.close();
  answers.poll = () => json({ messages: [{ ...WELCOME, data: { expires_at: START / 1000 + 100 } }] });
  const late = await open(new Ladder(sockets()));
  late.take();
  await pass(50_000);
  assert.deepEqual(late.take(), []);
});

test("close() ends all that waits, and nothing is heard after it", async () => {
  const heard = await bySse();
  await heard.send({ type: "subscribe", id: 1, room: "r" });
  await heard.send({ type: "ping", id: 2 });
  heard.take();
  heard.connection.close();
  await settle();
  assert.ok(last("events").signal.aborted);
  await pass(1e6);
  assert.deepEqual([heard.closed, heard.take(), asked.length], [[], [], 3]);
});

test("who is closed before its first answer is read never opens", async () => {
  let give;
  answers.poll = () => ({ ok: true, json: () => new Promise((resolve) => (give = resolve)) });
  const heard = await open(new Ladder(sockets()));
  heard.connection.close();
  give({ messages: [WELCOME] });
  await settle();
  assert.deepEqual([heard.opens, heard.take(), heard.closed], [0, [], []]);
});

// ---- the ladder ------------------------------------------------------------------------------------------------------

/** An attempt at the ladder's present way that comes to nothing; returns the way. */
async function failing(ladder, socketsOf) {
  answers.poll = () => Promise.reject(new Error("blocked"));
  const before = socketsOf.made.length;
  const { connection, closed } = await open(ladder);
  if (socketsOf.made.length > before) socketsOf.made.at(-1).handlers.onClose(1006, "");
  await settle();
  assert.equal(closed.length, 1);
  return connection.kind;
}

test("CLI-08: a way that never worked is left at once, WebSocket after three attempts; round and round", async () => {
  const under = sockets();
  const ladder = new Ladder(under);
  const ways = [];
  for (let i = 0; i < 8; i++) ways.push(await failing(ladder, under));
  assert.deepEqual(ways, ["sse", "poll", "websocket", "websocket", "websocket", "sse", "poll", "websocket"]);
});

test("CLI-08: a way that has worked gets three attempts too; the server's own word is no miss", async () => {
  const under = sockets();
  const ladder = new Ladder(under);
  const works = await open(ladder);
  await works.send({ type: "subscribe", id: 1, room: "r" });
  const first = stream();
  last("events").answer(first.response);
  await first.write(event(subscribed("r")));
  await first.end();
  answers.poll = () => refusal("draining", "server", 503);
  for (let i = 0; i < 5; i++) assert.equal((await open(ladder)).connection.kind, "sse");
  const ways = [];
  for (let i = 0; i < 4; i++) ways.push(await failing(ladder, under));
  assert.deepEqual(ways, ["sse", "sse", "sse", "poll"]);
});

for (const tokenIn of ["subprotocol", "message"]) {
  test(`CLI-08: once a minute a better way is tried; if one brings a message, the connection ends with "come back at once" (${tokenIn})`, async () => {
    const under = sockets();
    const ladder = new Ladder(under);
    const heard = await open(ladder, { tokenIn });
    await heard.send({ type: "auth", id: 1, token: "t2" });
    await pass(LIMITS.climbMs - 1);
    assert.equal(under.made.length, 0);
    await pass(1);
    assert.deepEqual([under.made.length, under.made[0].to.token], [1, "t2"], "with the token of now");
    under.made[0].handlers.onOpen();
    assert.deepEqual(under.made[0].sent, tokenIn === "message" ? [{ type: "auth", token: "t2" }] : []);
    await pass(LIMITS.probeMs);
    assert.deepEqual([under.made[0].isClosed, heard.closed], [true, []], "open alone says nothing");
    await pass(LIMITS.climbMs);
    under.made[1].handlers.onClose(1006, "");
    await settle();
    await pass(LIMITS.climbMs);
    under.made[2].handlers.onMessage(JSON.stringify(WELCOME));
    await settle();
    assert.deepEqual([heard.closed[0][0], under.made[2].isClosed], [4299, true]);
    const next = await open(ladder, { tokenIn });
    assert.deepEqual([next.connection.kind, under.made.length], ["websocket", 4]);
    under.made[3].handlers.onMessage(JSON.stringify(WELCOME));
    await pass(10 * LIMITS.climbMs);
    assert.equal(under.made.length, 4, "there is no better one");
  });
}

test("CLI-08: from polls, streams are tried with a room of the page's: that requests are answered proves nothing", async () => {
  const heard = await byPoll();
  await heard.send({ type: "subscribe", id: 1, room: "r" });
  await pass(LIMITS.climbMs);
  await pass(LIMITS.probeMs); // for WebSocket, which says nothing
  assert.deepEqual(last("events").query, { room: "r" });
  await pass(LIMITS.probeMs);
  assert.deepEqual(heard.closed, []);
  await pass(LIMITS.climbMs);
  await pass(LIMITS.probeMs);
  const { response, write } = stream();
  last("events").answer(response);
  await write(event(subscribed("r")));
  assert.equal(heard.closed[0][0], 4299);
});

test("a connection that is closed does not climb", async () => {
  const under = sockets();
  const heard = await open(new Ladder(under));
  heard.connection.close();
  await pass(10 * LIMITS.climbMs);
  assert.deepEqual([under.made.length, heard.closed], [0, []]);
});
