//! The thread that asks the store about users, on a connection of its own: their tickets, each of which is good once on all nodes, and how many
//! connections they have on all of them.
//!
//! A ticket is good no more when the server on which it was given out is another run: a replica in its place may have it, but may not have heard that
//! it was used.
//!
//! Connections are admitted by the node's own count, at once, and told of here. The store puts what the nodes say in an order: of two that come at
//! the same time the second is one too many, not both. What a node says counts while its contact is heard; who was killed is forgotten after a
//! while, who comes back begins anew, and says all of it again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::{Cmd, Connection, Value};

use crate::auth::{Grants, TicketAsk, TicketSaid, TicketWord};
use crate::base::time::Mono;
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};

use super::client::{Failure, ask, nonsense, run_id, text};
use super::disputes::{ASK_AGAIN, Count, Counted, Disputes};
use super::layout::CONTACTS;
use super::{Shared, calls};

/// Questions in one round trip.
const BATCH: usize = 256;
/// For how long the store is left alone after a failure.
const REST: Duration = Duration::from_millis(500);
/// How often the contact is heard, at least, and how long what it has said counts without.
const BEAT: Duration = Duration::from_millis(500);
const COUNTS_FOR: Duration = Duration::from_secs(10);

/// Who is there on this node.
pub trait Present: Send {
    /// Takes users whose number of connections has changed, at most so many, with their numbers.
    fn take_changed(&self, max: usize) -> Vec<(Arc<str>, u32)>;
    /// Whether there are any.
    fn has_changed(&self) -> bool;
    /// These are to be told again.
    fn tell_again(&self, users: Vec<Arc<str>>);
    /// All are to be told, and what changes from now on.
    fn tell_all(&self);
    /// Nothing is to be told until all of it is.
    fn rest(&self);
    /// How many connections a user may have.
    fn most(&self) -> u32;
    /// Ends the connections of these users but for the first so many.
    fn end_beyond(&self, users: &[(Arc<str>, u32)]);
}

/// What the thread owns or shares.
pub struct Users {
    shared: Shared,
    asks: Arc<Link<TicketAsk>>,
    /// To each reactor; none has more words on the way than its link has slots.
    words: Vec<Arc<Link<TicketWord>>>,
    present: Box<dyn Present>,
    door: Arc<Door>,
    clock: Clock,
    /// While the connection is good.
    contact: Option<Contact>,
    /// How many there were.
    contacts: u64,
    /// The name of the last one that the store knew.
    former: String,
    disputes: Disputes,
    /// When it is to be heard again.
    beat_at: Mono,
    /// No try is made before.
    rest_until: Instant,
}

/// A connection to the server that has what is about users.
struct Contact {
    connection: Connection,
    name: String,
    /// The store knows it.
    has_begun: bool,
    /// Names the server's run.
    run: String,
    give: String,
    take: String,
    count: String,
}

impl Users {
    /// A thread's work. `asks` leads to `door`; `words` lead to the reactors.
    pub fn new(
        shared: Shared,
        (asks, words): (Arc<Link<TicketAsk>>, Vec<Arc<Link<TicketWord>>>),
        present: Box<dyn Present>,
        door: Arc<Door>,
        clock: Clock,
    ) -> Users {
        Users {
            shared,
            asks,
            words,
            present,
            door,
            clock,
            contact: None,
            contacts: 0,
            former: String::new(),
            disputes: Disputes::default(),
            beat_at: Mono::default(),
            rest_until: Instant::now(),
        }
    }

    /// Runs until told to stop, and everything is answered that was asked.
    pub fn run(mut self) {
        self.present.rest();
        loop {
            self.door.turn();
            let asked: Vec<TicketAsk> = std::iter::from_fn(|| self.asks.pop()).take(BATCH).collect();
            if !asked.is_empty() {
                self.answer(asked);
            } else if self.shared.is_ending() {
                return self.leave();
            }
            self.count();
            self.sleep();
        }
    }

    fn sleep(&self) {
        self.door.arm();
        if self.asks.is_empty() && !self.present.has_changed() && !self.shared.is_ending() {
            std::thread::park_timeout(if self.disputes.next().is_some() { ASK_AGAIN } else { BEAT });
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

    /// Says whose connections have come and gone, if any have, and that the node is there, if it is time.
    fn count(&mut self) {
        if !self.begin() {
            return;
        }
        self.present.tell_again(self.disputes.due(self.clock.mono()));
        if !self.present.has_changed() && self.clock.mono() < self.beat_at {
            return;
        }
        let (told, most) = (self.present.take_changed(BATCH), self.present.most());
        match self.with_contact(|contact| contact.count(most, None, &told)) {
            Some(Counted::At(store_ms, counts)) => self.take(&told, &counts, store_ms),
            // It was silent for too long, or Redis has lost it.
            Some(Counted::Unknown) => self.forget(),
            None => {}
        }
    }

    /// Whether the store knows the contact. One that is new says all.
    fn begin(&mut self) -> bool {
        if self.contact.as_ref().is_some_and(|contact| contact.has_begun) {
            return true;
        }
        self.contacts += 1;
        let name = format!("{:016x}-{}", self.shared.server.node, self.contacts);
        let (former, most) = (std::mem::take(&mut self.former), self.present.most());
        let begun = self.with_contact(|contact| {
            contact.name.clone_from(&name);
            contact.count(most, Some(&former), &[])
        });
        self.former = former;
        let (Some(Counted::At(..)), Some(contact)) = (begun, &mut self.contact) else { return false };
        contact.has_begun = true;
        self.former = name;
        self.disputes.clear();
        self.shared.stats.counts_users.store(true, Ordering::Relaxed);
        self.present.tell_all();
        true
    }

    fn take(&mut self, told: &[(Arc<str>, u32)], counts: &[Count], store_ms: u64) {
        let now = self.clock.mono();
        self.beat_at = now.plus(BEAT);
        let mut over = Vec::new();
        for ((user, _), count) in told.iter().zip(counts) {
            over.extend(self.disputes.take(user, *count, store_ms, now).map(|kept| (Arc::clone(user), kept)));
        }
        self.shared.stats.disputed.set(self.disputes.len() as u64);
        if !over.is_empty() {
            self.present.end_beyond(&over);
        }
    }

    /// The node's own counts hold until there is a contact again.
    fn forget(&mut self) {
        if let Some(contact) = &mut self.contact {
            contact.has_begun = false;
        }
        self.present.rest();
        self.disputes.clear();
        self.shared.stats.disputed.set(0);
        self.shared.stats.counts_users.store(false, Ordering::Relaxed);
    }

    /// The node ends, and all have left.
    fn leave(mut self) {
        if let Some(contact) = &mut self.contact
            && let Err(failure) = ask(&mut contact.connection, &calls::forget_contact(&contact.name))
        {
            tracing::debug!(event = "redis_failed", %failure, "what the node has said of users counts for a while yet");
        }
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
                self.forget();
                self.contact = None;
                self.rest_until = Instant::now() + REST;
            })
            .ok()
    }
}

impl Contact {
    fn make(shared: &Shared) -> Result<Contact, Failure> {
        let mut connection = shared.server.plain(CONTACTS)?;
        let load = |script| redis::cmd("SCRIPT").arg("LOAD").arg(script).clone();
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let asked = ask(&mut connection, &[info, load(calls::GIVE_TICKET), load(calls::TAKE_TICKET), load(calls::COUNT_USERS)])?;
        let [info, give, take, count] = &asked[..] else { return Err(nonsense()) };
        let run = run_id(text(info)?)?.to_owned();
        let (give, take, count) = (text(give)?.to_owned(), text(take)?.to_owned(), text(count)?.to_owned());
        Ok(Contact { connection, name: String::new(), has_begun: false, run, give, take, count })
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

    /// Says how many connections users have here. `former`: the contact begins.
    fn count(&mut self, most: u32, former: Option<&str>, users: &[(Arc<str>, u32)]) -> Result<Counted, Failure> {
        let cmd = calls::count_users(&self.count, &self.name, COUNTS_FOR, most, former, users);
        calls::counted(users, &ask(&mut self.connection, &[cmd])?[0]).ok_or_else(nonsense)
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
