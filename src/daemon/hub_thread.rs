//! The hub's thread: a thin shell around the core. It moves inputs from two links into the core, the core's outputs into one
//! link for each reactor, and sleeps when there is nothing to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::Sender;
use parking_lot::Mutex;

use crate::base::lane::Lane;
use crate::base::limits::{
    AHEAD_MAX, ALERT_RESERVE_SLOTS, ANSWER_FRAMES_AHEAD_MAX, ANSWER_FRAMES_PER_TURN, OUTSTANDING_PER_REACTOR, REPLAY_FETCHES_MAX,
};
use crate::base::memory::{Level, Memory};
use crate::base::time::{Mono, Now};
use crate::hub::asks::Asks;
use crate::hub::journal::{Entry, Fact, Fetch};
use crate::hub::ports::{Event, Input, NeedSeq, Outlet, Output, Overdue};
use crate::hub::sequencer::LocalSequencer;
use crate::hub::store::{Append, Settled};
use crate::hub::traffic::{Ranked, Ranking};
use crate::hub::{Hub, HubStats};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};

use super::bridge::BridgeLinks;
use super::hub_seat::Question;
use super::journal::JournalLinks;
use super::utilisation::{Queue, Utilisation};

/// Urgent inputs taken before the bulk link gets a turn.
const URGENT_PER_TURN: usize = 256;
/// Joins, leaves and snapshots worked off before alerts are looked for again, if their answers are short.
const ASKS_PER_TURN: usize = 256;
/// Bulk inputs taken before alerts are looked for again.
const BULK_PER_TURN: usize = 32;
/// News of the store, up to 256 events each, taken before alerts are looked for again; the shards that it begins with all at once.
const NEWS_PER_TURN: usize = 16;
/// Rooms looked at for an operator before alerts are looked for again.
const ROOMS_PER_TURN: usize = 256;
/// Turns between two ticks under load: windows are 100 ms, answers leave with the tick.
const TURNS_PER_SLICE: usize = 8;
/// How often the figures are published.
const STATS_EVERY: Duration = Duration::from_millis(100);
/// How long the end of the daemon may wait for the states to be kept.
const LAST_FACTS_WITHIN: Duration = Duration::from_secs(5);
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
    /// What operators ask.
    pub(super) questions: Arc<Link<Question>>,
    /// The answer to one of them, a part at a time.
    pub(super) ranking: Option<(Ranking, Sender<Vec<Ranked>>)>,
    /// Joins, leaves and snapshots that wait for their turn.
    pub(super) asks: Asks,
    /// Where both lead.
    pub(super) door: Arc<Door>,
    /// One for each reactor.
    pub(super) reactors: Vec<Arc<Link<Output>>>,
    /// With a data directory.
    pub(super) journal: Option<JournalLinks>,
    /// With Redis.
    pub(super) bridge: Option<BridgeLinks>,
    /// With a webhook.
    pub(super) overdue: Option<Sender<Overdue>>,
    /// The figures, for the scrape.
    pub(super) stats: Arc<Mutex<HubStats>>,
    /// What all threads hold.
    pub(super) memory: Arc<Memory>,
    /// Bytes of events taken from the reactors, ever.
    pub(super) taken_bytes: u64,
    /// Set, and the door rung, when the thread shall end.
    pub(super) stop: Arc<AtomicBool>,
    /// How long to spin before sleeping.
    pub(super) busy_poll: Duration,
}

impl HubThread {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut out = Links::new(std::mem::take(&mut self.reactors), self.journal.take(), self.bridge.take());
        out.overdue = self.overdue.take();
        let mut sequencer = LocalSequencer::default();
        let mut idle_since: Option<Mono> = None;
        let mut stats_at = Mono::default();
        let mut utilisation = Utilisation::default();
        while !self.stop.load(Ordering::Relaxed) {
            self.door.turn();
            self.hub.set_short(self.memory.level() >= Level::Short);
            let worked = self.slice(&mut sequencer, &mut out);
            let now = self.clock.now();
            let next = self.hub.tick(now, &mut out);
            self.number(now, &mut sequencer, &mut out);
            self.answer_operators(now.mono);
            // The reactors tell publishers, with the answers that they are woken for.
            self.bulk.outrun(self.hub.is_lagging() || out.is_outrun());
            out.ring();
            self.memory.hub.taken.set(self.taken_bytes);
            self.memory.hub.held.set(self.hub.memory_bytes() as u64);
            if now.mono >= stats_at {
                let stats = self.hub.stats();
                utilisation.look(self.queues(&out, &stats));
                *self.stats.lock() = stats;
                stats_at = now.mono.plus(STATS_EVERY);
            }
            idle_since = if worked { None } else { idle_since.or(Some(now.mono)) };
            if idle_since.is_some_and(|since| now.mono.since(since) >= self.busy_poll) {
                let figures_due = if *self.stats.lock() == self.hub.stats() { Mono::NEVER } else { stats_at };
                self.sleep(next.min(figures_due), &out);
            }
        }
        self.give_the_rest(&mut out);
        *self.stats.lock() = self.hub.stats();
    }

    /// Tells operators what they ask about rooms. Who asked may have given up.
    fn answer_operators(&mut self, now: Mono) {
        if let Some((mut ranking, answer)) = self.ranking.take() {
            match self.hub.rank(&mut ranking, now, ROOMS_PER_TURN) {
                Some(ranked) => drop(answer.try_send(ranked)),
                None => self.ranking = Some((ranking, answer)),
            }
        }
        while self.ranking.is_none() {
            match self.questions.pop() {
                Some(Question::Inspect { user, room, answer }) => drop(answer.try_send(self.hub.inspect(&user, &room))),
                Some(Question::Rank { ranking, answer }) => self.ranking = Some((ranking, answer)),
                None => return,
            }
        }
    }

    /// The queues to and from this thread.
    fn queues(&self, out: &Links, stats: &HubStats) -> Vec<Queue> {
        let of = |name, link: &Link<Input>| Queue { name, index: 0, used: link.len(), max: link.capacity() };
        let mut queues = vec![of("urgent", &self.urgent), of("bulk", &self.bulk)];
        queues.extend(Queue::journal(stats));
        queues.extend(out.reactors.iter().enumerate().map(|(index, link)| Queue::reactor(index, link.len())));
        queues
    }

    /// Gives the journal what is left for the next start, before the thread ends.
    fn give_the_rest(&mut self, out: &mut Links) {
        let until = self.clock.mono().plus(LAST_FACTS_WITHIN);
        while out.journal.is_some() && self.hub.hurry() && self.clock.mono() < until {
            self.hear(self.clock.now(), out);
            self.hub.tick(self.clock.now(), out);
            out.ring();
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Takes what journal and store tell. How many things.
    fn hear(&mut self, now: Now, out: &mut Links) -> usize {
        let mut heard = 0;
        while let Some(report) = out.journal.as_ref().and_then(|journal| journal.reports.pop()) {
            self.hub.apply(now, Input::Journal(report), out);
            heard += 1;
        }
        for _ in 0..NEWS_PER_TURN {
            let Some(news) = out.bridge.as_ref().and_then(|bridge| bridge.news.pop()) else { break };
            self.hub.apply(now, Input::Store(news), out);
            heard += 1;
        }
        heard
    }

    /// Takes what waits, alerts first. Whether there was anything.
    fn slice(&mut self, sequencer: &mut LocalSequencer, out: &mut Links) -> bool {
        let mut worked = false;
        for _ in 0..TURNS_PER_SLICE {
            let now = self.clock.now();
            let heard = self.hear(now, out);
            let urgent = self.take(now, Source::Urgent, URGENT_PER_TURN, sequencer, out) + heard;
            let answered = self.answer(now, out);
            let bulk = if out.is_pressed() { 0 } else { self.take(now, Source::Bulk, BULK_PER_TURN, sequencer, out) };
            if urgent + answered + bulk == 0 {
                break;
            }
            worked = true;
        }
        worked
    }

    /// Moves inputs into the core, but for those that wait for their turn.
    fn take(&mut self, now: Now, source: Source, budget: usize, sequencer: &mut LocalSequencer, out: &mut Links) -> usize {
        for taken in 0..budget {
            let link = match source {
                Source::Urgent => &self.urgent,
                Source::Bulk => &self.bulk,
            };
            let Some(input) = link.pop() else { return taken };
            if let Input::Publish(publish) = &input {
                self.taken_bytes += publish.event.bytes() as u64;
            }
            let Err(input) = self.asks.push(input) else { continue };
            self.hub.apply(now, input, out);
            self.number(now, sequencer, out);
        }
        budget
    }

    /// Gives the numbers that the core has asked for.
    fn number(&mut self, now: Now, sequencer: &mut LocalSequencer, out: &mut Links) {
        while let Some(need) = out.needs.pop_front() {
            self.hub.apply(now, Input::Sequenced(sequencer.assign(need)), out);
        }
    }

    /// Works off a slice of what waits for its turn; how many.
    fn answer(&mut self, now: Now, out: &mut Links) -> usize {
        out.frames_answered = 0;
        for answered in 0..ASKS_PER_TURN {
            if out.frames_answered >= ANSWER_FRAMES_PER_TURN {
                return answered;
            }
            let Some(input) = self.asks.pop(|reactor| out.may_answer(reactor)) else { return answered };
            self.hub.apply(now, input, out);
        }
        ASKS_PER_TURN
    }

    /// The bulk link is left alone while a reactor is pressed, and what it asked for while it has enough answers to deal with; the reactor rings
    /// when that is over.
    fn sleep(&self, until: Mono, out: &Links) {
        self.door.arm();
        let now = self.clock.mono();
        let is_idle = self.urgent.is_empty()
            && self.questions.is_empty()
            && self.ranking.is_none()
            && !out.has_reports()
            && (self.bulk.is_empty() || out.is_pressed())
            && !self.asks.has_any(|reactor| out.may_answer(reactor));
        if is_idle && until > now && !self.stop.load(Ordering::Relaxed) {
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
    /// Frames of answers that were ever pushed to each reactor, as it counts those it has dealt with; wraps.
    answer_frames: Vec<usize>,
    /// Of these, those of this turn.
    frames_answered: usize,
    journal: Option<JournalLinks>,
    /// Threads of the journal to wake at the end of the slice: log, tables, reader.
    journal_touched: [bool; 3],
    bridge: Option<BridgeLinks>,
    overdue: Option<Sender<Overdue>>,
    /// Threads of the bridge to wake at the end of the slice: writer, fetcher.
    bridge_touched: [bool; 2],
}

impl Links {
    fn new(reactors: Vec<Arc<Link<Output>>>, journal: Option<JournalLinks>, bridge: Option<BridgeLinks>) -> Links {
        let count = reactors.len();
        Links {
            reactors,
            touched: vec![false; count],
            needs: VecDeque::new(),
            answer_frames: vec![0; count],
            frames_answered: 0,
            journal,
            journal_touched: [false; 3],
            bridge,
            overdue: None,
            bridge_touched: [false; 2],
        }
    }

    /// Whether journal or store have told something that was not heard yet.
    fn has_reports(&self) -> bool {
        let has_news = self.bridge.as_ref().is_some_and(|bridge| !bridge.news.is_empty());
        has_news || self.journal.as_ref().is_some_and(|journal| !journal.reports.is_empty())
    }

    /// Whether the reactor has dealt with so many answers to joins and snapshots that it may get another.
    fn may_answer(&self, reactor: usize) -> bool {
        self.answer_frames[reactor].wrapping_sub(self.reactors[reactor].done()) <= ANSWER_FRAMES_AHEAD_MAX
    }

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
        if let Some(bridge) = &self.bridge {
            let [writer, fetcher] = std::mem::take(&mut self.bridge_touched);
            if writer {
                bridge.appends.ring();
            }
            if fetcher {
                bridge.fetches.ring();
            }
        }
        let Some(journal) = &mut self.journal else { return };
        if let Some(tap) = &mut journal.tap {
            tap.ring();
        }
        let [log, tables, reader] = std::mem::take(&mut self.journal_touched);
        if log {
            journal.entries.ring();
        }
        if tables {
            journal.facts.ring();
        }
        if reader {
            journal.fetches.ring();
        }
    }

    fn journal(&self) -> &JournalLinks {
        self.journal.as_ref().expect("a hub without a journal gives it nothing")
    }
}

impl Outlet for Links {
    fn has_room(&self, reactor: usize, lane: Lane) -> bool {
        let reserve = OUTSTANDING_PER_REACTOR + REPLAY_FETCHES_MAX + if lane == Lane::Alert { 0 } else { ALERT_RESERVE_SLOTS };
        self.reactors[reactor].free() > reserve
    }

    fn push(&mut self, reactor: usize, output: Output) {
        let frames = output.answer_frames();
        self.answer_frames[reactor] = self.answer_frames[reactor].wrapping_add(frames);
        self.frames_answered += frames;
        let pushed = self.reactors[reactor].push(output);
        assert!(pushed.is_ok(), "answers have slots in reserve, and deliveries ask for room first");
        self.touched[reactor] = true;
    }

    fn accepted(&mut self, event: &Event, now: Now) {
        if let Some(tap) = self.journal.as_mut().and_then(|journal| journal.tap.as_mut()) {
            tap.take(event, now);
        }
    }

    fn need_seq(&mut self, need: NeedSeq) {
        self.needs.push_back(need);
    }

    fn journal(&mut self, entry: Entry) {
        let pushed = Links::journal(self).entries.push(entry);
        assert!(pushed.is_ok(), "the hub counts what the journal has not synced");
        self.journal_touched[0] = true;
    }

    fn can_keep(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.facts.free() > 0)
    }

    fn keep(&mut self, fact: Fact) {
        let pushed = Links::journal(self).facts.push(fact);
        assert!(pushed.is_ok(), "the hub asks for room first");
        self.journal_touched[1] = true;
    }

    fn settled(&mut self, settled: Settled) {
        let bridge = self.bridge.as_ref().expect("a hub without a store gives it nothing");
        bridge.settles.push(settled).ok();
        self.bridge_touched[0] = true;
    }

    fn can_escalate(&self) -> bool {
        self.overdue.as_ref().is_some_and(|overdue| !overdue.is_full())
    }

    fn escalate(&mut self, overdue: Overdue) {
        let desk = self.overdue.as_ref().expect("a hub without a webhook has nothing to tell it");
        assert!(desk.try_send(overdue).is_ok(), "the hub asks for room first");
    }

    fn append(&mut self, append: Append) {
        let bridge = self.bridge.as_ref().expect("a hub without a store gives it nothing");
        assert!(bridge.appends.push(append).is_ok(), "the hub counts what the store has not answered");
        self.bridge_touched[0] = true;
    }

    fn fetch(&mut self, fetch: Fetch) {
        if let Some(bridge) = &self.bridge {
            assert!(bridge.fetches.push(fetch).is_ok(), "the hub asks for a few things at a time");
            self.bridge_touched[1] = true;
            return;
        }
        let pushed = Links::journal(self).fetches.push(fetch);
        assert!(pushed.is_ok(), "the hub asks for a few things at a time");
        self.journal_touched[2] = true;
    }
}
