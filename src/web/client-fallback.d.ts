// Types of client-fallback.js, which client.js loads by itself when WebSockets do not get through.

import type { Transport } from "./client.js";

/** How long things may take, in milliseconds; tests shorten it. */
export const LIMITS: { climbMs: number; probeMs: number; streamMs: number; roomsAtOnce: number; pollMs: number; pauseMs: number };

/** A transport that tries server-sent events, then long polls, then the given one again, and climbs back when a better way is open. */
export class Ladder implements Transport {
  constructor(webSocket: Transport);
  open: Transport["open"];
}
