//! Which states have a delta form, and on what.

use super::*;

/// A member of each reactor, of which one wants deltas.
fn bench() -> Bench {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    join_for_deltas(&mut bench, conn(1, 1));
    bench
}

fn join_for_deltas(bench: &mut Bench, conn: ConnId) {
    let (request, room, user) = (None, "r".into(), "u1".into());
    let join = Join {
        conn,
        request,
        room,
        user,
        by_pattern: true,
        consent: Consent::None,
        since: None,
        history: None,
        delta: true,
        poll: None,
        sample: None,
    };
    bench.hub.apply(bench.now, Input::Join(Box::new(join)), &mut bench.out);
    let Some((_, Output::Joined(joined))) = bench.out.outputs.pop() else { panic!("the join is granted") };
    assert!(joined.delta);
}

/// Publishes a value of the key, and gives the delta form of its frame, which is one for all reactors.
fn delta_of(bench: &mut Bench, data: &str) -> Option<Value> {
    bench.out.outputs.clear();
    bench.accept(state(Lane::Alert, data)).unwrap();
    let frames: Vec<_> =
        bench.out.outputs.iter().filter_map(|(_, output)| if let Output::Deliver(frame) = output { Some(frame) } else { None }).collect();
    assert!(frames.iter().all(|frame| Arc::ptr_eq(frame, frames[0])), "encoded more than once");
    let full: Value = serde_json::from_slice(frames[0].as_text()).unwrap();
    assert!(full.get("patch").is_none() && full.get("base").is_none());
    frames[0].delta().map(|delta| serde_json::from_slice(delta.as_text()).unwrap())
}

fn value(n: u32) -> String {
    format!(r#"{{"n":{n}.50,"stays":"{}"}}"#, "x".repeat(50))
}

/// DLV-06: the delta names its base, which is the state that was sent before, and says what has changed.
#[test]
fn a_delta_builds_on_the_state_that_was_sent_before() {
    let mut bench = bench();
    assert_eq!(delta_of(&mut bench, &value(1)), None, "there is nothing before the first");
    let delta = delta_of(&mut bench, &value(2)).unwrap();
    assert_eq!((&delta["rev"], &delta["base"], &delta["patch"]), (&2.into(), &1.into(), &serde_json::json!({"n": 2.5})));
    assert!(delta.get("data").is_none());
    // A window holds what is between.
    let window = |data: &str| state(Lane::Update, data);
    for n in 0..4 {
        bench.accept(Event { key: "k".into(), ..window(&value(n)) }).unwrap();
    }
    bench.pass(100);
    let Some((_, Output::Deliver(last))) = bench.out.outputs.last() else { panic!("the last value is sent") };
    let delta: Value = serde_json::from_slice(last.delta().unwrap().as_text()).unwrap();
    assert_eq!((&delta["rev"], &delta["base"]), (&4.into(), &1.into()));
}

/// DLV-06: full state alone where the patch would be 70 % of it or more, where it cannot say it, and after a deletion.
#[test]
fn there_is_none_where_it_is_not_worth_it_or_cannot_be() {
    let mut bench = bench();
    let long = |tail: usize| format!(r#"{{"a":"{}","b":"{}"}}"#, "x".repeat(100), "y".repeat(tail));
    delta_of(&mut bench, &long(300));
    assert_eq!(delta_of(&mut bench, &long(301)), None, "three quarters are new");
    assert!(delta_of(&mut bench, &long(100)).is_some(), "half is new");
    assert_eq!(delta_of(&mut bench, &format!(r#"{{"a":"{}","b":null}}"#, "x".repeat(100))), None, "a null comes in");
    assert_eq!(delta_of(&mut bench, "null"), None);
    assert_eq!(delta_of(&mut bench, &value(1)), None, "it was deleted");
    assert_eq!(delta_of(&mut bench, "[1]"), None);
    assert_eq!(delta_of(&mut bench, &value(1)), None, "it was no object");
    assert!(delta_of(&mut bench, &value(2)).is_some());
    delta_of(&mut bench, r#"{"a":1,"b":2}"#);
    assert_eq!(delta_of(&mut bench, r#"{"a":1,"b":3}"#), None, "naming the base takes more than it saves");
}

/// DLV-06: nobody pays for deltas before somebody asks for them, nor after the last who did has left.
#[test]
fn there_is_none_where_nobody_wants_it() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    delta_of(&mut bench, &value(1));
    assert_eq!(delta_of(&mut bench, &value(2)), None);
    for slot in [2, 3] {
        join_for_deltas(&mut bench, conn(0, slot));
    }
    assert!(delta_of(&mut bench, &value(3)).is_some());
    let room = bench.room();
    for (slot, delta) in [(2, true), (3, true)] {
        assert!(delta_of(&mut bench, &value(slot + 10)).is_some());
        bench.hub.apply(bench.now, Input::Leave { room, conn: conn(0, slot), delta }, &mut bench.out);
    }
    assert_eq!(delta_of(&mut bench, &value(20)), None);
}
