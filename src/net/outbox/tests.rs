mod deltas;
mod events;

use proptest::prelude::*;

use super::*;
use crate::base::ids::KeyId;
use crate::wire::deflate::Deflater;
use crate::wire::frame::Tag;

/// Without compression there is nothing to be compressed first.
fn never(_: &Frame) -> bool {
    panic!("nobody agreed on compression")
}

/// Shorter messages are not compressed.
const DEFLATED_MIN: usize = 100;
const NO_LIMIT: Limits = Limits { bytes_max: usize::MAX };
const WRITE_BYTES: usize = 64 * 1024;

fn room(slot: u32) -> RoomId {
    RoomId { slot, generation: 0 }
}

fn frame(room_slot: u32, lane: Lane, kind: Kind, text: &[u8]) -> Arc<Frame> {
    Arc::new(Frame::text(Tag { room: room(room_slot), lane, kind, accepted: Mono(1), taken: Mono(1), released: Mono(2) }, text))
}

fn entry(frame: &Arc<Frame>, queued: u64) -> Entry {
    Entry { frame: Arc::clone(frame), queued: Mono(queued), live: true }
}

fn push(outbox: &mut Outbox, frame: &Arc<Frame>) -> PushOutcome {
    outbox.push(entry(frame, 1), NO_LIMIT)
}

/// Writes everything in one go and returns the bytes.
fn drain(outbox: &mut Outbox) -> Vec<u8> {
    drain_by(outbox, never)
}

fn drain_by(outbox: &mut Outbox, mut deflate: impl FnMut(&Frame) -> bool) -> Vec<u8> {
    let mut all = Vec::new();
    while !outbox.is_empty() {
        let before = all.len();
        outbox.fill(Lane::Metric, &mut all, WRITE_BYTES, &mut deflate);
        assert!(all.len() > before, "an outbox that is not empty fills nothing");
        outbox.wrote(all.len() - before, |_| {});
    }
    all
}

#[test]
fn replies_go_before_alerts_before_updates_before_metrics() {
    let mut outbox = Outbox::default();
    let frames = [
        frame(1, Lane::Metric, Kind::Transient, b"metric"),
        frame(1, Lane::Update, Kind::Stream { seq: 1 }, b"update"),
        frame(1, Lane::Alert, Kind::Stream { seq: 1 }, b"alert"),
        Arc::new(Frame::reply(b"reply")),
    ];
    for frame in &frames {
        push(&mut outbox, frame);
    }
    outbox.set_ping(b"PING");
    outbox.push_pong(b"PONG1");
    outbox.push_pong(b"PONG2");
    let mut expected = b"PONG1PONG2PING".to_vec();
    for frame in frames.iter().rev() {
        expected.extend_from_slice(frame.as_websocket());
    }
    assert_eq!(drain(&mut outbox), expected);
}

#[test]
fn what_is_started_is_neither_overtaken_nor_conflated_nor_purged() {
    let mut outbox = Outbox::default();
    let key = KeyId(1);
    let first = frame(1, Lane::Update, Kind::State { key, rev: 1, is_deleted: false }, b"first");
    push(&mut outbox, &first);
    outbox.wrote(3, |_| panic!("not finished yet"));
    let second = frame(1, Lane::Update, Kind::State { key, rev: 2, is_deleted: false }, b"second");
    assert_eq!(push(&mut outbox, &second), PushOutcome::Queued);
    let alert = frame(2, Lane::Alert, Kind::Stream { seq: 1 }, b"alert");
    push(&mut outbox, &alert);
    assert_eq!(outbox.purge(room(1)), 1);
    assert_eq!(outbox.frames(), 2);
    assert_eq!(drain(&mut outbox), [&first.as_websocket()[3..], alert.as_websocket()].concat());
}

#[test]
fn a_started_control_frame_is_finished_first() {
    let mut outbox = Outbox::default();
    outbox.push_pong(b"PONG");
    outbox.wrote(2, |_| {});
    outbox.push_pong(b"NEXT");
    assert_eq!(outbox.bytes(), 6);
    assert_eq!(drain(&mut outbox), b"NGNEXT");
}

/// LIM-05: who floods with pings and does not read is owed no more than this.
#[test]
fn pongs_that_wait_are_bounded_and_the_latest_is_there() {
    let mut outbox = Outbox::default();
    for nth in 0..10_000u32 {
        outbox.push_pong(&[&[0x8a, 125][..], &[b'x'; 121], &nth.to_be_bytes()].concat());
        assert!(outbox.bytes() <= PONG_BYTES_MAX);
    }
    assert!(drain(&mut outbox).ends_with(&9_999u32.to_be_bytes()));
}

#[test]
fn after_close_come_the_replies_and_the_close_frame_and_nothing_else() {
    let mut outbox = Outbox::default();
    let alert = frame(1, Lane::Alert, Kind::Stream { seq: 1 }, b"alert");
    let reply = Arc::new(Frame::reply(b"why"));
    push(&mut outbox, &alert);
    push(&mut outbox, &reply);
    assert_eq!(outbox.close(b"CLOSE"), 1);
    assert_eq!(outbox.close(b"AGAIN"), 0);
    assert_eq!(push(&mut outbox, &alert), PushOutcome::Closed);
    outbox.push_pong(b"PONG");
    assert_eq!(drain(&mut outbox), [reply.as_websocket(), b"CLOSE"].concat());
    assert!(outbox.is_closed() && outbox.is_empty());
}

/// What is started cannot be overtaken, so one write takes little of the lower lanes.
#[test]
fn one_write_takes_a_bounded_part_of_the_lower_lanes_but_at_least_one_frame() {
    let mut outbox = Outbox::default();
    for _ in 0..100 {
        push(&mut outbox, &frame(1, Lane::Metric, Kind::Transient, &[b'm'; 1000]));
    }
    let mut out = Vec::new();
    outbox.fill(Lane::Metric, &mut out, WRITE_BYTES, never);
    assert!(out.len() > LOWER_LANE_WRITE_BYTES - 1100 && out.len() <= LOWER_LANE_WRITE_BYTES, "{}", out.len());
    let mut outbox = Outbox::default();
    push(&mut outbox, &frame(1, Lane::Metric, Kind::Transient, &vec![b'm'; 40_000]));
    out.clear();
    outbox.fill(Lane::Metric, &mut out, WRITE_BYTES, never);
    assert_eq!(out.len(), outbox.bytes());
}

#[test]
fn a_large_rest_is_copied_piece_by_piece() {
    let mut outbox = Outbox::default();
    outbox.push_raw(Mono(1), |out| out.resize(200_000, b'x'));
    let mut out = Vec::new();
    outbox.fill(Lane::Metric, &mut out, WRITE_BYTES, never);
    assert_eq!(out.len(), WRITE_BYTES);
    assert_eq!(drain(&mut outbox).len(), 200_000);
}

#[test]
fn a_full_outbox_still_takes_a_state_that_replaces_a_longer_one() {
    let key = KeyId(9);
    let mut outbox = Outbox::default();
    let long = frame(1, Lane::Update, Kind::State { key, rev: 1, is_deleted: false }, b"longer");
    let limits = Limits { bytes_max: long.as_websocket().len() };
    assert_eq!(outbox.push(entry(&long, 1), limits), PushOutcome::Queued);
    let short = frame(1, Lane::Update, Kind::State { key, rev: 2, is_deleted: false }, b"short");
    assert_eq!(outbox.push(entry(&short, 2), limits), PushOutcome::Conflated);
    assert_eq!(outbox.bytes(), short.as_websocket().len());
    let alert = frame(1, Lane::Alert, Kind::Stream { seq: 1 }, b"alert");
    assert!(!outbox.is_overflowed());
    assert_eq!(outbox.push(entry(&alert, 3), limits), PushOutcome::TooMuch);
    assert!(outbox.is_overflowed());
    assert_eq!(drain(&mut outbox), short.as_websocket());
}

/// Beyond a few entries keys are found by an index, which must survive purges and pops.
#[test]
fn many_keys_conflate_in_their_places_after_a_purge_and_a_write() {
    let mut outbox = Outbox::default();
    let state = |key: u64, rev| {
        frame((key % 2) as u32, Lane::Update, Kind::State { key: KeyId(key), rev, is_deleted: false }, &[key as u8, rev as u8])
    };
    for key in 0..100 {
        assert_eq!(push(&mut outbox, &state(key, 1)), PushOutcome::Queued);
    }
    assert_eq!(outbox.purge(room(0)), 50);
    outbox.wrote(3 * state(0, 1).as_websocket().len(), |_| {});
    for key in (0..100).rev() {
        let expected = if key % 2 == 1 && key > 5 { PushOutcome::Conflated } else { PushOutcome::Queued };
        assert_eq!(push(&mut outbox, &state(key, 2)), expected, "{key}");
    }
    let order: Vec<u8> = drain(&mut outbox).chunks(4).map(|frame| frame[2]).collect();
    let (kept, anew) = ((7..100).filter(|key| key % 2 == 1), (0..100).rev().filter(|key| key % 2 == 0 || *key <= 5));
    assert_eq!(order, kept.chain(anew).collect::<Vec<u8>>());
}

#[test]
fn a_last_word_follows_what_is_started() {
    let mut outbox = Outbox::default();
    let alert = frame(1, Lane::Alert, Kind::Stream { seq: 1 }, b"alert");
    push(&mut outbox, &alert);
    outbox.wrote(1, |_| {});
    push(&mut outbox, &alert);
    push(&mut outbox, &Arc::new(Frame::reply(b"reply")));
    outbox.push_pong(b"PONG");
    assert_eq!(outbox.drop_queued(), 2);
    let last = Arc::new(Frame::reply(b"last"));
    push(&mut outbox, &last);
    outbox.close(b"CLOSE");
    assert_eq!(drain(&mut outbox), [&alert.as_websocket()[1..], last.as_websocket(), b"CLOSE"].concat());
}

#[test]
fn the_oldest_is_the_oldest_of_all_queues_and_conflation_does_not_rejuvenate() {
    let mut outbox = Outbox::default();
    let state = |rev| frame(1, Lane::Metric, Kind::State { key: KeyId(1), rev, is_deleted: false }, b"s");
    outbox.push(entry(&state(1), 5), NO_LIMIT);
    outbox.push(entry(&state(2), 50), NO_LIMIT);
    outbox.push(entry(&Arc::new(Frame::reply(b"r")), 9), NO_LIMIT);
    assert_eq!(outbox.oldest(), Some(Mono(5)));
    drain(&mut outbox);
    assert_eq!(outbox.oldest(), None);
}

#[test]
fn an_idle_outbox_is_small() {
    assert!(size_of::<Outbox>() <= 224, "{}", size_of::<Outbox>());
}

#[derive(Clone, Debug)]
enum Op {
    Push { room: u32, lane: usize, key: Option<u64>, size: usize },
    Reply(usize),
    Purge(u32),
    Write(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u32..3, 0usize..3, prop::option::of(0u64..40), 0usize..600)
            .prop_map(|(room, lane, key, size)| Op::Push { room, lane, key, size }),
        1 => (0usize..100).prop_map(Op::Reply),
        1 => (0u32..3).prop_map(Op::Purge),
        2 => (1usize..2000).prop_map(Op::Write),
    ]
}

/// Key, room, bytes on the wire, and how many these are without compression.
type Waiting = (Option<u64>, u32, Vec<u8>, usize);

/// The plainest outbox there is: lists of what waits, replies first.
#[derive(Default)]
struct Model {
    started: Vec<u8>,
    queues: [Vec<Waiting>; 4],
}

impl Model {
    fn push(&mut self, queue: usize, key: Option<u64>, room: u32, frame: &Frame, window_bits: u8) {
        let twin = Frame::text(frame.tag, frame.as_text());
        twin.deflate(&mut Deflater::new(3, DEFLATED_MIN));
        let waiting = (key, room, twin.for_window(window_bits).unwrap().to_vec(), twin.as_websocket().len());
        let same = self.queues[queue].iter_mut().find(|(queued, ..)| key.is_some() && *queued == key);
        match same {
            Some(place) => *place = waiting,
            None => self.queues[queue].push(waiting),
        }
    }

    fn write(&mut self, n: usize) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.started);
        for queue in &mut self.queues {
            while out.len() < n && !queue.is_empty() {
                out.extend(queue.remove(0).2);
            }
        }
        self.started = out.split_off(n.min(out.len()));
        out
    }

    fn bytes(&self) -> usize {
        self.started.len() + self.queues.iter().flatten().map(|(.., plain)| plain).sum::<usize>()
    }
}

proptest! {
    /// Whatever is pushed, purged and written in whatever portions: the bytes on the wire are those of the plain model, whole
    /// frames in order of priority, the newest state in the oldest place; and the accounts agree. (Keys are per room: `key * 3 + room`.)
    /// DLV-23: with compression it is the same, and as little may be compressed at a time as one frame.
    #[test]
    fn behaves_as_the_plain_model(
        ops in prop::collection::vec(op(), 1..300), window_bits in prop::sample::select(&[0u8, 9, 15]), at_once in 1usize..5,
    ) {
        let (mut outbox, mut model) = (Outbox::default(), Model::default());
        let mut deflater = Deflater::new(3, DEFLATED_MIN);
        outbox.set_window_bits(window_bits);
        for (n, op) in ops.into_iter().enumerate() {
            match op {
                Op::Push { room, lane, key, size } => {
                    let key = key.map(|key| key * 3 + u64::from(room));
                    let kind = key.map_or(Kind::Stream { seq: n as u64 }, |key| Kind::State { key: KeyId(key), rev: n as u64, is_deleted: false });
                    let frame = frame(room, Lane::ALL[lane], kind, &vec![n as u8; size]);
                    model.push(lane + 1, key, room, &frame, window_bits);
                    push(&mut outbox, &frame);
                }
                Op::Reply(size) => {
                    let frame = Arc::new(Frame::reply(&vec![n as u8; size]));
                    model.push(0, None, u32::MAX, &frame, window_bits);
                    push(&mut outbox, &frame);
                }
                Op::Purge(purged) => {
                    model.queues.iter_mut().for_each(|queue| queue.retain(|(_, room, ..)| *room != purged));
                    outbox.purge(room(purged));
                }
                Op::Write(n) => {
                    let (mut out, mut left) = (Vec::new(), at_once);
                    outbox.fill(Lane::Metric, &mut out, WRITE_BYTES, |frame| {
                        assert!(window_bits > 0);
                        let may = left > 0;
                        left = left.saturating_sub(1);
                        may && { frame.deflate(&mut deflater); true }
                    });
                    let n = n.min(out.len());
                    outbox.wrote(n, |_| {});
                    prop_assert_eq!(&out[..n], &model.write(n)[..]);
                }
            }
            prop_assert_eq!(outbox.bytes(), model.bytes());
            let waiting = model.queues.iter().map(Vec::len).sum::<usize>() + usize::from(!model.started.is_empty());
            prop_assert_eq!(outbox.frames(), waiting);
        }
        let rest = drain_by(&mut outbox, |frame| { frame.deflate(&mut deflater); true });
        prop_assert_eq!(rest, model.write(usize::MAX));
    }
}

proptest! {
    /// A write that went past the outbox and stopped anywhere is gone on with at exactly that byte; what it finished is told once.
    #[test]
    fn what_a_write_left_over_is_taken_on_where_it_stopped(lens in prop::collection::vec(0usize..300, 1..12), at: prop::sample::Index) {
        let frames: Vec<_> = lens.iter().zip(1..).map(|(len, seq)| frame(1, Lane::Update, Kind::Stream { seq }, &vec![b'x'; *len])).collect();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.as_websocket().to_vec()).collect();
        let written = at.index(bytes.len());
        let (mut outbox, mut finished) = (Outbox::default(), 0);
        outbox.take_over(&frames, written, Mono(1), NO_LIMIT, |_, _| finished += 1);
        prop_assert_eq!(outbox.bytes(), bytes.len() - written);
        prop_assert_eq!(outbox.frames() + finished, frames.len());
        prop_assert_eq!(&drain(&mut outbox)[..], &bytes[written..]);
    }
}
