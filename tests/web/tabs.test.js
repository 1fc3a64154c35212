// Tabs that share a connection, by seed: several clients over one relay, against the model of the daemon. Whatever leaders, tabs, network and daemon do, each
// tab's page is told every event once, or that it is missing, and in the end has the server's states (CLI-09, CLI-13, DLV-14); and all that is quiet, there
// is one connection.
//
//     TICKERD_WEB_SEED=7 node --test tests/web/tabs.test.js        one run again

import assert from "node:assert/strict";
import { test } from "node:test";

import { Link, Relay, UNREAD_MAX } from "../../src/web/client-relay.js";
import { Driver } from "./driver.js";
import { Account, Server, randomBy } from "./model.js";

const RUNS = process.env.TICKERD_LONG === "1" ? 10_000 : 1_000;
const STEPS = 250;
const ROOMS = ["challenge:1", "user:u1", "quote:1"];
const WELCOME = { type: "welcome", ts: 1, data: { session: "s", user: "u1", heartbeat_ms: 30_000, limits: { rooms: 100 } } };
const MOVED = 4299;

const seen = { events: 0, gaps: 0, rewound: 0, restarts: 0, leaders: 0, readsOfTheirOwn: 0, sharedJoins: 0 };

/** A tab: a client's core, and its link while it has one. */
class Tab {
  constructor(run, n) {
    this.driver = new Driver({ token: "t" });
    this.driver.random = run.random();
    Object.assign(this, { run, id: `tab${n}`, accounts: new Map(), read: 0, link: null, toLeader: [], toTab: [], own: [] });
  }

  join(name) {
    if (this.driver.core.rooms.has(name)) return;
    this.accounts.set(name, new Account(name, seen));
    this.driver.do("join", name, { delta: this.run.random() < 0.5 });
  }

  leave(name) {
    this.driver.do("leave", name);
    this.driver.pass(300);
    this.accounts.delete(name);
  }

  settle() {
    for (; this.read < this.driver.did.length; this.read += 1) {
      const { kind, conn, text, room, name, detail } = this.driver.did[this.read];
      if (kind === "open") this.open(conn);
      else if (kind === "send") this.link.send(text);
      else if (kind === "close") this.link?.close(), this.unlink();
      else if (kind === "emit" && room) this.accounts.get(room.name)?.note(name, detail);
    }
  }

  open(conn) {
    const { run, driver } = this;
    const handlers = {
      onOpen: () => driver.do("onOpen", conn),
      onMessage: (text) => {
        const name = JSON.parse(text).room;
        if (name) this.accounts.get(name)?.hears(text, driver.core.rooms.get(name), run.server);
        driver.do("onMessage", conn, text);
        this.settle();
      },
      onClose: (code) => {
        this.unlink();
        driver.do("onClose", conn, code, "");
      },
    };
    const openOwn = (own) => {
      seen.readsOfTheirOwn += 1;
      const connection = run.server.connect();
      connection.say(WELCOME);
      const opened = { connection, handlers: own, turn: run.turn };
      this.own.push(opened);
      const close = () => {
        connection.close();
        this.own = this.own.filter((other) => other !== opened);
      };
      return { send: (text) => connection.isOpen && connection.take(text, driver.now), close };
    };
    this.toLeader = [];
    this.toTab = [];
    this.link = new Link({ toLeader: (text) => this.toLeader.push(text), openOwn, expiresAt: undefined }, handlers);
    run.attach(this);
  }

  /** It has no link any more; the leader hears of it later. */
  unlink() {
    if (!this.link) return;
    this.link = null;
    for (const { connection } of this.own.splice(0)) connection.close();
    this.run.detach(this);
  }

  /** What came for its own connections, and what has come of them. */
  hearOwn(count) {
    for (const { connection, handlers } of this.own.filter(({ turn }) => turn < this.run.turn)) {
      for (let i = 0; i < count && connection.toClient.length > 0 && connection.isOpen; i++) handlers.onMessage(connection.toClient.shift());
      if (!connection.isOpen) handlers.onClose(1006, "");
    }
    this.settle();
  }
}

class Run {
  constructor(seed) {
    this.random = randomBy(seed);
    this.server = new Server(this.random);
    this.tabs = [];
    this.leader = null; // { tab, relay, connection, members: ids of links that it has opened }
    this.names = 0;
    this.turn = 0;
    this.openTab();
  }

  pick(items) {
    return items[Math.floor(this.random() * items.length)];
  }

  openTab() {
    if (this.tabs.length >= 4) return;
    const tab = new Tab(this, ++this.names);
    this.tabs.push(tab);
    for (const name of ROOMS) if (this.random() < 0.7) tab.join(name);
    tab.driver.do("connect");
    tab.settle();
  }

  closeTab(tab) {
    this.tabs = this.tabs.filter((other) => other !== tab);
    tab.driver.do("disconnect");
    tab.settle();
  }

  // -- what the shell does --

  attach(tab) {
    if (!this.leader) this.lead(tab);
    this.leader.relay.open(tab.id, tab.driver.now);
  }

  lead(tab) {
    const connection = this.server.connect();
    connection.say(WELCOME);
    const send = (text) => connection.isOpen && connection.take(text, 0);
    const tell = (id, message) => this.tabs.find((other) => other.id === id)?.toTab.push(structuredClone(message));
    this.leader = { tab, connection, relay: new Relay({ send, tell, leader: tab.id }) };
    seen.leaders += 1;
  }

  detach(tab) {
    if (this.leader?.tab === tab) this.endLeader(MOVED);
    else this.leader?.relay.close(tab.id, tab.driver.now);
  }

  /** The shared connection ends, for all. */
  endLeader(code) {
    this.leader.connection.close();
    this.leader = null;
    for (const tab of this.tabs) {
      tab.link?.end(code, "");
      tab.settle();
    }
  }

  // -- what happens --

  deliver(tab, count) {
    for (let i = 0; i < count && tab.toLeader.length > 0 && this.leader; i++) {
      this.leader.relay.take(tab.id, tab.toLeader.shift(), tab.driver.now);
    }
    const { link } = tab;
    for (let i = 0; i < count && tab.toTab.length > 0 && tab.link === link && link; i++) {
      link.hear(tab.toTab.shift());
      tab.settle();
    }
    tab.hearOwn(count);
  }

  hear(count) {
    for (let i = 0; i < count && this.leader && this.leader.connection.toClient.length > 0; i++) {
      const { connection, relay } = this.leader;
      const text = connection.toClient.shift();
      if (JSON.parse(text).type === "subscribed") seen.sharedJoins += 1;
      relay.hear(text, this.leader.tab.driver.now);
    }
    if (this.leader && !this.leader.connection.isOpen) this.endLeader(1006);
  }

  restart(hasDisk) {
    for (const tab of this.tabs) for (const [name, account] of tab.accounts) account.restarted(tab.driver.core.rooms.get(name), hasDisk);
    this.server.restart(hasDisk);
    seen.restarts += 1;
    if (!hasDisk && this.leader) this.endLeader(1006); // what is on its way would be of numbers that mean something else now
    if (!hasDisk) for (const tab of this.tabs) tab.hearOwn(0);
  }

  async step() {
    const { server } = this;
    const tab = this.tabs.length > 0 ? this.pick(this.tabs) : null;
    const actions = [
      () => server.publish(server.pick(ROOMS), server.pick(["alert", "update", "metric"])),
      () => server.publish(server.pick(ROOMS), server.pick(["alert", "update", "metric"])),
      () => server.setState(server.pick(ROOMS), server.pick(["k1", "k2"])),
      () => this.random() < 0.3 && server.deleteState(server.pick(ROOMS), server.pick(["k1", "k2"])),
      () => server.flushStates(),
      () => this.hear(1 + this.random() * 8),
      () => this.hear(1 + this.random() * 8),
      () => tab && this.deliver(tab, 1 + this.random() * 8),
      () => tab && this.deliver(tab, 1 + this.random() * 8),
      () => tab && this.deliver(tab, 1 + this.random() * 8),
      () => tab && tab.driver.core.retryAt < Infinity && tab.driver.pass(tab.driver.waitMs),
      () => this.leader?.relay.endGathering(),
      () => this.random() < 0.4 && this.openTab(),
      () => this.random() < 0.15 && tab && this.closeTab(tab),
      () => this.random() < 0.1 && this.leader && this.endLeader(MOVED),
      () => this.random() < 0.1 && this.leader && this.endLeader(1006),
      () => this.random() < 0.2 && this.restart(this.random() < 0.7),
      () => this.random() < 0.3 && tab?.join(this.pick(ROOMS)),
      () => this.random() < 0.15 && tab?.leave(this.pick([...tab.accounts.keys()])),
      () => this.random() < 0.3 && tab && tab.driver.pass(this.random() * 1000),
      () => this.random() < 0.1 && tab && tab.driver.core.stage === "ready" && this.snapshot(tab),
    ];
    this.pick(actions)();
    await this.settle();
  }

  snapshot(tab) {
    const live = [...tab.driver.core.rooms.values()].find(({ status }) => status === "live");
    if (live) tab.driver.do("command", { type: "snapshot", room: live.name }, { isSafe: false });
  }

  async settle() {
    for (const tab of this.tabs) tab.settle();
    for (let i = 0; i < 3; i++) await null; // a connection of a tab's own is opened between two turns
    this.turn += 1;
  }

  async finish() {
    if (this.tabs.length === 0) this.openTab();
    const isQuiet = () =>
      this.tabs.every(({ driver, toTab, toLeader, own }) => driver.core.phase === "connected" && !toTab.length && !toLeader.length && !own.length) &&
      this.leader.connection.isOpen &&
      this.leader.connection.toClient.length === 0;
    for (let i = 0; !isQuiet(); i++) {
      const stuck = () => this.tabs.map(({ driver, own }) => `${driver.core.phase} ${driver.core.stage} ${own.length}`).join(", ");
      assert.ok(i < 300, `it does not come right: ${stuck()}`);
      this.server.flushStates();
      const isSlow = this.tabs.some(({ driver }) => driver.core.phase === "degraded");
      if (isSlow) this.leader.connection.say({ type: "heartbeat", ts: 1, rtt_us: 1000, queued: 0 });
      this.hear(Infinity);
      this.leader?.relay.endGathering();
      for (const tab of this.tabs) {
        this.deliver(tab, Infinity);
        if (tab.driver.core.stage === "idle") tab.driver.pass(tab.driver.waitMs);
      }
      await this.settle();
    }
    this.server.flushStates();
    this.hear(Infinity);
    for (const tab of this.tabs) this.deliver(tab, Infinity);
    assert.equal(this.server.connections.size, 1, "all share one connection");
    for (const tab of this.tabs) for (const [name, account] of tab.accounts) account.check(this.server.room(name), tab.driver.core.rooms.get(name));
  }
}

test("CLI-09: runs of tabs, leaders, network and daemon", async () => {
  const only = process.env.TICKERD_WEB_SEED;
  const seeds = only === undefined ? Array.from({ length: RUNS }, (_, seed) => seed) : [Number(only)];
  for (const seed of seeds) {
    try {
      const run = new Run(seed);
      for (let step = 0; step < STEPS; step++) await run.step();
      await run.finish();
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  if (only !== undefined) return;
  for (const [what, count] of Object.entries(seen)) assert.ok(count > RUNS / 20, `${what}: ${count} in ${RUNS} runs`);
});

// ---- what the model's server never does ------------------------------------------------------------------------------

const frame = (message) => ({ text: JSON.stringify(message) });
const all = (value) => ({ alert: value, update: value, metric: value });
const note = (seq, more = {}) => ({ type: "note", room: "r", lane: "alert", seq, ...more });

/** A link that was welcomed, and what it did. `own` is its own connection's handlers once it has one. */
function linked(more = {}) {
  const it = { told: [], sent: [], closed: [], ownSent: [], isOwnClosed: false, own: null };
  const handlers = { onOpen() {}, onMessage: (text) => it.told.push(JSON.parse(text)), onClose: (code) => it.closed.push(code) };
  const openOwn = (own) => {
    it.own = own;
    return { send: (text) => it.ownSent.push(JSON.parse(text)), close: () => (it.isOwnClosed = true) };
  };
  it.link = new Link({ toLeader: (text) => it.sent.push(JSON.parse(text)), openOwn, expiresAt: 77, ...more }, handlers);
  it.link.hear({ ...frame(WELCOME), isLeader: false });
  it.say = (message) => it.own.onMessage(JSON.stringify(message));
  return it;
}

/** A link that reads a room for itself, the leader being at 5. */
async function reading(since) {
  const it = linked();
  const command = { type: "subscribe", id: 7, room: "r", since };
  it.link.hear({ own: command, epoch: "e1", seq: all(5) });
  await null;
  await null;
  it.say(WELCOME);
  it.told = [];
  assert.deepEqual(it.ownSent, [JSON.parse(JSON.stringify(command))]);
  return it;
}

test("a room is read for oneself until one has all that the leader had; then comes what it has said since", async () => {
  const it = await reading({ epoch: "e1", seq: all(1) });
  it.link.hear(frame(note(6)));
  it.link.hear(frame({ type: "gap", room: "r", lane: "alert", epoch: "e1", from: 2, to: 4 }));
  it.link.hear(frame({ type: "tick", room: "r", lane: "alert", data: 1 }));
  it.link.hear(frame({ type: "heartbeat", ts: 1, queued: 0 }));
  it.say({ type: "subscribed", id: 7, room: "r", epoch: "e1", from: all(2), seq: all(3) });
  it.say(note(2));
  it.say({ type: "tick", room: "r", lane: "alert", data: 1 });
  it.say({ type: "heartbeat", ts: 1, queued: 0 });
  it.say({ type: "caught_up", room: "r" });
  assert.equal(it.isOwnClosed, false, "another node may lag behind the leader's");
  it.say({ type: "gap", room: "r", lane: "update", epoch: "e1", from: 4, to: 5 });
  it.say(note(5, { lane: "metric" }));
  it.say(note(4));
  assert.equal(it.isOwnClosed, false);
  it.say(note(5));
  assert.deepEqual(
    it.told.map(({ type, lane, seq }) => [type, lane, seq]),
    [
      ["heartbeat", undefined, undefined],
      ["subscribed", undefined, all(3)],
      ["note", "alert", 2],
      ["caught_up", undefined, undefined],
      ["gap", "update", undefined],
      ["note", "metric", 5],
      ["note", "alert", 4],
      ["note", "alert", 5],
      ["note", "alert", 6],
      ["tick", "alert", undefined],
    ],
  );
  assert.equal(it.isOwnClosed, true);
  it.link.hear(frame(note(7)));
  assert.equal(it.told.at(-1).seq, 7);
  it.say(note(8));
  assert.equal(it.told.at(-1).seq, 7, "nothing is heard of it any more");
});

test("what is given again until it is acknowledged counts for no position", async () => {
  const it = await reading();
  it.say({ type: "subscribed", id: 7, room: "r", epoch: "e1", from: all(5), seq: all(4) });
  it.say(note(9, { redelivered: true }));
  it.say({ type: "caught_up", room: "r" });
  assert.equal(it.isOwnClosed, false);
});

test("another history than the leader's, one's own connection lost, or too much meanwhile: the link ends, and says why", async () => {
  const ends = [
    (it) => it.say({ type: "subscribed", id: 7, room: "r", epoch: "e2", from: all(1), seq: all(0) }),
    (it) => it.say({ type: "epoch", room: "r", epoch: "e2", seq: all(0) }),
    (it) => it.link.hear(frame({ type: "epoch", room: "r", epoch: "e2", seq: all(0) })),
    (it) => it.say({ type: "unsubscribed", room: "r", code: 103, name: "access_denied" }),
    (it) => it.own.onClose(4300, ""),
    (it) => it.own.onClose(4003, ""),
    (it) => it.link.hear(frame(note(6, { data: "x".repeat(UNREAD_MAX) }))),
  ];
  const closed = [];
  for (const end of ends) {
    const it = await reading();
    it.say({ type: "subscribed", id: 7, room: "r", epoch: "e1", from: all(2), seq: all(3) });
    end(it);
    it.link.hear(frame(note(6)));
    closed.push([...it.closed, it.isOwnClosed, it.told.some(({ seq }) => seq === 6)]);
  }
  assert.deepEqual(closed, [4299, 4299, 4299, 4299, 4300, 4100, 4103].map((code) => [code, true, false]));
});

test("a room that is denied to one's own connection is denied; one that is left meanwhile is left", async () => {
  const denied = await reading();
  denied.say({ type: "error", id: 7, code: 103, name: "access_denied", category: "permission", message: "no" });
  assert.deepEqual([denied.told.at(-1).name, denied.sent.at(-1), denied.isOwnClosed], ["access_denied", { type: "unsubscribe", room: "r" }, true]);
  const left = await reading();
  left.link.send('{"type":"unsubscribe","id":8,"room":"r"}');
  assert.deepEqual([left.sent.at(-1).id, left.isOwnClosed], [8, true]);
});

test("a tab knows when its own token ends, and not when the leader's does; who it is was said when the connection began", () => {
  const { link, told, sent } = linked();
  assert.equal(told[0].data.expires_at, 77);
  link.send('{"type":"auth","token":"t"}');
  assert.deepEqual(sent, []);
  link.send('{"type":"auth","id":1,"token":"t"}');
  assert.equal(sent.length, 1);
});

/** A relay with these tabs, welcomed; each has said that it wants nothing yet. */
function relayed(...tabs) {
  const it = { sent: [], told: [], now: 0 };
  it.relay = new Relay({ send: (text) => it.sent.push(JSON.parse(text)), tell: (tab, message) => it.told.push([tab, message]), leader: "a" });
  for (const tab of tabs) it.relay.open(tab, 0);
  it.hear = (message) => it.relay.hear(JSON.stringify(message), it.now);
  it.take = (tab, message) => it.relay.take(tab, JSON.stringify(message), it.now);
  it.toldTo = (tab) => it.told.filter(([other]) => other === tab).map(([, { text, ...rest }]) => (text ? JSON.parse(text) : rest));
  it.hear({ ...WELCOME, data: { ...WELCOME.data, limits: { rooms: 2 } } });
  for (const tab of tabs) it.take(tab, { type: "ping", id: 1 });
  it.answer = (message, command = it.sent.at(-1)) => it.hear({ ...message, id: command.id });
  for (const command of it.sent.splice(0)) it.answer({ type: "ok" }, command);
  it.told = [];
  return it;
}

test("one replay serves all who were at the same point, or beyond it; each is told of its own gap alone", () => {
  const it = relayed();
  for (const tab of ["a", "b", "c", "d"]) it.relay.open(tab, 0);
  it.hear(WELCOME);
  const since = (alert, epoch = "e1") => ({ epoch, seq: { ...all(9), alert } });
  it.take("a", { type: "subscribe", id: 1, room: "r", since: since(7) });
  it.take("b", { type: "subscribe", id: 1, room: "r", since: since(3), delta: true });
  it.take("c", { type: "subscribe", id: 1, room: "r", since: since(9) });
  it.take("d", { type: "subscribe", id: 1, room: "r", since: since(2, "e0") });
  assert.deepEqual(it.sent, [], "it waits for all");
  for (const tab of ["a", "b", "c", "d"]) it.take(tab, { type: "ping", id: 2 });
  const asked = it.sent.filter(({ type }) => type === "subscribe");
  assert.deepEqual(asked.map(({ since, delta }) => [since, delta]), [[since(3), true]]);
  it.told = [];
  it.answer({ type: "subscribed", room: "r", epoch: "e1", from: { ...all(10), alert: 4 }, seq: { ...all(9), alert: 9 } }, asked[0]);
  it.hear({ type: "gap", room: "r", lane: "alert", epoch: "e1", from: 4, to: 7 });
  const told = (tab) => it.toldTo(tab).map(({ type, from, to, own, seq }) => (own ? ["own", own.id, seq.alert] : [type, from.alert ?? from, to]));
  assert.deepEqual(told("a"), [["subscribed", 8, undefined]]);
  assert.deepEqual(told("b"), [["subscribed", 4, undefined], ["gap", 4, 7]]);
  assert.deepEqual(told("c"), [["subscribed", 10, undefined]]);
  assert.deepEqual(told("d"), [["own", 1, 3], ["gap", 4, 7]]);
  it.hear({ type: "caught_up", room: "r" });
  it.told = [];
  it.hear({ type: "gap", room: "r", lane: "alert", epoch: "e1", from: 10, to: 12 });
  assert.deepEqual(["a", "b", "c", "d"].map((tab) => told(tab)), Array(4).fill([["gap", 10, 12]]));
});

test("a gap that begins before a tab's position is told from there on", () => {
  const it = relayed();
  for (const tab of ["a", "b"]) it.relay.open(tab, 0);
  it.hear(WELCOME);
  for (const [tab, alert] of [["a", 3], ["b", 5]]) it.take(tab, { type: "subscribe", id: 1, room: "r", since: { epoch: "e1", seq: all(alert) } });
  it.relay.endGathering();
  it.answer({ type: "subscribed", room: "r", epoch: "e1", from: all(4), seq: all(9) });
  it.told = [];
  it.hear({ type: "gap", room: "r", lane: "alert", epoch: "e1", from: 4, to: 7 });
  assert.deepEqual(["a", "b"].map((tab) => it.toldTo(tab).map(({ from, to }) => [from, to])), [[[4, 7]], [[6, 7]]]);
});

test("answers find their tab; what concerns the connection goes to all, and the end of its token to the tab whose it is", () => {
  const it = relayed("a", "b");
  it.take("b", { type: "note", id: 5, data: 1 });
  it.take("a", { type: "ack", room: "r", lane: "alert", seq: 1 });
  assert.deepEqual(it.sent.map(({ type, id }) => [type, id !== undefined]), [["note", true], ["ack", false]]);
  it.answer({ ok: true, result: "accepted" }, it.sent[0]);
  it.hear({ type: "ok", id: 999 });
  it.hear({ type: "auth_expiring", ts: 1, data: {} });
  it.hear({ type: "disconnect", code: 4101, reason: "shutdown" });
  assert.deepEqual(it.toldTo("a").map(({ type }) => type), ["auth_expiring", "disconnect"]);
  assert.deepEqual(it.toldTo("b").map(({ id, type }) => [id, type]), [[5, undefined], [undefined, "disconnect"]]);
});

test("a denied room is denied to all who asked; more rooms than a connection may have are the tab's own affair", () => {
  const it = relayed("a", "b");
  it.take("a", { type: "subscribe", id: 2, room: "r" });
  it.take("b", { type: "subscribe", id: 3, room: "r" });
  it.answer({ type: "error", code: 103, name: "access_denied", category: "permission", message: "no" });
  assert.deepEqual(["a", "b"].map((tab) => it.toldTo(tab).map(({ id, name }) => [id, name])), [[[2, "access_denied"]], [[3, "access_denied"]]]);
  it.take("a", { type: "subscribe", id: 4, room: "r1" });
  it.take("a", { type: "subscribe", id: 5, room: "r2" });
  it.take("b", { type: "subscribe", id: 6, room: "r3" });
  assert.deepEqual(it.toldTo("b").at(-1), { isAlone: true });
});

test("a tab that gives up because nothing answers takes the connection with it; another does not", () => {
  const gone = (waitMs, isHeard) => {
    const it = relayed("a", "b");
    it.now = 1000;
    it.take("b", { type: "ping", id: 9 });
    it.now += waitMs;
    if (isHeard) it.hear({ type: "heartbeat", ts: 1, queued: 0 });
    return it.relay.close("b", it.now);
  };
  assert.deepEqual([gone(5000, false), gone(1000, false), gone(5000, true)], [true, false, false]);
});
