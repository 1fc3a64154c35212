// The digest of a room's states: what it is, what it finds, and when it does not say.

import assert from "node:assert/strict";
import { test } from "node:test";

import { digestOf, verify } from "../../src/web/client-digest.js";
import { TickerdError } from "../../src/web/client.js";

const EQUITY = { type: "EQUITY_UPDATED", key: "8f", rev: 907 };
const QUOTE = { type: "quote_state", key: undefined, rev: 1 };

/** A record of the client's with these states, and a server that says what it has. */
function room(held, had = held) {
  const record = { epoch: "e1", version: 7, states: new Map(held.map((state) => [`${state.type}\n${state.key}`, state])) };
  const answers = [];
  const ask = async () => {
    const answer = answers.shift() ?? (() => ({ epoch: "e1", ...digestOf(had) }));
    return answer(record);
  };
  const pauses = [];
  return { record, answers, pauses, verify: () => verify(record, ask, async (ms) => pauses.push(ms)) };
}

test("the digest is what it is for ever, in whatever order", () => {
  assert.deepEqual(digestOf([]), { keys: 0, digest: "0000000000000000" });
  assert.deepEqual(digestOf([EQUITY]), { keys: 1, digest: "1e4ad76ec3dea3c5" });
  assert.deepEqual(digestOf([EQUITY, QUOTE]), { keys: 2, digest: "bc5e00506722253e" });
  assert.deepEqual(digestOf([QUOTE, EQUITY]), digestOf([EQUITY, QUOTE]));
});

test("what is held and what the server has: the same, or not", async () => {
  assert.deepEqual(await room([EQUITY, QUOTE]).verify(), { matches: true, keys: 2 });
  for (const had of [[EQUITY], [EQUITY, { ...QUOTE, rev: 2 }], [EQUITY, QUOTE, { ...QUOTE, key: "x" }], [EQUITY, { ...QUOTE, type: "other" }]]) {
    assert.deepEqual(await room([EQUITY, QUOTE], had).verify(), { matches: false, keys: 2 });
  }
});

test("what changes meanwhile is asked again, and is no fault", async () => {
  const busy = room([EQUITY]);
  busy.answers.push((record) => {
    record.version += 1;
    return { epoch: "e1", ...digestOf([{ ...EQUITY, rev: 906 }]) };
  });
  assert.deepEqual([await busy.verify(), busy.pauses], [{ matches: true, keys: 1 }, [250]]);
  const busier = room([EQUITY], []);
  const change = (record) => {
    record.version += 1;
    return { epoch: "e1", ...digestOf([]) };
  };
  busier.answers.push(change, change, change, change);
  assert.deepEqual([await busier.verify(), busier.pauses], [{ matches: null, keys: 1 }, [250, 500, 1000, 2000]]);
});

test("a server that cannot say now is asked again, one that refuses is not", async () => {
  const refuse = (retry) => () => Promise.reject(new TickerdError("queue_full", "later", { retry_after_ms: retry }));
  const later = room([EQUITY]);
  later.answers.push(refuse(100));
  assert.deepEqual([await later.verify(), later.pauses], [{ matches: true, keys: 1 }, [250]]);
  const never = room([EQUITY]);
  never.answers.push(refuse(null));
  await assert.rejects(never.verify(), { name: "queue_full" });
});
