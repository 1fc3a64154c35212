//! The external authorizer as reactors see it: a desk at which they leave questions, and the word that comes back. Whoever does the asking
//! takes the questions from the same desk. Off the hot path: only joins that neither a pattern nor ownership allows come here.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::auth::{Answer, Failure, Inquiries, Inquiry, InquiryOptions, InquiryStats, Ruling, Verdict, Work};
use crate::base::counters::{DurationHistogram, HistogramSnapshot};
use crate::base::ids::ConnId;
use crate::base::limits::AUTHORIZER_PENDING_PER_REACTOR;
use crate::base::time::Mono;
use crate::net::clock::Clock;
use crate::net::link::Link;

/// What is said to one connection about one room.
#[derive(Debug)]
pub struct Word {
    /// Who asked.
    pub conn: ConnId,
    /// About which room.
    pub room: Arc<str>,
    /// What is said.
    pub verdict: Verdict,
}

/// See the module.
pub struct Authorizer {
    desk: Mutex<Desk>,
    asked: Condvar,
    /// To each reactor; none has more words on the way than its link has slots.
    words: Vec<Arc<Link<Word>>>,
}

struct Desk {
    inquiries: Inquiries,
    answered_in: DurationHistogram,
    failed_in: DurationHistogram,
}

/// The authorizer's figures.
pub struct AuthorizerFigures {
    /// How often what happened.
    pub stats: InquiryStats,
    /// Questions that wait to be asked.
    pub waiting: usize,
    /// See [`Breaker::code`](crate::auth::Breaker::code).
    pub breaker_code: u64,
    /// How long requests took that were answered.
    pub answered_in: HistogramSnapshot,
    /// How long the others took.
    pub failed_in: HistogramSnapshot,
}

impl Authorizer {
    /// A desk that tells the reactors over these links, which have [`AUTHORIZER_PENDING_PER_REACTOR`] slots each.
    pub fn new(options: InquiryOptions, words: Vec<Arc<Link<Word>>>) -> Authorizer {
        let desk =
            Desk { inquiries: Inquiries::new(options), answered_in: DurationHistogram::default(), failed_in: DurationHistogram::default() };
        Authorizer { desk: Mutex::new(desk), asked: Condvar::new(), words }
    }

    /// Waits for the next question that is worth asking; it is to be settled.
    pub fn next(&self, clock: Clock) -> Inquiry {
        let mut desk = self.desk.lock();
        loop {
            match desk.inquiries.next(clock.mono()) {
                None => self.asked.wait(&mut desk),
                Some(Work::Ask(inquiry)) => return inquiry,
                Some(Work::Tell(ruling)) => self.tell(&ruling),
            }
        }
    }

    /// Takes what came of a question, and how long it took.
    pub fn settle(&self, inquiry: &Inquiry, outcome: Result<Answer, Failure>, took: Duration, now: Mono) {
        let mut desk = self.desk.lock();
        let histogram = if outcome.is_ok() { &desk.answered_in } else { &desk.failed_in };
        histogram.record(took);
        let ruling = desk.inquiries.settle(inquiry, outcome, now);
        drop(desk);
        self.tell(&ruling);
    }

    fn tell(&self, ruling: &Ruling) {
        for conn in &ruling.askers {
            let Some(link) = self.words.get(usize::from(conn.reactor)) else { continue };
            let word = Word { conn: *conn, room: Arc::clone(&ruling.room), verdict: ruling.verdict };
            if link.push(word).is_err() {
                tracing::error!(event = "word_lost", "a reactor asked the authorizer more than it may"); // unreachable: reactors count
            }
        }
        self.words.iter().for_each(|link| link.ring());
    }

    /// How long answers that allow are kept from now on, if they do not say.
    pub fn keep_for(&self, kept_for: Duration) {
        self.desk.lock().inquiries.keep_for(kept_for);
    }

    /// Whether it is not asked for the time being, after failures.
    pub fn is_resting(&self, now: Mono) -> bool {
        self.desk.lock().inquiries.is_resting(now)
    }

    /// The figures now.
    pub fn figures(&self) -> AuthorizerFigures {
        let desk = self.desk.lock();
        AuthorizerFigures {
            stats: desk.inquiries.stats(),
            waiting: desk.inquiries.waiting(),
            breaker_code: desk.inquiries.breaker_code(),
            answered_in: desk.answered_in.snapshot(),
            failed_in: desk.failed_in.snapshot(),
        }
    }
}

/// One reactor's way to the authorizer, if there is one.
pub(super) struct Inquirer {
    authorizer: Option<Arc<Authorizer>>,
    /// Words that are on their way here.
    pending: usize,
}

impl Inquirer {
    pub(super) fn new(authorizer: Option<Arc<Authorizer>>) -> Inquirer {
        Inquirer { authorizer, pending: 0 }
    }

    /// Whether there is anybody to ask.
    pub(super) fn is_there(&self) -> bool {
        self.authorizer.is_some()
    }

    /// Asks whether the user may join the room. `None`: a [`Word`] will come.
    pub(super) fn ask(&mut self, user: &str, room: &str, conn: ConnId, now: Mono) -> Option<Verdict> {
        let Some(authorizer) = &self.authorizer else { return Some(Verdict::Deny) };
        if self.pending >= AUTHORIZER_PENDING_PER_REACTOR {
            return Some(Verdict::Unavailable);
        }
        let verdict = authorizer.desk.lock().inquiries.ask(user, room, conn, now);
        if verdict.is_none() {
            self.pending += 1;
            authorizer.asked.notify_one();
        }
        verdict
    }

    /// A word has come.
    pub(super) fn heard(&mut self) {
        debug_assert!(self.pending > 0, "a word that nobody asked for");
        self.pending = self.pending.saturating_sub(1);
    }
}
