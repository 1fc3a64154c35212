// Types of client-tabs.js, which client.js loads by itself with `shared: true`.

import type { Transport } from "./client.js";

/** How long things may take, in milliseconds, and how much is read at once, in characters; tests change it. */
export const LIMITS: {
  watchMs: number;
  missesUntilAsked: number;
  missesUntilTaken: number;
  gatherMs: number;
  inheritMs: number;
  readEvery: number;
};

/** A transport that shares the connection of `direct` among tabs. */
export class Tabs implements Transport {
  constructor(direct: Transport, hasFallback: boolean);
  open: Transport["open"];
}
