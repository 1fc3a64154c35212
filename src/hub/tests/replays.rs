//! Past events that come from the journal, by example; `tests/crash` has them by the thousand.

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
