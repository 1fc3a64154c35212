// Pages of the daemon in a tab, and `tickerd demo` to have something to look at.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { BINARY, waitUntil } from "./house.js";
import { ROOT } from "./tools.js";

export const SCREENSHOTS = `${ROOT}target/web/screenshots`;
export const WIDTHS = [360, 768, 1440];
mkdirSync(SCREENSHOTS, { recursive: true });

/** A tab that notes what the browser complains of. */
export async function open(context, url) {
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("request", (request) => new URL(request.url()).origin === new URL(url).origin || page.complaints.push(request.url()));
  await page.goto(url);
  return page;
}

/** `tickerd demo` while `body` runs, with the link that it prints. */
export async function withDemo(body) {
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

/** A picture of the page at each width, light and dark; nothing may stick out, or be reached by scrolling sideways alone. `beforehand` has time to draw. */
export async function pictures(page, name, beforehand = () => page.waitForTimeout(700)) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      await beforehand();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide !== width) throw new Error(`${name} at ${width} px: it is ${wide} px wide`);
      const cut = await page.$$eval("section, .scroll", (all) => all.filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.closest("section").id));
      if (cut.length > 0) throw new Error(`${name} at ${width} px: cut off or to be scrolled sideways: ${cut}`);
      await page.screenshot({ path: `${SCREENSHOTS}/${name}-${colorScheme}-${width}.png`, fullPage: true });
    }
  }
}
