// The real daemon, with a certificate where a test wants one, and a real browser to look at it with.

import { execFileSync, spawn } from "node:child_process";
import { X509Certificate, createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { createServer as createTlsServer, request as requestTls } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";

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

/** A certificate that nobody vouches for: its files, itself, and the hash by which a browser can be told to take it all the same. */
export function certificate() {
  const dir = mkdtempSync(join(tmpdir(), "tickerd-certificate-"));
  const [cert, key] = ["cert.pem", "key.pem"].map((name) => join(dir, name));
  const subject = ["-subj", "/CN=tickerd test", "-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-out", cert, "-keyout", key, ...subject], {
    stdio: "ignore",
  });
  const pem = readFileSync(cert);
  const hash = createHash("sha256").update(new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" })).digest("base64");
  return { cert, key, pem, hash, end: () => rmSync(dir, { recursive: true, force: true }) };
}

export class Daemon {
  /** Starts `tickerd serve` with these flags, in which DIR is a directory of its own; `port` to come back where it was. */
  static async start(flags = [], { dir = mkdtempSync(join(tmpdir(), "tickerd-web-")), port = 0, tls = null } = {}) {
    const daemon = new Daemon();
    Object.assign(daemon, { flags, dir, tls });
    writeFileSync(join(dir, "jwt.key"), SECRET);
    const always = ["--jwt-key", join(dir, "jwt.key"), "--admin-listen", "127.0.0.1:0", "--listen", `127.0.0.1:${port}`];
    if (tls) always.push("--tls-cert", tls.cert, "--tls-key", tls.key);
    const given = flags.map((flag) => flag.replace(/^DIR$/, dir));
    daemon.process = spawn(BINARY, ["serve", ...always, ...given], { stdio: ["ignore", "pipe", "pipe"] });
    daemon.log = "";
    daemon.process.stderr.on("data", (text) => (daemon.log = (daemon.log + text).slice(-20_000)));
    const lines = createInterface({ input: daemon.process.stdout });
    const [line] = await Promise.race([once(lines, "line"), once(daemon.process, "exit").then(() => [null])]);
    if (line === null) throw new Error(`the daemon did not start: ${daemon.log}`);
    const { listen, admin } = JSON.parse(line);
    Object.assign(daemon, { address: listen[0], adminAddress: admin });
    return daemon;
  }

  get url() {
    return `${this.tls ? "https" : "http"}://${this.address}`;
  }

  get port() {
    return Number(this.address.split(":")[1]);
  }

  /** A request to the daemon, as node:http makes them. */
  request(options, onAnswer) {
    const to = { host: "127.0.0.1", port: this.port, ...options };
    return this.tls ? requestTls({ ...to, ca: this.tls.pem }, onAnswer) : request(to, onAnswer);
  }

  /** The WebSockets, as an operator sees them. */
  async connections() {
    const answer = await fetch(`http://${this.adminAddress}/v1/connections`);
    return (await answer.json()).connections.filter(({ transport }) => transport === "websocket");
  }

  /** A connection to the daemon. */
  dial(onConnected) {
    const to = { host: "127.0.0.1", port: this.port };
    return this.tls ? connectTls({ ...to, ca: this.tls.pem }, onConnected) : connect(to, onConnected);
  }

  /** Publishes; every event must be taken. */
  async publish(...events) {
    const headers = { Authorization: `Bearer ${PUBLISHER}`, "Content-Type": "application/x-ndjson" };
    const asking = this.request({ method: "POST", path: "/v1/publish", headers });
    asking.end(events.map((event) => JSON.stringify(event)).join("\n"));
    const [answer] = await once(asking, "response");
    const lines = (await text(answer)).trim().split("\n").map(JSON.parse);
    const refused = lines.find((line) => !line.ok);
    if (refused) throw new Error(JSON.stringify(refused));
    return lines;
  }

  async signal(name) {
    const ended = once(this.process, "exit");
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill(name);
    this.process.kill("SIGCONT"); // one that stands still would not hear it
    await ended;
  }

  /** The same daemon anew: same port, same directory. */
  async restart(name = "SIGKILL") {
    const { flags, dir, port, tls } = this;
    await this.signal(name);
    return Object.assign(this, await Daemon.start(flags, { dir, port, tls }));
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
  const { tls } = daemon;
  const answer = (incoming, response) => {
    const kind = kindOf(incoming.url);
    if (kind) proxy.counts[kind] += 1;
    if (proxy.blocked.has(kind)) return incoming.socket.destroy();
    const { method, url, headers } = incoming;
    const outgoing = daemon.request({ method, path: url, headers }, (answer) => {
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
  };
  const server = tls ? createTlsServer({ cert: tls.pem, key: readFileSync(tls.key) }, answer) : createServer(answer);
  server.on("upgrade", (incoming, socket) => {
    proxy.counts.websocket += 1;
    if (proxy.blocked.has("websocket")) return socket.destroy();
    const lines = [`${incoming.method} ${incoming.url} HTTP/1.1`];
    for (let i = 0; i < incoming.rawHeaders.length; i += 2) lines.push(`${incoming.rawHeaders[i]}: ${incoming.rawHeaders[i + 1]}`);
    const upstream = daemon.dial(() => upstream.write(`${lines.join("\r\n")}\r\n\r\n`));
    upstream.pipe(socket).pipe(upstream);
    for (const end of [upstream, socket]) end.on("error", () => (upstream.destroy(), socket.destroy()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.url = `${tls ? "https" : "http"}://127.0.0.1:${server.address().port}`;
  proxy.end = () => (server.closeAllConnections(), server.close());
  return proxy;
}

/** A Chromium of its own, with nothing in it. It takes a certificate with the hash `trusted`, whoever has signed it. */
export async function openBrowser({ trusted, ...options } = {}) {
  const { chromium } = requireTool("playwright-core");
  const profile = mkdtempSync(join(tmpdir(), "tickerd-chromium-"));
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
  args.push("--disable-component-update", "--disable-sync");
  if (trusted) args.push(`--ignore-certificate-errors-spki-list=${trusted}`);
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
 * Plays until a round had no task of the page that took the processor for so long; three times at most, for a processor that others use too is a slower one,
 * and what the page does itself comes in each round. What a task waits while others have the processor does not count: a `longtask` of the page's own would
 * count it. In a long run, on a machine of its own, it does. Returns for how long all tasks of that round took, in ms.
 */
export async function withoutLongTasks(page, play, { limitMs = 50, waitingCounts = LONG } = {}) {
  const longest = [];
  for (let round = 0; round < 3; round++) {
    const tasks = await tasksOf(page, () => play(round), waitingCounts);
    longest.push(Math.max(...tasks));
    if (longest.at(-1) < limitMs) return tasks.reduce((sum, each) => sum + each);
  }
  throw new Error(`the longest task of each round, in ms${waitingCounts ? "" : " of the processor"}: ${longest.join(", ")}`);
}

/** The tasks of the page's main thread while `play` runs: for how long each had the processor, or was at it at all, in ms. */
async function tasksOf(page, play, waitingCounts) {
  const devtools = await page.context().newCDPSession(page);
  const tasks = new Map(); // by thread
  let mark;
  devtools.on("Tracing.dataCollected", ({ value }) => {
    for (const { name, ph, pid, tid, dur, tdur } of value) {
      const thread = `${pid}:${tid}`;
      if (!tasks.has(thread)) tasks.set(thread, []);
      if (name === "RunTask" && ph === "X") tasks.get(thread).push((waitingCounts ? dur : tdur) / 1000); // NaN, and so no success, if there is no `tdur`
      if (name === "end of the round") mark = thread;
    }
  });
  const includedCategories = ["disabled-by-default-devtools.timeline", "blink.user_timing"];
  await devtools.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories } });
  const complete = once(devtools, "Tracing.tracingComplete");
  try {
    await play();
    await page.evaluate(() => void performance.mark("end of the round")); // tells which of all threads is the page's
  } finally {
    await devtools.send("Tracing.end");
    const [{ dataLossOccurred }] = await complete;
    await devtools.detach();
    if (dataLossOccurred) throw new Error("the trace has lost tasks");
  }
  if (!tasks.get(mark)?.length) throw new Error("the trace has no task of the page");
  return tasks.get(mark);
}

/**
 * Freezes a page, as the browser does with those that nobody looks at; what it returns wakes the page. What can be seen is never frozen, and Playwright has
 * each page think that it is: so that is taken back, and another tab shown.
 */
export async function freeze(page) {
  const { _client: inner } = page._connection.toImpl(page).delegate._mainFrameSession;
  const devtools = await page.context().newCDPSession(page);
  await page.evaluate(() => document.addEventListener("freeze", () => (globalThis.wasFrozen = true), { once: true }));
  await inner.send("Emulation.setFocusEmulationEnabled", { enabled: false });
  await page.context().pages()[0].bringToFront();
  await page.waitForFunction(() => document.visibilityState === "hidden");
  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  return async () => {
    await devtools.send("Page.setWebLifecycleState", { state: "active" });
    await inner.send("Emulation.setFocusEmulationEnabled", { enabled: true });
    if (!(await page.evaluate(() => globalThis.wasFrozen))) throw new Error("the page was not frozen");
  };
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
