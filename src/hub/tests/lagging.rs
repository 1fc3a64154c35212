//! Full links.

use super::*;

/// DESIGN's rule for a full link: stream pumped, state conflated, transient counted.
#[test]
fn a_lagging_reactor_is_brought_on_when_its_link_has_room() {
    let mut bench = Bench::new(HubOptions { update_window: Duration::ZERO, ..options() });
    bench.join(conn(0, 1), None, None);
    bench.join(conn(1, 1), None, None);
    bench.out.free[0] = 0;
    for n in 1..=3 {
        bench.accept(alert(&n.to_string())).unwrap();
        bench.accept(state(Lane::Update, &format!("{}", n * 10))).unwrap();
        bench.accept(event(Mode::Transient, Lane::Update, "7")).unwrap();
    }
    assert!(bench.live(0).is_empty() && bench.hub.is_lagging(), "publishers are told to slow down");
    assert_eq!(bench.live(1).len(), 9, "the other reactor lacks nothing");
    let late = bench.join(conn(0, 2), None, Some(2));
    assert_eq!(datas(&late), [2, 3], "a newcomer gets its own replay, and the owed state by itself");
    bench.out.free[0] = 100;
    bench.pass(1);
    assert_eq!(datas(&bench.live(0)), [1, 2, 3, 30]);
    assert!(!bench.hub.is_lagging());
    let stats = bench.hub.stats();
    assert_eq!((stats.behind, stats.dirty, stats.transient_dropped, stats.gaps), (1, 1, 3, 0));
    bench.accept(alert("4")).unwrap();
    assert_eq!(datas(&bench.live(0)), [4]);
}

#[test]
fn a_newcomer_to_a_lagging_reactor_has_a_floor() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    bench.out.free[0] = 0;
    bench.accept(alert("1")).unwrap();
    let join = Join {
        conn: conn(0, 2),
        request: None,
        room: "r".into(),
        user: "u".into(),
        by_pattern: true,
        consent: Consent::None,
        since: None,
        history: None,
        delta: false,
        poll: None,
        sample: None,
    };
    bench.hub.apply(bench.now, Input::Join(Box::new(join)), &mut bench.out);
    let Some((0, Output::Joined(joined))) = bench.out.outputs.pop() else { panic!("the join is granted") };
    assert_eq!(joined.floor, [2, 0, 0]);
}

#[test]
fn what_the_history_has_lost_becomes_a_gap() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    bench.out.free[0] = 0;
    for n in 1..=6 {
        bench.accept(alert(&n.to_string())).unwrap();
    }
    bench.out.free[0] = 100;
    bench.pass(1);
    let frames = bench.live(0);
    assert_eq!(types(&frames), ["gap", "T", "T", "T", "T"]);
    assert_eq!((&frames[0]["from"], &frames[0]["to"], &frames[1]["seq"]), (&1.into(), &2.into(), &3.into()));
    assert_eq!(bench.hub.stats().gaps, 1);
}

/// One tick brings a reactor on by a bounded number of frames, so that a long backlog delays nobody else's alerts.
#[test]
fn a_long_backlog_comes_in_order_over_several_ticks() {
    let mut bench = Bench::new(HubOptions { history_events: 3_000, ..options() });
    bench.join(conn(0, 1), None, None);
    bench.out.free[0] = 0;
    for n in 0..3_000 {
        bench.accept(alert(&n.to_string())).unwrap();
    }
    bench.out.free[0] = usize::MAX;
    let mut pumped = Vec::new();
    for tick in 1..=3 {
        bench.pass(1);
        let frames = datas(&bench.live(0));
        assert!(frames.len() <= 1_024, "{} frames in tick {tick}", frames.len());
        pumped.extend(frames);
    }
    bench.pass(1);
    pumped.extend(datas(&bench.live(0)));
    assert_eq!(pumped, (0..3_000).collect::<Vec<u64>>());
    assert_eq!(bench.hub.stats().gaps, 0);
}

#[test]
fn alerts_have_slots_that_bulk_lanes_leave_free() {
    let mut bench = Bench::new(HubOptions { update_window: Duration::ZERO, ..options() });
    bench.join(conn(0, 1), None, None);
    bench.out.free[0] = 2;
    bench.accept(state(Lane::Update, "1")).unwrap();
    bench.accept(state(Lane::Update, "2")).unwrap();
    bench.accept(alert("3")).unwrap();
    assert_eq!(datas(&bench.live(0)), [1, 3]);
}

/// Found by simulation: a deletion that a lagging reactor has yet to hear of keeps its place.
#[test]
fn an_owed_deletion_is_not_forgotten_for_a_new_key() {
    let mut bench = Bench::new(options());
    bench.join(conn(0, 1), None, None);
    let key = |name: &str, data: &str| Event { key: name.into(), ..state(Lane::Alert, data) };
    bench.accept(key("a", "1")).unwrap();
    bench.accept(key("b", "1")).unwrap();
    bench.live(0);
    bench.out.free[0] = 0;
    bench.accept(key("a", "null")).unwrap();
    assert_eq!(bench.accept(key("c", "1")).unwrap_err().error, codes::OVER_CAPACITY);
    bench.out.free[0] = 100;
    bench.pass(1);
    assert_eq!(bench.live(0)[0]["deleted"], true);
    assert!(bench.accept(key("c", "1")).is_ok());
}
