//! The publishing side: a thread that sends each event when it is due, and waits for nobody.
//!
//! What is due while the connection takes nothing waits with its intended time, so that a server that stalls is charged for it. Nothing is
//! queued for that: a schedule is a formula, and what is late is simply still to be taken from it.

pub mod answers;
pub mod batch;
pub mod inbound;
pub mod schedule;
pub mod socket;
mod span;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};

use crate::client::codec;
use crate::clock::now_ns;
use crate::hist::{self, Hist};
use crate::scenario::Scenario;

use answers::Answers;
use batch::Batch;
use inbound::Inbound;
use schedule::Schedule;
use socket::Socket;
pub use span::Span;
use span::{Progress, Running};

/// The shortest sleep: more of them would cost more than they give.
const SLEEP_NS_MIN: u64 = 50_000;
/// The longest one: orders are looked for after it.
const SLEEP_NS_MAX: u64 = 10_000_000;
/// Below this, answers are not waited for: they are read when the next event is due.
const ANSWERS_CAN_WAIT_NS: u64 = 1_000_000;
/// Answers read in one turn.
const READS_PER_TURN: usize = 16;
/// Time for the last answers of a span.
const ANSWERS_NS_MAX: u64 = 10_000_000_000;

/// What the publisher is told.
#[derive(Debug)]
enum Order {
    /// Publish for so long.
    Span(Span),
    /// End the span now.
    Cut,
    /// Nothing more will be published.
    End,
}

/// What the publisher says.
#[derive(Debug)]
pub enum Said {
    /// A span is over, and all of it is answered.
    Done(Done),
    /// The whole run, after [`Publisher::end`].
    Account(Account),
    /// It cannot go on.
    Failed(Box<Failed>),
}

/// A publisher that could not go on, and what it had done until then.
#[derive(Debug)]
pub struct Failed {
    /// What went wrong.
    pub why: String,
    /// The span that it was in.
    pub done: Option<Done>,
    /// The whole run.
    pub account: Account,
}

/// A span that is over.
#[derive(Debug)]
pub struct Done {
    /// Events sent of each flow that were due in the measured part.
    pub published: Vec<u64>,
    /// Events of each flow that were sent in all of it and not refused.
    pub accepted: Vec<u64>,
    /// How late the measured ones were.
    pub slip: Hist,
    /// When it really ended.
    pub until_ns: u64,
    /// How long the server's connection took nothing although something was to be written.
    pub kept_waiting_ns: u64,
    /// Publishes refused in it.
    pub refused: u64,
    /// It was given up: the server took less than was due.
    pub gave_up: bool,
}

impl Default for Done {
    /// Nothing was sent.
    fn default() -> Done {
        Done { published: Vec::new(), accepted: Vec::new(), slip: hist::new(), until_ns: 0, kept_waiting_ns: 0, refused: 0, gave_up: false }
    }
}

/// The whole run.
#[derive(Debug, Default)]
pub struct Account {
    /// Events sent of each flow.
    pub sent: Vec<u64>,
    /// Positions of those that were refused.
    pub refused: Vec<Vec<u64>>,
    /// Answers by what they said.
    pub answers: BTreeMap<String, u64>,
    /// What the last refusal said; empty if there was none.
    pub last_refusal: String,
}

/// Figures that are read while it runs.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Events sent so far.
    pub published: AtomicU64,
    /// The largest delay since this was last taken.
    pub slip_max_ns: AtomicU64,
}

/// The thread, from outside.
pub struct Publisher {
    orders: Sender<Order>,
    /// See there.
    pub gauges: Arc<Gauges>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread. `has_answers`: the server answers each event (the floor does not).
    pub fn start(
        scenario: &Scenario,
        run: u32,
        socket: Socket,
        has_answers: bool,
        pin: Option<u32>,
        say: impl Fn(Said) + Send + 'static,
    ) -> Result<Publisher, String> {
        let (orders, receiver) = channel();
        let gauges = Arc::new(Gauges::default());
        let mut work = Work::new(scenario, run, socket, has_answers, receiver, Arc::clone(&gauges))?;
        let builder = thread::Builder::new().name("publisher".to_owned());
        let thread = builder.spawn(move || {
            let ended = prepare(pin).and_then(|()| work.run(&say));
            say(match ended {
                Ok(()) => Said::Account(work.account()),
                Err(why) => Said::Failed(Box::new(work.fail(why))),
            });
        });
        let thread = thread.map_err(|error| format!("no thread for the publisher: {error}"))?;
        Ok(Publisher { orders, gauges, thread: Some(thread) })
    }

    /// Publish for so long. Answered by [`Said::Done`].
    pub fn publish(&self, span: Span) {
        self.order(Order::Span(span));
    }

    /// End the span now.
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    /// Nothing more will be published. Answered by [`Said::Account`].
    pub fn end(&self) {
        self.order(Order::End);
    }

    fn order(&self, order: Order) {
        // A thread that has ended has said why.
        self.orders.send(order).ok();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.order(Order::Cut);
        self.order(Order::End);
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // its panic is on stderr already
        }
    }
}

/// Sleeps must end when they should, and the thread stays where it was put.
fn prepare(pin: Option<u32>) -> Result<(), String> {
    set_current_timer_slack(NonZeroU64::new(1)).map_err(|error| format!("the timer slack cannot be set: {error}"))?;
    let Some(core) = pin else { return Ok(()) };
    if core as usize >= CpuSet::MAX_CPU {
        return Err(format!("--pin {core}: there is no such processor"));
    }
    let mut set = CpuSet::new();
    set.set(core as usize);
    sched_setaffinity(None, &set).map_err(|error| format!("--pin {core}: {error}"))
}

/// The thread, from inside.
struct Work {
    socket: Socket,
    schedule: Schedule,
    batch: Batch,
    answers: Answers,
    has_answers: bool,
    inbound: Vec<u8>,
    chunk: Box<[u8]>,
    orders: Receiver<Order>,
    gauges: Arc<Gauges>,
    running: Option<Running>,
    published: u64,
    blocked_since_ns: Option<u64>,
}

impl Work {
    fn new(
        scenario: &Scenario,
        run: u32,
        mut socket: Socket,
        has_answers: bool,
        orders: Receiver<Order>,
        gauges: Arc<Gauges>,
    ) -> Result<Work, String> {
        let inbound = std::mem::take(&mut socket.early);
        Ok(Work {
            batch: Batch::new(scenario, socket.form, run)?,
            socket,
            schedule: Schedule::new(scenario, run),
            answers: Answers::new(scenario.flows.len()),
            has_answers,
            inbound,
            chunk: vec![0; 64 * 1024].into(),
            orders,
            gauges,
            running: None,
            published: 0,
            blocked_since_ns: None,
        })
    }

    /// Turns until it is told to end.
    fn run(&mut self, say: &impl Fn(Said)) -> Result<(), String> {
        loop {
            if self.obey() {
                return Ok(());
            }
            self.fill();
            self.write()?;
            self.read()?;
            self.close_span(say)?;
            self.sleep()?;
        }
    }

    /// Whether it is to end.
    fn obey(&mut self) -> bool {
        if let Some(running) = &mut self.running {
            match self.orders.try_recv() {
                Ok(Order::Cut) => running.cut(now_ns()),
                Ok(Order::End) | Err(TryRecvError::Disconnected) => return true,
                Ok(Order::Span(_)) | Err(TryRecvError::Empty) => {} // one span at a time
            }
            return false;
        }
        match self.orders.try_recv() {
            Ok(Order::Span(span)) => {
                self.schedule.restart(span.from_ns, span.factor);
                self.running = Some(Running::new(span, &self.schedule.taken(), self.answers.refused()));
                false
            }
            Ok(Order::Cut) | Err(TryRecvError::Empty) => false,
            Ok(Order::End) | Err(TryRecvError::Disconnected) => true,
        }
    }

    /// Takes what is due, as much as the batch holds.
    fn fill(&mut self) {
        let Some(running) = &self.running else { return };
        let until_ns = running.take_until_ns().min(now_ns().saturating_add(1));
        while !self.batch.is_full() {
            let Some(due) = self.schedule.take(until_ns) else { break };
            self.batch.add(due);
        }
    }

    fn write(&mut self) -> Result<(), String> {
        if self.batch.is_empty() {
            return self.socket.flush().map_err(|error| format!("the server ended the publisher's connection: {error}"));
        }
        let sent_ns = now_ns();
        let written = match self.socket.write(self.batch.stamped(sent_ns)) {
            Ok(written) => written,
            Err(error) if is_passing(&error) => 0,
            Err(error) => return Err(format!("the server ended the publisher's connection: {error}")),
        };
        let (running, answers, mut slip_max_ns) = (&mut self.running, &mut self.answers, 0);
        let before = self.published;
        self.batch.wrote(written, |due| {
            self.published += 1;
            slip_max_ns = slip_max_ns.max(sent_ns.saturating_sub(due.at_ns));
            if let Some(running) = running {
                running.sent(due, sent_ns);
            }
            if self.has_answers {
                answers.expect(due.flow, due.e);
            }
        });
        if self.published > before {
            self.gauges.published.store(self.published, Ordering::Relaxed);
            self.gauges.slip_max_ns.fetch_max(slip_max_ns, Ordering::Relaxed);
        }
        self.note_wait(sent_ns);
        Ok(())
    }

    /// What is left over after a write keeps us waiting until the next one that leaves nothing.
    fn note_wait(&mut self, at_ns: u64) {
        let since_ns = self.blocked_since_ns.take();
        if let (Some(since_ns), Some(running)) = (since_ns, &mut self.running) {
            running.kept_waiting(at_ns.saturating_sub(since_ns));
        }
        if !self.batch.is_empty() {
            self.blocked_since_ns = Some(at_ns);
        }
    }

    fn read(&mut self) -> Result<(), String> {
        for _ in 0..READS_PER_TURN {
            let len = match self.socket.read(&mut self.chunk) {
                Ok(0) => return Err("the server closed the publisher's connection".to_owned()),
                Ok(len) => len,
                Err(error) if is_passing(&error) => break,
                Err(error) => return Err(format!("the server ended the publisher's connection: {error}")),
            };
            self.inbound.extend_from_slice(&self.chunk[..len]);
            self.digest()?;
            if len < self.chunk.len() {
                break;
            }
        }
        Ok(())
    }

    fn digest(&mut self) -> Result<(), String> {
        let mut at = 0;
        while let Some((inbound, len)) = inbound::next(self.socket.form, &self.inbound[at..])? {
            match inbound {
                Inbound::Answer(line) if self.has_answers => self.answers.take(line)?,
                Inbound::Ping(payload) => self.batch.control(codec::PONG, payload),
                Inbound::Close(payload) => {
                    return Err(format!("the server closed the publisher's connection with code {}", codec::close_code(payload)));
                }
                Inbound::Message(text) => complaint(text)?,
                Inbound::Answer(_) | Inbound::Nothing => {}
            }
            at += len;
        }
        self.inbound.drain(..at);
        Ok(())
    }

    fn close_span(&mut self, say: &impl Fn(Said)) -> Result<(), String> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let now_ns = now_ns();
        match running.progress(now_ns, self.batch.oldest_ns(), self.schedule.next_ns(), self.answers.awaited()) {
            Progress::Goes => return Ok(()),
            Progress::TooSlow => running.give_up(now_ns),
            Progress::Fails(message) => return Err(message),
            Progress::Over => {
                self.schedule.stop();
                if let Some(running) = self.running.take() {
                    say(Said::Done(running.done(&self.schedule.taken(), self.answers.refused())));
                }
            }
        }
        Ok(())
    }

    fn sleep(&mut self) -> Result<(), String> {
        let now_ns = now_ns();
        let until_ns = self.running.as_ref().map_or(0, Running::take_until_ns);
        let next_ns = Some(self.schedule.next_ns()).filter(|next_ns| *next_ns < until_ns).unwrap_or(u64::MAX);
        let mut wanted = PollFlags::empty();
        let mut sleep_ns = SLEEP_NS_MAX;
        if !self.batch.is_empty() || self.socket.is_pending() {
            wanted |= PollFlags::OUT | PollFlags::IN;
        } else if next_ns <= now_ns {
            return Ok(());
        } else {
            sleep_ns = (next_ns - now_ns).clamp(SLEEP_NS_MIN, SLEEP_NS_MAX);
        }
        if sleep_ns >= ANSWERS_CAN_WAIT_NS {
            wanted |= PollFlags::IN;
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: sleep_ns.cast_signed() };
        match poll(&mut [PollFd::new(&self.socket, wanted)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(format!("the publisher cannot wait: {error}")),
        }
    }

    /// Closes the account of a run that cannot go on.
    fn fail(&mut self, why: String) -> Failed {
        self.answers.give_up();
        let (taken, refused) = (self.schedule.taken(), self.answers.refused());
        let done = self.running.take().map(|mut running| {
            running.cut(now_ns());
            running.done(&taken, refused)
        });
        Failed { why, done, account: self.account() }
    }

    fn account(&self) -> Account {
        let sent = |(flow, taken): (usize, u64)| taken - self.batch.unsent(flow);
        Account {
            sent: self.schedule.taken().into_iter().enumerate().map(sent).collect(),
            refused: self.answers.refused().to_vec(),
            answers: self.answers.counts(),
            last_refusal: self.answers.last_refusal().to_owned(),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A message that is no answer: an error is one that the run does not survive.
fn complaint(text: &[u8]) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    match value["type"].as_str() {
        Some("error" | "disconnect") => Err(format!("the server told the publisher: {}", String::from_utf8_lossy(text))),
        _ => Ok(()),
    }
}
