//! Escalation: of an event that its user takes no note of within a time, somebody else is told, by a webhook.
//!
//! The hub says when, and what; who does the telling says what came of it, and is asked again, less and less often, until the wait is over. That
//! somebody was told is a notice in `system:acks`, and is known to the journal, so that the next start does not tell it again. Where several nodes
//! share their rooms, each begins a little later than the time says, by chance, and is quiet if another was first.

use std::sync::Arc;
use std::time::Duration;

use crate::base::time::{Mono, Now};
use crate::wire::frame::Frame;

use super::Hub;
use super::acks::{USER_ROOM, notice};
use super::encode;
use super::journal::{Entry, EscalatedEntry};
use super::ports::{Escalated, EscalationOutcome, Event, Outlet, Overdue};
use super::unacknowledged::{Escalation, Waiting};

/// The first pause after a try in vain; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// No pause is longer.
const PAUSE_MOST: Duration = Duration::from_secs(300);
/// How soon it is tried again to hand something over where nobody takes it now.
const RETRY: Duration = Duration::from_secs(1);
/// By how much nodes that share their rooms begin later, at most.
const STAGGER: Duration = Duration::from_secs(3);

/// What is escalated, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscalationOptions {
    /// So long after it was accepted.
    pub after: Duration,
    /// The same of types that have a time of their own; a final `*` stands for any rest.
    pub types: Vec<(String, Duration)>,
}

impl EscalationOptions {
    /// How long an event of that type may wait. The type itself comes before families, and of these the longest name.
    fn after(&self, kind: &str) -> Duration {
        let fits = |name: &str| name == kind || name.strip_suffix('*').is_some_and(|prefix| kind.starts_with(prefix));
        let own = self.types.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| (name == kind, name.len()));
        own.map_or(self.after, |(_, after)| *after)
    }
}

impl Hub {
    /// When that event, accepted at `ts_ms`, is to be escalated.
    pub(super) fn escalation_of(&self, event_id: &str, ts_ms: u64, frame: &Frame) -> Escalation {
        let Some(options) = &self.options.escalation else { return Escalation::Never };
        let stagger = if self.shared.is_some() { self.part_of(STAGGER, event_id, 0) } else { Duration::ZERO };
        let after = options.after(encode::kind(frame.as_text())) + stagger;
        Escalation::Due { at_ms: ts_ms.saturating_add(after.as_millis() as u64), tries: 0 }
    }

    /// Hands over what is due, as long as somebody takes it. Returns when to be called again.
    pub(super) fn escalate(&mut self, now: Now, out: &mut impl Outlet) -> Mono {
        loop {
            let Some((at_ms, room, event_id)) = self.unacknowledged.first_escalation() else { return Mono::NEVER };
            if *at_ms > now.wall_ms {
                return now.mono.plus(Duration::from_millis(at_ms - now.wall_ms));
            }
            if now.mono < self.escalations_rest_until {
                return self.escalations_rest_until;
            }
            if !out.can_escalate() {
                return now.mono.plus(RETRY);
            }
            let (room, event_id) = (Arc::clone(room), Arc::clone(event_id));
            let Some(waiting) = self.unacknowledged.find(&room, &event_id) else { return Mono::NEVER };
            let Escalation::Due { tries, .. } = waiting.escalation() else { return Mono::NEVER };
            let (ts_ms, _) = encode::ts_and_event_id(waiting.frame.as_text());
            let overdue = Overdue {
                room: Arc::clone(&room),
                event_id: Arc::clone(&event_id),
                ts_ms,
                until_ms: waiting.until_ms,
                frame: Arc::clone(&waiting.frame),
            };
            self.unacknowledged.set_escalation(&room, &event_id, Escalation::UnderWay { tries });
            out.escalate(overdue);
        }
    }

    /// What came of it. If its wait is over meanwhile, it is counted, and that is all.
    pub(super) fn escalated(&mut self, now: Now, escalated: &Escalated, out: &mut impl Outlet) {
        let Escalated { room, event_id, outcome } = escalated;
        self.stats.escalations[*outcome as usize] += 1;
        let waiting = self.unacknowledged.find(room, event_id).filter(|_| self.unacknowledged.waits(room, event_id));
        let Some((Escalation::UnderWay { tries }, waiting)) = waiting.map(|waiting| (waiting.escalation(), waiting)) else { return };
        let next = match outcome {
            EscalationOutcome::Told => {
                let (entry, notice) = (escalated_entry(room, waiting), escalated_notice(room, waiting, now));
                if let Some(ledger) = self.ledger.as_mut().filter(|ledger| ledger.is_well().is_ok() && ledger.has_room(waiting.lane)) {
                    ledger.give(Entry::Escalated(Box::new(entry)), None, out); // else the next start tells it again, by the same id
                }
                self.tell_of_escalation(now, notice, out);
                Escalation::Told
            }
            EscalationOutcome::Failed => {
                let pause = PAUSE_FIRST.saturating_mul(1 << tries.min(16)).min(PAUSE_MOST);
                let pause = pause / 2 + self.part_of(pause / 2, event_id, tries);
                Escalation::Due { at_ms: now.wall_ms.saturating_add(pause.as_millis() as u64), tries: tries + 1 }
            }
            EscalationOutcome::Resting => {
                self.escalations_rest_until = now.mono.plus(RETRY);
                Escalation::Due { at_ms: now.wall_ms, tries: tries.max(1) }
            }
        };
        self.unacknowledged.set_escalation(room, event_id, next);
    }

    fn tell_of_escalation(&mut self, now: Now, notice: Event, out: &mut impl Outlet) {
        if self.shared.is_some() {
            self.share_escalation(now, notice, out);
        } else {
            self.announce(now, notice, out);
        }
    }

    /// A part of that time, by chance: FNV-1a (Fowler, Noll, Vo; RFC 9923) over what tells this hub, event and try from others.
    fn part_of(&self, most: Duration, event_id: &str, tries: u32) -> Duration {
        let seed = self.options.epoch_seed.to_le_bytes().into_iter().chain(tries.to_le_bytes());
        let hash = seed.chain(event_id.bytes()).fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        most.mul_f64(f64::from(hash ^ (hash >> 16)) / f64::from(u32::MAX))
    }
}

fn escalated_entry(room: &Arc<str>, waiting: &Waiting) -> EscalatedEntry {
    EscalatedEntry {
        room: Arc::clone(room),
        event_id: Arc::clone(&waiting.event_id),
        lane: waiting.lane,
        epoch: waiting.epoch,
        seq: waiting.seq,
        ts_ms: encode::ts_and_event_id(waiting.frame.as_text()).0,
        until_ms: waiting.until_ms,
        frame: Arc::clone(&waiting.frame),
    }
}

/// What the publisher's side hears. `published` tells the event from others that had the same id.
fn escalated_notice(room: &str, waiting: &Waiting, now: Now) -> Event {
    let (user, ts, event_id) = (room.strip_prefix(USER_ROOM).unwrap_or_default(), now.wall_ms, &waiting.event_id);
    let (published, _) = encode::ts_and_event_id(waiting.frame.as_text());
    // Identifiers need no escapes.
    let data = format!(r#"{{"event_id":"{event_id}","room":"{room}","user":"{user}","ts":{ts},"published":{published}}}"#);
    Event { kind: "event.escalated".into(), data: data.into(), ..notice() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_its_own_time_or_that_of_its_family_or_that_of_all() {
        let s = Duration::from_secs;
        let types = [("margin.*", 20), ("margin.call", 30), ("*", 10), ("margin.call.*", 40)];
        let options = EscalationOptions { after: s(1), types: types.map(|(name, after)| (name.to_owned(), s(after))).to_vec() };
        for (kind, after) in [("margin.call", 30), ("margin.x", 20), ("x", 10), ("margin.call.x", 40)] {
            assert_eq!(options.after(kind), s(after), "{kind}");
        }
        assert_eq!(EscalationOptions { types: Vec::new(), ..options }.after("x"), s(1));
    }
}
