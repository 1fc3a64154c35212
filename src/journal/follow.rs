//! Following the log while it is written: the events in the order in which they were synced, from a position that outlives the process.
//!
//! Whoever follows reads the files, at its own pace, and nobody waits for it: what it is behind waits on disk. After a failure of the disk an event
//! may come twice, and after a loss of power a position may be of what is not there any more; then its segment is read again from its beginning. So
//! whoever follows must know events again, by their room, lane, epoch and `seq`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::lane::Lane;

use super::log::{segment_numbers, segment_path};
use super::record::{self, Piece, Record};

/// Read at a time; no record is longer.
const PART_BYTES: u64 = 4 * 1024 * 1024;

/// A place in the log: between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which segment.
    pub segment: u32,
    /// Bytes into it.
    pub offset: u32,
}

/// Up to where a log is synced: told by whoever writes it.
#[derive(Debug, Default)]
pub struct LogEnd(AtomicU64);

impl LogEnd {
    pub(super) fn set(&self, Position { segment, offset }: Position) {
        self.0.store(u64::from(segment) << 32 | u64::from(offset), Ordering::Release);
    }

    /// The end now.
    pub fn position(&self) -> Position {
        let packed = self.0.load(Ordering::Acquire);
        Position { segment: (packed >> 32) as u32, offset: packed as u32 }
    }
}

/// An event as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed<'a> {
    /// The room's name.
    pub room: &'a str,
    /// The room's owner.
    pub owner: Option<&'a str>,
    /// The lane.
    pub lane: Lane,
    /// The epoch in which it is numbered.
    pub epoch: u32,
    /// Its number.
    pub seq: u64,
    /// When the hub accepted it, Unix milliseconds.
    pub ts_ms: u64,
    /// The publisher's.
    pub event_id: Option<&'a str>,
    /// The message as members get it.
    pub message: &'a str,
}

impl<'a> Followed<'a> {
    /// Its type. What stands before `data` are identifiers and numbers, without escapes.
    pub fn kind(&self) -> &'a str {
        let rest = self.message.strip_prefix(r#"{"type":""#).unwrap_or_default();
        rest.split_once('"').map_or("", |(kind, _)| kind)
    }

    /// Its data, which is the last member.
    pub fn data(&self) -> &'a str {
        let data = self.message.split_once(r#","data":"#).map_or("null", |(_, data)| data);
        data.strip_suffix('}').unwrap_or(data)
    }
}

/// What a read has found beside events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Segments that were let go before they were read.
    pub segments: u32,
    /// Bytes that are no records.
    pub bytes: u64,
}

/// See the module.
pub struct Follower {
    dir: PathBuf,
    end: Arc<LogEnd>,
    at: Position,
    buffer: Vec<u8>,
}

impl Follower {
    /// One who goes on at that position, or begins with the oldest event that is kept.
    pub fn new(dir: &Path, end: Arc<LogEnd>, at: Option<Position>) -> Follower {
        Follower { dir: dir.to_owned(), end, at: at.unwrap_or_default(), buffer: Vec::new() }
    }

    /// Up to where it has read.
    pub fn position(&self) -> Position {
        self.at
    }

    /// Whether there is something that it has not read.
    pub fn is_behind(&self) -> bool {
        self.at < self.end.position()
    }

    /// About how many bytes it has not read; whole segments count as full ones.
    pub fn behind_bytes(&self) -> u64 {
        const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
        let end = self.end.position();
        let segments = u64::from(end.segment.saturating_sub(self.at.segment));
        (segments * SEGMENT_BYTES + u64::from(end.offset)).saturating_sub(u64::from(self.at.offset))
    }

    /// Reads a part of what is new, in order. An error leaves it where it was.
    pub fn read(&mut self, take: impl FnMut(Followed<'_>)) -> io::Result<Missed> {
        let end = self.end.position();
        if self.at >= end {
            // After a loss of power the log may end before the position.
            if self.at.segment > end.segment || self.at > end && end.segment > 0 {
                self.at = Position { segment: end.segment, offset: 0 };
            }
            return Ok(Missed::default());
        }
        let file = match File::open(segment_path(&self.dir, self.at.segment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.skip_to_kept(end),
            file => file?,
        };
        let is_last = self.at.segment == end.segment;
        let until = if is_last { u64::from(end.offset) } else { file.metadata()?.len() };
        if u64::from(self.at.offset) > until {
            self.at.offset = 0;
        }
        let from = u64::from(self.at.offset);
        self.buffer.resize((until - from).min(PART_BYTES) as usize, 0);
        file.read_exact_at(&mut self.buffer, from)?;
        let is_whole = from + self.buffer.len() as u64 == until;
        let (taken, missed_bytes) = take_records(&self.buffer, is_whole, take);
        self.at.offset += taken as u32;
        if is_whole && !is_last {
            self.at = Position { segment: self.at.segment + 1, offset: 0 };
        }
        Ok(Missed { segments: 0, bytes: missed_bytes })
    }

    /// Goes on with the oldest segment that is kept. What began before the log did is not missed.
    fn skip_to_kept(&mut self, end: Position) -> io::Result<Missed> {
        let began = self.at.segment == 0;
        let kept = segment_numbers(&self.dir)?.into_iter().find(|number| *number > self.at.segment);
        let segment = kept.unwrap_or(end.segment).min(end.segment);
        let segments = if began { 0 } else { segment - self.at.segment };
        self.at = Position { segment, offset: 0 };
        Ok(Missed { segments, bytes: 0 })
    }
}

/// Gives the events of a part; how many bytes were dealt with, and how many of them are no records. What is cut off at the end waits for the next
/// part, if there is one.
fn take_records(bytes: &[u8], is_whole: bool, mut take: impl FnMut(Followed<'_>)) -> (usize, u64) {
    let (mut taken, mut missed) = (0, 0);
    for piece in record::pieces(bytes) {
        match piece {
            Piece::Record { at, len, record } => {
                taken = at + len;
                if let Record::Event(event) = record
                    && let Ok(message) = std::str::from_utf8(event.message)
                {
                    let record::EventRecord { room, owner, lane, epoch, seq, ts_ms, event_id, .. } = event;
                    take(Followed { room, owner, lane, epoch, seq, ts_ms, event_id, message });
                }
            }
            Piece::Damage { at, len } => {
                let is_cut_off = at + len == bytes.len() && !is_whole && at > 0;
                if !is_cut_off {
                    taken = at + len;
                    missed += len as u64;
                }
            }
        }
    }
    (taken, missed)
}

#[cfg(test)]
mod tests {
    use super::super::log::{Log, Opened, Retention};
    use super::super::tests::{Scratch, event_entry};
    use super::*;
    use crate::hub::journal::Entry;

    fn entry(seq: u64) -> Entry {
        let mut entry = event_entry("a:1", 1, seq, "");
        let text = format!(r#"{{"type":"t.{seq}","room":"a:1","seq":{seq},"data":{{"n":{seq}}}}}"#);
        entry.frame = event_entry("a:1", 1, seq, &text).frame;
        Entry::Event(entry)
    }

    fn read_all(follower: &mut Follower) -> (Vec<u64>, Missed) {
        let (mut seqs, mut missed) = (Vec::new(), Missed::default());
        while follower.is_behind() {
            let part = follower.read(|event| seqs.push(event.seq)).unwrap();
            missed = Missed { segments: missed.segments + part.segments, bytes: missed.bytes + part.bytes };
        }
        (seqs, missed)
    }

    /// MET-12: what was synced comes in order, once, over segments and over a restart.
    #[test]
    fn events_come_in_order_from_where_one_was() {
        let scratch = Scratch::new();
        let Opened { mut log, .. } = Log::open_with(&scratch.0, 0, 600).unwrap();
        let mut follower = Follower::new(&scratch.0, log.end(), None);
        assert!(!follower.is_behind());
        for seq in 1..=20 {
            log.append(&[entry(seq)]).unwrap();
        }
        let end = log.end().position();
        assert_eq!(follower.behind_bytes(), u64::from(end.segment) * (16 << 20) + u64::from(end.offset));
        assert_eq!(read_all(&mut follower), ((1..=20).collect(), Missed::default()));
        assert_eq!((follower.behind_bytes(), follower.is_behind()), (0, false));
        let at = follower.position();
        assert!(at.segment > 2, "{at:?}");
        drop(log);
        let Opened { mut log, .. } = Log::open_with(&scratch.0, 0, 600).unwrap();
        let mut follower = Follower::new(&scratch.0, log.end(), Some(at));
        assert!(!follower.is_behind(), "nothing is new");
        log.append(&[entry(21), entry(22)]).unwrap();
        let mut told = Vec::new();
        follower.read(|event| told.push((event.kind().to_owned(), event.data().to_owned(), event.owner.map(str::to_owned)))).unwrap();
        assert_eq!(told[1], ("t.22".to_owned(), r#"{"n":22}"#.to_owned(), Some("u1".to_owned())));
    }

    /// MET-12: one that keeps up has read a segment to its end before the next one is begun: it does not come again.
    #[test]
    fn one_that_keeps_up_gets_each_event_once() {
        let scratch = Scratch::new();
        let Opened { mut log, .. } = Log::open_with(&scratch.0, 0, 600).unwrap();
        let mut follower = Follower::new(&scratch.0, log.end(), None);
        for seq in 1..=20 {
            log.append(&[entry(seq)]).unwrap();
            assert_eq!(read_all(&mut follower), (vec![seq], Missed::default()));
        }
        assert!(follower.position().segment > 2, "{:?}", follower.position());
    }

    /// What is let go before it was read is told; what was lost with the power is read again as far as it is there.
    #[test]
    fn what_is_not_there_any_more_is_told_or_read_again() {
        let scratch = Scratch::new();
        let Opened { mut log, .. } = Log::open_with(&scratch.0, 0, 300).unwrap();
        (1..=10).for_each(|seq| log.append(&[entry(seq)]).unwrap());
        let mut late = Follower::new(&scratch.0, log.end(), Some(Position { segment: 1, offset: 0 }));
        while !log.trim(Retention { age: std::time::Duration::from_secs(1 << 40), bytes: 900 }, 0).unwrap().is_empty() {}
        let (seqs, missed) = read_all(&mut late);
        assert!(missed.segments > 0 && *seqs.last().unwrap() == 10 && seqs.len() < 10, "{seqs:?} {missed:?}");
        let mut fresh = Follower::new(&scratch.0, log.end(), None);
        assert_eq!(read_all(&mut fresh), (seqs.clone(), Missed::default()), "what was gone before one began is not missed");
        let end = log.end().position();
        for beyond in [Position { offset: end.offset + 9, ..end }, Position { segment: end.segment + 1, offset: 7 }] {
            let mut follower = Follower::new(&scratch.0, log.end(), Some(beyond));
            assert!(!follower.is_behind());
            follower.read(|_| panic!("there is nothing yet")).unwrap();
            let (again, _) = read_all(&mut follower);
            assert!(!again.is_empty() && seqs.ends_with(&again), "{again:?}");
        }
    }

    #[test]
    fn a_record_that_is_cut_off_waits_and_damage_does_not() {
        let mut bytes = Vec::new();
        for seq in 1..=2 {
            let Entry::Event(event) = entry(seq) else { unreachable!() };
            record::put_event(&mut bytes, &event);
        }
        let half = bytes.len() / 2;
        let take = |bytes: &[u8], is_whole| {
            let mut seqs = Vec::new();
            let (taken, missed) = take_records(bytes, is_whole, |event| seqs.push(event.seq));
            (taken, missed, seqs)
        };
        assert_eq!(take(&bytes, true), (bytes.len(), 0, vec![1, 2]));
        assert_eq!(take(&bytes[..bytes.len() - 1], false), (half, 0, vec![1]));
        assert_eq!(take(&bytes[..bytes.len() - 1], true), (bytes.len() - 1, half as u64 - 1, vec![1]));
        assert_eq!(take(&[7; 9], false), (9, 9, vec![]), "it would wait for ever");
        bytes[half - 2] ^= 1;
        assert_eq!(take(&bytes, true), (2 * half, half as u64, vec![2]));
    }
}
