// tickerd's client for web pages: one WebSocket for all rooms, which comes back by itself and misses nothing; client-fallback.js where none gets through, client-tabs.js to share one.
//     import { connect } from "/client.js";
//     const client = connect({ token: () => fetch("/session/token").then((answer) => answer.text()) });
//     const room = client.room("challenge:8f");
//     room.on("event", (event) => console.log(event.type, event.data));
// `Core` is a state machine without I/O: it is told what happened and when, and puts what is to be done into `effects`. `Client` and `Room` are the shell
// around it: sockets, timers, storage, the browser's events. client.d.ts has the types.

const LANES = ["alert", "update", "metric"];
const SAVED_FORMAT = 1; // of rooms in the cache; those of other versions are not read

export const LIMITS = Object.freeze({
  backoffBaseMs: 1_000, // the first retry comes within it; each further one within twice as much
  backoffMaxMs: 30_000,
  stableMs: 10_000, // a connection that lasted so long lets the backoff begin anew
  attemptsUntilOffline: 10,
  attemptsUntilFallback: 3, // that brought no message
  openMs: 15_000, // for token, handshake and welcome
  silenceSlackMs: 5_000, // a heartbeat may be so late before we ask
  probeMs: 5_000, // for the answer
  busyMessages: 100, // after so many, and so long, a ping tells how far this page lags behind
  busyMs: 5_000,
  lateMs: 2_000, // a timer that is later than this was throttled, or the machine slept
  afterMaxMs: 300_000, // the longest wait that a server may ask for
  refreshRetryMs: 10_000,
  lingerMs: 250, // a room is left so long after its last user left it
  queueMax: 100, // commands that wait for a connection
  commandTtlMs: 30_000,
  eventsKept: 100, // of each room, unless it says otherwise
  eventIdsKept: 1_000,
});

const FAILED = ["network", "server", "token", "silence", "timeout", "token_failed"];
const ENDED = ["close", "refused", "token"];
const ANEW = { reconnecting: FAILED, offline: FAILED, disconnected: ENDED };

/** Which phase may follow which, and for which reasons. */
export const TRANSITIONS = Object.freeze({
  disconnected: { connecting: ["connect"] },
  connecting: { authenticating: ["opened"], ...ANEW },
  authenticating: { resuming: ["welcome"], ...ANEW },
  resuming: { connected: ["caught_up"], degraded: ["silence", "slow"], ...ANEW },
  connected: { degraded: ["silence", "slow"], ...ANEW },
  degraded: { connected: ["recovered"], ...ANEW },
  reconnecting: { authenticating: ["opened"], offline: [...FAILED, "offline"], reconnecting: FAILED, disconnected: ENDED },
  offline: { authenticating: ["opened"], reconnecting: ["online", "wake", ...FAILED], offline: FAILED, disconnected: ENDED },
});

/** What the server, or this client, refused. `name` and `code` are of README's table of error codes. */
export class TickerdError extends Error {
  constructor(name, message, { code = 0, category = "client", retry_after_ms: retryAfterMs = null } = {}) {
    super(message);
    Object.assign(this, { name, code, category, retryAfterMs });
  }
}

/** RFC 7396, on a copy. */
export function mergePatch(target, patch) {
  if (!isObject(patch)) return patch;
  const merged = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else put(merged, name, mergePatch(Object.hasOwn(merged, name) ? merged[name] : undefined, value));
  }
  return merged;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Assignment, but for `__proto__` too, which JSON may hold as a name like any other. */
function put(object, name, value) {
  Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
}

// ---- the core: no I/O, no clock ------------------------------------------------------------------------------------

export class Core {
  constructor({ random = Math.random, tokenIn = "subprotocol" } = {}) {
    Object.assign(this, { random, tokenIn });
    this.effects = [];
    this.phase = "disconnected";
    this.reason = null; // why this phase: { name, code, text }
    this.isFirst = true; // no attempt has failed or succeeded since connect()
    this.rooms = new Map();
    this.queue = []; // commands that wait for a connection
    this.pending = new Map(); // id → what an answer is awaited for
    Object.assign(this, { lastId: 0, lastKey: 0 });
    this.stage = "idle"; // of the present attempt: idle, token, opening, open, ready
    this.conn = 0; // the present attempt; what is heard of former ones is ignored
    Object.assign(this, { attempts: 0, misses: 0 }); // that failed since a connection was stable; since one brought a message
    this.isOnline = true;
    Object.assign(this, { token: null, tokenWhy: "connect", tokenEndsAt: Infinity, refused: null, refusals: 0, ask: 0 });
    Object.assign(this, { welcome: null, notice: null, heartbeatMs: 30_000, rttMs: null, queued: 0, quality: "offline" });
    Object.assign(this, { readyAt: 0, heardAt: 0, attemptAt: -Infinity, missedAt: -Infinity, slowUntil: -Infinity });
    Object.assign(this, { isSilent: false, wasLate: false, notBefore: -Infinity, heard: 0, pingedAt: 0 });
    this.clearTimers();
  }

  clearTimers() {
    Object.assign(this, { retryAt: Infinity, giveUpAt: Infinity, deadAt: Infinity, refreshAt: Infinity });
  }

  /** One of `connecting`, `connected`, `reconnecting`, `disconnected`. */
  get state() {
    if (["resuming", "connected", "degraded"].includes(this.phase)) return "connected";
    if (this.phase === "authenticating") return this.isFirst ? "connecting" : "reconnecting";
    return this.phase === "offline" ? "reconnecting" : this.phase;
  }

  /** The finer phase, where it says more than the state. */
  get substate() {
    return this.phase === this.state ? null : this.phase;
  }

  // -- what the page wants --

  connect(now) {
    if (this.phase !== "disconnected") return;
    Object.assign(this, { isFirst: true, attempts: 0, refusals: 0, refused: null, tokenWhy: this.token ? this.tokenWhy : "connect" });
    this.move("connecting", "connect");
    this.attempt(now);
  }

  disconnect(now) {
    if (this.phase === "disconnected") return;
    if (["opening", "open", "ready"].includes(this.stage)) this.do("close", { conn: this.conn });
    this.leaveConnection(now);
    this.stop("close");
  }

  join(now, name, { delta = false, history, everyMs, types, keys, keep = LIMITS.eventsKept, isCached = false } = {}) {
    const known = this.rooms.get(name);
    if (known) {
      known.leaveAt = Infinity;
      if (known.error) this.subscribe(known);
      return known;
    }
    const room = { name, delta, history, everyMs, types, keys, keep, error: null, user: null, isSwept: true, isGapOwed: false, isResyncing: false };
    Object.assign(room, { status: isCached ? "loading" : "joining", leaveAt: Infinity, retryAt: Infinity, ask: null, version: 0 });
    forgetAll(room);
    this.rooms.set(name, room);
    this.subscribe(room);
    return room;
  }

  /** What the cache had of a room that was joined with `isCached`. */
  restore(room, saved) {
    if (room.status !== "loading") return;
    if (saved?.format === SAVED_FORMAT) {
      const { epoch, seq, events, user, at } = saved;
      Object.assign(room, { epoch, seq, events, user, states: new Map(saved.states), eventIds: new Map(saved.eventIds), staleSince: at });
    }
    room.status = "joining";
    this.changed(room);
    this.subscribe(room);
  }

  leave(now, name) {
    const room = this.rooms.get(name);
    if (room) room.leaveAt = now + LIMITS.lingerMs;
  }

  /** Sends a command, or keeps it until there is a connection. `isSafe`: sent again if its answer was lost. */
  command(now, message, { ttlMs = LIMITS.commandTtlMs, isSafe = false, hasAnswer = true } = {}) {
    const command = { message, isSafe, hasAnswer, endsAt: now + ttlMs, key: ++this.lastKey };
    if (this.stage === "ready") this.sendCommand(command);
    else {
      this.queue.push(command);
      if (this.queue.length > LIMITS.queueMax) this.settle(this.queue.shift(), failure("queue_full", "too many commands wait for a connection"));
    }
    return command.key;
  }

  // -- what the shell reports --

  onToken(now, ask, token) {
    if (ask !== this.ask) return;
    if (this.stage === "token") {
      if (!token || token === this.refused) return this.stop("token", { text: "there is no fresh token" });
      Object.assign(this, { token, tokenWhy: null, tokenEndsAt: Infinity });
      return this.open();
    }
    if (!token || token === this.token) return; // nothing fresh: the server closes in the end
    if (this.stage === "ready") this.sendAsking({ type: "auth", token }, { kind: "auth", token });
    else Object.assign(this, { token, tokenWhy: null, tokenEndsAt: Infinity });
  }

  onTokenError(now, ask, error) {
    if (ask !== this.ask) return;
    this.emit(null, "error", error);
    if (this.stage === "token") this.fail(now, "token_failed");
    else this.refreshAt = now + LIMITS.refreshRetryMs;
  }

  onOpen(now, conn) {
    if (conn !== this.conn || this.stage !== "opening") return;
    Object.assign(this, { stage: "open", heardAt: now });
    this.move("authenticating", "opened");
    if (this.tokenIn === "message") this.send({ type: "auth", token: this.token });
  }

  onMessage(now, conn, text) {
    if (conn !== this.conn || (this.stage !== "open" && this.stage !== "ready")) return;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this.emit(null, "error", new TickerdError("bad_json", "the server sent what is no JSON"));
    }
    const wasSilent = this.isSilent;
    Object.assign(this, { heardAt: now, deadAt: Infinity, isSilent: false, wasLate: false, misses: 0 });
    if (!isObject(message)) return;
    if (message.type === undefined) this.onAnswer(message, now); // to a publish
    else if (Object.hasOwn(HANDLERS, message.type)) HANDLERS[message.type].call(this, message, now);
    else if (message.room !== undefined) this.onEvent(message);
    this.heard += 1;
    if (wasSilent) this.assess(now);
    if (this.heard >= LIMITS.busyMessages && now - this.pingedAt >= LIMITS.busyMs) this.ping(now);
  }

  onClose(now, conn, code, text = "") {
    if (conn !== this.conn || this.stage === "idle") return;
    this.fail(now, "network", this.notice && code < 4000 ? this.notice.code : code, text);
  }

  onNetwork(now, isOnline) {
    this.isOnline = isOnline;
    if (isOnline) return this.wake(now, "online");
    if (this.stage === "ready") this.probe(now);
    else if (this.phase === "reconnecting" && this.stage === "idle") this.move("offline", "offline");
  }

  /** The page is looked at again, or the network is back: do not wait any longer. */
  wake(now, reason = "wake") {
    if (this.stage === "ready" && now - this.heardAt >= LIMITS.probeMs) this.probe(now);
    if (this.stage !== "idle" || this.phase === "disconnected") return;
    if (this.phase === "offline" && this.isOnline) this.move("reconnecting", reason);
    this.retryAt = Math.min(this.retryAt, Math.max(now, this.attemptAt + LIMITS.backoffBaseMs, this.notBefore));
  }

  /** When [tick] has something to do. */
  deadline() {
    let at = Math.min(this.retryAt, this.giveUpAt, this.deadAt, this.refreshAt);
    if (this.stage === "ready" && this.deadAt === Infinity) at = Math.min(at, this.silenceAt());
    for (const room of this.rooms.values()) at = Math.min(at, room.leaveAt, room.retryAt);
    for (const command of this.queue) at = Math.min(at, command.endsAt);
    return at;
  }

  silenceAt() {
    return this.heardAt + this.heartbeatMs + LIMITS.silenceSlackMs;
  }

  tick(now) {
    const isLate = now - this.deadline() > LIMITS.lateMs;
    if (this.giveUpAt <= now) {
      this.do("close", { conn: this.conn });
      this.fail(now, "timeout");
    } else if (this.deadAt <= now) {
      if (isLate && !this.wasLate) this.probe(now, { wasLate: true }); // messages may wait behind this timer
      else {
        this.do("close", { conn: this.conn });
        this.fail(now, "silence");
      }
    } else if (this.stage === "ready" && this.deadAt === Infinity && this.silenceAt() <= now) {
      this.probe(now, { isSilent: true, missedAt: now });
      this.assess(now);
    }
    if (this.retryAt <= now) this.attempt(now);
    if (this.refreshAt <= now) this.askToken("expiring");
    for (const room of [...this.rooms.values()]) {
      if (room.leaveAt <= now) this.drop(room);
      else if (room.retryAt <= now) this.subscribe(room);
    }
    const ended = this.queue.filter((command) => command.endsAt <= now);
    this.queue = this.queue.filter((command) => command.endsAt > now);
    for (const command of ended) this.settle(command, failure("expired", "there was no connection in time"));
  }

  // -- the connection --

  attempt(now) {
    Object.assign(this, { attemptAt: now, retryAt: Infinity, giveUpAt: now + LIMITS.openMs, notice: null });
    this.conn += 1;
    if (this.tokenWhy === null && this.tokenEndsAt <= now) this.tokenWhy = "expired";
    if (this.tokenWhy === null) return this.open();
    this.stage = "token";
    this.askToken(this.tokenWhy);
  }

  askToken(why) {
    this.refreshAt = Infinity;
    this.do("token", { ask: ++this.ask, why });
  }

  open() {
    this.stage = "opening";
    this.do("open", { conn: this.conn, token: this.token, misses: this.misses });
  }

  /** The attempt or the connection has ended without being asked to. The code says what to do (README's close codes). */
  fail(now, name, code = 0, text = "") {
    if (this.stage === "ready" && now - this.readyAt >= LIMITS.stableMs) this.attempts = 0;
    const afterMs = Math.min(this.notice?.after_ms ?? 0, LIMITS.afterMaxMs);
    this.leaveConnection(now);
    const range = Math.floor(code / 100);
    if (range === 40) return this.stop("refused", { code, text });
    if (range === 43) {
      this.refusals += 1;
      if (this.refusals > 1) return this.stop("token", { code, text });
      Object.assign(this, { tokenWhy: code === 4301 ? "revoked" : "expired", refused: this.token });
    }
    const isAtOnce = (range === 42 || range === 43) && this.attempts === 0;
    this.notBefore = now + afterMs;
    this.retryAt = this.notBefore + (isAtOnce ? 0 : this.random() * backoffMs(this.attempts));
    Object.assign(this, { attempts: this.attempts + 1, misses: this.misses + (range < 40), isFirst: false });
    const reason = range === 43 ? "token" : code >= 4000 ? "server" : name;
    this.move(this.isOnline && this.attempts < LIMITS.attemptsUntilOffline ? "reconnecting" : "offline", reason, { code, text });
  }

  stop(name, detail) {
    this.clearTimers();
    Object.assign(this, { stage: "idle", tokenWhy: this.tokenWhy ?? (name === "close" ? null : "connect") });
    this.move("disconnected", name, detail);
    for (const command of this.queue.splice(0)) this.settle(command, failure("disconnected", "the client is disconnected"));
  }

  /** Nothing is heard of this connection any more; what was awaited is sent again or has failed. */
  leaveConnection(now) {
    const lost = [...this.pending.values()];
    this.pending.clear();
    this.clearTimers();
    this.conn += 1;
    Object.assign(this, { stage: "idle", isSilent: false, wasLate: false, queued: 0, rttMs: null, slowUntil: -Infinity });
    for (const { kind, command } of lost) {
      if (kind !== "command") continue;
      if (command.isSafe && command.endsAt > now) this.queue.push(command);
      else this.settle(command, failure("connection_lost", "the connection was lost before the answer came: it may have been done or not"));
    }
    for (const room of this.rooms.values()) {
      Object.assign(room, { ask: null, retryAt: Infinity, isResyncing: false });
      if (room.isGapOwed) this.gap(room, { lane: null, from: null, to: null });
      if (room.status === "loading" || room.error) continue;
      room.status = room.epoch === null ? "joining" : "stale";
      if (room.epoch !== null) room.staleSince ??= this.heardAt;
      this.changed(room);
    }
  }

  move(phase, name, { code = 0, text = "" } = {}) {
    if (!TRANSITIONS[this.phase][phase]?.includes(name)) throw new Error(`tickerd: ${this.phase} → ${phase} (${name}) is no transition`);
    Object.assign(this, { phase, reason: { name, code, text } });
    if (this.state !== "connected") this.quality = "offline";
    this.emit(null, "change");
  }

  /** Asks for a sign of life. */
  probe(now, marks) {
    if (this.deadAt < Infinity && !marks) return;
    Object.assign(this, { deadAt: now + LIMITS.probeMs }, marks);
    this.ping(now);
  }

  /** The answer waits behind what has not been read yet, be it in this machine. */
  ping(now) {
    Object.assign(this, { heard: 0, pingedAt: now });
    this.sendAsking({ type: "ping" }, { kind: "ping", at: now });
  }

  /** How good the connection is, from the round trip, what waits for us at the server, and heartbeats that did not come. */
  assess(now) {
    if (this.stage !== "ready") return;
    const isSlow = this.slowUntil > now || this.rttMs > 1_000 || this.queued > 1_000;
    const isFair = this.rttMs > 250 || this.queued > 100 || now - this.missedAt < 60_000;
    const quality = this.isSilent || isSlow ? "poor" : isFair ? "fair" : "good";
    const hasChanged = quality !== this.quality;
    this.quality = quality;
    if (quality === "poor" && ["resuming", "connected"].includes(this.phase)) this.move("degraded", this.isSilent ? "silence" : "slow");
    else if (quality !== "poor" && this.phase === "degraded") this.move("connected", "recovered");
    else if (hasChanged) this.emit(null, "change");
  }

  onWelcome({ data, ts }, now) {
    if (this.stage !== "open") return;
    Object.assign(this, { stage: "ready", welcome: data, readyAt: now, giveUpAt: Infinity, refused: null, refusals: 0 });
    this.heartbeatMs = data.heartbeat_ms;
    if (data.expires_at !== undefined) this.tokenEndsAt = now + data.expires_at * 1000 - ts - LIMITS.probeMs;
    this.move("resuming", "welcome");
    this.isFirst = false;
    for (const room of this.rooms.values()) this.subscribe(room);
    this.ping(now);
    for (const command of this.queue.splice(0)) this.sendCommand(command);
    this.assess(now);
    this.checkResumed();
  }

  checkResumed() {
    if (this.phase !== "resuming" || [...this.rooms.values()].some((room) => room.ask !== null || room.status === "catching_up")) return;
    this.move("connected", "caught_up");
  }

  // -- commands --

  send(message) {
    this.do("send", { conn: this.conn, text: JSON.stringify(message) });
  }

  sendAsking(message, awaited) {
    this.lastId += 1;
    this.pending.set(this.lastId, awaited);
    this.send({ ...message, id: this.lastId });
    return this.lastId;
  }

  sendCommand(command) {
    if (command.hasAnswer) this.sendAsking(command.message, { kind: "command", command });
    else {
      this.send(command.message);
      this.settle(command, {});
    }
  }

  onAnswer(message, now) {
    const awaited = this.pending.get(message.id);
    this.pending.delete(message.id);
    const error = message.type === "error" || message.ok === false ? refusal(message) : null;
    if (!awaited) return error && this.emit(null, "error", error); // what we cannot have meant, or the first message's refusal
    if (awaited.kind === "command") this.settle(awaited.command, error ? { error } : { answer: message });
    else if (awaited.kind === "ping") {
      this.rttMs = now - awaited.at;
      this.assess(now);
    } else if (awaited.kind === "auth") {
      if (error) return this.emit(null, "error", error);
      Object.assign(this, { token: awaited.token, tokenEndsAt: Infinity });
      for (const room of this.rooms.values()) if (room.error) this.subscribe(room); // it may allow more
    } else if (awaited.kind === "subscribe" && error) this.deny(awaited.room, error, now);
    else if (awaited.kind === "snapshot" && error) awaited.room.isResyncing = false;
  }

  settle({ key }, outcome) {
    this.do("settle", { key, ...outcome });
  }

  // -- rooms --

  subscribe(room) {
    if (this.stage !== "ready" || room.status === "loading" || room.ask !== null) return;
    if (room.user !== null && room.user !== this.welcome.user) forgetAll(room); // what another user saw is none of this one's business
    room.status = room.epoch === null ? "joining" : "catching_up";
    Object.assign(room, { user: this.welcome.user, retryAt: Infinity, error: null });
    const command = { type: "subscribe", room: room.name, every_ms: room.everyMs, types: room.types, keys: room.keys };
    if (room.epoch !== null) command.since = { epoch: room.epoch, seq: room.seq };
    else if (room.history !== undefined) command.history = room.history;
    if (room.delta) command.delta = true;
    room.ask = this.sendAsking(command, { kind: "subscribe", room });
    this.changed(room);
  }

  deny(room, error, now) {
    Object.assign(room, { ask: null, error });
    room.status = error.retryAfterMs === null ? "denied" : "joining";
    if (error.retryAfterMs !== null) room.retryAt = now + error.retryAfterMs + this.random() * LIMITS.backoffBaseMs;
    this.changed(room);
    this.checkResumed();
  }

  drop(room) {
    this.rooms.delete(room.name);
    this.do("dropped", { room });
    const isJoined = this.stage === "ready" && (room.ask !== null || ["catching_up", "live"].includes(room.status));
    if (isJoined) this.sendAsking({ type: "unsubscribe", room: room.name }, { kind: "unsubscribe" });
    this.checkResumed();
  }

  onSubscribed(message) {
    const room = this.rooms.get(message.room);
    this.pending.delete(message.id);
    if (!room || room.ask !== message.id) return; // left meanwhile
    for (const [lane, end] of Object.entries(message.rewound ?? {})) this.rewind(room, lane, end);
    const isOtherEpoch = room.epoch !== null && room.epoch !== message.epoch;
    this.enter(room, message.epoch, (lane) => message.from[lane] - 1);
    Object.assign(room, { ask: null, status: "catching_up", isSwept: room.isSwept && !isOtherEpoch });
    room.isGapOwed = isOtherEpoch && message.recovered === false;
    this.changed(room);
  }

  /** Counting goes on in this epoch. Revisions of another one say nothing in it. */
  enter(room, epoch, seqOf) {
    if (room.epoch !== epoch) for (const [id, state] of room.states) room.states.set(id, { ...state, rev: -1 });
    Object.assign(room, { epoch, seq: Object.fromEntries(LANES.map((lane) => [lane, seqOf(lane)])) });
  }

  /** Events beyond `end` were pushed but never became durable: there are none such. */
  rewind(room, lane, end) {
    const isForgotten = (event) => event.lane === lane && event.seq > end;
    const forgotten = room.events.filter(isForgotten);
    room.events = room.events.filter((event) => !isForgotten(event));
    for (const [id, event] of room.eventIds) if (isForgotten(event)) room.eventIds.delete(id);
    this.emit(room, "rewound", { room: room.name, lane, end, forgotten });
  }

  onCaughtUp(message) {
    const room = this.rooms.get(message.room);
    if (!room || room.ask !== null) return;
    if (!room.isSwept) for (const [id, state] of room.states) if (state.rev < 0) this.removeState(room, id); // gone with the old epoch
    Object.assign(room, { status: "live", staleSince: null, isSwept: true, isGapOwed: false, isResyncing: false });
    this.changed(room);
    this.checkResumed();
  }

  onGap(message) {
    const room = this.rooms.get(message.room);
    if (!room || room.ask !== null) return;
    if (message.to !== null) room.seq[message.lane] = Math.max(room.seq[message.lane], message.to);
    this.gap(room, message);
  }

  /** The page is told that events are missing; `to` is null if nobody knows how many, `lane` too if nobody knows where. */
  gap(room, { lane, from, to }) {
    room.isGapOwed = false;
    this.emit(room, "gap", { room: room.name, lane, epoch: room.epoch, from, to });
  }

  onEpoch(message) {
    const room = this.rooms.get(message.room);
    if (room) this.enter(room, message.epoch, (lane) => message.seq[lane] ?? 0);
  }

  onUnsubscribed(message, now) {
    const room = this.rooms.get(message.room);
    if (room) this.deny(room, new TickerdError(message.name, "the token does not allow this room any more", message), now);
  }

  onEvent(event) {
    const room = this.rooms.get(event.room);
    if (!room || room.ask !== null) return; // left, or joined anew, meanwhile
    if (event.rev !== undefined) return this.onState(room, event);
    if (event.seq !== undefined && !event.redelivered) {
      const last = room.seq[event.lane];
      if (event.seq <= last) return;
      if (event.seq > last + 1) this.gap(room, { lane: event.lane, from: last + 1, to: event.seq - 1 });
      room.seq[event.lane] = event.seq;
    }
    if (event.event_id !== undefined && !isNew(room.eventIds, event)) return;
    if (event.seq !== undefined) room.events = [...room.events, event].slice(Math.max(0, room.events.length + 1 - room.keep));
    this.deliver(room, event);
  }

  onState(room, event) {
    const id = `${event.type}\n${event.key}`;
    const known = room.states.get(id);
    if (known && known.rev >= event.rev) return;
    if (event.deleted) return known && this.removeState(room, id, event);
    if (event.patch !== undefined && known?.rev !== event.base) return this.resync(room);
    const data = event.patch === undefined ? event.data : mergePatch(known.data, event.patch);
    const { type, key, lane, rev, ts } = event;
    room.states.set(id, { type, key, lane, rev, ts, data });
    this.deliver(room, { type, room: room.name, lane, key, rev, ts, data });
  }

  removeState(room, id, { rev, ts } = {}) {
    const { type, key, lane } = room.states.get(id);
    room.states.delete(id);
    this.deliver(room, { type, room: room.name, lane, key, rev, ts, deleted: true, data: null });
  }

  /** A delta came without what it builds on: ask for everything, once. */
  resync(room) {
    if (room.isResyncing) return;
    room.isResyncing = true;
    this.sendAsking({ type: "snapshot", room: room.name }, { kind: "snapshot", room });
  }

  deliver(room, event) {
    room.version += 1;
    this.emit(room, "event", event);
  }

  changed(room) {
    room.version += 1;
    this.emit(room, "change");
  }

  emit(room, name, detail) {
    this.do("emit", { room, name, detail });
  }

  do(kind, effect) {
    this.effects.push({ kind, ...effect });
  }
}

/** What is done with each message of the protocol itself; all else is an event. */
const HANDLERS = {
  welcome: Core.prototype.onWelcome,
  ok: Core.prototype.onAnswer,
  error: Core.prototype.onAnswer,
  subscribed: Core.prototype.onSubscribed,
  caught_up: Core.prototype.onCaughtUp,
  gap: Core.prototype.onGap,
  epoch: Core.prototype.onEpoch,
  unsubscribed: Core.prototype.onUnsubscribed,
  auth_expiring() {
    this.askToken("expiring");
  },
  heartbeat({ rtt_us: rttUs, queued }, now) {
    if (rttUs !== undefined) this.rttMs = rttUs / 1000;
    this.queued = queued;
    this.assess(now);
  },
  slow_consumer(_, now) {
    this.slowUntil = now + this.heartbeatMs;
    this.assess(now);
  },
  disconnect(message) {
    this.notice = message;
  },
};

const backoffMs = (attempts) => Math.min(LIMITS.backoffMaxMs, LIMITS.backoffBaseMs * 2 ** attempts);
const failure = (name, message) => ({ error: new TickerdError(name, message) });
const refusal = (message) => new TickerdError(message.name, message.message, message);

function forgetAll(room) {
  Object.assign(room, { epoch: null, seq: {}, states: new Map(), events: [], eventIds: new Map(), staleSince: null });
}

function isNew(ids, { event_id: id, lane, seq }) {
  if (ids.has(id)) return false;
  ids.set(id, { lane, seq });
  if (ids.size > LIMITS.eventIdsKept) ids.delete(ids.keys().next().value);
  return true;
}

// ---- the shell -----------------------------------------------------------------------------------------------------

/**
 * The seam for other ways than WebSocket: a transport opens a connection that carries the messages of `tickerd.v1`, each way,
 * and tells what becomes of it. `handlers` are onOpen(), onMessage(text), onClose(code, reason).
 */
export const webSocket = {
  open({ url, token, tokenIn }, handlers) {
    const address = new URL(url);
    if (tokenIn === "query") address.searchParams.set("token", token);
    const socket = new WebSocket(address, tokenIn === "subprotocol" ? ["tickerd.v1", `bearer.${token}`] : ["tickerd.v1"]);
    socket.onopen = () => handlers.onOpen();
    socket.onmessage = ({ data }) => handlers.onMessage(data);
    socket.onclose = ({ code, reason }) => handlers.onClose(code, reason);
    return {
      send: (text) => socket.send(text),
      close: () => {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close();
      },
    };
  },
};

/** Connects at once; see client.d.ts for the options. */
export function connect(options) {
  const client = new Client(options);
  client.connect();
  return client;
}

/** Listeners by name. What one of them throws concerns nobody else. */
class Emitter {
  #listeners = new Map();
  #isDue = false; // a `view`

  /** Calls `listener` at each such event; returns what ends that. */
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  /** @internal */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        void Promise.reject(error); // the console shows it
      }
    }
  }

  /** Calls the watchers (`on("view", …)`) at the next frame, once for however much has changed. @internal */
  emitSoon() {
    if (this.#isDue || !this.#listeners.get("view")?.size) return;
    this.#isDue = true;
    nextFrame(() => {
      this.#isDue = false;
      this.emit("view");
    });
  }
}

/** A hidden page has no frames. */
function nextFrame(callback) {
  return globalThis.document?.visibilityState === "visible" ? requestAnimationFrame(callback) : setTimeout(callback, 50);
}

export class Client extends Emitter {
  #core;
  #options;
  #rooms = new Map();
  #promises = new Map();
  #connection = null;
  #timer = null;
  #timerAt = Infinity;
  #isRunning = false;
  #lastNow = 0;
  #setBack = 0;
  #view = null;
  #store;
  #unsaved = new Set(); // rooms that the store does not have as they are
  #saveTimer = null;
  #unheard = [];

  constructor({ url, token, tokenIn = "subprotocol", transport = webSocket, fallback = transport === webSocket, shared = false, cache = null, store = cache && new Store(cache) } = {}) {
    super();
    this.#options = { url: endpoint(url), token: typeof token === "function" ? token : () => token, tokenIn, transport, fallback, shared };
    this.#core = new Core({ tokenIn });
    this.#store = store;
    this.#core.isOnline = globalThis.navigator?.onLine ?? true;
    this.#hear(globalThis, "online", () => this.#core.onNetwork(this.#now(), true));
    this.#hear(globalThis, "offline", () => this.#core.onNetwork(this.#now(), false));
    this.#hear(globalThis, "pageshow", () => this.#core.wake(this.#now()));
    this.#hear(globalThis.document, "visibilitychange", () => document.visibilityState === "visible" && this.#core.wake(this.#now()));
  }

  /** What the page shows of the connection: a new object whenever it has changed. */
  get view() {
    const { state, substate, reason, quality, attempts, retryAt, rttMs, queued, welcome } = this.#core;
    const { user = null, capabilities = [] } = welcome ?? {};
    const retry = { attempts, retryAt: Number.isFinite(retryAt) ? retryAt : null };
    this.#view ??= Object.freeze({ state, substate, reason, quality, transport: this.#connection?.kind ?? "websocket", ...retry, rttMs, queued, user, capabilities });
    return this.#view;
  }

  get state() {
    return this.#core.state;
  }

  connect() {
    this.#input(() => this.#core.connect(this.#now()));
  }

  /** Ends the connection; rooms stay, and connect() goes on where they were. */
  disconnect() {
    this.#input(() => this.#core.disconnect(this.#now()));
  }

  /** Ends the client for good. */
  close() {
    this.disconnect();
    this.#save();
    clearTimeout(this.#timer);
    for (const unhear of this.#unheard.splice(0)) unhear();
  }

  /** Joins a room. Whoever asks for a room that is joined already gets the same one; it is left when all have left it. */
  room(name, options = {}) {
    let room = this.#rooms.get(name);
    this.#input(() => {
      const record = this.#core.join(this.#now(), name, { ...options, isCached: Boolean(this.#store) });
      if (room?.record === record) return;
      room = new Room(this, record);
      this.#rooms.set(name, room);
      if (this.#store) this.#load(record);
    });
    room.users += 1;
    return room;
  }

  /** Publishes an event; the token needs the scope `publish`. Resolves to the answer. */
  publish(event, { ttlMs } = {}) {
    return this.#command(event, { ttlMs, isSafe: event.event_id !== undefined });
  }

  /** Acknowledges one event if it has an `event_id`, else all of its room and lane up to it. */
  ack({ event_id, room, lane, seq }) {
    if (event_id !== undefined) return this.#command({ type: "ack", event_id }, { isSafe: true });
    if (seq === undefined) throw new TypeError("ack: give the event, or its event_id in an object");
    const epoch = this.#core.rooms.get(room)?.epoch;
    return this.#command({ type: "ack", room, lane, epoch, seq }, { hasAnswer: false });
  }

  /** @internal */
  refresh(room, digest) {
    return this.#command({ type: "snapshot", room, digest });
  }

  /** @internal */
  leave(room) {
    room.users -= 1;
    if (room.users === 0) this.#input(() => this.#core.leave(this.#now(), room.name));
  }

  #command(message, options) {
    return new Promise((resolve, reject) => {
      this.#input(() => this.#promises.set(this.#core.command(this.#now(), message, options), { resolve, reject }));
    });
  }

  // Unix milliseconds, also while the machine slept; but it never goes back.
  #now() {
    const now = Date.now() + this.#setBack;
    if (now < this.#lastNow) this.#setBack += this.#lastNow - now;
    this.#lastNow = Math.max(now, this.#lastNow);
    return this.#lastNow;
  }

  #hear(target, name, react) {
    if (!target?.addEventListener) return;
    const listener = () => this.#input(react);
    target.addEventListener(name, listener);
    this.#unheard.push(() => target.removeEventListener(name, listener));
  }

  /** Tells the core something, and does what it says. What is told meanwhile waits for its turn. */
  #input(tell) {
    tell();
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let effect = this.#core.effects.shift(); effect; effect = this.#core.effects.shift()) this.#perform(effect);
    this.#isRunning = false;
    this.#setTimer();
  }

  #setTimer() {
    const at = this.#core.deadline();
    if (at >= this.#timerAt) return; // it looks again when it is due
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      this.#input(() => this.#core.tick(this.#now()));
    }, Math.max(0, at - this.#now()));
  }

  #perform({ kind, conn, text, token, misses, ask, why, room, name, detail, key, error, answer }) {
    if (kind === "emit") this.#emit(room, name, detail);
    else if (kind === "send") this.#connection.send(text);
    else if (kind === "open") void this.#open(conn, token, misses);
    else if (kind === "close") this.#connection?.close();
    else if (kind === "token") this.#askToken(ask, why);
    else if (kind === "dropped") this.#rooms.get(room.name)?.record === room && this.#rooms.delete(room.name);
    else if (error) this.#promises.get(key).reject(error);
    else this.#promises.get(key).resolve(answer);
    if (kind === "settle") this.#promises.delete(key);
  }

  #emit(record, name, detail) {
    const room = record && this.#rooms.get(record.name);
    if (record && room?.record !== record) return; // left meanwhile
    if (!room) this.#view = null;
    (room ?? this).emit(name, detail);
    (room ?? this).emitSoon();
    if (room && name === "event") this.emit(name, detail);
    if (room && this.#store) this.#saveSoon(record);
  }

  async #open(conn, token, misses) {
    const options = this.#options;
    const handlers = {
      onOpen: () => this.#input(() => this.#core.onOpen(this.#now(), conn)),
      onMessage: (text) => this.#input(() => this.#core.onMessage(this.#now(), conn, text)),
      onClose: (code, reason) => this.#input(() => this.#core.onClose(this.#now(), conn, code, reason)),
    };
    try {
      const share = ({ Tabs }) => options.shared && Object.assign(options, { transport: new Tabs(options.transport, options.fallback), shared: false });
      if (options.shared) await import("./client-tabs.js").then(share);
      else if (misses >= LIMITS.attemptsUntilFallback && options.fallback && options.transport === webSocket)
        options.transport = new (await import("./client-fallback.js")).Ladder(webSocket);
      if (conn === this.#core.conn) this.#connection = options.transport.open({ url: options.url, token, tokenIn: options.tokenIn, misses }, handlers);
    } catch (error) {
      this.emit("error", error);
      handlers.onClose(0, String(error));
    }
  }

  async #askToken(ask, why) {
    try {
      const token = await this.#options.token(why);
      this.#input(() => this.#core.onToken(this.#now(), ask, token));
    } catch (error) {
      this.#input(() => this.#core.onTokenError(this.#now(), ask, error));
    }
  }

  // -- the cache --

  async #load(record) {
    const saved = await this.#store.load(record.name).catch(() => null);
    this.#input(() => this.#core.restore(record, saved));
  }

  #saveSoon(record) {
    this.#unsaved.add(record);
    this.#saveTimer ??= setTimeout(() => this.#save(), 1000);
  }

  #save() {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = null;
    for (const { name, epoch, seq, states, events, eventIds, user } of this.#unsaved) {
      if (epoch === null) continue;
      const at = this.#core.heardAt;
      const saved = { format: SAVED_FORMAT, epoch, seq, states: [...states], events, eventIds: [...eventIds], user, at };
      this.#store.save(name, saved).catch((error) => this.emit("error", error));
    }
    this.#unsaved.clear();
  }
}

/** A joined room. Its events: `event`, `change`, `gap`, `rewound`, and `view` once for each frame in which anything changed. */
export class Room extends Emitter {
  #client;
  #view = null;

  /** @internal */
  constructor(client, record) {
    super();
    this.#client = client;
    Object.assign(this, { record, name: record.name, users: 0 });
  }

  /** What the page shows of the room: a new object whenever anything has changed. */
  get view() {
    const { name, status, error, staleSince, states, events, version } = this.record;
    if (this.#view?.version !== version) {
      const isLoading = status !== "live" && staleSince === null && error === null;
      this.#view = Object.freeze({ name, status, isLoading, error, staleSince, states: [...states.values()], events, version });
    }
    return this.#view;
  }

  /** The newest `data` of a state; without a key, of the first of that type. */
  state(type, key) {
    if (key !== undefined) return this.record.states.get(`${type}\n${key}`)?.data;
    for (const state of this.record.states.values()) if (state.type === type) return state.data;
    return undefined;
  }

  /** Asks for all states anew. */
  refresh() {
    return this.#client.refresh(this.name);
  }

  /** Whether it holds the states that the server has: `{ matches, keys }`; `matches` is null if they change too fast to tell. */
  async verify() {
    return (await import("./client-digest.js")).verify(this.record, () => this.#client.refresh(this.name, true));
  }

  leave() {
    this.#client.leave(this);
  }
}

/** Rooms in IndexedDB, under a name of the page's choice: that of its user, for instance. */
class Store {
  #database = null;

  constructor(name) {
    this.name = name;
  }

  load(room) {
    return this.#request("readonly", (rooms) => rooms.get(`${this.name}\n${room}`));
  }

  save(room, saved) {
    return this.#request("readwrite", (rooms) => rooms.put(saved, `${this.name}\n${room}`));
  }

  async #request(mode, ask) {
    this.#database ??= new Promise((resolve, reject) => {
      const opening = indexedDB.open("tickerd", 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore("rooms");
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
    const rooms = (await this.#database).transaction("rooms", mode).objectStore("rooms");
    return new Promise((resolve, reject) => {
      const request = ask(rooms);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }
}

/** `/v1/ws` of this page's server, or of the one given. */
function endpoint(url) {
  const address = new URL(url ?? "/v1/ws", globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}
