//! Torn tails, flipped bits, foreign bytes.

use super::*;
use crate::journal::sqlite::set_aside;

/// A log of three segments with ten rooms' events, and what is in it.
fn filled(scratch: &Scratch) -> BTreeMap<String, BTreeMap<u64, String>> {
    let mut log = scratch.open().log;
    let mut model = BTreeMap::<String, BTreeMap<u64, String>>::new();
    log.append(&[Entry::Epoch(epoch(1))]).unwrap();
    for n in 0..90u64 {
        let (room, seq) = (format!("room:{}", n % 10), n / 10 + 1);
        log.append(&[event(&room, seq)]).unwrap();
        model.entry(room.clone()).or_default().insert(seq, message(&room, seq));
    }
    assert!(scratch.segments().len() >= 3, "{:?}", scratch.segments());
    model
}

/// Everything that is read is right, and this many events are not there.
fn missing(log: &Log, model: &BTreeMap<String, BTreeMap<u64, String>>) -> usize {
    let mut missing = 0;
    for (room, events) in model {
        let found = read(log, room, 0, u64::MAX);
        for (seq, text) in &found {
            assert_eq!(events.get(seq), Some(text), "{room} {seq}");
        }
        missing += events.len() - found.len();
    }
    missing
}

/// A segment that somebody removed from between others, or cut to nothing, is told of. The oldest may go: that is what retention does.
#[test]
fn segments_that_are_gone_are_told() {
    for is_removed in [true, false] {
        let scratch = Scratch::new();
        let model = filled(&scratch);
        let second = scratch.segments().swap_remove(1);
        if is_removed {
            fs::remove_file(&second).unwrap();
        } else {
            fs::write(&second, b"").unwrap();
        }
        let Opened { log, dropped, .. } = scratch.open();
        assert_eq!((dropped.missing_segments, dropped.damaged_bytes, dropped.torn_bytes), (1, 0, 0));
        assert!(dropped.to_string().ends_with(", 1 segments that are gone"), "{dropped}");
        assert!(missing(&log, &model) > 0);
    }
    let scratch = Scratch::new();
    filled(&scratch);
    fs::remove_file(&scratch.segments()[0]).unwrap();
    assert!(scratch.open().dropped.is_nothing());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A write that was cut off costs what it cut, is told, and the log goes on behind the last whole record.
    #[test]
    fn a_torn_tail_is_cut_off(cut in 1usize..1_500) {
        let scratch = Scratch::new();
        let model = filled(&scratch);
        let last = scratch.segments().pop().unwrap();
        let bytes = bytes_of(&last);
        let kept = bytes.len().saturating_sub(cut);
        fs::write(&last, &bytes[..kept]).unwrap();
        let Opened { mut log, dropped, .. } = scratch.open();
        let gone = missing(&log, &model);
        prop_assert!(gone <= cut / 60 + 1, "{gone} events are missing for {cut} bytes");
        prop_assert_eq!(dropped.damaged_bytes, 0);
        prop_assert!(dropped.torn_bytes < 300, "{dropped}");
        prop_assert_eq!(bytes_of(&last).len() as u64, kept as u64 - dropped.torn_bytes);
        log.append(&[event("new", 1)]).unwrap();
        drop(log);
        let Opened { log, dropped, .. } = scratch.open();
        prop_assert!(dropped.is_nothing(), "{dropped}");
        prop_assert_eq!((read(&log, "new", 1, 1).len(), missing(&log, &model)), (1, gone));
    }

    /// A flipped bit anywhere costs the one record that it hits, and is told. Nothing wrong is ever read.
    #[test]
    fn a_flipped_bit_costs_one_record(segment in 0usize..3, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let scratch = Scratch::new();
        let model = filled(&scratch);
        let path = scratch.segments()[segment].clone();
        let mut bytes = bytes_of(&path);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let Opened { log, recovered, dropped } = scratch.open();
        prop_assert!(!dropped.is_nothing());
        let gone = missing(&log, &model);
        prop_assert!(gone <= 1, "{gone} events are missing");
        for (room, events) in &model {
            let head = stream(&recovered, room).head;
            prop_assert!(head == events.len() as u64 || (gone == 1 && head + 1 == events.len() as u64), "{room}: {head}");
        }
    }

    /// Foreign bytes between and after records are passed over, also such as begin like a record.
    #[test]
    fn foreign_bytes_are_passed_over(garbage in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff), Just(b't'), Just(b'k'), Just(0xfe)], 1..60)) {
        let scratch = Scratch::new();
        let model = filled(&scratch);
        let path = scratch.segments()[0].clone();
        let bytes = bytes_of(&path);
        fs::write(&path, [&garbage[..], &bytes, &garbage].concat()).unwrap();
        let Opened { log, dropped, .. } = scratch.open();
        prop_assert_eq!(missing(&log, &model), 0);
        prop_assert_eq!(dropped.damaged_bytes, 2 * garbage.len() as u64);
    }
}

/// A published text that looks like a record is none: it is UTF-8, which the magic is not.
#[test]
fn no_text_reads_as_a_record() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[event("a", 1)]).unwrap();
    let record = bytes_of(&scratch.segments()[0]);
    assert!(std::str::from_utf8(&record[..4]).is_err());
}

/// A file of another program is set aside as it is, and the log goes on beside it.
#[test]
fn a_last_segment_without_any_record_is_set_aside() {
    let scratch = Scratch::new();
    let path = scratch.0.join("0000000007.log");
    fs::write(&path, [b'x'; 5_000]).unwrap();
    let Opened { mut log, dropped, .. } = scratch.open();
    assert_eq!(dropped.torn_bytes, 5_000);
    log.append(&[event("a", 1)]).unwrap();
    assert_eq!(bytes_of(&path.with_extension("log.damaged")), [b'x'; 5_000]);
    let Opened { log, dropped, .. } = scratch.open();
    assert_eq!((read(&log, "a", 0, 9).len(), dropped.is_nothing()), (1, true));
}

/// A segment that is removed while it is written: the log goes on in another.
#[test]
fn a_removed_segment_is_noticed() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    log.append(&[event("a", 1)]).unwrap();
    assert!(log.is_there());
    fs::remove_file(&scratch.segments()[0]).unwrap();
    assert!(!log.is_there());
    log.begin_again();
    log.append(&[event("a", 2)]).unwrap();
    assert!(log.is_there());
    assert_eq!(read(&scratch.open().log, "a", 0, 9), expected("a", 2..=2));
}

/// A segment that vanishes under a reader is a hole, not an error.
#[test]
fn a_segment_that_is_gone_reads_as_nothing() {
    let scratch = Scratch::new();
    let model = filled(&scratch);
    let log = scratch.open().log;
    fs::remove_file(&scratch.segments()[1]).unwrap();
    assert!(missing(&log, &model) > 10);
    let Opened { log, dropped, .. } = scratch.open();
    assert!(missing(&log, &model) > 10 && dropped.missing_segments == 1);
}

/// Whole records that are not where they were written: an event is read only where it is itself.
#[test]
fn an_event_that_stands_in_anothers_place_is_not_taken_for_it() {
    let scratch = Scratch::new();
    let mut log = scratch.open().log;
    let written = |name: &str, lane, seq| Entry::Event(EventEntry { lane, ..event_entry(name, 1, seq, r#"{"data":1}"#) });
    log.append(&[event("first", 1)]).unwrap();
    for others in [written("b", Lane::Alert, 1), written("a", Lane::Update, 1), written("a", Lane::Alert, 2)] {
        let before = bytes_of(&scratch.segments()[0]);
        log.append(&[written("a", Lane::Alert, 1)]).unwrap();
        let one = bytes_of(&scratch.segments()[0])[before.len()..].to_vec();
        assert_eq!(read(&log, "a", 1, 1).len(), 1);
        log.append(&[others]).unwrap();
        let other = bytes_of(&scratch.segments()[0])[before.len() + one.len()..].to_vec();
        assert_eq!(one.len(), other.len());
        fs::write(&scratch.segments()[0], [before, other, one].concat()).unwrap();
        assert!(read(&log, "a", 1, 1).is_empty());
        log.append(&[Entry::Forget { room: "a".into() }, Entry::Forget { room: "b".into() }]).unwrap();
    }
}

/// Damaged tables: a row whose checksum does not fit is left out, and a file that is none is known as such.
#[test]
fn a_damaged_row_is_left_out() {
    let scratch = Scratch::new();
    let path = scratch.0.join("state.db");
    let owner = |room: &str| Fact::Owner { room: room.into(), owner: "u1".into(), born: 0 };
    Tables::open(&path).unwrap().write(&[owner("a"), owner("b")]).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE owners SET owner = 'thief' WHERE room = 'a'", []).unwrap();
    let mut recovered = Recovered::default();
    assert_eq!(Tables::open(&path).unwrap().read(&mut recovered).unwrap(), 1);
    assert_eq!(recovered.rooms.iter().map(|room| &*room.name).collect::<Vec<_>>(), ["b"]);
    let state = |key: &str| {
        let (kind, data) = ("T".into(), Some("1".into()));
        Fact::State {
            room: "a".into(),
            state: KeptState { kind, key: key.into(), lane: Lane::Update, rev: 1, version: None, ts_ms: 1, data },
        }
    };
    Tables::open(&path).unwrap().write(&[state("k"), state("l")]).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE states SET data = '2' WHERE key = 'k'", []).unwrap();
    let mut recovered = Recovered::default();
    assert_eq!(Tables::open(&path).unwrap().read(&mut recovered).unwrap(), 2, "the owner and the state");
    let keys: Vec<_> = recovered.rooms.iter().flat_map(|room| &room.states).map(|state| &*state.key).collect();
    assert_eq!(keys, ["l"]);
    fs::write(&path, [7; 5000]).unwrap();
    let told = format!("{:?}", Tables::open(&path).map(drop).unwrap_err());
    assert!(told.starts_with("Damaged"), "{told}");
}

/// A damaged file that keeps its name is told, for another one cannot be begun in its place; one that is not there at all is no trouble.
#[test]
fn a_file_that_cannot_be_set_aside_is_told() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("file"), "").unwrap();
    let told = set_aside(&scratch.0.join("file/state.db")).unwrap_err();
    assert!(told.contains("cannot set the damaged file") && told.contains("file/state.db"), "{told}");
    let path = scratch.0.join("state.db");
    fs::write(&path, "7").unwrap();
    let aside = set_aside(&path).unwrap();
    assert_eq!((fs::read(&aside).unwrap(), path.exists()), (b"7".to_vec(), false));
}
