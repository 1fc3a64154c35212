//! The log and the tables on a real disk: what goes in comes out, after a restart too; what is cut off or damaged is told, and costs
//! nothing else.

mod acks;
mod damage;
mod retention;
mod threads;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::log::{Log, Opened};
use super::tables::Tables;
use crate::base::ids::RoomId;
use crate::base::lane::Lane;
use crate::base::time::Mono;
use crate::hub::journal::{Entry, Epoch, EventEntry, Fact, Fetch, KeptState, Recovered, RecoveredRoom, RecoveredStream};
use crate::hub::ports::ReplayId;
use crate::wire::frame::{Frame, Kind, Tag};

/// A directory that is there as long as the value.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tickerd-journal-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// A log with segments of 4 KiB.
    fn open(&self) -> Opened {
        Log::open_with(&self.0, 0, 4096).unwrap()
    }

    /// The segments, in order.
    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn message(room: &str, seq: u64) -> String {
    format!(r#"{{"type":"T","room":"{room}","seq":{seq},"data":"{}"}}"#, "x".repeat((seq % 40) as usize))
}

fn event_in(epoch: u32, room: &str, lane: Lane, seq: u64) -> Entry {
    Entry::Event(EventEntry { lane, ..event_entry(room, epoch, seq, &message(room, seq)) })
}

pub(super) fn event_entry(room: &str, epoch: u32, seq: u64, message: &str) -> EventEntry {
    let lane = Lane::Alert;
    let tag = Tag { room: RoomId::NONE, lane, kind: Kind::Stream { seq }, accepted: Mono(0), taken: Mono(0), released: Mono(0) };
    EventEntry {
        room: room.into(),
        owner: room.ends_with('1').then(|| "u1".into()),
        born: 0,
        epoch,
        first: seq,
        lane,
        history: 3,
        seq,
        ts_ms: 1_000 * seq,
        event_id: Some(format!("{room}-{seq}").into()),
        ack_until_ms: None,
        frame: Arc::new(Frame::text(tag, message.as_bytes())),
    }
}

fn event(room: &str, seq: u64) -> Entry {
    event_in(1, room, Lane::Alert, seq)
}

fn epoch(number: u32) -> Epoch {
    Epoch { number, name: format!("e{number}").into(), by_eviction: number.is_multiple_of(3) }
}

fn stream<'a>(recovered: &'a Recovered, room: &str) -> &'a RecoveredStream {
    let room: &RecoveredRoom = recovered.rooms.iter().find(|known| *known.name == *room).unwrap();
    room.lanes[Lane::Alert.index()].as_ref().unwrap()
}

/// The texts of the events of a room that the log gives, by number.
fn read(log: &Log, room: &str, from: u64, to: u64) -> BTreeMap<u64, String> {
    let (mut reader, mut texts, mut from) = (log.reader(), BTreeMap::new(), from);
    loop {
        let replay = ReplayId { slot: 0, generation: 0 };
        let fetch = Fetch { replay, id: RoomId { slot: 1, generation: 2 }, room: room.into(), lane: Lane::Alert, from, to };
        let frames = reader.read(&fetch, 7, 300);
        if frames.is_empty() {
            return texts;
        }
        for frame in frames {
            let Kind::Stream { seq } = frame.tag.kind else { panic!("{:?}", frame.tag) };
            assert!(seq >= from && seq <= to && frame.tag.room == fetch.id && frame.tag.lane == fetch.lane);
            texts.insert(seq, String::from_utf8(frame.as_text().to_vec()).unwrap());
            from = seq + 1;
        }
    }
}

fn expected(room: &str, seqs: impl Iterator<Item = u64>) -> BTreeMap<u64, String> {
    seqs.map(|seq| (seq, message(room, seq))).collect()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[Entry::Epoch(epoch(1)), event("a:1", 1), event("a:1", 2), event("b", 1)]).unwrap();
    log.append(&[event_in(1, "b", Lane::Update, 1)]).unwrap();
    drop(log);
    let mut log = scratch.open().log;
    log.append(&[Entry::Epoch(epoch(2)), event_in(2, "a:1", Lane::Alert, 3)]).unwrap();
    drop(log);
    let Opened { log, recovered, dropped } = scratch.open();
    assert!(dropped.is_nothing(), "{dropped}");
    assert_eq!(recovered.epochs, [epoch(1), epoch(2)]);
    assert_eq!(stream(&recovered, "a:1"), &RecoveredStream { head: 3, oldest: 1, starts: vec![(1, 1), (2, 3)], history: 3 });
    let room = |name: &str| recovered.rooms.iter().find(|room| *room.name == *name).unwrap();
    assert_eq!((room("a:1").owner.as_deref(), room("b").owner.as_deref()), (Some("u1"), None));
    assert_eq!(room("b").lanes.each_ref().map(Option::is_some), [true, true, false]);
    let seen: Vec<_> = room("a:1").seen.iter().map(|seen| (&*seen.event_id, seen.seq, seen.ts_ms)).collect();
    assert_eq!(seen, [("a:1-1", 1, 1_000), ("a:1-2", 2, 2_000), ("a:1-3", 3, 3_000)]);
    assert_eq!(read(&log, "a:1", 0, u64::MAX), expected("a:1", 1..=3));
    assert_eq!(read(&log, "a:1", 2, 2), expected("a:1", 2..=2));
    assert!(read(&log, "nobody", 0, u64::MAX).is_empty());
}

/// DLV-14: a part of a replay has at most so many events and about so many bytes, and at least one event.
#[test]
fn a_part_is_as_long_as_it_may_be() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[event("a", 1), event("a", 2), event("a", 3)]).unwrap();
    let (replay, two) = (ReplayId { slot: 0, generation: 0 }, message("a", 1).len() + message("a", 2).len());
    let fetch = Fetch { replay, id: RoomId { slot: 1, generation: 2 }, room: "a".into(), lane: Lane::Alert, from: 1, to: 3 };
    for (events_max, bytes_max, given) in [(9, 1 << 20, 3), (2, 1 << 20, 2), (9, two, 2), (9, two - 1, 1), (9, 0, 1)] {
        assert_eq!(log.reader().read(&fetch, events_max, bytes_max).len(), given, "{events_max} events, {bytes_max} bytes");
    }
}

#[test]
fn only_young_event_ids_are_remembered() {
    let scratch = Scratch::new();
    scratch.open().log.append(&[event("a", 1), event("a", 2)]).unwrap();
    let recovered = Log::open(&scratch.0, 2_000).unwrap().recovered;
    assert_eq!(recovered.rooms[0].seen.iter().map(|seen| seen.seq).collect::<Vec<_>>(), [2]);
}

/// A room that was evicted, and made again, is another one: nothing of the former is found.
#[test]
fn a_forgotten_room_has_no_past() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[event("a", 1), event("a", 2), Entry::Forget { room: "a".into() }]).unwrap();
    assert!(read(&log, "a", 0, 9).is_empty());
    assert!(scratch.open().recovered.rooms.is_empty());
    log.append(&[event_in(2, "a", Lane::Alert, 1)]).unwrap();
    let Opened { log, recovered, .. } = scratch.open();
    assert_eq!(stream(&recovered, "a").starts, [(2, 1)]);
    assert_eq!(read(&log, "a", 0, 9), expected("a", 1..=1));
}

/// The same if nothing tells that the former one was evicted: the first event of the room that was born later ends it, and the next ones are beside that.
#[test]
fn a_room_born_again_has_its_own_events_alone() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    let born = |born, seq| Entry::Event(EventEntry { born, ..event_entry("a", born, seq, &message("a", seq)) });
    log.append(&[born(1, 1), born(1, 2), born(3, 1), born(3, 2), born(3, 3)]).unwrap();
    let opened = scratch.open();
    assert_eq!(stream(&opened.recovered, "a").starts, [(3, 1)]);
    for log in [log, opened.log] {
        assert_eq!(read(&log, "a", 0, 9), expected("a", 1..=3));
    }
}

/// An event that the journal never got is a hole, and those around it are found.
#[test]
fn a_hole_is_left_out() {
    let scratch = Scratch::new();
    scratch.open().log.append(&[event("a", 1), event("a", 2), event("a", 5)]).unwrap();
    let Opened { log, recovered, .. } = scratch.open();
    assert_eq!((stream(&recovered, "a").head, stream(&recovered, "a").oldest), (5, 1));
    assert_eq!(read(&log, "a", 1, 9), expected("a", [1, 2, 5].into_iter()));
}

/// After an error nobody knows what is on the disk, and the batch is given again.
#[test]
fn a_batch_that_is_there_twice_counts_once() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    let batch = [event("a", 1), event("a", 2)];
    log.append(&batch).unwrap();
    log.append(&batch).unwrap();
    log.append(&[event("a", 3)]).unwrap();
    let Opened { log, recovered, .. } = scratch.open();
    assert_eq!((stream(&recovered, "a").head, stream(&recovered, "a").oldest), (3, 1));
    assert_eq!(read(&log, "a", 0, 9), expected("a", 1..=3));
}

/// KAL-02, ERR-05: the newest value of each key, and who owns what, whatever the order of writing.
#[test]
fn tables_keep_the_newest_of_each() {
    let scratch = Scratch::new();
    let path = scratch.0.join("state.db");
    let state = |key: &str, rev: u64, data: Option<&str>| {
        let state = KeptState {
            kind: "T".into(),
            key: key.into(),
            lane: Lane::Update,
            rev,
            version: (rev > 1).then_some(u64::MAX),
            ts_ms: rev,
            data: data.map(Box::from),
        };
        Fact::State { room: "a".into(), state }
    };
    let mut tables = Tables::open(&path).unwrap();
    let owner = |owner: &str| Fact::Owner { room: "b".into(), owner: owner.into(), born: 7 };
    tables.write(&[state("k", 1, Some("1")), owner("u1"), state("l", 1, Some("\"\u{1F600}\""))]).unwrap();
    tables.write(&[state("k", 2, None), owner("u2"), Fact::Owner { room: "c".into(), owner: "u".into(), born: 0 }]).unwrap();
    tables.write(&[Fact::Forget { room: "c".into() }]).unwrap();
    drop(tables);
    let mut recovered = Recovered::default();
    recovered.rooms.push(RecoveredRoom { name: "a".into(), born: 2, ..RecoveredRoom::default() });
    assert_eq!(Tables::open(&path).unwrap().read(&mut recovered).unwrap(), 0);
    let [a, b] = &recovered.rooms[..] else { panic!("{recovered:?}") };
    assert_eq!((&*a.name, a.born, &*b.name, b.born, b.owner.as_deref()), ("a", 2, "b", 7, Some("u2")));
    let mut states: Vec<_> = a.states.iter().map(|state| (&*state.key, state.rev, state.version, state.data.as_deref())).collect();
    states.sort();
    assert_eq!(states, [("k", 2, Some(u64::MAX), None), ("l", 1, None, Some("\"\u{1F600}\""))]);
}

/// A file of another program is not touched.
#[test]
fn a_foreign_file_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.0.join("state.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(&path).unwrap();
    let told = format!("{:?}", Tables::open(&path).map(drop).unwrap_err());
    assert!(told.contains("not a file of tickerd"), "{told}");
    assert!(fs::read(&path).unwrap().starts_with(&before[..16]));
}

#[derive(Clone, Debug)]
enum Step {
    Event(usize),
    Forget(usize),
    Epoch,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0usize..4).prop_map(Step::Event),
        1 => (0usize..4).prop_map(Step::Forget),
        1 => Just(Step::Epoch),
        2 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is appended, in whatever batches, over whatever restarts: the log knows what a plain map knows.
    #[test]
    fn the_log_is_a_map_that_survives(steps in prop::collection::vec((step(), any::<bool>()), 1..150)) {
        let scratch = Scratch::new();
        let (mut log, mut batch, mut model) = (scratch.open().log, Vec::new(), BTreeMap::<String, BTreeMap<u64, String>>::new());
        let (mut number, mut heads) = (1, [0u64; 4]);
        for (step, ends_batch) in steps {
            match step {
                Step::Event(at) => {
                    let room = format!("room:{at}");
                    heads[at] += 1;
                    batch.push(event_in(number, &room, Lane::Alert, heads[at]));
                    model.entry(room.clone()).or_default().insert(heads[at], message(&room, heads[at]));
                }
                Step::Forget(at) => {
                    heads[at] = 0;
                    batch.push(Entry::Forget { room: format!("room:{at}").into() });
                    model.remove(&format!("room:{at}"));
                }
                Step::Epoch => {
                    number += 1;
                    batch.push(Entry::Epoch(epoch(number)));
                }
                Step::Reopen => {
                    log.append(&batch).unwrap();
                    batch.clear();
                    drop(log);
                    let opened = scratch.open();
                    prop_assert!(opened.dropped.is_nothing());
                    let known: BTreeMap<String, u64> =
                        opened.recovered.rooms.iter().map(|room| (room.name.to_string(), room.lanes[0].as_ref().unwrap().head)).collect();
                    let expected: BTreeMap<String, u64> = model.iter().map(|(room, events)| (room.clone(), *events.keys().last().unwrap())).collect();
                    prop_assert_eq!(known, expected);
                    log = opened.log;
                }
            }
            if ends_batch {
                log.append(&batch).unwrap();
                batch.clear();
            }
        }
        log.append(&batch).unwrap();
        for at in 0..4 {
            let room = format!("room:{at}");
            prop_assert_eq!(read(&log, &room, 0, u64::MAX), model.remove(&room).unwrap_or_default());
        }
    }
}

fn bytes_of(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// Whatever its length, up to the longest that may be published with the names around it.
#[test]
fn long_events_are_there_after_a_restart() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    let texts: Vec<String> = [900, 1_100, 20_000, 1 << 20].iter().map(|len| format!(r#""{}""#, "x".repeat(*len))).collect();
    let entries = texts.iter().zip(1..).map(|(text, seq)| Entry::Event(event_entry("a", 1, seq, text)));
    log.append(&entries.collect::<Vec<_>>()).unwrap();
    for _ in 0..2 {
        assert!(read(&log, "a", 0, 9).into_values().eq(texts.iter().cloned()));
        drop(log);
        let opened = scratch.open();
        assert!(opened.dropped.is_nothing(), "{}", opened.dropped);
        log = opened.log;
    }
}

/// An owner sticks: events that name none take nothing from it.
#[test]
fn an_event_without_an_owner_leaves_the_room_to_its_owner() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    let owned = |owner: Option<&str>, seq| Entry::Event(EventEntry { owner: owner.map(Arc::from), ..event_entry("a", 1, seq, "{}") });
    log.append(&[owned(Some("u1"), 1), owned(None, 2)]).unwrap();
    assert_eq!(scratch.open().recovered.rooms[0].owner.as_deref(), Some("u1"));
}
