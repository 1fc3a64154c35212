// The real daemon, and a real browser to look at it with.

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { ROOT, requireTool } from "./tools.js";

export const BINARY = process.env.TICKERD_BIN ?? `${ROOT}target/release/tickerd`;
const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
export const LONG = process.env.TICKERD_LONG === "1";
const SECRET = "an-hmac-secret-of-the-test-house-0123456789";
const PATIENCE_MS = 20_000;

/** A token, for so many seconds. */
export function mint({ ttl = 3600, ...claims }) {
  const now = Math.floor(Date.now() / 1000);
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: "u1", iat: now, exp: now + ttl, ...claims })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

const PUBLISHER = mint({ sub: "backend", scope: "publish" });

export async function waitUntil(condition, what, patienceMs = PATIENCE_MS) {
  for (const ends = Date.now() + patienceMs; ; ) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > ends) throw new Error(`waited ${patienceMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export class Daemon {
  /** Starts `tickerd serve` with these flags, in which DIR is a directory of its own; `port` to come back where it was. */
  static async start(flags = [], { dir = mkdtempSync(join(tmpdir(), "tickerd-web-")), port = 0 } = {}) {
    const daemon = new Daemon();
    Object.assign(daemon, { flags, dir });
    writeFileSync(join(dir, "jwt.key"), SECRET);
    const always = ["--jwt-key", join(dir, "jwt.key"), "--admin-listen", "127.0.0.1:0", "--listen", `127.0.0.1:${port}`];
    const given = flags.map((flag) => flag.replace(/^DIR$/, dir));
    daemon.process = spawn(BINARY, ["serve", ...always, ...given], { stdio: ["ignore", "pipe", "pipe"] });
    daemon.log = "";
    daemon.process.stderr.on("data", (text) => (daemon.log = (daemon.log + text).slice(-20_000)));
    const lines = createInterface({ input: daemon.process.stdout });
    const [line] = await Promise.race([once(lines, "line"), once(daemon.process, "exit").then(() => [null])]);
    if (line === null) throw new Error(`the daemon did not start: ${daemon.log}`);
    daemon.address = JSON.parse(line).listen[0];
    return daemon;
  }

  get url() {
    return `http://${this.address}`;
  }

  get port() {
    return Number(this.address.split(":")[1]);
  }

  /** Publishes; every event must be taken. */
  async publish(...events) {
    const answer = await fetch(`${this.url}/v1/publish`, {
      method: "POST",
      headers: { Authorization: `Bearer ${PUBLISHER}`, "Content-Type": "application/x-ndjson" },
      body: events.map((event) => JSON.stringify(event)).join("\n"),
    });
    const lines = (await answer.text()).trim().split("\n").map(JSON.parse);
    const refused = lines.find((line) => !line.ok);
    if (refused) throw new Error(JSON.stringify(refused));
    return lines;
  }

  async signal(name) {
    const ended = once(this.process, "exit");
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill(name);
    await ended;
  }

  /** The same daemon anew: same port, same directory. */
  async restart(name = "SIGKILL") {
    const { flags, dir, port } = this;
    await this.signal(name);
    return Object.assign(this, await Daemon.start(flags, { dir, port }));
  }

  async end() {
    await this.signal("SIGTERM");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Pages of another origin than the daemon's: what is given as `files`, by path. */
export async function pageServer(files = {}) {
  const server = createServer((request, response) => {
    const body = files[request.url] ?? (request.url === "/" ? "<!doctype html><title>page</title>" : undefined);
    const type = { js: "text/javascript", css: "text/css" }[request.url.split(".").at(-1)] ?? "text/html; charset=utf-8";
    response.writeHead(body === undefined ? 404 : 200, { "Content-Type": type, "Cache-Control": "no-store" });
    response.end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}`, end: () => server.close() };
}

/**
 * A proxy before the daemon that lets some things not through: `websocket` upgrades, `events` and `poll` requests; with `flush` it keeps what streams.
 * `counts` has the attempts by kind.
 */
export async function blockingProxy(daemon, blocked) {
  const proxy = { blocked: new Set(blocked), counts: { websocket: 0, events: 0, poll: 0 } };
  const kindOf = (url) => ["events", "poll"].find((name) => url.startsWith(`/v1/${name}`));
  const server = createServer((incoming, response) => {
    const kind = kindOf(incoming.url);
    if (kind) proxy.counts[kind] += 1;
    if (proxy.blocked.has(kind)) return incoming.socket.destroy();
    const { method, url, headers } = incoming;
    const outgoing = request({ host: "127.0.0.1", port: daemon.port, method, path: url, headers }, (answer) => {
      const isHeld = kind === "events" && proxy.blocked.has("flush");
      if (isHeld) return answer.resume();
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
      answer.on("aborted", () => response.destroy());
    });
    outgoing.on("error", () => response.destroy());
    response.on("close", () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  server.on("upgrade", (incoming, socket) => {
    proxy.counts.websocket += 1;
    if (proxy.blocked.has("websocket")) return socket.destroy();
    const lines = [`${incoming.method} ${incoming.url} HTTP/1.1`];
    for (let i = 0; i < incoming.rawHeaders.length; i += 2) lines.push(`${incoming.rawHeaders[i]}: ${incoming.rawHeaders[i + 1]}`);
    const upstream = connect(daemon.port, "127.0.0.1", () => upstream.write(`${lines.join("\r\n")}\r\n\r\n`));
    upstream.pipe(socket).pipe(upstream);
    for (const end of [upstream, socket]) end.on("error", () => (upstream.destroy(), socket.destroy()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  proxy.end = () => (server.closeAllConnections(), server.close());
  return proxy;
}

/** A Chromium of its own, with nothing in it. */
export async function openBrowser(options = {}) {
  const { chromium } = requireTool("playwright-core");
  const profile = mkdtempSync(join(tmpdir(), "tickerd-chromium-"));
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
  args.push("--disable-component-update", "--disable-sync");
  const context = await chromium.launchPersistentContext(profile, { executablePath: CHROMIUM, headless: true, args, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  return {
    context,
    renderers: () => renderersOf(profile),
    end: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/**
 * Plays until a round had no task of the page that took so long; three times at most, for other work on this machine stretches tasks
 * too, and what the page does itself comes in each round.
 */
export async function withoutLongTasks(page, play, { limitMs = 50 } = {}) {
  await page.evaluate(() => {
    globalThis.tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  });
  const longest = [];
  for (let round = 0; round < 3; round++) {
    await page.evaluate(() => void (tasks.length = 0));
    await play(round);
    longest.push(await page.evaluate(() => Math.max(0, ...tasks)));
    if (longest.at(-1) < limitMs) return;
  }
  throw new Error(`the longest task of each round, in ms: ${longest.join(", ")}`);
}

/** The processes of that browser in which pages run. */
function renderersOf(profile) {
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      const parent = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) \S /s, "").split(" ")[0];
      return [{ pid, parent, command: readFileSync(`/proc/${pid}/cmdline`, "utf8") }];
    } catch {
      return []; // it has ended
    }
  });
  const isOurs = ({ parent, command }) => {
    const above = processes.find(({ pid }) => pid === parent);
    return command.includes(profile) || (above !== undefined && isOurs(above));
  };
  return processes.filter((each) => each.command.includes("--type=renderer") && isOurs(each)).map(({ pid }) => Number(pid));
}
