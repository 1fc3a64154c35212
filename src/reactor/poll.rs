//! `GET /v1/poll`: what came in a room since a position, at once or as soon as there is something. No I/O.
//!
//! A poll is a join that ends with its answer. The position is all that leads from one to the next, which may come on another connection, to
//! another reactor. If nothing is new, the member waits; and what wakes it is not given as it came, but asked for anew: so an answer is always what
//! the hub has for that position at one moment, however far behind the reactor is. `transient` events, which the hub does not keep, are given as
//! they came.
//!
//! The connection is a client from its first poll on, also between two of them.

mod answer;

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::{Grants, Scope};
use crate::base::codes::{RATE_LIMITED, Refusal};
use crate::base::ids::ConnId;
use crate::base::limits::{POLL_KEPT_BYTES_MAX, POLL_MOVED_HOLD};
use crate::base::time::{Mono, millis};
use crate::hub::ports::{Joined, Poll as Continued};
use crate::net::outbox::Outbox;
use crate::wire::command::SinceText;
use crate::wire::cursor::Cursor;
use crate::wire::frame::{Frame, Kind};
use crate::wire::http::HttpRefusal;

use super::core::{Core, Next};
use super::events::{not_admitted, refusal_of};
use super::session::{Session, Way, Wish};
use super::stats::ReactorStats;

use self::answer::Answer;

/// A client that polls.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) session: Session,
    /// The room that the audit trail has heard of.
    noted: Option<Box<str>>,
    asked: Option<Box<Asked>>,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) room: String,
    pub(super) since: Option<Cursor>,
    pub(super) history: Option<u32>,
    /// When an empty answer is given: the client wants one, or its token ends.
    pub(super) until: Mono,
    pub(super) keep_alive: bool,
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Asked {
    question: Question,
    stage: Stage,
    /// Something came that the answer does not have.
    is_woken: bool,
    /// It comes from another node, and waits until then, or until something comes, before it begins anew.
    held_until: Option<Mono>,
    /// `transient` events that came meanwhile.
    kept: Vec<Arc<Frame>>,
    kept_bytes: usize,
}

#[derive(Debug)]
enum Stage {
    /// The hub has the join.
    Joining,
    /// It is granted, and parts of the answer are to come from the journal.
    Reading(Answer),
    /// There was nothing new.
    Waiting(Answer),
}

/// An answer, and whether the connection is used again.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) json: Vec<u8>,
    pub(super) keep_alive: bool,
}

impl Poll {
    /// A client with these grants.
    pub(super) fn open(id: ConnId, client: Option<IpAddr>, grants: Grants, core: &mut Core) -> Result<Poll, HttpRefusal> {
        let mut session = Session::new(id, client, core.options.limited(client).is_some(), Way::Poll);
        let user = Arc::clone(&grants.user);
        session.admit(grants, core).map_err(|full| not_admitted(full, client, user, core))?;
        session.tell_connected(core);
        Ok(Poll { session, noted: None, asked: None })
    }

    /// Puts a question. A refusal is one that is known at once.
    pub(super) fn ask(&mut self, question: Question, core: &mut Core) -> Result<(), HttpRefusal> {
        self.spend(core)?;
        let asked = Asked { question, stage: Stage::Joining, is_woken: false, held_until: None, kept: Vec::new(), kept_bytes: 0 };
        self.asked = Some(Box::new(asked));
        self.join(core).map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Asks the hub: for the first time, or for what came since.
    pub(super) fn join(&mut self, core: &mut Core) -> Option<Refusal> {
        let asked = self.asked.as_mut()?;
        (asked.stage, asked.is_woken) = (Stage::Joining, false);
        let Question { room, since, history, .. } = &asked.question;
        let instance = core.options.instance;
        let states = since.as_ref().and_then(|since| since.states).filter(|states| states.instance == instance);
        let wish = Wish {
            since: since.as_ref().map(|since| SinceText { epoch: since.epoch.to_string(), seq: since.seq }),
            history: *history,
            delta: false,
            sample: None,
            poll: Some(Continued { states_after: states.map(|states| states.until) }),
        };
        let room = room.clone();
        self.hear(core, |session, core, outbox| {
            let next = session.subscribe(None, &room, wish, core, outbox);
            debug_assert_eq!(next, Next::Go, "who was denied has lost its connection");
        })
    }

    /// Tells the session something that may end in a refusal of the join.
    pub(super) fn hear(&mut self, core: &mut Core, tell: impl FnOnce(&mut Session, &mut Core, &mut Outbox)) -> Option<Refusal> {
        let refusal = refusal_of(&mut self.session, core, tell)?;
        self.asked = None;
        self.session.leave_all(core);
        Some(refusal)
    }

    /// The hub has granted the join.
    pub(super) fn on_joined(&mut self, mut joined: Joined, core: &mut Core) -> Option<Given> {
        let is_noted = self.noted.as_deref() != Some(&*joined.name);
        if is_noted {
            self.noted = Some((*joined.name).into());
        }
        self.session.enter(&joined, is_noted, core);
        let answer = Answer::new(&joined, core.options.instance);
        let frames = std::mem::take(&mut joined.frames);
        let Some(asked) = &mut self.asked else {
            self.session.leave_all(core);
            return None;
        };
        (asked.stage, asked.is_woken) = (Stage::Reading(answer), false);
        self.on_frames(frames, core)
    }

    /// What there is for the answer, or a part of it.
    pub(super) fn on_frames(&mut self, frames: Vec<Arc<Frame>>, core: &mut Core) -> Option<Given> {
        let asked = self.asked.as_mut()?;
        let Stage::Reading(answer) = &mut asked.stage else { return None };
        answer.add(frames);
        if !answer.is_done() {
            return None;
        }
        let since = asked.question.since.as_ref();
        let is_held = asked.held_until.is_none() && asked.kept.is_empty() && answer.has_only_moved(since);
        asked.held_until = asked.held_until.or(is_held.then(|| core.now.mono.plus(POLL_MOVED_HOLD)));
        let is_new = answer.is_new(since) || !asked.kept.is_empty();
        if (is_new && !is_held) || asked.question.until <= core.now.mono {
            return self.give(core);
        }
        if let Stage::Reading(answer) = std::mem::replace(&mut asked.stage, Stage::Joining) {
            asked.stage = Stage::Waiting(answer);
        }
        None
    }

    /// Something came for the room's members.
    pub(super) fn on_frame(&mut self, frame: &Arc<Frame>, stats: &ReactorStats) {
        let Some(asked) = &mut self.asked else { return };
        asked.is_woken = true;
        if frame.tag.kind == Kind::Transient {
            let bytes = frame.as_text().len();
            if asked.kept_bytes + bytes > POLL_KEPT_BYTES_MAX {
                return stats.dropped_as_slow.inc();
            }
            asked.kept_bytes += bytes;
            asked.kept.push(Arc::clone(frame));
        }
    }

    /// Whether it waits, and something came.
    pub(super) fn is_woken(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.is_woken && matches!(asked.stage, Stage::Waiting(_)))
    }

    /// Says who the client is here: a poll without a room.
    pub(super) fn introduce(&mut self, core: &mut Core) -> Result<Vec<u8>, HttpRefusal> {
        self.spend(core)?;
        let capabilities: &[&str] = match self.session.grants() {
            Some(grants) if grants.has(Scope::Publish) => &["ack", "publish"],
            _ => &["ack"],
        };
        let mut said = Outbox::default();
        self.session.welcome(capabilities, 1, core, &mut said);
        let welcome = said.replies().next().map(|frame| String::from_utf8_lossy(frame.as_text()).into_owned()).unwrap_or_default();
        Ok(format!(r#"{{"messages":[{welcome}],"cursor":null}}"#).into_bytes())
    }

    fn spend(&mut self, core: &Core) -> Result<(), Refusal> {
        let message = "too many requests on this connection: send fewer, and this one again after retry_after_ms";
        self.session.spend(core).map_err(|wait| Refusal::passing(RATE_LIMITED, message, millis(wait)))
    }

    /// Whether a request is not answered yet.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// When [`Poll::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Mono {
        match &self.asked {
            Some(asked) if !matches!(asked.stage, Stage::Joining) => asked.question.until.min(asked.held_until.unwrap_or(Mono::NEVER)),
            _ => Mono::NEVER,
        }
    }

    /// The time is over: what there is is given, be it nothing.
    pub(super) fn on_time(&mut self, core: &mut Core) -> Option<Given> {
        if self.deadline() <= core.now.mono { self.give(core) } else { None }
    }

    /// It is to have its answer by then.
    pub(super) fn hurry(&mut self, until: Mono) {
        if let Some(asked) = &mut self.asked {
            asked.question.until = asked.question.until.min(until);
        }
    }

    /// The request gets another answer.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }

    fn give(&mut self, core: &mut Core) -> Option<Given> {
        let Asked { question, stage, kept, .. } = *self.asked.take()?;
        let (Stage::Reading(answer) | Stage::Waiting(answer)) = stage else { return None };
        self.session.leave_all(core);
        let (mut json, now) = (Vec::new(), core.now.mono);
        answer.write(question.since.as_ref(), kept, &mut json, |frame| core.stats.sent(frame, frame.as_text().len(), None, now));
        Some(Given { json, keep_alive: question.keep_alive && !core.is_draining() })
    }
}
