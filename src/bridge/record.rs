//! Events as the store keeps them: a line of names and numbers with NUL between them, and `data` at its end. Pure.
//!
//! Identifiers have no NUL, and JSON has none outside of escapes.

use std::time::Duration;

use crate::base::lane::{Lane, Mode};
use crate::base::time::Mono;
use crate::hub::journal::KeptState;
use crate::hub::ports::{Event, Number, Outcome};
use crate::hub::store::{Append, EPOCHS_PER_SHARD, Fed, KnownWait};

/// What stands between two parts.
const NUL: char = '\0';
/// Parts of a body before `data`.
const HEAD_PARTS: usize = 13;

/// The letter of a mode.
pub(super) const fn mode_letter(mode: Mode) -> &'static str {
    match mode {
        Mode::Stream => "s",
        Mode::State => "k",
        Mode::Transient => "t",
    }
}

fn mode_of(letter: &str) -> Option<Mode> {
    Mode::ALL.into_iter().find(|mode| mode_letter(*mode) == letter)
}

/// Writes an event's body; where `data` begins in it. `node` names this node.
pub(super) fn put_body(out: &mut String, node: u64, append: &Append) -> usize {
    use std::fmt::Write;
    let event = &append.event;
    let begin = out.len();
    let (mode, lane) = (mode_letter(event.mode), event.lane.index());
    let (owner, event_id) = (event.owner.as_deref().unwrap_or_default(), event.event_id.as_deref().unwrap_or_default());
    let ack_ms = event.ack_ttl.map_or(0, |ttl| ttl.as_millis() as u64);
    // Writing to a string does not fail.
    write!(out, "{}\0{node:x}\0{}\0{mode}\0{lane}\0{}\0{}\0{}\0", append.ts_ms, append.accepted.0, event.kind, event.room, event.key).ok();
    write!(out, "{owner}\0{event_id}\0").ok();
    if let Some(version) = event.version {
        write!(out, "{version}").ok();
    }
    write!(out, "\0{}\0{ack_ms}\0", event.history).ok();
    let data_at = out.len() - begin;
    out.push_str(&event.data);
    data_at
}

/// An event as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) node: u64,
    pub(super) ts_ms: u64,
    /// By that node's clock.
    pub(super) accepted: Mono,
    pub(super) event: Event,
}

/// Reads a body. `None` if it is none of ours.
pub(super) fn body(text: &str) -> Option<Body> {
    let mut parts = text.splitn(HEAD_PARTS + 1, NUL);
    let mut next = || parts.next();
    let (ts_ms, node, accepted) = (next()?.parse().ok()?, u64::from_str_radix(next()?, 16).ok()?, Mono(next()?.parse().ok()?));
    let (mode, lane) = (mode_of(next()?)?, lane_of(next()?)?);
    let (kind, room, key) = (next()?.into(), next()?.into(), next()?.into());
    let (owner, event_id) = (some(next()?), some(next()?));
    let version = match next()? {
        "" => None,
        digits => Some(digits.parse().ok()?),
    };
    let history = next()?.parse().ok()?;
    let ack_ttl = Some(next()?.parse().ok()?).filter(|ms| *ms > 0).map(Duration::from_millis);
    let data = next()?.into();
    let event = Event { kind, room, lane, mode, key, owner, event_id, version, history, ack_ttl, data };
    Some(Body { node, ts_ms, accepted, event })
}

fn some(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn lane_of(text: &str) -> Option<Lane> {
    Lane::ALL.get(text.parse::<usize>().ok()?).copied()
}

/// Reads what the feed has at that place. `heard`: when it came; `node` names this node.
pub(super) fn fed(shard: u16, place: u64, text: &str, node: u64, heard: Mono) -> Option<Fed> {
    let mut parts = text.splitn(4, NUL);
    let number = parts.next()?.parse().ok()?;
    let oldest = parts.next()?.parse().ok()?;
    let epoch = epoch_of(shard, parts.next()?)?;
    let Body { node: origin, ts_ms, accepted, event } = body(parts.next()?)?;
    let accepted = if origin == node { accepted } else { heard };
    Some(Fed { place, epoch, number, oldest, ts_ms, accepted, event })
}

/// The hub's number of a shard's epoch.
pub(super) fn epoch_of(shard: u16, number: &str) -> Option<u32> {
    let number: u32 = number.parse().ok()?;
    (number < EPOCHS_PER_SHARD).then(|| u32::from(shard) * EPOCHS_PER_SHARD + number)
}

/// Reads what waits for an acknowledgment.
pub(super) fn wait(shard: u16, text: &str) -> Option<KnownWait> {
    let mut parts = text.splitn(4, NUL);
    let (seq, epoch, until_ms) = (parts.next()?.parse().ok()?, epoch_of(shard, parts.next()?)?, parts.next()?.parse().ok()?);
    let Body { ts_ms, event, .. } = body(parts.next()?)?;
    event.event_id.is_some().then_some(KnownWait { seq, epoch, until_ms, ts_ms, event })
}

/// The name of a state in its room's table.
pub(super) fn state_name(kind: &str, key: &str) -> String {
    format!("{kind}\0{key}")
}

/// Reads a state from its room's table.
pub(super) fn state(name: &str, text: &str) -> Option<KeptState> {
    let (kind, key) = name.split_once(NUL)?;
    let mut parts = text.splitn(5, ' ');
    let (lane, rev) = (lane_of(parts.next()?)?, parts.next()?.parse().ok()?);
    let version = match parts.next()? {
        "" => None,
        digits => Some(digits.parse().ok()?),
    };
    let ts_ms = parts.next()?.parse().ok()?;
    let data = Some(parts.next()?).filter(|data| *data != "null").map(Box::from);
    Some(KeptState { kind: kind.into(), key: key.into(), lane, rev, version, ts_ms, data })
}

/// The epochs in which a lane had events, with the first number of each.
pub(super) fn starts(shard: u16, text: &str) -> Option<Vec<(u32, u64)>> {
    let start = |text: &str| {
        let (epoch, first) = text.split_once(':')?;
        Some((epoch_of(shard, epoch)?, first.parse().ok()?))
    };
    text.split(',').map(start).collect()
}

/// What the store says became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Placed(Outcome, Number),
    OtherOwner,
    OtherLane,
    TooManyKeys,
    TooManyRooms,
}

/// Reads a verdict.
pub(super) fn verdict(word: &str) -> Option<Verdict> {
    let outcome = match word.get(..1)? {
        "a" => Outcome::Accepted,
        "d" => Outcome::Duplicate,
        "s" => Outcome::Stale,
        "u" => Outcome::Unchanged,
        "o" => return Some(Verdict::OtherOwner),
        "c" => return Some(Verdict::OtherLane),
        "f" => return Some(Verdict::TooManyKeys),
        "r" => return Some(Verdict::TooManyRooms),
        _ => return None,
    };
    let number = word.get(2..)?.parse().ok()?;
    let number = match mode_of(word.get(1..2)?)? {
        Mode::Stream => Number::Seq(number),
        Mode::State => Number::Rev(number),
        Mode::Transient => Number::None,
    };
    Some(Verdict::Placed(outcome, number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::ports::PendingId;

    fn ident() -> impl Strategy<Value = String> {
        "[A-Za-z0-9_.:%-]{1,12}"
    }

    prop_compose! {
        fn event()(
            (kind, room, key) in (ident(), ident(), "[a-z]{0,3}"),
            (lane, mode) in (prop::sample::select(&Lane::ALL[..]), prop::sample::select(&Mode::ALL[..])),
            (owner, event_id) in (prop::option::of(ident()), prop::option::of(ident())),
            (version, history, ack_ms) in (prop::option::of(any::<u64>()), any::<u16>(), prop::option::of(1u64..1 << 40)),
            data in "[^\0]{0,40}",
        ) -> Event {
            Event {
                kind: kind.into(), room: room.into(), lane, mode, key: key.into(), owner: owner.map(Box::from), event_id: event_id.map(Box::from),
                version, history, ack_ttl: ack_ms.map(Duration::from_millis), data: data.into(),
            }
        }
    }

    proptest! {
        /// What one node writes another reads; `data` begins where the store is told.
        #[test]
        fn an_event_is_read_as_it_was_written(event in event(), ts_ms: u64, accepted: u64, node: u64) {
            let append = Append { id: PendingId { slot: 0, generation: 0 }, ts_ms, accepted: Mono(accepted), rev: 0, event: event.clone() };
            let mut text = "before".to_owned();
            let data_at = put_body(&mut text, node, &append);
            let text = &text["before".len()..];
            prop_assert_eq!(&text[data_at..], &*event.data);
            prop_assert_eq!(body(text), Some(Body { node, ts_ms, accepted: Mono(accepted), event: event.clone() }));
            let id = event.event_id.clone();
            let line = format!("7\x004\x003\0{text}");
            let own = fed(2, 9, &line, node, Mono(1)).unwrap();
            prop_assert_eq!(own, Fed { place: 9, epoch: 2 * EPOCHS_PER_SHARD + 3, number: 7, oldest: 4, ts_ms, accepted: Mono(accepted), event });
            let waiting = wait(2, &format!("7\x003\099\0{text}"));
            prop_assert_eq!(waiting.map(|wait| (wait.seq, wait.epoch, wait.until_ms, wait.event.event_id)), id.map(|id| (7, 2 * EPOCHS_PER_SHARD + 3, 99, Some(id))));
            prop_assert_eq!(fed(2, 9, &line, !node, Mono(1)).unwrap().accepted, Mono(1), "the clock of another node says nothing here");
        }

        /// Whoever else writes to the store's keys gets no node to fall over.
        #[test]
        fn nonsense_is_refused(text in "[0-9a-z\0 :,]{0,60}") {
            body(&text);
            fed(0, 1, &text, 0, Mono(0));
            state(&text, &text);
            starts(0, &text);
            wait(0, &text);
            verdict(&text);
        }
    }

    #[test]
    fn states_starts_and_verdicts_are_read() {
        let kept = state("T\0k", "1 7 3 5 {\"a\": \"b c\"}").unwrap();
        assert_eq!((&*kept.kind, &*kept.key, kept.lane, kept.rev, kept.version), ("T", "k", Lane::Update, 7, Some(3)));
        assert_eq!((kept.ts_ms, kept.data.as_deref()), (5, Some("{\"a\": \"b c\"}")));
        assert_eq!(state("T\0", "2 1  5 null").map(|kept| (kept.version, kept.data)), Some((None, None)));
        assert_eq!(starts(1, "1:1,3:5"), Some(vec![(EPOCHS_PER_SHARD + 1, 1), (EPOCHS_PER_SHARD + 3, 5)]));
        assert_eq!(verdict("as12"), Some(Verdict::Placed(Outcome::Accepted, Number::Seq(12))));
        assert_eq!(verdict("dk3"), Some(Verdict::Placed(Outcome::Duplicate, Number::Rev(3))));
        assert_eq!(verdict("at0"), Some(Verdict::Placed(Outcome::Accepted, Number::None)));
        assert_eq!((verdict("o"), verdict("x1"), verdict("as")), (Some(Verdict::OtherOwner), None, None));
    }
}
