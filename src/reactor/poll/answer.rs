//! The answer to a poll: what the hub has for its position, and the position behind that.

use std::sync::Arc;

use crate::base::lane::PerLane;
use crate::base::limits::POLL_ANSWER_BYTES;
use crate::hub::ports::Joined;
use crate::wire::cursor::{Cursor, Position, StatesSeen, room_mark};
use crate::wire::frame::{Frame, Kind};

/// See the module.
#[derive(Debug)]
pub(super) struct Answer {
    frames: Vec<Arc<Frame>>,
    bytes: usize,
    is_caught_up: bool,
    epoch: Arc<str>,
    /// The last number of each lane before what is in `frames`.
    seq: PerLane<u64>,
    states: StatesSeen,
}

impl Answer {
    /// For a join that was granted; its frames are yet to be added.
    pub(super) fn new(joined: &Joined, instance: u32) -> Answer {
        Answer {
            frames: Vec::new(),
            bytes: 0,
            is_caught_up: false,
            epoch: Arc::clone(&joined.epoch),
            seq: joined.from.map(|from| from.saturating_sub(1)),
            states: StatesSeen { instance, until: joined.states_until, room: room_mark(&joined.name) },
        }
    }

    /// Adds what came.
    pub(super) fn add(&mut self, frames: Vec<Arc<Frame>>) {
        for frame in frames {
            if is_caught_up(&frame) {
                self.is_caught_up = true;
            } else {
                self.bytes += frame.as_text().len();
                self.frames.push(frame);
            }
        }
    }

    /// Whether nothing more is to be waited for: that was all, or it is enough.
    pub(super) fn is_done(&self) -> bool {
        self.is_caught_up || self.bytes >= POLL_ANSWER_BYTES
    }

    /// Whether there is something that is not had at that position.
    pub(super) fn is_new(&self, since: Option<&Cursor>) -> bool {
        self.begins_anew(since) || self.frames.iter().any(|frame| frame.tag.kind != Kind::Reply)
    }

    /// Whether it begins anew for one reason alone: the states that an answer of another node told are not known here. What else there is, is had.
    pub(super) fn has_only_moved(&self, since: Option<&Cursor>) -> bool {
        let is_moved = |since: &Cursor| since.states.is_some_and(|states| states.instance != self.states.instance) && self.follows(since);
        since.is_some_and(is_moved) && self.frames.iter().all(|frame| matches!(frame.tag.kind, Kind::Reply | Kind::State { .. }))
    }

    /// Whether it does not just go on where an earlier answer ended: `subscribed` says where, then.
    fn begins_anew(&self, since: Option<&Cursor>) -> bool {
        let goes_on = |since: &Cursor| since.states.is_some_and(|states| states.instance == self.states.instance) && self.follows(since);
        !since.is_some_and(goes_on)
    }

    /// Whether its streams go on where that position ends.
    fn follows(&self, since: &Cursor) -> bool {
        let is_rewound = since.seq.iter().zip(self.seq).any(|(had, is)| had.is_none_or(|had| had > is));
        *since.epoch == *self.epoch && !is_rewound
    }

    /// Writes it, with the `transient` events that came meanwhile; alerts first. `sent` hears of each message. Beyond the limit it is cut, and says
    /// that there is more.
    pub(super) fn write(mut self, since: Option<&Cursor>, kept: Vec<Arc<Frame>>, out: &mut Vec<u8>, mut sent: impl FnMut(&Frame)) {
        let begins_anew = self.begins_anew(since);
        self.frames.extend(kept);
        self.frames.retain(|frame| begins_anew || frame.tag.kind != Kind::Reply);
        self.frames.sort_by_key(|frame| (frame.tag.kind != Kind::Reply, frame.tag.lane));
        out.extend_from_slice(br#"{"messages":["#);
        let (mut bytes, mut is_cut) = (0, false);
        for frame in &self.frames {
            let text = frame.as_text();
            // What would not come again is given in any case.
            let is_due = matches!(frame.tag.kind, Kind::Reply | Kind::Notice | Kind::Transient);
            is_cut |= bytes > 0 && bytes + text.len() > POLL_ANSWER_BYTES && !is_due;
            if is_cut && !is_due {
                if let Kind::State { .. } = frame.tag.kind {
                    self.states.until = self.states.until.min(frame.tag.released.0 - 1);
                }
                continue;
            }
            if let Kind::Stream { seq } | Kind::Gap { to: seq } = frame.tag.kind {
                self.seq[frame.tag.lane.index()] = seq.max(self.seq[frame.tag.lane.index()]);
            }
            out.extend_from_slice(if bytes == 0 { b"" } else { b"," });
            out.extend_from_slice(text);
            bytes += text.len();
            sent(frame);
        }
        let position = Position { epoch: &self.epoch, seq: self.seq, states: Some(self.states) };
        let more = if is_cut || !self.is_caught_up { r#","more":true"# } else { "" };
        out.extend_from_slice(format!(r#"],"cursor":"{position}"{more}}}"#).as_bytes());
    }
}

fn is_caught_up(frame: &Frame) -> bool {
    frame.tag.kind == Kind::Notice && frame.as_text().starts_with(br#"{"type":"caught_up""#)
}
