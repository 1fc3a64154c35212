//! The log: events in files of a few MiB, appended and synced in batches, read by place, dropped as a whole when they are old.
//!
//! Every segment begins with all epochs that are known, and a head whose events are all gone is written again before the last
//! segment that tells it goes, as is an event that waits for its user's acknowledgment: so the files that are there always tell everything.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::time::Mono;
use crate::hub::journal::{Entry, Epoch, Fetch, Recovered, RecoveredUnacknowledged, Trimmed};
use crate::wire::frame::{Frame, Kind, Tag};

use super::follow::{LogEnd, Position};
use super::index::{Index, Place, waiting_name};
use super::record::{self, Found, HEADER_BYTES, Piece, Record, UnacknowledgedRecord};

/// A segment that has grown to this is followed by another.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Epochs that are remembered; a position of an older one is not known.
const EPOCHS_MAX: usize = 1024;
/// What a read of one record begins with: most are no longer.
const READ_BYTES: usize = 1024;
/// Segments that a reader keeps open.
const OPEN_MAX: usize = 16;

/// How long events are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// No longer than this, counted for a segment as a whole.
    pub age: Duration,
    /// No more than so many bytes of segments, but always the newest.
    pub bytes: u64,
}

/// What was in the log and could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes in the midst of a segment that are no records: damage.
    pub damaged_bytes: u64,
    /// Segments with such bytes.
    pub damaged_segments: u64,
    /// Segments that are not there, or have nothing in them, between others.
    pub missing_segments: u64,
    /// Bytes at the end of the last segment that are no whole record: a write that was cut off.
    pub torn_bytes: u64,
}

impl Dropped {
    /// Whether nothing was.
    pub fn is_nothing(&self) -> bool {
        *self == Dropped::default()
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropped { damaged_bytes, damaged_segments, missing_segments, torn_bytes } = self;
        write!(f, "{damaged_bytes} damaged bytes in {damaged_segments} segments, {torn_bytes} bytes of a write that was cut off")?;
        if *missing_segments > 0 { write!(f, ", {missing_segments} segments that are gone") } else { Ok(()) }
    }
}

/// See the module.
pub struct Log {
    dir: PathBuf,
    segments: VecDeque<Segment>,
    /// The last of them; `None` after a failure, when another is to be begun.
    active: Option<File>,
    index: Arc<Mutex<Index>>,
    epochs: Vec<Epoch>,
    buffer: Vec<u8>,
    segment_bytes: u64,
    /// For those who follow it.
    end: Arc<LogEnd>,
}

struct Segment {
    number: u32,
    /// Up to the end of what is synced.
    bytes: u64,
    newest_ms: u64,
}

/// Where the record of an entry begins.
struct Put {
    place: Place,
    /// Where the other one does of an event that waits for its user.
    waiting: Option<Place>,
}

/// A log that was opened.
pub struct Opened {
    /// For writing.
    pub log: Log,
    /// For a hub that begins again.
    pub recovered: Recovered,
    /// What could not be read.
    pub dropped: Dropped,
}

impl Log {
    /// Opens the log in that directory, making it if it is not there, and reads all of it. `event_id`s are remembered of events since `seen_since_ms`.
    pub fn open(dir: &Path, seen_since_ms: u64) -> io::Result<Opened> {
        Log::open_with(dir, seen_since_ms, SEGMENT_BYTES)
    }

    pub(super) fn open_with(dir: &Path, seen_since_ms: u64, segment_bytes: u64) -> io::Result<Opened> {
        fs::create_dir_all(dir)?;
        dir.parent().map_or(Ok(()), sync_dir)?; // its name, too, is to survive
        let mut scan = Scan { seen_since_ms, ..Scan::default() };
        let mut segments = VecDeque::new();
        let numbers = segment_numbers(dir)?;
        scan.dropped.missing_segments = missing_between(&numbers);
        for (at, number) in numbers.iter().enumerate() {
            let is_last = at + 1 == numbers.len();
            let (path, seen) = (segment_path(dir, *number), scan.records);
            let bytes = fs::read(&path)?;
            let segment = scan.segment(*number, &bytes, is_last);
            if is_last && scan.records == seen && !bytes.is_empty() {
                fs::rename(&path, path.with_extension("log.damaged"))?; // none of ours, or nothing of it is left: not cut, but kept
                sync_dir(dir)?; // the next segment may get the old name
                continue;
            }
            segments.push_back(segment);
        }
        let active = segments.back().map(|segment| cut(&segment_path(dir, segment.number), segment.bytes)).transpose()?;
        let Scan { mut index, epochs, unacknowledged, dropped, .. } = scan;
        let mut unacknowledged: Vec<_> = unacknowledged.into_values().collect();
        unacknowledged.sort_by(|a, b| (a.ts_ms, &a.room, a.seq).cmp(&(b.ts_ms, &b.room, b.seq)));
        let recovered = Recovered { epochs: epochs.clone(), rooms: index.recovered(), unacknowledged };
        let index = Arc::new(Mutex::new(index));
        let (buffer, end) = (Vec::new(), Arc::default());
        let log = Log { dir: dir.to_owned(), segments, active, index, epochs, buffer, segment_bytes, end };
        log.tell_end();
        Ok(Opened { log, recovered, dropped })
    }

    /// Up to where it is synced, from now on.
    pub fn end(&self) -> Arc<LogEnd> {
        Arc::clone(&self.end)
    }

    fn tell_end(&self) {
        if let Some(Segment { number, bytes, .. }) = self.segments.back() {
            self.end.set(Position { segment: *number, offset: *bytes as u32 });
        }
    }

    /// What it takes of memory to know where everything is.
    pub fn index_bytes(&self) -> u64 {
        self.index.lock().bytes() as u64
    }

    /// Writes a batch and syncs it. After an error the same batch may be given again: what there is of it does no harm.
    pub fn append(&mut self, batch: &[Entry]) -> io::Result<()> {
        self.begin_segment_if_due()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let places = self.put(batch, &mut buffer);
        let written = self.write(&buffer);
        self.buffer = buffer;
        written?;
        self.note(batch, &places);
        Ok(())
    }

    /// Drops the oldest segment if it is too old, or if all are too big. What became of the oldest events; empty if there is nothing to drop.
    pub fn trim(&mut self, retention: Retention, now_ms: u64) -> io::Result<Vec<Trimmed>> {
        let [oldest, _, ..] = self.segments.make_contiguous() else { return Ok(Vec::new()) };
        let too_old = now_ms.saturating_sub(retention.age.as_millis() as u64);
        let number = oldest.number;
        if oldest.newest_ms >= too_old && self.bytes() <= retention.bytes {
            return Ok(Vec::new());
        }
        self.begin_segment_if_due()?;
        let carried = self.index.lock().carried(number);
        let mut heads = Vec::new();
        for head in &carried {
            record::put_head(&mut heads, &head.room, head.owner.as_deref(), head.born, head.lane, &head.stream);
        }
        let waiting = self.put_waiting(number, &mut heads)?;
        let before = self.segments.back().map_or(0, |segment| segment.bytes);
        if !heads.is_empty() {
            self.write(&heads)?;
        }
        let carried_in = self.segments.back().map_or(number, |segment| segment.number);
        // Readers are not sent to a file that is about to go.
        let trimmed = self.index.lock().trim(number, carried_in);
        for (name, at) in waiting {
            let offset = (before + at as u64) as u32;
            self.index.lock().waits(name, Place { segment: carried_in, offset });
        }
        self.segments.pop_front();
        fs::remove_file(segment_path(&self.dir, number))?;
        sync_dir(&self.dir)?;
        Ok(trimmed)
    }

    /// Whether the segment that is written has still its name.
    pub fn is_there(&self) -> bool {
        self.active.is_none() || self.segments.back().is_none_or(|segment| segment_path(&self.dir, segment.number).exists())
    }

    /// Goes on in another segment.
    pub fn begin_again(&mut self) {
        self.active = None;
    }

    /// Puts what waits for an acknowledgment in a segment that is about to go. [`waiting_name`] and place of each; a damaged one is lost.
    fn put_waiting(&self, segment: u32, out: &mut Vec<u8>) -> io::Result<Vec<(Box<str>, usize)>> {
        let places = self.index.lock().waiting_in(segment);
        let mut put = Vec::new();
        if places.is_empty() {
            return Ok(put);
        }
        let bytes = match fs::read(segment_path(&self.dir, segment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(), // somebody has removed it
            bytes => bytes?,
        };
        for place in places {
            let record = bytes.get(place.offset as usize..).unwrap_or_default();
            if let Found::Record(Record::Unacknowledged(waiting), len) = record::read(record) {
                put.push((waiting_name(waiting.room, waiting.event_id), out.len()));
                out.extend_from_slice(&record[..len]);
            }
        }
        Ok(put)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// One who reads it while it is written.
    pub fn reader(&self) -> Reader {
        Reader { dir: self.dir.clone(), index: Arc::clone(&self.index), open: VecDeque::new(), buffer: vec![0; READ_BYTES] }
    }

    /// Puts the records behind each other, and says where each begins.
    fn put(&mut self, batch: &[Entry], buffer: &mut Vec<u8>) -> Vec<Put> {
        let segment = self.segments.back().expect("a segment was begun");
        let (number, base) = (segment.number, segment.bytes);
        let end = |buffer: &Vec<u8>| Place { segment: number, offset: (base + buffer.len() as u64) as u32 };
        let mut places = Vec::with_capacity(batch.len());
        for entry in batch {
            let waiting = match entry {
                Entry::Event(event) => event.ack_until_ms.map(|until_ms| {
                    // It is put before the event: without it, one who publishes the event again would hear that all is well.
                    let waiting = end(buffer);
                    record::put_unacknowledged(buffer, &UnacknowledgedRecord::of(event, until_ms));
                    waiting
                }),
                _ => None,
            };
            places.push(Put { place: end(buffer), waiting });
            match entry {
                Entry::Event(event) => record::put_event(buffer, event),
                Entry::Escalated(escalated) => record::put_unacknowledged(buffer, &UnacknowledgedRecord::of_escalated(escalated)),
                Entry::Epoch(epoch) => record::put_epoch(buffer, epoch),
                Entry::Forget { room } => record::put_forget(buffer, room),
                Entry::Settled { room, event_id } => record::put_settled(buffer, room, event_id),
            }
        }
        places
    }

    fn note(&mut self, batch: &[Entry], places: &[Put]) {
        let mut index = self.index.lock();
        let segment = self.segments.back_mut().expect("it was written to");
        for (entry, Put { place, waiting }) in batch.iter().zip(places) {
            match entry {
                Entry::Event(event) => {
                    segment.newest_ms = segment.newest_ms.max(event.ts_ms);
                    index.note_written(event, *place);
                    if let (Some(event_id), Some(place)) = (&event.event_id, waiting) {
                        index.waits(waiting_name(&event.room, event_id), *place);
                    }
                }
                // What is told of it takes the place of what was told before.
                Entry::Escalated(escalated) => index.waits(waiting_name(&escalated.room, &escalated.event_id), *place),
                Entry::Epoch(epoch) => know(&mut self.epochs, epoch.clone()),
                Entry::Forget { room } => index.forget(room),
                Entry::Settled { room, event_id } => index.settled(room, event_id),
            }
        }
    }

    /// Appends to the active segment and syncs it. After an error nothing of it counts.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let segment = self.segments.back_mut().expect("a segment was begun");
        let Some(active) = &mut self.active else { return Err(io::Error::other("no segment is open")) };
        let before = segment.bytes;
        let written = active.write_all(bytes).and_then(|()| active.sync_data());
        if let Err(error) = written {
            // What a failed sync left in the page cache is not to be trusted: another segment is begun, and gets it all again.
            let cut = active.set_len(before);
            self.active = None;
            return Err(cut.err().unwrap_or(error));
        }
        segment.bytes += bytes.len() as u64;
        self.tell_end();
        Ok(())
    }

    fn begin_segment_if_due(&mut self) -> io::Result<()> {
        let is_full = self.segments.back().is_none_or(|segment| segment.bytes >= self.segment_bytes);
        if self.active.is_some() && !is_full {
            return Ok(());
        }
        let number = self.segments.back().map_or(1, |segment| segment.number + 1);
        let path = segment_path(&self.dir, number);
        let mut head = Vec::new();
        self.epochs.iter().for_each(|epoch| record::put_epoch(&mut head, epoch));
        let begun = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path).and_then(|mut file| {
            file.write_all(&head)?;
            file.sync_all()?;
            sync_dir(&self.dir)?;
            Ok(file)
        });
        self.active = Some(begun?);
        self.segments.push_back(Segment { number, bytes: head.len() as u64, newest_ms: 0 });
        self.tell_end();
        Ok(())
    }
}

/// Reads a log from its beginning.
#[derive(Default)]
struct Scan {
    index: Index,
    epochs: Vec<Epoch>,
    /// By [`waiting_name`].
    unacknowledged: HashMap<Box<str>, RecoveredUnacknowledged>,
    dropped: Dropped,
    seen_since_ms: u64,
    /// Read so far.
    records: u64,
}

impl Scan {
    fn segment(&mut self, number: u32, bytes: &[u8], is_last: bool) -> Segment {
        let (mut end, mut newest_ms) = (0, 0);
        self.dropped.missing_segments += u64::from(bytes.is_empty() && !is_last);
        for piece in record::pieces(bytes) {
            match piece {
                Piece::Record { at, len, record } => {
                    self.records += 1;
                    newest_ms = newest_ms.max(self.record(record, Place { segment: number, offset: at as u32 }));
                    end = at + len;
                }
                Piece::Damage { at, len } if is_last && at + len == bytes.len() => self.dropped.torn_bytes += len as u64,
                Piece::Damage { at, len } => {
                    self.dropped.damaged_bytes += len as u64;
                    self.dropped.damaged_segments += 1;
                    end = at + len;
                }
            }
        }
        Segment { number, bytes: end as u64, newest_ms }
    }

    /// Takes a record in, and tells how new it is.
    fn record(&mut self, record: Record<'_>, place: Place) -> u64 {
        match record {
            Record::Epoch(epoch) => know(&mut self.epochs, epoch),
            Record::Event(event) => {
                self.index.note(&event, place, self.seen_since_ms);
                return event.ts_ms;
            }
            Record::Forget { room } => self.index.forget(room),
            Record::Unacknowledged(waiting) => {
                let name = waiting_name(waiting.room, waiting.event_id);
                self.index.waits(name.clone(), place);
                self.unacknowledged.insert(name, recovered(&waiting));
            }
            Record::Settled { room, event_id } => {
                self.index.settled(room, event_id);
                self.unacknowledged.remove(&waiting_name(room, event_id));
            }
            Record::Head(head) => self.index.note_head(&head, place.segment),
        }
        0
    }
}

fn recovered(waiting: &UnacknowledgedRecord<'_>) -> RecoveredUnacknowledged {
    RecoveredUnacknowledged {
        room: waiting.room.into(),
        event_id: waiting.event_id.into(),
        lane: waiting.lane,
        epoch: waiting.epoch,
        seq: waiting.seq,
        ts_ms: waiting.ts_ms,
        until_ms: waiting.until_ms,
        is_escalated: waiting.is_escalated,
        message: waiting.message.into(),
    }
}

fn know(epochs: &mut Vec<Epoch>, epoch: Epoch) {
    if epochs.last().is_none_or(|last| last.number < epoch.number) {
        if epochs.len() == EPOCHS_MAX {
            epochs.remove(0);
        }
        epochs.push(epoch);
    }
}

/// Reads events by their place, while the log is written. A segment that was dropped meanwhile reads as nothing.
pub struct Reader {
    dir: PathBuf,
    index: Arc<Mutex<Index>>,
    open: VecDeque<(u32, File)>,
    buffer: Vec<u8>,
}

impl Reader {
    /// The oldest of the events asked for, as members get them: up to `events_max`, about `bytes_max` of bytes, and at least one if there is
    /// one. Damaged ones are left out.
    pub fn read(&mut self, fetch: &Fetch, events_max: usize, bytes_max: usize) -> Vec<Arc<Frame>> {
        let (mut frames, mut bytes, mut from) = (Vec::new(), 0, fetch.from);
        // Until there is one, or nothing is left: all of the first ones may be damaged.
        while frames.is_empty() {
            let places = self.index.lock().places(&fetch.room, fetch.lane, from, fetch.to, events_max);
            let Some((last, _)) = places.last().copied() else { break };
            from = last + 1;
            for (seq, place) in places {
                let Some(frame) = self.frame(fetch, seq, place) else { continue };
                bytes += frame.as_text().len();
                if bytes > bytes_max && !frames.is_empty() {
                    break;
                }
                frames.push(Arc::new(frame));
            }
        }
        frames
    }

    fn frame(&mut self, fetch: &Fetch, seq: u64, place: Place) -> Option<Frame> {
        let bytes = match self.record_bytes(place) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None, // it was let go a moment ago
            Err(error) => {
                tracing::warn!(event = "journal_read_failed", segment = place.segment, offset = place.offset, %error, "an event of {} cannot be read", fetch.room);
                return None;
            }
        };
        match record::read(bytes) {
            Found::Record(Record::Event(event), _) if event.seq == seq && event.lane == fetch.lane && *event.room == *fetch.room => {
                Some(frame(fetch.id, fetch.lane, seq, event.message))
            }
            _ => {
                tracing::warn!(
                    event = "journal_damaged",
                    segment = place.segment,
                    offset = place.offset,
                    "an event of {} is damaged",
                    fetch.room
                );
                None
            }
        }
    }

    /// The record at that place, and perhaps a little of what follows.
    fn record_bytes(&mut self, place: Place) -> io::Result<&[u8]> {
        let at = self.position(place.segment)?;
        let file = &self.open[at].1;
        let mut len = read_at(file, &mut self.buffer[..READ_BYTES], place.offset)?;
        if let Some(wanted) = record_len(&self.buffer[..len]).filter(|wanted| *wanted > len) {
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
            len = read_at(file, &mut self.buffer[..wanted], place.offset)?;
        }
        Ok(&self.buffer[..len])
    }

    /// Where the segment is among the open ones.
    fn position(&mut self, segment: u32) -> io::Result<usize> {
        if let Some(at) = self.open.iter().position(|(number, _)| *number == segment) {
            return Ok(at);
        }
        let file = File::open(segment_path(&self.dir, segment))?;
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((segment, file));
        Ok(self.open.len() - 1)
    }
}

/// How long the record that begins so says it is; `None` if it is none that may be read.
fn record_len(bytes: &[u8]) -> Option<usize> {
    const LONGEST: usize = 4 * 1024 * 1024;
    let len = bytes.get(4..8).and_then(|len| <[u8; 4]>::try_from(len).ok())?;
    Some(HEADER_BYTES + u32::from_le_bytes(len) as usize).filter(|len| *len <= LONGEST)
}

fn read_at(file: &File, buffer: &mut [u8], offset: u32) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read_at(&mut buffer[len..], u64::from(offset) + len as u64) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn frame(room: RoomId, lane: Lane, seq: u64, message: &[u8]) -> Frame {
    Frame::text(Tag { room, lane, kind: Kind::Stream { seq }, accepted: Mono::NEVER, taken: Mono::NEVER, released: Mono::NEVER }, message)
}

/// The file without what follows `bytes`, at its end. What was read of it is synced: a process that was killed may have written it and no
/// more, and a duplicate of it counts as durable from now on.
fn cut(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().append(true).open(path)?;
    if file.metadata()?.len() > bytes {
        file.set_len(bytes)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// The segments in that directory, oldest first, and how many are missing between them.
pub fn segments(dir: &Path) -> io::Result<(Vec<PathBuf>, u64)> {
    let numbers = segment_numbers(dir)?;
    let missing = missing_between(&numbers);
    Ok((numbers.into_iter().map(|number| segment_path(dir, number)).collect(), missing))
}

fn missing_between(numbers: &[u32]) -> u64 {
    numbers.windows(2).map(|pair| u64::from(pair[1] - pair[0] - 1)).sum()
}

pub(super) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.log"))
}

pub(super) fn segment_numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u32> = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|stem| stem.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
