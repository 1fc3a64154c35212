// The client against a model of the daemon, by seed: whatever the network, the daemon, the machine and the page do, only legal
// changes of state happen, every event comes once or is told to be missing, and in the end the states are the server's
// (CLI-03, CLI-13, DLV-12, DLV-14).
//
//     TICKERD_WEB_SEED=7 node --test tests/web/model.test.js        one run again

import assert from "node:assert/strict";
import { test } from "node:test";

import { TRANSITIONS } from "../../src/web/client.js";
import { Driver } from "./driver.js";
import { Account, Server, randomBy } from "./model.js";

const RUNS = 10_000;
const STEPS = 200;
const ROOMS = ["challenge:1", "user:u1"];
const LANES = ["alert", "update", "metric"];
const CLOSES = [1000, 1001, 1006, 1006, 1006, 1011, 4100, 4101, 4103, 4105, 4201, 4202, 4300, 4301, 4001];

// What happened in all runs: a model in which nothing does proves nothing.
const seen = { events: 0, gaps: 0, rewound: 0, restarts: 0, resumed: 0, reasons: new Set() };

class Run {
  constructor(seed) {
    this.random = randomBy(seed);
    this.server = new Server(this.random);
    this.driver = new Driver({ token: null });
    this.driver.random = this.random();
    this.connection = null;
    this.accounts = new Map(ROOMS.map((name) => [name, new Account(name, seen)]));
    this.read = { phases: 0, emitted: 0, did: 0 };
    this.tokens = 0;
    this.phase = "disconnected";
    for (const name of ROOMS) this.driver.do("join", name, { delta: this.random() < 0.5 });
    this.driver.do("connect");
    this.settle();
  }

  /** Takes what the client did since the last time to the server and to the accounts. */
  settle() {
    const { driver, server, read } = this;
    for (; read.did < driver.did.length; read.did += 1) {
      const effect = driver.did[read.did];
      if (effect.kind === "send" && effect.conn === driver.conn && this.isReady) this.connection.take(effect.text, driver.now);
      if (effect.kind === "close" && effect.conn === driver.conn) this.connection?.close();
      if (effect.kind === "emit" && effect.room) this.accounts.get(effect.room.name).note(effect.name, effect.detail);
    }
    for (; read.phases < driver.phases.length; read.phases += 1) {
      const [phase, reason] = driver.phases[read.phases];
      const isLegal = phase === this.phase || TRANSITIONS[this.phase][phase]?.includes(reason);
      assert.ok(isLegal, `${this.phase} → ${phase} (${reason})`);
      this.phase = phase;
      seen.reasons.add(reason);
      if (phase === "resuming") seen.resumed += 1;
    }
    const { core } = driver;
    assert.equal(core.state === "connected", core.stage === "ready", `${core.phase} while ${core.stage}`);
    if (core.phase !== "disconnected") assert.ok(core.deadline() < Infinity, `${core.phase}, ${core.stage}: it would wait for ever`);
  }

  get isReady() {
    return this.connection !== null && this.connection.isOpen && this.connection.isWelcome;
  }

  step() {
    const { driver, server } = this;
    const ready = this.isReady;
    const lane = () => server.pick(LANES);
    const actions = [
      () => server.publish(server.pick(ROOMS), lane()),
      () => server.publish(server.pick(ROOMS), lane()),
      () => server.setState(server.pick(ROOMS), server.pick(["k1", "k2"])),
      () => server.setState(server.pick(ROOMS), server.pick(["k1", "k2"])),
      () => this.random() < 0.3 && server.deleteState(server.pick(ROOMS), server.pick(["k1", "k2"])),
      () => server.flushStates(),
      () => this.deliver(1 + this.random() * 6),
      () => this.deliver(1 + this.random() * 6),
      () => this.advance(),
      () => this.advance(),
      () => !ready && this.advance(true),
      () => driver.core.retryAt < Infinity && driver.pass(driver.waitMs),
      () => ready && this.random() < 0.5 && this.cut(server.pick(CLOSES)),
      () => this.random() < 0.2 && this.restart(this.random() < 0.7),
      () => driver.pass(this.random() * 1000),
      () => this.random() < 0.2 && driver.pass(this.random() * 60_000),
      () => this.random() < 0.1 && driver.sleep(this.random() * 7_200_000),
      () => this.random() < 0.3 && driver.do("onNetwork", this.random() < 0.5),
      () => this.random() < 0.3 && driver.do("wake"),
      () => ready && this.random() < 0.2 && this.connection.say({ type: "auth_expiring", ts: 1, data: {} }),
      () => ready && this.connection.say({ type: "heartbeat", ts: 1, rtt_us: this.random() * 2_000_000, queued: this.random() * 2000 }),
      () => this.random() < 0.05 && driver.do("disconnect"),
      () => driver.do("connect"),
    ];
    server.pick(actions)();
    this.settle();
  }

  /** Gives the client some of what is on its way. */
  deliver(count) {
    const { connection, driver, server } = this;
    for (let i = 0; i < count && connection?.toClient.length > 0 && connection.isOpen; i++) {
      const text = connection.toClient.shift();
      const { room } = JSON.parse(text);
      if (room) this.accounts.get(room).hears(text, driver.core.rooms.get(room), server);
      driver.do("onMessage", driver.conn, text);
      this.settle();
    }
  }

  /** The attempt to connect takes its next step: a token, an open socket, a welcome; or something fails. */
  advance(isKind = false) {
    const { driver, server } = this;
    const { core } = driver;
    const fails = !isKind && this.random() < 0.2;
    if (core.stage === "token") {
      if (fails) driver.do("onTokenError", core.ask, new Error("down"));
      else driver.do("onToken", core.ask, `t${++this.tokens}`);
    } else if (core.stage === "opening") {
      if (fails) return this.cut(1006);
      this.connection = server.connect();
      driver.do("onOpen", driver.conn);
    } else if (core.stage === "open") {
      if (fails) return this.cut(server.pick([1006, 4300, 4100]));
      if (!this.connection.isOpen || this.connection.isWelcome) return;
      this.connection.isWelcome = true;
      driver.do("onMessage", driver.conn, '{"type":"welcome","ts":1,"data":{"session":"s","user":"u1","heartbeat_ms":30000}}');
    }
    this.settle();
  }

  /** The connection ends; what was on its way is lost. */
  cut(code) {
    this.connection?.close();
    this.driver.do("onClose", this.driver.conn, code, "");
    this.settle();
  }

  restart(hasDisk) {
    for (const account of this.accounts.values()) account.restarted(this.driver.core.rooms.get(account.name), hasDisk);
    this.server.restart(hasDisk);
    seen.restarts += 1;
    this.cut(1006);
  }

  /** No more trouble: everything has to come right. */
  finish() {
    const { driver, server } = this;
    driver.do("onNetwork", true);
    driver.do("connect");
    for (let i = 0; driver.core.phase !== "connected" || this.connection.toClient.length > 0; i++) {
      assert.ok(i < 200, `it does not come right: ${driver.core.phase}, ${driver.core.stage}`);
      if (driver.core.phase === "disconnected") driver.do("connect");
      if (driver.core.stage === "idle") driver.pass(driver.waitMs);
      if (this.isReady) server.flushStates();
      this.advance(true);
      this.deliver(Infinity);
      if (driver.core.phase === "degraded") this.connection.say({ type: "heartbeat", ts: 1, rtt_us: 1000, queued: 0 });
      if (driver.core.slowUntil > driver.now) driver.now = driver.core.slowUntil;
    }
    server.flushStates();
    this.deliver(Infinity);
    for (const account of this.accounts.values()) account.check(server.room(account.name), driver.core.rooms.get(account.name));
  }
}

test("10,000 runs of network, daemon, machine and page", () => {
  const only = process.env.TICKERD_WEB_SEED;
  const seeds = only === undefined ? Array.from({ length: RUNS }, (_, seed) => seed) : [Number(only)];
  for (const seed of seeds) {
    try {
      const run = new Run(seed);
      for (let step = 0; step < STEPS; step++) run.step();
      run.finish();
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  if (only !== undefined) return;
  const { reasons, ...counts } = seen;
  for (const [what, count] of Object.entries(counts)) assert.ok(count > RUNS / 10, `${what}: ${count} in ${RUNS} runs`);
  const all = new Set(Object.values(TRANSITIONS).flatMap((targets) => Object.values(targets).flat()));
  assert.deepEqual([...all].filter((reason) => !reasons.has(reason)), [], "reasons that never came up");
});
