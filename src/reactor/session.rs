//! A WebSocket client's session: its token, its commands, its memberships. Pure: it is given messages and the hub's answers,
//! and puts what it has to say into the outbox and on the way to the hub.
//!
//! The hub answers the joins and snapshots of a connection in the order in which they were asked, so a queue of what is
//! awaited tells which answer is whose. A command about a room whose join is still awaited waits with it, also while the authorizer is
//! asked about that join, which is no concern of other rooms' joins.

use core::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Grants, Scope, TokenError, Verdict};
use crate::base::codes::{
    ACCESS_DENIED, AUTH_BACKEND_UNAVAILABLE, BAD_STATE, CLOSE_AUTH_TIMEOUT, CLOSE_INVALID_TOKEN, CLOSE_RATE, CLOSE_TOKEN_EXPIRED,
    CLOSE_TOO_MANY_ERRORS, NOT_MEMBER, QUEUE_FULL, RATE_LIMITED, Refusal, TOO_MANY_ROOMS, USER_MISMATCH,
};
use crate::base::ids::{ConnId, RoomId, Ticket};
use crate::base::limits::{
    AWAITED_PER_CONN_MAX, BAD_COMMANDS_MAX, COMMAND_BYTES_MAX, EXPIRY_NOTICE, PUBLISH_BYTES_MAX, ROOMS_PER_CONN_MAX, SNAPSHOT_COMMANDS,
};
use crate::base::thin_deque::ThinDeque;
use crate::base::time::{Mono, Now, millis};
use crate::hub::access_denied;
use crate::hub::ports::{Consent, Join, Joined, Poll, Since};
use crate::net::outbox::Outbox;
use crate::wire::command::{self, Command, SinceText};
use crate::wire::event::Rejected;
use crate::wire::frame::Frame;
use crate::wire::reply;
use crate::wire::request_id::RequestId;
use crate::wire::sample::Sample;

use super::authorizer::Word;
use super::core::{Core, Next};
use super::limiter::Limiter;
use super::memory::Demand;
use super::publisher::{Answers, Outcome, publish_line};

mod acks;
mod marks;
mod noted;
mod opening;
mod rules;

use marks::{Mark, Marks};

/// When to try again what the authorizer gave no answer to: it is asked anew ten seconds after it was found to be down.
const AUTHORIZER_RETRY_MS: u32 = 10_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    id: ConnId,
    /// Its address, if that is known.
    client: Option<IpAddr>,
    way: Way,
    marks: Marks,
    /// `None` until a token is accepted.
    grants: Option<Grants>,
    awaited: ThinDeque<Awaited>,
    /// What the authorizer owes it: one word for each of these rooms.
    asking: ThinDeque<Asking>,
    /// `None` until it publishes.
    answers: Option<Box<Answers>>,
    bad_in_a_row: u8,
    limiter: Limiter,
}

/// How its client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    WebSocket,
    Events,
    Poll,
}

/// What the hub owes this connection.
#[derive(Debug)]
enum Awaited {
    Join { room: Box<str>, by_pattern: bool, sample: Option<Box<Sample>>, after: Vec<After> },
    Snapshot,
}

/// A join about which the authorizer is asked.
#[derive(Debug)]
struct Asking {
    join: Box<Join>,
    after: Vec<After>,
}

/// What a client wants of a room.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) since: Option<SinceText>,
    pub(super) history: Option<u32>,
    pub(super) delta: bool,
    pub(super) sample: Option<Box<Sample>>,
    /// It is to be over with the answer.
    pub(super) poll: Option<Poll>,
}

/// A command that waits for a join.
#[derive(Debug)]
enum After {
    /// A join of the same room that was asked for meanwhile.
    Subscribe(Box<Join>),
    Unsubscribe(Option<RequestId>),
    Snapshot(Option<RequestId>, bool),
}

const TOO_MANY_COMMANDS: &str = "too many commands: send fewer, and this one again after retry_after_ms";
const TOO_MANY_DENIED: &str = "too many rooms were denied: ask only for rooms that are yours, and for this one again after retry_after_ms";

impl Session {
    /// A session that waits for its token. `client`: its address, if that is known; `is_limited`: the limits of addresses hold for it.
    pub(super) fn new(id: ConnId, client: Option<IpAddr>, is_limited: bool, way: Way) -> Session {
        let mut marks = Marks::default();
        marks.set(Mark::Limited, is_limited);
        Session {
            id,
            client,
            way,
            marks,
            grants: None,
            awaited: ThinDeque::default(),
            asking: ThinDeque::default(),
            answers: None,
            bad_in_a_row: 0,
            limiter: Limiter::default(),
        }
    }

    /// What the token grants, once one is accepted.
    pub(super) fn grants(&self) -> Option<&Grants> {
        self.grants.as_ref()
    }

    /// Who is connected, once a token is accepted.
    pub(super) fn user(&self) -> Option<&Arc<str>> {
        self.grants().map(|grants| &grants.user)
    }

    /// What the answers take that it waits for.
    pub(super) fn held_bytes(&self) -> usize {
        self.answers.as_ref().map_or(0, |answers| answers.held_bytes())
    }

    /// Whether no more messages may be read until publishes are answered.
    pub(super) fn is_blocked(&self) -> bool {
        self.answers.as_ref().is_some_and(|answers| answers.is_full())
    }

    /// The longest message that may come now.
    pub(super) fn message_bytes_max(&self) -> usize {
        message_bytes_max(self.grants())
    }

    /// Takes a message.
    pub(super) fn on_text(&mut self, text: &str, core: &mut Core, outbox: &mut Outbox) -> Next {
        let mut buffer = std::mem::take(&mut core.command);
        buffer.clear();
        buffer.extend_from_slice(text.as_bytes());
        let parsed = command::parse(&mut buffer);
        core.command = buffer;
        self.note_command(&parsed, core);
        if self.grants.is_none() {
            return self.on_first(parsed, core, outbox);
        }
        match parsed {
            Ok(Command::Publish) => self.publish(text, core, outbox),
            Ok(command) => self.on_command(command, core, outbox),
            Err(rejected) => self.bad(rejected.id.as_ref(), &rejected.refusal, core, outbox),
        }
    }

    /// The only first message there is brings a token.
    fn on_first(&mut self, parsed: Result<Command, Box<Rejected>>, core: &mut Core, outbox: &mut Outbox) -> Next {
        let (id, refusal) = match parsed {
            Ok(Command::Auth { id, token }) => match core.check_token(&token) {
                Ok(grants) => return self.begin_by_message(grants, id.as_ref(), core, outbox),
                Err(error) => {
                    self.turn_away(core.user_of(&token), error.close_code().name, core);
                    bad_token(&error, id.as_ref(), core, outbox);
                    return Next::Close(error.close_code());
                }
            },
            Ok(command) => (id_of(command), Refusal::new(BAD_STATE, "the first message must be {\"type\":\"auth\",\"token\":…}")),
            Err(rejected) => (rejected.id, rejected.refusal),
        };
        core.refuse(outbox, id.as_ref(), &refusal);
        Next::Close(CLOSE_AUTH_TIMEOUT)
    }

    fn begin_by_message(&mut self, grants: Grants, id: Option<&RequestId>, core: &mut Core, outbox: &mut Outbox) -> Next {
        let next = self.begin(grants, core, outbox);
        if next == Next::Go && id.is_some() {
            core.reply(outbox, |out| reply::ok(out, id));
        }
        next
    }

    fn on_command(&mut self, command: Command, core: &mut Core, outbox: &mut Outbox) -> Next {
        self.bad_in_a_row = 0;
        let tokens = if matches!(command, Command::Snapshot { .. }) { SNAPSHOT_COMMANDS } else { 1 };
        if let Err(wait) = self.limiter.command(tokens, core.options.commands, core.now.mono) {
            return self.limit(id_of(command).as_ref(), TOO_MANY_COMMANDS, wait, core, outbox);
        }
        match command {
            Command::Auth { id, token } => return self.refresh(id.as_ref(), &token, core, outbox),
            Command::Subscribe { id, room, since, history, delta, sample } => {
                let wish = Wish { since, history, delta, sample, poll: None };
                return self.subscribe(id.as_ref(), &room, wish, core, outbox);
            }
            Command::Unsubscribe { id, room } => self.unsubscribe(id.as_ref(), &room, core, outbox),
            Command::Snapshot { id, room, digest } => self.snapshot(id.as_ref(), &room, digest, core, outbox),
            Command::Ack { id, event_id } => self.ack(id.as_ref(), event_id, core, outbox),
            Command::AckUpTo(up_to) => self.ack_up_to(up_to, core, outbox),
            Command::Ping { id } => core.reply(outbox, |out| reply::ok(out, id.as_ref())),
            Command::Publish => {}
        }
        Next::Go
    }

    /// LIM-01: refuses a command for now; or ends the connection, if it has gone on like that for too long.
    fn limit(&mut self, id: Option<&RequestId>, message: &str, wait: Duration, core: &mut Core, outbox: &mut Outbox) -> Next {
        core.refuse(outbox, id, &Refusal::passing(RATE_LIMITED, message, millis(wait)));
        if self.limiter.is_out_of_patience(core.now.mono) { Next::Close(CLOSE_RATE) } else { Next::Go }
    }

    fn bad(&mut self, id: Option<&RequestId>, refusal: &Refusal, core: &mut Core, outbox: &mut Outbox) -> Next {
        core.stats.bad_commands.inc();
        core.refuse(outbox, id, refusal);
        self.bad_in_a_row += 1;
        if self.bad_in_a_row >= BAD_COMMANDS_MAX { Next::Close(CLOSE_TOO_MANY_ERRORS) } else { Next::Go }
    }

    fn publish(&mut self, text: &str, core: &mut Core, outbox: &mut Outbox) -> Next {
        let Some(grants) = self.grants.as_ref().filter(|grants| grants.has(Scope::Publish)) else {
            let rejected = command::unknown_type(text.as_bytes());
            return self.bad(rejected.id.as_ref(), &rejected.refusal, core, outbox);
        };
        self.bad_in_a_row = 0;
        publish_line(text.as_bytes(), self.id, grants, self.answers.get_or_insert_default(), core);
        self.give_answers(core, outbox);
        Next::Go
    }

    /// The hub has answered a publish.
    pub(super) fn on_answer(&mut self, ticket: Ticket, outcome: Outcome, core: &mut Core, outbox: &mut Outbox) {
        debug_assert!(self.answers.is_some(), "the hub answered what was not asked");
        if let Some(answers) = &mut self.answers {
            answers.settle(ticket, outcome);
        }
        self.give_answers(core, outbox);
    }

    fn give_answers(&mut self, core: &mut Core, outbox: &mut Outbox) {
        let slow_down = core.uplink.slow_down();
        while let Some((id, outcome)) = self.answers.as_mut().and_then(|answers| answers.pop()) {
            core.reply(outbox, |out| reply::answer(out, id.as_ref(), &outcome, slow_down));
        }
    }

    /// A newer token of the same user takes the place of the old one.
    fn refresh(&mut self, id: Option<&RequestId>, token: &str, core: &mut Core, outbox: &mut Outbox) -> Next {
        let grants = match core.check_token(token) {
            Ok(grants) => grants,
            Err(error) => {
                // Whatever is wrong with it: who sends a bad token is not to be trusted any more (AUT-07).
                bad_token(&error, id, core, outbox);
                return Next::Close(error.close_code());
            }
        };
        if self.user().is_none_or(|user| *user != grants.user) {
            let refusal = Refusal::new(USER_MISMATCH, "the new token is another user's: open another connection for it");
            core.refuse(outbox, id, &refusal);
            return Next::Close(CLOSE_INVALID_TOKEN);
        }
        self.grants = Some(grants);
        self.marks.set(Mark::ExpiryNoticed, false);
        core.reply(outbox, |out| reply::ok(out, id));
        self.drop_rooms_beyond_grants(core, outbox);
        Next::Go
    }

    /// Rooms that were joined by a pattern which the token no longer has.
    fn drop_rooms_beyond_grants(&mut self, core: &mut Core, outbox: &mut Outbox) {
        let Some(grants) = &self.grants else { return };
        let lost = core.rooms.of(self.id.slot).iter().filter(|member| member.by_pattern && !grants.may_read(&member.name));
        let lost: Vec<_> = lost.map(|member| (member.room, Arc::clone(&member.name))).collect();
        for (room, name) in lost {
            self.lose(room, &name, core, outbox);
        }
    }

    /// Ends a membership without being asked to.
    fn lose(&self, room: RoomId, name: &str, core: &mut Core, outbox: &mut Outbox) {
        self.leave(room, core, outbox);
        self.note_left(name, ACCESS_DENIED.name, core);
        core.reply(outbox, |out| reply::unsubscribed(out, name, ACCESS_DENIED));
    }

    /// Asks for a membership.
    pub(super) fn subscribe(&mut self, id: Option<&RequestId>, room: &str, wish: Wish, core: &mut Core, outbox: &mut Outbox) -> Next {
        let Some(grants) = &self.grants else { return Next::Go };
        let by_pattern = grants.may_read(room);
        let mut limiter = self.limiter.clone();
        let risked = self.may_risk_denial(by_pattern, &mut limiter, core);
        self.limiter = limiter;
        if let Err(wait) = risked {
            return self.limit(id, TOO_MANY_DENIED, wait, core, outbox);
        }
        if let Err(refusal) = self.may_ask_to_join(room, core).and_then(|()| core.spare_memory(Demand::Join)) {
            core.refuse(outbox, id, &refusal);
            return Next::Go;
        }
        let join = Join {
            conn: self.id,
            request: id.cloned(),
            room: room.into(),
            user: Arc::clone(&grants.user),
            by_pattern: grants.may_read(room),
            consent: if core.inquirer.is_there() { Consent::ToBeAsked } else { Consent::None },
            since: wish.since.map(|since| Since { epoch: since.epoch.into(), seq: since.seq }),
            history: wish.history,
            delta: wish.delta,
            poll: wish.poll,
            sample: wish.sample,
        };
        self.ask_to_join(Box::new(join), Vec::new(), core, outbox);
        Next::Go
    }

    /// Puts a join to the hub; the commands of `after` wait for it.
    fn ask_to_join(&mut self, join: Box<Join>, after: Vec<After>, core: &mut Core, outbox: &mut Outbox) {
        let (room, by_pattern, request, sample) = (join.room.clone(), join.by_pattern, join.request.clone(), join.sample.clone());
        match core.uplink.join(join) {
            Ok(()) => self.awaited.push_back(Awaited::Join { room, by_pattern, sample, after }),
            Err(refusal) => {
                core.refuse(outbox, request.as_ref(), &refusal);
                self.run_after(&room, after, core, outbox);
            }
        }
    }

    /// The hub says that only the authorizer can allow this join. One word for a room is asked for at a time; a further join of the
    /// room waits for it, and is put anew then.
    pub(super) fn on_unowned(&mut self, join: Box<Join>, core: &mut Core, outbox: &mut Outbox) {
        let Some(Awaited::Join { after, .. }) = self.awaited.pop_front() else {
            debug_assert!(false, "the hub answered a join that was not asked");
            return;
        };
        if let Some(asking) = self.asking.iter_mut().find(|asking| asking.join.room == join.room) {
            asking.after.push(After::Subscribe(join));
            asking.after.extend(after);
            return;
        }
        match core.inquirer.ask(&join.user, &join.room, self.id, core.now.mono) {
            Some(verdict) => self.rule(join, after, verdict, core, outbox),
            None => self.asking.push_back(Asking { join, after }),
        }
    }

    /// The authorizer has said something.
    pub(super) fn on_word(&mut self, word: &Word, core: &mut Core, outbox: &mut Outbox) {
        let asking = self.asking.remove_first(|asking| *asking.join.room == *word.room);
        debug_assert!(asking.is_some(), "a word about a room that was not asked for");
        if let Some(Asking { join, after }) = asking {
            self.rule(join, after, word.verdict, core, outbox);
        }
    }

    /// Does what the authorizer's word says about a join.
    fn rule(&mut self, mut join: Box<Join>, after: Vec<After>, verdict: Verdict, core: &mut Core, outbox: &mut Outbox) {
        let refusal = match verdict {
            Verdict::Allow => {
                join.consent = Consent::Given;
                return self.ask_to_join(join, after, core, outbox);
            }
            Verdict::Deny => {
                self.denied(&join.room, core);
                access_denied()
            }
            Verdict::Unavailable => {
                let message = "the server that decides who may join this room gives no answer: try again after retry_after_ms";
                Refusal::passing(AUTH_BACKEND_UNAVAILABLE, message, AUTHORIZER_RETRY_MS)
            }
        };
        core.refuse(outbox, join.request.as_ref(), &refusal);
        self.run_after(&join.room, after, core, outbox);
    }

    /// LIM-07. A room that is joined again, or a second time while the first is awaited, does not count twice.
    fn may_ask_to_join(&self, room: &str, core: &Core) -> Result<(), Refusal> {
        let slot = self.id.slot;
        let asking: usize = self.asking.iter().map(|asking| 1 + asking.after.len()).sum();
        if self.awaited.len() + asking >= AWAITED_PER_CONN_MAX {
            return Err(busy());
        }
        let is_known = core.rooms.find(slot, room).is_some() || self.is_awaited(room);
        let pending = self.asking.len() + self.awaited.iter().filter(|awaited| matches!(awaited, Awaited::Join { .. })).count();
        if !is_known && core.rooms.of(slot).len() + pending >= ROOMS_PER_CONN_MAX {
            let message = format!("this connection has joined {ROOMS_PER_CONN_MAX} rooms, which is all it may: unsubscribe from one first");
            return Err(Refusal::new(TOO_MANY_ROOMS, message));
        }
        Ok(())
    }

    fn is_awaited(&self, name: &str) -> bool {
        self.awaited.iter().any(|awaited| matches!(awaited, Awaited::Join { room, .. } if **room == *name))
            || self.asking.iter().any(|asking| *asking.join.room == *name)
    }

    /// Puts a command behind the latest join of that room; false if none is awaited.
    fn wait_for_join(&mut self, name: &str, command: After) -> Result<bool, Refusal> {
        let mut waiting = 0;
        let mut latest = None;
        for asking in self.asking.iter_mut() {
            waiting += asking.after.len();
            latest = if *asking.join.room == *name { Some(&mut asking.after) } else { latest };
        }
        // A join that is with the hub was asked for after those of that room about which the authorizer is asked.
        for awaited in self.awaited.iter_mut() {
            if let Awaited::Join { room, after, .. } = awaited {
                waiting += after.len();
                latest = if **room == *name { Some(after) } else { latest };
            }
        }
        let Some(after) = latest else { return Ok(false) };
        if waiting >= AWAITED_PER_CONN_MAX {
            return Err(busy());
        }
        after.push(command);
        Ok(true)
    }

    fn unsubscribe(&mut self, id: Option<&RequestId>, name: &str, core: &mut Core, outbox: &mut Outbox) {
        match self.wait_for_join(name, After::Unsubscribe(id.cloned())) {
            Ok(true) => {}
            Ok(false) => self.unsubscribe_now(id, name, core, outbox),
            Err(refusal) => core.refuse(outbox, id, &refusal),
        }
    }

    fn unsubscribe_now(&mut self, id: Option<&RequestId>, name: &str, core: &mut Core, outbox: &mut Outbox) {
        if let Some(room) = core.rooms.find(self.id.slot, name).map(|membership| membership.room) {
            self.leave(room, core, outbox);
            self.note_left(name, "unsubscribed", core);
        }
        core.reply(outbox, |out| reply::ok(out, id));
    }

    fn leave(&self, room: RoomId, core: &mut Core, outbox: &mut Outbox) {
        core.rooms.leave(self.id.slot, room);
        core.samples.end(self.id.slot, room);
        core.purge(self.id.slot, outbox, room);
        core.uplink.leave(room, self.id, outbox.end_deltas(room));
    }

    fn snapshot(&mut self, id: Option<&RequestId>, name: &str, digest: bool, core: &mut Core, outbox: &mut Outbox) {
        match self.wait_for_join(name, After::Snapshot(id.cloned(), digest)) {
            Ok(true) => {}
            Ok(false) => self.snapshot_now(id, name, digest, core, outbox),
            Err(refusal) => core.refuse(outbox, id, &refusal),
        }
    }

    fn snapshot_now(&mut self, id: Option<&RequestId>, name: &str, digest: bool, core: &mut Core, outbox: &mut Outbox) {
        let asked = match core.rooms.find(self.id.slot, name).map(|membership| membership.room) {
            None => Err(Refusal::new(NOT_MEMBER, "you are not a member of this room: subscribe first")),
            Some(_) if self.awaited.len() >= AWAITED_PER_CONN_MAX => Err(busy()),
            Some(room) => core.uplink.snapshot(self.id, id.cloned(), room, digest),
        };
        match asked {
            Ok(()) => self.awaited.push_back(Awaited::Snapshot),
            Err(refusal) => core.refuse(outbox, id, &refusal),
        }
    }

    /// The hub has granted a join. A room that was joined already is left and joined anew, in one.
    pub(super) fn on_joined(&mut self, joined: Joined, core: &mut Core, outbox: &mut Outbox) {
        let Some(Awaited::Join { room: asked, by_pattern, sample, after }) = self.awaited.pop_front() else {
            debug_assert!(false, "the hub granted a join that was not asked");
            return core.uplink.leave(joined.room, self.id, joined.delta);
        };
        debug_assert_eq!(*asked, *joined.name, "the hub answers in the order of the questions");
        if !core.rooms.join(self.id.slot, joined.room, &joined.name, by_pattern, joined.floor) {
            core.purge(self.id.slot, outbox, joined.room);
            core.uplink.leave(joined.room, self.id, outbox.has_deltas(joined.room));
        }
        outbox.set_deltas(joined.room, joined.delta);
        core.samples.set(self.id.slot, joined.room, sample, core.now.mono);
        for frame in joined.frames {
            core.queue_wanted(self.id.slot, outbox, frame);
        }
        self.note_joined(&asked, core);
        let is_narrower_now = by_pattern && self.grants.as_ref().is_some_and(|grants| !grants.may_read(&asked));
        if is_narrower_now {
            self.lose(joined.room, &asked, core, outbox);
        }
        self.run_after(&asked, after, core, outbox);
    }

    /// The hub has denied a join, or answers a snapshot. States of a room that was left meanwhile are dropped.
    pub(super) fn on_reply(&mut self, frames: Vec<Arc<Frame>>, core: &mut Core, outbox: &mut Outbox) {
        let awaited = self.awaited.pop_front();
        debug_assert!(awaited.is_some(), "the hub answered what was not asked");
        // All states are of one room.
        let is_member = frames.last().is_some_and(|last| core.rooms.is_member(self.id.slot, last.tag.room));
        // Who asks for full states gets them, whatever went before.
        if let Some(last) = frames.last() {
            outbox.renew_deltas(last.tag.room);
            core.samples.forget_held(self.id.slot, last.tag.room);
        }
        for frame in frames {
            if is_member || frame.tag.room == RoomId::NONE {
                core.queue_wanted(self.id.slot, outbox, frame);
            }
        }
        if let Some(Awaited::Join { room, after, .. }) = awaited {
            self.denied(&room, core);
            self.run_after(&room, after, core, outbox);
        }
    }

    /// Runs the commands that waited for a join; those behind another join of the room wait for that one.
    fn run_after(&mut self, name: &str, after: Vec<After>, core: &mut Core, outbox: &mut Outbox) {
        let mut after = after.into_iter();
        while let Some(command) = after.next() {
            match command {
                After::Unsubscribe(id) => self.unsubscribe_now(id.as_ref(), name, core, outbox),
                After::Snapshot(id, digest) => self.snapshot_now(id.as_ref(), name, digest, core, outbox),
                After::Subscribe(join) => return self.ask_to_join(join, after.collect(), core, outbox),
            }
        }
    }

    /// When [`Session::on_time`] has something to do.
    pub(super) fn deadline(&self, now: Now) -> Mono {
        let Some(grants) = &self.grants else { return Mono::NEVER };
        let notice_ms = if self.marks.has(Mark::ExpiryNoticed) { 0 } else { EXPIRY_NOTICE.as_millis() as u64 };
        let at_ms = grants.expires_at_ms.saturating_sub(notice_ms);
        now.mono.plus(Duration::from_millis(at_ms.saturating_sub(now.wall_ms)))
    }

    /// AUT-06: notice before the token ends, and the end of the connection with it.
    pub(super) fn on_time(&mut self, core: &mut Core, outbox: &mut Outbox) -> Next {
        let Some(grants) = &self.grants else { return Next::Go };
        let left_ms = grants.expires_at_ms.saturating_sub(core.now.wall_ms);
        if left_ms == 0 {
            return Next::Close(CLOSE_TOKEN_EXPIRED);
        }
        if !self.marks.has(Mark::ExpiryNoticed) && left_ms <= EXPIRY_NOTICE.as_millis() as u64 {
            self.marks.set(Mark::ExpiryNoticed, true);
            let ts_ms = core.now.wall_ms;
            core.reply(outbox, |out| reply::auth_expiring(out, ts_ms, left_ms));
        }
        Next::Go
    }
}

fn message_bytes_max(grants: Option<&Grants>) -> usize {
    if grants.is_some_and(|grants| grants.has(Scope::Publish)) { PUBLISH_BYTES_MAX } else { COMMAND_BYTES_MAX }
}

fn bad_token(error: &TokenError, id: Option<&RequestId>, core: &mut Core, outbox: &mut Outbox) {
    core.refuse(outbox, id, &error.refusal());
}

fn id_of(command: Command) -> Option<RequestId> {
    match command {
        Command::Auth { id, .. }
        | Command::Subscribe { id, .. }
        | Command::Unsubscribe { id, .. }
        | Command::Snapshot { id, .. }
        | Command::Ack { id, .. }
        | Command::Ping { id } => id,
        Command::AckUpTo(_) | Command::Publish => None,
    }
}

fn busy() -> Refusal {
    Refusal::passing(QUEUE_FULL, "too many commands of this connection wait for their answer: send fewer at a time", 100)
}

#[cfg(test)]
pub(super) mod tests;
