//! Starting the hub's thread. It is started first and gets its work later, because the ingest links lead to a door that wakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::Sender;

use crate::base::limits::{INGEST_SLOTS_MAX, OUTSTANDING_PER_REACTOR};
use crate::config::Config;
use crate::hub::Hub;
use crate::hub::asks::Asks;
use crate::hub::inspect::RoomFacts;
use crate::hub::ports::{Input, Output, Overdue};
use crate::hub::traffic::{Ranked, Ranking};
use crate::net::link::{Door, Link, Waker};

use super::bridge::BridgeLinks;
use super::hub_thread::HubThread;
use super::journal::ForHub;
use super::shared::Shared;
use super::{join, options, spawn};

/// What an operator asks about rooms; the hub's thread answers it between slices. The answer's channel has room for it.
#[derive(Debug)]
pub(super) enum Question {
    /// Why a user does, or does not, get a room.
    Inspect { user: Box<str>, room: Box<str>, answer: Sender<RoomFacts> },
    /// Which rooms come first.
    Rank { ranking: Ranking, answer: Sender<Vec<Ranked>> },
}

/// Questions of operators that may wait.
const QUESTIONS_MAX: usize = 16;

/// The hub's thread at work.
pub(super) struct HubHandle {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

/// The hub's thread before it has its work.
pub(super) struct HubSeat {
    thread: JoinHandle<()>,
    work: Sender<HubThread>,
    pub(super) door: Arc<Door>,
    /// To the hub: alerts, joins and other commands.
    pub(super) urgent: Arc<Link<Input>>,
    /// To the hub: all other publishes.
    pub(super) bulk: Arc<Link<Input>>,
    /// To the hub: what operators ask.
    pub(super) questions: Arc<Link<Question>>,
}

impl HubHandle {
    /// Ends the thread and waits for it.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        join(self.thread);
    }
}

impl HubSeat {
    /// A seat for the hub of so many reactors: no more slots than all of them together can fill before they are answered.
    pub(super) fn start(reactors: usize) -> Result<HubSeat, String> {
        let (work, inbox) = crossbeam::channel::bounded::<HubThread>(1);
        let thread = spawn("hub", move || {
            if let Ok(hub) = inbox.recv() {
                hub.run();
            }
        })?;
        let door = Door::new(Waker::Thread(thread.thread().clone()));
        let slots = (reactors * OUTSTANDING_PER_REACTOR).min(INGEST_SLOTS_MAX);
        let urgent = Arc::new(Link::new(slots, Arc::clone(&door)));
        let bulk = Arc::new(Link::new(slots, Arc::clone(&door)));
        let questions = Arc::new(Link::new(QUESTIONS_MAX, Arc::clone(&door)));
        Ok(HubSeat { thread, work, door, urgent, bulk, questions })
    }

    /// Sets the thread to work.
    pub(super) fn occupy(
        self,
        config: &Config,
        shared: &Shared,
        reactors: Vec<Arc<Link<Output>>>,
        (journal, bridge, overdue): (Option<ForHub>, Option<BridgeLinks>, Option<Sender<Overdue>>),
    ) -> Result<HubHandle, String> {
        let hub_options = options::hub(config)?;
        let clock = shared.clock;
        let (hub, journal) = match journal {
            Some(ForHub { links, recovered, epoch }) => (Hub::with_journal(hub_options, clock.now(), recovered, epoch), Some(links)),
            None if bridge.is_some() => (Hub::with_store(hub_options), None),
            None => (Hub::new(hub_options), None),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let hub = HubThread {
            hub,
            journal,
            bridge,
            overdue,
            clock,
            urgent: self.urgent,
            bulk: self.bulk,
            questions: self.questions,
            ranking: None,
            asks: Asks::new(reactors.len()),
            door: self.door,
            reactors,
            stats: Arc::clone(&shared.figures),
            memory: Arc::clone(&shared.memory),
            taken_bytes: 0,
            stop: Arc::clone(&stop),
            busy_poll: config.busy_poll,
        };
        self.work.send(hub).map_err(|_| "the hub's thread ended before it began".to_owned())?;
        Ok(HubHandle { thread: self.thread, stop })
    }
}
