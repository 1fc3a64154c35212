//! A frame says what was published, is encoded once, and its tag is true.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tickerd::base::ids::KeyId;
use tickerd::base::lane::Lane;
use tickerd::wire::frame::{Frame, Kind};

use crate::message::Event;
use crate::plan::{KEYS, KINDS};

use super::ledger::{Ledger, Truth};

/// What a frame is of. Room and epoch by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    Stream(usize, usize, Lane, u64),
    State(usize, usize, usize, usize, u64),
    /// With its `ts`: after the dedupe window, the same bytes are another event.
    Transient(usize, usize, u64, Rc<str>),
}

/// All event frames that went anywhere.
#[derive(Default)]
pub(super) struct Frames {
    frames: HashMap<Of, (Arc<Frame>, Event)>,
    keys: HashMap<KeyId, (usize, usize, usize, usize)>,
}

impl Frames {
    pub(super) fn observe(&mut self, room: usize, epoch: usize, frame: &Arc<Frame>, event: &Event) {
        let of = match (frame.tag.kind, event.seq, event.rev) {
            (Kind::Stream { seq }, Some(told), None) if seq == told => Of::Stream(room, epoch, event.lane, seq),
            (Kind::State { key, rev, .. }, None, Some(told)) if rev == told => {
                let names = (room, epoch, event.kind, event.key);
                assert_eq!(*self.keys.entry(key).or_insert(names), names, "a key's id names another key");
                Of::State(room, epoch, event.kind, event.key, rev)
            }
            (Kind::Transient, None, None) => Of::Transient(room, epoch, event.ts, event.data.clone().expect("a transient event has data")),
            _ => panic!("a frame's tag and text differ: {:?}, {event:?}", frame.tag),
        };
        assert_eq!(frame.tag.lane, event.lane, "a frame's tag and text differ: {event:?}");
        assert!(frame.tag.accepted <= frame.tag.released, "released before it was accepted: {event:?}");
        match self.frames.get(&of) {
            Some((first, _)) => assert!(Arc::ptr_eq(first, frame), "encoded twice: {event:?}"),
            None => _ = self.frames.insert(of, (Arc::clone(frame), event.clone())),
        }
    }

    /// Each frame is of an accepted publish and carries its bytes.
    pub(super) fn check(&self, truth: &Truth, ledger: &Ledger) {
        for (of, (frame, event)) in &self.frames {
            let Some(number) = truth.source(of) else { panic!("a frame of nothing that was accepted: {of:?}, {event:?}") };
            let record = ledger.record(number);
            let data = (&*record.event.data != "null" || record.is_not_state()).then_some(&*record.event.data);
            assert_eq!(event.data.as_deref(), data, "ARC-01: not the publisher's bytes: {of:?}");
            assert_eq!(KINDS[event.kind].name, &*record.event.kind, "another type: {of:?}");
            assert_eq!(KEYS[event.key], &*record.event.key, "another key: {of:?}");
            assert_eq!(event.id.as_deref(), record.event.event_id.as_deref(), "another event_id: {of:?}");
            assert_eq!(event.ts, record.wall_ms, "`ts` is not the acceptance: {of:?}");
            assert_eq!(frame.tag.accepted, record.accepted, "latency would be measured from elsewhere: {of:?}");
        }
    }
}
