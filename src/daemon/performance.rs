//! Performance records: what a minute's figures are, from those of all threads.

use std::collections::BTreeMap;

use crate::base::counters::{BUCKETS_US, Counter, HistogramSnapshot};
use crate::base::lane::{Lane, PerLane};
use crate::journal::audit::{Latency, Performance};
use crate::ops::process;
use crate::reactor::stats::ReactorStats;

use super::metrics::Sources;

/// Makes records, each of the time since the one before.
pub(super) struct Recorder {
    sources: Sources,
    /// What only goes up, as it was.
    before: Totals,
}

#[derive(Clone, Default)]
struct Totals {
    ts_ms: u64,
    events: PerLane<u64>,
    delivered: PerLane<HistogramSnapshot>,
    refusals: BTreeMap<&'static str, u64>,
    closes: BTreeMap<&'static str, u64>,
    drops: BTreeMap<&'static str, u64>,
    cpu_ms: u64,
    synced: HistogramSnapshot,
    audit_lost: u64,
}

impl Recorder {
    /// One that begins now.
    pub(super) fn new(sources: Sources, now_ms: u64) -> Recorder {
        let mut recorder = Recorder { sources, before: Totals::default() };
        recorder.before = recorder.totals(now_ms);
        recorder
    }

    /// The record of the time since the last one.
    pub(super) fn record(&mut self, now_ms: u64) -> Performance {
        let now = self.totals(now_ms);
        let before = std::mem::replace(&mut self.before, now.clone());
        let hub = *self.sources.hub.lock();
        let since = |now: PerLane<u64>, before: PerLane<u64>| std::array::from_fn(|lane| now[lane].saturating_sub(before[lane]));
        Performance {
            ts_ms: now_ms,
            took_ms: now_ms.saturating_sub(before.ts_ms),
            connections: self.sources.reactors.iter().flat_map(|stats| &stats.connections).map(Counter::value).sum(),
            rooms: hub.rooms,
            members: hub.members,
            events: since(now.events, before.events),
            deliveries: std::array::from_fn(|lane| now.delivered[lane].count_since(&before.delivered[lane])),
            latencies: std::array::from_fn(|lane| latency(&now.delivered[lane], &before.delivered[lane])),
            refusals: each_since(&now.refusals, &before.refusals),
            closes: each_since(&now.closes, &before.closes),
            drops: each_since(&now.drops, &before.drops),
            cpu_ms: now.cpu_ms.saturating_sub(before.cpu_ms),
            rss_bytes: process::usage().resident_bytes,
            journal_bytes: self.sources.journal.as_ref().map_or(0, |journal| journal.bytes.value()),
            journal_sync_p99_us: latency(&now.synced, &before.synced).map(|latency| latency.p99_us),
            audit_lost: now.audit_lost.saturating_sub(before.audit_lost),
        }
    }

    fn totals(&self, ts_ms: u64) -> Totals {
        let hub = *self.sources.hub.lock();
        let mut totals = Totals { ts_ms, events: hub.accepted, cpu_ms: process::usage().cpu_ms, ..Totals::default() };
        totals.synced = self.sources.journal.as_ref().map_or_else(HistogramSnapshot::default, |journal| journal.commits.snapshot());
        for stats in &self.sources.reactors {
            totals.add(stats);
        }
        totals.drops = self.sources.dropped(&hub).into();
        totals.drops.insert("conflated", self.sources.conflated(&hub).map(|(_, count)| count).iter().sum());
        totals
    }
}

impl Totals {
    fn add(&mut self, stats: &ReactorStats) {
        for lane in Lane::ALL.map(Lane::index) {
            self.delivered[lane].merge(&stats.delivery[lane].snapshot());
        }
        for (name, count) in stats.refusals() {
            *self.refusals.entry(name).or_default() += count;
        }
        for (name, count) in stats.closes() {
            *self.closes.entry(name).or_default() += count;
        }
        self.audit_lost += stats.audit_lost.value();
    }
}

fn each_since(now: &BTreeMap<&'static str, u64>, before: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    let since = |name, count: u64| count.saturating_sub(before.get(name).copied().unwrap_or(0));
    now.iter().map(|(name, count)| (*name, since(*name, *count))).filter(|(_, count)| *count > 0).collect()
}

/// Of what a histogram has more than it had; none if that is nothing.
fn latency(now: &HistogramSnapshot, before: &HistogramSnapshot) -> Option<Latency> {
    let counts: Vec<u64> = now.buckets.iter().zip(before.buckets).map(|(now, before)| now.saturating_sub(before)).collect();
    let all: u64 = counts.iter().sum();
    (all > 0)
        .then(|| Some(Latency { p50_us: bound_us(&counts, 50)?, p99_us: bound_us(&counts, 99)?, max_us: bound_us(&counts, 100)? }))
        .flatten()
}

/// The upper bound of the bucket that holds the percentile of these counts; none if they are all 0.
pub(super) fn bound_us(counts: &[u64], per_cent: u64) -> Option<u64> {
    let wanted = (counts.iter().sum::<u64>() * per_cent).div_ceil(100);
    let mut seen = 0;
    let at = counts.iter().position(|count| {
        seen += count;
        seen >= wanted && seen > 0
    })?;
    // What is beyond the last bound has none: twice that, to be told from it.
    Some(BUCKETS_US.get(at).copied().unwrap_or(2 * BUCKETS_US[BUCKETS_US.len() - 1]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::daemon::metrics::testing::sources;
    use crate::reactor::stats::Reason;

    #[test]
    fn latencies_are_bounds_of_buckets() {
        let (nothing, mut some) = (HistogramSnapshot::default(), HistogramSnapshot::default());
        assert_eq!(latency(&nothing, &nothing), None);
        (some.buckets[0], some.buckets[3], some.buckets[19]) = (50, 49, 1);
        assert_eq!(latency(&some, &nothing), Some(Latency { p50_us: 10, p99_us: 100, max_us: 20_000_000 }));
        let mut more = some.clone();
        more.buckets[1] += 1;
        assert_eq!(latency(&more, &some), Some(Latency { p50_us: 20, p99_us: 20, max_us: 20 }));
    }

    /// OBS-12: counts are those since the last record, levels are as they are.
    #[test]
    fn a_record_counts_from_the_last_one() {
        let sources = sources();
        let (stats, hub) = (Arc::clone(&sources.reactors[0]), Arc::clone(&sources.hub));
        stats.delivery[0].record(Duration::from_micros(15));
        let mut recorder = Recorder::new(sources, 1_000);
        stats.frames_sent[0].add(9); // answers and replays are frames, too
        (0..3).for_each(|_| stats.delivery[0].record(Duration::from_micros(15)));
        stats.closed(Reason::Eof);
        stats.connections[1].set(7);
        stats.dropped_as_slow.add(2);
        stats.audit_lost.add(4);
        hub.lock().accepted[0] = 6;
        let record = recorder.record(61_000);
        assert_eq!((record.ts_ms, record.took_ms, record.connections), (61_000, 60_000, 7));
        assert_eq!((record.events[0], record.deliveries[0], record.audit_lost), (6, 3, 4));
        assert_eq!(record.latencies, [Some(Latency { p50_us: 20, p99_us: 20, max_us: 20 }), None, None]);
        assert_eq!((record.closes, record.drops), ([("eof", 1)].into(), [("slow_consumer", 2)].into()));
        let record = recorder.record(121_000);
        assert_eq!((record.connections, record.deliveries[0], record.latencies[0], record.closes.len()), (7, 0, None, 0));
    }
}
