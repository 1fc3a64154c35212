// Types of client.js, tickerd's client for web pages.

export type Lane = "alert" | "update" | "metric";
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** What may be asked for when a token is needed. */
export type TokenReason = "connect" | "expiring" | "expired" | "revoked";

export interface ClientOptions {
  /** The server's WebSocket, such as `wss://push.example/v1/ws`; left out: `/v1/ws` of the page's own server. */
  url?: string | URL;
  /** A token, or what gives a fresh one: asked at the first connection, before the token expires, and once it has or was revoked. */
  token: string | ((why: TokenReason) => string | null | Promise<string | null>);
  /** How the token is brought: in `Sec-WebSocket-Protocol` (the default), in a first message, or in the query (if the server takes it). */
  tokenIn?: "subprotocol" | "message" | "query";
  /** Keeps rooms in IndexedDB under this name, to show them and to resume from there after a reload: choose one for each user. */
  cache?: string;
  /** In place of IndexedDB. */
  store?: RoomStore;
  /** In place of WebSocket. */
  transport?: Transport;
  /** Whether server-sent events and long polls are tried where no WebSocket gets through: true if left out, unless there is a `transport`. */
  fallback?: boolean;
  /** Tabs whose tokens say the same, but for their times, share one connection; where the browser cannot, each has its own. False if left out. */
  shared?: boolean;
}

export interface RoomOptions {
  /** Changes of states come as merge patches, where that is shorter. What the page sees is the same. */
  delta?: boolean;
  /** So many past events of each lane at the first join. */
  history?: number;
  /** Changes of states come at this interval, 1,000 to 60,000 ms: of each key the newest. Over a WebSocket of this page's own (not `shared`). */
  everyMs?: number;
  /** Of states only these types come. */
  types?: readonly string[];
  /** Of states only these keys come. */
  keys?: readonly string[];
  /** So many events stay in `room.view.events`; 100 if left out. */
  keep?: number;
}

/** An event of a room. */
export interface RoomEvent<Data = any> {
  type: string;
  room: string;
  lane: Lane;
  /** Unix milliseconds: when the server accepted it. */
  ts: number;
  /** The payload, the publisher's own; of a state always the whole of it. */
  data: Data;
  /** Of an event that counts: +1 for each in its room and lane. */
  seq?: number;
  /** Of a state. */
  key?: string;
  rev?: number;
  /** The state's key is gone. */
  deleted?: boolean;
  event_id?: string;
  /** It was given before, and is given again because nobody acknowledged it. */
  redelivered?: boolean;
}

/** Events that this page will not get. `to` is null if nobody knows how many, `lane` too if nobody knows where. */
export interface Gap {
  room: string;
  lane: Lane | null;
  epoch: string;
  from: number | null;
  to: number | null;
}

/** Events after `end` of that lane were never made durable: the server has taken them back. */
export interface Rewound {
  room: string;
  lane: Lane;
  end: number;
  forgotten: RoomEvent[];
}

export interface RoomState<Data = any> {
  type: string;
  key: string;
  lane: Lane;
  rev: number;
  ts: number;
  data: Data;
}

export type ConnectionState = "connecting" | "connected" | "reconnecting" | "disconnected";
export type Substate = "authenticating" | "resuming" | "degraded" | "offline";
export type Phase = ConnectionState | Substate;
export type Quality = "good" | "fair" | "poor" | "offline";

/** Why a phase began. */
export interface Reason {
  name:
    | "connect"
    | "opened"
    | "welcome"
    | "caught_up"
    | "slow"
    | "silence"
    | "recovered"
    | "network"
    | "server"
    | "token"
    | "timeout"
    | "token_failed"
    | "online"
    | "offline"
    | "wake"
    | "close"
    | "refused";
  /** The close code, or 0. */
  code: number;
  text: string;
}

export interface ClientView {
  readonly state: ConnectionState;
  readonly substate: Substate | null;
  readonly reason: Reason | null;
  readonly quality: Quality;
  /** How the messages come. */
  readonly transport: "websocket" | "sse" | "poll" | string;
  /** Attempts that failed since a connection was stable. */
  readonly attempts: number;
  /** When the next attempt is made, Unix milliseconds; null if none is waited for. */
  readonly retryAt: number | null;
  readonly rttMs: number | null;
  /** Frames that waited for this page at the server. */
  readonly queued: number;
  readonly user: string | null;
  readonly capabilities: readonly string[];
}

export type RoomStatus = "loading" | "joining" | "catching_up" | "live" | "stale" | "denied";

export interface RoomView {
  readonly name: string;
  readonly status: RoomStatus;
  /** Nothing is there to be shown yet. */
  readonly isLoading: boolean;
  readonly error: TickerdError | null;
  /** What is shown was true at this time, Unix milliseconds; null while it is live. */
  readonly staleSince: number | null;
  readonly states: readonly RoomState[];
  /** The newest events that count, oldest first. */
  readonly events: readonly RoomEvent[];
  readonly version: number;
}

/** The answer to a command. */
export interface Answer {
  ok?: boolean;
  result?: "accepted" | "duplicate" | "stale" | "unchanged";
  room?: string;
  lane?: Lane;
  seq?: number;
  rev?: number;
  epoch?: string;
  ack?: "memory" | "durable";
  members?: number;
  slow_down?: boolean;
}

export interface Publish {
  type: string;
  data: Json;
  room?: string;
  lane?: Lane;
  mode?: "stream" | "state" | "transient";
  key?: string;
  owner?: string;
  event_id?: string;
  version?: number;
  ack?: "memory" | "durable";
}

export class TickerdError extends Error {
  constructor(name: string, message: string, detail?: { code?: number; category?: string; retry_after_ms?: number });
  /** Of README's table of error codes; 0 if it is the client's own. */
  readonly code: number;
  readonly category: string;
  readonly retryAfterMs: number | null;
}

export class Client {
  private constructor();
  readonly view: ClientView;
  readonly state: ConnectionState;
  connect(): void;
  /** Ends the connection; rooms stay, and connect() goes on where they were. */
  disconnect(): void;
  /** Ends the client for good. */
  close(): void;
  /** Joins a room. Whoever asks for a room that is joined already gets the same one; it is left when all have left it. */
  room(name: string, options?: RoomOptions): Room;
  /** Publishes an event; the token needs the scope `publish`. Without a connection it waits for `ttlMs` (30 s). */
  publish(event: Publish, options?: { ttlMs?: number }): Promise<Answer>;
  /** Acknowledges one event if it has an `event_id`, else all of its room and lane up to it. */
  ack(event: Pick<RoomEvent, "room" | "lane" | "seq" | "event_id">): Promise<Answer | undefined>;
  /** Returns what ends it. `view`: once for each frame in which anything changed. */
  on(name: "change" | "view", listener: () => void): () => void;
  on(name: "event", listener: (event: RoomEvent) => void): () => void;
  on(name: "error", listener: (error: Error) => void): () => void;
}

export class Room {
  private constructor();
  readonly name: string;
  readonly view: RoomView;
  /** The newest `data` of a state; without a key, of the first of that type. */
  state<Data = any>(type: string, key?: string): Data | undefined;
  /** Asks for all states anew. */
  refresh(): Promise<Answer>;
  /**
   * Whether the keys of the room's states, and the revision of each, are those that the server has, by a digest of 64 bits. `matches` is null if they
   * change too fast to tell. Needs a WebSocket. What differs: refresh() brings states that are missing or old; leave the room and join it anew otherwise.
   */
  verify(): Promise<{ matches: boolean | null; keys: number }>;
  leave(): void;
  /** Returns what ends it. `view`: once for each frame in which anything changed. */
  on(name: "change" | "view", listener: () => void): () => void;
  on<Data = any>(name: "event", listener: (event: RoomEvent<Data>) => void): () => void;
  on(name: "gap", listener: (gap: Gap) => void): () => void;
  on(name: "rewound", listener: (rewound: Rewound) => void): () => void;
}

/** Connects at once. */
export function connect(options: ClientOptions): Client;

/** RFC 7396, on a copy. */
export function mergePatch(target: Json | undefined, patch: Json): Json;

/** Carries the messages of `tickerd.v1` each way, and tells what becomes of the connection. */
export interface Transport {
  open(
    to: { url: string; token: string; tokenIn: "subprotocol" | "message" | "query"; /** Attempts before it that brought no message. */ misses: number },
    handlers: { onOpen(): void; onMessage(text: string): void; onClose(code: number, reason: string): void },
  ): { send(text: string): void; close(): void; readonly kind?: string };
}

export const webSocket: Transport;

/** Where rooms are kept between page loads. What is kept is the client's own. */
export interface RoomStore {
  load(room: string): Promise<unknown>;
  save(room: string, saved: unknown): Promise<unknown>;
}

/** Which phase may follow which, and for which reasons. */
export const TRANSITIONS: Readonly<Record<Phase, Partial<Record<Phase, readonly Reason["name"][]>>>>;

export const LIMITS: Readonly<Record<string, number>>;
