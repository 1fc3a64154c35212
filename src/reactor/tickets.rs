//! Tickets: each stands for a token's identity once, for a short while, in a place where a token had better not stand: the address of an
//! `EventSource`, which proxies log and browsers show. Shared by all reactors, for nobody knows which one the next connection comes to.
//!
//! Where nodes share a store, tickets are there instead, and whoever takes one from it has used it, so that each is good once, on any of them. A
//! ticket is here or there, never both: here are those that were given out while the store did not answer, which are good on this node alone.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::auth::{Grants, Ticket, TicketAsk};
use crate::base::codes::{INTERNAL, OVER_CAPACITY, RATE_LIMITED, Refusal};
use crate::base::ids::ConnId;
use crate::base::limits::{TICKET_TTL, TICKETS_MAX, TICKETS_PENDING_PER_REACTOR, TICKETS_PER_USER_MAX};
use crate::base::time::{Mono, millis};
use crate::net::link::Link;

/// One that nobody can guess.
pub(super) fn random() -> Result<Ticket, Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::new(INTERNAL, "the system has no random numbers"))?;
    Ok(Ticket::new(u128::from_ne_bytes(bytes)))
}

/// The refusal of one more ticket for a user.
pub(super) fn too_many(wait_ms: u32) -> Refusal {
    let message = format!("a user gets {TICKETS_PER_USER_MAX} tickets in 30 s: keep connections open");
    Refusal::passing(RATE_LIMITED, message, wait_ms)
}

/// See the module.
#[derive(Default)]
pub(super) struct Tickets(Mutex<Book>);

/// Names none of them: they are as good as tokens.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Book {
    good: HashMap<Ticket, Grants>,
    /// Until when they are, the oldest first; used ones too.
    kept: VecDeque<(Mono, Ticket)>,
    /// To whom any were given out lately, used ones too; the oldest first.
    given: VecDeque<(Mono, Arc<str>)>,
    of_user: HashMap<Arc<str>, usize>,
}

impl Book {
    fn expire(&mut self, now: Mono) {
        while self.kept.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, ticket)) = self.kept.pop_front() else { return };
            self.good.remove(&ticket);
        }
        while self.given.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, user)) = self.given.pop_front() else { return };
            let count = self.of_user.get_mut(&user).expect("each that is given counts for its user");
            *count -= 1;
            if *count == 0 {
                self.of_user.remove(&user);
            }
        }
    }
}

impl Tickets {
    /// Counts one more for that user, if there may be one more.
    pub(super) fn count(&self, user: &Arc<str>, now: Mono) -> Result<(), Refusal> {
        let mut book = self.0.lock();
        book.expire(now);
        let wait = || book.given.front().map_or(0, |(until, _)| millis(until.since(now)).max(1));
        if book.of_user.get(user).is_some_and(|count| *count >= TICKETS_PER_USER_MAX) {
            return Err(too_many(wait()));
        }
        if book.given.len() >= TICKETS_MAX {
            return Err(Refusal::passing(OVER_CAPACITY, "the server has given out as many tickets as it may: come back later", wait()));
        }
        *book.of_user.entry(Arc::clone(user)).or_default() += 1;
        book.given.push_back((now.plus(TICKET_TTL), Arc::clone(user)));
        Ok(())
    }

    /// This one is good here from now on. It was counted, or the store has given it up.
    pub(super) fn keep(&self, ticket: Ticket, grants: Grants, now: Mono) {
        let mut book = self.0.lock();
        book.expire(now);
        book.kept.push_back((now.plus(TICKET_TTL), ticket));
        book.good.insert(ticket, grants);
    }

    /// Whether it is good here.
    pub(super) fn has(&self, ticket: Ticket, now: Mono) -> bool {
        let mut book = self.0.lock();
        book.expire(now);
        book.good.contains_key(&ticket)
    }

    /// Takes one, which is good no more then. What its token is worth by now is for the caller to see.
    pub(super) fn redeem(&self, text: &str, now: Mono) -> Option<Grants> {
        let ticket = Ticket::parse(text)?;
        let mut book = self.0.lock();
        book.expire(now);
        book.good.remove(&ticket)
    }
}

/// One reactor's way to the tickets that nodes share, if they do.
pub(super) struct TicketDesk {
    asks: Option<Arc<Link<TicketAsk>>>,
    /// Words that are on their way here.
    pending: usize,
}

impl TicketDesk {
    pub(super) fn new(asks: Option<Arc<Link<TicketAsk>>>) -> TicketDesk {
        TicketDesk { asks, pending: 0 }
    }

    /// Whether there is anybody to ask.
    pub(super) fn is_there(&self) -> bool {
        self.asks.is_some()
    }

    /// Asks the store: to keep one that stands for `grants`, or to give one up. True: a word will come.
    pub(super) fn ask(&mut self, conn: ConnId, ticket: Ticket, grants: Option<&Grants>) -> bool {
        let Some(asks) = &self.asks else { return false };
        let is_asked = self.pending < TICKETS_PENDING_PER_REACTOR
            && asks.push(TicketAsk { conn, ticket, grants: grants.map(|grants| Box::new(grants.clone())) }).is_ok();
        if is_asked {
            self.pending += 1;
            asks.ring();
        }
        is_asked
    }

    /// A word has come.
    pub(super) fn heard(&mut self) {
        debug_assert!(self.pending > 0, "a word that nobody asked for");
        self.pending = self.pending.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::link::{Door, Waker};

    fn grants(user: &str) -> Grants {
        let mut grants = Grants::unix_socket();
        grants.user = user.into();
        grants
    }

    fn issue(tickets: &Tickets, number: u128, user: &str, now: Mono) -> Result<String, Refusal> {
        tickets.count(&user.into(), now)?;
        tickets.keep(Ticket::new(number), grants(user), now);
        Ok(Ticket::new(number).to_string())
    }

    /// AUT-03: a ticket is good once, for its time, and nothing else is one.
    #[test]
    fn a_ticket_is_good_once_and_for_a_while() {
        let (tickets, now) = (Tickets::default(), Mono(1));
        let ticket = issue(&tickets, 7, "u1", now).unwrap();
        assert_eq!(ticket, "00000000000000000000000000000007");
        for bad in ["", "7", "0000000000000000000000000000000G", "+0000000000000000000000000000007", "00000000000000000000000000000008"] {
            assert!(tickets.redeem(bad, now).is_none(), "{bad}");
        }
        assert_eq!(&*tickets.redeem(&ticket, now).unwrap().user, "u1");
        assert!(tickets.redeem(&ticket, now).is_none());
        let ticket = issue(&tickets, 9, "u1", now).unwrap();
        assert!(tickets.has(Ticket::new(9), now) && !tickets.has(Ticket::new(9), now.plus(TICKET_TTL)));
        assert!(tickets.redeem(&ticket, now.plus(TICKET_TTL)).is_none());
    }

    /// LIM-06: there are so many of a user's and of all, and none is left when their time is over.
    #[test]
    fn there_are_only_so_many() {
        let (tickets, now) = (Tickets::default(), Mono(1));
        for number in 0..TICKETS_PER_USER_MAX as u128 {
            issue(&tickets, number, "u1", now).unwrap();
        }
        assert_eq!(issue(&tickets, 0, "u1", now.plus(Duration::from_secs(1))).err().unwrap().retry_after_ms, Some(29_000));
        for number in TICKETS_PER_USER_MAX as u128..TICKETS_MAX as u128 {
            issue(&tickets, number, &number.to_string(), now).unwrap();
        }
        assert_eq!(issue(&tickets, 0, "u2", now).err().unwrap().error, OVER_CAPACITY);
        issue(&tickets, 0, "u1", now.plus(TICKET_TTL)).unwrap();
        let book = tickets.0.lock();
        assert_eq!((book.given.len(), book.good.len(), book.kept.len(), book.of_user.len()), (1, 1, 1, 1));
    }

    /// SCL-03, LIM-06: as many questions as words have room, and none where nobody is to be asked.
    #[test]
    fn only_so_many_questions_are_under_way() {
        let conn = ConnId { reactor: 0, slot: 0, generation: 0 };
        let mut alone = TicketDesk::new(None);
        assert!(!alone.is_there() && !alone.ask(conn, Ticket::new(1), None));
        let asks = Arc::new(Link::new(2 * TICKETS_PENDING_PER_REACTOR, Door::new(Waker::Thread(std::thread::current()))));
        let mut desk = TicketDesk::new(Some(Arc::clone(&asks)));
        let asked = (0..TICKETS_PENDING_PER_REACTOR as u128 + 9).filter(|number| desk.ask(conn, Ticket::new(*number), None)).count();
        assert_eq!((asked, asks.len()), (TICKETS_PENDING_PER_REACTOR, TICKETS_PENDING_PER_REACTOR));
        desk.heard();
        assert!(desk.ask(conn, Ticket::new(1), Some(&grants("u1"))) && !desk.ask(conn, Ticket::new(2), None));
    }
}
