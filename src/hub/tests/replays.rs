//! Past events, and states, that come in parts, by example; `tests/crash` has them by the thousand.

use super::*;
use crate::hub::journal::{Epoch, Fetched, Recovered, RecoveredRoom, RecoveredStream, Report, Trimmed};

/// A hub that knows of nine events, which the journal has.
fn bench() -> Bench {
    let mut bench = Bench::new(options());
    let epoch = |number: u32| Epoch { number, name: format!("e{number}").into(), by_eviction: false };
    let stream = RecoveredStream { head: 9, oldest: 1, starts: vec![(1, 1)], history: 0 };
    let room = RecoveredRoom { name: "r".into(), lanes: [Some(stream), None, None], ..RecoveredRoom::default() };
    let recovered = Recovered { epochs: vec![epoch(1)], rooms: vec![room], ..Recovered::default() };
    bench.hub = Hub::with_journal(options(), bench.now, recovered, epoch(2));
    bench
}

impl Bench {
    /// What the journal is asked for next.
    fn fetch(&mut self) -> Fetch {
        self.hub.tick(self.now, &mut self.out);
        assert_eq!(self.out.fetches.len(), 1);
        self.out.fetches.remove(0)
    }

    /// The journal gives these events; what the member gets of that.
    fn fetched(&mut self, fetch: Fetch, seqs: &[u64]) -> Replayed {
        let frame = |seq: &u64| {
            let kind = crate::wire::frame::Kind::Stream { seq: *seq };
            let tag =
                crate::wire::frame::Tag { room: fetch.id, lane: Lane::Alert, kind, accepted: Mono(0), taken: Mono(0), released: Mono(0) };
            Arc::new(Frame::text(tag, format!(r#"{{"type":"T","seq":{seq}}}"#).as_bytes()))
        };
        let frames = seqs.iter().map(frame).collect();
        self.hub.apply(self.now, Input::Journal(Report::Fetched(Box::new(Fetched { fetch, frames }))), &mut self.out);
        let Some((0, Output::Replayed(replayed))) = self.out.outputs.pop() else { panic!("a part is sent on") };
        *replayed
    }
}

/// DLV-14: a replay whose reactor has no room is tried again soon; one that waits for the journal is not, for that will speak.
#[test]
fn a_replay_waits_for_a_reactor_that_is_full() {
    let mut bench = bench();
    bench.join(conn(0, 1), Some(since("e1", 2)), None);
    bench.out.free[0] = 0;
    let next = |bench: &mut Bench| bench.hub.tick(bench.now, &mut bench.out);
    for _ in 0..3 {
        let due = next(&mut bench);
        assert!(due > bench.now.mono && due.since(bench.now.mono) < Duration::from_millis(100), "{due:?}");
        assert!(bench.out.fetches.is_empty());
    }
    bench.out.free[0] = usize::MAX;
    assert_eq!((next(&mut bench), bench.out.fetches.len()), (Mono::NEVER, 1));
}

/// DLV-14: the next part is read when the last one is taken; a hole is told, and counted; a replay counts until it ends.
#[test]
fn a_replay_comes_in_parts_and_tells_of_holes() {
    let mut bench = bench();
    let frames = bench.join(conn(0, 1), Some(since("e1", 2)), None);
    assert_eq!(types(&frames), ["subscribed"], "the rest is with the journal");
    assert_eq!(bench.hub.stats().replays, 1);
    let fetch = bench.fetch();
    assert_eq!((&*fetch.room, fetch.lane, fetch.from, fetch.to), ("r", Lane::Alert, 3, 9));
    let part = bench.fetched(fetch, &[3, 4]);
    assert_eq!((part.frames.len(), part.floor, part.is_done), (2, None, false));
    bench.hub.tick(bench.now, &mut bench.out);
    assert!(bench.out.fetches.is_empty(), "nobody has taken it");
    bench.hub.apply(bench.now, Input::ReplayTaken { id: part.id, wants_more: true }, &mut bench.out);
    let fetch = bench.fetch();
    assert_eq!((fetch.from, fetch.to), (5, 9));
    let part = bench.fetched(fetch, &[7, 8, 9]);
    let texts = texts(&part.frames);
    assert_eq!(types(&texts), ["gap", "T", "T", "T", "caught_up"]);
    assert_eq!((texts[0]["from"].as_u64(), texts[0]["to"].as_u64()), (Some(5), Some(6)));
    assert_eq!((part.floor, part.is_done), (Some((Lane::Alert, 10)), true));
    assert_eq!((bench.hub.stats().replays, bench.hub.stats().gaps), (0, 1));
}

/// What the journal has let go is a gap, and what comes live goes on behind it.
#[test]
fn a_replay_that_finds_nothing_ends_with_a_gap() {
    let mut bench = bench();
    bench.join(conn(0, 1), Some(since("e1", 2)), None);
    let fetch = bench.fetch();
    bench.publish(alert("10"));
    bench.give_numbers();
    let part = bench.fetched(fetch, &[]);
    let texts = texts(&part.frames);
    assert_eq!((types(&texts), texts[1]["seq"].as_u64()), (vec!["gap", "T", "caught_up"], Some(10)));
    assert_eq!((texts[0]["from"].as_u64(), texts[0]["to"].as_u64(), part.floor), (Some(3), Some(9), Some((Lane::Alert, 11))));
}

/// DLV-14: what retention has let go is told at once, and not asked for.
#[test]
fn what_was_trimmed_is_a_gap_at_the_join() {
    let mut bench = bench();
    let trimmed = |oldest| Input::Journal(Report::Trimmed(vec![Trimmed { room: "r".into(), lane: Lane::Alert, oldest }]));
    bench.hub.apply(bench.now, trimmed(6), &mut bench.out);
    bench.hub.apply(bench.now, trimmed(4), &mut bench.out);
    let frames = bench.join(conn(0, 1), Some(since("e1", 2)), None);
    assert_eq!((types(&frames), frames[0]["recovered"].as_bool()), (vec!["subscribed", "gap"], Some(false)));
    assert_eq!((frames[1]["from"].as_u64(), frames[1]["to"].as_u64()), (Some(3), Some(5)));
    assert_eq!(bench.fetch().from, 6);
}

/// Who is gone, or is no member any more, costs the disk nothing.
#[test]
fn a_replay_that_nobody_wants_ends() {
    let mut bench = bench();
    bench.join(conn(0, 1), Some(since("e1", 2)), None);
    let fetch = bench.fetch();
    let part = bench.fetched(fetch, &[3]);
    bench.hub.apply(bench.now, Input::ReplayTaken { id: part.id, wants_more: false }, &mut bench.out);
    bench.hub.tick(bench.now, &mut bench.out);
    assert_eq!((bench.out.fetches.len(), bench.hub.stats().replays), (0, 0));
}

/// A hub without a journal that keeps some events and many states, and gives a few bytes of them at a time.
fn small_parts(at_once: usize) -> Bench {
    Bench::new(HubOptions {
        history_events: 20,
        keys_per_room_max: 100,
        update_window: Duration::ZERO,
        replay_at_once_bytes: at_once,
        replay_part_bytes: 200,
        ..options()
    })
}

impl Bench {
    /// The part of a replay that is made next.
    fn part(&mut self) -> Replayed {
        self.hub.tick(self.now, &mut self.out);
        let replayed = self.out.outputs.pop().map(|(_, output)| output);
        let Some(Output::Replayed(replayed)) = replayed else { panic!("a part is made: {replayed:?}") };
        *replayed
    }

    fn take(&mut self, part: &Replayed) {
        self.hub.apply(self.now, Input::ReplayTaken { id: part.id, wants_more: true }, &mut self.out);
    }

    /// All parts to the end, and how many there were.
    fn parts(&mut self) -> (Vec<Value>, usize) {
        let (mut frames, mut count) = (Vec::new(), 0);
        loop {
            let part = self.part();
            let bytes: usize = part.frames.iter().map(|frame| frame.as_text().len()).sum();
            let last = part.frames.last().map_or(0, |frame| frame.as_text().len());
            assert!(part.is_done || bytes - last < 200, "a part has its bound: {bytes}");
            frames.extend(texts(&part.frames));
            count += 1;
            if part.is_done {
                return (frames, count);
            }
            self.take(&part);
        }
    }
}

/// DLV-14, DLV-20: what is in memory and too much at once comes in parts, each once, and the seam to what is live has neither hole nor double.
#[test]
fn what_memory_has_comes_in_parts_if_it_is_much() {
    let mut bench = small_parts(300);
    for n in 1..=12 {
        bench.accept(alert(&n.to_string())).unwrap();
    }
    assert_eq!(types(&bench.join(conn(0, 1), Some(since("elsewhere", 0)), None)), ["subscribed", "gap"], "none of it fits");
    let part = bench.part();
    assert_eq!((datas(&texts(&part.frames)), part.floor, part.is_done), (vec![1, 2, 3], None, false));
    bench.hub.tick(bench.now, &mut bench.out);
    assert!(bench.out.outputs.is_empty(), "nobody has taken it");
    bench.accept(alert("13")).unwrap();
    assert_eq!(datas(&bench.live(0)), [13], "for those who are live");
    bench.take(&part);
    let (frames, count) = bench.parts();
    assert_eq!((datas(&frames), types(&frames).last()), ((4..=13).collect(), Some(&"caught_up")));
    assert!(count > 2 && bench.hub.stats().replays == 0);
    assert_eq!(types(&bench.join(conn(0, 2), None, Some(2))), ["subscribed", "T", "T", "caught_up"], "little comes at once");
}

/// DLV-13: what memory lets go before its turn is a gap, without a journal to ask.
#[test]
fn what_memory_has_let_go_meanwhile_is_a_gap() {
    let mut bench = small_parts(0);
    (1..=5).for_each(|n| drop(bench.accept(alert(&n.to_string()))));
    bench.join(conn(0, 1), None, Some(9));
    let part = bench.part();
    assert_eq!(datas(&texts(&part.frames)), [1, 2, 3]);
    (6..=30).for_each(|n| drop(bench.accept(alert(&n.to_string()))));
    bench.live(0);
    bench.take(&part);
    let (frames, _) = bench.parts();
    assert_eq!((frames[0]["from"].as_u64(), frames[0]["to"].as_u64(), datas(&frames)), (Some(4), Some(10), (11..=30).collect()));
    assert!(bench.out.fetches.is_empty());
}

/// DLV-05, DLV-07: states in parts: each key once, but for those that went out meanwhile, which the member has; deletions are told to one who comes back.
#[test]
fn states_of_a_large_room_come_in_parts() {
    let keyed = |key: &str, data: &str| Event { key: key.into(), ..state(Lane::Update, data) };
    let mut bench = small_parts(300);
    for n in 0..20 {
        bench.accept(keyed(&format!("k{n:02}"), &n.to_string())).unwrap();
    }
    bench.accept(keyed("k05", "null")).unwrap();
    bench.live(0);
    for (slot, since) in [(1, None), (2, Some(since("elsewhere", 0)))] {
        let is_new = since.is_none();
        bench.join(conn(0, slot), since, None);
        let part = bench.part();
        bench.accept(keyed("k19", "99")).unwrap();
        bench.accept(keyed("new", "100")).unwrap();
        assert!(bench.live(0).len() >= 2 || !is_new);
        bench.take(&part);
        let (rest, count) = bench.parts();
        let frames = [texts(&part.frames), rest].concat();
        let keys: Vec<&str> = frames.iter().filter_map(|frame| frame["key"].as_str()).collect();
        let expected: Vec<String> = (0..20).filter(|n| (*n != 5 || !is_new) && *n != 19).map(|n| format!("k{n:02}")).collect();
        if is_new {
            assert_eq!(keys, expected, "k19 came as it happened");
        } else {
            assert_eq!(keys, [expected, vec!["k19".to_owned(), "new".to_owned()]].concat(), "nothing has changed since that join");
            assert!(frames.iter().any(|frame| frame["key"] == "k05" && frame["deleted"] == true));
        }
        assert!(count > 3 && types(&frames).last() == Some(&"caught_up"));
    }
}

/// Who joins anew begins anew, and who leaves costs nothing more.
#[test]
fn a_replay_from_memory_ends_with_its_membership() {
    let mut bench = small_parts(0);
    (1..=9).for_each(|n| drop(bench.accept(alert(&n.to_string()))));
    bench.join(conn(0, 1), None, Some(9));
    let part = bench.part();
    bench.join(conn(0, 1), None, Some(2));
    bench.take(&part);
    assert_eq!(datas(&bench.parts().0), [8, 9], "the former one is no more");
    bench.join(conn(0, 1), None, Some(9));
    let part = bench.part();
    bench.hub.apply(bench.now, Input::ReplayTaken { id: part.id, wants_more: false }, &mut bench.out);
    bench.hub.tick(bench.now, &mut bench.out);
    assert_eq!((bench.out.outputs.len(), bench.hub.stats().replays), (0, 0));
}

/// A connection has one part under way: also where the room has gone with its last member, it hears of the end, or its other rooms would wait for ever.
#[test]
fn a_replay_of_a_room_that_is_gone_is_told_to_have_ended() {
    let mut bench = Bench::new(HubOptions { rooms_max: 1, history_events: 20, replay_at_once_bytes: 0, ..options() });
    (1..=9).for_each(|n| drop(bench.accept(alert(&n.to_string()))));
    bench.join(conn(0, 1), None, Some(9));
    let room = bench.room();
    bench.hub.apply(bench.now, Input::Leave { room, conn: conn(0, 1), delta: false }, &mut bench.out);
    bench.publish(Event { room: "other".into(), ..alert("1") });
    bench.give_numbers();
    bench.hub.tick(bench.now, &mut bench.out);
    let ended = bench
        .out
        .outputs
        .iter()
        .filter(|(_, output)| matches!(output, Output::Replayed(replayed) if replayed.is_done && replayed.frames.is_empty()));
    assert_eq!((ended.count(), bench.hub.stats().replays), (1, 0));
}
