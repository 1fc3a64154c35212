//! The journal as lines of JSON, one for each event: for other programs, beside a running daemon or without one. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::lane::PerLane;
use crate::hub::journal::KeptState;
use crate::wire::text::{put, put_number};

use super::record::{self, EventRecord, Piece, Record};

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
    line: Vec<u8>,
}

impl Exporter {
    /// One that has read nothing.
    pub fn new(selection: Selection) -> Exporter {
        Exporter { selection, epochs: HashMap::new(), last: HashMap::new(), line: Vec::new() }
    }

    /// Gives what the next segment has, in order, until somebody wants no more.
    pub fn segment<E>(&mut self, bytes: &[u8], is_last: bool, mut take: impl FnMut(Found<'_>) -> Result<(), E>) -> Result<(), E> {
        for piece in record::pieces(bytes) {
            match piece {
                Piece::Record { record: Record::Event(event), .. } => {
                    if self.is_new(&event) && self.selection.has(event.room, event.ts_ms) {
                        self.put(&event);
                        take(Found::Line(&self.line))?;
                    }
                }
                Piece::Record { record: Record::Epoch(epoch), .. } => {
                    self.epochs.insert(epoch.number, epoch.name);
                }
                // A copy of an event, or what is known of rooms.
                Piece::Record {
                    record: Record::Forget { .. } | Record::Head(_) | Record::Unacknowledged(_) | Record::Settled { .. },
                    ..
                } => {}
                Piece::Damage { at, len } if is_last && at + len == bytes.len() => take(Found::Torn { len })?,
                Piece::Damage { at, len } => take(Found::Damage { at, len })?,
            }
        }
        Ok(())
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

    fn put(&mut self, event: &EventRecord<'_>) {
        self.line.clear();
        if let Some(epoch) = self.epochs.get(&event.epoch) {
            put(&mut self.line, &[r#"{"epoch":""#, epoch, "\","]);
        } else {
            put(&mut self.line, &[r#"{"epoch":null,"#]); // its record is damaged
        }
        // In JSON they are between tokens, where a blank does as well.
        let blank = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        self.line.extend(event.message.iter().skip(1).map(blank));
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
