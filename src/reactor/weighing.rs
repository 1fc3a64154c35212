//! What waits for the members of some rooms, for operators. The reactor looks at some of them in each turn, so that nobody waits for it.

use crossbeam::channel::Sender;

use crate::base::ids::RoomId;

use super::Reactor;
use super::rooms::Rooms;
use super::slots::Slots;

/// Members looked at in one turn.
const MEMBERS_PER_TURN: usize = 256;
/// Queued frames looked at in one turn; the queue that exceeds it is not cut.
const FRAMES_PER_TURN: usize = 4 * 1024;

/// What is asked.
#[derive(Clone, Debug)]
pub struct WeighRooms {
    /// Of these rooms.
    pub rooms: Vec<RoomId>,
    /// Hears it, once; its channel has room for an answer of each reactor.
    pub weighed: Sender<Weighed>,
}

/// A reactor's answer.
#[derive(Clone, Debug)]
pub struct Weighed {
    /// Which reactor.
    pub reactor: u16,
    /// For each room that was asked about, in that order.
    pub queued: Vec<Queued>,
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Frames; one that waits for several members counts for each.
    pub frames: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// A question half answered.
pub(super) struct Weighing {
    asked: WeighRooms,
    queued: Vec<Queued>,
    /// The room under way, and which of its members is looked at next.
    room: usize,
    member: usize,
}

impl Weighing {
    fn new(asked: WeighRooms) -> Weighing {
        Weighing { queued: vec![Queued::default(); asked.rooms.len()], asked, room: 0, member: 0 }
    }

    /// Goes on for a while; whether it is done. The members are those of the moment: when one leaves meanwhile, another may be left out.
    fn go_on(&mut self, conns: &mut Slots, rooms: &Rooms) -> bool {
        let (mut members, mut frames) = (0, 0);
        while let Some(room) = self.asked.rooms.get(self.room) {
            let sum = &mut self.queued[self.room];
            for slot in rooms.members(*room).skip(self.member) {
                if members >= MEMBERS_PER_TURN || frames >= FRAMES_PER_TURN {
                    return false;
                }
                self.member += 1;
                members += 1;
                let Some(conn) = conns.at(slot) else { continue };
                frames += conn.outbox.frames();
                let (count, bytes) = conn.outbox.waiting(*room);
                *sum = Queued { frames: sum.frames + count, bytes: sum.bytes + bytes };
            }
            (self.room, self.member) = (self.room + 1, 0);
        }
        true
    }
}

impl Reactor {
    /// Begins to look. Whoever waits for another answer, which took too long, gets none.
    pub(super) fn begin_weighing(&mut self, asked: WeighRooms) {
        self.weighing = Some(Weighing::new(asked));
    }

    /// Goes on with what was asked.
    pub(super) fn go_on_weighing(&mut self) {
        let Some(mut weighing) = self.weighing.take() else { return };
        if !weighing.go_on(&mut self.conns, &self.core.rooms) {
            self.weighing = Some(weighing);
            return;
        }
        // Who asked may have given up.
        weighing.asked.weighed.try_send(Weighed { reactor: self.index, queued: weighing.queued }).ok();
    }
}
