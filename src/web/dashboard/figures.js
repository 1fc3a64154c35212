// What the operator's page makes of the daemon's metrics: samples, rates, percentiles, and how they are written. Pure.

/** The samples of a scrape (Prometheus' text format): by metric, each with its labels. */
export function parse(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line[0] === "#") continue;
    const space = line.lastIndexOf(" ");
    const brace = line.indexOf("{");
    const name = line.slice(0, brace < 0 ? space : brace);
    const labels = {};
    if (brace >= 0) for (const [, label, value] of line.slice(brace + 1, space - 1).matchAll(/(\w+)="([^"]*)"/g)) labels[label] = value;
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels, value: Number(line.slice(space + 1)) });
  }
  return samples;
}

const fits = (labels, wanted) => Object.entries(wanted).every(([label, value]) => labels[label] === value);

/** The sum of a metric's samples, of those with these labels. */
export function sum(samples, name, wanted = {}) {
  return (samples.get(name) ?? []).reduce((sum, { labels, value }) => (fits(labels, wanted) ? sum + value : sum), 0);
}

/** A metric's values by one of its labels. */
export function by(samples, name, label) {
  const values = {};
  for (const { labels, value } of samples.get(name) ?? []) values[labels[label]] = (values[labels[label]] ?? 0) + value;
  return values;
}

/** A histogram's cumulative counts by their bounds in seconds, the last of which is infinite. */
export function histogram(samples, name, wanted = {}) {
  const buckets = new Map();
  for (const { labels, value } of samples.get(`${name}_bucket`) ?? []) {
    if (!fits(labels, wanted)) continue;
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  const bounds = [...buckets.keys()].sort((a, b) => a - b);
  return { bounds, counts: bounds.map((bound) => buckets.get(bound)) };
}

/** How long what came between two scrapes took: counts in each bucket; nothing if the daemon began anew. */
export function between(before, now) {
  if (before.counts.length !== now.counts.length) return null;
  const grown = now.counts.map((count, i) => count - before.counts[i]);
  const inBucket = grown.map((count, i) => count - (grown[i - 1] ?? 0));
  return inBucket.some((count) => count < 0) ? null : inBucket;
}

/**
 * The time within which that share of them was, in seconds; null of none. Within a bucket they are taken to be spread evenly on a
 * logarithmic scale; the first bucket begins at half its bound, and what is beyond the last bound counts as that.
 */
export function percentile(bounds, counts, share) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = share * total;
  for (let i = 0; i < counts.length; i++) {
    if (counts[i] === 0) continue;
    if (left > counts[i] && i < counts.length - 1) {
      left -= counts[i];
      continue;
    }
    if (bounds[i] === Infinity) return bounds[i - 1];
    const low = i === 0 ? bounds[0] / 2 : bounds[i - 1];
    return low * (bounds[i] / low) ** Math.min(1, left / counts[i]);
  }
  return bounds.findLast(Number.isFinite);
}

/** Records of some minutes, each `{ at, started, … }`, in order; times in milliseconds. */
export class History {
  records = [];

  constructor(keepMs) {
    this.keepMs = keepMs;
  }

  /** Whether it goes on where it was: a daemon that began anew counts from nothing. */
  add(record) {
    const goesOn = this.records.length > 0 && this.last.started === record.started;
    if (!goesOn) this.records = [];
    this.records.push(record);
    while (this.records[0].at < record.at - this.keepMs) this.records.shift();
    return goesOn;
  }

  get last() {
    return this.records.at(-1);
  }

  /** The youngest record that is at least so old, or else the oldest. */
  before(record, ms) {
    const end = this.records.indexOf(record);
    const old = this.records.findLast(({ at }, i) => i < end && at <= record.at - ms);
    return old ?? (end > 0 ? this.records[0] : null);
  }

  /** How fast something has grown in the last so many milliseconds, per second; null before there are two records. */
  rate(of, ms, record = this.last) {
    const before = record && this.before(record, ms);
    if (!before || record.at <= before.at) return null;
    return Math.max(0, of(record) - of(before)) / ((record.at - before.at) / 1000);
  }
}

/** What grew, by name, in the last so many milliseconds; the most first, and what did not grow left out. */
export function growth(history, of, ms) {
  const now = history.last;
  const before = now && history.before(now, ms);
  if (!before) return [];
  const grown = Object.entries(of(now)).map(([name, value]) => [name, value - (of(before)[name] ?? 0)]);
  return grown.filter(([, count]) => count > 0).sort(([a, x], [b, y]) => y - x || a.localeCompare(b));
}

// ---- how they are written: few digits, and always as many, so that nothing jumps -------------------------------------------

const NONE = "–";

/** A whole number, its thousands apart. */
export const whole = (value) => (value === null ? NONE : Math.round(value).toLocaleString("en-US"));

/** A rate or an average: below 10 with a decimal, and beyond a hundred thousand in thousands or millions. */
export function rate(value) {
  if (value === null) return NONE;
  if (value >= 99_950_000) return `${whole(value / 1e6)} M`;
  if (value >= 9_995_000) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 99_999.5) return `${whole(value / 1e3)} k`;
  return value > 0 && value < 9.95 ? value.toFixed(1) : whole(value);
}

/** Bytes in three digits. */
export function bytes(value) {
  if (value === null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 999.5 && at < units.length - 1) [value, at] = [value / 1024, at + 1];
  return `${at === 0 ? Math.round(value) : digits(value)} ${units[at]}`;
}

/** A duration of seconds in three digits. */
export function seconds(value) {
  if (value === null) return NONE;
  if (value < 0.9995e-3) return `${digits(value * 1e6)} µs`;
  if (value < 0.9995) return `${digits(value * 1e3)} ms`;
  return value < 99.95 ? `${digits(value)} s` : ago(value * 1000);
}

const digits = (value) => (value >= 99.95 ? Math.round(value).toString() : value.toFixed(value >= 9.995 ? 1 : 2));

/** How long something has lasted: the two largest units. */
export function ago(ms) {
  if (ms === null) return NONE;
  const units = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]];
  const first = units.findIndex(([, size]) => ms >= size);
  if (first < 0) return "0 s";
  const [[name, size], next] = [units[first], units[first + 1]];
  const rest = next ? Math.floor((ms % size) / next[1]) : 0;
  return `${Math.floor(ms / size)} ${name}${rest > 0 ? ` ${rest} ${next[0]}` : ""}`;
}

export const percent = (share) => (share === null ? NONE : `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`);
