//! A small world of known events, damaged in known ways: each fault must be counted as itself and as nothing else.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::control::Faults;
use crate::payload::Template;
use crate::scenario::Scenario;
use crate::stamp::Stamp;

use super::account::{Account, Published};
use super::*;

const RUN: u32 = 7;
const CONNS: u32 = 4;
const TICK: u8 = 0;
const ALARM: u8 = 1;
const EQUITY: u8 = 2;
const NOISE: u8 = 3;

const SCENARIO: &str = r#"
name = "test"
about = ""
duration_s = 1
[connections]
count = 4
rate = 100
[[room]]
class = "own"
name = "own:{n}"
count = 4
members = 1
[[room]]
class = "all"
name = "all"
count = 1
members = 4
[[flow]]
rooms = "own"
type = "tick"
lane = "update"
mode = "stream"
rate = 10
bytes = 200
fields = '"id":"{n}"'
[[flow]]
rooms = "all"
type = "alarm"
lane = "alert"
mode = "stream"
rate = 10
bytes = 300
[[flow]]
rooms = "own"
type = "equity"
lane = "update"
mode = "state"
key = "k{n}"
rate = 10
bytes = 200
[[flow]]
rooms = "own"
type = "noise"
lane = "metric"
mode = "transient"
rate = 10
bytes = 100
"#;

/// The scenario, read once.
fn scenario() -> &'static Scenario {
    static READ: LazyLock<Scenario> = LazyLock::new(|| toml::from_str(SCENARIO).expect("the scenario is valid"));
    &READ
}

/// Everything joined, nothing come.
fn world() -> Verifier {
    let mut verifier = Verifier::new(scenario(), RUN, false, 0, CONNS).expect("the scenario is good");
    for conn in 0..CONNS {
        join(&mut verifier, conn, "e1");
    }
    verifier
}

fn join(verifier: &mut Verifier, conn: u32, epoch: &str) {
    let from = LANES.map(|lane| (lane, 1)).into();
    let answer = Subscribed { epoch: epoch.into(), from, rewound: BTreeMap::new() };
    for room in [format!("own:{conn}"), "all".to_owned()] {
        assert!(verifier.subscribed(conn, &room, &answer));
        assert!(verifier.caught_up(conn, &room));
    }
}

/// `data` of that event, as it is published.
fn data(flow: u8, room: u32, n: u32) -> String {
    let scenario = scenario();
    let form = &scenario.flows[usize::from(flow)];
    let class = scenario.rooms.iter().find(|class| class.class == form.rooms).expect("has its class");
    let mut line = Vec::new();
    let stamp = Stamp { run: RUN, flow, room, n, intended_ns: 1_000, sent_ns: 2_000 };
    Template::new(form, class).expect("the flow is good").line(&stamp, &mut line);
    let line = String::from_utf8(line).expect("is text");
    line[line.find("\"data\":").expect("has data") + 7..line.len() - 1].to_owned()
}

/// The event as a server sends it, with the number that it has if it is the only stream of its lane.
fn frame(flow: u8, room: u32, n: u32) -> Vec<u8> {
    let data = data(flow, room, n);
    match flow {
        TICK => format!(r#"{{"type":"tick","room":"own:{room}","lane":"update","seq":{n},"ts":5,"data":{data}}}"#),
        ALARM => format!(r#"{{"type":"alarm","room":"all","lane":"alert","seq":{n},"ts":5,"data":{data}}}"#),
        EQUITY => format!(r#"{{"type":"equity","room":"own:{room}","lane":"update","key":"k{room}","rev":{n},"ts":5,"data":{data}}}"#),
        _ => format!(r#"{{"type":"noise","room":"own:{room}","lane":"metric","ts":5,"data":{data}}}"#),
    }
    .into_bytes()
}

fn room_of(flow: u8, conn: u32) -> u32 {
    if flow == ALARM { 0 } else { conn }
}

/// As many events of each flow for each of its rooms.
fn published(each: u32) -> Published {
    let own = u64::from(each * CONNS);
    Published::new(scenario(), &[own, u64::from(each), own, own], &[])
}

fn is_fresh(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fresh { intended_ns: 1_000, sent_ns: 2_000, is_timed: true, .. })
}

/// The whole of `each` events of every flow to every connection, but for what `change` does to those of one flow and connection.
fn account_with(each: u32, flow: u8, conn: u32, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Account {
    let mut verifier = world();
    let mut change = Some(change);
    for to in 0..CONNS {
        for of in [TICK, ALARM, EQUITY, NOISE] {
            let mut frames: Vec<_> = (1..=each).map(|n| frame(of, room_of(of, to), n)).collect();
            if (of, to) == (flow, conn) {
                change.take().expect("changes once")(&mut frames);
            }
            for frame in frames {
                verifier.message(to, &frame);
            }
        }
    }
    verifier.account(&published(each))
}

fn only(faults: Faults) -> Account {
    Account { faults, ..Account::default() }
}

#[test]
fn a_clean_stream_has_no_faults() {
    let mut verifier = world();
    for n in 1..=100 {
        for conn in 0..CONNS {
            for flow in [TICK, ALARM, EQUITY, NOISE] {
                assert!(is_fresh(verifier.message(conn, &frame(flow, room_of(flow, conn), n))));
            }
        }
        assert_eq!(verifier.has_all(&published(100)), n == 100);
    }
    assert_eq!(verifier.account(&published(100)), Account::default());
    assert_eq!(verifier.received(), [400; 4]);
}

#[test]
fn what_was_refused_is_not_missing() {
    let mut verifier = world();
    for (seq, n) in [1, 2, 4, 6].into_iter().enumerate() {
        let text = String::from_utf8(frame(TICK, 0, n)).expect("is text").replace(&format!("\"seq\":{n}"), &format!("\"seq\":{}", seq + 1));
        assert!(is_fresh(verifier.message(0, text.as_bytes())));
        verifier.message(0, &frame(EQUITY, 0, n));
    }
    // Room 0's third, fifth and seventh are the events 8, 16 and 24 of four rooms.
    let sent = [25, 0, 25, 0];
    let refused: Vec<u64> = [8, 16, 24].into_iter().chain((0..25).filter(|e| e % 4 != 0)).collect();
    let account = |refused: &[Vec<u64>]| verifier.account(&Published::new(scenario(), &sent, refused));
    assert_eq!(account(&[refused.clone(), vec![], refused.clone(), vec![]]), Account::default());
    assert_eq!(account(&[refused[1..].to_vec(), vec![], refused.clone(), vec![]]), only(Faults { missing: 1, ..Faults::default() }));
    let without_last: Vec<u64> = refused.iter().copied().filter(|e| *e != 24).collect();
    assert_eq!(account(&[refused, vec![], without_last, vec![]]), only(Faults { stale: 1, ..Faults::default() }));
}

#[test]
fn conflation_is_no_fault_but_the_last_value_must_come() {
    let skipped = account_with(10, EQUITY, 2, |frames| drop(frames.drain(2..7)));
    assert_eq!(skipped, Account { conflated: 5, ..Account::default() });
    let stale = account_with(10, EQUITY, 2, |frames| drop(frames.drain(8..)));
    assert_eq!(stale, Account { conflated: 1, ..only(Faults { stale: 1, ..Faults::default() }) });
    let noise = account_with(10, NOISE, 1, |frames| drop(frames.drain(8..)));
    assert_eq!(noise, Account { transient_lost: 2, ..Account::default() });
}

#[test]
fn an_old_state_after_a_newer_one_is_disorder() {
    let account = account_with(10, EQUITY, 0, |frames| frames.swap(3, 4));
    assert_eq!(account, only(Faults { disorder: 1, ..Faults::default() }));
    let account = account_with(10, EQUITY, 0, |frames| frames.push(frames[9].clone()));
    assert_eq!(account, only(Faults { duplicate: 1, ..Faults::default() }));
}

#[test]
fn an_event_of_a_room_that_is_not_ones_own_is_misrouted() {
    let misrouted = only(Faults { misrouted: 1, ..Faults::default() });
    assert_eq!(account_with(5, TICK, 1, |frames| frames.push(frame(TICK, 2, 3))), misrouted);
    // The envelope says the right room, the payload another.
    let mixed = format!(r#"{{"type":"tick","room":"own:1","lane":"update","seq":6,"ts":5,"data":{}}}"#, data(TICK, 2, 6));
    assert_eq!(account_with(5, TICK, 1, |frames| frames.push(mixed.into_bytes())), misrouted);
    let unknown = String::from_utf8(frame(TICK, 1, 6)).expect("is text").replace("own:1", "own:9");
    assert_eq!(account_with(5, TICK, 1, |frames| frames.push(unknown.into_bytes())), misrouted);
}

#[test]
fn a_payload_of_another_of_ones_rooms_is_misrouted() {
    // Of two connections, the first is in the rooms 0 and 2.
    let mut scenario = scenario().clone();
    scenario.connections.count = 2;
    let mut verifier = Verifier::new(&scenario, RUN, false, 0, 2).expect("the scenario is good");
    assert_eq!(verifier.members(0).len(), 3);
    let mixed = format!(r#"{{"type":"tick","room":"own:0","lane":"update","seq":1,"ts":5,"data":{}}}"#, data(TICK, 2, 1));
    assert_eq!(verifier.message(0, mixed.as_bytes()), Outcome::Done);
    assert_eq!(verifier.faults(), Faults { misrouted: 1, ..Faults::default() });
    assert!(is_fresh(verifier.message(0, &frame(TICK, 2, 1))));
}

#[test]
fn any_damaged_byte_is_a_fault() {
    let whole = frame(TICK, 1, 3);
    let data_at = whole.len() - 201;
    for at in data_at..whole.len() {
        let account = account_with(5, TICK, 1, |frames| frames[2][at] ^= 1);
        assert!(account.faults.total() > 0 || account == stamp_of_another_time(at, whole.len()), "byte {at}: {account:?}");
    }
    let filler = account_with(5, TICK, 1, |frames| frames[2][data_at + 40] ^= 1);
    assert_eq!(filler, only(Faults { corrupt: 1, ..Faults::default() }));
    // A quotation mark in the filler makes it no JSON; it can still be told which event it was.
    let quote = account_with(5, TICK, 1, |frames| frames[2][data_at + 40] = b'"');
    assert_eq!(quote, only(Faults { corrupt: 1, ..Faults::default() }));
    let no_stamp = account_with(5, TICK, 1, |frames| frames[2][whole.len() - 20] = b'x');
    assert_eq!(no_stamp, only(Faults { corrupt: 1, ..Faults::default() }));
}

/// The two times in a stamp cannot be checked: other digits are another time.
fn stamp_of_another_time(at: usize, len: usize) -> Account {
    assert!(at >= len - 3 - 33, "byte {at} of {len} changed and nobody saw");
    Account::default()
}

#[test]
fn the_envelopes_members_may_come_in_any_order_but_must_be_right() {
    let data = data(TICK, 1, 6);
    let put = |envelope: &str| format!("{{{envelope},\"data\":{data}}}").into_bytes();
    let extra = |envelope: &str| {
        let frame = put(envelope);
        let mut verifier = world();
        for n in 1..=5 {
            verifier.message(1, &super::tests::frame(TICK, 1, n));
        }
        (verifier.message(1, &frame), verifier.faults())
    };
    let (outcome, faults) = extra(r#""ts":5,"seq":6,"new":{"a":[1]},"lane":"update","room":"own:1","type":"tick""#);
    assert!(is_fresh(outcome) && faults == Faults::default(), "{faults:?}");
    for envelope in [
        r#""type":"tock","room":"own:1","lane":"update","seq":6,"ts":5"#,
        r#""type":"tick","room":"own:1","lane":"alert","seq":1,"ts":5"#,
        r#""type":"tick","room":"own:1","lane":"update","ts":5"#,
    ] {
        assert_eq!(extra(envelope), (Outcome::Done, Faults { corrupt: 1, ..Faults::default() }), "{envelope}");
    }
}

#[test]
fn events_of_another_run_only_keep_their_numbers() {
    let old = |n: u32| String::from_utf8(frame(TICK, 1, n)).expect("is text").replace("00000007-", "00000006-").into_bytes();
    let mut verifier = world();
    verifier.message(1, &frame(TICK, 1, 1));
    assert_eq!(verifier.message(1, &old(2)), Outcome::Done);
    let third = String::from_utf8(frame(TICK, 1, 2)).expect("is text").replace("\"seq\":2", "\"seq\":3");
    assert!(is_fresh(verifier.message(1, third.as_bytes())));
    assert_eq!(verifier.faults(), Faults::default());
    verifier.message(1, &old(5));
    assert_eq!(verifier.faults(), Faults { missing: 1, ..Faults::default() });
}

#[test]
fn after_a_rejoin_the_rest_is_replayed_and_a_state_may_come_again() {
    let mut verifier = world();
    for n in 1..=3 {
        verifier.message(1, &frame(TICK, 1, n));
        verifier.message(1, &frame(EQUITY, 1, n));
    }
    verifier.left(1);
    let from = [(Lane::Alert, 1), (Lane::Update, 4), (Lane::Metric, 1)].into();
    assert!(verifier.subscribed(1, "own:1", &Subscribed { epoch: "e1".into(), from, rewound: BTreeMap::new() }));
    for n in 4..=5 {
        let replayed = verifier.message(1, &frame(TICK, 1, n));
        assert!(matches!(replayed, Outcome::Fresh { is_timed: false, .. }));
    }
    assert_eq!(verifier.message(1, &frame(EQUITY, 1, 3)), Outcome::Done);
    assert!(verifier.caught_up(1, "own:1"));
    assert!(is_fresh(verifier.message(1, &frame(TICK, 1, 6))));
    assert_eq!(verifier.faults(), Faults::default());
    verifier.message(1, &frame(EQUITY, 1, 3));
    assert_eq!(verifier.faults(), Faults { duplicate: 1, ..Faults::default() });
    verifier.message(1, &frame(TICK, 1, 8));
    assert_eq!(verifier.faults(), Faults { duplicate: 1, missing: 1, ..Faults::default() });
}

#[test]
fn a_new_epoch_tells_of_a_loss_without_a_number() {
    let mut verifier = world();
    verifier.message(1, &frame(TICK, 1, 1));
    verifier.left(1);
    join(&mut verifier, 1, "e2");
    verifier.gap(1, "own:1", &Gap { lane: Lane::Update, from: 2, to: None });
    let later = String::from_utf8(frame(TICK, 1, 5)).expect("is text").replace("\"seq\":5", "\"seq\":1");
    assert!(is_fresh(verifier.message(1, later.as_bytes())));
    let account = verifier.account(&Published::new(scenario(), &[20, 0, 0, 0], &[(0..20).filter(|e| e % 4 != 1).collect()]));
    assert_eq!(account, Account { told_missing: 3, ..Account::default() });
}

#[test]
fn the_floors_lines_are_verified_without_numbers() {
    let mut verifier = Verifier::new(scenario(), RUN, true, 0, CONNS).expect("the scenario is good");
    let line =
        |n: u32| format!(r#"{{"type":"tick","room":"own:1","lane":"update","mode":"stream","data":{}}}"#, data(TICK, 1, n)).into_bytes();
    assert!(verifier.subscribed(1, "own:1", &Subscribed::default()) && verifier.caught_up(1, "own:1"));
    assert!(is_fresh(verifier.message(1, &line(1))));
    verifier.message(1, &line(3));
    assert_eq!(verifier.faults(), Faults { missing: 1, ..Faults::default() });
    verifier.message(1, &line(2));
    verifier.message(1, &line(2));
    verifier.message(0, &line(4));
    assert_eq!(verifier.faults(), Faults { disorder: 1, duplicate: 1, misrouted: 1, ..Faults::default() });
}

/// What is done to the second of each four events of a stream.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    Drop,
    Double,
    DoubleLater,
    Swap,
    Misroute,
    Mix,
    Flip(usize),
    Tell,
}

fn damage() -> impl Strategy<Value = Damage> {
    use Damage as D;
    let flip = (12usize..120).prop_map(Damage::Flip);
    prop_oneof![
        Just(D::None),
        Just(D::Drop),
        Just(D::Double),
        Just(D::DoubleLater),
        Just(D::Swap),
        Just(D::Misroute),
        Just(D::Mix),
        flip,
        Just(D::Tell)
    ]
}

/// Sends four events from `n` on with that damage to the second, and adds to what must be found.
fn send(verifier: &mut Verifier, conn: u32, flow: u8, n: u32, damage: Damage, found: &mut Account) {
    let room = room_of(flow, conn);
    let mut four: Vec<Vec<u8>> = (n..n + 4).map(|n| frame(flow, room, n)).collect();
    let faults = &mut found.faults;
    match damage {
        Damage::None => {}
        Damage::Drop => {
            four.remove(1);
            faults.missing += 1;
        }
        Damage::Double => {
            four.insert(2, four[1].clone());
            faults.duplicate += 1;
        }
        Damage::DoubleLater => {
            four.push(four[1].clone());
            faults.duplicate += 1;
        }
        Damage::Swap => {
            four.swap(1, 2);
            faults.disorder += 1;
        }
        Damage::Misroute => {
            four.insert(1, frame(TICK, (conn + 1) % CONNS, n));
            faults.misrouted += 1;
        }
        Damage::Mix => {
            let other = data(TICK, (conn + 1) % CONNS, n);
            let head = String::from_utf8(frame(TICK, conn, n)).expect("is text");
            let head = &head[..head.find("\"data\"").expect("has data")];
            four.insert(1, format!("{head}\"data\":{other}}}").into_bytes());
            faults.misrouted += 1;
        }
        Damage::Flip(back) => {
            let at = four[1].len() - 64 - 9 - back % 20;
            four[1][at] ^= 1;
            faults.corrupt += 1;
        }
        Damage::Tell => {
            four.remove(1);
            found.told_missing += 1;
        }
    }
    for (at, frame) in four.iter().enumerate() {
        if at == 1 && matches!(damage, Damage::Tell) {
            let (room, lane) = if flow == ALARM { ("all".into(), Lane::Alert) } else { (format!("own:{conn}"), Lane::Update) };
            verifier.gap(conn, &room, &Gap { lane, from: u64::from(n + 1), to: Some(u64::from(n + 1)) });
        }
        verifier.message(conn, frame);
    }
}

proptest! {
    /// However faults are strewn, the counts are what was done.
    #[test]
    fn the_counts_are_what_was_done(damages in prop::collection::vec((damage(), damage()), 0..30)) {
        let (mut verifier, mut found) = (world(), Account::default());
        for conn in 0..CONNS {
            for (at, (tick, alarm)) in damages.iter().enumerate() {
                let n = at as u32 * 4 + 1;
                send(&mut verifier, conn, TICK, n, *tick, &mut found);
                send(&mut verifier, conn, ALARM, n, *alarm, &mut found);
            }
        }
        let each = damages.len() as u64 * 4;
        let published = Published::new(scenario(), &[each * u64::from(CONNS), each, 0, 0], &[]);
        prop_assert_eq!(verifier.account(&published), found);
        prop_assert_eq!(verifier.faults().missing, found.faults.missing);
        prop_assert_eq!(verifier.has_all(&published), found.faults.missing == 0);
    }

    /// Nothing that a server may send makes the judge panic.
    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..400, at in 0usize..400, byte: u8) {
        let mut verifier = world();
        verifier.message(0, &bytes);
        let mut frame = frame(ALARM, 0, 1);
        frame.truncate(cut);
        if let Some(old) = frame.get_mut(at) {
            *old = byte;
        }
        verifier.message(0, &frame);
    }
}
