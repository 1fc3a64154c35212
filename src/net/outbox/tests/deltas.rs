//! States in full or as deltas: what a peer gets is always what it can use.

use std::collections::{HashMap, HashSet};

use super::*;

/// Rooms of the test, of which the peer may want deltas; keys of each.
const ROOMS: u32 = 3;
const KEYS: u64 = 3;

/// A state of a key; with a delta form on `base`, if there is one.
fn state(room_slot: u32, key: u64, rev: u64, base: Option<u64>, is_deleted: bool) -> Arc<Frame> {
    let kind = Kind::State { key: KeyId(key * u64::from(ROOMS) + u64::from(room_slot)), rev, is_deleted };
    let tag = Tag { room: room(room_slot), lane: Lane::ALL[key as usize], kind, accepted: Mono(1), taken: Mono(1), released: Mono(2) };
    let full = Frame::text(tag, format!("full {room_slot} {key} {rev} {is_deleted} {}", "x".repeat(200)).as_bytes());
    Arc::new(match base {
        Some(base) => full.with_delta(base, format!("delta {room_slot} {key} {rev} {base} {}", "y".repeat(20)).as_bytes()),
        None => full,
    })
}

/// Texts on the wire, and what is left of one that is not complete.
fn texts(bytes: &mut Vec<u8>) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let (header, len) = match bytes[..] {
            [_, len @ 0..126, ..] => (2, usize::from(len)),
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            _ => return texts,
        };
        if bytes.len() < header + len {
            return texts;
        }
        let body: Vec<u8> = bytes.drain(..header + len).skip(header).collect();
        texts.push(String::from_utf8(body).expect("nothing is compressed"));
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// A state comes. `is_missed`: not here, for the link was full.
    State {
        room: u32,
        key: u64,
        is_deleted: bool,
        is_missed: bool,
    },
    /// The room is left and joined again.
    Join {
        room: u32,
        is_delta: bool,
    },
    /// Full states were asked for.
    Renew(u32),
    Write(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..ROOMS, 0..KEYS, prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(room, key, is_deleted, is_missed)| Op::State { room, key, is_deleted, is_missed }),
        1 => (0..ROOMS, prop::bool::weighted(0.8)).prop_map(|(room, is_delta)| Op::Join { room, is_delta }),
        1 => (0..ROOMS).prop_map(Op::Renew),
        8 => (1usize..1500).prop_map(Op::Write),
    ]
}

/// What the peer has.
#[derive(Default)]
struct Peer {
    /// Rooms of which it wants deltas.
    wants: HashSet<u32>,
    /// Its state of each key.
    revs: HashMap<(u32, u64), u64>,
    /// The base of each delta there is, by (room, key, rev).
    bases: HashMap<(u32, u64, u64), u64>,
    deltas: u64,
    saved: usize,
}

impl Peer {
    fn hear(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        let (room, key, rev): (u32, u64, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap(), words[3].parse().unwrap());
        let has = self.revs.get(&(room, key)).copied();
        let base = self.bases.get(&(room, key, rev)).copied();
        let is_delta = words[0] == "delta";
        assert_eq!(is_delta, self.wants.contains(&room) && base.is_some() && base == has, "a peer that has {has:?} got: {text}");
        self.deltas += u64::from(is_delta);
        if words[4] == "true" {
            self.revs.remove(&(room, key));
        } else {
            self.revs.insert((room, key), rev);
        }
    }
}

proptest! {
    /// DLV-06: whatever is conflated, missed, left and joined again, and in whatever portions it is written: a peer gets the delta if it has
    /// the delta's base, and the full state otherwise.
    #[test]
    fn a_delta_goes_to_those_alone_who_have_its_base(ops in prop::collection::vec(op(), 1..300)) {
        let (mut outbox, mut peer) = (Outbox::default(), Peer::default());
        let (mut sent, mut rev, mut wire) = (HashMap::new(), 0, Vec::new());
        let mut write = |outbox: &mut Outbox, peer: &mut Peer, n: usize| {
            let mut out = Vec::new();
            outbox.fill(Lane::Metric, &mut out, WRITE_BYTES, never);
            let n = n.min(out.len());
            outbox.wrote(n, |written| {
                assert_eq!(written.bytes, written.form.as_websocket().len());
                peer.saved += written.delta_saved.unwrap_or(0);
            });
            wire.extend_from_slice(&out[..n]);
            for text in texts(&mut wire) {
                peer.hear(&text);
            }
        };
        for op in ops {
            match op {
                Op::State { room, key, is_deleted, is_missed } => {
                    rev += 1;
                    let base = if is_deleted { None } else { sent.get(&(room, key)).copied() };
                    let frame = state(room, key, rev, base, is_deleted);
                    if is_deleted { sent.remove(&(room, key)) } else { sent.insert((room, key), rev) };
                    peer.bases.extend(base.map(|base| ((room, key, rev), base)));
                    if !is_missed {
                        push(&mut outbox, &frame);
                    }
                }
                Op::Join { room: joined, is_delta } => {
                    // What is started is written first, so that the peer's books need not know of it.
                    write(&mut outbox, &mut peer, usize::MAX);
                    outbox.purge(room(joined));
                    prop_assert_eq!(outbox.end_deltas(room(joined)), peer.wants.remove(&joined));
                    outbox.set_deltas(room(joined), is_delta);
                    if is_delta {
                        peer.wants.insert(joined);
                    }
                    peer.revs.retain(|(room, _), _| *room != joined);
                }
                Op::Renew(room_slot) => {
                    write(&mut outbox, &mut peer, usize::MAX);
                    outbox.renew_deltas(room(room_slot));
                    peer.revs.retain(|(room, _), _| *room != room_slot);
                }
                Op::Write(n) => write(&mut outbox, &mut peer, n),
            }
            prop_assert_eq!((0..ROOMS).filter(|slot| outbox.has_deltas(room(*slot))).count(), peer.wants.len());
        }
        while !outbox.is_empty() {
            write(&mut outbox, &mut peer, usize::MAX);
        }
        prop_assert!(peer.saved as u64 >= peer.deltas * 150);
        prop_assert!(peer.deltas > 0 || peer.saved == 0);
    }
}

/// A delta that is started is gone on with as a delta, whatever comes meanwhile; and it counts as what the peer has.
#[test]
fn a_delta_that_is_started_is_gone_on_with() {
    let mut outbox = Outbox::default();
    outbox.set_deltas(room(1), true);
    push(&mut outbox, &state(1, 0, 1, None, false));
    drain(&mut outbox);
    push(&mut outbox, &state(1, 0, 2, Some(1), false));
    let mut bytes = Vec::new();
    outbox.fill(Lane::Metric, &mut bytes, WRITE_BYTES, never);
    bytes.truncate(5);
    outbox.wrote(5, |_| panic!("not finished yet"));
    push(&mut outbox, &state(1, 0, 3, Some(2), false));
    outbox.renew_deltas(room(2));
    bytes.extend(drain(&mut outbox));
    let kinds: Vec<String> = texts(&mut bytes).iter().map(|text| text[..11].to_owned()).collect();
    assert_eq!(kinds, ["delta 1 0 2", "delta 1 0 3"]);
}

/// What is kept of a peer's states is no more than there are states, and nothing without deltas.
#[test]
fn it_keeps_nothing_of_deleted_states_and_rooms_that_were_left() {
    let mut outbox = Outbox::default();
    let write = |outbox: &mut Outbox, is_deleted| {
        for key in 0..1000 {
            let kind = Kind::State { key: KeyId(key), rev: 1, is_deleted };
            push(outbox, &frame(1, Lane::Update, kind, b"x"));
        }
        drain(outbox);
        outbox.own_bytes()
    };
    let without = write(&mut outbox, false);
    outbox.set_deltas(room(1), true);
    assert!(write(&mut outbox, false) > without + 10_000);
    assert_eq!(outbox.revs.as_ref().map(|revs| revs.len()), Some(1000));
    write(&mut outbox, true);
    assert_eq!(outbox.revs.as_ref().map(|revs| revs.len()), Some(0));
    assert!(outbox.end_deltas(room(1)));
    assert_eq!(outbox.own_bytes(), without);
}
