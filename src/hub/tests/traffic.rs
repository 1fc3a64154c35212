//! What rooms take and give, by all the ways that events go.

use super::*;
use crate::hub::traffic::{RankBy, Ranked, Ranking};

fn of(room: &str, event: Event) -> Event {
    Event { room: room.into(), ..event }
}

fn ranked(bench: &Bench, by: RankBy, limit: usize) -> Vec<Ranked> {
    let mut ranking = Ranking::new(by, limit);
    std::iter::repeat_with(|| bench.hub.rank(&mut ranking, bench.now.mono, 3)).take(100).flatten().next().expect("it comes to an end")
}

fn names(ranked: &[Ranked]) -> Vec<&str> {
    ranked.iter().map(|ranked| &*ranked.name).collect()
}

/// OBS-14: each event counts once as it is accepted, whatever its mode and lane, and not if it is refused, known, or changes nothing; what is released
/// counts for each member.
#[test]
fn each_event_counts_once_and_each_delivery() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    bench.join(conn(1, 1), None, None);
    bench.join(conn(1, 2), None, None);
    for lane in Lane::ALL {
        bench.accept(event(Mode::Transient, lane, "1")).unwrap();
        bench.accept(event(Mode::Stream, lane, "1")).unwrap();
    }
    for data in ["1", "2", "2", "3"] {
        bench.accept(Event { key: "k".into(), ..state(Lane::Update, data) }).unwrap(); // 2 twice changes nothing
    }
    let known = Event { event_id: Some("e1".into()), ..alert("1") };
    bench.accept(known.clone()).unwrap();
    bench.accept(known).unwrap();
    bench.accept(Event { key: "k".into(), ..state(Lane::Metric, "1") }).unwrap_err();
    let rates = ranked(&bench, RankBy::Events, 9)[0].rates;
    assert!((rates.events * 5.0 - 10.0).abs() < 1e-9, "{rates:?}");
    let released = 5.0; // alerts and updates, and the first value of the state; the metrics are held
    assert!((rates.deliveries * 5.0 - 3.0 * (released + 1.0)).abs() < 1e-9, "{rates:?}");
    assert!(ranked(&bench, RankBy::Members, 9)[0].held_bytes > 0);
    bench.pass(1_000);
    let now = &ranked(&bench, RankBy::Members, 9)[0];
    assert!((now.rates.deliveries * 5.0 - 3.0 * 9.0).abs() < 1e-9, "{now:?}: the metrics, and the last value of the state");
    assert_eq!((now.members, now.held_bytes), (3, 0));
    bench.pass(10_000);
    assert_eq!(ranked(&bench, RankBy::Members, 9)[0].rates, crate::hub::traffic::Rates::default());
}

/// The first ones of each order, whatever the size of the parts in which rooms are looked at; rooms that are gone are left out.
#[test]
fn rooms_are_ranked() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    for n in 0..20 {
        for _ in 0..=n {
            bench.accept(of(&format!("r{n:02}"), event(Mode::Transient, Lane::Alert, "1"))).unwrap();
        }
        bench.accept(of(&format!("r{n:02}"), alert("1"))).unwrap();
    }
    assert_eq!(names(&ranked(&bench, RankBy::Events, 3)), ["r19", "r18", "r17"]);
    assert_eq!(names(&ranked(&bench, RankBy::Members, 1)), ["r"]);
    assert_eq!(ranked(&bench, RankBy::Deliveries, 100).len(), 21);
    bench.hub.apply(bench.now, Input::Leave { room: bench.room(), conn: conn(0, 1), delta: false }, &mut bench.out);
    assert!(!names(&ranked(&bench, RankBy::Members, 100)).contains(&"r"), "a room with nothing to remember is gone");
}

/// OBS-14: also by rates that differ by a part of one a second; of equal rooms the newest comes first.
#[test]
fn small_rates_are_ranked() {
    let mut bench = Bench::new(options());
    let rooms = ["a", "b", "c", "d"];
    let publish = |bench: &mut Bench, room, data: &str| bench.accept(of(room, event(Mode::Transient, Lane::Alert, data))).unwrap();
    for (n, room) in (1..).zip(rooms) {
        bench.join_room(room, "u1", None, None);
        publish(&mut bench, room, &"1".repeat(5 - n));
    }
    assert_eq!(names(&ranked(&bench, RankBy::Bytes, 4)), rooms);
    assert_eq!(names(&ranked(&bench, RankBy::Events, 4)), ["d", "c", "b", "a"]);
    for (n, room) in (0..).zip(rooms) {
        (n..4).for_each(|_| _ = publish(&mut bench, room, "1"));
    }
    assert_eq!(names(&ranked(&bench, RankBy::Events, 4)), rooms);
    assert_eq!(names(&ranked(&bench, RankBy::Deliveries, 4)), rooms);
}
