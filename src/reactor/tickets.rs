//! Tickets: each stands for a token's identity once, for a short while, in a place where a token had better not stand: the address of an
//! `EventSource`, which proxies log and browsers show. Shared by all reactors, for nobody knows which one the next connection comes to.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::auth::Grants;
use crate::base::codes::{INTERNAL, OVER_CAPACITY, RATE_LIMITED, Refusal};
use crate::base::limits::{TICKET_TTL, TICKETS_MAX, TICKETS_PER_USER_MAX};
use crate::base::time::{Mono, millis};

/// A ticket: 128 random bits, as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u128);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Ticket {
    fn parse(text: &str) -> Option<Ticket> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Ticket)
    }
}

/// One that nobody can guess.
pub(super) fn random() -> Result<u128, Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::new(INTERNAL, "the system has no random numbers"))?;
    Ok(u128::from_ne_bytes(bytes))
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
    /// All that were given out lately, used ones too, with their users; the oldest first.
    given: VecDeque<(Mono, Ticket, Arc<str>)>,
    of_user: HashMap<Arc<str>, usize>,
}

impl Book {
    fn expire(&mut self, now: Mono) {
        while self.given.front().is_some_and(|(until, ..)| *until <= now) {
            let Some((_, ticket, user)) = self.given.pop_front() else { return };
            self.good.remove(&ticket);
            let count = self.of_user.get_mut(&user).expect("each that is given counts for its user");
            *count -= 1;
            if *count == 0 {
                self.of_user.remove(&user);
            }
        }
    }
}

impl Tickets {
    /// Gives one out, of that random number.
    pub(super) fn issue(&self, random: u128, grants: Grants, now: Mono) -> Result<Ticket, Refusal> {
        let mut book = self.0.lock();
        book.expire(now);
        let wait = || book.given.front().map_or(0, |(until, ..)| millis(until.since(now)).max(1));
        if book.of_user.get(&grants.user).is_some_and(|count| *count >= TICKETS_PER_USER_MAX) {
            let message = format!("a user gets {TICKETS_PER_USER_MAX} tickets in 30 s: keep connections open");
            return Err(Refusal::passing(RATE_LIMITED, message, wait()));
        }
        if book.given.len() >= TICKETS_MAX {
            return Err(Refusal::passing(OVER_CAPACITY, "the server has given out as many tickets as it may: come back later", wait()));
        }
        let ticket = Ticket(random);
        *book.of_user.entry(Arc::clone(&grants.user)).or_default() += 1;
        book.given.push_back((now.plus(TICKET_TTL), ticket, Arc::clone(&grants.user)));
        book.good.insert(ticket, grants);
        Ok(ticket)
    }

    /// Takes one, which is good no more then. What its token is worth by now is for the caller to see.
    pub(super) fn redeem(&self, text: &str, now: Mono) -> Option<Grants> {
        let ticket = Ticket::parse(text)?;
        let mut book = self.0.lock();
        book.expire(now);
        book.good.remove(&ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn grants(user: &str) -> Grants {
        let mut grants = Grants::unix_socket();
        grants.user = user.into();
        grants
    }

    /// AUT-03: good once, and not for long.
    #[test]
    fn a_ticket_is_good_once_and_for_its_time() {
        let (tickets, now) = (Tickets::default(), Mono(1));
        let ticket = tickets.issue(7, grants("u1"), now).unwrap().to_string();
        assert_eq!(ticket, "00000000000000000000000000000007");
        for bad in ["", "7", "0000000000000000000000000000000G", "+0000000000000000000000000000007", "00000000000000000000000000000008"] {
            assert!(tickets.redeem(bad, now).is_none(), "{bad}");
        }
        assert_eq!(&*tickets.redeem(&ticket, now).unwrap().user, "u1");
        assert!(tickets.redeem(&ticket, now).is_none());
        let ticket = tickets.issue(9, grants("u1"), now).unwrap().to_string();
        assert!(tickets.redeem(&ticket, now.plus(TICKET_TTL)).is_none());
    }

    /// LIM-06: there are so many of a user's and of all, and none is left when their time is over.
    #[test]
    fn there_are_only_so_many() {
        let (tickets, now) = (Tickets::default(), Mono(1));
        for number in 0..TICKETS_PER_USER_MAX as u128 {
            tickets.issue(number, grants("u1"), now).unwrap();
        }
        assert_eq!(tickets.issue(0, grants("u1"), now.plus(Duration::from_secs(1))).err().unwrap().retry_after_ms, Some(29_000));
        for number in TICKETS_PER_USER_MAX as u128..TICKETS_MAX as u128 {
            tickets.issue(number, grants(&number.to_string()), now).unwrap();
        }
        assert_eq!(tickets.issue(0, grants("u2"), now).err().unwrap().error, OVER_CAPACITY);
        tickets.issue(0, grants("u1"), now.plus(TICKET_TTL)).unwrap();
        let book = tickets.0.lock();
        assert_eq!((book.given.len(), book.good.len(), book.of_user.len()), (1, 1, 1));
    }
}
