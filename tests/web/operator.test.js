// The operator's view in a real Chromium: in the demo, where the desk's page leads to it, and with a server that refuses, stands still, or is gone.
// Screenshots go to target/web/screenshots.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";

import { Daemon, mint, openBrowser, waitUntil, withoutLongTasks } from "./house.js";
import { SCREENSHOTS, open as openTab, pictures, withDemo } from "./pages.js";

let browser;
before(async () => {
  browser = await openBrowser({ viewport: { width: 1440, height: 1000 } });
});
after(() => browser?.end());

const open = (url) => openTab(browser.context, url);
const text = (page, selector) => page.locator(selector).first().textContent();
const admin = (claims) => mint({ sub: "ann", scope: "admin", ...claims });
const says = (page, selector, pattern) =>
  page.waitForFunction(([selector, source]) => new RegExp(source).test(document.querySelector(selector).textContent), [selector, pattern.source]);
const isLive = (page) => says(page, "#connection span", /^Live$/);
/** The texts of a column. */
const column = (page, table, at) => page.$$eval(`${table} tbody tr`, (rows, at) => rows.map((row) => row.cells[at].textContent), at);

test("CLI-11, OBS-11, OBS-14: from the demo's desk to the operator's view, and what is to be seen there", async () => {
  await withDemo(async (link) => {
    const page = await open(link);
    await page.getByRole("link", { name: "Operator" }).click();
    await isLive(page);
    assert.equal(page.url(), new URL("/operator", link).href);
    assert.equal(await text(page, "#who"), "desk");
    await says(page, "#verdict span", /^All parts work, no alert fires$|alert/);
    const parts = await page.$$eval("#parts li", (all) => all.map((each) => each.textContent.trim()));
    assert.ok(["hub", "reactor-0", "memory", "disk"].every((name) => parts.includes(name)), parts.join());

    // Half of the alerts go to the slow line: with one of these more than of the others in the last ten seconds, it is their median.
    const lanes = await waitUntil(async () => {
      const shown = await page.$$eval(".lane", (all) => all.map((lane) => [lane.dataset.lane, ...[...lane.querySelectorAll("dd")].map((each) => each.textContent)]));
      const [alert, , metric] = shown.map(([, p50]) => parseFloat(p50) * { "µs": 1e-6, ms: 1e-3, s: 1 }[p50.split(" ")[1]]);
      return shown.flat().every((text) => text !== "–") && alert < metric && shown;
    }, "each lane has its figures, and alerts are faster than metrics");
    assert.deepEqual(lanes.map(([lane]) => lane), ["alert", "update", "metric"]);
    assert.equal((await column(page, "#rooms", 0)).length, 12);
    assert.ok((await column(page, "#rooms", 1)).every((members) => members === "2" || members === "3"));
    await page.selectOption("#rooms-by", "members");
    await page.waitForFunction(() => !document.querySelector("#slow table").hidden);
    assert.ok((await column(page, "#slow", 0)).includes("desk"), "the client on the slow line");
    assert.ok((await page.$$("#queues li")).length >= 4);
    assert.match(await text(page, "#journal .empty"), /--data-dir/);

    await withoutLongTasks(page, () => page.waitForTimeout(6000));
    await page.waitForTimeout(14_000); // for the curves
    await pictures(page, "operator");
    await page.setViewportSize({ width: 1440, height: 1000 });
    await page.reload();
    await isLive(page);
    await page.getByRole("link", { name: "Desk" }).click();
    await page.waitForFunction(() => document.querySelector("#book-count")?.textContent === "21 of 21 live");
    assert.deepEqual(page.complaints, [], "no violation of the policy, no error, nothing from elsewhere");
  });
});

test("CLI-11: with a keyboard, and for those who hear the page", async () => {
  const daemon = await Daemon.start();
  try {
    const page = await open(`${daemon.url}/#token=${admin()}`);
    await isLive(page); // who has no rooms is led here
    for (const name of ["State", "Vital signs", "Latency", "Top rooms", "Slow clients", "Queues", "Journal", "Refused and dropped"]) {
      assert.equal(await page.getByRole("heading", { name, exact: true }).count(), 1, name);
      assert.ok((await page.getByRole("region", { name, exact: true }).count()) >= 1, name);
    }
    assert.equal(await page.getByRole("img", { name: /^alert: p50 –/ }).count(), 1);
    assert.equal(await page.getByRole("status").count(), 2, "the badge and the verdict; the notice while it is hidden says nothing");
    const order = [];
    for (let i = 0; i < 4; i++) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-labelledby") || document.activeElement.localName));
    }
    assert.deepEqual(order, ["rooms-by", "rooms-title", "slow-title", "body"]);
    await page.focus("#rooms-by");
    await page.keyboard.press("ArrowDown");
    await page.waitForResponse((response) => response.url().includes("rooms?sort=bytes"));
    assert.deepEqual(await page.$$eval("th:not([scope])", (all) => all.length), 0);
    assert.deepEqual(page.complaints, []);
  } finally {
    await daemon.end();
  }
});

test("AUT-01: who may not see it is told why; signing in by hand; names with markup are text", async () => {
  const markup = `<img src=x onerror="document.title='owned'">`;
  const daemon = await Daemon.start(["--slow-timeout", "60s"]);
  try {
    const page = await open(`${daemon.url}/operator`);
    await page.waitForSelector("#sign-in:not([hidden])");
    await page.screenshot({ path: `${SCREENSHOTS}/operator-sign-in.png` });
    for (const [token, why] of [[mint({ scope: "publish" }), /lacks the scope admin/], ["not.a.token", /not a signed JWT/], [admin({ ttl: -60 }), /past its `exp`/]]) {
      await page.fill("#token", token);
      await page.click("#sign-in button");
      await says(page, "#sign-in-error", why);
      assert.ok(await page.isHidden("#operator"));
    }
    page.complaints.length = 0;
    await page.fill("#token", admin({ sub: markup }));
    await page.click("#sign-in button");
    await isLive(page);
    assert.equal(await text(page, "#who"), markup);
    assert.equal(await page.locator("main img").count(), 0);
    assert.equal(await page.title(), "tickerd · operator");
    assert.deepEqual(page.complaints, []);
    await page.evaluate(() => sessionStorage.setItem("tickerd", "null"));
  } finally {
    await daemon.end();
  }
  const closed = await Daemon.start(["--admin-api", "off"]);
  try {
    const page = await open(`${closed.url}/operator#token=${admin()}`);
    await says(page, "#sign-in-error", /--admin-api is off/);
  } finally {
    await closed.end();
  }
});

test("CLI-08: a server that stands still, is gone, comes back; a hidden tab asks for nothing", async () => {
  const daemon = await Daemon.start();
  try {
    const page = await open(`${daemon.url}/operator#token=${admin()}`);
    await isLive(page);
    await daemon.publish({ type: "RISK_ALERT", data: { challenge_id: "8f" } });
    await says(page, "#rooms tbody", /challenge:8f/);

    daemon.process.kill("SIGSTOP");
    await says(page, "#connection span", /^No data$|^Offline$/);
    await says(page, "#notice", /No data for \d+ s; this is what was true then\./);
    assert.ok(await page.isVisible("#notice"));
    assert.match(await text(page, "#rooms tbody"), /challenge:8f/, "the last figures stay");
    await pictures(page, "operator-stale", () => page.waitForTimeout(100));
    daemon.process.kill("SIGCONT");
    await isLive(page);

    await daemon.signal("SIGKILL");
    await says(page, "#connection span", /^Offline$/);
    await says(page, "#notice", /^The server cannot be reached\. No data for/);
    await daemon.restart();
    await isLive(page);
    await page.waitForFunction(() => document.querySelector("#notice").hidden);
    await says(page, "#rooms .empty", /No room yet/);

    const asked = [];
    page.on("request", (request) => asked.push(request.url()));
    const setHidden = (isHidden) =>
      page.evaluate((isHidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, value: isHidden });
        document.dispatchEvent(new Event("visibilitychange"));
      }, isHidden);
    // In the middle of a round: it is ended, and no other begun.
    const isHeld = page.waitForRequest(/admin\/connections/);
    await page.route("**/v1/admin/connections*", async (route) => {
      await waitUntil(() => page.evaluate(() => document.hidden), "the tab is hidden");
      await route.continue();
    });
    await isHeld;
    const ended = page.waitForResponse(/admin\/connections/);
    await setHidden(true);
    await ended;
    await page.unroute("**/v1/admin/connections*");
    asked.length = 0;
    await page.waitForTimeout(5000);
    assert.deepEqual(asked, []);
    await setHidden(false);
    await waitUntil(() => asked.length >= 5, "it asks again");
    await isLive(page);

    asked.length = 0;
    await page.waitForTimeout(6000);
    const rounds = asked.filter((url) => url.endsWith("/metrics")).length;
    assert.ok(rounds >= 1 && rounds <= 4 && asked.length <= 5 * (rounds + 1), `${rounds} rounds in 6 s`);
  } finally {
    await daemon.end();
  }
});

test("OBS-10: what is wrong comes first: an alert that fires, refusals by reason, a slow client with what waits for it", async () => {
  const daemon = await Daemon.start(["--data-dir", "DIR", "--max-queue-bytes", "64MiB"]);
  const markup = `<img src=x onerror="document.title='owned'">`;
  const reader = daemon.dial(() => reader.write(`GET /v1/events?room=quote:1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${mint({ sub: markup, rooms: ["quote:1"] })}\r\n\r\n`));
  try {
    await once(reader, "data");
    reader.pause();
    const page = await open(`${daemon.url}/operator#token=${admin()}`);
    await isLive(page);
    const many = Array.from({ length: 300 }, () => ({ type: "note", room: "quote:1", lane: "update", mode: "stream", data: "x".repeat(50_000) }));
    for (let i = 0; i < 300; i += 20) await daemon.publish(...many.slice(i, i + 20));
    await says(page, "#slow tbody", /127\.0\.0\.1 · events.*MiB/);
    assert.deepEqual([await column(page, "#slow", 0), await column(page, "#slow", 5)], [[markup], ["quote:1"]]);
    await says(page, "#firing", /slow clients/);
    const foreign = mint({ scope: "publish" });
    const refuse = () => fetch(`${daemon.url}/v1/events?room=x`, { headers: { Authorization: `Bearer ${foreign.slice(0, -4)}AAAA` } });
    for (let i = 0; i < 400; i++) await refuse();
    await says(page, "#refusals", /token: /);
    await says(page, "#verdict span", /alert/);
    assert.match(await text(page, "#firing"), /auth failures/);
    assert.match(await text(page, "#journal"), /Waits for the disk/);
    await pictures(page, "operator-firing");
    assert.deepEqual([await page.locator("main img").count(), await page.title()], [0, "tickerd · operator"], "a name with markup is text");
    assert.deepEqual(page.complaints, []);
  } finally {
    reader.destroy();
    await daemon.end();
  }
});
