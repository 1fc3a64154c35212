// The client's connection: states, backoff, tokens, signs of life, commands. Time is the test's own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Core, LIMITS, TRANSITIONS } from "../../src/web/client.js";
import { Driver, alert } from "./driver.js";

// ---- states --------------------------------------------------------------------------------------------------------

test("CLI-03: four states, their substates, and a reason for each change", () => {
  const driver = new Driver();
  const seen = [];
  const note = () => seen.push([driver.core.state, driver.core.substate]);
  note();
  driver.do("join", "r");
  driver.do("connect");
  note();
  driver.open();
  note();
  driver.welcome();
  note();
  driver.subscribed("r").say({ type: "caught_up", room: "r" });
  note();
  driver.say({ type: "heartbeat", ts: 1, rtt_us: 1_500_000, queued: 0 });
  note();
  driver.hangUp();
  note();
  driver.pass(500).open();
  note();
  driver.do("disconnect");
  note();
  assert.deepEqual(seen, [
    ["disconnected", null],
    ["connecting", null],
    ["connecting", "authenticating"],
    ["connected", "resuming"],
    ["connected", null],
    ["connected", "degraded"],
    ["reconnecting", null],
    ["reconnecting", "authenticating"],
    ["disconnected", null],
  ]);
  const reasons = driver.phases.map(([, reason]) => reason).filter((reason, i, all) => reason !== all[i - 1]);
  assert.deepEqual(reasons, ["connect", "opened", "welcome", "caught_up", "slow", "network", "opened", "close"]);
});

test("CLI-03: every phase of the table can be reached and left, and a change that is not in it is refused", () => {
  const phases = Object.keys(TRANSITIONS);
  for (const [from, targets] of Object.entries(TRANSITIONS)) {
    assert.ok(Object.keys(targets).length > 0, from);
    for (const [to, reasons] of Object.entries(targets)) assert.ok(phases.includes(to) && reasons.length > 0, `${from} → ${to}`);
  }
  for (const phase of phases) assert.ok(Object.values(TRANSITIONS).some((targets) => phase in targets), phase);
  assert.throws(() => new Core().move("connected", "caught_up"), /disconnected → connected \(caught_up\) is no transition/);
});

// ---- backoff -------------------------------------------------------------------------------------------------------

/** The waits after so many attempts that fail. */
function waits(random, count) {
  const driver = new Driver({ random });
  driver.do("connect");
  return Array.from({ length: count }, () => {
    driver.hangUp();
    const { waitMs } = driver;
    driver.pass(waitMs);
    return waitMs;
  });
}

test("CLI-01, CLI-02: full jitter below 1, 2, 4 … 30 s, exactly", () => {
  assert.deepEqual(waits(0, 8), [0, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(waits(0.5, 8), [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  const most = waits(1 - 2 ** -53, 8).map(Math.round);
  assert.deepEqual(most, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
});

test("CLI-01: the backoff begins anew once a connection has lasted ten seconds, and not before", () => {
  const driver = new Driver();
  driver.do("connect");
  for (let i = 0; i < 4; i++) driver.hangUp().pass(driver.waitMs);
  driver.connected();
  driver.pass(LIMITS.stableMs - 1).hangUp();
  assert.equal(driver.waitMs, 8000);
  driver.pass(8000).connected();
  driver.pass(LIMITS.stableMs).hangUp();
  assert.equal(driver.waitMs, 500);
});

test("CLI-10: the close code's range says what to do", () => {
  const after = (code, notice) => {
    const driver = new Driver().connected();
    if (notice) driver.say({ type: "disconnect", code, reason: "x", after_ms: notice });
    driver.hangUp(code);
    return [driver.core.state, driver.core.reason.name, driver.waitMs];
  };
  for (const code of [4000, 4001, 4003, 4005, 4007, 4008]) assert.deepEqual(after(code).slice(0, 2), ["disconnected", "refused"], code);
  for (const code of [4100, 4101, 4102, 4103, 4104, 4105]) assert.deepEqual(after(code), ["reconnecting", "server", 500], code);
  assert.deepEqual(after(4101, 1840), ["reconnecting", "server", 1840 + 500]);
  assert.deepEqual(after(4100, 1e12), ["reconnecting", "server", LIMITS.afterMaxMs + 500]);
  for (const code of [4201, 4202]) assert.deepEqual(after(code), ["reconnecting", "server", 0], code);
  for (const code of [4300, 4301]) assert.deepEqual(after(code), ["reconnecting", "token", 0], code);
  for (const code of [1000, 1001, 1005, 1006, 1011, 1012]) assert.deepEqual(after(code), ["reconnecting", "network", 500], code);
});

test("CLI-10: a close without a code after `disconnect` is that disconnect's", () => {
  const driver = new Driver().connected().say({ type: "disconnect", code: 4101, reason: "shutdown", after_ms: 700 }).hangUp(1006);
  assert.deepEqual([driver.core.reason.code, driver.waitMs], [4101, 1200]);
  driver.pass(1200);
  driver.hangUp(1006);
  assert.deepEqual([driver.core.reason.code, driver.waitMs], [1006, 1000], "it says nothing about the next connection");
});

test("what is to be done at once is done so only once", () => {
  const driver = new Driver().connected().hangUp(4202);
  assert.equal(driver.waitMs, 0);
  driver.pass(0).connected().hangUp(4202);
  assert.equal(driver.waitMs, 1000);
});

test("it never gives up: after ten attempts it is offline, and goes on", () => {
  const driver = new Driver();
  driver.do("connect");
  for (let i = 0; i < 9; i++) driver.hangUp().pass(driver.waitMs);
  assert.equal(driver.core.substate, null);
  driver.hangUp();
  assert.deepEqual([driver.core.state, driver.core.substate, driver.waitMs], ["reconnecting", "offline", 15_000]);
  driver.pass(15_000).connected();
  assert.equal(driver.core.state, "connected");
});

test("an attempt that hangs is given up after 15 s, wherever it hangs", () => {
  for (const stage of ["token", "opening", "open"]) {
    const driver = new Driver({ token: stage === "token" ? null : "t" });
    driver.do("connect");
    if (stage === "open") driver.open();
    assert.equal(driver.core.stage, stage);
    driver.pass(LIMITS.openMs - 1);
    assert.equal(driver.core.stage, stage);
    driver.pass(1);
    assert.deepEqual([driver.core.stage, driver.core.reason.name], ["idle", "timeout"]);
  }
});

test("what is heard of a former connection is ignored", () => {
  const driver = new Driver().connected();
  const { conn } = driver;
  driver.hangUp().pass(driver.waitMs);
  driver.do("onClose", conn, 4000, "");
  driver.do("onOpen", conn);
  driver.do("onMessage", conn, '{"type":"welcome","ts":1,"data":{}}');
  assert.deepEqual([driver.core.stage, driver.core.phase], ["opening", "reconnecting"]);
});

// ---- the network, sleep, throttling ---------------------------------------------------------------------------------

test("CLI-08: offline is shown, online tries at once; but not before the server wants it", () => {
  const driver = new Driver().connected().hangUp();
  driver.do("onNetwork", false);
  assert.equal(driver.core.substate, "offline");
  driver.pass(driver.waitMs).hangUp();
  assert.equal(driver.core.substate, "offline", "attempts go on: the browser may be wrong");
  driver.now += 1000;
  driver.do("onNetwork", true);
  assert.deepEqual([driver.core.substate, driver.waitMs], [null, 0]);
  driver.pass(0).connected();
  driver.say({ type: "disconnect", code: 4101, reason: "shutdown", after_ms: 3000 }).hangUp(4101);
  driver.do("wake");
  assert.equal(driver.waitMs, 3000);
});

test("a page that is shown again does not wait for the backoff, and tries once a second at most", () => {
  const driver = new Driver({ random: 0.9 });
  driver.do("connect");
  for (let i = 0; i < 5; i++) driver.hangUp().pass(driver.waitMs);
  driver.hangUp();
  assert.ok(driver.waitMs > 20_000);
  driver.do("wake");
  assert.equal(driver.waitMs, 1000);
});

test("a page that is shown again, or loses its network, asks whether the connection is alive", () => {
  const driver = new Driver().connected();
  const pings = () => driver.sent.filter((message) => message.type === "ping").length;
  driver.say({ type: "ok", id: driver.last("ping").id }).pass(4999).do("wake");
  assert.equal(pings(), 1, "something was heard just now");
  driver.pass(1).do("wake");
  assert.equal(pings(), 2);
  driver.say({ type: "ok", id: driver.last("ping").id }).do("onNetwork", false);
  assert.deepEqual([pings(), driver.core.stage], [3, "ready"]);
  driver.do("onNetwork", false);
  assert.equal(pings(), 3, "once is enough");
  driver.pass(LIMITS.probeMs);
  assert.deepEqual([driver.core.stage, driver.core.substate], ["idle", "offline"]);
});

test("silence is asked about after the heartbeat's time, and ends the connection five seconds later", () => {
  const driver = new Driver().connected();
  driver.say({ type: "ok", id: driver.last("ping").id }).say({ type: "heartbeat", ts: 1, queued: 0 });
  const pings = () => driver.sent.filter((message) => message.type === "ping").length;
  driver.pass(34_999);
  assert.deepEqual([pings(), driver.core.quality], [1, "good"]);
  driver.pass(1);
  assert.deepEqual([pings(), driver.core.quality, driver.core.substate, driver.core.reason.name], [2, "poor", "degraded", "silence"]);
  driver.pass(4_999);
  assert.equal(driver.core.stage, "ready");
  driver.pass(1);
  assert.deepEqual([driver.core.stage, driver.core.reason.name, driver.core.quality], ["idle", "silence", "offline"]);
  assert.equal(driver.did.findLast((effect) => effect.kind === "close").kind, "close");
});

test("an answer to the question is life: degraded passes, a missed heartbeat is remembered as fair for a minute", () => {
  const driver = new Driver().connected();
  driver.pass(35_000).say({ type: "ok", id: driver.last("ping").id });
  assert.deepEqual([driver.core.phase, driver.core.reason.name, driver.core.quality], ["connected", "recovered", "fair"]);
  driver.pass(30_000).say({ type: "heartbeat", ts: 1, rtt_us: 100, queued: 0 });
  driver.pass(30_000).say({ type: "heartbeat", ts: 1, rtt_us: 100, queued: 0 });
  assert.equal(driver.core.quality, "good");
});

test("a laptop that slept asks before it believes that the connection is dead", () => {
  const driver = new Driver().connected().sleep(3_600_000);
  assert.deepEqual([driver.core.stage, driver.last("ping").type], ["ready", "ping"]);
  driver.sleep(60_000);
  assert.equal(driver.core.stage, "ready", "the answer may wait behind a timer that was throttled");
  driver.pass(LIMITS.probeMs);
  assert.deepEqual([driver.core.stage, driver.core.reason.name], ["idle", "silence"]);
});

test("a timer that is two seconds late is one that was held up, and not a moment less", () => {
  const afterLate = (ms) => {
    const driver = new Driver().connected();
    driver.pass(35_000).sleep(LIMITS.probeMs + ms);
    return driver.core.stage;
  };
  assert.deepEqual([afterLate(2000), afterLate(2001)], ["idle", "ready"]);
});

test("a throttled page does not ask for ever", () => {
  const driver = new Driver().connected();
  for (let i = 0; i < 4; i++) driver.sleep(60_000);
  assert.notEqual(driver.core.stage, "ready");
});

test("HBT-03: quality from round trip and queue", () => {
  const driver = new Driver().connected();
  const quality = (rttMs, queued) => driver.say({ type: "heartbeat", ts: 1, rtt_us: rttMs * 1000, queued }).core.quality;
  assert.equal(quality(20, 0), "good");
  assert.equal(quality(251, 0), "fair");
  assert.equal(quality(20, 101), "fair");
  assert.equal(quality(1001, 0), "poor");
  assert.equal(quality(20, 1001), "poor");
  assert.equal(quality(20, 0), "good");
  driver.say({ type: "slow_consumer", ts: 1 });
  assert.deepEqual([driver.core.quality, driver.core.phase], ["poor", "degraded"]);
  driver.pass(30_000).say({ type: "heartbeat", ts: 1, rtt_us: 20, queued: 0 });
  assert.deepEqual([driver.core.quality, driver.core.phase], ["good", "connected"]);
});

test("a busy page asks now and then how far it lags behind, an idle one does not", () => {
  const driver = new Driver();
  driver.live("r");
  const pings = () => driver.sent.filter((message) => message.type === "ping").length;
  const hear = (from, count) => driver.say(...Array.from({ length: count }, (_, i) => alert("r", from + i)));
  hear(1, 100);
  assert.equal(pings(), 1, "too early");
  driver.pass(LIMITS.busyMs);
  assert.equal(pings(), 1, "nothing comes");
  hear(101, 1);
  assert.equal(pings(), 2);
  driver.pass(LIMITS.busyMs);
  hear(102, 99);
  assert.equal(pings(), 2, "too few");
  driver.pass(4000).say({ type: "ok", id: driver.last("ping").id });
  assert.deepEqual([driver.core.rttMs, driver.core.quality, driver.core.phase], [9000, "poor", "degraded"]);
});

// ---- tokens --------------------------------------------------------------------------------------------------------

test("AUT-06: a token that expires is refreshed in band", () => {
  const driver = new Driver().connected();
  assert.deepEqual(driver.asked, ["connect"]);
  driver.token = "token-2";
  driver.say({ type: "auth_expiring", ts: 1, data: { expires_in_ms: 60_000 } });
  assert.deepEqual(driver.asked, ["connect", "expiring"]);
  const { id, token } = driver.last("auth");
  assert.equal(token, "token-2");
  driver.say({ type: "ok", id }).hangUp().pass(500);
  assert.equal(driver.did.findLast((effect) => effect.kind === "open").token, "token-2");
  assert.equal(driver.asked.length, 2, "a good token serves for the next connection too");
});

test("a provider that fails is asked again, before expiry and for a connection", () => {
  const driver = new Driver().connected();
  driver.token = null;
  driver.say({ type: "auth_expiring", ts: 1, data: {} });
  driver.do("onTokenError", driver.core.ask, new Error("down"));
  assert.deepEqual(driver.emitted.at(-1)[0], "error");
  driver.pass(LIMITS.refreshRetryMs);
  assert.deepEqual(driver.asked, ["connect", "expiring", "expiring"]);
  driver.hangUp(4300).pass(0);
  driver.do("onTokenError", driver.core.ask, new Error("down"));
  assert.deepEqual([driver.core.state, driver.core.reason.name, driver.waitMs], ["reconnecting", "token_failed", 1000]);
});

test("CLI-10: an expired token is replaced once; the second refusal ends it, and so does the same token again", () => {
  const driver = new Driver().connected();
  driver.token = "token-2";
  driver.hangUp(4300).pass(0);
  assert.deepEqual(driver.asked, ["connect", "expired"]);
  driver.open();
  driver.hangUp(4301);
  assert.deepEqual([driver.core.state, driver.core.reason.name, driver.core.reason.code], ["disconnected", "token", 4301]);

  const fixed = new Driver().connected().hangUp(4301).pass(0);
  assert.deepEqual(fixed.asked, ["connect", "revoked"]);
  assert.deepEqual([fixed.core.state, fixed.core.reason.name], ["disconnected", "token"]);
});

test("a fresh token that comes after the connection was lost serves for the next one", () => {
  const driver = new Driver().connected();
  driver.token = null;
  driver.say({ type: "auth_expiring", ts: 1, data: {} }).hangUp();
  driver.do("onToken", driver.core.ask, "token-2");
  driver.pass(500);
  assert.deepEqual([driver.asked, driver.did.findLast(({ kind }) => kind === "open").token], [["connect", "expiring"], "token-2"]);
});

test("what was asked for and comes after something else was asked for is not used", () => {
  const driver = new Driver({ token: null });
  driver.do("connect");
  const { ask } = driver.core;
  driver.pass(LIMITS.openMs + 500);
  assert.equal(driver.core.stage, "token");
  driver.do("onToken", ask, "late");
  driver.do("onTokenError", ask, new Error("late"));
  assert.deepEqual([driver.core.stage, driver.core.token, driver.emitted.some(([name]) => name === "error")], ["token", null, false]);
  driver.do("onToken", driver.core.ask, "in time");
  assert.equal(driver.core.token, "in time");
});

test("a token that has run out meanwhile is not tried", () => {
  const driver = new Driver().connected({ expires_at: 1_000_000 / 1000 + 60 });
  driver.hangUp();
  driver.token = null;
  driver.sleep(55_000);
  assert.deepEqual(driver.asked, ["connect", "expired"]);
});

test("without a token it stops and says so", () => {
  const driver = new Driver({ token: "" });
  driver.do("connect");
  assert.deepEqual([driver.core.state, driver.core.reason.name], ["disconnected", "token"]);
});

test("AUT-02: the token as a first message", () => {
  const driver = new Driver({ tokenIn: "message" });
  driver.do("connect");
  driver.open();
  assert.deepEqual(driver.sent, [{ type: "auth", token: "token-1" }]);
});

// ---- commands ------------------------------------------------------------------------------------------------------

test("CLI-07: commands wait for a connection, and go after the rooms are asked for", () => {
  const driver = new Driver();
  driver.do("join", "r");
  const key = driver.do("command", { type: "ack", event_id: "a" }, { isSafe: true });
  driver.connected();
  assert.deepEqual(driver.sent.map((message) => message.type), ["subscribe", "ping", "ack"]);
  driver.say({ type: "ok", id: driver.last("ack").id });
  assert.equal(driver.settled.get(key).answer.type, "ok");
});

test("CLI-07: at most 100 wait, for at most 30 s; who is dropped is told", () => {
  const driver = new Driver();
  const keys = Array.from({ length: 101 }, (_, n) => driver.do("command", { type: "note", n }));
  assert.deepEqual([driver.settled.size, driver.settled.get(keys[0]).error.name], [1, "queue_full"]);
  driver.pass(LIMITS.commandTtlMs - 1);
  assert.equal(driver.settled.size, 1);
  driver.pass(1);
  assert.deepEqual([driver.settled.size, driver.settled.get(keys[100]).error.name], [101, "expired"]);
  driver.connected();
  assert.equal(driver.last("note"), undefined);
});

test("a command whose answer was lost is sent again only if that is harmless", () => {
  const driver = new Driver().connected();
  const [safe, other] = [true, false].map((isSafe) => driver.do("command", { type: "x", isSafe }, { isSafe }));
  driver.hangUp();
  assert.deepEqual([driver.settled.get(other).error.name, driver.settled.has(safe)], ["connection_lost", false]);
  driver.pass(500).connected();
  assert.equal(driver.sent.filter((message) => message.isSafe).length, 2);
});

test("answers find their commands: ok, error, and a publish's, which has no type", () => {
  const driver = new Driver().connected();
  const [ok, error, published] = ["a", "b", "c"].map((type) => driver.do("command", { type }));
  const id = (type) => driver.last(type).id;
  driver.say({ ok: true, id: id("c"), result: "accepted", room: "r", lane: "alert", seq: 1 });
  driver.say({ type: "error", id: id("b"), code: 200, name: "rate_limited", category: "rate", message: "slow", retry_after_ms: 50 });
  driver.say({ type: "ok", id: id("a") });
  assert.equal(driver.settled.get(ok).answer.type, "ok");
  assert.equal(driver.settled.get(published).answer.seq, 1);
  const { name, code, category, message, retryAfterMs } = driver.settled.get(error).error;
  assert.deepEqual([name, code, category, message, retryAfterMs], ["rate_limited", 200, "rate", "slow", 50]);
  assert.deepEqual(driver.events, []);
});

test("what is no JSON, or of a type that nobody knows, harms nothing", () => {
  const driver = new Driver().connected();
  driver.do("onMessage", driver.conn, "{");
  const texts = ["null", "7", "[]", '"x"', '{"type":"__proto__"}', '{"type":"later","x":1}'];
  for (const text of texts) driver.do("onMessage", driver.conn, text);
  assert.equal(driver.core.stage, "ready");
  assert.equal(driver.emitted.filter(([name]) => name === "error").length, 1);
  driver.live("r");
  assert.deepEqual(driver.say(alert("r", 1)).events.length, 1);
});

test("CLI-08: each attempt knows how many before it brought no message", () => {
  const driver = new Driver();
  const misses = () => driver.did.findLast(({ kind }) => kind === "open").misses;
  const again = (code) => driver.hangUp(code).pass(driver.waitMs);
  driver.do("connect");
  for (let count = 0; count < LIMITS.attemptsUntilFallback; count++) {
    assert.equal(misses(), count);
    if (count === 1) driver.open(); // it opened, and that was all
    again();
  }
  assert.equal(misses(), LIMITS.attemptsUntilFallback);
  driver.open().welcome();
  again();
  assert.equal(misses(), 1, "what has worked is not given up at once");
  driver.open();
  again(4101);
  assert.equal(misses(), 1, "the server's own word got through");
});
