// The hooks, with the real React 18 and 19 in a real Chromium, against the real daemon.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { asModule, bundle } from "./commonjs.js";
import { Daemon, mint, openBrowser, pageServer, waitUntil } from "./house.js";
import { SOURCES } from "./tools.js";

const NAMES = ["createContext", "createElement", "useCallback", "useContext", "useEffect", "useMemo", "useSyncExternalStore"];
const PAGE = `<!doctype html><title>react</title><link rel="icon" href="data:,"><div id="root"></div>
<script type="importmap">{"imports":{"react":"/react-module.js"}}</script><script src="/bundle.js"></script>`;

let browser;
let daemon;
before(async () => {
  browser = await openBrowser();
  daemon = await Daemon.start();
});
after(async () => {
  await browser?.end();
  await daemon?.end();
});

/** A page in which `App` can be rendered and the hooks' answers are noted. */
async function open(version) {
  const page = await browser.context.newPage();
  page.errors = [];
  page.on("console", (message) => message.type() === "error" && page.errors.push(message.text()));
  page.on("pageerror", (error) => page.errors.push(String(error)));
  const pages = await pageServer({
    "/page": PAGE,
    "/bundle.js": bundle({
      react: `react-${version}`,
      "react-dom": `react-dom-${version}`,
      "react-dom/client": `react-dom-${version}/client`,
    }),
    "/react-module.js": asModule("react", NAMES),
    "/react.js": readFileSync(`${SOURCES}react.js`),
    "/client.js": readFileSync(`${SOURCES}client.js`),
  });
  await page.goto(`${pages.url}/page`);
  await page.evaluate(async (url) => {
    const { createElement, StrictMode, version, useState } = commonjs.react;
    const { createRoot } = commonjs["react-dom/client"];
    Object.assign(globalThis, { createElement, StrictMode, version, useState, createRoot, url });
    globalThis.hooks = await import("/react.js");
    globalThis.tickerd = await import("/client.js");
    globalThis.root = createRoot(document.querySelector("#root"));
    globalThis.renders = 0;
    globalThis.strict = (...children) => createElement(StrictMode, null, ...children);
  }, `${daemon.url.replace("http", "ws")}/v1/ws`);
  return { page, end: () => page.close().then(pages.end) };
}

const members = async (name, ...parts) => {
  const answer = await fetch(`${daemon.url}/v1/publish`, {
    method: "POST",
    headers: { Authorization: `Bearer ${mint({ sub: "b", scope: "publish" })}`, "Content-Type": "application/json" },
    body: JSON.stringify({ type: "probe", room: name, lane: "update", mode: "transient", data: parts }),
  });
  return (await answer.json()).members;
};

const alert = (id, n) => ({ type: "RISK_ALERT", data: { challenge_id: id, severity: "HIGH", n } });
const equity = (id, current_equity) => ({ type: "EQUITY_UPDATED", data: { challenge_id: id, current_equity } });

for (const version of [18, 19]) {
  describe(`React ${version}`, () => {
    test("EVT-08, CLI-12: useLiveChallenge has what its predecessor had, in StrictMode, and cleans up", async () => {
      const id = `live${version}`;
      const { page, end } = await open(version);
      const sockets = [];
      page.on("websocket", (socket) => sockets.push(socket));
      assert.equal(Number.parseInt(await page.evaluate(() => commonjs.react.version), 10), version);
      await page.evaluate(
        ([id, token]) => {
          globalThis.Live = function Live() {
            renders += 1;
            const live = hooks.useLiveChallenge(id, token, { url });
            globalThis.live = live;
            const { equityData, riskAlerts, isConnected, isLoading, quality } = live;
            const text = isLoading ? "loading" : [equityData?.current_equity, riskAlerts.length, isConnected, quality].join(" ");
            return createElement("output", null, text);
          };
          root.render(strict(createElement(Live)));
        },
        [id, mint({ rooms: [`challenge:${id}`] })],
      );
      const shows = (text) => page.waitForFunction((text) => document.querySelector("output")?.textContent === text, text);
      await shows(" 0 true good");
      assert.equal(await members(`challenge:${id}`), 1, "StrictMode mounts twice, and joins once");
      await daemon.publish(equity(id, "100.00"), ...Array.from({ length: 12 }, (_, n) => alert(id, n)));
      await shows("100.00 10 true good");
      await daemon.publish({ type: "CHALLENGE_FAILED", data: { challenge_id: id, reason: "MAX_DAILY_DRAWDOWN" } });
      await page.waitForFunction(() => live.statusData?.reason === "MAX_DAILY_DRAWDOWN");
      assert.deepEqual(await page.evaluate(() => live.riskAlerts.map(({ n }) => n)), [11, 10, 9, 8, 7, 6, 5, 4, 3, 2], "newest first");
      const ids = await page.evaluate(() => live.riskAlerts.map(({ id }) => id));
      assert.equal(new Set(ids).size, 10);
      await page.evaluate(() => live.clearAlerts());
      await shows("100.00 0 true good");
      await page.evaluate(() => live.refresh());
      await page.evaluate(() => (globalThis.was = live));

      const before = await page.evaluate(() => renders);
      const fills = Array.from({ length: 500 }, (_, n) => ({ type: "TRADE_EXECUTED", data: { challenge_id: id, n } }));
      await daemon.publish(...fills, equity(id, "2.00"));
      await shows("2.00 0 true good");
      const rendered = (await page.evaluate(() => renders)) - before;
      assert.ok(rendered < 200, `${rendered} renders for 501 events`);
      assert.ok(await page.evaluate(() => was.refresh === live.refresh && was.clearAlerts === live.clearAlerts && live.error === null));

      await page.evaluate(() => root.render(strict()));
      await page.waitForTimeout(1500);
      assert.equal(await members(`challenge:${id}`), 0, "what is unmounted leaves");
      await waitUntil(() => sockets.length > 0 && sockets.every((socket) => socket.isClosed()), "a connection that nobody uses ends");
      assert.deepEqual(page.errors, []);
      await end();
    });

    test("a function for the token may be a new one at each render: hooks share a connection, and the latest is asked", async () => {
      const id = `inline${version}`;
      const { page, end } = await open(version);
      const sockets = [];
      page.on("websocket", (socket) => sockets.push(socket.url()));
      await page.evaluate(
        ([id, token]) => {
          globalThis.asked = [];
          function Show({ n }) {
            const provider = (why) => {
              asked.push(`${why} ${n}`);
              return token;
            };
            const { isLoading, isConnected } = hooks.useLiveChallenge(id, provider, { url });
            return createElement("output", null, `${isLoading} ${isConnected} ${n}`);
          }
          globalThis.show = (n) => root.render(strict(createElement(Show, { n, key: 1 }), createElement(Show, { n, key: 2 })));
          show(0);
        },
        [id, mint({ rooms: [`challenge:${id}`], ttl: 65 })],
      );
      const shows = (text) => page.waitForFunction((text) => document.querySelector("output")?.textContent === text, text);
      await shows("false true 0");
      for (let n = 1; n <= 9; n++) await page.evaluate((n) => show(n), n);
      await shows("false true 9");
      await page.waitForFunction(() => asked.length > 1); // the token has less than a minute left after five seconds
      assert.deepEqual([await page.evaluate(() => asked), sockets.length], [["connect 0", "expiring 9"], 1]);
      await page.evaluate(() => root.unmount());
      await end();
    });

    test("CLI-06: while the daemon is away the last values stay, with the time at which they were true", async () => {
      const away = await Daemon.start(["--data-dir", "DIR"]);
      const { page, end } = await open(version);
      await page.evaluate(
        ([url, token]) => {
          function Show() {
            globalThis.live = hooks.useLiveChallenge("8f", token, { url });
            return null;
          }
          root.render(strict(createElement(Show)));
        },
        [`${away.url.replace("http", "ws")}/v1/ws`, mint({ rooms: ["challenge:8f"] })],
      );
      await page.waitForFunction(() => live.isConnected && !live.isLoading);
      await away.publish(equity("8f", "3.00"));
      await page.waitForFunction(() => live.equityData?.current_equity === "3.00" && live.staleSince === null);
      const began = Date.now();
      await away.signal("SIGKILL");
      await page.waitForFunction(() => live.staleSince !== null);
      const { staleSince, equityData, isConnected, isLoading, quality, error } = await page.evaluate(() => live);
      assert.ok(Math.abs(staleSince - began) < 60_000);
      assert.deepEqual([equityData.current_equity, isConnected, isLoading, quality, error], ["3.00", false, false, "offline", null]);
      await away.restart();
      await page.waitForFunction(() => live.staleSince === null && live.isConnected);
      await page.evaluate(() => root.unmount());
      await end();
      await away.end();
    });

    test("useLiveChallenge says why it shows nothing", async () => {
      const { page, end } = await open(version);
      await page.evaluate(
        ([bad, other]) => {
          function Show({ name, id, token }) {
            const { error, isLoading, isConnected } = hooks.useLiveChallenge(id, token, { url });
            return createElement("output", { id: name }, `${error} ${isLoading} ${isConnected}`);
          }
          const show = (name, id, token) => createElement(Show, { key: name, name, id, token });
          root.render(strict(show("none", "x", null), show("bad", "x", bad), show("denied", "x", other)));
        },
        ["not.a.token", mint({ rooms: ["challenge:y"] })],
      );
      const hasText = ([name, text]) => document.getElementById(name)?.textContent.match(text);
      const shows = (name, text) => page.waitForFunction(hasText, [name, text]);
      await shows("none", "^null false false$");
      await shows("bad", "^invalid_token false false$");
      await shows("denied", "^you may not join this room.* false true$");
      await end();
    });

    test("useRoom and useConnection share the client above them, and one room among all who show it", async () => {
      const room = `challenge:shared${version}`;
      const { page, end } = await open(version);
      await page.evaluate(
        ([room, token]) => {
          function Equity() {
            const { state, isLoading } = hooks.useRoom(room);
            return createElement("output", { className: "equity" }, isLoading ? "loading" : state("EQUITY_UPDATED")?.current_equity);
          }
          function Connection() {
            const { isConnected, state } = hooks.useConnection();
            return createElement("output", { className: "connection" }, `${state} ${isConnected}`);
          }
          function App() {
            const [isSecond, setSecond] = useState(true);
            globalThis.setSecond = setSecond;
            return createElement("div", null, createElement(Equity), isSecond && createElement(Equity), createElement(Connection));
          }
          globalThis.client = tickerd.connect({ url, token });
          root.render(strict(createElement(hooks.TickerdProvider, { client }, createElement(App))));
        },
        [room, mint({ rooms: [room] })],
      );
      const texts = (selector) => page.$$eval(selector, (all) => all.map((each) => each.textContent));
      await page.waitForFunction(() => document.querySelector(".connection").textContent === "connected true");
      await daemon.publish(equity(`shared${version}`, "5.00"));
      await page.waitForFunction(() => [...document.querySelectorAll(".equity")].every((each) => each.textContent === "5.00"));
      assert.deepEqual([await members(room), (await texts(".equity")).length], [1, 2]);
      await page.evaluate(() => setSecond(false));
      await page.waitForTimeout(600);
      assert.deepEqual([await members(room), await texts(".equity")], [1, ["5.00"]], "one of two has left");
      await page.evaluate(() => root.unmount());
      await page.waitForTimeout(600);
      assert.equal(await members(room), 0);
      assert.equal(await page.evaluate(() => client.state), "connected", "the client is the page's");
      assert.deepEqual(page.errors, []);
      await end();
    });
  });
}
