// Drives the client's core by hand: a clock that moves when it is told to, chance that is chosen, and a record of what the core did.

import { Core } from "../../src/web/client.js";

export class Driver {
  constructor({ random = 0.5, token = "token-1", ...options } = {}) {
    this.now = 1_000_000;
    this.random = random;
    this.token = token;
    this.core = new Core({ random: () => this.random, ...options });
    this.sent = [];
    this.did = [];
    this.phases = [];
    this.events = [];
    this.emitted = [];
    this.settled = new Map();
    this.asked = [];
    this.conn = null;
  }

  /** Takes what the core wants done; what it sends, opens and tells is kept. A token is given at once, unless `token` is null. */
  flush() {
    for (let effect = this.core.effects.shift(); effect; effect = this.core.effects.shift()) {
      this.did.push(effect);
      if (effect.kind === "send") this.sent.push(JSON.parse(effect.text));
      if (effect.kind === "open") this.conn = effect.conn;
      if (effect.kind === "settle") this.settled.set(effect.key, effect);
      if (effect.kind === "token") {
        this.asked.push(effect.why);
        if (this.token !== null) this.core.onToken(this.now, effect.ask, this.token);
      }
      if (effect.kind !== "emit") continue;
      this.emitted.push([effect.name, effect.detail]);
      if (effect.name === "event") this.events.push(effect.detail);
      if (effect.name === "change" && !effect.room) this.phases.push([this.core.phase, this.core.reason.name]);
    }
    return this;
  }

  do(method, ...args) {
    const result = this.core[method](this.now, ...args);
    this.flush();
    return result;
  }

  /** Lets time pass, with every timer on time. */
  pass(ms) {
    const end = this.now + ms;
    for (let at = this.core.deadline(); at <= end; at = this.core.deadline()) {
      this.now = Math.max(at, this.now);
      this.do("tick");
    }
    this.now = end;
    return this;
  }

  /** Lets time pass without any timer, as in a laptop that sleeps, and then the timers fire. */
  sleep(ms) {
    this.now += ms;
    if (this.core.deadline() <= this.now) this.do("tick");
    return this;
  }

  open() {
    return this.do("onOpen", this.conn) ?? this;
  }

  say(...messages) {
    for (const message of messages) this.do("onMessage", this.conn, JSON.stringify(message));
    return this;
  }

  hangUp(code = 1006, reason = "") {
    this.do("onClose", this.conn, code, reason);
    return this;
  }

  welcome(data = {}) {
    return this.say({ type: "welcome", ts: this.now, data: { session: "s", user: "u1", heartbeat_ms: 30_000, ...data } });
  }

  /** From nothing, or from an attempt that is under way, to a welcome. */
  connected(data) {
    if (this.core.phase === "disconnected") this.do("connect");
    this.open();
    return this.welcome(data);
  }

  /** The last command of that type. */
  last(type) {
    return this.sent.findLast((message) => message.type === type);
  }

  /** Answers the last subscribe of the room. */
  subscribed(room, { epoch = "e1", seq = 0, from = seq + 1, ...rest } = {}) {
    const { id } = this.sent.findLast((message) => message.type === "subscribe" && message.room === room);
    const lanes = (value) => ({ alert: value, update: value, metric: value });
    return this.say({ type: "subscribed", id, room, epoch, from: lanes(from), seq: lanes(seq), ...rest });
  }

  /** Connected, and in that room with nothing in it. */
  live(room, options, subscribed) {
    const record = this.do("join", room, options);
    if (this.core.stage !== "ready") this.connected();
    this.subscribed(room, subscribed).say({ type: "caught_up", room });
    return record;
  }

  get waitMs() {
    return this.core.retryAt - this.now;
  }
}

export const alert = (room, seq, more = {}) => ({ type: "RISK_ALERT", room, lane: "alert", seq, ts: 1, ...more, data: { n: seq } });

export const state = (room, rev, more) => ({ type: "EQUITY_UPDATED", room, lane: "update", key: "k", rev, ts: 1, ...more });
