// tickerd in React (18 or newer): hooks over client.js.
//
//     <TickerdProvider client={connect({ token })}>      useConnection(), useRoom("challenge:8f") anywhere below it
//     useLiveChallenge("8f", token)                      all that a challenge's page shows, with nothing around it
//
// Rooms are joined when a component that shows them is mounted, and left a moment after the last one is gone. Components are
// rendered once for each frame in which something changed, however many events came.

import { createContext, createElement, useCallback, useContext, useEffect, useMemo, useSyncExternalStore } from "react";

import { connect } from "./client.js";

const ClientContext = createContext(null);

/** Gives its client to the hooks below it. Whoever made the client closes it. */
export function TickerdProvider({ client, children }) {
  return createElement(ClientContext.Provider, { value: client }, children);
}

export function useClient() {
  const client = useContext(ClientContext);
  if (!client) throw new Error("tickerd: there is no <TickerdProvider client={…}> above this component");
  return client;
}

/** The connection: `client.view`, and `isConnected`. */
export function useConnection() {
  const client = useClient();
  const subscribe = useCallback((onChange) => client.on("view", onChange), [client]);
  const read = useCallback(() => client.view, [client]);
  const view = useSyncExternalStore(subscribe, read, read);
  return useMemo(() => ({ ...view, isConnected: view.state === "connected" }), [view]);
}

const NOTHING = Object.freeze({ status: "joining", isLoading: true, error: null, staleSince: null, states: [], events: [], version: -1 });

/** A room: `room.view`, with `state(type, key)`, `refresh()` and `ack(event)`. Options are those of `client.room`. */
export function useRoom(name, options) {
  const client = useClient();
  const optionsKey = JSON.stringify(options ?? {});
  const store = useMemo(() => new RoomStore(client, name, JSON.parse(optionsKey)), [client, name, optionsKey]);
  const view = useSyncExternalStore(store.subscribe, store.read, store.readNothing);
  return useMemo(
    () => ({
      ...view,
      name,
      state: (type, key) => view.states.find((state) => state.type === type && (key === undefined || state.key === key))?.data,
      refresh: () => store.refresh(),
      ack: (event) => client.ack(event),
    }),
    [client, name, store, view],
  );
}

class RoomStore {
  room = null;

  constructor(client, name, options) {
    Object.assign(this, { client, name, options });
  }

  subscribe = (onChange) => {
    const room = this.client.room(this.name, this.options);
    this.room = room;
    const unhear = room.on("view", onChange);
    return () => {
      unhear();
      room.leave();
    };
  };

  read = () => this.room?.view ?? NOTHING;
  readNothing = () => NOTHING;

  async refresh() {
    await this.room?.refresh();
  }
}

// ---- one challenge ---------------------------------------------------------------------------------------------------

const STATUS_TYPES = new Set(["CHALLENGE_STATUS_CHANGED", "CHALLENGE_FAILED", "CHALLENGE_FUNDED"]);
const ALERT_TYPES = new Set(["RISK_ALERT", "RISK_AI_ALERT"]);
const ALERTS_MAX = 10;
const LINGER_MS = 1000;
const PROVIDED = Symbol("by a function");

/**
 * What a challenge's page shows, live. `token` is a token, or a function that gives one, as for `connect`. Hooks with the same
 * token, and those with functions, share a connection; pages of several users have a `TickerdProvider` for each. `shared` is for tabs, as for
 * `connect`: the first hook's counts. Without a token or an id nothing is connected.
 */
export function useLiveChallenge(challengeId, token, { url = "", shared = false } = {}) {
  const isFunction = typeof token === "function";
  const key = isFunction ? PROVIDED : token;
  const store = useMemo(() => new ChallengeStore(challengeId, key, url, shared), [challengeId, key, url, shared]);
  // It may be another function at each render: the latest is asked. This effect comes before the one that connects.
  useEffect(() => void (isFunction && providers.set(url, token)));
  const view = useSyncExternalStore(store.subscribe, store.read, store.read);
  return useMemo(() => ({ ...view, refresh: store.refresh, clearAlerts: store.clearAlerts }), [view, store]);
}

class ChallengeStore {
  client = null;
  room = null;
  statusData = null;
  riskAlerts = [];
  onChange = () => {};
  view = null;

  constructor(challengeId, key, url, shared) {
    Object.assign(this, { challengeId, key, url, shared, isWanted: Boolean(challengeId && key) });
    this.view = this.look();
  }

  subscribe = (onChange) => {
    if (!this.isWanted) return () => {};
    this.client = borrow(this.key, this.url, this.shared);
    this.room = this.client.room(`challenge:${this.challengeId}`, { delta: true, history: ALERTS_MAX });
    Object.assign(this, { statusData: null, riskAlerts: [] });
    for (const event of this.room.view.events) this.take(event);
    this.onChange = () => {
      this.view = this.look();
      onChange();
    };
    const listeners = [
      this.room.on("event", (event) => this.take(event)),
      this.room.on("rewound", ({ forgotten }) => forgotten.forEach((event) => this.takeBack(event))),
      this.room.on("view", this.onChange),
      this.client.on("view", this.onChange),
    ];
    this.onChange();
    return () => {
      for (const unhear of listeners) unhear();
      this.onChange = () => {};
      this.room.leave();
      giveBack(this.key, this.url);
    };
  };

  read = () => this.view;

  take({ type, seq, data }) {
    if (STATUS_TYPES.has(type)) this.statusData = data;
    if (ALERT_TYPES.has(type)) this.riskAlerts = [{ id: seq, ...data }, ...this.riskAlerts].slice(0, ALERTS_MAX);
  }

  takeBack({ type, seq, data }) {
    if (ALERT_TYPES.has(type)) this.riskAlerts = this.riskAlerts.filter((alert) => alert.id !== (data?.id ?? seq));
  }

  look() {
    const connection = this.client?.view;
    const room = this.room?.view;
    const refused = connection?.state === "disconnected" && connection.reason?.name !== "close" ? connection.reason : null;
    const error = room?.error?.message ?? (refused ? refused.text || `refused (${refused.code || refused.name})` : null);
    return {
      equityData: this.room?.state("EQUITY_UPDATED") ?? null,
      statusData: this.statusData,
      riskAlerts: this.riskAlerts,
      isConnected: connection?.state === "connected",
      isLoading: this.isWanted && error === null && (room?.isLoading ?? true),
      staleSince: room?.staleSince ?? null,
      quality: connection?.quality ?? "offline",
      error,
    };
  }

  refresh = async () => {
    await this.room?.refresh();
  };

  clearAlerts = () => {
    this.riskAlerts = [];
    this.onChange();
  };
}

// Clients that hooks share, by server and token.
const lent = new Map();
// The function that gives tokens, by server.
const providers = new Map();

const loanOf = (key, url) => lent.get(url)?.get(key);

function borrow(key, url, shared) {
  if (!lent.has(url)) lent.set(url, new Map());
  if (!loanOf(key, url)) {
    const token = key === PROVIDED ? (why) => providers.get(url)(why) : key;
    lent.get(url).set(key, { client: connect({ token, url: url || undefined, shared }), users: 0, timer: null });
  }
  const loan = loanOf(key, url);
  clearTimeout(loan.timer);
  loan.users += 1;
  return loan.client;
}

/** A client that nobody uses is closed, but not at once: the next page may want it. */
function giveBack(key, url) {
  const loan = loanOf(key, url);
  loan.users -= 1;
  if (loan.users > 0) return;
  loan.timer = setTimeout(() => {
    lent.get(url).delete(key);
    loan.client.close();
  }, LINGER_MS);
}
