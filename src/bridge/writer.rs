//! The thread that brings events to the store: it takes all that wait, sends them at once, and tells the hub what became of them. The more there
//! is, the bigger the batch: nobody waits for a batch to fill.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use crate::auth::Breaker;
use crate::base::codes::{Refusal, STORE_UNAVAILABLE};
use crate::hub::store::{Append, Appended, News, SHARDS, Settled, shard_of};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};

use super::Shared;
use super::calls::{self, Part};
use super::client::{Client, Failure, nonsense};
use super::layout::{Keys, NODES_SHARD};

/// Events in one batch.
const BATCH_EVENTS: usize = 1024;
/// Bytes in one batch, about.
const BATCH_BYTES: usize = 1024 * 1024;
/// Waits that are over, in one batch.
const SETTLED_MAX: usize = 1024;
/// Failures in a row after which the store is left alone for a while.
const FAILURES_MAX: u32 = 5;
/// For how long.
const REST: Duration = Duration::from_secs(2);
/// How soon a failure is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// When the publisher had better try again.
const RETRY_MS: u32 = 1_000;
/// How often the node says that it is there, and for how long that holds.
const SAY_EVERY: Duration = Duration::from_secs(3);
const SAID_FOR: Duration = Duration::from_secs(10);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the thread owns or shares.
pub struct Writer {
    shared: Shared,
    inbox: Arc<Link<Append>>,
    settles: Arc<Link<Settled>>,
    door: Arc<Door>,
    clock: Clock,
    breaker: Breaker,
    /// While the connection is good.
    client: Option<Client>,
    /// The name of the last batch.
    batch: u64,
    /// Waits that are over, of which the store is to be told with the next batch.
    settled: Vec<Settled>,
    /// What the node says of itself to the others, as JSON, and when it does so again.
    about: String,
    say_at: Instant,
}

/// Events on their way: in a cluster of one shard, else of as many as there are, for each call costs Redis as much as an event or two.
struct Call {
    batch: u64,
    parts: Vec<Part>,
}

impl Call {
    /// It goes to where that shard is.
    fn shard(&self) -> u16 {
        self.parts[0].shard
    }
}

/// What Redis has, but too few replicas: a failover might lose it. Its feed brings it all the same.
fn unsafe_yet(appended: Appended, have: i64, replicas: u32) -> Appended {
    let refusal = || {
        let message = format!(
            "Redis has the event, but only {have} of {replicas} replicas do (--redis-replicas): send it again with the same event_id after retry_after_ms"
        );
        Refusal::passing(STORE_UNAVAILABLE, message, RETRY_MS)
    };
    Appended { id: appended.id, outcome: appended.outcome.and_then(|_| Err(refusal())) }
}

impl Writer {
    /// A thread's work. `inbox` and `settles` lead to `door`.
    /// `about`: what the node says of itself to the others, as JSON.
    pub fn new(
        shared: Shared,
        (inbox, settles): (Arc<Link<Append>>, Arc<Link<Settled>>),
        door: Arc<Door>,
        clock: Clock,
        about: String,
    ) -> Writer {
        let (breaker, say_at) = (Breaker::new(FAILURES_MAX, REST), Instant::now());
        Writer { shared, inbox, settles, door, clock, breaker, client: None, batch: 0, settled: Vec::new(), about, say_at }
    }

    /// Runs until told to stop, and everything is answered that it was given.
    pub fn run(mut self) {
        loop {
            self.door.turn();
            let calls = self.calls();
            self.settled.extend(std::iter::from_fn(|| self.settles.pop()).take(SETTLED_MAX.saturating_sub(self.settled.len())));
            let is_well = self.breaker.code() == 0;
            if !calls.is_empty() || (is_well && !self.settled.is_empty()) {
                self.bring(calls);
            } else if self.shared.is_ending() {
                return self.say(Duration::ZERO);
            } else if is_well && Instant::now() >= self.say_at {
                self.say(SAID_FOR);
            } else if self.breaker.code() != 0 {
                self.probe();
            }
            self.sleep();
        }
    }

    /// Takes what waits, by shard. No two calls at a time begin with the same one, so that the store need remember one answer alone.
    fn calls(&mut self) -> Vec<Call> {
        let mut parts: Vec<Part> = Vec::new();
        let mut of: [Option<usize>; SHARDS as usize] = [None; SHARDS as usize];
        let (mut events, mut bytes) = (0, 0);
        while events < BATCH_EVENTS && bytes < BATCH_BYTES {
            let Some(append) = self.inbox.pop() else { break };
            (events, bytes) = (events + 1, bytes + append.event.bytes());
            let shard = shard_of(&append.event.room);
            let at = *of[usize::from(shard)].get_or_insert_with(|| {
                parts.push(Part { shard, events: Vec::new() });
                parts.len() - 1
            });
            parts[at].events.push(append);
        }
        let together = if self.shared.server.is_cluster() { 1 } else { usize::from(SHARDS) };
        let mut named = |parts| {
            self.batch += 1;
            Call { batch: self.batch, parts }
        };
        let mut calls = Vec::new();
        while !parts.is_empty() {
            calls.push(named(parts.drain(..together.min(parts.len())).collect()));
        }
        calls
    }

    /// Brings events to the store, however often that takes, or refuses them once the store is given up for a while. A call whose answer was
    /// lost is sent again under the same name, and so is not made twice.
    fn bring(&mut self, mut calls: Vec<Call>) {
        loop {
            self.door.turn();
            let now = self.clock.mono();
            let failure = match self.breaker.permit(now) {
                None => Failure("it has failed several times, and is left alone for a while".to_owned()),
                Some(permit) => {
                    let was_open = self.breaker.code() == 2;
                    let outcome = self.send(&mut calls);
                    self.breaker.settle(permit, outcome.is_ok(), self.clock.mono());
                    self.shared.stats.set_breaker(self.breaker.code());
                    match outcome {
                        Ok(()) if was_open => return self.tell_back(),
                        Ok(()) => return,
                        Err(failure) => {
                            self.client = None;
                            self.shared.stats.failures.inc();
                            failure
                        }
                    }
                }
            };
            if self.breaker.is_open(self.clock.mono()) || self.shared.is_ending() {
                return self.give_up(&failure, std::mem::take(&mut calls));
            }
            tracing::debug!(event = "redis_failed", %failure, "it is tried again");
            std::thread::park_timeout(RETRY);
        }
    }

    /// Says for how long the node is there, and hears which are. Where the store gives no answer, it is said again later; a batch will find out why.
    fn say(&mut self, during: Duration) {
        self.say_at = Instant::now() + SAY_EVERY;
        let said = calls::node(&self.about, during);
        let heard = self.client().and_then(|client| calls::nodes(&client.ask(NODES_SHARD, &[said])?[0]).ok_or_else(nonsense));
        match heard {
            Ok(nodes) => self.shared.stats.set_nodes(nodes),
            Err(failure) => {
                self.client = None;
                tracing::debug!(event = "redis_failed", %failure, "the node could not say that it is there");
            }
        }
    }

    /// The connection; a new one if there is none.
    fn client(&mut self) -> Result<&mut Client, Failure> {
        match &mut self.client {
            Some(client) => Ok(client),
            none => Ok(none.insert(self.shared.server.connect_all()?)),
        }
    }

    /// One try. Calls that are answered are taken out.
    fn send(&mut self, calls: &mut Vec<Call>) -> Result<(), Failure> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(self.shared.server.connect_all()?),
        };
        let (node, rooms_max) = (self.shared.server.node, self.shared.rooms_max);
        let (begun, sha) = (Instant::now(), client.append_sha().to_owned());
        let append = |call: &Call| (call.shard(), calls::append(&sha, node, rooms_max, call.batch, &call.parts));
        let settled = self.settled.iter().map(|settled| (shard_of(&settled.room), settled));
        let settled = settled.map(|(shard, settled)| (shard, calls::settled(&Keys::new(shard), settled)));
        let mut cmds: Vec<(u16, Cmd)> = calls.iter().map(append).chain(settled).collect();
        let replicas = self.shared.server.replicas;
        if replicas > 0 {
            // On the same connection, after what is waited for.
            cmds.extend(calls.iter().map(|call| (call.shard(), calls::wait(replicas))));
        }
        let answers = client.ask_each(&cmds)?;
        let waited = &answers[answers.len().saturating_sub(calls.len())..];
        let mut appended = Vec::new();
        for ((call, answer), have) in calls.iter().zip(&answers).zip(waited) {
            let outcomes = calls::appended(call.batch, &call.parts, answer).ok_or_else(nonsense)?;
            match (replicas, have) {
                (0, _) => appended.extend(outcomes),
                (_, Value::Int(have)) if *have >= i64::from(replicas) => appended.extend(outcomes),
                (_, Value::Int(have)) => appended.extend(outcomes.into_iter().map(|outcome| unsafe_yet(outcome, *have, replicas))),
                _ => return Err(nonsense()),
            }
        }
        calls.clear();
        self.settled.clear();
        if appended.is_empty() {
            return Ok(());
        }
        self.shared.stats.appends.record(begun.elapsed());
        self.shared.stats.appended.add(appended.len() as u64);
        self.shared.tell(News::Appended(appended), &self.door);
        Ok(())
    }

    /// The store is left alone for a while: those who wait are told, and so is the hub.
    fn give_up(&mut self, failure: &Failure, calls: Vec<Call>) {
        let message = format!(
            "Redis does not answer ({failure}), and whether it took the event is not known: send it again with the same event_id after retry_after_ms"
        );
        let refusal = Refusal::passing(STORE_UNAVAILABLE, message, RETRY_MS);
        let events = calls.into_iter().flat_map(|call| call.parts).flat_map(|part| part.events);
        let appended = events.map(|append| Appended { id: append.id, outcome: Err(refusal.clone()) }).collect();
        tracing::error!(event = "redis_gone", %failure, "Redis does not answer: publishes to shared rooms are refused until it does");
        self.shared.tell(News::Gone { reason: failure.to_string().into() }, &self.door);
        self.shared.tell(News::Appended(appended), &self.door);
    }

    fn tell_back(&self) {
        tracing::info!(event = "redis_back", "Redis answers again");
        self.shared.tell(News::Back, &self.door);
    }

    /// Looks whether the store answers again, if it is time for that.
    fn probe(&mut self) {
        let Some(permit) = self.breaker.permit(self.clock.mono()) else { return };
        let outcome = self.shared.server.connect_all();
        self.breaker.settle(permit, outcome.is_ok(), self.clock.mono());
        self.shared.stats.set_breaker(self.breaker.code());
        self.client = outcome.ok();
        if self.client.is_some() {
            self.tell_back();
        }
    }

    fn sleep(&self) {
        self.door.arm();
        let has_settled = self.breaker.code() == 0 && !(self.settles.is_empty() && self.settled.is_empty());
        if self.inbox.is_empty() && !has_settled && !self.shared.is_ending() {
            std::thread::park_timeout(if self.breaker.code() == 0 { SLEEP_MAX } else { RETRY });
        }
        self.door.disarm();
    }
}
