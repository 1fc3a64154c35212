//! A client: its outbox in the daemon, what it reads of that, and the documents that it makes of deltas.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use tickerd::base::ids::{ConnId, RoomId};
use tickerd::base::lane::Lane;
use tickerd::base::time::Mono;
use tickerd::hub::ports::Joined;
use tickerd::net::outbox::{Entry, Limits, Outbox, PushOutcome};
use tickerd::wire::frame::Frame;

use crate::tree::Tree;
use crate::world::{Slot, Truth};

/// Bytes that are given to the socket at a time, at most.
const WRITE_BYTES: usize = 64 * 1024;

/// See the module.
pub(crate) struct Client {
    pub(crate) conn: ConnId,
    /// Bytes that it reads in a turn.
    pub(crate) speed: usize,
    outbox: Outbox,
    /// Read, but not yet a whole message.
    input: Vec<u8>,
    /// Its rooms, with the names.
    pub(crate) rooms: HashMap<RoomId, Arc<str>>,
    /// A join that was not answered.
    pub(crate) is_asking: bool,
    /// Rev and document of each state that it was told of, over all its connections; none if it is deleted.
    pub(crate) states: HashMap<Slot, (u64, Option<Tree>)>,
    /// Rev of each since it joined the room.
    told: HashMap<Slot, u64>,
    pub(crate) deltas: u64,
    pub(crate) fulls: u64,
    pub(crate) missed: u64,
    pub(crate) conflated: u64,
    pub(crate) saved_bytes: u64,
}

impl Client {
    pub(crate) fn new(slot: u32, speed: usize) -> Client {
        Client {
            conn: ConnId { reactor: 0, slot, generation: 0 },
            speed,
            outbox: Outbox::default(),
            input: Vec::new(),
            rooms: HashMap::new(),
            is_asking: false,
            states: HashMap::new(),
            told: HashMap::new(),
            deltas: 0,
            fulls: 0,
            missed: 0,
            conflated: 0,
            saved_bytes: 0,
        }
    }

    /// The connection ends; what was read stays. Its rooms, and whether it wanted deltas of them.
    pub(crate) fn reconnect(&mut self) -> Vec<(RoomId, bool)> {
        let left = self.rooms.drain().map(|(room, _)| (room, self.outbox.has_deltas(room))).collect();
        self.outbox = Outbox::default();
        self.input.clear();
        self.told.clear();
        self.is_asking = false;
        self.conn.generation += 1;
        left
    }

    /// The hub has granted a join. Whether that ended a membership, and if so, one for deltas.
    pub(crate) fn joined(&mut self, joined: Joined) -> Option<bool> {
        self.is_asking = false;
        let was_there = self.rooms.insert(joined.room, joined.name).map(|_| {
            self.outbox.purge(joined.room);
            self.outbox.has_deltas(joined.room)
        });
        self.outbox.set_deltas(joined.room, joined.delta);
        for frame in &joined.frames {
            self.queue(frame, false);
        }
        was_there
    }

    /// The answer to a snapshot.
    pub(crate) fn renewed(&mut self, frames: &[Arc<Frame>]) {
        let room = frames.last().expect("never empty").tag.room;
        self.outbox.renew_deltas(room);
        if self.rooms.contains_key(&room) {
            for frame in frames {
                self.queue(frame, false);
            }
        }
    }

    pub(crate) fn queue(&mut self, frame: &Arc<Frame>, live: bool) {
        let entry = Entry { frame: Arc::clone(frame), queued: Mono(1), live };
        match self.outbox.push(entry, Limits { bytes_max: usize::MAX }) {
            PushOutcome::Queued => {}
            PushOutcome::Conflated => self.conflated += 1,
            other => panic!("{other:?}"),
        }
    }

    /// Reads as much as it does in a turn, or all.
    pub(crate) fn read(&mut self, all: bool, truth: &Truth) {
        let mut left = if all { usize::MAX } else { self.speed };
        while left > 0 && !self.outbox.is_empty() {
            let before = self.input.len();
            self.outbox.fill(Lane::Metric, &mut self.input, WRITE_BYTES, |_| panic!("nobody agreed on compression"));
            let n = (self.input.len() - before).min(left);
            self.input.truncate(before + n);
            left -= n;
            let saved = &mut self.saved_bytes;
            self.outbox.wrote(n, |written| *saved += written.delta_saved.unwrap_or(0) as u64);
        }
        while let Some(text) = take_text(&mut self.input) {
            self.hear(&text, truth);
        }
    }

    fn hear(&mut self, text: &str, truth: &Truth) {
        let message: Value = serde_json::from_str(text).unwrap();
        let room = message["room"].as_str().unwrap_or_default();
        match message["type"].as_str().expect("every message has a type") {
            // A resume or a snapshot: whatever went before, the first of each state is full.
            "subscribed" => self.told.retain(|slot, _| *slot.room != *room),
            "ok" | "caught_up" => {}
            kind => {
                let slot = Slot { room: room.into(), kind: kind.into(), key: message["key"].as_str().unwrap_or_default().into() };
                self.state(slot, text, &message, truth);
            }
        }
    }

    fn state(&mut self, slot: Slot, text: &str, message: &Value, truth: &Truth) {
        let rev = message["rev"].as_u64().expect("states have a rev");
        let members: HashMap<&str, &RawValue> = serde_json::from_str(text).unwrap();
        let document = if let Some(patch) = members.get("patch") {
            self.deltas += 1;
            let base = message["base"].as_u64();
            assert_eq!(base, self.told.get(&slot).copied(), "a delta on what it was not told: {text}");
            let (had, before) = self.states.remove(&slot).expect("it was told of it");
            assert_eq!(Some(had), base);
            Some(before.expect("nothing builds on a deletion").patched(Tree::parse(patch.get())))
        } else {
            self.fulls += 1;
            self.missed += u64::from(self.told.contains_key(&slot));
            members.get("data").map(|data| Tree::parse(data.get()))
        };
        assert_eq!(document.is_none(), message["deleted"] == true, "{text}");
        truth.check(&slot, rev, document.as_ref());
        self.told.insert(slot.clone(), rev);
        self.states.insert(slot, (rev, document));
    }
}

/// The first whole message, taken from its WebSocket frame.
fn take_text(input: &mut Vec<u8>) -> Option<String> {
    let (header, len) = match input[..] {
        [0x81, len @ 0..126, ..] => (2, usize::from(len)),
        [0x81, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [] | [0x81] | [0x81, 126, ..] => return None,
        _ => panic!("not the beginning of a text: {input:?}"),
    };
    (input.len() >= header + len).then(|| {
        let text = input.drain(..header + len).skip(header).collect();
        String::from_utf8(text).expect("frames are UTF-8")
    })
}
