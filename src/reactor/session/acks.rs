//! What the user has taken note of.

use std::sync::Arc;

use crate::base::codes::Refusal;
use crate::hub::ports::{Ack, AckOf};
use crate::net::outbox::Outbox;
use crate::reactor::core::Core;
use crate::wire::command::UpTo;
use crate::wire::reply;
use crate::wire::request_id::RequestId;

use super::Session;

impl Session {
    /// One event, on whichever of the user's connections it came.
    pub(super) fn ack(&self, id: Option<&RequestId>, event_id: String, core: &mut Core, outbox: &mut Outbox) {
        self.put_ack(id, None, AckOf::Event(event_id.into()), core, outbox);
    }

    /// All of a lane up to a number, in a room of which it is a member.
    pub(super) fn ack_up_to(&self, up_to: UpTo, core: &mut Core, outbox: &mut Outbox) {
        let UpTo { room, lane, epoch, seq } = up_to;
        match core.rooms.find(self.id.slot, &room).map(|membership| membership.room) {
            None => core.stats.acks_unknown_room.inc(),
            Some(id) => self.put_ack(None, Some(&room), AckOf::UpTo { room: id, lane, epoch: epoch.into(), seq }, core, outbox),
        }
    }

    fn put_ack(&self, request: Option<&RequestId>, room: Option<&str>, of: AckOf, core: &mut Core, outbox: &mut Outbox) {
        let Some(user) = self.user().map(Arc::clone) else { return };
        self.note_ack(room, &of, core);
        let ack = Ack { conn: self.id, request: request.cloned(), user, of };
        if let Err(refusal) = core.uplink.ack(Box::new(ack)) {
            core.refuse(outbox, request, &refusal);
        }
    }

    /// The hub has answered an acknowledgment.
    pub(in crate::reactor) fn on_acked(request: &RequestId, outcome: Result<(), Refusal>, core: &mut Core, outbox: &mut Outbox) {
        match outcome {
            Ok(()) => core.reply(outbox, |out| reply::ok(out, Some(request))),
            Err(refusal) => core.refuse(outbox, Some(request), &refusal),
        }
    }
}
