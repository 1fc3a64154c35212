// A model of the daemon, as its protocol is described and not as the client understands it: rooms with streams and states, epochs,
// positions, deltas, conflation, restarts with and without a disk. And the account of what a page was told, checked against it.

import assert from "node:assert/strict";

const LANES = ["alert", "update", "metric"];
const HISTORY = 6;

/** SplitMix64's little brother (mulberry32): the same seed, the same run. */
export function randomBy(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Server {
  constructor(random) {
    this.random = random;
    this.starts = 0;
    this.rooms = new Map();
    this.published = 0; // names each event, whatever its number
    this.connections = new Set();
    this.newEpoch();
  }

  pick(items) {
    return items[Math.floor(this.random() * items.length)];
  }

  newEpoch() {
    this.starts += 1;
    this.epoch = `e${this.starts}`;
  }

  room(name) {
    if (!this.rooms.has(name)) {
      const lanes = Object.fromEntries(LANES.map((lane) => [lane, { head: 0, durable: 0, events: [], ends: new Map() }]));
      this.rooms.set(name, { name, epoch: this.epoch, known: new Set([this.epoch]), lanes, states: new Map() });
    }
    return this.rooms.get(name);
  }

  // -- what publishers do --

  publish(name, lane) {
    const [room, uid] = [this.room(name), ++this.published];
    const stream = room.lanes[lane];
    stream.head += 1;
    const event_id = this.random() < 0.5 ? `id${uid}` : undefined;
    const event = { type: "note", room: name, lane, seq: stream.head, event_id, data: { uid } };
    stream.events.push(event);
    if (stream.events.length > HISTORY) stream.events.shift();
    if (this.random() < 0.7) stream.durable = stream.head;
    this.push(name, event);
  }

  setState(name, key) {
    const { states } = this.room(name);
    const old = states.get(key);
    const data = { ...(old?.data ?? {}) };
    for (let i = 0; i < 1 + this.random() * 2; i++) {
      const member = this.pick(["a", "b", "c"]);
      if (this.random() < 0.2) delete data[member];
      else data[member] = this.random() < 0.3 ? { x: Math.floor(this.random() * 4), y: this.published } : String(++this.published);
    }
    states.set(key, { rev: (old?.rev ?? 0) + 1, data });
    this.owe(name, key);
  }

  deleteState(name, key) {
    const { states } = this.room(name);
    if (!states.get(key)?.data) return;
    states.set(key, { rev: states.get(key).rev + 1, data: null });
    this.owe(name, key);
  }

  owe(name, key) {
    for (const { joined } of this.connections) joined.get(name)?.late.add(key);
  }

  /** Lets the windows' states go: what changed twice meanwhile goes once. */
  flushStates() {
    for (const connection of this.connections) {
      for (const [name, member] of connection.joined) {
        for (const key of member.late) connection.putState(name, member, key);
        member.late.clear();
      }
    }
  }

  push(name, event) {
    for (const connection of this.connections) if (connection.joined.has(name)) connection.say(event);
  }

  // -- what becomes of the daemon --

  /** With a disk: what was not durable is gone, numbers go on in a new epoch. Without: everything is gone. */
  restart(hasDisk) {
    this.newEpoch();
    this.connections.clear();
    if (!hasDisk) return this.rooms.clear();
    for (const room of this.rooms.values()) {
      for (const stream of Object.values(room.lanes)) {
        stream.events = stream.events.filter(({ seq }) => seq <= stream.durable);
        stream.head = stream.durable;
        stream.ends.set(room.epoch, stream.durable);
      }
      room.epoch = this.epoch;
      room.known.add(this.epoch);
    }
  }

  connect() {
    const connection = new Connection(this);
    this.connections.add(connection);
    return connection;
  }
}

class Connection {
  toClient = [];
  joined = new Map(); // room → { sent: what was said of each state, late: keys that are not yet sent, delta }
  isWelcome = false;

  constructor(server) {
    this.server = server;
  }

  get isOpen() {
    return this.server.connections.has(this);
  }

  close() {
    this.server.connections.delete(this);
  }

  say(message) {
    this.toClient.push(JSON.stringify(message));
  }

  take(text, now) {
    const message = JSON.parse(text);
    const { id, room } = message;
    if (message.type === "ping" || message.type === "ack" || message.type === "auth") return this.say({ type: "ok", id });
    if (message.type === "subscribe") return this.join(message);
    if (message.type === "unsubscribe") {
      this.joined.delete(room);
      return this.say({ type: "ok", id });
    }
    if (message.type !== "snapshot") throw new Error(`${now}: the client sent ${text}`);
    this.say({ type: "ok", id });
    const member = this.joined.get(room);
    assert.ok(member, `${now}: a snapshot of a room that is not joined`);
    for (const [key, { data }] of this.server.room(room).states) if (data !== null) this.putState(room, member, key, true);
    this.say({ type: "caught_up", room });
  }

  putState(name, member, key, isFull = false) {
    const { rev, data } = this.server.room(name).states.get(key);
    const sent = member.sent.get(key);
    const frame = { type: "state", room: name, lane: "update", key, rev };
    member.sent.set(key, { rev, data });
    if (data === null) return this.say({ ...frame, deleted: true });
    const isDelta = member.delta && sent?.data && !isFull && this.server.random() < 0.9;
    this.say(isDelta ? { ...frame, base: sent.rev, patch: diff(sent.data, data) } : { ...frame, data });
  }

  join({ id, room: name, since, delta }) {
    const room = this.server.room(name);
    const [from, gaps, rewound, replay] = [{}, [], {}, []];
    for (const lane of LANES) {
      const { events, head, ends } = room.lanes[lane];
      const oldest = events[0]?.seq ?? head + 1;
      const end = since && since.epoch === room.epoch ? head : since && room.known.has(since.epoch) ? ends.get(since.epoch) : undefined;
      if (!since) from[lane] = head + 1;
      else if (end === undefined) {
        from[lane] = oldest;
        gaps.push({ type: "gap", room: name, lane, epoch: since.epoch, from: since.seq[lane] + 1, to: null });
      } else {
        if (since.seq[lane] > end) rewound[lane] = end;
        from[lane] = Math.min(since.seq[lane], end) + 1;
        if (from[lane] < oldest) gaps.push({ type: "gap", room: name, lane, epoch: room.epoch, from: from[lane], to: oldest - 1 });
      }
      replay.push(...gaps.filter((gap) => gap.lane === lane), ...events.filter(({ seq }) => seq >= from[lane]));
    }
    const seq = Object.fromEntries(LANES.map((lane) => [lane, room.lanes[lane].head]));
    const recovered = since ? gaps.length === 0 : undefined;
    const { epoch } = room;
    this.say({ type: "subscribed", id, room: name, epoch, from, seq, recovered, ...(Object.keys(rewound).length && { rewound }) });
    replay.forEach((frame) => this.say(frame));
    const member = { sent: new Map(), late: new Set(), delta };
    this.joined.set(name, member);
    for (const [key, { data }] of room.states) if (data !== null || since) this.putState(name, member, key, true);
    this.say({ type: "caught_up", room: name });
  }
}

/** A merge patch that makes `after` of `before`; there are no nulls in either. */
function diff(before, after) {
  const patch = {};
  for (const name of Object.keys(before)) if (!(name in after)) patch[name] = null;
  for (const [name, value] of Object.entries(after)) {
    const old = before[name];
    const isNested = typeof value === "object" && typeof old === "object";
    if (isNested) {
      const inner = diff(old, value);
      if (Object.keys(inner).length > 0) patch[name] = inner;
    } else if (old !== value) patch[name] = value;
  }
  return patch;
}

/** What one room's page was told. Events are named by `uid`, which no client looks at. */
export class Account {
  constructor(name, seen) {
    Object.assign(this, { name, seen, start: {}, given: new Map(), gaps: [], isOwed: false, states: new Map() });
  }

  /** The client is about to hear this. From where it begins anew it is to have everything, or to be told. */
  hears(text, record, server) {
    const { type, id, from } = JSON.parse(text);
    const isNew = () => record.epoch === null || !server.room(this.name).known.has(record.epoch);
    if (type === "subscribed" && record?.ask === id && isNew()) this.start = from;
  }

  note(what, detail) {
    if (what === "gap") {
      this.gaps.push(detail);
      if (detail.to === null) this.isOwed = false;
      this.seen.gaps += 1;
    } else if (what === "rewound") {
      this.seen.rewound += detail.forgotten.length;
      for (const [uid, event] of this.given) if (event.lane === detail.lane && event.seq > detail.end) this.given.delete(uid);
    } else if (what === "event" && detail.type === "state") {
      if (detail.deleted) this.states.delete(detail.key);
      else this.states.set(detail.key, detail.data);
    } else if (what === "event") {
      assert.ok(!this.given.has(detail.data.uid), `${this.name}: event ${detail.data.uid} came twice`);
      this.given.set(detail.data.uid, detail);
      this.seen.events += 1;
    }
  }

  /** Without a disk the numbers begin anew, and who had a position is to be told. */
  restarted(record, hasDisk) {
    if (hasDisk) return;
    this.gaps = [];
    this.isOwed ||= record.epoch !== null;
  }

  check(room, record) {
    assert.ok(!this.isOwed, `${this.name}: nobody told it that the history was lost`);
    for (const lane of LANES) {
      const { events, head } = room.lanes[lane];
      for (const { seq, data } of events.filter(({ seq }) => seq >= this.start[lane])) {
        const isTold = this.gaps.some((gap) => gap.lane === lane && gap.to !== null && gap.from <= seq && seq <= gap.to);
        assert.ok(this.given.has(data.uid) || isTold, `${this.name} ${lane}: ${seq} is missing`);
      }
      assert.equal(record.seq[lane], head, `${this.name} ${lane}: the position`);
    }
    const expected = [...room.states].filter(([, { data }]) => data !== null).map(([key, { data }]) => [key, data]);
    const sorted = (entries) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
    assert.deepEqual(sorted(this.states), sorted(expected), `${this.name}: what the page was told of states`);
    assert.deepEqual(sorted([...record.states.values()].map(({ key, data }) => [key, data])), sorted(expected), `${this.name}: states`);
  }
}
