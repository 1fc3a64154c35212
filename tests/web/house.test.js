// The test house itself: what it measures is what it says.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { openBrowser, withoutLongTasks } from "./house.js";

const ANSWERS_AFTER_MS = 200;

let browser, server, page;
before(async () => {
  browser = await openBrowser();
  server = createServer((request, response) => {
    const slow = request.url === "/slow";
    setTimeout(() => response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html>"), slow ? ANSWERS_AFTER_MS : 0);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  page = await browser.context.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
});
after(async () => {
  await browser?.end();
  server?.close();
});

/** Each of these needs the one before, so no processor does them in less than 80 ms: that many would be ten cycles in a nanosecond. */
const burn = () =>
  page.evaluate(() => {
    let sum = 1;
    for (let i = 0; i < 2e8; i++) sum = Math.imul(sum, 31) + i;
    return sum;
  });

test("CLI-11, CLI-12: a task that keeps the processor is long, in each round", async () => {
  const rounds = [];
  await assert.rejects(withoutLongTasks(page, async (round) => void (rounds.push(round), await burn()), { waitingCounts: false }), ({ message }) => {
    const longest = message.match(/^the longest task of each round, in ms of the processor: (.*)$/)[1].split(", ").map(Number);
    return longest.length === 3 && longest.every((ms) => ms >= 80);
  });
  assert.deepEqual(rounds, [0, 1, 2]);
});

test("CLI-11, CLI-12: one round without such a task is enough, and a task that only waits is none", async () => {
  const rounds = [];
  const waited = [];
  await withoutLongTasks(page, async (round) => {
    rounds.push(round);
    if (round === 0) return burn();
    const wait = () => {
      const began = performance.now();
      const asking = new XMLHttpRequest();
      asking.open("GET", "/slow", false);
      asking.send();
      return performance.now() - began;
    };
    waited.push(await page.evaluate(wait));
  }, { waitingCounts: false });
  assert.deepEqual(rounds, [0, 1]);
  assert.ok(waited[0] > 0.9 * ANSWERS_AFTER_MS, `one task, for ${waited[0]} ms`);
});
