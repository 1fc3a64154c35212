//! Long polls on a connection that speaks HTTP, and acknowledgments by request: both wait for the hub's word.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::audit::{Entry, Kind};
use crate::base::codes::{CloseCode, INVALID_FIELD, Refusal};
use crate::base::ident::is_identifier;
use crate::base::ids::ConnId;
use crate::base::limits::{HTTP_IDLE_TIMEOUT, POLL_TIMEOUT, POLL_TIMEOUT_MAX};
use crate::base::time::Mono;
use crate::hub::ports::{Ack, AckOf, Joined};
use crate::net::outbox::Outbox;
use crate::reactor::connection::Then;
use crate::reactor::core::Core;
use crate::reactor::events::refusal_for;
use crate::reactor::poll::{Given, Poll, Question};
use crate::reactor::session::Session;
use crate::reactor::stats::ReactorStats;
use crate::wire::frame::Frame;
use crate::wire::http::{HttpRefusal, Request, write_response};
use crate::wire::request_id::RequestId;

use super::Http;
use super::answers::not_allowed;
use super::streams::{admitted, caller, check_no_body, check_open, history, room, since};

impl Http {
    /// A poll: what is known at once, or nothing yet. `is_counted`: the request has been counted.
    pub(super) fn poll(
        &mut self,
        request: &Request<'_>,
        id: ConnId,
        client: Option<IpAddr>,
        is_counted: bool,
        core: &mut Core,
    ) -> Result<Option<Vec<u8>>, HttpRefusal> {
        if request.method != "GET" {
            return Err(not_allowed("Allow: GET", "a poll is a GET"));
        }
        request.check_params(&["room", "since", "history", "timeout_ms", "ticket", "token"])?;
        let grants = admitted(request, client, "poll", self.poll.is_none() && !is_counted, core)?;
        let left = Duration::from_millis(grants.expires_at_ms.saturating_sub(core.now.wall_ms));
        let is_same = |poll: &&mut Box<Poll>| poll.session.user().is_some_and(|user| *user == grants.user);
        if let Some(poll) = self.poll.as_mut().filter(is_same) {
            poll.session.renew(grants);
        } else {
            self.end_polling("other_user", core);
            self.poll = Some(Box::new(Poll::open(id, client, grants, core)?));
        }
        let question = match request.param("room")? {
            Some(_) => {
                let room = room(request)?;
                Some(Question {
                    since: since(request, &room)?,
                    room,
                    history: history(request)?,
                    until: core.now.mono.plus(timeout(request)?.min(left)), // nothing comes to a token that has ended (AUT-06)
                    keep_alive: request.keep_alive(),
                })
            }
            None => None,
        };
        let Some(poll) = &mut self.poll else { return Ok(None) };
        match question {
            Some(question) => poll.ask(question, core).map(|()| None),
            None => poll.introduce(core).map(Some),
        }
    }

    /// An acknowledgment of one event. The hub answers it.
    pub(super) fn ack(&mut self, request: &Request<'_>, id: ConnId, client: Option<IpAddr>, core: &mut Core) -> Result<(), HttpRefusal> {
        if request.method != "POST" {
            return Err(not_allowed("Allow: POST", "an event is acknowledged by POST"));
        }
        request.check_params(&["event_id", "ticket", "token"])?;
        check_no_body(request)?;
        check_open(request, client, false, core)?;
        let event_id = request.param("event_id")?.filter(|event_id| is_identifier(event_id));
        let message = "the query must name one event, as `event_id=e1`: [A-Za-z0-9_.:%-]{1,200}, and a `%` in it is `%25` here";
        let event_id = event_id.ok_or_else(|| Refusal::new(INVALID_FIELD, message))?;
        let user = caller(request, client, "ack", core)?.user;
        let subject = Some((*event_id).into());
        core.note(Kind::Ack, "", |entry| Entry { user: Some(Arc::clone(&user)), ip: client, session: Some(id), subject, ..entry });
        let ack = Ack { conn: id, request: Some(RequestId::from(0)), user, of: AckOf::Event((*event_id).into()) };
        core.uplink.ack(Box::new(ack))?;
        self.acking = Some(request.keep_alive());
        Ok(())
    }

    /// The hub has answered an acknowledgment.
    pub(in crate::reactor) fn on_acked(&mut self, outcome: Result<(), Refusal>, core: &mut Core, outbox: &mut Outbox) -> Then {
        let Some(keep_alive) = self.acking.take() else { return Then::Go };
        let keep_alive = keep_alive && !core.is_draining();
        match outcome {
            Ok(()) => self.give(Some(Given { json: br#"{"ok":true}"#.to_vec(), keep_alive }), core, outbox),
            Err(refusal) => {
                self.refuse(&refusal.into(), keep_alive, "POST", core, outbox);
                self.after_answer(keep_alive, core)
            }
        }
    }

    /// The connection is no client any more: it is another's from now on, or will be one in another way.
    pub(super) fn end_polling(&mut self, reason: &'static str, core: &mut Core) {
        if let Some(mut poll) = self.poll.take() {
            poll.session.dismiss(reason, core);
        }
    }

    /// Who polls on this connection.
    pub(in crate::reactor) fn session(&self) -> Option<&Session> {
        self.poll.as_ref().map(|poll| &poll.session)
    }

    /// Gives back what the session holds.
    pub(in crate::reactor) fn end(&mut self, core: &mut Core) {
        if let Some(poll) = &mut self.poll {
            poll.session.end(core);
        }
    }

    /// Whether a poll is not answered yet.
    pub(in crate::reactor) fn is_polling(&self) -> bool {
        self.poll.as_ref().is_some_and(|poll| poll.is_asked())
    }

    /// The hub has granted a poll's join.
    pub(in crate::reactor) fn on_joined(&mut self, joined: Joined, core: &mut Core, outbox: &mut Outbox) -> Then {
        let given = self.poll.as_mut().and_then(|poll| poll.on_joined(joined, core));
        self.give(given, core, outbox)
    }

    /// A part of a poll's answer has come from the journal.
    pub(in crate::reactor) fn on_replayed(&mut self, frames: Vec<Arc<Frame>>, core: &mut Core, outbox: &mut Outbox) -> Then {
        let given = self.poll.as_mut().and_then(|poll| poll.on_frames(frames, core));
        self.give(given, core, outbox)
    }

    /// Tells the session something that may end in a refusal of the join.
    pub(in crate::reactor) fn hear(
        &mut self,
        core: &mut Core,
        outbox: &mut Outbox,
        tell: impl FnOnce(&mut Session, &mut Core, &mut Outbox),
    ) -> Then {
        let refusal = self.poll.as_mut().and_then(|poll| poll.hear(core, tell));
        self.refuse_poll(refusal, core, outbox)
    }

    /// Something came for the members of the room that is polled.
    pub(in crate::reactor) fn on_frame(&mut self, frame: &Arc<Frame>, stats: &ReactorStats) {
        if let Some(poll) = &mut self.poll {
            poll.on_frame(frame, stats);
        }
    }

    /// Whether a poll waits for something that has come.
    pub(in crate::reactor) fn is_woken(&self) -> bool {
        self.poll.as_ref().is_some_and(|poll| poll.is_woken())
    }

    /// Asks for what has come.
    pub(in crate::reactor) fn poll_again(&mut self, core: &mut Core, outbox: &mut Outbox) -> Then {
        let refusal = self.poll.as_mut().and_then(|poll| poll.join(core));
        self.refuse_poll(refusal, core, outbox)
    }

    /// A poll has waited long enough.
    pub(in crate::reactor) fn on_poll_time(&mut self, core: &mut Core, outbox: &mut Outbox) -> Then {
        let given = self.poll.as_mut().and_then(|poll| poll.on_time(core));
        self.give(given, core, outbox)
    }

    /// The session is to end.
    pub(in crate::reactor) fn close(&mut self, code: CloseCode, core: &mut Core, outbox: &mut Outbox) {
        if let Some(poll) = self.poll.as_mut().filter(|poll| poll.is_asked()) {
            poll.forget();
            self.refuse(&refusal_for(code), false, "GET", core, outbox);
        }
    }

    /// A poll has waited for as long as the daemon can.
    pub(super) fn hurry_poll(&mut self, until: Mono) {
        if let Some(poll) = &mut self.poll {
            poll.hurry(until);
        }
    }

    fn give(&mut self, given: Option<Given>, core: &mut Core, outbox: &mut Outbox) -> Then {
        let Some(Given { json, keep_alive }) = given else { return Then::Go };
        self.answer(core, outbox, |out| write_response(out, 200, "application/json", keep_alive, &[], &json));
        self.after_answer(keep_alive, core)
    }

    pub(super) fn after_answer(&mut self, keep_alive: bool, core: &Core) -> Then {
        self.due = core.now.mono.plus(HTTP_IDLE_TIMEOUT);
        if keep_alive { Then::Go } else { Then::Finish }
    }

    /// Who was denied a room has to open another connection to ask for one more.
    fn refuse_poll(&mut self, refusal: Option<Refusal>, core: &Core, outbox: &mut Outbox) -> Then {
        let Some(refusal) = refusal else { return Then::Go };
        self.refuse(&refusal.into(), false, "GET", core, outbox);
        Then::Finish
    }
}

fn timeout(request: &Request<'_>) -> Result<Duration, HttpRefusal> {
    let Some(text) = request.param("timeout_ms")? else { return Ok(POLL_TIMEOUT) };
    let timeout = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())).map(Duration::from_millis);
    let message = || format!("`timeout_ms` must be an integer from 0 to {}", POLL_TIMEOUT_MAX.as_millis());
    timeout.filter(|timeout| *timeout <= POLL_TIMEOUT_MAX).ok_or_else(|| Refusal::new(INVALID_FIELD, message()).into())
}
