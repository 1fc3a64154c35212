//! Little memory, and what is kept in it.

use super::*;
use crate::hub::publish::KEY_BYTES;
use crate::hub::unacknowledged::WAITING_BYTES;

/// LIM-06: states conflate for half a second instead of a window, the last value comes all the same; and windows of both lengths end in time.
#[test]
fn while_memory_is_short_windows_are_longer() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    let key = |name: &str, data: &str| Event { key: name.into(), ..state(Lane::Update, data) };
    bench.hub.set_short(true);
    bench.accept(key("a", "1")).unwrap();
    bench.accept(key("a", "2")).unwrap();
    bench.hub.set_short(false);
    bench.accept(key("b", "10")).unwrap();
    bench.accept(key("b", "20")).unwrap();
    assert_eq!(datas(&bench.live(0)), [1, 10], "the first frame of each goes at once");
    bench.pass(100);
    assert_eq!(datas(&bench.live(0)), [20], "the window that was opened later ends first");
    bench.accept(key("a", "3")).unwrap();
    bench.pass(399);
    assert!(bench.live(0).is_empty());
    bench.pass(1);
    assert_eq!(datas(&bench.live(0)), [3]);
    bench.accept(key("a", "4")).unwrap();
    bench.pass(100);
    assert_eq!(datas(&bench.live(0)), [4], "the next window is as long as ever");
}

#[test]
fn while_memory_is_short_there_are_windows_where_there_were_none() {
    let mut bench = Bench::new(HubOptions { update_window: Duration::ZERO, ..options() });
    bench.join(conn(0, 1), None, None);
    bench.hub.set_short(true);
    for data in ["1", "2", "3"] {
        bench.accept(state(Lane::Update, data)).unwrap();
    }
    assert_eq!(datas(&bench.live(0)), [1]);
    bench.pass(500);
    assert_eq!(datas(&bench.live(0)), [3]);
}

/// LIM-06: what is held back counts until it is let go; rooms and keys count until they go.
#[test]
fn what_the_hub_holds_is_counted_and_given_back() {
    let mut bench = Bench::new(HubOptions { rooms_max: 1, history_events: 0, ..options() });
    let data = "7".repeat(1_000);
    assert_eq!(bench.hub.memory_bytes(), 0);
    bench.join(conn(0, 1), None, None);
    let room = bench.hub.memory_bytes();
    let metric = event(Mode::Stream, Lane::Metric, &data);
    bench.accept(metric.clone()).unwrap();
    bench.accept(metric.clone()).unwrap();
    assert_eq!(bench.hub.memory_bytes(), room + 2 * metric.bytes());
    for n in 0..3 {
        bench.accept(state(Lane::Update, &format!("{n}{data}"))).unwrap();
    }
    assert_eq!(bench.hub.memory_bytes(), room + 2 * metric.bytes() + KEY_BYTES + 1_001, "a state that replaces a held one takes its place");
    bench.pass(1_000);
    assert_eq!(bench.hub.memory_bytes(), room + KEY_BYTES);
    bench.accept(Event { event_id: Some("e".into()), ..alert("1") }).unwrap();
    assert!(bench.hub.memory_bytes() > room + KEY_BYTES);
    bench.pass(61_000);
    assert_eq!(bench.hub.memory_bytes(), room + KEY_BYTES);
    let id = bench.room();
    bench.hub.apply(bench.now, Input::Leave { room: id, conn: conn(0, 1), delta: false }, &mut bench.out);
    bench.accept(Event { room: "other".into(), ..alert("1") }).unwrap();
    assert_eq!(bench.hub.memory_bytes(), room, "the key went with the evicted room");
}

/// LIM-06: an event's place in the order of all counts until it is swept out, its place in its room's ring until another takes it.
#[test]
fn the_places_of_past_events_are_counted_and_given_back() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    let empty = bench.hub.memory_bytes();
    let mut places_of_four_more = || {
        (0..4).for_each(|_| _ = bench.accept(alert("1")).unwrap());
        bench.hub.memory_bytes() - empty
    };
    let (kept, with_as_many_gone) = (places_of_four_more(), places_of_four_more());
    assert_eq!(2 * kept - with_as_many_gone, 4 * size_of::<Arc<Frame>>(), "the ring has four places, whatever went through it");
    assert!(with_as_many_gone > kept);
    bench.pass(60_000);
    assert_eq!(bench.hub.memory_bytes(), empty);
}

/// LIM-06: the places of events that are gone are swept out once these are the most, and a thousand more.
#[test]
fn places_are_swept_out_when_most_are_of_events_that_are_gone() {
    const KEPT: usize = 2_000;
    let mut bench = Bench::new(HubOptions { history_events: KEPT, ..options() });
    bench.join(conn(0, 1), None, None);
    let empty = bench.hub.memory_bytes();
    let mut bytes_after = |events: usize| {
        (0..events).for_each(|_| _ = bench.accept(alert("1")).unwrap());
        bench.hub.memory_bytes() - empty
    };
    let kept = bytes_after(KEPT);
    let place = kept / KEPT - size_of::<Arc<Frame>>();
    assert_eq!(bytes_after(KEPT + 1_024), kept + (KEPT + 1_024) * place);
    assert_eq!(bytes_after(1), kept);
}

/// LIM-06: what waits to be acknowledged counts, each.
#[test]
fn what_waits_to_be_acknowledged_is_counted() {
    let bytes_of_three = |ack_ttl| {
        let mut bench = Bench::new(options());
        for id in ["a", "b", "c"] {
            bench.accept(Event { room: "user:u1".into(), event_id: Some(id.into()), ack_ttl, ..alert("1") }).unwrap();
        }
        bench.hub.memory_bytes()
    };
    assert_eq!(bytes_of_three(Some(Duration::from_secs(9))), bytes_of_three(None) + 3 * WAITING_BYTES);
}

#[test]
fn history_is_bounded_by_bytes_and_age_and_gives_back_what_an_evicted_room_held() {
    let mut bench = Bench::new(HubOptions { history_bytes: 1_000, rooms_max: 2, ..options() });
    for n in 0..20 {
        bench.accept(Event { room: format!("r{}", n % 2).into(), ..alert("1234567890") }).unwrap();
        assert!(bench.hub.stats().history_bytes <= 1_000);
    }
    assert!(bench.hub.stats().history_bytes > 500, "it keeps what fits");
    for n in 0..8 {
        bench.accept(Event { room: format!("x{n}").into(), ..alert("1") }).unwrap();
    }
    assert_eq!(bench.hub.stats().rooms_evicted, 8);
    bench.pass(59_999);
    assert!(bench.hub.stats().history_bytes > 0);
    bench.pass(1);
    assert_eq!(bench.hub.stats().history_bytes, 0);
}

/// What the history notes of evicted rooms does not pile up, and no tick is due for it.
#[test]
fn the_history_forgets_evicted_rooms() {
    let mut bench = Bench::new(HubOptions { rooms_max: 2, ..options() });
    for n in 0..2_000 {
        if n == 1_000 {
            bench.pass(30_000);
        }
        bench.accept(Event { room: format!("r{n}").into(), ..alert("1") }).unwrap();
    }
    let due = bench.hub.tick(bench.now, &mut bench.out);
    assert_eq!(due.since(bench.now.mono), Duration::from_secs(60), "the oldest event of a room that still is");
}
