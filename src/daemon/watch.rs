//! The thread that watches the others: once a second it looks whether each has come round, what the parts without a thread are up to, and how many
//! clients there are; tells [`Health`]; and gives the service manager a sign of life, but not while a thread stands still.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::memory::{Level, Memory};
use crate::bridge::stats::{BridgeStats, IngestStats};
use crate::hub::HubStats;
use crate::net::clock::Clock;
use crate::net::link::Door;
use crate::ops::health::{Finding, Health};
use crate::ops::lifecycle::State;
use crate::ops::notify::Notifier;
use crate::ops::pulse::Pulse;
use crate::reactor::authorizer::Authorizer;
use crate::reactor::registry::Registry;

use super::alerts::Alerts;
use super::analytics::AnalyticsStats;
use super::certificates::Served;
use super::spawn;
use super::webhook::Webhook;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks after which the hub or a reactor that has not come round is stalled.
const SILENT_LOOKS: u32 = 5;
/// The same of the journal's threads, each of whose turns may wait for a slow disk.
const SILENT_LOOKS_DISK: u32 = 20;

/// See the module.
pub(super) struct Watch {
    pub(super) clock: Clock,
    pub(super) health: Arc<Health>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) threads: Vec<Watched>,
    pub(super) registry: Arc<Registry>,
    pub(super) hub: Arc<Mutex<HubStats>>,
    pub(super) memory: Arc<Memory>,
    /// Where there is one.
    pub(super) authorizer: Option<Arc<Authorizer>>,
    /// With Redis.
    pub(super) bridge: Option<Arc<BridgeStats>>,
    /// With ingest from Redis.
    pub(super) ingest_stats: Option<Arc<IngestStats>>,
    /// With analytics.
    pub(super) analytics: Option<Arc<AnalyticsStats>>,
    /// Where TLS is spoken.
    pub(super) certificates: Option<Arc<Served>>,
    /// Where there is one.
    pub(super) webhook: Option<Arc<Webhook>>,
    pub(super) alerts: Arc<Alerts>,
}

/// A thread that must come round.
pub(super) struct Watched {
    name: String,
    door: Arc<Door>,
    pulse: Pulse,
    is_critical: bool,
}

impl Watched {
    /// The hub, or a reactor.
    pub(super) fn new(name: String, door: &Arc<Door>) -> Watched {
        Watched { name, door: Arc::clone(door), pulse: Pulse::new(SILENT_LOOKS), is_critical: true }
    }

    /// A thread of the journal.
    pub(super) fn disk(name: &str, door: &Arc<Door>) -> Watched {
        Watched { name: name.to_owned(), door: Arc::clone(door), pulse: Pulse::new(SILENT_LOOKS_DISK), is_critical: true }
    }

    /// A thread that waits for the disk too, and that clients can do without.
    pub(super) fn dispensable(name: &str, door: &Arc<Door>) -> Watched {
        Watched { is_critical: false, ..Watched::disk(name, door) }
    }

    /// Looks whether it has come round, and wakes it, so that it does before the next look.
    fn look(&mut self) -> Finding {
        let silent_looks = self.pulse.look(self.door.turns());
        self.door.ring();
        let fault = silent_looks.map(|looks| format!("the thread {} has not moved for {looks} s", self.name));
        Finding { name: self.name.clone(), is_critical: self.is_critical, fault }
    }
}

impl Watch {
    /// Says that all is ready, and starts the thread; it ends once the daemon has stopped.
    pub(super) fn start(self) -> Result<(), String> {
        if let Some(limit) = self.notifier.watchdog().filter(|limit| *limit < 3 * LOOK_EVERY) {
            tracing::warn!(
                event = "watchdog_short",
                ms = limit.as_millis() as u64,
                "there is one sign of life a second: raise WatchdogSec="
            );
        }
        self.health.enter(State::Ready);
        self.alerts.look();
        self.notifier.tell("READY=1");
        spawn("watch", move || self.run()).map(drop)
    }

    fn run(mut self) {
        let mut told = String::new();
        loop {
            let state = self.health.state();
            if state == State::Stopped {
                return;
            }
            // Who leaves is given a time for that by the service manager: its threads end one by one.
            if state.is_serving() {
                self.look();
            }
            if !state.is_serving() || self.health.is_alive() {
                self.notifier.feed();
            }
            let status = format!("STATUS={}", self.health.status(self.registry.connections()));
            if status != told {
                self.notifier.tell(&status);
                told = status;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    fn look(&mut self) {
        let mut findings: Vec<Finding> = self.threads.iter_mut().map(Watched::look).collect();
        findings.extend(self.parts());
        self.health.look(findings, self.registry.connections(), self.registry.connections_max());
        self.alerts.look();
        self.alerts.tell_operators();
    }

    /// What has no thread of its own, or one that may wait.
    fn parts(&self) -> impl Iterator<Item = Finding> {
        let part = |name: &str, fault: Option<String>| Finding { name: name.to_owned(), is_critical: false, fault };
        let level = self.memory.level();
        let memory = (level >= Level::Short).then(|| format!("the memory budget is used up but for its reserve (level {})", level.name()));
        let disk = self.hub.lock().journal_failing.then(|| "the journal cannot be written: durable publishes are refused".to_owned());
        let authorizer = self.authorizer.as_ref().map(|authorizer| {
            let is_resting = authorizer.is_resting(self.clock.mono());
            part("authorizer", is_resting.then(|| "it does not answer: joins that need its word are refused".to_owned()))
        });
        let redis = self.bridge.as_ref().map(|bridge| {
            part("redis", (bridge.breaker() != 0).then(|| "it does not answer: publishes to shared rooms are refused".to_owned()))
        });
        let streams = self.ingest_stats.as_ref().map(|ingest| {
            let is_failing = ingest.failing.load(Ordering::Relaxed);
            part(
                "ingest-redis",
                is_failing.then(|| "Redis does not give the streams of --ingest-stream: nothing comes from them".to_owned()),
            )
        });
        let analytics = self.analytics.as_ref().map(|analytics| part("numbers", analytics.fault()));
        let certificates = self.certificates.as_ref().map(|served| {
            part("certificates", (served.expires_in_s() == 0).then(|| "one has expired: renew it, and send SIGHUP".to_owned()))
        });
        let webhook = self.webhook.as_ref().map(|webhook| {
            part("webhook", webhook.is_resting().then(|| "it does not take what it is told: that waits, and is tried again".to_owned()))
        });
        let always = [Some(part("memory", memory)), Some(part("disk", disk))];
        always.into_iter().chain([authorizer, redis, streams, analytics, certificates, webhook]).flatten()
    }
}
