//! What a journal brings, by example; `tests/crash` has it by the thousand.

use super::*;
use crate::base::limits::{JOURNAL_ALERT_RESERVE_ENTRIES, JOURNAL_BYTES_MAX, JOURNAL_ENTRIES_MAX};
use crate::hub::HubStats;
use crate::hub::journal::{Epoch, KeptState, Recovered, RecoveredRoom, Report};

fn with_journal(recovered: Recovered) -> Bench {
    let mut bench = Bench::new(options());
    let number = recovered.epochs.last().map_or(1, |last| last.number + 1);
    let epoch = Epoch { number, name: format!("e{number}").into(), by_eviction: false };
    bench.hub = Hub::with_journal(options(), bench.now, recovered, epoch);
    bench
}

impl Bench {
    fn hear(&mut self, report: Report) {
        self.hub.apply(self.now, Input::Journal(report), &mut self.out);
    }

    /// What became of an event that is answered at once; `None` if its answer waits.
    fn outcome(&mut self, event: Event) -> Option<Result<Accepted, codes::Refusal>> {
        self.publish(event);
        self.give_numbers();
        self.answers().pop().map(|answer| answer.outcome)
    }

    fn refused(&mut self, event: Event) -> &'static str {
        self.outcome(event).expect("a refusal waits for nothing").expect_err("it is refused").error.name
    }
}

fn update(data: &str) -> Event {
    event(Mode::Stream, Lane::Update, data)
}

fn with_id(id: &str) -> Event {
    Event { event_id: Some(id.into()), ..alert("1") }
}

/// DLV-12: the push waits for nothing, the answer for the disk; states are answered at once.
#[test]
fn the_answer_waits_for_the_disk_and_the_push_does_not() {
    let mut bench = with_journal(Recovered::default());
    bench.join(conn(0, 1), None, None);
    assert!(bench.outcome(alert("1")).is_none());
    assert!(bench.outcome(alert("2")).is_none());
    assert_eq!(datas(&bench.live(0)), [1, 2]);
    assert_eq!(bench.outcome(state(Lane::Update, "3")).unwrap().unwrap().safety, Safety::Memory);
    let HubStats { journal_waiting, journal_bytes, .. } = bench.hub.stats();
    assert_eq!(journal_waiting, 2);
    bench.hear(Report::Committed { entry: 1 });
    assert_eq!(bench.hub.stats().journal_bytes * 2, journal_bytes, "both are of one size");
    let answers = bench.answers();
    let accepted = answers[0].outcome.as_ref().unwrap();
    assert_eq!((answers.len(), accepted.number, accepted.safety), (1, Number::Seq(1), Safety::Durable));
    bench.hear(Report::Committed { entry: 2 });
    assert_eq!(bench.answers()[0].outcome.as_ref().unwrap().number, Number::Seq(2));
    let stats = bench.hub.stats();
    assert_eq!((stats.journal_waiting, stats.journal_entries, stats.journal_bytes), (0, 0, 0));
}

/// DESIGN 9: a duplicate of an event that is not safe yet waits for it, and one of a safe event does not.
#[test]
fn a_duplicate_is_as_safe_as_the_first() {
    let mut bench = with_journal(Recovered::default());
    assert!(bench.outcome(with_id("a")).is_none());
    assert!(bench.outcome(with_id("a")).is_none(), "the first one is not safe");
    bench.publish_with(Safety::Memory, with_id("a"));
    assert_eq!(bench.answers()[0].outcome.as_ref().unwrap().safety, Safety::Memory, "who does not want to wait does not");
    bench.hear(Report::Committed { entry: 1 });
    let outcomes: Vec<_> = bench.answers().into_iter().map(|answer| answer.outcome.unwrap()).collect();
    assert_eq!(
        outcomes.iter().map(|accepted| (accepted.outcome, accepted.safety)).collect::<Vec<_>>(),
        [(Outcome::Accepted, Safety::Durable), (Outcome::Duplicate, Safety::Durable)]
    );
    assert_eq!(bench.outcome(with_id("a")).unwrap().unwrap().safety, Safety::Durable);
    assert_eq!(bench.out.journal.len(), 1);
}

/// DLV-16: bulk leaves places for alerts; what finds none is refused before it gets a number.
#[test]
fn a_full_journal_refuses_and_keeps_places_for_alerts() {
    let mut bench = with_journal(Recovered::default());
    for n in 0..JOURNAL_ENTRIES_MAX - JOURNAL_ALERT_RESERVE_ENTRIES {
        assert_eq!(bench.hub.is_lagging(), n * 5 > JOURNAL_ENTRIES_MAX * 4, "{n}");
        assert!(bench.outcome(update("1")).is_none());
    }
    assert_eq!(bench.refused(update("1")), "queue_full");
    for _ in 0..JOURNAL_ALERT_RESERVE_ENTRIES {
        assert!(bench.outcome(alert("1")).is_none());
    }
    assert_eq!(bench.refused(alert("1")), "queue_full");
    assert!(bench.hub.is_lagging(), "publishers are told to slow down");
    bench.hear(Report::Committed { entry: JOURNAL_ENTRIES_MAX as u64 });
    assert_eq!(bench.answers().len(), JOURNAL_ENTRIES_MAX);
    assert!(!bench.hub.is_lagging() && bench.outcome(update("1")).is_none());
    let seqs: Vec<_> = bench.out.journal.iter().filter_map(|entry| entry_seq(entry, Lane::Alert)).collect();
    assert!(seqs.iter().copied().eq(1..=JOURNAL_ALERT_RESERVE_ENTRIES as u64), "a refused event takes no number");
}

/// DLV-16: the same by bytes.
#[test]
fn a_journal_that_has_many_bytes_to_write_refuses_and_keeps_some_for_alerts() {
    const EVENT_BYTES: usize = 1 << 20;
    let mut bench = with_journal(Recovered::default());
    let data = format!("\"{}\"", "x".repeat(EVENT_BYTES));
    for (lane, most) in [(Lane::Update, JOURNAL_BYTES_MAX / 10 * 9), (Lane::Alert, JOURNAL_BYTES_MAX)] {
        let refused_at = (0..=JOURNAL_BYTES_MAX / EVENT_BYTES).find_map(|_| {
            let bytes = bench.hub.stats().journal_bytes as usize;
            assert_eq!(bench.hub.is_lagging(), bytes * 5 > JOURNAL_BYTES_MAX * 4, "{bytes}");
            let refusal = bench.outcome(event(Mode::Stream, lane, &data))?.unwrap_err();
            Some((refusal.error.name, bytes))
        });
        let (name, bytes) = refused_at.expect("it is full at last");
        assert!(name == "queue_full" && (most..most + EVENT_BYTES).contains(&bytes), "{lane}: {name} at {bytes}");
    }
}

/// DESIGN 9: a sequencer that takes its time. An event with a place in the journal does not overtake one of its lane that found none meanwhile;
/// its publisher is told that it is in memory alone.
#[test]
fn a_promised_event_does_not_overtake_one_that_fell_behind() {
    let mut bench = with_journal(Recovered::default());
    for _ in 1..JOURNAL_ENTRIES_MAX - JOURNAL_ALERT_RESERVE_ENTRIES {
        assert!(bench.outcome(update("1")).is_none());
    }
    let given = bench.out.journal.len();
    bench.publish_with(Safety::Memory, update("2"));
    bench.publish_with(Safety::Durable, update("3")); // it gets the last place
    bench.give_numbers();
    assert_eq!(bench.out.journal.len(), given);
    let safeties: Vec<_> = bench.answers().into_iter().map(|answer| answer.outcome.unwrap().safety).collect();
    assert_eq!(safeties, [Safety::Memory, Safety::Memory]);
    bench.hear(Report::Committed { entry: given as u64 });
    bench.pass(1);
    let seqs: Vec<_> = bench.out.journal.iter().filter_map(|entry| entry_seq(entry, Lane::Update)).collect();
    assert!(seqs.iter().copied().eq(1..=given as u64 + 2), "{:?}", &seqs[given..]);
}

fn entry_seq(entry: &Entry, lane: Lane) -> Option<u64> {
    match entry {
        Entry::Event(event) if event.lane == lane => Some(event.seq),
        _ => None,
    }
}

/// A disk that fails: who waits is told, new ones are refused, those content with memory go on, and follow later.
#[test]
fn a_failing_disk_holds_up_nobody_who_does_not_need_it() {
    let mut bench = with_journal(Recovered::default());
    assert!(bench.outcome(with_id("a")).is_none());
    bench.hear(Report::Failing { reason: "full".into() });
    let refusal = bench.answers().pop().unwrap().outcome.unwrap_err();
    assert!(refusal.error.name == "journal_unavailable" && refusal.message.contains("was pushed") && refusal.message.contains("full"));
    assert_eq!((bench.refused(update("2")), bench.refused(with_id("a"))), ("journal_unavailable", "journal_unavailable"));
    bench.publish_with(Safety::Memory, alert("3"));
    bench.give_numbers();
    assert_eq!(bench.answers().pop().unwrap().outcome.unwrap().safety, Safety::Memory);
    assert_eq!((bench.out.journal.len(), bench.hub.stats().journal_failing), (1, true));
    bench.hear(Report::Committed { entry: 1 });
    bench.pass(1);
    assert_eq!(bench.out.journal.iter().filter_map(|entry| entry_seq(entry, Lane::Alert)).collect::<Vec<_>>(), [1, 2], "it follows");
    assert_eq!(bench.outcome(with_id("a")).unwrap().unwrap().outcome, Outcome::Duplicate);
    assert!(!bench.hub.stats().journal_failing && bench.outcome(update("2")).is_none());
}

/// States are given a second after they changed, once, with their newest value; owners at once; evictions and the end of the daemon too.
#[test]
fn facts_are_given_when_they_have_settled() {
    let mut bench = with_journal(Recovered::default());
    let owned = |data| Event { owner: Some("u1".into()), version: Some(3), ..state(Lane::Update, data) };
    bench.outcome(owned("1"));
    assert!(matches!(&bench.out.facts[..], [Fact::Owner { owner, .. }] if **owner == *"u1"), "{:?}", bench.out.facts);
    bench.pass(500);
    bench.outcome(Event { version: None, ..owned("2") });
    assert_eq!(bench.out.facts.len(), 1);
    bench.pass(500);
    let Some(Fact::State { state: kept, .. }) = bench.out.facts.pop() else { panic!("{:?}", bench.out.facts) };
    assert_eq!((kept.data.as_deref(), kept.rev, kept.version, kept.ts_ms), (Some("2"), 2, Some(3), 1_700_000_000_500));
    bench.pass(5_000);
    assert_eq!(bench.out.facts.len(), 1, "nothing has changed");
    bench.outcome(Event { version: None, ..owned("null") });
    assert!(bench.hub.hurry());
    bench.pass(0);
    assert!(!bench.hub.hurry());
    assert!(matches!(&bench.out.facts[1..], [Fact::State { state, .. }] if state.data.is_none()), "{:?}", bench.out.facts);
}

/// Tables that are busy are asked again soon, but only while there is something for them.
#[test]
fn facts_wait_for_tables_that_are_busy() {
    let mut bench = with_journal(Recovered::default());
    let next = |bench: &mut Bench| bench.hub.tick(bench.now, &mut bench.out);
    bench.out.facts_full = true;
    assert_eq!(next(&mut bench), Mono::NEVER);
    bench.outcome(Event { owner: Some("u1".into()), ..state(Lane::Alert, "1") });
    assert_eq!(next(&mut bench).since(bench.now.mono), Duration::from_millis(10));
    assert!(bench.out.facts.is_empty());
    bench.out.facts_full = false;
    assert_eq!(next(&mut bench).since(bench.now.mono), Duration::from_secs(1), "the state is to settle");
    assert!(matches!(&bench.out.facts[..], [Fact::Owner { .. }]), "{:?}", bench.out.facts);
}

/// ERR-05: a hub that begins again has the states, their versions, the owner, and goes on counting.
#[test]
fn a_hub_begins_where_the_journal_ends() {
    let kept =
        KeptState { kind: "T".into(), key: "".into(), lane: Lane::Update, rev: 7, version: Some(3), ts_ms: 5, data: Some("42".into()) };
    let stream = crate::hub::journal::RecoveredStream { head: 9, oldest: 4, starts: vec![(1, 1)], history: 2 };
    let room = RecoveredRoom {
        name: "r".into(),
        owner: Some("u1".into()),
        born: 0,
        lanes: [Some(stream), None, None],
        states: vec![kept],
        seen: vec![crate::hub::journal::Seen { event_id: "a".into(), seq: 9, ts_ms: 1_699_999_999_000 }],
    };
    let epochs = vec![Epoch { number: 1, name: "e1".into(), by_eviction: false }];
    let mut bench = with_journal(Recovered { epochs, rooms: vec![room], ..Recovered::default() });
    let stats = bench.hub.stats();
    assert_eq!((stats.rooms, stats.keys, stats.state_bytes > 500), (1, 1, true));
    let frames = bench.join_as(conn(0, 1), "u1", false, Some(since("e1", 9)), None);
    assert_eq!((types(&frames), frames[0]["epoch"].as_str()), (vec!["subscribed", "T", "caught_up"], Some("e2")));
    assert_eq!((frames[1]["data"].as_u64(), frames[1]["rev"].as_u64(), frames[1]["ts"].as_u64()), (Some(42), Some(7), Some(5)));
    let stale = Event { version: Some(3), ..state(Lane::Update, "1") };
    assert_eq!(bench.outcome(stale).unwrap().unwrap().outcome, Outcome::Stale);
    assert_eq!(bench.outcome(state(Lane::Update, "42")).unwrap().unwrap().outcome, Outcome::Unchanged);
    assert_eq!(bench.outcome(with_id("a")).unwrap().unwrap().number, Number::Seq(9));
    assert!(bench.outcome(with_id("b")).is_none());
    assert!(
        matches!(&bench.out.journal[..], [Entry::Event(event)] if (event.seq, event.epoch, event.first, event.history) == (10, 2, 10, 2))
    );
    bench.pass(59_500);
    bench.outcome(with_id("a"));
    assert_eq!(bench.out.journal.len(), 2, "an event id is remembered for a minute after it came, not after the start");
}

/// Rooms that are evicted begin epochs; a position in an earlier one is still good in a room that stayed.
#[test]
fn evictions_leave_the_past_of_other_rooms_alone() {
    let stream = crate::hub::journal::RecoveredStream { head: 9, oldest: 4, starts: vec![(1, 1)], history: 2 };
    let (owner, states, seen) = (None, Vec::new(), Vec::new());
    let room = RecoveredRoom { name: "r".into(), owner, born: 0, lanes: [Some(stream), None, None], states, seen };
    let epochs = vec![Epoch { number: 1, name: "e1".into(), by_eviction: false }];
    let mut bench = with_journal(Recovered { epochs, rooms: vec![room], ..Recovered::default() });
    bench.join(conn(0, 1), None, None);
    for n in 0..105 {
        bench.outcome(Event { room: format!("r{n}").into(), ..alert("1") });
    }
    assert!(bench.hub.stats().rooms_evicted > 2);
    let frames = bench.join(conn(0, 2), Some(since("e1", 9)), None);
    assert_eq!((&frames[0]["recovered"], frames[0]["from"]["alert"].as_u64()), (&true.into(), Some(10)));
}

/// A room that is evicted has no past any more, and the journal is told before it gets anything of the room in its place.
#[test]
fn an_eviction_is_told_first() {
    let mut bench = with_journal(Recovered::default());
    for n in 0..=100 {
        bench.outcome(Event { room: format!("r{n}").into(), ..alert("1") });
    }
    let told: Vec<_> = bench.out.journal.iter().skip(100).collect();
    assert!(
        matches!(&told[..], [Entry::Forget { .. }, Entry::Epoch(epoch), Entry::Event(event)] if epoch.by_eviction && event.born == epoch.number && event.epoch == epoch.number),
        "{told:?}"
    );
    bench.pass(0);
    assert!(bench.out.facts.iter().any(|fact| matches!(fact, Fact::Forget { .. })));
}
