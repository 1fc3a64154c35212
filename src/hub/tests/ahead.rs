//! Members who come from a node that was a moment faster than this one.

use serde_json::json;

use super::shared::{Node, Store, node};
use super::*;
use crate::hub::store::News;

const WAIT_MS: u64 = 2_000;

/// Five events in the store, of which the node has heard three.
fn slow_node(lane: Lane) -> (Store, Node) {
    let mut store = Store::new();
    let mut node = node(&store);
    for data in 1..=5 {
        node.bench.publish(event(Mode::Stream, lane, &data.to_string()));
        let append = node.bench.out.appends.pop_front().unwrap();
        store.append(append);
    }
    node.hear(&store, 3);
    (store, node)
}

fn after(lane: Lane, seq: u64) -> Since {
    let mut since = Since { epoch: "e1".into(), seq: [None; Lane::COUNT] };
    since.seq[lane.index()] = Some(seq);
    since
}

fn ask(node: &mut Node, slot: u32, since: Since) -> Option<Vec<Value>> {
    node.bench.ask_to_join(conn(0, slot), "u1", true, Some(since), None);
    node.bench.answer_of_join()
}

/// SCL-04, DLV-03: it has an event that this node has not heard of: it is answered once the node has, and gets what follows, and nothing twice.
#[test]
fn who_is_ahead_of_the_feed_is_answered_when_the_node_is_there_too() {
    let (store, mut node) = slow_node(Lane::Alert);
    assert!(ask(&mut node, 1, after(Lane::Alert, 4)).is_none());
    node.bench.pass(10);
    assert!(node.bench.answer_of_join().is_none());
    node.hear(&store, 2);
    node.bench.pass(5);
    let frames = node.bench.answer_of_join().unwrap();
    assert_eq!((&frames[0]["from"]["alert"], &frames[0]["rewound"]), (&json!(5), &Value::Null));
    assert_eq!(datas(&frames), [5]);
}

/// SCL-04, DLV-03: this node's window ends later than the other's.
#[test]
fn who_is_ahead_of_a_window_is_answered_at_its_end() {
    let (_, mut node) = slow_node(Lane::Metric);
    assert!(ask(&mut node, 1, after(Lane::Metric, 3)).is_none());
    let mut answer_after = |ms| {
        node.bench.pass(ms);
        node.bench.answer_of_join()
    };
    let frames = (0..WAIT_MS / 10 - 1).find_map(|_| answer_after(10)).expect("it is answered before it has waited long enough");
    assert_eq!((&frames[0]["from"]["metric"], &frames[0]["rewound"]), (&json!(4), &Value::Null));
}

/// A position that nobody has given is answered in the end, at once where the store is away or too many wait, and who is not ahead does not wait.
#[test]
fn nobody_waits_for_long_nor_for_nothing() {
    let (_, mut node) = slow_node(Lane::Alert);
    assert_eq!(ask(&mut node, 1, after(Lane::Alert, 3)).unwrap()[0]["rewound"], Value::Null);
    assert!(ask(&mut node, 2, after(Lane::Alert, 9)).is_none());
    let look_at = node.bench.hub.tick(node.bench.now, &mut node.bench.out);
    assert_eq!(look_at.since(node.bench.now.mono), Duration::from_millis(5));
    node.bench.pass(WAIT_MS - 5);
    assert!(node.bench.answer_of_join().is_none());
    node.bench.pass(5);
    assert_eq!(node.bench.answer_of_join().unwrap()[0]["rewound"], json!({"alert": 3}));
    let waiting = (3..1_000).take_while(|slot| ask(&mut node, *slot, after(Lane::Alert, 9)).is_none()).count();
    assert_eq!(waiting, 256);
    node.bench.news(News::Gone { reason: "it was unplugged".into() });
    node.bench.pass(0);
    assert_eq!(std::mem::take(&mut node.bench.out.outputs).len(), 256);
    assert_eq!(ask(&mut node, 1_000, after(Lane::Alert, 9)).unwrap()[0]["rewound"], json!({"alert": 3}));
}
