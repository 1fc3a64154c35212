//! The thread that asks the store about users, on a connection of its own: their tickets, each of which is good once on all nodes.
//!
//! A ticket is good no more when the server on which it was given out is another run: a replica in its place may have it, but may not have heard that
//! it was used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Connection, Value};

use crate::auth::{Grants, TicketAsk, TicketSaid, TicketWord};
use crate::net::link::{Door, Link};

use super::client::{Failure, ask, nonsense, run_id, text};
use super::layout::USERS;
use super::{Shared, calls};

/// Questions in one round trip.
const BATCH: usize = 256;
/// For how long the store is left alone after a failure.
const REST: Duration = Duration::from_millis(500);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the thread owns or shares.
pub struct Users {
    shared: Shared,
    asks: Arc<Link<TicketAsk>>,
    /// To each reactor; none has more words on the way than its link has slots.
    words: Vec<Arc<Link<TicketWord>>>,
    door: Arc<Door>,
    /// While the connection is good.
    contact: Option<Contact>,
    /// No try is made before.
    rest_until: Instant,
}

/// A connection to the server that has what is about users.
struct Contact {
    connection: Connection,
    /// Names the server's run.
    run: String,
    give: String,
    take: String,
}

impl Users {
    /// A thread's work. `asks` leads to `door`; `words` lead to the reactors.
    pub fn new(shared: Shared, asks: Arc<Link<TicketAsk>>, words: Vec<Arc<Link<TicketWord>>>, door: Arc<Door>) -> Users {
        Users { shared, asks, words, door, contact: None, rest_until: Instant::now() }
    }

    /// Runs until told to stop, and everything is answered that was asked.
    pub fn run(mut self) {
        loop {
            self.door.turn();
            let asked: Vec<TicketAsk> = std::iter::from_fn(|| self.asks.pop()).take(BATCH).collect();
            if !asked.is_empty() {
                self.answer(asked);
            } else if self.shared.is_ending() {
                return;
            }
            self.sleep();
        }
    }

    fn sleep(&self) {
        self.door.arm();
        if self.asks.is_empty() && !self.shared.is_ending() {
            std::thread::park_timeout(SLEEP_MAX);
        }
        self.door.disarm();
    }

    /// Each gets a word. A question whose answer was lost is not asked again: the store may have done it.
    fn answer(&mut self, asked: Vec<TicketAsk>) {
        let said = self.with_contact(|contact| contact.tickets(&asked)).unwrap_or_default();
        let mut said = said.into_iter();
        for question in asked {
            let said = said.next().unwrap_or(TicketSaid::Unavailable);
            self.shared.stats.count_ticket(&said);
            let Some(link) = self.words.get(usize::from(question.conn.reactor)) else { continue };
            if link.push(TicketWord { conn: question.conn, said }).is_err() {
                tracing::error!(event = "word_lost", "a reactor asked the store more than it may"); // unreachable: reactors count
            }
        }
        self.words.iter().for_each(|link| link.ring());
    }

    /// What came of a try; nothing if the store gives no answer, or gave none a moment ago.
    fn with_contact<T>(&mut self, attempt: impl FnOnce(&mut Contact) -> Result<T, Failure>) -> Option<T> {
        if self.contact.is_none() && Instant::now() < self.rest_until {
            return None;
        }
        let outcome = match &mut self.contact {
            Some(contact) => attempt(contact),
            none => Contact::make(&self.shared).and_then(|contact| attempt(none.insert(contact))),
        };
        outcome
            .inspect_err(|failure| {
                tracing::debug!(event = "redis_failed", %failure, "what is about users was not asked");
                self.contact = None;
                self.rest_until = Instant::now() + REST;
            })
            .ok()
    }
}

impl Contact {
    fn make(shared: &Shared) -> Result<Contact, Failure> {
        let mut connection = shared.server.plain(USERS)?;
        let load = |script| redis::cmd("SCRIPT").arg("LOAD").arg(script).clone();
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let asked = ask(&mut connection, &[info, load(calls::GIVE_TICKET), load(calls::TAKE_TICKET)])?;
        let [info, give, take] = &asked[..] else { return Err(nonsense()) };
        let (run, give, take) = (run_id(text(info)?)?.to_owned(), text(give)?.to_owned(), text(take)?.to_owned());
        Ok(Contact { connection, run, give, take })
    }

    /// Asks about tickets, in one round trip.
    fn tickets(&mut self, asked: &[TicketAsk]) -> Result<Vec<TicketSaid>, Failure> {
        let cmd = |question: &TicketAsk| match &question.grants {
            Some(grants) => calls::give_ticket(&self.give, question.ticket, &grants.user, &format!("{} {}", self.run, grants.to_store())),
            None => calls::take_ticket(&self.take, question.ticket),
        };
        let cmds: Vec<Cmd> = asked.iter().map(cmd).collect();
        let answers = ask(&mut self.connection, &cmds)?;
        asked.iter().zip(&answers).map(|(question, answer)| said(question, answer, &self.run).ok_or_else(nonsense)).collect()
    }
}

/// What the store has said to a question, on that run of it.
fn said(question: &TicketAsk, answer: &Value, run: &str) -> Option<TicketSaid> {
    match (&question.grants, answer) {
        (Some(_), Value::Int(0)) => Some(TicketSaid::Given),
        (Some(_), Value::Int(wait_ms)) => Some(TicketSaid::TooMany { wait_ms: u32::try_from(*wait_ms).ok()? }),
        (None, Value::Nil) => Some(TicketSaid::Unknown),
        (None, kept) => {
            let (given_on, grants) = calls::text(kept)?.split_once(' ')?;
            let grants = Grants::from_store(grants).filter(|_| given_on == run);
            Some(grants.map_or(TicketSaid::Unknown, |grants| TicketSaid::Taken(Box::new(grants))))
        }
        (Some(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Ticket;
    use crate::base::ids::ConnId;

    fn question(is_given: bool) -> TicketAsk {
        let grants = is_given.then(|| Box::new(Grants::told_of("u1", None, 0, 5)));
        TicketAsk { conn: ConnId { reactor: 0, slot: 0, generation: 0 }, ticket: Ticket::new(7), grants }
    }

    fn kept(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    /// AUT-03, SCL-03: what another run of the server has of a ticket is worth nothing, nor what no node of ours wrote.
    #[test]
    fn a_ticket_is_good_on_the_run_that_it_was_given_on() {
        let json = Grants::told_of("u1", None, 0, 5).to_store();
        let taken = |answer| said(&question(false), &answer, "r1");
        assert!(
            matches!(taken(kept(&format!("r1 {json}"))), Some(TicketSaid::Taken(grants)) if &*grants.user == "u1" && grants.expires_at_ms == 5)
        );
        for worthless in [format!("r2 {json}"), "r1 {}".to_owned(), "r1 x".to_owned()] {
            assert!(matches!(taken(kept(&worthless)), Some(TicketSaid::Unknown)), "{worthless}");
        }
        assert!(matches!(taken(Value::Nil), Some(TicketSaid::Unknown)));
        assert!(taken(Value::Int(1)).is_none() && taken(kept("x")).is_none());
        let given = |answer| said(&question(true), &answer, "r1");
        assert!(matches!(given(Value::Int(0)), Some(TicketSaid::Given)) && given(Value::Nil).is_none());
        assert!(matches!(given(Value::Int(70)), Some(TicketSaid::TooMany { wait_ms: 70 })));
    }
}
