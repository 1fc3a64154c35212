// What client.js loads with `shared: true`: the tabs of one user, with tokens that say the same, share one connection.
//
// One tab holds a lock (Web Locks) and with it the connection: it leads. What tabs say to each other goes over BroadcastChannels: one where leaders say who they
// are, one to each leader, one to each tab that follows. Each tab that follows holds a lock of its own name, so that the leader knows when it is gone. What is
// said is client-relay.js's affair.

import { LIMITS as CLIENT_LIMITS } from "./client.js";
import { Link, MOVED, Relay, SLOW, UNREAD_MAX } from "./client-relay.js";

export const LIMITS = {
  watchMs: 2_000, // so often a tab looks whether the leader is alive
  missesUntilAsked: 1, // looks that heard nothing from it
  missesUntilTaken: 3, // then another tab takes its place
  gatherMs: 500, // for all tabs to say what they want of a new connection
  inheritMs: 5_000, // for a client to come back to the lock that it was given
  readEvery: 64 * 1024, // characters, after which a tab says that it has read them
};

const VERSION = 1; // of what tabs say to each other; those of another one do not share

/** A transport for `connect`: `direct` is the one that is shared. */
export class Tabs {
  #direct;
  #hasFallback;
  #seat = null;
  #legacy = null; // the lock that the former seat was given
  #awake = Promise.resolve();
  isAlone = false; // it cannot share

  constructor(direct, hasFallback) {
    this.#direct = direct;
    this.#hasFallback = hasFallback;
    const sleep = () => this.#sleep();
    globalThis.addEventListener?.("pagehide", sleep);
    globalThis.document?.addEventListener("freeze", sleep);
  }

  open(to, handlers) {
    this.#seat = new Seat(this, to, handlers);
    void this.#seat.begin(this.#awake);
    return this.#seat;
  }

  /** A page that does not run leads nobody, and hears nothing. */
  #sleep() {
    this.#awake = new Promise((resolve) => {
      globalThis.addEventListener("pageshow", resolve, { once: true });
      document.addEventListener("resume", resolve, { once: true });
    });
    this.#seat?.end(MOVED, "the page was put to sleep");
  }

  async openDirect(to, handlers, kind = "websocket") {
    const isBlocked = to.misses >= CLIENT_LIMITS.attemptsUntilFallback || kind !== "websocket";
    if (this.#hasFallback && isBlocked) {
      const { Ladder } = await import("./client-fallback.js");
      if (this.#hasFallback) this.#direct = new Ladder(this.#direct);
      this.#hasFallback = false;
    }
    return this.#direct.open(to, handlers);
  }

  /** Keeps the lock until the client comes back, which is at once if nothing is amiss. */
  bequeath(lock) {
    const timer = setTimeout(() => lock.end(), LIMITS.inheritMs);
    this.#legacy = { lock, timer };
  }

  inherit(name) {
    if (!this.#legacy) return null;
    const { lock, timer } = this.#legacy;
    this.#legacy = null;
    clearTimeout(timer);
    if (lock.name === name && !lock.isLost) return lock;
    lock.end();
    return null;
  }
}

/** A client's place among the tabs, for as long as one connection lasts: it waits, and then it leads, or follows, or is alone. */
class Seat {
  #tabs;
  #to;
  #handlers;
  #id = null;
  #role = "waiting";
  #name = null;
  #lock = null;
  #common = null; // where leaders say who they are
  #leader = null; // which, and since when
  #up = null; // to the leader
  #down = null; // from it
  #link = null;
  #direct = null; // the connection, if we lead or are alone
  #relay = null;
  #followers = new Map(); // of ours, by id
  #watch = null;
  #gather = null;
  #misses = 0;
  #leavePresence = () => {};
  #read = 0;
  #isEnded = false;
  kind;

  constructor(tabs, to, handlers) {
    this.#tabs = tabs;
    this.#to = to;
    this.#handlers = handlers;
  }

  async begin(awake) {
    try {
      await awake;
      this.#name = this.#tabs.isAlone ? null : await nameOf(this.#to);
      if (this.#isEnded) return;
      if (this.#name === null) await this.#beAlone();
    } catch (error) {
      return this.end(0, String(error));
    }
    try {
      if (this.#name !== null) this.#stand();
    } catch {
      this.#part(true);
    }
  }

  send(text) {
    const { type, token } = JSON.parse(text);
    if (type === "auth" && this.#role !== "alone" && sayingOf(token) !== sayingOf(this.#to.token)) this.#part();
    if (!this.#isEnded) (this.#link ?? this.#direct).send(text);
  }

  /** The client wants no more of it. */
  close() {
    if (this.#isEnded) return;
    this.#isEnded = true;
    clearInterval(this.#watch);
    this.#link?.close();
    this.#dismiss(MOVED, "the leading tab has gone");
    this.#direct?.close();
    for (const channel of [this.#up, this.#down]) channel?.close();
    this.#leavePresence();
  }

  end(code, reason) {
    if (this.#isEnded) return;
    this.#dismiss(code, reason);
    this.close();
    this.#handlers.onClose(code, reason);
  }

  // -- roles --

  /** Without what it takes to share. */
  async #beAlone() {
    this.#role = "alone";
    const onClose = (code, reason) => this.end(code, reason);
    this.#direct = await this.#tabs.openDirect(this.#to, { ...this.#handlers, onClose });
    this.kind = this.#direct.kind;
    if (this.#isEnded) this.#direct.close();
  }

  #stand() {
    this.#id = crypto.randomUUID();
    this.#common = new BroadcastChannel(this.#name);
    this.#common.onmessage = ({ data }) => {
      if (data.leader) this.#follow(data.leader);
      else if (this.#role === "leading") this.#common.postMessage({ leader: this.#leader });
    };
    this.#watch = setInterval(() => this.#look(), LIMITS.watchMs);
    this.#lock = this.#tabs.inherit(this.#name);
    if (this.#lock) {
      this.#lock.onLost = (error) => this.#onLost(error);
      return this.#lead();
    }
    this.#want({});
    this.#common.postMessage({ isHello: true });
  }

  /** Waits for the lock, or takes it. */
  #want(options) {
    this.#lock?.end();
    const lock = new Lock(this.#name, options, () => {
      if (this.#isEnded) lock.end();
      else if (this.#role === "waiting") this.#lead();
      else {
        this.#lock = null;
        this.#tabs.bequeath(lock);
        this.end(MOVED, "the leading tab has gone");
      }
    });
    lock.onLost = (error) => this.#onLost(error);
    this.#lock = lock;
  }

  /** Another tab has taken it; or there are none to be had, in a sandboxed frame for instance. */
  #onLost({ name }) {
    if (name !== "AbortError") this.#part(true);
    else this.end(MOVED, "another tab has taken the lead");
  }

  // -- leading --

  #lead() {
    this.#role = "leading";
    this.#leader = { id: crypto.randomUUID(), since: Date.now() };
    this.#relay = new Relay({ send: (text) => this.#direct.send(text), tell: (tab, message) => this.#tell(tab, message), leader: this.#id });
    this.#link = this.#newLink((text) => this.#relay.take(this.#id, text, Date.now()));
    this.#relay.open(this.#id, Date.now());
    this.#up = new BroadcastChannel(`${this.#name} ${this.#leader.id}`);
    this.#up.onmessage = ({ data }) => this.#hearTab(data);
    this.#common.postMessage({ leader: this.#leader });
    void this.#openDirect().catch((error) => this.end(0, String(error)));
  }

  async #openDirect() {
    const handlers = {
      onOpen: () => {},
      onMessage: (text) => {
        this.kind = this.#direct.kind;
        this.#gather ??= setTimeout(() => this.#relay.endGathering(), LIMITS.gatherMs);
        this.#relay.hear(text, Date.now());
      },
      onClose: (code, reason) => this.end(code, reason),
    };
    this.#direct = await this.#introduced(handlers);
    if (this.#isEnded) this.#direct.close();
  }

  #tell(tab, message) {
    if (tab === this.#id) return message.isAlone ? this.#part(true) : this.#link.hear(message);
    const follower = this.#followers.get(tab);
    if (!follower) return;
    follower.channel.postMessage({ ...message, kind: this.kind });
    follower.unread += message.text?.length ?? 0;
    if (follower.unread > UNREAD_MAX) this.#drop(tab, [SLOW, "the tab does not read"]);
  }

  #hearTab({ tab, isOpen, text, read, isQuestion }) {
    if (isOpen) this.#welcome(tab);
    const follower = this.#followers.get(tab);
    if (!follower) return;
    if (text !== undefined) this.#relay.take(tab, text, Date.now());
    if (read !== undefined) follower.unread -= read;
    if (isQuestion) follower.channel.postMessage({});
  }

  #welcome(tab) {
    const channel = new BroadcastChannel(`${this.#name} ${tab}`);
    // It has that lock for as long as it is there.
    const lock = new Lock(`${this.#name} ${tab}`, {}, () => this.#drop(tab));
    this.#followers.set(tab, { channel, lock, unread: 0 });
    this.#relay.open(tab, Date.now());
  }

  #drop(tab, closed) {
    const follower = this.#followers.get(tab);
    if (!follower) return;
    this.#followers.delete(tab);
    if (closed) follower.channel.postMessage({ closed });
    follower.channel.close();
    follower.lock.end();
    if (this.#relay.close(tab, Date.now())) this.end(1006, "the server does not answer");
  }

  /** Leads no more. */
  #dismiss(code, reason) {
    clearTimeout(this.#gather);
    for (const tab of [...this.#followers.keys()]) {
      const { channel, lock } = this.#followers.get(tab);
      channel.postMessage({ closed: [code, reason] });
      channel.close();
      lock.end();
    }
    this.#followers.clear();
    this.#common?.close();
    this.#common = null;
    this.#lock?.end();
    this.#lock = null;
  }

  /** What this tab may do, or wants, is another thing than what the others do: it goes on with what it has, if that is its own. */
  #part(isForGood = false) {
    this.#tabs.isAlone ||= isForGood;
    if (this.#role !== "leading" || isForGood) return this.end(MOVED, "the tab has a connection of its own");
    for (const tab of [...this.#followers.keys()]) this.#drop(tab, [MOVED, "the leading tab has another token"]);
    this.#relay.endGathering();
    this.#dismiss();
  }

  // -- following --

  #follow(leader) {
    if (this.#role === "leading") return; // if it is right, we have lost the lock, and shall hear of it
    if (this.#role === "following") return leader.since > this.#leader.since && this.end(MOVED, "another tab leads now");
    this.#role = "following";
    this.#leader = leader;
    this.#misses = 0;
    this.#up = new BroadcastChannel(`${this.#name} ${leader.id}`);
    this.#down = new BroadcastChannel(`${this.#name} ${this.#id}`);
    this.#down.onmessage = ({ data }) => this.#hearLeader(data);
    this.#link = this.#newLink((text) => this.#up.postMessage({ tab: this.#id, text }));
    const presence = new Lock(`${this.#name} ${this.#id}`, {}, () => !this.#isEnded && this.#up.postMessage({ tab: this.#id, isOpen: true }));
    this.#leavePresence = () => presence.end();
  }

  #hearLeader({ closed, isAlone, kind, ...message }) {
    this.#misses = 0;
    if (closed) return this.end(...closed);
    if (isAlone) return this.#part(true);
    if (message.text === undefined && !message.own) return; // it is there
    this.kind = kind;
    this.#link.hear(message);
    this.#read += message.text?.length ?? 0;
    if (this.#read < LIMITS.readEvery || this.#isEnded) return;
    this.#up.postMessage({ tab: this.#id, read: this.#read });
    this.#read = 0;
  }

  /** A leader that does not answer is frozen, or hangs. Time alone says nothing: after a sleep its answers wait behind this timer. */
  #look() {
    if (this.#role === "leading") return;
    this.#misses += 1;
    if (this.#misses > LIMITS.missesUntilTaken) {
      this.#misses = 0;
      this.#want({ steal: true });
    } else if (this.#misses > LIMITS.missesUntilAsked) {
      if (this.#up) this.#up.postMessage({ tab: this.#id, isQuestion: true });
      else this.#common.postMessage({ isHello: true });
    }
  }

  // -- both --

  #newLink(toLeader) {
    const openOwn = (handlers) => this.#introduced(handlers);
    const { exp } = claimsOf(this.#to.token) ?? {};
    return new Link({ toLeader, openOwn, expiresAt: exp }, { ...this.#handlers, onClose: (code, reason) => this.end(code, reason) });
  }

  /** A connection to the server that says itself whose it is. */
  async #introduced(handlers) {
    const { token, tokenIn } = this.#to;
    const onOpen = () => tokenIn === "message" && connection.send(JSON.stringify({ type: "auth", token }));
    const connection = await this.#tabs.openDirect(this.#to, { ...handlers, onOpen }, this.kind);
    return connection;
  }
}

/** A lock that this tab waits for, or has. */
class Lock {
  #abort = new AbortController();
  #release = () => {};
  name;
  isLost = false;
  onLost = () => {};

  constructor(name, { steal = false }, onHeld) {
    this.name = name;
    const held = () => {
      const until = new Promise((resolve) => (this.#release = resolve));
      if (!this.#abort.signal.aborted) onHeld();
      return until;
    };
    navigator.locks.request(name, steal ? { steal } : { signal: this.#abort.signal }, held).catch((error) => {
      this.isLost = true;
      if (!this.#abort.signal.aborted) this.onLost(error);
    });
  }

  end() {
    this.#abort.abort();
    this.#release();
  }
}

function claimsOf(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" ? claims : null;
  } catch {
    return null;
  }
}

/** What a token says, but for its times. A `jti` counts: such a token can be revoked by itself. */
function sayingOf(token) {
  const claims = claimsOf(token);
  if (!claims) return token;
  const { iat, nbf, exp, ...rest } = claims;
  return JSON.stringify(Object.entries(rest).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What those who share have in common. Nothing, where the browser lacks what it takes: pages that are not served over https, for instance. */
async function nameOf({ url, token }) {
  if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel || !globalThis.crypto?.subtle) return null;
  const text = JSON.stringify([VERSION, url, sayingOf(token)]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `tickerd ${Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
