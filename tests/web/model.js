// A model of the daemon, as its protocol is described and not as the client understands it: rooms with streams and states, epochs,
// positions, deltas, conflation, restarts with and without a disk. It keeps what the client's account is checked against.

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
    this.connection = null; // { welcomed, joined: Map room → { revs }, toClient: [], late: Set of states not yet sent }
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
      this.rooms.set(name, { name, epoch: this.epoch, known: new Set([this.epoch]), lanes, states: new Map(), start: {} });
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
    this.connection?.joined.get(name)?.late.add(key);
  }

  /** Lets the windows' states go: what changed twice meanwhile goes once. */
  flushStates() {
    for (const [name, member] of this.connection?.joined ?? []) {
      for (const key of member.late) this.putState(name, member, key);
      member.late.clear();
    }
  }

  putState(name, member, key, isFull = false) {
    const { rev, data } = this.room(name).states.get(key);
    const sent = member.sent.get(key);
    const frame = { type: "state", room: name, lane: "update", key, rev };
    member.sent.set(key, { rev, data });
    if (data === null) return this.say({ ...frame, deleted: true });
    const isDelta = member.delta && sent?.data && !isFull && this.random() < 0.9;
    this.say(isDelta ? { ...frame, base: sent.rev, patch: diff(sent.data, data) } : { ...frame, data });
  }

  // -- what becomes of the daemon --

  /** With a disk: what was not durable is gone, numbers go on in a new epoch. Without: everything is gone. */
  restart(hasDisk) {
    this.newEpoch();
    this.connection = null;
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

  // -- the connection --

  connect() {
    this.connection = { toClient: [], joined: new Map(), isWelcome: false };
  }

  say(message) {
    this.connection.toClient.push(JSON.stringify(message));
  }

  push(name, event) {
    if (this.connection?.joined.has(name)) this.say(event);
  }

  take(text, now) {
    const message = JSON.parse(text);
    const { id, room } = message;
    if (message.type === "ping" || message.type === "ack" || message.type === "auth") return this.say({ type: "ok", id });
    if (message.type === "subscribe") return this.join(message);
    if (message.type === "unsubscribe") {
      this.connection.joined.delete(room);
      return this.say({ type: "ok", id });
    }
    if (message.type !== "snapshot") throw new Error(`${now}: the client sent ${text}`);
    this.say({ type: "ok", id });
    const member = this.connection.joined.get(room);
    for (const [key, { data }] of this.room(room).states) if (data !== null) this.putState(room, member, key, true);
    this.say({ type: "caught_up", room });
  }

  join({ id, room: name, since, delta }) {
    const room = this.room(name);
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
      // From here on the client is to have everything, or to be told.
      if (!since || end === undefined) room.start[lane] = from[lane];
      replay.push(...gaps.filter((gap) => gap.lane === lane), ...events.filter(({ seq }) => seq >= from[lane]));
    }
    const seq = Object.fromEntries(LANES.map((lane) => [lane, room.lanes[lane].head]));
    const recovered = since ? gaps.length === 0 : undefined;
    const { epoch } = room;
    this.say({ type: "subscribed", id, room: name, epoch, from, seq, recovered, ...(Object.keys(rewound).length && { rewound }) });
    replay.forEach((frame) => this.say(frame));
    const member = { sent: new Map(), late: new Set(), delta };
    this.connection.joined.set(name, member);
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
