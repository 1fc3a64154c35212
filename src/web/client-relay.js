// How tabs share a connection, without I/O and without a clock: client-tabs.js is the shell around it.
//
// In the tab that has the connection a `Relay` gives each tab what concerns it. In every tab, that one too, a `Link` stands where the client would have its
// connection, and the client resumes over it as it does over a socket: a leader that goes away is to the others a connection that was lost, and their
// positions say what they lack.
//
// A room that another tab has joined already is read over a connection of the tab's own, from its own position, until it has all that the shared one had by
// then; so nobody waits for anybody's replay, and what was missed is the server's word and no guess of ours.

import { LIMITS as CLIENT_LIMITS } from "./client.js";

export const UNREAD_MAX = 4 * 1024 * 1024; // characters on the way to a tab
export const MOVED = 4299; // 42xx: come back at once, with resume
export const SLOW = 4103;
const TOO_MANY = 4003;
const BUSY = 4100; // 41xx: come back after a while
const LANES = ["alert", "update", "metric"];

// ---- in the leading tab ----------------------------------------------------------------------------------------------

/** Shares a connection. `send(text)` is to the server, `tell(tab, message)` to a tab: what its [Link] hears. */
export class Relay {
  #send;
  #tell;
  #leader; // the tab in which this runs
  #tabs = new Set();
  #rooms = new Map();
  #asked = new Map(); // id at the server → who awaits the answer
  #lastId = 0;
  #welcome = null;
  #welcomeAt = 0;
  #heardAt = 0;
  #gathering = null; // tabs that have not said yet what they want of a new connection

  constructor({ send, tell, leader }) {
    this.#send = (message) => send(JSON.stringify(message));
    this.#tell = (tab, message) => this.#tabs.has(tab) && tell(tab, message);
    this.#leader = leader;
  }

  // -- what tabs say --

  open(tab, now) {
    this.#tabs.add(tab);
    if (!this.#welcome) return;
    this.#gathering?.add(tab);
    this.#welcomeTo(tab, now);
  }

  take(tab, text, now) {
    if (!this.#tabs.has(tab)) return;
    const command = JSON.parse(text);
    if (command.type === "subscribe") this.#join(tab, command);
    else if (command.type === "unsubscribe") this.#leave(tab, command);
    else this.#ask({ tab, id: command.id, pingedAt: command.type === "ping" ? now : Infinity }, command);
    if (command.type === "ping") this.#hasSaid(tab); // it comes after the rooms
  }

  /** The tab is gone. Returns whether that is because the server does not answer it: then it answers nobody. */
  close(tab, now) {
    const isSilent = [...this.#asked.values()].some((asked) => {
      return asked.tab === tab && this.#heardAt <= asked.pingedAt && now - asked.pingedAt >= CLIENT_LIMITS.probeMs - CLIENT_LIMITS.lateMs;
    });
    for (const name of [...this.#rooms.keys()]) this.#leave(tab, { type: "unsubscribe", room: name });
    this.#tabs.delete(tab);
    this.#hasSaid(tab);
    return isSilent;
  }

  #ask(asked, command) {
    if (command.id === undefined) return this.#send(command);
    this.#lastId += 1;
    this.#asked.set(this.#lastId, asked);
    this.#send({ ...command, id: this.#lastId });
  }

  // -- the beginning: all tabs' positions first, so that one replay serves them all --

  #onWelcome(welcome, now) {
    this.#welcome = welcome;
    this.#welcomeAt = now;
    this.#gathering = new Set(this.#tabs);
    for (const tab of this.#tabs) this.#welcomeTo(tab, now);
  }

  #welcomeTo(tab, now) {
    const ts = this.#welcome.ts + now - this.#welcomeAt;
    this.#tell(tab, { text: JSON.stringify({ ...this.#welcome, ts }), isLeader: tab === this.#leader });
  }

  #hasSaid(tab) {
    if (this.#gathering?.delete(tab) && this.#gathering.size === 0) this.endGathering();
  }

  /** Who has not said by now what it wants gets it another way. */
  endGathering() {
    if (!this.#gathering) return;
    this.#gathering = null;
    for (const [name, room] of this.#rooms) this.#subscribe(name, room);
  }

  // -- rooms --

  #join(tab, command) {
    this.#remove(tab, command.room);
    const known = this.#rooms.get(command.room);
    if (known?.epoch) return this.#refer(tab, known, command);
    if (known) return known[known.isAsked ? "late" : "askers"].push({ tab, command });
    if (this.#rooms.size >= this.#welcome.data.limits?.rooms) return this.#tell(tab, { isAlone: true });
    const room = { askers: [{ tab, command }], late: [], members: new Map(), isAsked: false, epoch: null, seq: {} };
    this.#rooms.set(command.room, room);
    if (!this.#gathering) this.#subscribe(command.room, room);
  }

  /** Asks once for all who can do with the same answer: from the lowest position of each lane. The others come when it is there. */
  #subscribe(name, room) {
    const { command } = room.askers[0];
    const { since, history } = command;
    const isAlike = (other) => (since ? other.since?.epoch === since.epoch : !other.since && other.history === history);
    room.late = room.askers.filter((asker) => !isAlike(asker.command));
    room.askers = room.askers.filter((asker) => isAlike(asker.command));
    const lowest = (lane) => Math.min(...room.askers.map((asker) => asker.command.since.seq[lane]));
    room.since = since && { epoch: since.epoch, seq: byLane(lowest) };
    const delta = room.askers.some((asker) => asker.command.delta) || undefined;
    room.isAsked = true;
    const all = { every_ms: undefined, types: undefined, keys: undefined }; // what one tab does not want, another may
    this.#ask({ room, name }, { ...command, ...all, since: room.since, delta });
  }

  #onSubscribed(room, message) {
    const { epoch, from } = message;
    Object.assign(room, { epoch, seq: byLane((lane) => from[lane] - 1) });
    for (const { tab, command } of room.askers.splice(0)) {
      const { since } = command;
      const isLowest = !since || LANES.every((lane) => since.seq[lane] === room.since.seq[lane]);
      if (!isLowest && (since.epoch !== epoch || message.rewound)) room.late.push({ tab, command });
      else {
        const own = isLowest ? from : byLane((lane) => Math.max(from[lane], since.seq[lane] + 1));
        room.members.set(tab, byLane((lane) => own[lane] - 1));
        this.#tell(tab, { text: JSON.stringify({ ...message, id: command.id, from: own }) });
      }
    }
    for (const { tab, command } of room.late.splice(0)) this.#refer(tab, room, command);
  }

  /** The tab reads for itself what was before this; from here on it hears what all hear. */
  #refer(tab, room, command) {
    room.members.set(tab, null);
    this.#tell(tab, { own: command, epoch: room.epoch, seq: { ...room.seq } });
  }

  #onDenied({ room, name }, message) {
    this.#rooms.delete(name);
    for (const { tab, command } of [...room.askers, ...room.late]) this.#tell(tab, { text: JSON.stringify({ ...message, id: command.id }) });
  }

  #leave(tab, command) {
    const room = this.#rooms.get(command.room);
    const wasThere = this.#remove(tab, command.room);
    if (wasThere && !this.#rooms.has(command.room) && room.isAsked) this.#ask({ tab, id: command.id }, { ...command, id: command.id ?? 0 });
    else if (command.id !== undefined) this.#tell(tab, { text: JSON.stringify({ type: "ok", id: command.id }) });
  }

  #remove(tab, name) {
    const room = this.#rooms.get(name);
    if (!room) return false;
    const count = () => room.askers.length + room.late.length + room.members.size;
    const before = count();
    const isOther = (asker) => asker.tab !== tab;
    Object.assign(room, { askers: room.askers.filter(isOther), late: room.late.filter(isOther) });
    room.members.delete(tab);
    if (count() === 0) this.#rooms.delete(name);
    return count() < before;
  }

  // -- what the server says --

  hear(text, now) {
    this.#heardAt = now;
    const message = parse(text);
    const { type, id } = message;
    if (type === "welcome") this.#onWelcome(message, now);
    else if (["ok", "error", "subscribed", undefined].includes(type) && id !== undefined) this.#onAnswer(message);
    else if (message.room !== undefined) this.#onRoom(message, text);
    else if (type === "auth_expiring") this.#tell(this.#leader, { text }); // it is that tab's token
    else for (const tab of this.#tabs) this.#tell(tab, { text });
  }

  #onAnswer(message) {
    const asked = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    if (!asked) return;
    if (!asked.room) return this.#tell(asked.tab, { text: JSON.stringify({ ...message, id: asked.id }) });
    if (this.#rooms.get(asked.name) !== asked.room) return; // all have left meanwhile
    if (message.type === "subscribed") this.#onSubscribed(asked.room, message);
    else this.#onDenied(asked, message);
  }

  #onRoom(message, text) {
    const room = this.#rooms.get(message.room);
    if (!room?.epoch) return; // of a former membership
    const { type, lane, seq } = message;
    if (type === "gap") return this.#onGap(room, message);
    if (type === "epoch") Object.assign(room, { epoch: message.epoch, seq: byLane((lane) => message.seq[lane] ?? 0) });
    if (seq !== undefined && !isAside(message)) room.seq[lane] = Math.max(room.seq[lane], seq);
    for (const tab of room.members.keys()) this.#tell(tab, { text });
    if (type === "unsubscribed") this.#rooms.delete(message.room);
    if (type === "caught_up") for (const tab of room.members.keys()) room.members.set(tab, null);
  }

  /** To each tab the part of the gap that is one to it. */
  #onGap(room, message) {
    const { lane, from, to } = message;
    if (to !== null) room.seq[lane] = Math.max(room.seq[lane], to);
    for (const [tab, seq] of room.members) {
      const last = to === null ? from - 1 : (seq?.[lane] ?? from - 1);
      if (to === null || last < to) this.#tell(tab, { text: JSON.stringify({ ...message, from: Math.max(from, last + 1) }) });
    }
  }
}

const byLane = (valueOf) => Object.fromEntries(LANES.map((lane) => [lane, valueOf(lane)]));

/** Redelivered events and messages about the room as a whole have a `seq` that does not count on. */
const isAside = ({ type, redelivered }) => redelivered || ["epoch", "subscribed"].includes(type);

function parse(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

// ---- in every tab ----------------------------------------------------------------------------------------------------

/**
 * What a client has for its connection. `handlers` are the client's; `toLeader(text)` and `openOwn(handlers)` are the shell's. `expiresAt` is when this
 * tab's own token ends, if it says so.
 */
export class Link {
  #handlers;
  #toLeader;
  #openOwn;
  #expiresAt;
  #held = new Map(); // rooms that are read over the connection of our own, with what the leader said of them meanwhile
  #own = null;
  isEnded = false;

  constructor({ toLeader, openOwn, expiresAt }, handlers) {
    this.#handlers = handlers;
    this.#toLeader = toLeader;
    this.#openOwn = openOwn;
    this.#expiresAt = expiresAt;
  }

  // -- the client --

  send(text) {
    const { type, id, room } = JSON.parse(text);
    if (type === "auth" && id === undefined) return; // whoever opened the connection has said who we are
    if (["subscribe", "unsubscribe"].includes(type)) this.#release(room);
    this.#toLeader(text);
  }

  close() {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#own?.connection?.close();
  }

  end(code, reason) {
    if (this.isEnded) return;
    this.close();
    this.#handlers.onClose(code, reason);
  }

  // -- the leader --

  hear({ text, isLeader, own, epoch, seq }) {
    if (this.isEnded) return;
    if (own) this.#read(own, epoch, seq);
    else if (isLeader !== undefined) this.#begin(text, isLeader);
    else if (this.#held.size === 0) this.#handlers.onMessage(text);
    else this.#keep(text);
  }

  /** The welcome says when the leader's token ends; the client is to know about its own. */
  #begin(text, isLeader) {
    const welcome = JSON.parse(text);
    if (!isLeader) welcome.data.expires_at = this.#expiresAt;
    this.#handlers.onOpen();
    this.#handlers.onMessage(JSON.stringify(welcome));
  }

  #keep(text) {
    const message = parse(text);
    const held = this.#held.get(message.room);
    if (!held) return this.#handlers.onMessage(text);
    if (message.type === "epoch") return this.end(MOVED, "the room's history has changed");
    held.length += text.length;
    held.messages.push(message);
    if (held.length > UNREAD_MAX) this.end(SLOW, "too much came while a room was read");
  }

  // -- the connection of our own --

  #read(command, epoch, target) {
    this.#held.set(command.room, { command, epoch, target, seq: null, isCaughtUp: false, messages: [], length: 0 });
    if (this.#own?.isReady) this.#own.connection.send(JSON.stringify(command));
    else if (!this.#own) void this.#openIt();
  }

  async #openIt() {
    const own = { isReady: false, connection: null };
    this.#own = own;
    const isOurs = () => own === this.#own && !this.isEnded;
    const connection = await this.#openOwn({
      onOpen: () => {},
      onMessage: (text) => isOurs() && this.#hearOwn(text),
      // Too many connections of the user's: soon there are fewer, for those of other tabs end as ours would.
      onClose: (code, reason) => isOurs() && this.end(code === TOO_MANY ? BUSY : code, reason),
    });
    own.connection = connection;
    if (!isOurs()) connection.close();
  }

  #hearOwn(text) {
    const message = parse(text);
    if (message.type === "welcome") {
      this.#own.isReady = true;
      for (const { command } of this.#held.values()) this.#own.connection.send(JSON.stringify(command));
    } else if (message.type === "error") this.#onDenied(message, text);
    else if (this.#held.has(message.room)) this.#onOwn(this.#held.get(message.room), message, text);
  }

  #onDenied({ id }, text) {
    const denied = [...this.#held.values()].find(({ command }) => command.id === id);
    if (!denied) return;
    this.#toLeader(JSON.stringify({ type: "unsubscribe", room: denied.command.room }));
    this.#release(denied.command.room);
    this.#handlers.onMessage(text);
  }

  #onOwn(held, message, text) {
    const { type, lane, seq, rev, room } = message;
    const isOfUs = ["subscribed", "gap", "caught_up"].includes(type);
    if (type === "epoch" || type === "unsubscribed" || (type === "subscribed" && message.epoch !== held.epoch)) return this.end(MOVED, "the room's history has changed");
    if (type === "subscribed") held.seq = byLane((lane) => message.from[lane] - 1);
    if (type === "gap" && message.to !== null) held.seq[lane] = Math.max(held.seq[lane], message.to);
    if (seq !== undefined && !isAside(message)) held.seq[lane] = Math.max(held.seq[lane], seq);
    // What has no number comes from the leader too, and nothing would tell the two apart.
    if (isOfUs || seq !== undefined || rev !== undefined) this.#handlers.onMessage(text);
    held.isCaughtUp ||= type === "caught_up";
    if (held.isCaughtUp && LANES.every((lane) => held.seq[lane] >= held.target[lane])) this.#join(room, held);
  }

  /** We have all that the leader had when we asked: now what it has said since. What we know already the client drops. */
  #join(room, held) {
    this.#release(room);
    for (const message of held.messages) {
      if (this.isEnded) return;
      const isKnown = message.type === "gap" && message.to !== null && message.to <= held.seq[message.lane];
      if (!isKnown) this.#handlers.onMessage(JSON.stringify(message));
    }
  }

  #release(room) {
    if (!this.#held.delete(room) || this.#held.size > 0) return;
    this.#own.connection?.close();
    this.#own = null;
  }
}
