// The client's rooms: positions, gaps, epochs, states and deltas, the cache.

import assert from "node:assert/strict";
import { test } from "node:test";

import { LIMITS, mergePatch } from "../../src/web/client.js";
import { Driver, alert, state } from "./driver.js";

const seqs = (driver) => driver.events.map((event) => event.seq);
const told = (driver, name) => driver.emitted.filter(([emitted]) => emitted === name).map(([, detail]) => detail);

test("RFC 7396: the examples of its appendix A", () => {
  const cases = [
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', "{}"],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', "null", "null"],
    ['{"a":"foo"}', '"bar"', '"bar"'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ["[1,2]", '{"a":"b","c":null}', '{"a":"b"}'],
    ["{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ].map((texts) => texts.map((text) => JSON.parse(text)));
  for (const [target, patch, result] of cases) {
    const before = JSON.stringify(target);
    assert.deepEqual(mergePatch(target, patch), result);
    assert.equal(JSON.stringify(target), before, "the target is left as it was");
  }
  const strange = mergePatch({}, JSON.parse('{"__proto__":{"polluted":1},"constructor":{"x":1}}'));
  assert.deepEqual([Object.hasOwn(strange, "__proto__"), {}.polluted, strange.polluted], [true, undefined, undefined]);
});

test("CLI-13: an event comes once; what was missed is told", () => {
  const driver = new Driver();
  driver.live("r");
  driver.say(alert("r", 1), alert("r", 2), alert("r", 2), alert("r", 1));
  assert.deepEqual([seqs(driver), told(driver, "gap")], [[1, 2], []]);
  driver.say({ type: "gap", room: "r", lane: "alert", epoch: "e1", from: 3, to: 5 }, alert("r", 6), alert("r", 8));
  assert.deepEqual(seqs(driver), [1, 2, 6, 8]);
  assert.deepEqual(told(driver, "gap").map(({ from, to }) => [from, to]), [[3, 5], [7, 7]], "a hole without a gap is told all the same");
});

test("DLV-14: it resumes from the position of every lane, silent ones too", () => {
  const driver = new Driver();
  driver.live("r", {}, { seq: 7 });
  driver.say(alert("r", 8)).hangUp().pass(500).connected();
  assert.deepEqual(driver.last("subscribe").since, { epoch: "e1", seq: { alert: 8, update: 7, metric: 7 } });
  driver.subscribed("r", { from: 9, seq: 9, recovered: true }).say(alert("r", 8), alert("r", 9), { type: "caught_up", room: "r" });
  assert.deepEqual(seqs(driver), [8, 9]);
});

test("an event_id that was seen is not given again, whatever its number", () => {
  const driver = new Driver();
  driver.live("r");
  driver.say(alert("r", 1, { event_id: "x" }), alert("r", 2, { event_id: "x" }), alert("r", 3, { event_id: "y" }));
  assert.deepEqual([seqs(driver), driver.core.rooms.get("r").seq.alert], [[1, 3], 3]);
});

test("QTE-12: what is given again until it is acknowledged is not counted", () => {
  const driver = new Driver();
  driver.live("user:u1", {}, { seq: 5 });
  driver.say(alert("user:u1", 2, { event_id: "n", redelivered: true }), alert("user:u1", 2, { event_id: "n", redelivered: true }));
  driver.say(alert("user:u1", 6));
  assert.deepEqual([seqs(driver), told(driver, "gap")], [[2, 6], []]);
});

test("rewound: what lay beyond the end is forgotten, and may come again", () => {
  const driver = new Driver();
  const room = driver.live("r");
  driver.say(alert("r", 1, { event_id: "a" }), alert("r", 2, { event_id: "b" }), alert("r", 3, { event_id: "c" }));
  driver.hangUp().pass(500).connected();
  driver.subscribed("r", { epoch: "e2", from: 2, seq: 2, recovered: true, rewound: { alert: 1 } });
  const rewound = told(driver, "rewound").map(({ lane, end, forgotten }) => [lane, end, forgotten.map(({ seq }) => seq)]);
  assert.deepEqual(rewound, [["alert", 1, [2, 3]]]);
  assert.deepEqual(room.events.map(({ seq }) => seq), [1]);
  driver.say(alert("r", 2, { event_id: "c" }), alert("r", 3, { event_id: "a" }));
  assert.deepEqual(seqs(driver), [1, 2, 3, 2], "c comes again; a, which is known, does not");
});

test("an epoch that nobody remembers begins anew, and its gap is told even if the connection breaks before it comes", () => {
  const driver = new Driver();
  driver.live("r", {}, { seq: 5 });
  driver.hangUp().pass(500).connected();
  driver.subscribed("r", { epoch: "e9", from: 1, seq: 3, recovered: false });
  driver.say(alert("r", 1)).hangUp();
  assert.deepEqual(told(driver, "gap"), [{ room: "r", lane: null, epoch: "e9", from: null, to: null }]);
  driver.pass(1000).connected();
  assert.deepEqual(driver.last("subscribe").since, { epoch: "e9", seq: { alert: 1, update: 0, metric: 0 } });
});

test("an epoch in the middle of a connection", () => {
  const driver = new Driver();
  driver.live("r");
  driver.say(state("r", 9, { data: { v: 1 } }), { type: "epoch", room: "r", epoch: "e2", seq: { alert: 40 } });
  driver.say(alert("r", 41), state("r", 1, { data: { v: 2 } }));
  assert.deepEqual([driver.events.at(-2).seq, driver.events.at(-1).data, told(driver, "gap")], [41, { v: 2 }, []]);
});

test("DLV-06: deltas build on what they name; without that everything is asked for, once", () => {
  const driver = new Driver();
  const room = driver.live("r", { delta: true });
  assert.equal(driver.last("subscribe").delta, true);
  driver.say(state("r", 1, { data: { a: "1", b: "2" } }), state("r", 3, { base: 1, patch: { b: null, c: "3" } }));
  assert.deepEqual(driver.events.at(-1).data, { a: "1", c: "3" });
  driver.say(state("r", 9, { base: 8, patch: { a: "9" } }), state("r", 10, { base: 9, patch: { a: "10" } }));
  assert.equal(driver.sent.filter(({ type }) => type === "snapshot").length, 1);
  driver.say({ type: "ok", id: driver.last("snapshot").id }, state("r", 10, { data: { a: "10" } }), { type: "caught_up", room: "r" });
  driver.say(state("r", 11, { base: 10, patch: { a: "11" } }), state("r", 11, { data: { a: "old" } }));
  assert.deepEqual([...room.states.values()].map(({ data, rev }) => [data, rev]), [[{ a: "11" }, 11]]);
  driver.say(state("r", 12, { deleted: true }));
  assert.deepEqual([room.states.size, driver.events.at(-1).deleted], [0, true]);
});

test("after a change of epoch revisions begin anew, and states that no longer exist go", () => {
  const driver = new Driver();
  const room = driver.live("r");
  driver.say(state("r", 50, { data: 1 }), { ...state("r", 60, { data: 2 }), key: "gone" }).hangUp().pass(500).connected();
  driver.subscribed("r", { epoch: "e2", recovered: true });
  assert.equal(room.states.size, 2, "shown until it is known that they are gone");
  driver.say(state("r", 1, { data: 3 }), { type: "caught_up", room: "r" });
  assert.deepEqual([...room.states.values()].map(({ key, data }) => [key, data]), [["k", 3]]);
  const { key, deleted, data } = driver.events.at(-1);
  assert.deepEqual([key, deleted, data], ["gone", true, null]);
});

test("CLI-06: what a room shows is stale from the moment at which something was last heard", () => {
  const driver = new Driver();
  const room = driver.live("r");
  const heard = driver.now;
  driver.pass(3000).hangUp();
  assert.deepEqual([room.status, room.staleSince], ["stale", heard]);
  driver.pass(500).connected().subscribed("r", { recovered: true });
  assert.deepEqual([room.status, room.staleSince], ["catching_up", heard]);
  driver.say({ type: "caught_up", room: "r" });
  assert.deepEqual([room.status, room.staleSince], ["live", null]);
});

test("CLI-06: the cache is shown and resumed from, but not what another user saw", () => {
  const cached = (user, format = 1) => {
    const first = new Driver();
    const room = first.live("r");
    first.say(alert("r", 1, { event_id: "a" }), state("r", 4, { data: "x" }));
    const { epoch, seq, states, events, eventIds } = room;
    const saved = { epoch, seq, states: [...states], events, eventIds: [...eventIds], user, at: 77, format };
    const driver = new Driver();
    const again = driver.do("join", "r", { isCached: true });
    driver.connected();
    assert.equal(driver.last("subscribe"), undefined, "it waits for the cache");
    driver.core.restore(again, structuredClone(saved));
    driver.flush();
    return [driver.last("subscribe").since, again.states.size, again.events.length, again.staleSince];
  };
  assert.deepEqual(cached("u1"), [{ epoch: "e1", seq: { alert: 1, update: 0, metric: 0 } }, 1, 1, 77]);
  assert.deepEqual(cached("u2"), [undefined, 0, 0, null]);
  assert.deepEqual(cached("u1", 2), [undefined, 0, 0, null], "nor what another version of the client kept");
});

test("a room that is denied says why, and is asked for again with a new token or connection", () => {
  const driver = new Driver();
  const room = driver.do("join", "r");
  driver.connected();
  const denied = { type: "error", code: 103, name: "access_denied", category: "permission", message: "no" };
  const deny = (more) => driver.say({ ...denied, id: driver.last("subscribe").id, ...more });
  deny();
  assert.deepEqual([room.status, room.error.name, driver.core.phase], ["denied", "access_denied", "connected"]);
  const asked = () => driver.sent.filter(({ type }) => type === "subscribe").length;
  driver.token = "token-2";
  driver.say({ type: "auth_expiring", ts: 1, data: {} });
  driver.say({ type: "ok", id: driver.last("auth").id });
  assert.equal(asked(), 2);
  deny({ name: "rate_limited", code: 200, retry_after_ms: 2000 });
  assert.equal(room.status, "joining");
  driver.pass(2499);
  assert.equal(asked(), 2);
  driver.pass(1);
  assert.equal(asked(), 3);
  driver.subscribed("r").say({ type: "caught_up", room: "r" }, { type: "unsubscribed", room: "r", code: 103, name: "access_denied" });
  assert.deepEqual([room.status, room.error.code], ["denied", 103]);
});

test("a room is left a moment after its last user, so that one who comes back at once finds it as it was", () => {
  const driver = new Driver();
  driver.live("r");
  driver.do("leave", "r");
  driver.pass(LIMITS.lingerMs - 1);
  driver.do("join", "r");
  driver.pass(1000);
  assert.equal(driver.last("unsubscribe"), undefined);
  driver.do("leave", "r");
  driver.pass(LIMITS.lingerMs);
  assert.equal(driver.last("unsubscribe").room, "r");
  driver.say(alert("r", 1));
  assert.deepEqual(driver.events, []);
});

test("a room that is left and joined again takes nothing of the former membership", () => {
  const driver = new Driver();
  driver.do("join", "r");
  driver.connected();
  const first = driver.last("subscribe").id;
  driver.do("leave", "r");
  driver.pass(LIMITS.lingerMs);
  driver.do("join", "r");
  const lanes = { alert: 9, update: 9, metric: 9 };
  driver.say({ type: "subscribed", id: first, room: "r", epoch: "e1", from: lanes, seq: lanes });
  driver.say(alert("r", 9), { type: "caught_up", room: "r" });
  assert.deepEqual([driver.events, driver.core.rooms.get("r").status], [[], "joining"]);
  driver.subscribed("r", { seq: 9 }).say({ type: "caught_up", room: "r" }, alert("r", 10));
  assert.deepEqual(seqs(driver), [10]);
});

test("EVT-08: only so many events are kept as the page asks for", () => {
  const driver = new Driver();
  for (const [name, keep] of [["a", 3], ["b", 1], ["c", 0]]) {
    const room = driver.live(name, { keep });
    for (let seq = 1; seq <= 5; seq++) driver.say(alert(name, seq));
    assert.deepEqual(room.events.map(({ seq }) => seq), [1, 2, 3, 4, 5].slice(5 - keep));
  }
});
