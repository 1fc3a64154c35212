//! The log's records: what an entry is on disk, and how records are found again after damage. Pure.
//!
//! A record is a header of 12 bytes and a body. All numbers are little-endian.
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | [`MAGIC`]: has bytes that UTF-8 never has, so no published text reads as the beginning of a record |
//! | 4 | length of the body |
//! | 4 | CRC32 (ISO 3309, as in gzip) of the length and the body |
//! | n | the body: its kind, then its fields; texts have their length before them, in 1 byte; a message is the body's rest |

use std::sync::Arc;

use crate::base::lane::Lane;
use crate::hub::journal::{Epoch, EscalatedEntry, EventEntry, RecoveredStream};

/// How each record begins.
const MAGIC: [u8; 4] = [0xff, b't', b'k', 0xfe];
/// Before each body.
pub(super) const HEADER_BYTES: usize = 12;
/// A longer body is none of ours: a message, and the names around it.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

const KIND_EPOCH: u8 = 1;
const KIND_EVENT: u8 = 2;
const KIND_FORGET: u8 = 3;
const KIND_HEAD: u8 = 4;
const KIND_UNACKNOWLEDGED: u8 = 5;
const KIND_SETTLED: u8 = 6;
const KIND_ESCALATED: u8 = 7;

/// A record as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Epoch(Epoch),
    Event(EventRecord<'a>),
    Forget { room: &'a str },
    Head(HeadRecord<'a>),
    Unacknowledged(UnacknowledgedRecord<'a>),
    Settled { room: &'a str, event_id: &'a str },
}

/// An event that waits for its user's acknowledgment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnacknowledgedRecord<'a> {
    pub(super) room: &'a str,
    pub(super) event_id: &'a str,
    pub(super) lane: Lane,
    pub(super) epoch: u32,
    pub(super) seq: u64,
    pub(super) ts_ms: u64,
    pub(super) until_ms: u64,
    /// Somebody was told that its user takes no note of it.
    pub(super) is_escalated: bool,
    pub(super) message: &'a [u8],
}

impl<'a> UnacknowledgedRecord<'a> {
    /// What an event leaves that waits until then.
    pub(super) fn of(event: &'a EventEntry, until_ms: u64) -> UnacknowledgedRecord<'a> {
        UnacknowledgedRecord {
            room: &event.room,
            event_id: event.event_id.as_deref().unwrap_or_default(),
            lane: event.lane,
            epoch: event.epoch,
            seq: event.seq,
            ts_ms: event.ts_ms,
            until_ms,
            is_escalated: false,
            message: event.frame.as_text(),
        }
    }

    /// What it leaves when somebody was told.
    pub(super) fn of_escalated(escalated: &'a EscalatedEntry) -> UnacknowledgedRecord<'a> {
        UnacknowledgedRecord {
            room: &escalated.room,
            event_id: &escalated.event_id,
            lane: escalated.lane,
            epoch: escalated.epoch,
            seq: escalated.seq,
            ts_ms: escalated.ts_ms,
            until_ms: escalated.until_ms,
            is_escalated: true,
            message: escalated.frame.as_text(),
        }
    }
}

/// A `stream` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventRecord<'a> {
    pub(super) room: &'a str,
    pub(super) owner: Option<&'a str>,
    pub(super) born: u32,
    pub(super) epoch: u32,
    pub(super) first: u64,
    pub(super) lane: Lane,
    pub(super) history: u16,
    pub(super) seq: u64,
    pub(super) ts_ms: u64,
    pub(super) event_id: Option<&'a str>,
    pub(super) message: &'a [u8],
}

/// What is to be known of a (room, lane) when all its events are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadRecord<'a> {
    pub(super) room: &'a str,
    pub(super) owner: Option<&'a str>,
    pub(super) born: u32,
    pub(super) lane: Lane,
    pub(super) history: u16,
    pub(super) head: u64,
    pub(super) starts: Vec<(u32, u64)>,
}

pub(super) fn put_epoch(out: &mut Vec<u8>, epoch: &Epoch) {
    put(out, KIND_EPOCH, |out| {
        out.extend_from_slice(&epoch.number.to_le_bytes());
        out.push(u8::from(epoch.by_eviction));
        put_text(out, &epoch.name);
    });
}

pub(super) fn put_event(out: &mut Vec<u8>, event: &EventEntry) {
    put(out, KIND_EVENT, |out| {
        put_room(out, &event.room, event.owner.as_deref(), event.born);
        out.push(event.lane as u8);
        out.extend_from_slice(&event.history.to_le_bytes());
        out.extend_from_slice(&event.epoch.to_le_bytes());
        out.extend_from_slice(&event.first.to_le_bytes());
        out.extend_from_slice(&event.seq.to_le_bytes());
        out.extend_from_slice(&event.ts_ms.to_le_bytes());
        put_text(out, event.event_id.as_deref().unwrap_or_default());
        out.extend_from_slice(event.frame.as_text());
    });
}

pub(super) fn put_forget(out: &mut Vec<u8>, room: &str) {
    put(out, KIND_FORGET, |out| put_text(out, room));
}

pub(super) fn put_unacknowledged(out: &mut Vec<u8>, event: &UnacknowledgedRecord<'_>) {
    put(out, if event.is_escalated { KIND_ESCALATED } else { KIND_UNACKNOWLEDGED }, |out| {
        put_text(out, event.room);
        put_text(out, event.event_id);
        out.push(event.lane as u8);
        out.extend_from_slice(&event.epoch.to_le_bytes());
        out.extend_from_slice(&event.seq.to_le_bytes());
        out.extend_from_slice(&event.ts_ms.to_le_bytes());
        out.extend_from_slice(&event.until_ms.to_le_bytes());
        out.extend_from_slice(event.message);
    });
}

pub(super) fn put_settled(out: &mut Vec<u8>, room: &str, event_id: &str) {
    put(out, KIND_SETTLED, |out| {
        put_text(out, room);
        put_text(out, event_id);
    });
}

pub(super) fn put_head(out: &mut Vec<u8>, room: &str, owner: Option<&str>, born: u32, lane: Lane, stream: &RecoveredStream) {
    put(out, KIND_HEAD, |out| {
        put_room(out, room, owner, born);
        out.push(lane as u8);
        out.extend_from_slice(&stream.history.to_le_bytes());
        out.extend_from_slice(&stream.head.to_le_bytes());
        for (epoch, first) in &stream.starts {
            out.extend_from_slice(&epoch.to_le_bytes());
            out.extend_from_slice(&first.to_le_bytes());
        }
    });
}

fn put_room(out: &mut Vec<u8>, room: &str, owner: Option<&str>, born: u32) {
    put_text(out, room);
    put_text(out, owner.unwrap_or_default());
    out.extend_from_slice(&born.to_le_bytes());
}

/// Identifiers have at most 200 bytes.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let len = u8::try_from(text.len()).expect("identifiers are no longer than IDENT_BYTES_MAX");
    out.push(len);
    out.extend_from_slice(text.as_bytes());
}

fn put(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; HEADER_BYTES - MAGIC.len()]);
    out.push(kind);
    body(out);
    let len = ((out.len() - start - HEADER_BYTES) as u32).to_le_bytes();
    let crc = checksum(len, &out[start + HEADER_BYTES..]).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&len);
    out[start + 8..start + 12].copy_from_slice(&crc);
}

fn checksum(len: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(body);
    hasher.finalize()
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A record, and how many bytes it takes.
    Record(Record<'a>, usize),
    /// No whole record; more bytes may make it one.
    Short,
    /// No record.
    Damage,
}

/// Looks for a record at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Found<'_> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        let is_begun = bytes.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic);
        return if is_begun { Found::Short } else { Found::Damage };
    };
    let word = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).expect("four bytes are four");
    let len = u32::from_le_bytes(word(4)) as usize;
    if header[..4] != MAGIC || len > BODY_BYTES_MAX {
        return Found::Damage;
    }
    let Some(body) = rest.get(..len) else { return Found::Short };
    if checksum(word(4), body) != u32::from_le_bytes(word(8)) {
        return Found::Damage;
    }
    match Fields(body).record() {
        Some(record) => Found::Record(record, HEADER_BYTES + len),
        None => Found::Damage,
    }
}

/// A part of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Record {
        at: usize,
        len: usize,
        record: Record<'a>,
    },
    /// Bytes that are no records, up to the next record or the end.
    Damage {
        at: usize,
        len: usize,
    },
}

/// A segment's pieces, in order and without a gap between them.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        while at < bytes.len() {
            match read(&bytes[at..]) {
                // What is bad comes first; the record is read again for the next piece.
                Found::Record(..) if at > start => break,
                Found::Record(record, len) => {
                    at += len;
                    return Some(Piece::Record { at: start, len, record });
                }
                Found::Short | Found::Damage => at += next_candidate(&bytes[at..]),
            }
        }
        (at > start).then_some(Piece::Damage { at: start, len: at - start })
    })
}

/// Where the next record may begin: after the first byte, at the magic, or where that could begin at the end.
fn next_candidate(bytes: &[u8]) -> usize {
    let from = 1.min(bytes.len());
    memchr::memmem::find(&bytes[from..], &MAGIC).map_or(bytes.len().saturating_sub(MAGIC.len() - 1).max(from), |at| from + at)
}

/// A body's fields, taken from its front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn record(mut self) -> Option<Record<'a>> {
        let record = match self.number::<1>()?[0] {
            KIND_EPOCH => {
                let number = u32::from_le_bytes(self.number()?);
                let by_eviction = self.number::<1>()?[0] != 0;
                Record::Epoch(Epoch { number, by_eviction, name: Arc::from(self.text()?) })
            }
            KIND_EVENT => return self.event().map(Record::Event),
            KIND_FORGET => Record::Forget { room: self.text()? },
            KIND_HEAD => return self.head().map(Record::Head),
            kind @ (KIND_UNACKNOWLEDGED | KIND_ESCALATED) => {
                return self.unacknowledged(kind == KIND_ESCALATED).map(Record::Unacknowledged);
            }
            KIND_SETTLED => Record::Settled { room: self.text()?, event_id: self.text()? },
            _ => return None,
        };
        self.0.is_empty().then_some(record)
    }

    fn event(mut self) -> Option<EventRecord<'a>> {
        let (room, owner, born) = self.room()?;
        Some(EventRecord {
            room,
            owner,
            born,
            lane: self.lane()?,
            history: u16::from_le_bytes(self.number()?),
            epoch: u32::from_le_bytes(self.number()?),
            first: u64::from_le_bytes(self.number()?),
            seq: u64::from_le_bytes(self.number()?),
            ts_ms: u64::from_le_bytes(self.number()?),
            event_id: some(self.text()?),
            message: self.0,
        })
    }

    fn unacknowledged(mut self, is_escalated: bool) -> Option<UnacknowledgedRecord<'a>> {
        Some(UnacknowledgedRecord {
            room: self.text()?,
            event_id: self.text()?,
            lane: self.lane()?,
            epoch: u32::from_le_bytes(self.number()?),
            seq: u64::from_le_bytes(self.number()?),
            ts_ms: u64::from_le_bytes(self.number()?),
            until_ms: u64::from_le_bytes(self.number()?),
            is_escalated,
            message: self.0,
        })
    }

    fn head(mut self) -> Option<HeadRecord<'a>> {
        let (room, owner, born) = self.room()?;
        let (lane, history) = (self.lane()?, u16::from_le_bytes(self.number()?));
        let head = u64::from_le_bytes(self.number()?);
        let mut starts = Vec::new();
        while !self.0.is_empty() {
            starts.push((u32::from_le_bytes(self.number()?), u64::from_le_bytes(self.number()?)));
        }
        Some(HeadRecord { room, owner, born, lane, history, head, starts })
    }

    fn room(&mut self) -> Option<(&'a str, Option<&'a str>, u32)> {
        Some((self.text()?, some(self.text()?), u32::from_le_bytes(self.number()?)))
    }

    fn lane(&mut self) -> Option<Lane> {
        Lane::ALL.get(usize::from(self.number::<1>()?[0])).copied()
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(self.number::<1>()?[0]);
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn number<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        self.take(BYTES)?.try_into().ok()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

/// A text that may be missing is empty then.
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length that no record has is damage, which more bytes would not mend; the longest one waits for its body.
    #[test]
    fn a_length_beyond_all_records_is_damage() {
        let header = |len: usize| [&MAGIC[..], &(len as u32).to_le_bytes(), &[0; 4]].concat();
        assert_eq!(read(&header(BODY_BYTES_MAX)), Found::Short);
        for len in [BODY_BYTES_MAX + 1, u32::MAX as usize] {
            assert_eq!(read(&header(len)), Found::Damage);
        }
    }
}
