//! The desk and its file, with crashes at any moment.

use std::path::Path;
use std::sync::Arc;

use super::super::testing::ScratchDir;
use super::*;
use crate::base::lane::Lane;
use crate::journal::accounts::Input;

const START_MS: u64 = 1_795_000_000_000;

/// Something that comes: an event of the journal, as its room and message, or a mark.
enum Step {
    Event(&'static str, String),
    Mark(String),
}

fn fill(n: u64, side: &str, more: &str) -> Step {
    let ts = START_MS + n * 10;
    let data = format!(r#"{{"symbol":"X","side":"{side}","quantity":"{}","price":"{}.25","ts":{ts}{more}}}"#, n % 4 + 1, 90 + n * 7 % 20);
    let room = if n.is_multiple_of(3) { "account:a1" } else { "challenge:c1" };
    Step::Event(room, format!(r#"{{"type":"TRADE_EXECUTED","room":"{room}","data":{data}}}"#))
}

/// A day with buys and sells of two accounts, marks, a deposit, a late fill, one that comes twice, and some that are none.
fn day() -> Vec<Step> {
    let mut steps = Vec::new();
    for n in 0..60 {
        steps.push(fill(n, if n * 13 % 5 < 3 { "buy" } else { "sell" }, ""));
        if n.is_multiple_of(4) {
            steps.push(Step::Mark(format!(r#"{{"symbol":"X","price":"{}","ts":{}}}"#, 88 + n * 11 % 25, START_MS + n * 10 + 5)));
        }
    }
    steps.push(Step::Event("account:a1", r#"{"type":"account.cash_flow","data":{"amount":"500.00"}}"#.to_owned()));
    steps.push(fill(30, "sell", r#","trade_id":"late""#));
    steps.push(fill(30, "sell", r#","trade_id":"late""#));
    steps.push(fill(61, "hold", ""));
    steps.push(Step::Event("desk:1", r#"{"type":"TRADE_EXECUTED","data":{"symbol":"X","quantity":1,"price":1}}"#.to_owned()));
    steps.push(Step::Mark(r#"{"symbol":"X","price":"1","ts":1795000009000}"#.to_owned()));
    steps
}

struct House {
    store: Accounts,
    desk: Desk,
}

impl House {
    fn open(path: &Path) -> House {
        let config = AnalyticsConfig::from_text("[analytics]\n").unwrap();
        let store = Accounts::open(path).unwrap();
        let desk = Desk::load(&config, &Arc::default(), &store, START_MS, &|| {}).unwrap();
        House { store, desk }
    }

    /// Takes a step, and commits it, unless that is not to be.
    fn take(&mut self, n: usize, step: &Step, is_kept: bool) {
        let now_ms = START_MS + 10_000;
        let batch = self.store.begin().unwrap();
        match step {
            Step::Event(room, message) => {
                let event = Followed {
                    room,
                    owner: Some("u1"),
                    lane: Lane::Update,
                    epoch: 1,
                    seq: n as u64,
                    ts_ms: START_MS + 700,
                    event_id: None,
                    message,
                };
                let kind = self.desk.kind_of(event.kind()).unwrap();
                self.desk.take(&batch, kind, &event, now_ms).unwrap();
            }
            Step::Mark(data) => {
                let envelope = Envelope { room: "", event_id: None, ts_ms: START_MS };
                self.desk.mark(&batch, &fields::read(InputKind::Mark, envelope, data).unwrap(), now_ms).unwrap();
            }
        }
        self.desk.save(&batch, n % 3).unwrap();
        if is_kept {
            batch.commit().unwrap();
        }
    }
}

/// The states that are to be published, what stands in the outbox, and the inputs.
type Played = (Vec<String>, Vec<(Box<str>, Box<str>)>, Vec<(u64, Input)>);

/// Plays the day, with a crash at each step of which `crashes` says so: before the commit and after it. What is there at its end.
fn play(crashes: impl Fn(usize) -> bool) -> Played {
    let scratch = ScratchDir::new();
    let path = scratch.path().join(FILE);
    let mut house = House::open(&path);
    for (n, step) in day().iter().enumerate() {
        if crashes(n) {
            house.take(n, step, false);
            house = House::open(&path);
        }
        house.take(n, step, true);
        if crashes(n) {
            house = House::open(&path);
            house.take(n, step, matches!(step, Step::Event(..)) && n % 2 == 0); // what comes again counts once
            house = House::open(&path);
        }
    }
    let mut inputs = Vec::new();
    house.store.inputs_after(0, |id, input| inputs.push((id, input))).unwrap();
    let states = house.desk.states(9).into_iter().flat_map(|(_, lines)| lines).map(String::from).collect();
    (states, house.store.outbox().unwrap(), inputs)
}

/// MET-03, MET-12: whatever crashes, every number is what it would have been, and every alert is to be given once.
#[test]
fn crashes_at_any_moment_change_no_number() {
    let last = day().len() - 1;
    let (_, posts, inputs) = play(|_| false);
    assert!(posts.iter().any(|(name, _)| &**name == "challenge:c1 tickerd:ACTIVE"), "{posts:?}");
    assert_eq!(posts.iter().filter(|(name, _)| name.contains(" tickerd:refused:")).count(), 2);
    // What comes again may use up a number, which names of events have.
    let without_numbers =
        |posts: &[(Box<str>, Box<str>)]| posts.iter().map(|(name, _)| name.replace(char::is_numeric, "")).collect::<Vec<_>>();
    let contents = |inputs: &[(u64, Input)]| inputs.iter().map(|(_, input)| input.clone()).collect::<Vec<_>>();
    // States are published anew after a crash: there is one at the end of each.
    let (states, ..) = play(|n| n == last);
    for every in [1, 2, 3, 7] {
        let (states_again, posts_again, inputs_again) = play(|n| n % every == 0 || n == last);
        assert_eq!(states_again, states, "every {every}");
        assert_eq!(without_numbers(&posts_again), without_numbers(&posts), "every {every}");
        assert_eq!(contents(&inputs_again), contents(&inputs), "every {every}");
    }
}

/// MET-01, MET-04: what is kept gives the same numbers again; with other settings, or a state that cannot be read, they are computed anew.
#[test]
fn what_is_kept_is_what_comes_of_a_recomputation() {
    let scratch = ScratchDir::new();
    let path = scratch.path().join(FILE);
    let mut house = House::open(&path);
    day().iter().enumerate().for_each(|(n, step)| house.take(n, step, true));
    let batch = house.store.begin().unwrap();
    house.desk.save(&batch, usize::MAX).unwrap();
    house.desk.save(&batch, usize::MAX).unwrap();
    batch.set_settings("[analytics]\n").unwrap();
    batch.commit().unwrap();
    let verdicts = |path: &Path| {
        let mut verdicts = Vec::new();
        verify(path, None, |verdict| {
            verdicts.push((verdict.account, verdict.drifts.len(), verdict.inputs > 20));
            true
        })
        .unwrap();
        verdicts
    };
    assert_eq!(verdicts(&path), [("account:a1".to_owned(), 0, true), ("challenge:c1".to_owned(), 0, true)]);
    let config = AnalyticsConfig::from_text("[analytics]\nmethod = \"fifo\"\n").unwrap();
    let mut desk = Desk::load(&config, &Arc::default(), &house.store, START_MS, &|| {}).unwrap();
    let batch = house.store.begin().unwrap();
    desk.save(&batch, usize::MAX).unwrap();
    batch.set_settings(&config.text()).unwrap();
    batch.commit().unwrap();
    assert_eq!(verdicts(&path).iter().map(|verdict| verdict.1).sum::<usize>(), 0);
}

/// Gives the desk what the journal has: fills, and the daemon's own events by their names.
fn follow(house: &mut House, journal: &[(&str, Option<&str>)]) {
    let batch = house.store.begin().unwrap();
    for (n, (message, event_id)) in journal.iter().enumerate() {
        let (room, owner, seq) = ("challenge:c1", Some("u1"), n as u64 + 1);
        let ts_ms = START_MS + seq;
        let event = Followed { room, owner, lane: Lane::Update, epoch: 1, seq, ts_ms, event_id: *event_id, message };
        match house.desk.kind_of(event.kind()) {
            Some(kind) => house.desk.take(&batch, kind, &event, START_MS + 10_000).unwrap(),
            None => drop(house.desk.is_in_journal(&batch, &event).unwrap()),
        }
    }
    house.desk.is_caught_up();
    batch.commit().unwrap();
}

fn names(house: &House) -> Vec<String> {
    house.desk.posts(99).iter().map(|post| post.name.to_string()).collect()
}

const BOUGHT: &str = r#"{"type":"TRADE_EXECUTED","data":{"symbol":"X","quantity":"100","price":"10","ts":1795000000001}}"#;
const SOLD: &str = r#"{"type":"TRADE_EXECUTED","data":{"symbol":"X","quantity":"-100","price":"20.5","ts":1795000000007}}"#;
const TOLD: &str = r#"{"type":"CHALLENGE_STATUS_CHANGED","data":{}}"#;
const BAD: &str = r#"{"type":"TRADE_EXECUTED","data":{"symbol":"X","quantity":"0","price":"1","trade_id":"t9"}}"#;

/// EVT-04, MET-12: a file that was lost is made anew of the journal. A challenge that had failed by a price, which is nowhere any more, stays failed
/// when its fills alone would have reached the target; and nothing is published again.
#[test]
fn a_lost_file_takes_no_verdict_back() {
    let scratch = ScratchDir::new();
    let path = |name: &str| scratch.path().join(name);
    let mut house = House::open(&path("first"));
    follow(&mut house, &[(BOUGHT, None), (BAD, None)]);
    let mark = |house: &mut House, price: &str| {
        let batch = house.store.begin().unwrap();
        let data = format!(r#"{{"symbol":"X","price":"{price}","ts":{}}}"#, START_MS + 3);
        let envelope = Envelope { room: "", event_id: None, ts_ms: START_MS };
        house.desk.mark(&batch, &fields::read(InputKind::Mark, envelope, &data).unwrap(), START_MS + 10_000).unwrap();
        batch.commit().unwrap();
    };
    mark(&mut house, "4.5");
    let told = names(&house);
    let expected = ["tickerd:ACTIVE", "tickerd:refused:update.1.2", "tickerd:FAILED"];
    assert_eq!(told, expected.map(|name| format!("challenge:c1 {name}")));

    let own = |name| (TOLD, Some(name));
    let journal =
        [(BOUGHT, None), (BAD, None), own("tickerd:ACTIVE"), own("tickerd:refused:update.1.2"), own("tickerd:FAILED"), (SOLD, None)];
    let mut anew = House::open(&path("anew"));
    follow(&mut anew, &journal);
    assert_eq!((names(&anew), anew.store.outbox().unwrap()), (Vec::<String>::new(), Vec::new()));
    // In the moment before the verdict was told, another one may have come of the fills alone.
    let mut late = House::open(&path("late"));
    follow(&mut late, &[(BOUGHT, None), own("tickerd:ACTIVE"), (SOLD, None), own("tickerd:FAILED")]);
    assert_eq!(names(&late), Vec::<String>::new());
    // Without the word of it, the fills alone are believed.
    let mut fooled = House::open(&path("fooled"));
    follow(&mut fooled, &[(BOUGHT, None), own("tickerd:ACTIVE"), ("{}", Some("FAILED")), (SOLD, None)]);
    assert_eq!(names(&fooled), ["challenge:c1 tickerd:FUNDED"]);
    // It holds over a restart, whatever was kept of the states; a recomputation of the numbers is not concerned.
    for (house, name) in [(anew, "anew"), (late, "late")] {
        drop(house);
        let mut again = House::open(&path(name));
        mark(&mut again, "90");
        assert_eq!(names(&again), Vec::<String>::new());
        let batch = again.store.begin().unwrap();
        again.desk.save(&batch, usize::MAX).unwrap();
        batch.commit().unwrap();
        verify(&path(name), None, |verdict| {
            assert_eq!((verdict.drifts, verdict.inputs > 0), (Vec::new(), true));
            true
        })
        .unwrap();
    }
}

/// OBS-10: an account whose state is gone is told, and made anew of its inputs by the daemon that begins.
#[test]
fn a_state_that_is_gone_is_drift() {
    let scratch = ScratchDir::new();
    let path = scratch.path().join(FILE);
    let mut house = House::open(&path);
    follow(&mut house, &[(BOUGHT, None)]);
    let batch = house.store.begin().unwrap();
    house.desk.save(&batch, usize::MAX).unwrap();
    batch.commit().unwrap();
    drop(house);
    let drifts = || {
        let mut drifts = Vec::new();
        verify(&path, None, |verdict| {
            drifts.extend(verdict.drifts);
            true
        })
        .unwrap();
        drifts
    };
    assert_eq!(drifts(), []);
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM accounts", []).unwrap();
    assert_eq!(drifts().iter().map(|drift| (&*drift.field, &*drift.recomputed)).collect::<Vec<_>>(), [("state", "1 inputs")]);
    let mut house = House::open(&path);
    follow(&mut house, &[(BOUGHT, None), (SOLD, None)]);
    let batch = house.store.begin().unwrap();
    house.desk.save(&batch, usize::MAX).unwrap();
    batch.commit().unwrap();
    assert_eq!(drifts(), []);
    let states = house.desk.states(9).pop().unwrap().1;
    assert!(
        states.len() == 2 && states.iter().all(|line| line.contains(r#""user_id":"u1""#)),
        "the next fill says whose it is: {states:?}"
    );
}

/// MET-04, EVT-03: numbers that are made anew of what is kept, on purpose or for other settings, are whose they were, and what was told is not told
/// again; figures are published when they change, not with each price.
#[test]
fn numbers_made_anew_tell_nothing_twice() {
    let scratch = ScratchDir::new();
    let path = scratch.path().join(FILE);
    let mut house = House::open(&path);
    follow(&mut house, &[(BOUGHT, None)]);
    let batch = house.store.begin().unwrap();
    house.desk.tick(&batch, START_MS + 3_600_000).unwrap();
    house.desk.save(&batch, usize::MAX).unwrap();
    batch.commit().unwrap();
    assert!(names(&house).iter().any(|name| name.contains("INACTIVE_TRADING")), "{:?}", names(&house));
    let told = names(&house).len();
    drop(house);
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE accounts SET state = 7", []).unwrap();
    let (config, store) = (AnalyticsConfig::from_text("[analytics]\n").unwrap(), Accounts::open(&path).unwrap());
    let desk = Desk::load(&config, &Arc::default(), &store, START_MS + 3_700_000, &|| {}).unwrap();
    let mut house = House { store, desk };
    let states = house.desk.states(9).pop().unwrap().1;
    assert!(states.len() == 2 && states.iter().all(|line| line.contains(r#""user_id":"u1""#)), "{states:?}");
    let batch = house.store.begin().unwrap();
    house.desk.tick(&batch, START_MS + 3_800_000).unwrap();
    let price = format!(r#"{{"symbol":"X","price":"11","ts":{}}}"#, START_MS + 3_800_000);
    let envelope = Envelope { room: "", event_id: None, ts_ms: START_MS };
    house.desk.mark(&batch, &fields::read(InputKind::Mark, envelope, &price).unwrap(), START_MS + 3_800_000).unwrap();
    batch.commit().unwrap();
    assert_eq!(names(&house).len(), told);
    let (room, states) = house.desk.states(9).pop().unwrap();
    assert!(states.len() == 1 && states[0].contains("EQUITY_UPDATED"), "{states:?}");
    house.desk.unpublish(room);
    assert_eq!(house.desk.states(9).pop().unwrap().1.len(), 2, "what was not published after all");
}
