//! Outboxes whose peers read server-sent events.

use proptest::prelude::*;

use super::*;
use crate::wire::cursor::Cursor;

/// A message as a reader takes it: the position it stands at, and its JSON.
fn messages(stream: &[u8]) -> Vec<(Option<Cursor>, String)> {
    let text = std::str::from_utf8(stream).unwrap();
    let whole = text.strip_suffix("\n\n").map_or(Vec::new(), |text| text.split("\n\n").collect());
    let message = |text: &&str| {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
        (field("id: ").map(|id| Cursor::parse(id).unwrap()), field("data: ").unwrap().to_owned())
    };
    whole.iter().map(message).collect()
}

fn reader(seq: PerLane<u64>) -> Outbox {
    let mut outbox = Outbox::default();
    outbox.begin_events("k3".into(), seq, 1500);
    outbox
}

fn at(seq: PerLane<u64>) -> Cursor {
    Cursor { epoch: "k3".into(), seq: seq.map(Some), states: None }
}

#[test]
fn the_answers_head_goes_first_and_each_position_once() {
    let mut outbox = reader([4, 0, 0]);
    push(&mut outbox, &frame(1, Lane::Update, Kind::Stream { seq: 1 }, b"{\"u\":\n1}"));
    push(&mut outbox, &frame(1, Lane::Alert, Kind::Gap { to: 6 }, b"gap"));
    push(&mut outbox, &frame(1, Lane::Update, Kind::State { key: KeyId(1), rev: 9, is_deleted: false }, b"state"));
    push(&mut outbox, &Arc::new(Frame::reply(b"welcome")));
    outbox.push_raw(Mono(1), |out| out.extend_from_slice(b"HEAD\r\n\r\n"));
    let expected = "HEAD\r\n\r\nretry: 1500\nid: k3:alert.4,update.0,metric.0\ndata: welcome\n\nid: k3:alert.6,update.0,metric.0\n\
        data: gap\n\nid: k3:alert.6,update.1,metric.0\ndata: {\"u\": 1}\n\ndata: state\n\n";
    assert_eq!(String::from_utf8(drain(&mut outbox)).unwrap(), expected);
    assert_eq!((outbox.bytes(), outbox.is_urgent()), (0, false));
}

/// DLV-01: an alert overtakes what is queued, and the position says what the reader has by then.
#[test]
fn an_alert_overtakes_what_is_not_started() {
    let mut outbox = reader([0; 3]);
    push(&mut outbox, &frame(1, Lane::Update, Kind::Stream { seq: 1 }, b"first"));
    push(&mut outbox, &frame(1, Lane::Update, Kind::Stream { seq: 2 }, b"second"));
    let mut stream = Vec::new();
    outbox.fill(Lane::Metric, &mut stream, 10, never);
    stream.truncate(10);
    outbox.wrote(10, |_| panic!("not finished yet"));
    push(&mut outbox, &frame(1, Lane::Alert, Kind::Stream { seq: 1 }, b"alert"));
    stream.extend(drain(&mut outbox));
    let expected = [(Some(at([0, 1, 0])), "first"), (Some(at([1, 1, 0])), "alert"), (Some(at([1, 2, 0])), "second")];
    assert_eq!(messages(&stream), expected.map(|(at, text)| (at, text.to_owned())));
}

#[test]
fn nothing_follows_the_last_word() {
    let mut outbox = reader([0; 3]);
    push(&mut outbox, &frame(1, Lane::Alert, Kind::Stream { seq: 1 }, b"alert"));
    outbox.set_retry(7000);
    push(&mut outbox, &Arc::new(Frame::reply(b"disconnect")));
    assert_eq!(outbox.end_events(), 1);
    assert_eq!(push(&mut outbox, &frame(1, Lane::Alert, Kind::Stream { seq: 2 }, b"alert")), PushOutcome::Closed);
    assert_eq!(drain(&mut outbox), b"retry: 7000\nid: k3:alert.0,update.0,metric.0\ndata: disconnect\n\n");
    assert!(!outbox.is_urgent(), "there is nothing to be flushed");
}

#[derive(Clone, Debug)]
enum Op {
    Push(Lane, usize),
    Reply,
    Write(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop::sample::select(&Lane::ALL[..]), 1..400usize).prop_map(|(lane, len)| Op::Push(lane, len)),
        1 => Just(Op::Reply),
        3 => (1..900usize).prop_map(Op::Write),
    ]
}

proptest! {
    /// DLV-01, DLV-14: however the socket takes it, every message comes once and whole, in its lane's order, and a position covers exactly
    /// what came before it and it itself.
    #[test]
    fn a_position_is_what_the_reader_has(ops in prop::collection::vec(op(), 1..120)) {
        let (mut outbox, mut stream, mut last, mut finished) = (reader([0; 3]), Vec::new(), [0; 3], 0);
        let mut write = |outbox: &mut Outbox, most: usize| {
            let mut out = Vec::new();
            outbox.fill(Lane::Metric, &mut out, WRITE_BYTES, never);
            let taken = out.len().min(most);
            outbox.wrote(taken, |written| {
                assert!(written.bytes >= written.form.as_text().len());
                finished += 1;
            });
            stream.extend_from_slice(&out[..taken]);
        };
        let mut pushed = 0;
        for op in ops {
            match op {
                Op::Push(lane, len) => {
                    last[lane.index()] += 1;
                    let text = format!("{lane} {} {}", last[lane.index()], "x".repeat(len));
                    push(&mut outbox, &frame(1, lane, Kind::Stream { seq: last[lane.index()] }, text.as_bytes()));
                    pushed += 1;
                }
                Op::Reply => {
                    push(&mut outbox, &Arc::new(Frame::reply(b"reply")));
                    pushed += 1;
                }
                Op::Write(most) => write(&mut outbox, most),
            }
        }
        while !outbox.is_empty() {
            write(&mut outbox, usize::MAX);
        }
        prop_assert_eq!((outbox.bytes(), outbox.frames(), finished), (0, 0, pushed));
        let (mut seen, mut position) = ([0; 3], at([0; 3]));
        let came = messages(&stream);
        prop_assert_eq!(came.len(), pushed);
        for (id, text) in came {
            if let [lane, seq, _] = text.splitn(3, ' ').collect::<Vec<_>>()[..] {
                let seen = &mut seen[Lane::parse(lane).unwrap().index()];
                *seen += 1;
                prop_assert_eq!(seq, seen.to_string());
            }
            position = id.unwrap_or(position);
            prop_assert_eq!(&position, &at(seen));
        }
        prop_assert_eq!(seen, last);
    }
}
