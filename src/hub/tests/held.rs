//! What is held back, and when it is said to have been taken.

use super::*;

/// Either of the two times holds metrics.
#[test]
fn metrics_are_held_to_gather_or_for_the_rooms_flush() {
    for (metric_gather, metric_flush) in [(Duration::ZERO, options().metric_flush), (options().metric_gather, Duration::ZERO)] {
        let mut bench = Bench::new(HubOptions { metric_gather, metric_flush, ..options() });
        bench.join(conn(0, 1), None, None);
        bench.accept(state(Lane::Metric, "1")).unwrap();
        assert!(bench.live(0).is_empty(), "{metric_gather:?} {metric_flush:?}");
        bench.pass(1_000);
        assert_eq!(datas(&bench.live(0)), [1]);
    }
}

/// A reactor may have read an event after the hub last looked at the clock: it was not taken before it was read.
#[test]
fn an_event_is_not_taken_before_it_was_read() {
    for (ahead_ns, taken_ns) in [(5, 5), (0, 0)] {
        let mut bench = Bench::new(options());
        bench.join(conn(0, 1), None, None);
        bench.pass(7);
        let accepted = Mono(bench.now.mono.0 + ahead_ns);
        let publish = Publish { conn: conn(0, 99), ticket: 0, accepted, ack: Safety::Durable, event: state(Lane::Alert, "1") };
        bench.hub.apply(bench.now, Input::Publish(Box::new(publish)), &mut bench.out);
        let frames =
            bench.out.outputs.iter().filter_map(|(_, output)| if let Output::Deliver(frame) = output { Some(frame) } else { None });
        assert_eq!(frames.map(|frame| frame.tag.taken).collect::<Vec<_>>(), [Mono(bench.now.mono.0 + taken_ns)]);
    }
}
