//! The way from the hub to the reactor, and what is on it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mio::Token;
use serde_json::Value;

use super::client::{last_member, state_name};
use crate::base::ids::{KeyId, RoomId};
use crate::base::lane::Lane;
use crate::hub::ports::{NeedSeq, Outlet, Output};
use crate::net::link::Link;
use crate::reactor::slots;
use crate::wire::frame::Kind;

/// What the hub has put into the inbox, in order, as far as it matters here.
pub(super) enum Parcel {
    Joined { key: Token, name: Arc<str>, room: RoomId },
    Stream { room: RoomId, lane: Lane, seq: u64 },
    State { room: RoomId, key: KeyId, name: String, rev: u64 },
    Other,
}

/// The hub's way to the reactor.
pub(super) struct Way {
    pub(super) inbox: Arc<Link<Output>>,
    pub(super) parcels: VecDeque<Parcel>,
    pub(super) needs: VecDeque<NeedSeq>,
    /// The value of each state that went this way, by room, name and `rev`, in canonical order; none of one that was deleted.
    pub(super) values: HashMap<(String, String, u64), Option<String>>,
    /// Deliveries that may be on it.
    pub(super) slots: usize,
}

impl Outlet for Way {
    fn has_room(&self, _reactor: usize, lane: Lane) -> bool {
        self.inbox.len() < if lane == Lane::Alert { self.slots } else { self.slots / 2 }
    }

    fn push(&mut self, _reactor: usize, output: Output) {
        self.note_values(&output);
        self.parcels.push_back(parcel(&output));
        assert!(self.inbox.push(output).is_ok(), "the inbox is as long as all answers that may be owed");
    }

    fn need_seq(&mut self, need: NeedSeq) {
        self.needs.push_back(need);
    }
}

impl Way {
    fn note_values(&mut self, output: &Output) {
        let frames = match output {
            Output::Deliver(frame) => std::slice::from_ref(frame),
            Output::Joined(joined) => &joined.frames,
            Output::Reply { frames, .. } => frames,
            Output::Replayed(replayed) => &replayed.frames,
            _ => &[],
        };
        for frame in frames.iter().filter(|frame| matches!(frame.tag.kind, Kind::State { .. })) {
            let message: Value = serde_json::from_slice(frame.as_text()).expect("a frame is JSON");
            let (room, rev) = (message["room"].as_str().expect("a room").to_owned(), message["rev"].as_u64().expect("a rev"));
            self.values
                .entry((room, state_name(&message), rev))
                .or_insert_with(|| last_member(frame.as_text(), "data").map(|data| data.to_string()));
        }
    }
}

fn parcel(output: &Output) -> Parcel {
    match output {
        Output::Joined(joined) => Parcel::Joined { key: slots::token(joined.conn), name: Arc::clone(&joined.name), room: joined.room },
        Output::Deliver(frame) => match frame.tag.kind {
            Kind::Stream { seq } => Parcel::Stream { room: frame.tag.room, lane: frame.tag.lane, seq },
            Kind::State { key, rev, .. } => {
                let message: Value = serde_json::from_slice(frame.as_text()).expect("a frame is JSON");
                Parcel::State { room: frame.tag.room, key, name: state_name(&message), rev }
            }
            _ => Parcel::Other,
        },
        _ => Parcel::Other,
    }
}
