// The dashboard in a real Chromium: on the demo's desk, as the demo's link opens it, and signed in by hand. Screenshots of both go
// to target/web/screenshots.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { BINARY, Daemon, mint, openBrowser, waitUntil, withoutLongTasks } from "./house.js";
import { ROOT } from "./tools.js";

const SCREENSHOTS = `${ROOT}target/web/screenshots`;
const WIDTHS = [360, 768, 1440];
mkdirSync(SCREENSHOTS, { recursive: true });

let browser;
before(async () => {
  browser = await openBrowser({ viewport: { width: 1440, height: 1000 } });
});
after(() => browser?.end());

/** A tab that notes what the browser complains of. */
async function open(url, { context = browser.context } = {}) {
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("request", (request) => new URL(request.url()).origin === new URL(url).origin || page.complaints.push(request.url()));
  await page.goto(url);
  return page;
}

/** `tickerd demo` while `body` runs, with the link that it prints. */
async function withDemo(body) {
  const dir = mkdtempSync(join(tmpdir(), "tickerd-web-"));
  const options = { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, TMPDIR: dir } };
  const demo = spawn(BINARY, ["demo", "--listen", "127.0.0.1:0", "--seconds", "600"], options);
  let printed = "";
  demo.stdout.on("data", (text) => (printed = (printed + text).slice(0, 10_000)));
  try {
    const [link] = await waitUntil(() => printed.match(/http:\/\/\S+#\S+/), "the demo's link");
    await body(link);
  } finally {
    const ended = once(demo, "exit");
    demo.kill("SIGINT");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  }
}

const text = (page, selector) => page.locator(selector).first().textContent();
const p50 = (page, name) => page.evaluate((name) => document.querySelector(`[data-lane=${name}]`).cells[2].textContent, name);
const inMs = (shown) => (shown.endsWith(" ms") ? parseFloat(shown) : parseFloat(shown) * 1000);

test("CLI-04, CLI-05, CLI-11: the demo's link opens a live desk; under a flood the alert is here before the metrics", async () => {
  await withDemo(async (link) => {
    const page = await open(link);
    await page.waitForFunction(() => document.querySelector("#book-count").textContent === "21 of 21 live");
    assert.equal(page.url(), new URL("/", link).href, "the token does not stay in the address");
    assert.match(await text(page, "#connection span"), /^Live/);
    await page.waitForFunction(() => document.querySelectorAll("#fills tr").length >= 3);
    assert.match(await text(page, "#figures b"), /^[\d,]+\.\d\d$/);

    await page.click("#flood");
    await page.waitForFunction(() => Number(document.querySelector("[data-lane=metric]").cells[1].textContent.replace(",", "")) > 1000);
    await page.click("#raise");
    await page.waitForFunction(() => document.querySelector("#alerts ol").textContent.includes("raised from this page"));
    await page.waitForFunction(() => document.querySelector("#race").textContent.includes("metrics that were accepted earlier"));
    const [alerts, metrics] = [await p50(page, "alert"), await p50(page, "metric")];
    assert.ok(inMs(alerts) < inMs(metrics), `p50: alerts ${alerts}, metrics ${metrics}`);

    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 900 });
        await page.waitForTimeout(700);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, `${width} px: nothing sticks out`);
        await page.screenshot({ path: `${SCREENSHOTS}/desk-${colorScheme}-${width}.png`, fullPage: true });
      }
    }
    await page.click("#flood");
    await page.locator("#book tbody tr").nth(4).click();
    await page.waitForFunction(() => document.querySelector("#detail-title").textContent === "Challenge c05");
    await page.reload();
    await page.waitForFunction(() => document.querySelector("#book-count").textContent === "21 of 21 live");
    assert.deepEqual(page.complaints, [], "no violation of the policy, no error, nothing from elsewhere");
  });
});

test("signing in by hand; a bad token is said; markup in data is text; away from the server the last values stay", async () => {
  const daemon = await Daemon.start(["--data-dir", "DIR"]);
  try {
    const page = await open(`${daemon.url}/`);
    await page.screenshot({ path: `${SCREENSHOTS}/sign-in.png` });
    await page.fill("#token", "not.a.token");
    await page.click("#sign-in button");
    await page.waitForFunction(() => document.querySelector("#sign-in-error").textContent === "invalid_token");
    page.complaints.length = 0;

    await page.fill("#token", mint({ sub: "u1", rooms: ["challenge:8f", "quote:*"] }));
    await page.fill("#rooms", "quote:1..2, challenge:other");
    await page.click("#sign-in button");
    await page.waitForFunction(() => document.querySelector("#book-count").textContent === "4 of 5 live");
    const names = await page.$$eval("#book tbody th", (all) => all.map((each) => each.textContent));
    assert.deepEqual(names, ["quote:1", "quote:2", "other", "8f", "user:u1"]);
    await page.waitForFunction(() => document.querySelector("#book tbody").rows[2].cells[1].textContent === "access denied");

    await page.locator("#book tbody tr").nth(3).click();
    const markup = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
    await daemon.publish(
      { type: "RISK_ALERT", data: { challenge_id: "8f", severity: markup, message: markup } },
      { type: "TRADE_EXECUTED", data: { challenge_id: "8f", side: markup, symbol: markup, price: markup, realized_pnl: "-1.00" } },
      { type: "EQUITY_UPDATED", data: { challenge_id: "8f", current_equity: "1234567.89", daily_pnl: "-0.10", total_pnl: markup } },
    );
    await page.waitForFunction(() => document.querySelector("#figures b").textContent === "1,234,567.89");
    assert.equal(await text(page, "#alerts li p"), markup);
    assert.ok((await text(page, "#fills")).includes(markup));
    assert.equal(await page.title(), "tickerd");
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.deepEqual(page.complaints, []);

    await daemon.signal("SIGKILL");
    await page.waitForFunction(() => !document.querySelector("#notice").hidden);
    assert.match(await text(page, "#notice"), /^The connection is lost/);
    assert.match(await text(page, "#connection span"), /^Reconnecting|^Offline/);
    assert.equal(await text(page, "#figures b"), "1,234,567.89");
    await page.screenshot({ path: `${SCREENSHOTS}/away.png` });
    await daemon.restart();
    await page.waitForFunction(() => document.querySelector("#notice").hidden);
  } finally {
    await daemon.end();
  }
});

test("CLI-12: a desk of 500 updates a second keeps the page responsive", async () => {
  const daemon = await Daemon.start();
  try {
    const token = mint({ rooms: ["challenge:*"] });
    const page = await open(`${daemon.url}/#rooms=challenge:c01..20&token=${token}`);
    await page.waitForFunction(() => document.querySelector("#book-count").textContent === "21 of 21 live");
    const play = async (n) => {
      const each = (i, type, data) => ({ type, data: { challenge_id: `c${String(i + 1).padStart(2, "0")}`, ...data } });
      const fills = Array.from({ length: 25 }, (_, i) => each(i % 20, "TRADE_EXECUTED", { n, side: "BUY", realized_pnl: "1.00" }));
      await daemon.publish(...fills, ...Array.from({ length: 20 }, (_, i) => each(i, "EQUITY_UPDATED", { current_equity: `${n}.00` })));
      await page.waitForTimeout(50);
    };
    await withoutLongTasks(page, async (round) => {
      for (let n = 0; n < 100; n++) await play(100 * round + n);
      const last = `${100 * round + 99}.00`;
      await page.waitForFunction((last) => document.querySelector("#figures b").textContent === last, last);
    });
  } finally {
    await daemon.end();
  }
});
