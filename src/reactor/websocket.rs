//! The WebSocket side of a connection: messages to its session, heartbeats, silence. No I/O.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::auth::Grants;
use crate::base::codes::{CLOSE_AUTH_TIMEOUT, CLOSE_NO_PONG, CLOSE_UNSUPPORTED, CloseCode};
use crate::base::ids::ConnId;
use crate::base::limits::{HANDSHAKE_TIMEOUT, MESSAGES_PER_TURN, SILENCE_MAX};
use crate::base::time::Mono;
use crate::net::outbox::Outbox;
use crate::wire::deflate::Inflater;
use crate::wire::reply;
use crate::wire::websocket::{self, Assembler, Limits, Message, Role, Step};

use super::connection::{Then, Took};
use super::core::{Core, Next};
use super::echo;
use super::session::{Session, Way};

/// See the module.
#[derive(Debug)]
pub(super) struct WebSocket {
    assembler: Assembler,
    pub(super) session: Session,
    /// When the last complete message came.
    heard: Mono,
    /// [`Mono::NEVER`] until a token is accepted.
    heartbeat_at: Mono,
    /// When a token must be here; [`Mono::NEVER`] once it is.
    auth_by: Mono,
    rtt_us: Option<NonZeroU32>,
    /// States that were replaced by newer ones while they waited.
    pub(super) conflated: u32,
    /// How many of the bytes sent to it it has read, by its pongs.
    read_to: u64,
    /// The input broke the protocol, and has no meaning any more.
    broken: bool,
}

impl WebSocket {
    /// A WebSocket that waits for its token. `client`: its address, if that is known; `inflates`: compression was agreed on.
    pub(super) fn new(id: ConnId, client: Option<IpAddr>, inflates: bool, core: &Core) -> WebSocket {
        let now = core.now.mono;
        WebSocket {
            assembler: if inflates { Assembler::inflating(Role::Server) } else { Assembler::new(Role::Server) },
            session: Session::new(id, client, core.options.limited(client).is_some(), Way::WebSocket),
            heard: now,
            heartbeat_at: Mono::NEVER,
            auth_by: if core.options.conformance_echo { Mono::NEVER } else { now.plus(HANDSHAKE_TIMEOUT) },
            rtt_us: None,
            conflated: 0,
            read_to: 0,
            broken: false,
        }
    }

    /// What it holds of messages that are not complete, and of answers.
    pub(super) fn held_bytes(&self) -> usize {
        self.assembler.held_bytes() + self.session.held_bytes()
    }

    /// What it holds of a message of which not all fragments came.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.assembler.held_bytes()
    }

    /// Drops such a message. The input has no meaning from now on.
    pub(super) fn abandon_input(&mut self) {
        (self.assembler, self.broken) = (Assembler::new(Role::Server), true);
    }

    /// Begins the session with the token that came in the request.
    pub(super) fn begin(&mut self, grants: Grants, core: &mut Core, outbox: &mut Outbox) -> Next {
        let next = self.session.begin(grants, core, outbox);
        self.note_token(core);
        next
    }

    /// Takes messages from the input, as many as one turn allows.
    pub(super) fn take(&mut self, input: &mut [u8], core: &mut Core, outbox: &mut Outbox) -> Took {
        // A message may be in the inflater, while its answer changes the rest.
        let mut inflater = std::mem::take(&mut core.inflater);
        let took = self.take_by(&mut inflater, input, core, outbox);
        core.inflater = inflater;
        took
    }

    fn take_by(&mut self, inflater: &mut Inflater, input: &mut [u8], core: &mut Core, outbox: &mut Outbox) -> Took {
        let (mut used, mut whole) = (0, false);
        for _ in 0..MESSAGES_PER_TURN {
            if self.session.is_blocked() {
                break;
            }
            let limits = self.limits(core);
            let (message, taken) = match self.assembler.step(&mut input[used..], &limits, inflater) {
                Ok(Step::Message { message, used }) => (message, used),
                Ok(Step::NeedMore { used: taken }) => return Took { used: used + taken, more: false, whole, then: Then::Go },
                Err(code) => {
                    self.broken = true;
                    return Took { used, more: false, whole, then: Then::Close(code) };
                }
            };
            used += taken;
            self.heard = core.now.mono;
            // A ping between two fragments brings their message no nearer to its end.
            whole |= matches!(message, Message::Text(_) | Message::Binary(_));
            let then = match message {
                message if core.options.conformance_echo => echo::answer(message, core, outbox),
                Message::Text(text) => self.session.on_text(text, core, outbox).into(),
                Message::Binary(_) => Then::Close(CLOSE_UNSUPPORTED),
                Message::Close(code) => Then::PeerClosed(code.map(|(code, _)| code)),
                Message::Ping(body) => {
                    // Who brought no token gets no frame but the error and the Close (AUT-01).
                    if self.session.user().is_some() {
                        pong(body, core, outbox);
                    }
                    Then::Go
                }
                Message::Pong(body) => {
                    if let Some(mark) = Mark::of(body) {
                        if let Some(rtt_us) = rtt_us(mark.at, core.now.mono) {
                            core.stats.rtt.record(Duration::from_micros(rtt_us.get().into()));
                            self.rtt_us = Some(rtt_us);
                        }
                        self.read_to = mark.sent;
                    }
                    Then::Go
                }
            };
            if !matches!(then, Then::Go) {
                return Took { used, more: false, whole, then };
            }
            self.note_token(core);
        }
        Took { used, more: used < input.len(), whole, then: Then::Go }
    }

    /// When the last complete message came.
    pub(super) fn heard(&self) -> Mono {
        self.heard
    }

    /// How long the last ping that was answered took to come back.
    pub(super) fn rtt_us(&self) -> Option<u32> {
        self.rtt_us.map(NonZeroU32::get)
    }

    /// Whether the input has no meaning any more: the peer's Close cannot be recognised, only its end.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// After our Close, looks for the peer's alone. How much is dealt with, and whether the peer is done.
    pub(super) fn take_close(&mut self, input: &mut [u8], core: &mut Core) -> (usize, bool) {
        if self.broken {
            return (input.len(), false);
        }
        let limits = self.limits(core);
        let mut used = 0;
        loop {
            match self.assembler.step(&mut input[used..], &limits, &mut core.inflater) {
                Ok(Step::Message { message: Message::Close(_), .. }) => return (input.len(), true),
                Err(_) => {
                    self.broken = true;
                    return (input.len(), false);
                }
                Ok(Step::Message { used: taken, .. }) => used += taken,
                Ok(Step::NeedMore { used: taken }) => return (used + taken, false),
            }
        }
    }

    fn limits(&self, core: &Core) -> Limits {
        let message_bytes_max = if core.options.conformance_echo { echo::MESSAGE_BYTES_MAX } else { self.session.message_bytes_max() };
        Limits { message_bytes_max }
    }

    /// With the token heartbeats begin, and log and audit trail hear of the client.
    fn note_token(&mut self, core: &mut Core) {
        if self.auth_by != Mono::NEVER && self.session.user().is_some() {
            self.auth_by = Mono::NEVER;
            self.heartbeat_at = core.now.mono.plus(core.options.heartbeat);
            self.session.tell_connected(core);
        }
    }

    /// When [`WebSocket::on_time`] has something to do.
    pub(super) fn deadline(&self, core: &Core) -> Mono {
        let silence = self.heard.plus(silence_max(core.options.heartbeat));
        self.auth_by.min(self.heartbeat_at).min(silence).min(self.session.deadline(core.now))
    }

    /// How many of the bytes sent to it it says it has read.
    pub(super) fn read_to(&self) -> u64 {
        self.read_to
    }

    /// Does what is due. `slot` spreads the heartbeats of connections that came together; so many bytes were sent to this one.
    pub(super) fn on_time(&mut self, slot: u32, sent: u64, core: &mut Core, outbox: &mut Outbox) -> Next {
        let now = core.now.mono;
        if self.auth_by <= now {
            return Next::Close(CLOSE_AUTH_TIMEOUT);
        }
        if self.session.is_blocked() {
            // We do not listen at present, so silence means nothing.
            self.heard = now;
        }
        if self.heard.plus(silence_max(core.options.heartbeat)) <= now {
            return Next::Close(CLOSE_NO_PONG);
        }
        if self.heartbeat_at <= now {
            self.heartbeat_at = now.plus(jittered(core.options.heartbeat, slot));
            self.heartbeat(sent, core, outbox);
        }
        self.session.on_time(core, outbox)
    }

    /// A ping whose pong says when it was sent, and behind how many bytes; whether there is one. Strangers get none (AUT-01).
    pub(super) fn mark(&self, sent: u64, now: Mono, outbox: &mut Outbox) -> bool {
        let is_known = self.session.user().is_some();
        if is_known {
            let mut ping = Vec::with_capacity(2 + Mark::BYTES);
            websocket::ping(&mut ping, &Mark { at: now, sent }.to_bytes());
            outbox.set_ping(&ping);
        }
        is_known
    }

    /// A ping, and a message for those who cannot see pings.
    fn heartbeat(&self, sent: u64, core: &mut Core, outbox: &mut Outbox) {
        self.mark(sent, core.now.mono, outbox);
        let (ts_ms, queued) = (core.now.wall_ms, outbox.frames());
        core.reply(outbox, |out| reply::heartbeat(out, ts_ms, self.rtt_us.map(|rtt_us| u64::from(rtt_us.get())), queued));
    }
}

impl From<Next> for Then {
    fn from(next: Next) -> Then {
        match next {
            Next::Go => Then::Go,
            Next::Close(code) => Then::Close(code),
        }
    }
}

pub(super) fn pong(body: &[u8], core: &mut Core, outbox: &mut Outbox) {
    core.text.clear();
    websocket::pong(&mut core.text, body);
    outbox.push_pong(&core.text);
}

/// What a ping of ours says, and its pong again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// When it was queued.
    at: Mono,
    /// How many bytes were sent before it.
    sent: u64,
}

impl Mark {
    const BYTES: usize = 16;

    fn to_bytes(self) -> [u8; Mark::BYTES] {
        let mut bytes = [0; Mark::BYTES];
        bytes[..8].copy_from_slice(&self.at.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sent.to_be_bytes());
        bytes
    }

    fn of(body: &[u8]) -> Option<Mark> {
        let (at, sent) = body.split_first_chunk::<8>()?;
        Some(Mark { at: Mono(u64::from_be_bytes(*at)), sent: u64::from_be_bytes(sent.try_into().ok()?) })
    }
}

/// The round trip of a ping, at least a microsecond.
fn rtt_us(sent: Mono, now: Mono) -> Option<NonZeroU32> {
    let micros = || u32::try_from(now.since(sent).as_micros()).unwrap_or(u32::MAX);
    (sent <= now).then(|| NonZeroU32::new(micros()).unwrap_or(NonZeroU32::MIN))
}

/// A slower heartbeat than usual needs more patience.
pub(super) fn silence_max(heartbeat: Duration) -> Duration {
    SILENCE_MAX.max(heartbeat * 3)
}

/// Up to 10 % sooner, by the slot's hash (Fibonacci hashing): never later than announced.
pub(super) fn jittered(heartbeat: Duration, slot: u32) -> Duration {
    let hash = slot.wrapping_mul(0x9E37_79B9) >> 16;
    heartbeat.saturating_sub(heartbeat / 10 * hash / 65_536)
}

/// The code with which the peer's Close is answered: its own, or [`CLOSE_NORMAL`](crate::base::codes::CLOSE_NORMAL).
pub(super) fn echo(code: Option<u16>) -> CloseCode {
    code.map_or(crate::base::codes::CLOSE_NORMAL, |code| CloseCode { code, name: "", meaning: "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_come_up_to_a_tenth_sooner_and_never_later() {
        let heartbeat = Duration::from_secs(30);
        let spread: Vec<_> = (0..1000).map(|slot| jittered(heartbeat, slot)).collect();
        assert!(spread.iter().all(|wait| *wait <= heartbeat && *wait >= heartbeat * 9 / 10));
        let early = spread.iter().filter(|wait| **wait < heartbeat * 19 / 20).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the earlier half");
    }

    #[test]
    fn only_a_pong_of_ours_gives_a_round_trip() {
        let mark = Mark { at: Mono(5_000), sent: 7 };
        assert_eq!(Mark::of(&mark.to_bytes()), Some(mark));
        assert_eq!(Mark::of(&mark.to_bytes()[1..]), None);
        assert_eq!(Mark::of(b""), None);
        assert_eq!(rtt_us(Mono(5_000), Mono(8_000)), NonZeroU32::new(3));
        assert_eq!(rtt_us(Mono(5_000), Mono(5_999)), NonZeroU32::new(1));
        assert_eq!(rtt_us(Mono(0), Mono(u64::MAX)), NonZeroU32::new(u32::MAX));
        assert_eq!(rtt_us(Mono(9_000), Mono(8_000)), None);
    }
}
