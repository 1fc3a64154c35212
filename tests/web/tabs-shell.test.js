// Who leads, and what tabs say to each other, without a browser: real channels, locks and tabs of the test's own making. In a real browser it is
// tabs-browser.test.js.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { afterEach, beforeEach, mock, test } from "node:test";

import { UNREAD_MAX } from "../../src/web/client-relay.js";
import { LIMITS, Tabs } from "../../src/web/client-tabs.js";

const URL_OF = "wss://push.example/v1/ws";
const WELCOME = { type: "welcome", ts: 1, data: { session: "s", user: "u1", heartbeat_ms: 30_000, limits: { rooms: 2 } } };
const MOVED = 4299;

/** Web Locks, of one process. */
class Locks {
  held = new Map();
  waiting = [];

  request(name, options, callback) {
    const { signal, steal } = callback ? options : {};
    return new Promise((resolve, reject) => {
      const wish = { name, callback: callback ?? options, resolve, reject };
      signal?.addEventListener("abort", () => {
        if (!this.waiting.includes(wish)) return;
        this.waiting = this.waiting.filter((other) => other !== wish);
        reject(signal.reason);
      });
      if (steal && this.held.has(name)) {
        this.held.get(name).reject(new DOMException("stolen", "AbortError"));
        this.held.delete(name);
      }
      if (steal) this.waiting.unshift(wish);
      else this.waiting.push(wish);
      setImmediate(() => this.grant());
    });
  }

  grant() {
    for (const wish of [...this.waiting]) {
      if (this.held.has(wish.name)) continue;
      this.waiting = this.waiting.filter((other) => other !== wish);
      this.held.set(wish.name, wish);
      const isOver = () => {
        if (this.held.get(wish.name) === wish) this.held.delete(wish.name);
        wish.resolve();
        this.grant();
      };
      Promise.resolve(wish.callback()).then(isOver);
    }
  }
}

let locks;
let all; // tabs, to be closed
const channels = []; // of the test
const page = new EventTarget();

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
  mock.method(crypto.subtle, "digest", async (_, bytes) => createHash("sha256").update(bytes).digest()); // the real one takes its own time
  locks = new Locks();
  all = [];
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  globalThis.document = page;
  globalThis.addEventListener = page.addEventListener.bind(page);
});
afterEach(async () => {
  for (const { close } of all) close();
  for (const channel of channels.splice(0)) channel.close();
  await settle();
  mock.timers.reset();
  mock.restoreAll();
  for (const name of ["navigator", "document", "addEventListener"]) delete globalThis[name];
});

async function settle() {
  for (let i = 0; i < 40; i++) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(ms) {
  mock.timers.tick(ms);
  await settle();
}

const tokenOf = (claims) => `x.${Buffer.from(JSON.stringify({ sub: "u1", ...claims })).toString("base64url")}.x`;

/** A tab; what its client would be told is in `heard` and `closed`, its connections to the server in `made`. */
function tab(claims = {}) {
  const it = { claims, made: [], heard: [], closed: [], opens: 0 };
  const direct = {
    open(to, handlers) {
      const socket = { to, handlers, sent: [], isClosed: false, say: (message) => handlers.onMessage(JSON.stringify(message)) };
      it.made.push(socket);
      return { send: (text) => socket.sent.push(JSON.parse(text)), close: () => (socket.isClosed = true) };
    },
  };
  const tabs = new Tabs(direct, false);
  it.open = async () => {
    const handlers = { onOpen: () => (it.opens += 1), onMessage: (text) => it.heard.push(JSON.parse(text)), onClose: (code) => it.closed.push(code) };
    it.connection = tabs.open({ url: URL_OF, token: tokenOf(claims), tokenIn: it.tokenIn ?? "subprotocol", misses: 0 }, handlers);
    await settle();
    return it;
  };
  it.send = async (message) => {
    it.connection.send(JSON.stringify(message));
    await settle();
  };
  it.welcome = async () => {
    it.made.at(-1).handlers.onOpen();
    it.made.at(-1).say(WELCOME);
    await settle();
    return it;
  };
  it.close = () => it.connection?.close();
  all.push(it);
  return it;
}

/** So many tabs, the first of which leads; all have said what they want, which is nothing. */
async function sharing(count) {
  const tabs = [];
  for (let i = 0; i < count; i++) tabs.push(await tab({ iat: i, nbf: i, exp: 100 + i }).open());
  await tabs[0].welcome();
  for (const each of tabs) await each.send({ type: "ping", id: 1 });
  for (const each of tabs) each.heard.length = 0;
  return tabs;
}

const nameOf = () => [...locks.held.keys()].find((name) => name.split(" ").length === 2);

test("one leads and opens the connection, the others follow; each hears the welcome with its own token's end", async () => {
  const tabs = await sharing(3);
  assert.deepEqual(tabs.map(({ made, opens, closed }) => [made.length, opens, closed.length]), [[1, 1, 0], [0, 1, 0], [0, 1, 0]]);
  const late = await tab({ exp: 777 }).open();
  assert.deepEqual(late.heard[0].data, { ...WELCOME.data, expires_at: 777 });
  assert.equal(late.connection.kind, undefined);
  await tabs[2].send({ type: "note", id: 5, data: 1 });
  const { id } = tabs[0].made[0].sent.at(-1);
  tabs[0].made[0].say({ ok: true, id, seq: 1 });
  tabs[0].made[0].say({ type: "heartbeat", ts: 1, queued: 0 });
  await settle();
  assert.deepEqual(tabs[2].heard, [{ ok: true, id: 5, seq: 1 }, { type: "heartbeat", ts: 1, queued: 0 }]);
  assert.deepEqual(tabs[1].heard, [{ type: "heartbeat", ts: 1, queued: 0 }]);
});

test("the token as a first message is said by whoever opens a connection, once", async () => {
  const leader = tab();
  leader.tokenIn = "message";
  await leader.open();
  leader.made[0].handlers.onOpen();
  assert.deepEqual(leader.made[0].sent, [{ type: "auth", token: tokenOf({}) }]);
  leader.made[0].say(WELCOME);
  await leader.send({ type: "auth", token: tokenOf({}) });
  assert.equal(leader.made[0].sent.length, 1);
});

test("the leader goes: the others' connections end, with resume; the first in the queue leads", async () => {
  const [leader, heir, third] = await sharing(3);
  leader.connection.close();
  await settle();
  assert.ok(leader.made[0].isClosed);
  assert.deepEqual([leader.closed, heir.closed, third.closed], [[], [MOVED], [MOVED]]);
  await third.open();
  await heir.open();
  assert.deepEqual([heir.made.length + third.made.length], [1]);
  const next = heir.made.length ? heir : third;
  await next.welcome();
  assert.deepEqual([heir.opens, third.opens], [2, 2]);
});

test("a leader that is gone without a word: its lock falls to the next, which has it when it comes back, or gives it up", async () => {
  for (const comesBack of [true, false]) {
    const [leader, heir, third] = await sharing(3);
    locks.held.get(nameOf()).reject(new DOMException("crashed", "AbortError"));
    locks.held.delete(nameOf());
    leader.connection.send = () => {};
    locks.grant();
    await settle();
    assert.deepEqual(heir.closed, [MOVED], "it has the lock now");
    if (comesBack) {
      await heir.open();
      assert.equal(heir.made.length, 1);
      assert.equal(third.closed[0], MOVED, "another leads");
    } else {
      await third.open();
      await pass(LIMITS.inheritMs - 1);
      assert.equal(third.made.length, 0);
      await pass(1);
      assert.equal(third.made.length, 1);
    }
    for (const each of [leader, heir, third]) each.close();
    await settle();
  }
});

function channelOf(name) {
  channels.push(new BroadcastChannel(name));
  return channels.at(-1);
}

test("a lock that was lost before its heir came back is not worth anything, nor is one that other tokens share", async () => {
  for (const isStolen of [true, false]) {
    const [leader, heir] = await sharing(2);
    const name = nameOf();
    leader.close();
    await settle();
    assert.ok(locks.held.has(name));
    if (isStolen) locks.request(name, { steal: true }, () => new Promise(() => {})).catch(() => {});
    else heir.claims.sub = "u2";
    await settle();
    await heir.open();
    assert.equal(heir.made.length, isStolen ? 0 : 1);
    assert.equal(locks.held.has(name), isStolen);
    heir.close();
    await settle();
    if (isStolen) locks.held.delete(name);
  }
});

/** A leader that is there and says nothing: it froze without having been told. */
async function frozenLeader() {
  const probe = await tab().open();
  const name = nameOf();
  probe.close();
  await settle();
  const lost = locks.request(name, {}, () => new Promise(() => {})).catch(() => "lost");
  await settle();
  const common = channelOf(name);
  const heard = [];
  common.onmessage = ({ data }) => data.isHello && common.postMessage({ leader: { id: "frozen", since: 1 } });
  const up = channelOf(`${name} frozen`);
  up.onmessage = ({ data }) => heard.push(data);
  return { heard, lost, name, answer: (tab) => channelOf(`${name} ${tab}`) };
}

test("a leader that does not answer is asked, and then replaced; one that answers is not", async () => {
  const frozen = await frozenLeader();
  const follower = await tab().open();
  assert.deepEqual(frozen.heard.map(({ isOpen }) => isOpen), [true]);
  const answers = frozen.answer(frozen.heard[0].tab);
  const questions = () => frozen.heard.filter(({ isQuestion }) => isQuestion).length;
  for (let i = 1; i <= 6; i++) {
    await pass(LIMITS.watchMs);
    assert.equal(questions(), Math.floor(i / 2));
    if (i % 2 === 0) answers.postMessage({});
    await settle();
  }
  assert.deepEqual(follower.closed, []);
  for (let i = 0; i < LIMITS.missesUntilTaken; i++) await pass(LIMITS.watchMs);
  assert.deepEqual(follower.closed, []);
  await pass(LIMITS.watchMs);
  assert.deepEqual([follower.closed, await frozen.lost], [[MOVED], "lost"]);
  await follower.open();
  assert.equal(follower.made.length, 1, "it leads");
});

test("a lock that nobody speaks for is taken too; whoever loses its lead lets go of the connection", async () => {
  const leader = await (await tab().open()).welcome();
  const name = nameOf();
  locks.request(name, { steal: true }, () => new Promise(() => {})).catch(() => {});
  await settle();
  assert.deepEqual([leader.closed, leader.made[0].isClosed], [[MOVED], true]);
  const next = await tab().open();
  assert.equal(next.made.length, 0, "somebody holds the lock");
  for (let i = 0; i < LIMITS.missesUntilTaken; i++) await pass(LIMITS.watchMs);
  assert.equal(next.made.length, 0);
  await pass(LIMITS.watchMs);
  assert.equal(next.made.length, 1);
});

test("an older leader that wakes up is not followed, a newer one is", async () => {
  const frozen = await frozenLeader();
  const follower = await tab().open();
  const common = channelOf(frozen.name);
  common.postMessage({ leader: { id: "older", since: 0 } });
  await settle();
  assert.deepEqual(follower.closed, []);
  common.postMessage({ leader: { id: "newer", since: 2 } });
  await settle();
  assert.deepEqual(follower.closed, [MOVED]);
});

/** A tab that speaks for itself. */
async function strangerTo(leader, id = "stranger") {
  const name = nameOf();
  const common = channelOf(name);
  const down = channelOf(`${name} ${id}`);
  const it = { heard: [] };
  down.onmessage = ({ data }) => it.heard.push(data);
  const up = await new Promise((resolve) => {
    common.onmessage = ({ data }) => data.leader && resolve(channelOf(`${name} ${data.leader.id}`));
    common.postMessage({ isHello: true });
  });
  locks.request(`${name} ${id}`, {}, () => new Promise((resolve) => (it.leave = resolve)));
  await settle();
  it.say = async (message) => {
    up.postMessage({ tab: id, ...message });
    await settle();
  };
  await it.say({ isOpen: true });
  await it.say({ text: '{"type":"subscribe","id":1,"room":"r"}' });
  await it.say({ text: '{"type":"ping","id":2}' });
  await leader.send({ type: "ping", id: 1 });
  const asked = leader.made[0].sent.find(({ type }) => type === "subscribe");
  const lanes = { alert: 1, update: 1, metric: 1 };
  leader.made[0].say({ type: "subscribed", id: asked.id, room: "r", epoch: "e", from: lanes, seq: lanes });
  return it;
}

test("a tab that does not read is let go, one that says what it has read is not; one that dies is forgotten", async () => {
  const leader = await (await tab().open()).welcome();
  const lazy = await strangerTo(leader);
  const note = { type: "note", room: "r", lane: "alert", seq: 1, data: "x".repeat(UNREAD_MAX / 4) };
  const unread = () => lazy.heard.reduce((sum, { text }) => sum + (text?.length ?? 0), 0);
  for (let i = 0; i < 3; i++) leader.made[0].say(note);
  await settle();
  await lazy.say({ read: unread() });
  for (let i = 0; i < 3; i++) leader.made[0].say(note);
  await settle();
  assert.equal(lazy.heard.at(-1).closed, undefined);
  await lazy.say({ isQuestion: true });
  assert.deepEqual(lazy.heard.at(-1), {}, "it is there");
  leader.made[0].say(note);
  await settle();
  assert.deepEqual(lazy.heard.at(-1).closed[0], 4103);
  assert.equal(leader.made[0].sent.at(-1).type, "unsubscribe");

  const mortal = await strangerTo(leader, "mortal");
  mortal.leave();
  await settle();
  assert.equal(leader.made[0].sent.filter(({ type }) => type === "unsubscribe").length, 2);
});

test("a tab that follows says what it has read", async () => {
  const frozen = await frozenLeader();
  const follower = await tab().open();
  const down = frozen.answer(frozen.heard[0].tab);
  const half = JSON.stringify({ type: "heartbeat", x: "x".repeat(LIMITS.readEvery / 2) });
  down.postMessage({ text: JSON.stringify(WELCOME), isLeader: false, kind: "sse" });
  down.postMessage({ text: half, kind: "sse" });
  await settle();
  assert.equal(frozen.heard.length, 1);
  down.postMessage({ text: half, kind: "sse" });
  await settle();
  assert.deepEqual([frozen.heard.at(-1).read, follower.connection.kind], [2 * half.length + JSON.stringify(WELCOME).length, "sse"]);
  down.postMessage({ text: half, kind: "sse" });
  await settle();
  assert.equal(frozen.heard.length, 2);
});

test("how the connection ends is said to all; nobody leads after that", async () => {
  const [leader, follower, third] = await sharing(3);
  leader.made[0].handlers.onClose(4101, "shutdown");
  await settle();
  assert.deepEqual([leader.closed, third.closed], [[4101], [4101]]);
  // To the next in the queue the leader's word, or its lock: whichever is here first. When to come back the server has said to all.
  assert.ok([4101, MOVED].includes(follower.closed[0]) && follower.closed.length === 1);
  await follower.open();
  assert.equal(follower.made.length, 1);
  follower.close();
  assert.ok(follower.made[0].isClosed);
});

test("a token that says another thing parts them: the leader keeps what it has; one that says the same does not", async () => {
  const [leader, follower] = await sharing(2);
  await leader.send({ type: "auth", id: 2, token: tokenOf({ exp: 999, iat: 1 }) });
  assert.deepEqual([follower.closed, leader.made[0].sent.at(-1).type], [[], "auth"]);
  await follower.send({ type: "subscribe", id: 3, room: "theirs" });
  await leader.send({ type: "auth", id: 3, token: tokenOf({ rooms: ["other"] }) });
  assert.equal(leader.made[0].sent.findLast(({ room }) => room === "theirs").type, "unsubscribe");
  assert.deepEqual([leader.closed, follower.closed, leader.made[0].isClosed, leader.made[0].sent.at(-1).token], [[], [MOVED], false, tokenOf({ rooms: ["other"] })]);
  await follower.open();
  assert.equal(follower.made.length, 1, "it leads who is left");
  await follower.welcome();
  const third = await tab().open();
  await third.send({ type: "auth", id: 2, token: tokenOf({ jti: "x" }) });
  assert.deepEqual([third.closed, follower.closed], [[MOVED], [MOVED]]);
});

test("where locks or channels are there and may not be used, each tab has its own connection", async () => {
  const { BroadcastChannel } = globalThis;
  const refuse = () => {
    throw new DOMException("sandboxed", "SecurityError");
  };
  for (const forbid of [() => (locks.request = async () => refuse()), () => (globalThis.BroadcastChannel = class { constructor() { refuse(); } })]) {
    forbid();
    const alone = await tab().open();
    assert.deepEqual([alone.made.length, alone.closed], [0, [MOVED]]);
    await alone.open();
    globalThis.BroadcastChannel = BroadcastChannel;
    assert.equal(alone.made.length, 1);
    delete locks.request;
  }
});

test("more rooms than a connection may have: that tab has its own connection from then on", async () => {
  const [leader, follower] = await sharing(2);
  await leader.send({ type: "subscribe", id: 2, room: "a" });
  await leader.send({ type: "subscribe", id: 3, room: "b" });
  await follower.send({ type: "subscribe", id: 2, room: "c" });
  assert.deepEqual([follower.closed, leader.closed], [[MOVED], []]);
  await follower.open();
  assert.deepEqual([follower.made.length, follower.opens], [1, 1]);
  follower.made[0].handlers.onOpen();
  follower.made[0].say(WELCOME);
  await follower.send({ type: "ping", id: 1 });
  assert.deepEqual([follower.made[0].sent, follower.opens], [[{ type: "ping", id: 1 }], 2]);
  follower.made[0].handlers.onClose(1006, "");
  assert.deepEqual(follower.closed, [MOVED, 1006]);
});

test("whoever says nothing about rooms is waited for half a second", async () => {
  const leader = await tab().open();
  await tab().open();
  await leader.welcome();
  await leader.send({ type: "subscribe", id: 1, room: "a" });
  await leader.send({ type: "ping", id: 2 });
  const asked = () => leader.made[0].sent.filter(({ type }) => type === "subscribe").length;
  await pass(LIMITS.gatherMs - 1);
  assert.equal(asked(), 0);
  await pass(1);
  assert.equal(asked(), 1);
});

for (const [sleep, wake] of [["pagehide", "pageshow"], ["freeze", "resume"]]) {
  test(`a page that is put to sleep (${sleep}) leads no more, and waits with a new connection until it runs again`, async () => {
    const leader = await (await tab().open()).welcome();
    page.dispatchEvent(new Event(sleep));
    await settle();
    assert.deepEqual([leader.closed, leader.made[0].isClosed], [[MOVED], true]);
    await leader.open();
    assert.equal(leader.made.length, 1);
    page.dispatchEvent(new Event(wake));
    await settle();
    assert.equal(leader.made.length, 2);
  });
}

test("a tab that leaves is out of its rooms", async () => {
  const [leader, follower] = await sharing(2);
  await follower.send({ type: "subscribe", id: 2, room: "a" });
  follower.close();
  await settle();
  assert.equal(leader.made[0].sent.at(-1).type, "unsubscribe");
});

test("a client that gives up waits for nothing: neither for its turn nor for the lock", async () => {
  const [leader, follower] = await sharing(2);
  follower.close();
  leader.close();
  await settle();
  assert.deepEqual([locks.held.size, locks.waiting.length, follower.closed], [0, 0, []]);
  const early = tab();
  void early.open();
  early.close();
  await settle();
  assert.deepEqual([early.made.length, locks.held.size], [0, 0]);
});
