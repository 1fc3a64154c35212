//! The text of `/metrics`: the table of metrics, filled from the threads' figures at each scrape.

mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::auth::TokenError;
use crate::base::counters::{Counter, DurationHistogram, HistogramSnapshot};
use crate::base::lane::{Lane, PerLane};
use crate::base::memory::{Memory, ReactorMemory};
use crate::bridge::stats::{BridgeStats, IngestStats};
use crate::hub::HubStats;
use crate::hub::acks::{ACK_RESULTS, AckResult, EXPIRIES};
use crate::hub::ports::{ESCALATION_OUTCOMES, Input, Output};
use crate::journal::stats::JournalStats;
use crate::net::link::Link;
use crate::ops::exposition::{Exposition, label};
use crate::ops::health::{Health, RELOADS};
use crate::ops::lifecycle::State;
use crate::ops::process;
use crate::reactor::authorizer::Authorizer;
use crate::reactor::memory::DEMANDS;
use crate::reactor::registry::Registry;
use crate::reactor::stats::{CONN_KINDS, HANDSHAKES, PARTS, ReactorStats, SHEDS, TLS_RESULTS};
use crate::wire::command::VERBS;

use super::analytics::AnalyticsStats;
use super::audit::AuditFigures;
use super::certificates::Served;
use super::webhook::Webhook;

pub use table::METRICS;

/// Whence the figures come.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) health: Arc<Health>,
    /// When the process started, Unix seconds.
    pub(super) started_s: u64,
    pub(super) registry: Arc<Registry>,
    /// Where the journal is.
    pub(super) data_dir: Option<PathBuf>,
    /// Where TLS is spoken.
    pub(super) certificates: Option<Arc<Served>>,
    /// With a data directory.
    pub(super) journal: Option<Arc<JournalStats>>,
    /// With Redis.
    pub(super) bridge: Option<Arc<BridgeStats>>,
    /// With ingest from Redis.
    pub(super) ingest_stats: Option<Arc<IngestStats>>,
    /// With analytics.
    pub(super) analytics: Option<Arc<AnalyticsStats>>,
    /// With a data directory.
    pub(super) audit: Option<AuditFigures>,
    /// Where there is one.
    pub(super) authorizer: Option<Arc<Authorizer>>,
    /// Where there is one.
    pub(super) webhook: Option<Arc<Webhook>>,
    /// What all threads hold.
    pub(super) memory: Arc<Memory>,
    pub(super) hub: Arc<Mutex<HubStats>>,
    pub(super) reactors: Vec<Arc<ReactorStats>>,
    /// The links to the reactors.
    pub(super) inboxes: Vec<Arc<Link<Output>>>,
    /// The urgent and the bulk link to the hub.
    pub(super) ingest: [Arc<Link<Input>>; 2],
}

impl Sources {
    /// One scrape.
    pub(super) fn render(&self, firing: &[(&'static str, u64)]) -> String {
        let hub = *self.hub.lock();
        let mut out = Exposition::default();
        out.samples(&table::BUILD, [(label("version", env!("CARGO_PKG_VERSION")), 1)]);
        self.health(&mut out);
        out.samples(&table::ALERT_FIRING, firing.iter().map(|(alert, fires)| (label("alert", alert), *fires)));
        self.delivery(&mut out);
        self.tls(&mut out);
        self.connections(&mut out);
        self.publishing(&mut out, &hub);
        self.sending(&mut out, &hub);
        self.acks(&mut out, &hub);
        self.rooms(&mut out, &hub);
        self.links(&mut out);
        self.authorizer(&mut out);
        self.webhook(&mut out, &hub);
        self.memory(&mut out);
        self.journal(&mut out, &hub);
        self.bridge(&mut out, &hub);
        self.streams(&mut out);
        self.analytics(&mut out);
        self.audit(&mut out);
        out.single(&table::STARTED, self.started_s);
        out.samples(&table::THREAD_CPU, process::threads().into_iter().map(|(name, cpu_ms)| (label("thread", &name), cpu_ms)));
        let usage = process::usage();
        out.single(&table::RSS, usage.resident_bytes);
        out.single(&table::CPU, usage.cpu_ms);
        out.single(&table::DESCRIPTORS, process::descriptors());
        out.finish()
    }

    fn health(&self, out: &mut Exposition) {
        let now = self.health.state();
        out.samples(&table::STATE, State::ALL.map(|state| (label("state", state.name()), u64::from(state == now))));
        let reloads = RELOADS.iter().zip(self.health.reloads());
        out.samples(&table::RELOADS_TOTAL, reloads.map(|(result, count)| (label("result", result), count)));
        let components = self.health.components();
        out.samples(
            &table::COMPONENT_UP,
            components.iter().map(|found| (label("component", &found.name), u64::from(found.fault.is_none()))),
        );
    }

    fn memory(&self, out: &mut Exposition) {
        out.single(&table::MEMORY_BUDGET, self.memory.budget());
        out.samples(&table::MEMORY_USED, self.memory.parts().map(|(part, bytes)| (label("part", part), bytes)));
        out.single(&table::MEMORY_LEVEL, self.memory.level() as u64);
        let refused = DEMANDS.iter().enumerate();
        out.samples(&table::MEMORY_REFUSED, refused.map(|(i, what)| (label("what", what), self.sum(|stats| &stats.memory_refused[i]))));
        let closed = SHEDS.iter().enumerate();
        out.samples(&table::MEMORY_CLOSED, closed.map(|(i, held)| (label("held", held), self.sum(|stats| &stats.closed_for_memory[i]))));
        let sum = |of: fn(&ReactorMemory) -> &Counter| self.memory.reactors.iter().map(|reactor| of(reactor).value()).sum::<u64>();
        out.single(&table::MEMORY_UNFINISHED, sum(|reactor| &reactor.unfinished));
        out.single(&table::MEMORY_UNREAD, sum(|reactor| &reactor.unread));
    }

    fn delivery(&self, out: &mut Exposition) {
        let lane_label = |lane: Lane| label("lane", lane.name());
        out.histograms(&table::DELIVERY, Lane::ALL.map(|lane| (lane_label(lane), self.merged(|stats| &stats.delivery[lane.index()]))));
        let parts = PARTS.iter().enumerate().flat_map(|(at, part)| Lane::ALL.map(|lane| (at, part, lane)));
        let parts = parts.map(|(at, part, lane)| {
            let labels = format!("{},{}", lane_label(lane), label("part", part));
            (labels, self.merged(|stats| &stats.delivery_parts[at][lane.index()]))
        });
        out.histograms(&table::DELIVERY_PART, parts);
    }

    /// A histogram of all reactors together.
    pub(super) fn merged(&self, histogram: impl Fn(&ReactorStats) -> &DurationHistogram) -> HistogramSnapshot {
        let mut sum = HistogramSnapshot::default();
        self.reactors.iter().for_each(|stats| sum.merge(&histogram(stats).snapshot()));
        sum
    }

    fn connections(&self, out: &mut Exposition) {
        let kinds = CONN_KINDS.iter().enumerate();
        out.samples(&table::CONNECTIONS, kinds.map(|(i, kind)| (label("kind", kind), self.sum(|stats| &stats.connections[i]))));
        out.single(&table::USERS, self.registry.users() as u64);
        let one = |snapshot| [(String::new(), snapshot)];
        out.histograms(&table::SESSIONS, one(self.merged(|stats| &stats.sessions)));
        out.histograms(&table::AWAY, one(self.registry.away()));
        out.histograms(&table::RTT, one(self.merged(|stats| &stats.rtt)));
        let commands = VERBS.iter().enumerate().map(|(at, verb)| (*verb, self.sum(|stats| &stats.commands[at])));
        let commands = commands.chain([("bad", self.sum(|stats| &stats.bad_commands))]);
        out.samples(&table::COMMANDS, commands.map(|(verb, count)| (label("command", verb), count)));
        out.single(&table::ACCEPTED, self.sum(|stats| &stats.accepted));
        out.single(&table::ACCEPT_REFUSED, self.sum(|stats| &stats.accept_refused));
        out.single(&table::ACCEPT_ERRORS, self.sum(|stats| &stats.accept_errors));
        let results = HANDSHAKES.iter().enumerate();
        out.samples(&table::HANDSHAKES_TOTAL, results.map(|(i, result)| (label("result", result), self.sum(|stats| &stats.handshakes[i]))));
        out.single(&table::TOKENS_KNOWN, self.sum(|stats| &stats.tokens_known));
        out.single(&table::SIGNATURE_CHECKS, self.sum(|stats| &stats.signature_checks));
        let none = TokenError::LABELS.into_iter().map(|label| (label, 0));
        out.samples(&table::TOKEN_ERRORS, labelled("reason", none.chain(self.reactors.iter().flat_map(|stats| stats.token_errors()))));
        out.samples(&table::CLOSES, labelled("reason", self.reactors.iter().flat_map(|stats| stats.closes())));
        out.samples(&table::REFUSALS, labelled("error", self.reactors.iter().flat_map(|stats| stats.refusals())));
    }

    fn tls(&self, out: &mut Exposition) {
        let results = TLS_RESULTS.iter().enumerate();
        out.samples(
            &table::TLS_HANDSHAKES,
            results.map(|(i, result)| (label("result", result), self.sum(|stats| &stats.tls_handshakes[i]))),
        );
        let bytes = [("received", self.sum(|stats| &stats.tls_bytes_received)), ("sent", self.sum(|stats| &stats.tls_bytes_sent))];
        out.samples(&table::TLS_BYTES, bytes.map(|(direction, count)| (label("direction", direction), count)));
        if let Some(served) = &self.certificates {
            out.single(&table::TLS_EXPIRY, served.expires_in_s());
        }
    }

    fn publishing(&self, out: &mut Exposition, hub: &HubStats) {
        out.single(&table::PUBLISHES, self.sum(|stats| &stats.publish_lines));
        out.single(&table::PUBLISH_REFUSED, self.sum(|stats| &stats.publish_refused));
        out.single(&table::PUBLISH_UNANSWERED, self.sum(|stats| &stats.publishes_unanswered));
        let accepted = hub.accepted.iter().sum();
        let results = [
            ("accepted", accepted),
            ("duplicate", hub.duplicate),
            ("stale", hub.stale),
            ("unchanged", hub.unchanged),
            ("refused", hub.refused),
        ];
        out.samples(&table::EVENTS, results.map(|(result, count)| (label("result", result), count)));
        out.samples(&table::EVENTS_ACCEPTED, Lane::ALL.map(|lane| (label("lane", lane.name()), hub.accepted[lane.index()])));
        out.single(&table::ENCODED, hub.encoded);
    }

    fn sending(&self, out: &mut Exposition, hub: &HubStats) {
        let by_lane = |counters: fn(&ReactorStats) -> &PerLane<Counter>| {
            Lane::ALL.map(|lane| (label("lane", lane.name()), self.sum(|stats| &counters(stats)[lane.index()])))
        };
        out.samples(&table::FRAMES, by_lane(|stats| &stats.frames_sent));
        out.samples(&table::FRAME_BYTES, by_lane(|stats| &stats.frame_bytes_sent));
        out.single(&table::REPLIES, self.sum(|stats| &stats.replies_sent));
        out.single(&table::BYTES_SENT, self.sum(|stats| &stats.bytes_sent));
        out.single(&table::BYTES_RECEIVED, self.sum(|stats| &stats.bytes_received));
        self.compression(out);
        out.single(&table::WRITES, self.sum(|stats| &stats.writes));
        out.single(&table::WRITES_BLOCKED, self.sum(|stats| &stats.writes_blocked));
        out.samples(&table::CONFLATED, self.conflated(hub).map(|(place, count)| (label("where", place), count)));
        out.samples(&table::DROPPED, self.dropped(hub).map(|(why, count)| (label("why", why), count)));
        out.single(&table::SLOW_WARNED, self.sum(|stats| &stats.slow_warned));
        let lags = [("stream", hub.behind), ("state", hub.dirty)];
        out.samples(&table::LAGS, lags.map(|(kind, count)| (label("kind", kind), count)));
        out.single(&table::GAPS, hub.gaps);
    }

    /// States replaced by newer ones, by where they waited.
    pub(super) fn conflated(&self, hub: &HubStats) -> [(&'static str, u64); 2] {
        [("hub", hub.conflated), ("outbox", self.sum(|stats| &stats.conflated))]
    }

    /// Frames dropped, by why.
    pub(super) fn dropped(&self, hub: &HubStats) -> [(&'static str, u64); 4] {
        [
            ("closed", self.sum(|stats| &stats.dropped_by_close)),
            ("slow_consumer", self.sum(|stats| &stats.dropped_as_slow)),
            ("unsubscribed", self.sum(|stats| &stats.purged)),
            ("transient_on_full_link", hub.transient_dropped),
        ]
    }

    fn acks(&self, out: &mut Exposition, hub: &HubStats) {
        let at_reactors = |result| if result == AckResult::UnknownRoom as usize { self.sum(|stats| &stats.acks_unknown_room) } else { 0 };
        let results = ACK_RESULTS.iter().zip(hub.acks).enumerate();
        out.samples(&table::ACKS, results.map(|(at, (result, count))| (label("result", result), count + at_reactors(at))));
        out.single(&table::UNACKNOWLEDGED, hub.unacknowledged);
        out.single(&table::UNACKNOWLEDGED_BYTES, hub.unacknowledged_bytes);
        let expired = EXPIRIES.iter().zip(hub.unacknowledged_expired);
        out.samples(&table::UNACKNOWLEDGED_EXPIRED, expired.map(|(why, count)| (label("why", why), count)));
        out.single(&table::REDELIVERED, hub.redelivered);
        out.single(&table::ACKS_UNTOLD, hub.acks_untold);
    }

    fn compression(&self, out: &mut Exposition) {
        out.single(&table::COMPRESSION_AGREED, self.sum(|stats| &stats.compression_agreed));
        out.single(&table::DEFLATED, self.sum(|stats| &stats.deflated_frames));
        let bytes = [("before", self.sum(|stats| &stats.deflated_plain_bytes)), ("after", self.sum(|stats| &stats.deflated_bytes))];
        out.samples(&table::DEFLATED_BYTES, bytes.map(|(when, count)| (label("when", when), count)));
        out.single(&table::DEFLATE_TIME, self.sum(|stats| &stats.deflate_ns) / 1000);
        out.single(&table::SAVED, self.sum(|stats| &stats.compression_saved_bytes));
        out.single(&table::DELTAS, self.sum(|stats| &stats.delta_frames));
        out.single(&table::DELTA_SAVED, self.sum(|stats| &stats.delta_saved_bytes));
    }

    fn rooms(&self, out: &mut Exposition, hub: &HubStats) {
        let joins = [("granted", hub.joined), ("denied", self.sum(|stats| &stats.joins_denied))];
        out.samples(&table::JOINS, joins.map(|(result, count)| (label("result", result), count)));
        out.single(&table::ROOMS, hub.rooms);
        out.single(&table::ROOMS_EVICTED, hub.rooms_evicted);
        out.single(&table::MEMBERS, hub.members);
        out.single(&table::KEYS, hub.keys);
        out.single(&table::STATE_BYTES, hub.state_bytes);
        out.single(&table::HISTORY, hub.history_bytes);
        out.single(&table::QUEUED, self.sum(|stats| &stats.queued_bytes));
        out.single(&table::OUTSTANDING, self.sum(|stats| &stats.outstanding));
    }

    /// Nothing without Redis.
    fn bridge(&self, out: &mut Exposition, hub: &HubStats) {
        let Some(bridge) = &self.bridge else { return };
        out.single(&table::REDIS_APPENDED, bridge.appended.value());
        out.histograms(&table::REDIS_APPENDS, [(label("store", "redis"), bridge.appends.snapshot())]);
        out.single(&table::REDIS_FAILURES, bridge.failures.value());
        out.single(&table::REDIS_BREAKER, bridge.breaker());
        out.single(&table::REDIS_FED, bridge.fed.value());
        out.single(&table::REDIS_NODES, bridge.nodes().0.len() as u64);
        out.single(&table::REDIS_RESYNCS, bridge.resyncs.value());
        let tickets = ["given", "taken", "unknown", "unanswered"].into_iter().zip(&bridge.tickets);
        out.samples(&table::REDIS_TICKETS, tickets.map(|(result, count)| (label("result", result), count.value())));
        out.single(&table::REDIS_COUNTS_USERS, u64::from(bridge.counts_users.load(Ordering::Relaxed)));
        out.single(&table::REDIS_DISPUTED, bridge.disputed.value());
        out.single(&table::REDIS_OVER_CAP, self.sum(|stats| &stats.over_cap));
        out.single(&table::REDIS_WAITING, hub.store_waiting);
        out.single(&table::REDIS_UNPLACED, hub.unplaced);
    }

    /// Nothing without ingest from Redis.
    fn streams(&self, out: &mut Exposition) {
        let Some(ingest) = &self.ingest_stats else { return };
        let entries = [("accepted", &ingest.accepted), ("refused", &ingest.refused), ("retried", &ingest.retried)];
        out.samples(&table::INGEST_ENTRIES, entries.map(|(result, count)| (label("result", result), count.value())));
        out.single(&table::INGEST_STREAMS, ingest.leases.value());
    }

    /// Nothing without analytics.
    fn analytics(&self, out: &mut Exposition) {
        let Some(stats) = &self.analytics else { return };
        out.single(&table::ANALYTICS_ACCOUNTS, stats.accounts.value());
        out.single(&table::ANALYTICS_ACCOUNTS_BYTES, stats.accounts_bytes.value());
        let inputs = [
            ("fill", &stats.fills),
            ("cash_flow", &stats.flows),
            ("mark", &stats.marks),
            ("duplicate", &stats.duplicates),
            ("refused", &stats.refused),
            ("conflated", &stats.conflated),
            ("conflated_by_hub", &stats.conflated_by_hub),
            ("lost", &stats.lost),
        ];
        out.samples(&table::ANALYTICS_INPUTS, inputs.map(|(result, count)| (label("result", result), count.value())));
        out.single(&table::ANALYTICS_LATE, stats.late.value());
        let published = [("accepted", &stats.published), ("refused", &stats.unpublished)];
        out.samples(&table::ANALYTICS_PUBLISHED, published.map(|(result, count)| (label("result", result), count.value())));
        out.single(&table::ANALYTICS_BEHIND, stats.behind_bytes.value());
        out.single(&table::ANALYTICS_LAG, stats.lag_ms.value());
        out.single(&table::ANALYTICS_MISSED, stats.missed.value());
        out.single(&table::ANALYTICS_VERIFIED, stats.verified.value());
        out.single(&table::ANALYTICS_DRIFTED, stats.drifted());
    }

    /// Nothing without a journal.
    fn journal(&self, out: &mut Exposition, hub: &HubStats) {
        let Some(journal) = &self.journal else { return };
        out.single(&table::JOURNAL_ENTRIES, journal.entries.value());
        out.histograms(&table::JOURNAL_COMMITS, [(label("log", "events"), journal.commits.snapshot())]);
        out.single(&table::JOURNAL_FAILURES, journal.failures.value());
        out.single(&table::JOURNAL_FAILING, u64::from(hub.journal_failing));
        out.single(&table::JOURNAL_BYTES, journal.bytes.value());
        out.single(&table::JOURNAL_QUEUED, hub.journal_entries);
        out.single(&table::JOURNAL_QUEUED_BYTES, hub.journal_bytes);
        out.single(&table::JOURNAL_WAITING, hub.journal_waiting);
        out.single(&table::JOURNAL_HOLES, hub.journal_holes);
        out.single(&table::REPLAYS, hub.replays);
    }

    /// Nothing without a data directory.
    fn audit(&self, out: &mut Exposition) {
        let Some(audit) = &self.audit else { return };
        out.single(&table::AUDIT_ENTRIES, audit.stats.entries.value());
        out.single(&table::AUDIT_LOST, self.sum(|stats| &stats.audit_lost) + audit.admin_lost.load(Ordering::Relaxed));
        out.single(&table::AUDIT_FAILURES, audit.stats.failures.value());
    }

    /// Nothing without an authorizer.
    fn authorizer(&self, out: &mut Exposition) {
        let Some(figures) = self.authorizer.as_ref().map(|authorizer| authorizer.figures()) else { return };
        let stats = figures.stats;
        let asked = stats.allowed + stats.denied + stats.timeouts + stats.connection_errors + stats.bad_statuses + stats.bad_answers;
        let joins = [
            ("asked", asked),
            ("shared", stats.shared),
            ("known", stats.known),
            ("breaker_open", stats.refused_open),
            ("queue_full", stats.refused_full),
        ];
        out.samples(&table::AUTHORIZER_JOINS, joins.map(|(how, count)| (label("how", how), count)));
        let requests = [
            ("allowed", stats.allowed),
            ("denied", stats.denied),
            ("timeout", stats.timeouts),
            ("connection", stats.connection_errors),
            ("status", stats.bad_statuses),
            ("bad_answer", stats.bad_answers),
        ];
        out.samples(&table::AUTHORIZER_REQUESTS, requests.map(|(result, count)| (label("result", result), count)));
        let took = [("answered", figures.answered_in), ("failed", figures.failed_in)];
        out.histograms(&table::AUTHORIZER_SECONDS, took.map(|(result, snapshot)| (label("result", result), snapshot)));
        out.single(&table::AUTHORIZER_BREAKER, figures.breaker_code);
        out.single(&table::AUTHORIZER_WAITING, figures.waiting as u64);
    }

    /// Nothing without a webhook.
    fn webhook(&self, out: &mut Exposition, hub: &HubStats) {
        let Some(webhook) = &self.webhook else { return };
        let outcomes = ESCALATION_OUTCOMES.iter().zip(hub.escalations);
        out.samples(&table::ESCALATIONS, outcomes.map(|(result, count)| (label("result", result), count)));
        out.single(&table::ESCALATIONS_UNTOLD, hub.escalations_untold);
        out.histograms(&table::WEBHOOK_SECONDS, [(String::new(), webhook.took())]);
        out.single(&table::WEBHOOK_BREAKER, webhook.breaker_code());
    }

    fn links(&self, out: &mut Exposition) {
        let [urgent, bulk] = &self.ingest;
        let mut links = vec![("urgent".to_owned(), urgent.len(), urgent.capacity()), ("bulk".to_owned(), bulk.len(), bulk.capacity())];
        links.extend(self.inboxes.iter().enumerate().map(|(i, link)| (format!("reactor-{i}"), link.len(), link.capacity())));
        out.samples(&table::LINK_USED, links.iter().map(|(name, used, _)| (label("link", name), *used as u64)));
        out.samples(&table::LINK_SLOTS, links.iter().map(|(name, _, slots)| (label("link", name), *slots as u64)));
    }

    pub(super) fn sum(&self, counter: impl Fn(&ReactorStats) -> &Counter) -> u64 {
        self.reactors.iter().map(|stats| counter(stats).value()).sum()
    }
}

/// Rows of several reactors with one label, summed.
fn labelled(name: &str, rows: impl Iterator<Item = (&'static str, u64)>) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::<_, u64>::new();
    for (value, count) in rows {
        *sums.entry(value).or_default() += count;
    }
    sums.into_iter().map(|(value, count)| (label(name, value), count)).collect()
}

#[cfg(test)]
pub(super) mod testing {
    use std::time::Duration;

    use super::*;
    use crate::auth::InquiryOptions;
    use crate::net::clock::Clock;
    use crate::net::link::{Door, Waker};
    use crate::reactor::registry::RegistryLimits;

    /// Those of a daemon that has done nothing.
    pub(in crate::daemon) fn sources() -> Sources {
        let door = Door::new(Waker::Thread(std::thread::current()));
        let link = || Arc::new(Link::new(4, Arc::clone(&door)));
        let options = InquiryOptions { waiting_max: 1, answers_max: 1, kept_for: Duration::ZERO };
        Sources {
            health: Arc::new(Health::new(Clock::start())),
            started_s: 1,
            data_dir: None,
            registry: Arc::new(Registry::new(RegistryLimits { connections_max: 9, per_user_max: 9, per_ip_max: None, handshakes: None })),
            certificates: None,
            journal: Some(Arc::default()),
            bridge: Some(Arc::default()),
            ingest_stats: Some(Arc::default()),
            analytics: Some(Arc::default()),
            audit: Some(AuditFigures::default()),
            authorizer: Some(Arc::new(Authorizer::new(options, Vec::new()))),
            webhook: Some(Arc::new(Webhook::new(crossbeam::channel::never(), Clock::start()))),
            memory: Arc::new(Memory::new(0, 2)),
            hub: Arc::default(),
            reactors: vec![Arc::default(), Arc::default()],
            inboxes: vec![Arc::new(Link::new(4, Arc::clone(&door)))],
            ingest: [link(), link()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::sources;
    use super::*;
    use crate::reactor::stats::Reason;

    /// OBS-01, OBS-11: every metric of the table is in the scrape once, with the labels that the table says, but for the expiry of certificates
    /// where there are none; and threads' figures are summed.
    #[test]
    fn a_scrape_has_every_metric_of_the_table() {
        let sources = sources();
        for stats in &sources.reactors {
            stats.closed(Reason::Eof);
        }
        let text = sources.render(&[("queue_filling", 1)]);
        assert!(text.contains("tickerd_alert_firing{alert=\"queue_filling\"} 1\n"));
        for metric in METRICS {
            let expected = usize::from(metric.name != table::TLS_EXPIRY.name);
            assert_eq!(text.matches(&format!("# TYPE {} ", metric.name)).count(), expected, "{}", metric.name);
            let suffix = if metric.kind.name() == "histogram" { "_sum" } else { "" };
            for sample in text.lines().filter_map(|line| line.strip_prefix(metric.name)?.strip_prefix(suffix)) {
                let Some(labels) = sample.strip_prefix('{') else { continue };
                let (labels, _) = labels.split_once('}').unwrap();
                assert_eq!(
                    labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect::<Vec<_>>(),
                    metric.labels,
                    "{sample}"
                );
            }
        }
        assert!(text.contains("tickerd_closed_total{reason=\"eof\"} 2\n"), "{text}");
        assert_eq!(text.matches("# TYPE ").count(), METRICS.len() - 1);
    }
}
