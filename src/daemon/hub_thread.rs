//! The hub's thread: a thin shell around the core. It moves inputs from two links into the core, the core's outputs into one
//! link for each reactor, and sleeps when there is nothing to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::lane::Lane;
use crate::base::limits::{AHEAD_MAX, ALERT_RESERVE_SLOTS, OUTSTANDING_PER_REACTOR};
use crate::base::time::{Mono, Now};
use crate::hub::ports::{Input, NeedSeq, Outlet, Output};
use crate::hub::sequencer::LocalSequencer;
use crate::hub::{Hub, HubStats};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};

/// Urgent inputs taken before the bulk link gets a turn.
const URGENT_PER_TURN: usize = 256;
/// Bulk inputs taken before alerts are looked for again.
const BULK_PER_TURN: usize = 32;
/// Turns between two ticks under load: windows are 100 ms, answers leave with the tick.
const TURNS_PER_SLICE: usize = 8;
/// How often the figures are published.
const STATS_EVERY: Duration = Duration::from_millis(100);
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the thread owns or shares.
pub(super) struct HubThread {
    pub(super) hub: Hub,
    pub(super) clock: Clock,
    /// Alerts, joins and other commands.
    pub(super) urgent: Arc<Link<Input>>,
    /// All other publishes.
    pub(super) bulk: Arc<Link<Input>>,
    /// Where both lead.
    pub(super) door: Arc<Door>,
    /// One for each reactor.
    pub(super) reactors: Vec<Arc<Link<Output>>>,
    /// The figures, for the scrape.
    pub(super) stats: Arc<Mutex<HubStats>>,
    /// Set, and the door rung, when the thread shall end.
    pub(super) stop: Arc<AtomicBool>,
    /// How long to spin before sleeping.
    pub(super) busy_poll: Duration,
}

impl HubThread {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut out =
            Links { touched: vec![false; self.reactors.len()], reactors: std::mem::take(&mut self.reactors), needs: VecDeque::new() };
        let mut sequencer = LocalSequencer::default();
        let mut idle_since: Option<Mono> = None;
        let mut stats_at = Mono::default();
        while !self.stop.load(Ordering::Relaxed) {
            let worked = self.slice(&mut sequencer, &mut out);
            let now = self.clock.now();
            let next = self.hub.tick(now, &mut out);
            // The reactors tell publishers, with the answers that they are woken for.
            self.bulk.outrun(self.hub.is_lagging() || out.is_outrun());
            out.ring();
            if now.mono >= stats_at {
                *self.stats.lock() = self.hub.stats();
                stats_at = now.mono.plus(STATS_EVERY);
            }
            idle_since = if worked { None } else { idle_since.or(Some(now.mono)) };
            if idle_since.is_some_and(|since| now.mono.since(since) >= self.busy_poll) {
                let figures_due = if *self.stats.lock() == self.hub.stats() { Mono::NEVER } else { stats_at };
                self.sleep(next.min(figures_due), &out);
            }
        }
    }

    /// Takes what waits, alerts first. Whether there was anything.
    fn slice(&mut self, sequencer: &mut LocalSequencer, out: &mut Links) -> bool {
        let mut worked = false;
        for _ in 0..TURNS_PER_SLICE {
            let now = self.clock.now();
            let urgent = self.take(now, Source::Urgent, URGENT_PER_TURN, sequencer, out);
            let bulk = if out.is_pressed() { 0 } else { self.take(now, Source::Bulk, BULK_PER_TURN, sequencer, out) };
            if urgent + bulk == 0 {
                break;
            }
            worked = true;
        }
        worked
    }

    fn take(&mut self, now: Now, source: Source, budget: usize, sequencer: &mut LocalSequencer, out: &mut Links) -> usize {
        for taken in 0..budget {
            let link = match source {
                Source::Urgent => &self.urgent,
                Source::Bulk => &self.bulk,
            };
            let Some(input) = link.pop() else { return taken };
            self.hub.apply(now, input, out);
            while let Some(need) = out.needs.pop_front() {
                self.hub.apply(now, Input::Sequenced(sequencer.assign(need)), out);
            }
        }
        budget
    }

    /// The bulk link is left alone while a reactor is pressed; the reactor rings when it is not any more.
    fn sleep(&self, until: Mono, out: &Links) {
        self.door.arm();
        let now = self.clock.mono();
        if self.urgent.is_empty() && (self.bulk.is_empty() || out.is_pressed()) && until > now && !self.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(until.since(now).min(SLEEP_MAX));
        }
        self.door.disarm();
    }
}

#[derive(Clone, Copy)]
enum Source {
    Urgent,
    Bulk,
}

/// The links to the reactors, and the sequencer's inbox.
struct Links {
    reactors: Vec<Arc<Link<Output>>>,
    /// Reactors to wake at the end of the slice.
    touched: Vec<bool>,
    needs: VecDeque<NeedSeq>,
}

impl Links {
    /// Whether a reactor has so much to write that bulk had better wait. What members do not take is not counted: see [`Links::is_outrun`].
    fn is_pressed(&self) -> bool {
        self.reactors.iter().any(|link| link.is_pressed() || link.len() > AHEAD_MAX)
    }

    /// Whether most members of a reactor do not take what they get.
    fn is_outrun(&self) -> bool {
        self.reactors.iter().any(|link| link.is_outrun())
    }

    fn ring(&mut self) {
        for (link, touched) in self.reactors.iter().zip(&mut self.touched) {
            if std::mem::take(touched) {
                link.ring();
            }
        }
    }
}

impl Outlet for Links {
    fn has_room(&self, reactor: usize, lane: Lane) -> bool {
        let reserve = OUTSTANDING_PER_REACTOR + if lane == Lane::Alert { 0 } else { ALERT_RESERVE_SLOTS };
        self.reactors[reactor].free() > reserve
    }

    fn push(&mut self, reactor: usize, output: Output) {
        let pushed = self.reactors[reactor].push(output);
        assert!(pushed.is_ok(), "answers have slots in reserve, and deliveries ask for room first");
        self.touched[reactor] = true;
    }

    fn need_seq(&mut self, need: NeedSeq) {
        self.needs.push_back(need);
    }
}
