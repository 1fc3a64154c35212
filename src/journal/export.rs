//! The journal as lines of JSON, one for each event, and then for each that waits for its user: for other programs, beside a running daemon or
//! without one. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::lane::PerLane;
use crate::hub::journal::KeptState;
use crate::wire::text::{put, put_number};

use super::index::waiting_name;
use super::record::{self, EventRecord, Piece, Record, UnacknowledgedRecord};

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// A room, or the beginning of its name and `*`; none: all.
    pub room: Option<String>,
    /// Accepted at that time or later, Unix milliseconds.
    pub since_ms: u64,
}

impl Selection {
    /// Whether something of that room and time is wanted.
    pub fn has(&self, room: &str, ts_ms: u64) -> bool {
        let is_of_it = |pattern: &str| pattern.strip_suffix('*').map_or(pattern == room, |prefix| room.starts_with(prefix));
        ts_ms >= self.since_ms && self.room.as_deref().is_none_or(is_of_it)
    }
}

/// What a segment has.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// An event: the message as members got it, with its epoch before it. Without the line's end.
    Line(&'a [u8]),
    /// Bytes that are no records, in the midst of others: they are left out.
    Damage {
        /// Where they begin.
        at: usize,
        /// How many they are.
        len: usize,
    },
    /// The end of the last segment is no whole record: a write that was cut off, or that is under way.
    Torn {
        /// How many bytes.
        len: usize,
    },
}

/// Reads segments in order; see the module.
pub struct Exporter {
    selection: Selection,
    epochs: HashMap<u32, Arc<str>>,
    /// The last event of each (room, lane): after a failure of the disk a batch may be there twice.
    last: HashMap<Box<str>, PerLane<(u32, u64)>>,
    /// What waits for an acknowledgment, by its name: when it came, and its line.
    waiting: HashMap<Box<str>, (u64, Vec<u8>)>,
    line: Vec<u8>,
}

impl Exporter {
    /// One that has read nothing.
    pub fn new(selection: Selection) -> Exporter {
        Exporter { selection, epochs: HashMap::new(), last: HashMap::new(), waiting: HashMap::new(), line: Vec::new() }
    }

    /// Gives what the next segment has, in order, until somebody wants no more.
    pub fn segment<E>(&mut self, bytes: &[u8], is_last: bool, mut take: impl FnMut(Found<'_>) -> Result<(), E>) -> Result<(), E> {
        for piece in record::pieces(bytes) {
            match piece {
                Piece::Record { record: Record::Event(event), .. } => {
                    if self.is_new(&event) && self.selection.has(event.room, event.ts_ms) {
                        self.put(event.epoch, None, event.message);
                        take(Found::Line(&self.line))?;
                    }
                }
                Piece::Record { record: Record::Epoch(epoch), .. } => {
                    self.epochs.insert(epoch.number, epoch.name);
                }
                Piece::Record { record: Record::Unacknowledged(waiting), .. } => self.waits(&waiting),
                Piece::Record { record: Record::Settled { room, event_id }, .. } => {
                    self.waiting.remove(&waiting_name(room, event_id));
                }
                // What is known of rooms.
                Piece::Record { record: Record::Forget { .. } | Record::Head(_), .. } => {}
                Piece::Damage { at, len } if is_last && at + len == bytes.len() => take(Found::Torn { len })?,
                Piece::Damage { at, len } => take(Found::Damage { at, len })?,
            }
        }
        Ok(())
    }

    /// What waits for an acknowledgment when all segments are read, oldest first: the message, with its epoch and until when it waits before it.
    pub fn unacknowledged(self) -> impl Iterator<Item = Vec<u8>> {
        let mut waiting: Vec<_> = self.waiting.into_values().collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, line)| line)
    }

    fn waits(&mut self, waiting: &UnacknowledgedRecord<'_>) {
        if self.selection.has(waiting.room, waiting.ts_ms) {
            self.put(waiting.epoch, Some(waiting.until_ms), waiting.message);
            self.waiting.insert(waiting_name(waiting.room, waiting.event_id), (waiting.ts_ms, self.line.clone()));
        }
    }

    fn is_new(&mut self, event: &EventRecord<'_>) -> bool {
        if !self.last.contains_key(event.room) {
            self.last.insert(event.room.into(), PerLane::default());
        }
        let last =
            self.last.get_mut(event.room).map(|lanes| &mut lanes[event.lane.index()]).expect("it was made above if it was not there");
        let is_new = (event.epoch, event.seq) > *last;
        *last = (event.epoch, event.seq).max(*last);
        is_new
    }

    fn put(&mut self, epoch: u32, until_ms: Option<u64>, message: &[u8]) {
        self.line.clear();
        if let Some(epoch) = self.epochs.get(&epoch) {
            put(&mut self.line, &[r#"{"epoch":""#, epoch, "\","]);
        } else {
            put(&mut self.line, &[r#"{"epoch":null,"#]); // its record is damaged
        }
        if let Some(until_ms) = until_ms {
            put(&mut self.line, &[r#""until":"#]);
            put_number(&mut self.line, until_ms);
            self.line.push(b',');
        }
        // In JSON they are between tokens, where a blank does as well.
        let blank = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        self.line.extend(message.iter().skip(1).map(blank));
    }
}

/// A state as members get it; without the line's end.
pub fn put_state(out: &mut Vec<u8>, room: &str, state: &KeptState) {
    put(out, &[r#"{"type":""#, &state.kind, r#"","room":""#, room, r#"","lane":""#, state.lane.name(), r#"","key":""#, &state.key]);
    put(out, &[r#"","rev":"#]);
    put_number(out, state.rev);
    if let Some(version) = state.version {
        put(out, &[r#","version":"#]);
        put_number(out, version);
    }
    put(out, &[r#","ts":"#]);
    put_number(out, state.ts_ms);
    match &state.data {
        Some(data) => put(out, &[r#","data":"#, &data.replace(['\n', '\r'], " "), "}"]),
        None => put(out, &[r#","deleted":true}"#]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::journal::Epoch;

    fn event(room: &str, epoch: u32, seq: u64, message: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let entry = super::super::tests::event_entry(room, epoch, seq, message);
        record::put_event(&mut out, &entry);
        out
    }

    fn epoch(number: u32) -> Vec<u8> {
        let mut out = Vec::new();
        record::put_epoch(&mut out, &Epoch { number, name: format!("e{number}").into(), by_eviction: false });
        out
    }

    fn export(selection: Selection, segments: &[Vec<u8>]) -> Vec<String> {
        let (mut exporter, mut found) = (Exporter::new(selection), Vec::new());
        for (at, bytes) in segments.iter().enumerate() {
            let take = |item: Found<'_>| {
                found.push(match item {
                    Found::Line(line) => String::from_utf8(line.to_vec()).unwrap(),
                    Found::Damage { len, .. } => format!("damage {len}"),
                    Found::Torn { len } => format!("torn {len}"),
                });
                Ok::<(), ()>(())
            };
            exporter.segment(bytes, at + 1 == segments.len(), take).unwrap();
        }
        found
    }

    /// DLV-12: each event once, with its epoch's name, on one line.
    #[test]
    fn each_event_is_a_line_of_its_own() {
        let first = [epoch(1), event("a", 1, 1, "{\"data\":{\r\n\"n\":1}}"), event("a", 1, 2, r#"{"data":2}"#)].concat();
        let twice = [epoch(1), event("a", 1, 2, r#"{"data":2}"#), epoch(2), event("a", 2, 3, r#"{"data":3}"#)].concat();
        let lines = export(Selection::default(), &[first, twice]);
        assert_eq!(lines, [r#"{"epoch":"e1","data":{  "n":1}}"#, r#"{"epoch":"e1","data":2}"#, r#"{"epoch":"e2","data":3}"#]);
        // A room that was forgotten and made again counts from 1 again, in a later epoch.
        let again = [event("a", 1, 9, "{}"), event("a", 2, 1, "{}")].concat();
        assert_eq!(export(Selection::default(), &[again]), [r#"{"epoch":null,}"#, r#"{"epoch":null,}"#]);
    }

    #[test]
    fn only_what_is_wanted_comes() {
        let segment = [event("a:1", 1, 1, "{1}"), event("a:2", 1, 2, "{2}"), event("b", 1, 3, "{3}")].concat();
        let wanted = |room: Option<&str>, since_ms| {
            let selection = Selection { room: room.map(str::to_owned), since_ms };
            export(selection, std::slice::from_ref(&segment)).concat().replace(r#"{"epoch":null,"#, "").replace('}', "")
        };
        assert_eq!((wanted(None, 0), wanted(None, 2_000), wanted(None, 2_001)), ("123".into(), "23".into(), "3".into()));
        assert_eq!((wanted(Some("a:*"), 0), wanted(Some("a:1"), 0), wanted(Some("a"), 0)), ("12".into(), "1".into(), String::new()));
    }

    /// QTE-12: what waits for an acknowledgment, wherever it was written last; what is settled does not.
    #[test]
    fn what_waits_for_an_acknowledgment_comes_last() {
        let waiting = |room: &str, seq, message: &str| {
            let mut out = Vec::new();
            let event = super::super::tests::event_entry(room, 1, seq, message);
            record::put_unacknowledged(&mut out, &UnacknowledgedRecord::of(&event, 9_000));
            out
        };
        let mut settled = Vec::new();
        record::put_settled(&mut settled, "user:1", "user:1-2");
        let first = [epoch(1), waiting("user:1", 3, r#"{"data":3}"#), waiting("user:1", 2, "{}"), waiting("user:2", 1, "{}")].concat();
        let segments = [first, [settled, waiting("user:1", 3, r#"{"data":3}"#)].concat()];
        let unacknowledged = |room: Option<&str>| {
            let mut exporter = Exporter::new(Selection { room: room.map(str::to_owned), since_ms: 0 });
            for bytes in &segments {
                exporter.segment(bytes, false, |_| Err("no event is there")).unwrap();
            }
            exporter.unacknowledged().map(|line| String::from_utf8(line).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(unacknowledged(None), [r#"{"epoch":"e1","until":9000,}"#, r#"{"epoch":"e1","until":9000,"data":3}"#]);
        assert_eq!(unacknowledged(Some("user:2")).len(), 1);
    }

    #[test]
    fn damage_is_told_and_left_out() {
        let mut first = [event("a", 1, 1, "{1}"), event("a", 1, 2, "{2}")].concat();
        let torn = [event("a", 1, 3, "{3}"), event("a", 1, 4, "{4}")].concat();
        let one = first.len() / 2;
        first[one - 1] ^= 1;
        let told = export(Selection::default(), &[first, torn[..torn.len() - 1].to_vec()]);
        let expected = [format!("damage {one}"), r#"{"epoch":null,2}"#.into(), r#"{"epoch":null,3}"#.into(), format!("torn {}", one - 1)];
        assert_eq!(told, expected);
    }
}
