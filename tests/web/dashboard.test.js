// The dashboard in a real Chromium: on the demo's desk, as the demo's link opens it, and signed in by hand. Screenshots of both go
// to target/web/screenshots.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Daemon, LONG, mint, openBrowser, withoutLongTasks } from "./house.js";
import { SCREENSHOTS, open as openTab, pictures, withDemo } from "./pages.js";

let browser;
before(async () => {
  browser = await openBrowser({ viewport: { width: 1440, height: 1000 } });
});
after(() => browser?.end());

const open = (url) => openTab(browser.context, url);
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

    await pictures(page, "desk");
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
    const ticks = 20 * (LONG ? 60 : 5);
    const play = async (n) => {
      const each = (i, type, data) => ({ type, data: { challenge_id: `c${String(i + 1).padStart(2, "0")}`, ...data } });
      const fills = Array.from({ length: 25 }, (_, i) => each(i % 20, "TRADE_EXECUTED", { n, side: "BUY", realized_pnl: "1.00" }));
      await daemon.publish(...fills, ...Array.from({ length: 20 }, (_, i) => each(i, "EQUITY_UPDATED", { current_equity: `${n}.00` })));
    };
    const busyMs = await withoutLongTasks(page, async (round) => {
      const began = Date.now();
      for (let n = 0; n < ticks; n++) {
        await play(ticks * round + n);
        await page.waitForTimeout(Math.max(0, began + 50 * (n + 1) - Date.now()));
      }
      if (LONG) assert.ok(Date.now() - began < 1.2 * 50 * ticks, "it was told 500 fills a second, and 400 values");
      const last = `${ticks * (round + 1) - 1}.00`;
      await page.waitForFunction((last) => document.querySelector("#figures b").textContent.replace(",", "") === last, last);
    });
    assert.ok(busyMs < 0.5 * 50 * ticks, `half of its time is left, with 500 fills a second and 400 values: ${busyMs} ms of ${50 * ticks}`);
  } finally {
    await daemon.end();
  }
});
