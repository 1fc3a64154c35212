//! A reactor's part of the audit trail: what happens to clients, and what is published by whom in a minute. Nobody waits for it: what finds no
//! room is counted, and the count is an entry as soon as there is room again.
//!
//! Who is refused, and who acknowledges, could fill the trail and push all else out of it: beyond a rate only their number is told, once a minute.

mod published;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::audit::{Entry, Kind};
use crate::base::bucket::Bucket;
use crate::base::limits::{AUDIT_ACK_RATE, AUDIT_REFUSAL_RATE};
use crate::base::time::{Mono, Now};
use crate::net::link::Link;

use self::published::Published;
use super::stats::ReactorStats;

pub(super) use self::published::Mark;

/// In milliseconds.
const MINUTE: u64 = 60_000;

/// See the module. Without a data directory there is no trail, and this does nothing.
pub(super) struct Audit {
    trail: Option<Arc<Trail>>,
    published: Published,
    refusals: Bucket,
    acks: Bucket,
    /// What was beyond a rate, by why.
    beyond: BTreeMap<(Kind, &'static str), u64>,
    /// Entries that found no room, and are not told of yet.
    lost: u64,
    /// When sums are to be made; [`Mono::NEVER`] if there is nothing to sum up.
    sum_at: Mono,
}

/// The way to the thread that writes.
pub(super) type Trail = Link<Entry>;

impl Audit {
    /// One that tells the trail, if there is one.
    pub(super) fn new(trail: Option<Arc<Trail>>) -> Audit {
        Audit {
            trail,
            published: Published::default(),
            refusals: Bucket::default(),
            acks: Bucket::default(),
            beyond: BTreeMap::new(),
            lost: 0,
            sum_at: Mono::NEVER,
        }
    }

    /// Tells the trail what happened.
    pub(super) fn note(&mut self, now: Now, kind: Kind, reason: &'static str, stats: &ReactorStats, entry: impl FnOnce(Entry) -> Entry) {
        if self.trail.is_none() {
            return;
        }
        if self.is_beyond_rate(now.mono, kind) {
            *self.beyond.entry((kind, reason)).or_default() += 1;
            return self.sum_later(now);
        }
        self.push(now, entry(Entry { reason, ..Entry::new(now.wall_ms, kind) }), stats);
    }

    fn is_beyond_rate(&mut self, now: Mono, kind: Kind) -> bool {
        let taken = match kind {
            Kind::Refuse => self.refusals.take(1, AUDIT_REFUSAL_RATE, now),
            Kind::Ack => self.acks.take(1, AUDIT_ACK_RATE, now),
            _ => Ok(()),
        };
        taken.is_err()
    }

    /// For an event of that publisher: it is to be told how the event was answered. `kind`: the event's type, empty if that is not known.
    pub(super) fn published(&mut self, now: Now, user: &str, kind: &str) -> Mark {
        if self.trail.is_none() {
            return Mark::default();
        }
        self.sum_later(now);
        self.published.mark(user, kind)
    }

    /// When [`Audit::turn`] has something to do.
    pub(super) fn next(&self) -> Option<Mono> {
        (self.sum_at != Mono::NEVER).then_some(self.sum_at)
    }

    /// Once in a turn: sums up the last minute, if it is over.
    pub(super) fn turn(&mut self, now: Now, stats: &ReactorStats) {
        if self.sum_at <= now.mono {
            self.sum_up(now, stats);
        }
    }

    /// Tells the trail what was not told one by one.
    pub(super) fn sum_up(&mut self, now: Now, stats: &ReactorStats) {
        self.sum_at = Mono::NEVER;
        for ((kind, reason), count) in std::mem::take(&mut self.beyond) {
            let subject = Some("further".into());
            self.push(now, Entry { subject, reason, count, ..Entry::new(now.wall_ms, kind) }, stats);
        }
        let sums = self.published.sum_up(now.wall_ms);
        if !self.published.is_empty() {
            self.sum_later(now);
        }
        for entry in sums {
            self.push(now, entry, stats);
        }
        if !self.tell_lost(now) {
            self.sum_later(now);
        }
    }

    /// The next minute of the clock on the wall ends what is to be summed up.
    fn sum_later(&mut self, now: Now) {
        if self.sum_at == Mono::NEVER {
            self.sum_at = now.mono.plus(Duration::from_millis(MINUTE - now.wall_ms % MINUTE));
        }
    }

    fn push(&mut self, now: Now, entry: Entry, stats: &ReactorStats) {
        let Some(trail) = self.trail.clone() else { return };
        if !self.tell_lost(now) || trail.push(entry).is_err() {
            self.lost += 1;
            stats.audit_lost.inc();
            self.sum_later(now);
        }
        // Its reader looks now and then by itself; a storm does not wait for that.
        if trail.free() < trail.capacity() / 2 {
            trail.ring();
        }
    }

    /// Whether nothing more is to be told of what was lost.
    fn tell_lost(&mut self, now: Now) -> bool {
        let Some(trail) = self.trail.as_ref().filter(|_| self.lost > 0) else { return true };
        let told = trail.push(Entry { reason: "queue_full", count: self.lost, ..Entry::new(now.wall_ms, Kind::Lost) }).is_ok();
        if told {
            self.lost = 0;
        }
        told
    }
}

#[cfg(test)]
mod tests;
