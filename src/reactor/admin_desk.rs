//! What operators ask over `--listen`, as reactors see it: a desk at which they leave questions, for threads that may take their time, and the
//! answer that comes back with what else the daemon tells them. Off the hot path, and bounded: so many questions at once, and so many of one user
//! in what time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::base::bucket::Bucket;
use crate::base::codes::{OVER_CAPACITY, RATE_LIMITED, Refusal};
use crate::base::ids::ConnId;
use crate::base::limits::{ADMIN_RATE, ADMIN_REQUESTS_MAX, ADMIN_USERS_MAX};
use crate::base::time::{Mono, millis};
use crate::wire::http::HttpRefusal;

use super::Reactor;

/// When a full desk is worth another try.
const RETRY_MS: u32 = 500;

/// What tokens with the scope `admin` may do by requests to `--listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAccess {
    /// Nothing: there are no such paths.
    Off,
    /// See all that the admin listener shows.
    Read,
    /// Do all that it lets be done, too.
    All,
}

impl AdminAccess {
    /// All of them.
    pub const ALL: [AdminAccess; 3] = [AdminAccess::Off, AdminAccess::Read, AdminAccess::All];

    /// The name that flags and files use.
    pub const fn name(self) -> &'static str {
        match self {
            AdminAccess::Off => "off",
            AdminAccess::Read => "read",
            AdminAccess::All => "all",
        }
    }
}

/// A request of an operator, whose token was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminQuestion {
    /// Who hears the answer.
    pub conn: ConnId,
    /// The token's user.
    pub user: Arc<str>,
    /// From where it came.
    pub ip: Option<IpAddr>,
    /// As in the request.
    pub method: Box<str>,
    /// The same, behind `/v1/admin/`.
    pub path: Box<str>,
    /// The same, not decoded.
    pub query: Box<str>,
    /// The same.
    pub body: Box<[u8]>,
}

/// The answer to one.
#[derive(Clone, Debug)]
pub struct AdminAnswer {
    /// Who asked.
    pub conn: ConnId,
    /// What is said.
    pub said: Result<AdminText, HttpRefusal>,
}

/// What an operator reads.
#[derive(Clone, Debug)]
pub struct AdminText {
    /// The status.
    pub status: u16,
    /// Of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: String,
}

/// See the module.
#[derive(Debug, Default)]
pub struct AdminDesk {
    inner: Mutex<Inner>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<AdminQuestion>,
    /// Questions that are being answered.
    taken: usize,
    users: HashMap<Arc<str>, Bucket>,
}

impl AdminDesk {
    /// Waits for the next question. [`AdminDesk::done`] gives its place back.
    pub fn next(&self) -> AdminQuestion {
        let mut inner = self.inner.lock();
        loop {
            if let Some(question) = inner.waiting.pop_front() {
                inner.taken += 1;
                return question;
            }
            self.asked.wait(&mut inner);
        }
    }

    /// A question is answered.
    pub fn done(&self) {
        self.inner.lock().taken -= 1;
    }

    /// Counts a request of that user, if it may make one more.
    pub(super) fn admit(&self, user: &Arc<str>, now: Mono) -> Result<(), Refusal> {
        let mut inner = self.inner.lock();
        if inner.users.len() >= ADMIN_USERS_MAX && !inner.users.contains_key(user) {
            inner.users.retain(|_, bucket| !bucket.is_full(now));
            if inner.users.len() >= ADMIN_USERS_MAX {
                return Err(full());
            }
        }
        inner.users.entry(Arc::clone(user)).or_default().take(1, ADMIN_RATE, now).map_err(|wait| {
            let message = "this user asks too often for what is under /v1/admin: ask again after retry_after_ms";
            Refusal::passing(RATE_LIMITED, message, millis(wait).max(1))
        })
    }

    /// Leaves a question; its answer is owed then.
    pub(super) fn ask(&self, question: AdminQuestion) -> Result<(), Refusal> {
        let mut inner = self.inner.lock();
        if inner.waiting.len() + inner.taken >= ADMIN_REQUESTS_MAX {
            return Err(full());
        }
        inner.waiting.push_back(question);
        self.asked.notify_one();
        Ok(())
    }
}

fn full() -> Refusal {
    Refusal::passing(OVER_CAPACITY, "as many requests of operators are being answered as may be: ask again after retry_after_ms", RETRY_MS)
}

impl Reactor {
    /// Gives an operator the answer, if the connection is still there.
    pub(super) fn take_admin_answer(&mut self, answer: AdminAnswer) {
        let id = answer.conn;
        if let Some(conn) = self.conns.by_id(id) {
            conn.on_admin_answer(answer.said, &mut self.core);
        }
        self.enlist(id.slot);
        self.schedule(id.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Mono = Mono(1);

    fn question(slot: u32) -> AdminQuestion {
        AdminQuestion {
            conn: ConnId { reactor: 0, slot, generation: 0 },
            user: "op".into(),
            ip: None,
            method: "GET".into(),
            path: "stats".into(),
            query: "".into(),
            body: Box::default(),
        }
    }

    /// LIM-06: so many at once, those that are being answered among them; a place that is given back is taken again, in order.
    #[test]
    fn places_are_limited_and_given_back() {
        let desk = AdminDesk::default();
        (0..ADMIN_REQUESTS_MAX as u32).for_each(|slot| desk.ask(question(slot)).unwrap());
        assert_eq!(desk.ask(question(99)).unwrap_err().error, OVER_CAPACITY);
        assert_eq!((desk.next(), desk.next()), (question(0), question(1)));
        assert_eq!(desk.ask(question(99)).unwrap_err().retry_after_ms, Some(RETRY_MS), "they are not answered yet");
        desk.done();
        desk.ask(question(98)).unwrap();
        desk.ask(question(99)).unwrap_err();
    }

    /// LIM-01: a burst passes, and then the rate, each user's own; the table of users is bounded.
    #[test]
    fn each_user_has_a_rate() {
        let (desk, op) = (AdminDesk::default(), Arc::from("op"));
        (0..ADMIN_RATE.burst).for_each(|_| desk.admit(&op, NOW).unwrap());
        let refusal = desk.admit(&op, NOW).unwrap_err();
        assert_eq!((refusal.error, refusal.retry_after_ms), (RATE_LIMITED, Some(50)));
        desk.admit(&op, NOW.plus(ADMIN_RATE.every)).unwrap();
        (1..ADMIN_USERS_MAX).for_each(|n| desk.admit(&n.to_string().into(), NOW).unwrap());
        assert_eq!(desk.admit(&"other".into(), NOW).unwrap_err().error, OVER_CAPACITY);
        desk.admit(&op, NOW.plus(Duration::from_millis(100))).unwrap();
        desk.admit(&"other".into(), NOW.plus(Duration::from_secs(60))).unwrap();
        assert_eq!(desk.inner.lock().users.len(), 1, "those that have not asked for a while have made place");
    }
}
