// What client.js loads when WebSockets do not get through: the same messages over server-sent events, or over long polls.
//
// A `Ladder` is a transport that tries one way after the other, and looks now and then whether a better one is open again. `Requests` is the
// way without WebSocket: commands become requests, rooms become streams or polls, and what comes is handed on as it would come over one socket.

import { LIMITS as CLIENT_LIMITS, TickerdError } from "./client.js";

export const LIMITS = {
  climbMs: 60_000, // so often is a better way tried
  probeMs: 15_000, // for its first message: Chromium holds WebSockets back for seconds after some that failed
  streamMs: 5_000, // a stream that has said nothing by then does not get through
  roomsAtOnce: 3, // streams or long polls: browsers open six connections to a server, and pages need some
  pollMs: 25_000,
  pauseMs: 1_000, // between two rounds over the rooms beyond those
  noticeMs: 60_000, // before a token ends
};

const WAYS = ["websocket", "sse", "poll"];
const BETTER = { code: 4299, reason: "a better way is open again" }; // 42xx: come back at once

/** A transport for `connect`: `webSocket` is the one that did not get through. */
export class Ladder {
  #webSocket;
  #way = 1;
  #hasWorked = false; // that way
  #misses = 0; // attempts on it that brought nothing, one after the other
  #timer = null;

  constructor(webSocket) {
    this.#webSocket = webSocket;
  }

  open(options, handlers) {
    const way = this.#way;
    let isProven = false;
    const connection = this.#openWay(way, options, {
      ...handlers,
      onProven: () => {
        isProven = true;
        this.#hasWorked = true;
        this.#misses = 0;
      },
      onClose: (code, reason) => {
        clearTimeout(this.#timer);
        if (!isProven && code < 4000) this.#miss(way);
        handlers.onClose(code, reason);
      },
    });
    clearTimeout(this.#timer);
    if (way > 0) this.#climbLater(way, options, connection, handlers);
    return {
      kind: WAYS[way],
      send: (text) => connection.send(text),
      close: () => {
        clearTimeout(this.#timer);
        connection.close();
      },
    };
  }

  /** A way that has worked gets three attempts, for the server may be away, and so does a WebSocket; else the next one is tried at once. */
  #miss(way) {
    this.#misses += 1;
    if ((way === 0 || this.#hasWorked) && this.#misses < CLIENT_LIMITS.attemptsUntilFallback) return;
    this.#misses = 0;
    this.#hasWorked = false;
    this.#way = (way + 1) % WAYS.length;
  }

  #openWay(way, options, handlers) {
    if (way > 0) return new Requests(WAYS[way], options, handlers);
    const onMessage = (text) => {
      handlers.onProven();
      handlers.onMessage(text);
    };
    return this.#webSocket.open(options, { ...handlers, onMessage });
  }

  #climbLater(way, options, connection, handlers) {
    this.#timer = setTimeout(async () => {
      const token = connection.token; // it may be a newer one by now
      const better = await this.#best(way, { ...options, token }, connection.rooms);
      if (connection.isClosed) return;
      if (better === way) return this.#climbLater(way, options, connection, handlers);
      this.#way = better;
      connection.close();
      handlers.onClose(BETTER.code, BETTER.reason);
    }, LIMITS.climbMs * (0.75 + Math.random() / 2));
  }

  /** The first way that gets a message through, of those better than `way`. */
  async #best(way, options, rooms) {
    for (let better = 0; better < way; better += 1) if (await this.#probe(better, options, rooms)) return better;
    return way;
  }

  #probe(way, options, rooms) {
    return new Promise((resolve) => {
      let connection = null;
      const end = (isOpen) => {
        clearTimeout(timer);
        resolve(isOpen);
        connection?.close();
      };
      const timer = setTimeout(() => end(false), LIMITS.probeMs);
      const { tokenIn, token } = options;
      const handlers = {
        onOpen: () => way === 0 && tokenIn === "message" && connection.send(JSON.stringify({ type: "auth", token })),
        // That requests are answered does not show that streams get through.
        onMessage: () => way > 0 && rooms[0] !== undefined && connection.send(JSON.stringify({ type: "subscribe", id: 1, room: rooms[0] })),
        onProven: () => end(true),
        onClose: () => end(false),
      };
      try {
        connection = this.#openWay(way, options, handlers);
      } catch {
        end(false);
      }
    });
  }
}

/** What is no answer of the server's own. */
class Unreachable extends Error {}

/** Why a stream is begun anew. */
const RENEWED = new Error("there is a newer token");

class Requests {
  token;
  isClosed = false;
  #kind;
  #base;
  #handlers;
  #rooms = new Map(); // by name
  #atOnce = 0;
  #turn = Promise.resolve(); // of the rooms beyond those
  #ending = new AbortController();
  #notice = null;
  #expiring = null;

  constructor(kind, { url, token }, handlers) {
    Object.assign(this, { token });
    this.#kind = kind;
    this.#base = new URL(".", url.replace(/^ws/, "http")).href; // beside /v1/ws
    this.#handlers = handlers;
    void this.#begin();
  }

  get rooms() {
    return [...this.#rooms.keys()];
  }

  async #begin() {
    await this.#guard(async () => {
      const welcome = await this.#introduce(this.token);
      if (this.isClosed) return;
      this.#handlers.onOpen();
      this.#tell(welcome);
    });
  }

  /** Streams tell when the token is about to end, polls do not. */
  #expect({ ts, data }) {
    clearTimeout(this.#expiring);
    if (this.#kind !== "poll" || data.expires_at === undefined) return;
    const waitMs = data.expires_at * 1000 - ts - LIMITS.noticeMs;
    this.#expiring = setTimeout(() => this.#tell({ type: "auth_expiring" }), Math.min(Math.max(waitMs, 0), 2 ** 31 - 1));
  }

  /** Who we are to the server: also a sign of life. */
  async #introduce(token) {
    const { messages } = await this.#json("poll", {}, { token });
    if (!this.isClosed) this.#expect(messages[0]);
    return messages[0];
  }

  send(text) {
    const { id, ...message } = JSON.parse(text);
    const command = Object.hasOwn(COMMANDS, message.type) ? COMMANDS[message.type] : COMMANDS.publish;
    void this.#guard(async () => {
      try {
        await command.call(this, message, id);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        this.#refuse(id, error);
      }
    });
  }

  #refuse(id, { name, code, category, message, retryAfterMs }) {
    this.#tell({ type: "error", id, name, code, category, message, retry_after_ms: retryAfterMs ?? undefined });
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.#expiring);
    this.#ending.abort();
  }

  /** What goes wrong, but for refusals of commands, ends the connection. */
  async #guard(act) {
    try {
      await act();
    } catch (error) {
      if (this.isClosed) return;
      this.close();
      if (error.retryAfterMs) this.#handlers.onMessage(JSON.stringify({ type: "disconnect", code: 4100, after_ms: error.retryAfterMs }));
      this.#handlers.onClose(closeCode(error), error.message);
    }
  }

  #tell(message) {
    if (!this.isClosed) this.#handlers.onMessage(JSON.stringify(message));
  }

  // -- requests --

  async #request(path, query, { method = "GET", token = this.token, body, signal = this.#ending.signal } = {}) {
    const url = new URL(path, this.#base);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    const headers = { Authorization: `Bearer ${token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(url, { method, headers, body, signal, cache: "no-store" });
    } catch (error) {
      throw new Unreachable(error.message);
    }
    if (response.ok) return response;
    const refusal = await response.json().catch(() => null);
    if (refusal?.name === undefined) throw new Unreachable(`status ${response.status}`); // of something on the way
    throw new TickerdError(refusal.name, refusal.message, refusal);
  }

  async #json(path, query, options) {
    const response = await this.#request(path, query, options);
    return response.json().catch((error) => {
      throw new Unreachable(error.message);
    });
  }

  // -- rooms --

  #leave(name) {
    this.#rooms.get(name)?.leaving.abort();
    this.#rooms.delete(name);
  }

  join({ room: name, since, history, ...wishes }, id) {
    this.#leave(name);
    const room = { name, id, cursor: since && cursorOf(since), history, wishes, leaving: new AbortController(), renewing: null, isCatchingUp: true };
    this.#rooms.set(name, room);
    void this.#guard(async () => {
      const isFirst = this.#atOnce < LIMITS.roomsAtOnce;
      this.#atOnce += isFirst;
      try {
        if (!isFirst) await this.#pollInTurn(room);
        else if (this.#kind === "sse") await this.#stream(room);
        else await this.#poll(room);
      } catch (error) {
        if (room.leaving.signal.aborted) return;
        if (room.id === undefined || !isRefusal(error)) throw error;
        this.#rooms.delete(name);
        this.#refuse(id, error);
      } finally {
        this.#atOnce -= isFirst;
      }
    });
  }

  /** Hands on what came for a room; the first answer is to the command that asked for it. */
  #take(room, message) {
    if (message.type === "subscribed" && room.id !== undefined) {
      this.#tell({ ...message, id: room.id });
      room.id = undefined;
      this.#handlers.onProven();
    } else if (message.type === "disconnect") {
      this.#notice ??= message;
      this.#tell(message);
    } else if (!["welcome", "subscribed"].includes(message.type)) this.#tell(message);
  }

  async #stream(room) {
    for (;;) {
      room.renewing = new AbortController();
      const signal = AbortSignal.any([this.#ending.signal, room.leaving.signal, room.renewing.signal]);
      const silent = setTimeout(() => room.renewing.abort(new Unreachable("the stream says nothing")), LIMITS.streamMs);
      try {
        const { every_ms, types, keys } = room.wishes;
        const query = { room: room.name, since: room.cursor, history: room.history, every_ms, types, keys }; // arrays get commas
        const response = await this.#request("events", query, { signal });
        await this.#read(room, response.body.pipeThrough(new TextDecoderStream()).getReader(), silent);
      } catch (error) {
        if (room.leaving.signal.aborted || room.renewing.signal.reason !== RENEWED) throw room.renewing.signal.reason ?? error;
      } finally {
        clearTimeout(silent);
      }
    }
  }

  async #read(room, reader, silent) {
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw new Unreachable(error.message);
      });
      clearTimeout(silent);
      if (room.leaving.signal.aborted) return;
      if (done) break;
      const texts = (rest + value).split("\n\n");
      rest = texts.pop();
      for (const text of texts) {
        const field = (name) => text.split("\n").find((line) => line.startsWith(name))?.slice(name.length);
        room.cursor = field("id: ") ?? room.cursor;
        this.#take(room, JSON.parse(field("data: ")));
      }
    }
    throw this.#notice ? Object.assign(new Error(this.#notice.reason), { closeCode: this.#notice.code }) : new Unreachable("the stream has ended");
  }

  async #poll(room) {
    while (!this.#isOver(room)) await this.#pollOnce(room, LIMITS.pollMs);
  }

  async #pollInTurn(room) {
    while (!this.#isOver(room)) {
      const turn = this.#turn.then(() => this.#isOver(room) || this.#pollOnce(room, 0));
      this.#turn = turn.then(() => {}, () => {});
      await turn;
      await new Promise((resolve) => setTimeout(resolve, LIMITS.pauseMs));
    }
  }

  #isOver(room) {
    return this.isClosed || room.leaving.signal.aborted;
  }

  async #pollOnce(room, timeoutMs) {
    const query = { room: room.name, since: room.cursor, history: room.history, timeout_ms: timeoutMs };
    const signal = AbortSignal.any([this.#ending.signal, room.leaving.signal]);
    const { messages, cursor, more } = await this.#json("poll", query, { signal });
    if (this.#isOver(room)) return;
    room.cursor = cursor;
    for (const message of messages) this.#take(room, message);
    if (room.isCatchingUp && !more) {
      room.isCatchingUp = false;
      this.#tell({ type: "caught_up", room: room.name });
    } else if (messages.length === 0) this.#tell({ type: "heartbeat", queued: 0 });
  }

  // -- commands --

  async introduceAgain(message, id) {
    if (id === undefined) return; // the first message: the token goes with each request
    await this.#introduce(message.token ?? this.token);
    if (message.token !== undefined) {
      this.token = message.token;
      for (const room of this.#rooms.values()) room.renewing?.abort(RENEWED);
    }
    this.#tell({ type: "ok", id });
  }

  unsubscribe({ room }, id) {
    this.#leave(room);
    this.#tell({ type: "ok", id });
  }

  async snapshot({ room, digest }, id) {
    if (digest) throw new TickerdError("bad_state", "without a WebSocket there is no digest", { code: 302, category: "protocol" });
    const { messages } = await this.#json("poll", { room, history: 0 });
    this.#tell({ type: "ok", id });
    for (const message of messages) if (message.rev !== undefined) this.#tell(message);
    this.#tell({ type: "caught_up", room });
  }

  async ack({ event_id }, id) {
    if (event_id === undefined) throw new TickerdError("bad_state", "without a WebSocket an event is acknowledged by its event_id alone", { code: 302, category: "protocol" });
    await this.#json("ack", { event_id }, { method: "POST" });
    if (id !== undefined) this.#tell({ type: "ok", id });
  }

  async publish(event, id) {
    this.#tell(await this.#json("publish", {}, { method: "POST", body: JSON.stringify({ ...event, id }) }));
  }
}

const COMMANDS = {
  subscribe: Requests.prototype.join,
  unsubscribe: Requests.prototype.unsubscribe,
  snapshot: Requests.prototype.snapshot,
  ack: Requests.prototype.ack,
  auth: Requests.prototype.introduceAgain,
  ping: Requests.prototype.introduceAgain,
  publish: Requests.prototype.publish,
};

const cursorOf = ({ epoch, seq }) => `${epoch}:${Object.entries(seq).map(([lane, last]) => `${lane}.${last}`).join(",")}`;

/** The server's own answer to a command: a bad token concerns more than that. */
const isRefusal = (error) => error instanceof TickerdError && error.category !== "auth";

/** What a WebSocket would have been closed with. */
function closeCode({ name, category, closeCode: code }) {
  if (code !== undefined) return code;
  if (category === "auth") return { token_expired: 4300, token_revoked: 4301 }[name] ?? 4001;
  return ["rate", "server", "upstream"].includes(category) ? 4100 : 1006;
}
