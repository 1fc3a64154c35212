// Whether a room holds the states that the server has: client.js loads this when a page asks for it (`room.verify()`).
//
// The digest is the sum, modulo 2^64, of a hash of each key that has a value: FNV-1a with 64 bits (RFC 9923) over `type`, line feed, `key`, line feed,
// `rev`, finished as MurmurHash3 does (`fmix64`). It tells of keys and revisions, not of what `data` says.

const TRIES = 4; // while states go on changing
const PAUSE_MS = 250;

const u64 = (value) => BigInt.asUintN(64, value);

/** Of states with `type`, `key` and `rev`, in any order: how many, and 16 hexadecimal digits. */
export function digestOf(states) {
  let [keys, sum] = [0, 0n];
  for (const { type, key = "", rev } of states) {
    let hash = 0xcbf29ce484222325n;
    for (const byte of new TextEncoder().encode(`${type}\n${key}\n${rev}`)) hash = u64((hash ^ BigInt(byte)) * 0x100000001b3n);
    hash = u64((hash ^ (hash >> 33n)) * 0xff51afd7ed558ccdn);
    hash = u64((hash ^ (hash >> 33n)) * 0xc4ceb9fe1a85ec53n);
    keys += 1;
    sum = u64(sum + (hash ^ (hash >> 33n)));
  }
  return { keys, digest: sum.toString(16).padStart(16, "0") };
}

/**
 * Compares what the room's record holds with what `ask()` resolves to. The answer comes behind all that the server had sent before, but newer states
 * may overtake it: so what differs counts only if nothing has changed meanwhile, else it is asked again.
 */
export async function verify(record, ask, pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))) {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const before = record.version;
    const told = await ask().catch((error) => {
      if (error.retryAfterMs === null || error.retryAfterMs === undefined) throw error;
      return null; // not now
    });
    const held = digestOf(record.states.values());
    if (told && told.epoch === record.epoch && told.digest === held.digest && told.keys === held.keys) return { matches: true, keys: held.keys };
    if (told && record.version === before) return { matches: false, keys: held.keys };
    await pause(PAUSE_MS * 2 ** tries);
  }
  return { matches: null, keys: record.states.size };
}
