// The examples, as they are shipped: each page in a real Chromium, with its backend publishing to the real daemon. Screenshots go to
// target/web/screenshots.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";

import { asModule, bundle } from "./commonjs.js";
import { BINARY, Daemon, mint, openBrowser, pageServer, waitUntil } from "./house.js";
import { ROOT, SOURCES } from "./tools.js";

const EXAMPLES = `${SOURCES}examples/`;
const SCREENSHOTS = `${ROOT}target/web/screenshots`;
mkdirSync(SCREENSHOTS, { recursive: true });

let browser;
let pages;
before(async () => {
  browser = await openBrowser({ viewport: { width: 1000, height: 900 } });
  const served = readdirSync(EXAMPLES).filter((name) => /\.(html|js|css)$/.test(name)).map((name) => [`/examples/${name}`, readFileSync(EXAMPLES + name)]);
  const client = ["client.js", "client-fallback.js", "react.js"].map((name) => [`/${name}`, readFileSync(SOURCES + name)]);
  pages = await pageServer(Object.fromEntries([...served, ...client]));
  // What the challenge's page asks a public server for is React from npm.
  const react = bundle({ react: "react-19", "react-dom": "react-dom-19", "react-dom/client": "react-dom-19/client" });
  const hooks = ["createContext", "createElement", "useCallback", "useContext", "useEffect", "useMemo", "useSyncExternalStore"];
  await browser.context.route("https://esm.sh/**", (route) => {
    const [, name, path = ""] = new URL(route.request().url()).pathname.match(/^\/([\w-]+)@19\.2\.0(\/\w+)?$/);
    const body = `globalThis.commonjs ?? (0, eval)(${JSON.stringify(react)});\n${asModule(name + path, path ? ["createRoot"] : hooks)}`;
    route.fulfill({ body, contentType: "text/javascript", headers: { "Access-Control-Allow-Origin": "*" } });
  });
});
after(async () => {
  await browser?.end();
  pages?.end();
});

/** The daemon, the page with that token, and the backend with those arguments, in which SOCKET and DIR are the daemon's; while `body` runs. */
async function withExample(name, claims, backend, body, { flags = [], shownAs = name } = {}) {
  const socket = `/tmp/tickerd-example-${process.pid}.sock`;
  const daemon = await Daemon.start(["--data-dir", "DIR", "--publish-socket-mode", "0600", "--publish-socket", socket, ...flags]);
  const running = [];
  const start = (variables = {}) => {
    const [command, ...given] = backend;
    const values = { SOCKET: socket, DIR: daemon.dir, URL: daemon.url };
    const args = given.map((argument) => argument.replace(/\b(SOCKET|DIR|URL)\b/g, (found) => values[found]));
    const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", SEED: "1", PATH: `${dirname(BINARY)}:${process.env.PATH}`, ...variables };
    const child = spawn(EXAMPLES + command, args, { stdio: ["ignore", "pipe", "inherit"], env });
    child.printed = "";
    child.stdout.on("data", (text) => (child.printed += text));
    running.push(child);
    return child;
  };
  const page = await browser.context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && !/WebSocket connection|ERR_CONNECTION_REFUSED/.test(message.text()) && page.complaints.push(message.text()));
  try {
    const hash = new URLSearchParams({ server: daemon.address, token: mint(claims), id: "x1" });
    await page.goto(`${pages.url}/examples/${name}.html#${hash}`);
    await body({ page, daemon, start });
    await shoot(page, shownAs);
    assert.deepEqual(page.complaints, []);
  } finally {
    for (const child of running.filter(({ exitCode }) => exitCode === null)) {
      const ended = once(child, "exit");
      child.kill();
      await ended;
    }
    await page.close();
    await daemon.end();
  }
}

async function shoot(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1000]) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${name} is ${overflow} pixels wider than ${width}`);
      await page.screenshot({ path: join(SCREENSHOTS, `example-${name}-${width}-${colorScheme}.png`) });
    }
  }
}

const text = (page, selector) => page.locator(selector).first().textContent();
const shows = (page, selector, pattern) => waitUntil(async () => pattern.test((await page.locator(selector).allTextContents()).join("\n")), `${selector} shows ${pattern}`);

describe("examples", () => {
  test("challenge: equity, status and alerts, for its owner alone; over a restart of the daemon", async () => {
    await withExample("challenge", { sub: "u1" }, ["challenge.py", "SOCKET", "x1", "u1"], async ({ page, daemon, start }) => {
      await shows(page, ".connection", /may not/); // nobody owns it yet
      start();
      await waitUntil(async () => {
        await page.reload(); // as its owner would, who is let in once there is a trade
        await page.waitForTimeout(200);
        return /live/.test(await text(page, ".connection"));
      }, "the owner is let in");
      await shows(page, ".figures b", /^\d+\.\d\d$/m);
      const trades = Number(await text(page, ".figures div:nth-child(5) b"));
      await daemon.restart();
      await waitUntil(async () => Number(await text(page, ".figures div:nth-child(5) b")) > trades + 1, "it goes on after the restart");
      await shows(page, "li", /MEDIUM|HIGH/);
      await shows(page, ".status", /FAILED|FUNDED/);
    });
  });

  test("challenge, EVT-01: where the daemon makes the numbers of fills, `today` is what came since the day began", async () => {
    const dir = mkdtempSync(join(tmpdir(), "tickerd-example-"));
    const config = join(dir, "tickerd.toml");
    writeFileSync(config, '[analytics]\nmarks_every = "0s"\n');
    const fills = async ({ page, daemon }) => {
      const fill = { challenge_id: "x1", user_id: "u1", symbol: "AAPL", side: "BUY", quantity: "100", price: "100.00" };
      await daemon.publish({ type: "TRADE_EXECUTED", data: fill });
      await page.reload();
      await shows(page, ".connection", /live/);
      const figures = async () => (await page.locator(".figures b").allTextContents()).join(" ");
      for (const [price, shown] of [["95.40", "9540.00 -460.00 -460.00 10000.00 1"], ["100.50", "10050.00 50.00 50.00 10050.00 1"]]) {
        await daemon.publish({ type: "market.data.update", data: { symbol: "AAPL", price } });
        await waitUntil(async () => (await figures()) === shown, shown);
      }
      await shows(page, "li", /MEDIUM .*4\.60%/);
      assert.equal(await text(page, ".status"), "ACTIVE");
    };
    await withExample("challenge", { sub: "u1" }, [], fills, { flags: ["--config", config], shownAs: "challenge-analytics" });
    rmSync(dir, { recursive: true });
  });

  test("robot: account, positions, trades and metrics; away from the daemon, and over a reload, the last values stay", async () => {
    await withExample("robot", { sub: "u1", rooms: ["account:x1"] }, ["robot.py", "SOCKET", "x1", "u1"], async ({ page, daemon, start }) => {
      start({ SEED: "4" });
      await shows(page, "#account b", /^\d+\.\d\d$/m);
      await shows(page, "#metrics b", /^-?\d+\.\d{4}$/m);
      await shows(page, "#positions td", /BTCUSD|ETHUSD|SOLUSD/);
      await shows(page, "#trades td", /BUY/);
      await shows(page, "#alerts", /HIGH the drawdown is/);
      await shoot(page, "robot-live");
      await daemon.signal("SIGKILL");
      await shows(page, ".connection", /reconnecting|offline/);
      await page.waitForTimeout(1500); // what is cached is written within a second
      const equity = await text(page, "#account b");
      await page.reload();
      await waitUntil(async () => (await text(page, "#account b")) === equity, "the cache shows the same");
      assert.match(await page.evaluate(() => document.querySelector("header").dataset.since), /^as of /);
    });
  });

  test("console: the last 20 activities for whoever comes late, the queue and its decisions", async () => {
    await withExample("console", { sub: "op", rooms: ["console:main"] }, ["console.py", "URL", "DIR/publisher.token"], async ({ page, daemon, start }) => {
      writeFileSync(join(daemon.dir, "publisher.token"), mint({ sub: "backend", scope: "publish" }));
      start();
      await shows(page, "#whales td:last-child", /followed|skipped|limited/);
      await shows(page, "#trading b", /^\d+\.\d\d$/m);
      await shows(page, "#state", /ready/);
      await page.reload();
      await shows(page, "#activity", /startup[\s\S]*$/);
      assert.ok((await page.locator("#activity li").count()) <= 20);
      await shows(page, "#health", /healthy/);
      await waitUntil(async () => (await page.locator("#whales tr").count()) >= 4, "the queue grows");
    });
  });

  test("quote: progress to the premium; a notification stays until it is acknowledged, and the backend hears of it", async () => {
    await withExample("quote", { sub: "agent 1", rooms: ["quote:x1"] }, ["quote.sh", "SOCKET", "x1", "agent 1"], async ({ page, daemon, start }) => {
      const reader = join(daemon.dir, "reader.token");
      writeFileSync(reader, mint({ sub: "reader", rooms: ["system:acks"] }));
      const backend = start({ READER_TOKEN_FILE: reader, URL: `ws://${daemon.address}/v1/ws` });
      await shows(page, "#stage", /done/);
      await shows(page, "#premium", /84\.20/);
      await shows(page, "#changes li", /risk score/);
      await shows(page, "#notifications", /is ready/);
      await shoot(page, "quote-waiting");
      await page.reload();
      await shows(page, "#notifications", /is ready/);
      await page.click("#notifications button");
      await waitUntil(async () => (await page.locator("#notifications li").count()) === 0, "it is acknowledged");
      await waitUntil(() => backend.exitCode !== null, "the backend has heard of it");
      assert.deepEqual([backend.exitCode, JSON.parse(backend.printed).type], [0, "event.acknowledged"]);
      await page.reload();
      await shows(page, "#stage", /done/);
      assert.equal(await page.locator("#notifications li").count(), 0);
    });
  });
});
