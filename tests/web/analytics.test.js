// `[analytics]` to the eye: fills are published, and the desk's page shows equity, the alert at 80 % of the limit, and the breach, in a real Chromium.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { BINARY, Daemon, mint, openBrowser, waitUntil } from "./house.js";
import { SCREENSHOTS, open } from "./pages.js";
import { SOURCES } from "./tools.js";

let browser;
before(async () => {
  browser = await openBrowser({ viewport: { width: 1440, height: 1000 } });
});
after(() => browser?.end());

test("EVT-01, EVT-03, EVT-06: fills become equity on the desk's page; the alert and the breach are there once each", async () => {
  const dir = mkdtempSync(join(tmpdir(), "tickerd-web-"));
  const config = join(dir, "tickerd.toml");
  writeFileSync(config, '[analytics]\nmarks_every = "0s"\nverify_every = "1s"\n');
  const daemon = await Daemon.start(["--data-dir", "DIR", "--config", config], { dir });
  try {
    const page = await open(browser.context, `${daemon.url}/#rooms=challenge:8f&token=${mint({ rooms: ["challenge:*"] })}`);
    await page.waitForFunction(() => document.querySelector("#book-count").textContent === "2 of 2 live");
    await page.locator("#book tbody tr", { hasText: "8f" }).click();
    const equityIs = (text) => page.waitForFunction((text) => document.querySelector("#figures b").textContent === text, text);
    const mark = async (price, equity) => {
      await daemon.publish({ type: "market.data.update", data: { symbol: "AAPL", price } });
      await equityIs(equity);
    };
    const alerts = () => page.$$eval("#alerts li", (all) => all.map((each) => each.textContent));

    const fill = { challenge_id: "8f", user_id: "u1", symbol: "AAPL", side: "BUY", quantity: "100", price: "100.00" };
    await daemon.publish({ type: "TRADE_EXECUTED", data: fill });
    await equityIs("10,000.00");
    await page.waitForFunction(() => document.querySelector("#detail-status").textContent === "ACTIVE");
    await mark("96.01", "9,601.00");
    assert.ok(!(await alerts()).join().includes("drawdown"), "79.8 % of the limit is no alert");
    await mark("95.50", "9,550.00");
    await mark("95.40", "9,540.00");
    assert.equal((await alerts()).filter((text) => text.includes("4.50")).length, 1, (await alerts()).join());
    assert.equal(await page.locator("#figures b").nth(1).textContent(), "−460.00");
    await mark("94.00", "9,400.00");
    await page.waitForFunction(() => document.querySelector("#detail-status").textContent === "FAILED");
    await mark("93.00", "9,300.00");
    const shown = await alerts();
    assert.equal(shown.filter((text) => /drawdown/i.test(text) && !/FAILED/i.test(text)).length, 1, shown.join());
    assert.equal(shown.filter((text) => /FAILED/i.test(text)).length, 1, shown.join());
    await page.screenshot({ path: `${SCREENSHOTS}/analytics.png` });
    assert.deepEqual(page.complaints, []);

    await daemon.publish({ type: "TRADE_EXECUTED", data: { ...fill, quantity: "0" } });
    const operator = await open(browser.context, `${daemon.url}/operator#token=${mint({ sub: "ann", scope: "admin" })}`);
    const figure = (name, text) =>
      operator.waitForFunction(
        ([name, text]) => [...document.querySelectorAll("#analytics div")].some((row) => row.children[0].textContent === name && row.children[1].textContent.startsWith(text)),
        [name, text],
      );
    await figure("Accounts", "1 · ");
    await figure("Refused so far", "1");
    await figure("Behind the journal", "no");
    await figure("Computed again", "equal");
    await operator.setViewportSize({ width: 1440, height: 1600 });
    await operator.screenshot({ path: `${SCREENSHOTS}/operator-analytics.png` });
    assert.deepEqual(operator.complaints, []);
  } finally {
    await daemon.end();
  }
});

test("CLI-04: the example starts with one command, and shows what the daemon makes of its fills", async () => {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", SEED: "1" };
  const example = spawn(`${SOURCES}examples/figures.py`, [BINARY], { stdio: ["ignore", "pipe", "inherit"], env });
  let printed = "";
  example.stdout.on("data", (text) => (printed += text));
  try {
    const [link] = await waitUntil(() => printed.match(/http:\/\/\S+#\S+/), "the example's link");
    const page = await open(browser.context, link);
    await page.waitForFunction(() => document.querySelector("#detail-status").textContent === "ACTIVE");
    await page.waitForFunction(() => /^(9|10),\d{3}\.\d\d$/.test(document.querySelector("#figures b").textContent));
    await page.waitForFunction(() => document.querySelectorAll("#fills tr").length >= 2);
    assert.deepEqual(page.complaints, []);
  } finally {
    const ended = once(example, "exit");
    example.kill("SIGINT");
    await ended;
  }
});
