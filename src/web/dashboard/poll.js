// Asks the daemon again and again, one round at a time, and says how that goes. No round is begun in a hidden tab.

export const EVERY_MS = 2000;
const STALE_AFTER_MS = 5000;
const TIMEOUT_MS = 8000;
const RETRY_MAX_MS = 30_000;

/** An answer that is none. */
export class Refused extends Error {
  constructor(status, { message = `status ${status}`, retry_after_ms: retryAfterMs = 0 } = {}) {
    super(message);
    Object.assign(this, { status, retryAfterMs });
  }
}

/** No answer. */
export class Unreachable extends Error {}

/** What came of a failed round: those with `isFinal` are not tried again. */
export function failureOf(error) {
  if (error instanceof Unreachable) return { kind: "offline", text: "The server cannot be reached.", isFinal: false, afterMs: 0 };
  if (!(error instanceof Refused)) return { kind: "broken", text: `This page does not understand the answer: ${error}`, isFinal: false, afterMs: 0 };
  const { status, message, retryAfterMs } = error;
  if (status === 401) return { kind: "signed-out", text: message, isFinal: true, afterMs: 0 };
  if (status === 403) return { kind: "forbidden", text: message, isFinal: true, afterMs: 0 };
  if (status === 404) return { kind: "forbidden", text: "This server shows nothing to operators here: --admin-api is off.", isFinal: true, afterMs: 0 };
  if (status === 429 || status === 503) return { kind: "busy", text: "The server has no time for this page.", isFinal: false, afterMs: retryAfterMs };
  return { kind: "broken", text: message, isFinal: false, afterMs: 0 };
}

/** How long until the next round, after so many failed ones: longer each time, and as long as the server said. */
export const pause = (failures, afterMs) => Math.max(afterMs, Math.min(RETRY_MAX_MS, EVERY_MS * 2 ** Math.max(0, failures - 1)));

/** What is to be said of the figures' age. A tab that was hidden has had none, and is no more to blame than the server. */
export function freshness({ goodAt, failure, now, shownAt = 0 }) {
  if (failure?.isFinal) return failure.kind;
  if (goodAt === null) return failure ? failure.kind : "loading";
  if (now - Math.max(goodAt, shownAt) < STALE_AFTER_MS) return "live";
  return failure ? failure.kind : "stale";
}

export class Poller {
  goodAt = null;
  failure = null;
  failures = 0;
  nextAt = 0;
  shownAt = 0;
  #timer = null;
  #isAsking = false;
  #isEnded = false;

  /** `ask(get)` asks for what it needs by `await get(name)`, and keeps it. */
  constructor(token, ask) {
    this.token = token;
    this.ask = ask;
    this.onVisibility = () => {
      this.shownAt = performance.now();
      if (document.hidden) clearTimeout(this.#timer);
      else this.#soon(0);
    };
    document.addEventListener("visibilitychange", this.onVisibility);
    this.#soon(0);
  }

  get state() {
    return freshness({ ...this, now: performance.now() });
  }

  end() {
    this.#isEnded = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.onVisibility);
  }

  /** Asks at once, unless it is asking. */
  hurry() {
    this.#soon(0);
  }

  #soon(ms) {
    clearTimeout(this.#timer);
    if (this.#isEnded || this.failure?.isFinal || document.hidden) return;
    this.nextAt = performance.now() + ms;
    this.#timer = setTimeout(() => this.#round(), ms);
  }

  async #round() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const began = performance.now();
    try {
      await this.ask((name) => this.#get(name));
      Object.assign(this, { goodAt: performance.now(), failure: null, failures: 0 });
    } catch (error) {
      this.failure = failureOf(error);
      this.failures += 1;
    }
    this.#isAsking = false;
    this.#soon(this.failure ? pause(this.failures, this.failure.afterMs) : Math.max(0, began + EVERY_MS - performance.now()));
  }

  async #get(name) {
    const headers = { Authorization: `Bearer ${this.token}` };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    let answer;
    let body;
    try {
      answer = await fetch(`/v1/admin/${name}`, { headers, cache: "no-store", signal });
      const isJson = answer.headers.get("content-type")?.startsWith("application/json");
      body = isJson ? await answer.json() : await answer.text();
    } catch (error) {
      throw new Unreachable(String(error));
    }
    // The state of a daemon that does not work is told with 503.
    if (answer.ok || body.components) return body;
    throw new Refused(answer.status, body);
  }
}
