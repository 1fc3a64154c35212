//! Joins of long polls: each answer is all that there is after a position.

use super::*;
use crate::hub::ports::{Joined, Poll};

fn poll(bench: &mut Bench, since: Option<&Joined>) -> Joined {
    let epoch = |joined: &Joined| joined.epoch.as_ref().into();
    let position = since.map(|joined| Since { epoch: epoch(joined), seq: joined.from.map(|from| Some(from - 1)) });
    let states_after = since.map(|joined| joined.states_until);
    let (request, poll) = (None, Some(Poll { states_after }));
    let join = Join {
        conn: conn(0, 9),
        request,
        room: "r".into(),
        user: "u1".into(),
        by_pattern: true,
        consent: Consent::None,
        since: position,
        history: None,
        delta: false,
        poll,
        sample: None,
    };
    bench.hub.apply(bench.now, Input::Join(Box::new(join)), &mut bench.out);
    let Some((_, Output::Joined(joined))) = bench.out.outputs.pop() else { panic!("the join is granted") };
    bench.hub.apply(bench.now, Input::Leave { room: joined.room, conn: conn(0, 9), delta: false }, &mut bench.out);
    *joined
}

fn wide() -> HubOptions {
    HubOptions { update_window: Duration::ZERO, keys_per_room_max: 9, ..options() }
}

fn keyed(key: &str, data: u64) -> Event {
    Event { key: key.into(), ..state(Lane::Update, &data.to_string()) }
}

/// DLV-05: each change once, in the order in which they were let go, and what nobody has changed not again.
#[test]
fn a_poll_gets_the_states_that_have_changed_since() {
    let mut bench = Bench::new(wide());
    for (key, data) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
        bench.accept(keyed(key, data)).unwrap(); // all at one moment of the clock
    }
    let first = poll(&mut bench, None);
    assert_eq!(datas(&texts(&first.frames)), [2, 3, 4]);
    assert_eq!(types(&texts(&poll(&mut bench, Some(&first)).frames)), ["subscribed", "caught_up"]);
    bench.accept(keyed("c", 5)).unwrap();
    bench.accept(keyed("b", 6)).unwrap();
    let second = poll(&mut bench, Some(&first));
    assert_eq!(datas(&texts(&second.frames)), [5, 6]);
    assert_eq!(datas(&texts(&poll(&mut bench, Some(&first)).frames)), [5, 6], "the same question has the same answer");
    bench.accept(Event { data: "null".into(), ..keyed("a", 0) }).unwrap();
    let third = texts(&poll(&mut bench, Some(&second)).frames);
    assert_eq!((third.len(), &third[1]["deleted"]), (3, &true.into()));
}

/// What a lagging reactor is owed comes to members by itself; but who polls is none by then.
#[test]
fn a_poll_gets_what_its_reactor_is_owed() {
    let mut bench = Bench::new(wide());
    bench.join(conn(0, 1), None, None);
    let first = poll(&mut bench, None);
    bench.out.free[0] = 0;
    bench.accept(keyed("a", 1)).unwrap();
    bench.accept(keyed("b", 2)).unwrap();
    assert!(bench.live(0).is_empty() && bench.hub.is_lagging());
    assert_eq!(datas(&texts(&poll(&mut bench, Some(&first)).frames)), [1, 2]);
}

/// A number of another history says nothing of states.
#[test]
fn a_poll_of_another_epoch_gets_all_states() {
    let mut bench = Bench::new(wide());
    bench.accept(keyed("a", 1)).unwrap();
    let mut first = poll(&mut bench, None);
    first.epoch = "elsewhere".into();
    assert_eq!(datas(&texts(&poll(&mut bench, Some(&first)).frames)), [1]);
}
