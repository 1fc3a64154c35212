// What the browser's tests have in common: a browser and a page server for a file of tests, and a page whose client notes what it gets.

import { after, before } from "node:test";

import { mint, openBrowser, pageServer } from "./house.js";

export const ROOM = "challenge:8f";
export const TOKEN = (more) => mint({ rooms: [ROOM], ...more });
export const alert = (n) => ({ type: "RISK_ALERT", event_id: `a${n}`, data: { challenge_id: "8f", n } });
export const equity = (data) => ({ type: "EQUITY_UPDATED", data: { challenge_id: "8f", ...data } });
export const upTo = (count) => Array.from({ length: count }, (_, i) => i + 1);

/** For the tests of a file: `browser` and `pages` of the object are there once they run. */
export function house(options) {
  const it = {};
  before(async () => {
    it.browser = await openBrowser(options);
    it.pages = await pageServer();
  });
  after(async () => {
    await it.browser?.end();
    it.pages?.end();
  });
  return it;
}

/**
 * Starts a client in the page. It has `client`, `room` (of ROOM), and in `seen` what they told. Tokens are given one after the other, the last one again and
 * again; `fallbackLimits` are those of client-fallback.js.
 */
export async function startClient(page, url, { options = {}, tokens = [TOKEN()], fallbackLimits = null } = {}) {
  await page.evaluate(
    async ([url, name, options, tokens, fallbackLimits]) => {
      if (fallbackLimits) Object.assign((await import(`${url}/client-fallback.js`)).LIMITS, fallbackLimits);
      const { connect } = await import(`${url}/client.js`);
      globalThis.seen = { events: [], gaps: [], states: [], statuses: [], transports: [], asked: [], errors: [], born: performance.timeOrigin };
      const token = (why) => {
        seen.asked.push(why);
        return tokens.length > 1 ? tokens.shift() : tokens[0];
      };
      globalThis.client = connect({ url: `${url.replace("http", "ws")}/v1/ws`, token, ...options });
      client.on("change", () => {
        const { state, substate, reason, transport } = client.view;
        seen.states.push([state, substate, reason.name, reason.code]);
        if (state === "connected" && seen.transports.at(-1) !== transport) seen.transports.push(transport);
      });
      client.on("error", (error) => seen.errors.push(String(error)));
      globalThis.room = client.room(name, { delta: true, history: 100, keep: 1000 });
      room.on("change", () => seen.statuses.at(-1) !== room.view.status && seen.statuses.push(room.view.status));
      room.on("event", (event) => seen.events.push(event));
      room.on("gap", (gap) => seen.gaps.push(gap));
    },
    [url, ROOM, options, tokens, fallbackLimits],
  );
}

export const seen = (page) => page.evaluate(() => globalThis.seen);
export const view = (page) => page.evaluate(() => ({ ...client.view }));
export const numbersOf = ({ events }) => events.filter(({ seq }) => seq !== undefined).map(({ data }) => data.n);
export const toGet = (page, count, options) => page.waitForFunction((count) => seen.events.filter((event) => event.seq).length >= count, count, options);
export const toBeLive = (page) => page.waitForFunction(() => globalThis.room.view.status === "live" && client.state === "connected");
