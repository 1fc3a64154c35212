//! The text of `/metrics`: one table of metrics, filled from the threads' figures at each scrape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::auth::TokenError;
use crate::base::counters::{Counter, HistogramSnapshot};
use crate::base::lane::{Lane, PerLane};
use crate::base::memory::{Memory, ReactorMemory};
use crate::bridge::stats::BridgeStats;
use crate::hub::HubStats;
use crate::hub::acks::{ACK_RESULTS, AckResult, EXPIRIES};
use crate::hub::ports::{Input, Output};
use crate::journal::stats::JournalStats;
use crate::net::link::Link;
use crate::ops::exposition::{Exposition, Metric, Type, label};
use crate::ops::health::{Health, RELOADS};
use crate::ops::lifecycle::State;
use crate::ops::process;
use crate::reactor::authorizer::Authorizer;
use crate::reactor::memory::DEMANDS;
use crate::reactor::stats::{CONN_KINDS, HANDSHAKES, ReactorStats, SHEDS, TLS_RESULTS};

use super::audit::AuditFigures;
use super::certificates::Served;

/// Whence the figures come.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) health: Arc<Health>,
    /// Where TLS is spoken.
    pub(super) certificates: Option<Arc<Served>>,
    /// With a data directory.
    pub(super) journal: Option<Arc<JournalStats>>,
    /// With Redis.
    pub(super) bridge: Option<Arc<BridgeStats>>,
    /// With a data directory.
    pub(super) audit: Option<AuditFigures>,
    /// Where there is one.
    pub(super) authorizer: Option<Arc<Authorizer>>,
    /// What all threads hold.
    pub(super) memory: Arc<Memory>,
    pub(super) hub: Arc<Mutex<HubStats>>,
    pub(super) reactors: Vec<Arc<ReactorStats>>,
    /// The links to the reactors.
    pub(super) inboxes: Vec<Arc<Link<Output>>>,
    /// The urgent and the bulk link to the hub.
    pub(super) ingest: [Arc<Link<Input>>; 2],
}

macro_rules! metrics {
    ($($ident:ident = $kind:ident $name:literal $help:literal;)*) => {
        $(const $ident: Metric = Metric { name: concat!("tickerd_", $name), kind: Type::$kind, help: $help };)*
        /// The whole table.
        #[cfg(test)]
        const METRICS: &[Metric] = &[$($ident),*];
    };
}

metrics! {
    BUILD = Gauge "build_info" "1, with the version as a label.";
    STATE = Gauge "state" "1 for what the daemon is: starting, ready, degraded, draining or stopped.";
    RELOADS_TOTAL = Counter "reloads_total" "Times that the configuration was read again, by result.";
    COMPONENT_UP = Gauge "component_up" "1 for each part that works, 0 for one that does not.";
    DELIVERY = Histogram "delivery_seconds" "From the read that completed a published event to its bytes being handed to a member's socket; replays left out.";
    DELIVERY_HUB = Histogram "delivery_hub_seconds" "The part of delivery_seconds before the hub let the event go: ingest queue and hold.";
    DELIVERY_REACTOR = Histogram "delivery_reactor_seconds" "The part of delivery_seconds after the hub: link, outbox and write.";
    CONNECTIONS = Gauge "connections" "Open connections by what they speak.";
    ACCEPTED = Counter "accepted_total" "Connections accepted.";
    ACCEPT_REFUSED = Counter "accept_refused_total" "Connections dropped because their peer is in none of the allowed networks.";
    ACCEPT_ERRORS = Counter "accept_errors_total" "Accepts that failed, mostly for want of descriptors.";
    HANDSHAKES_TOTAL = Counter "handshakes_total" "Requests to speak WebSocket by result.";
    TOKENS_KNOWN = Counter "tokens_known_total" "Tokens that were found good less than a minute before, and needed no signature check.";
    SIGNATURE_CHECKS = Counter "signature_checks_total" "Signatures of tokens checked.";
    TOKEN_ERRORS = Counter "token_errors_total" "Tokens refused by reason.";
    TLS_HANDSHAKES = Counter "tls_handshakes_total" "TLS handshakes by result.";
    TLS_BYTES = Counter "tls_bytes_total" "Bytes of TLS records by direction, handshakes included.";
    TLS_EXPIRY = Gauge "tls_certificate_expiry_seconds" "Seconds until the first of the certificates expires; 0 when it has.";
    CLOSES = Counter "closed_total" "Ended connections by reason.";
    REFUSALS = Counter "refused_total" "Refusals told to clients and publishers by error.";
    PUBLISHES = Counter "publish_lines_total" "Lines to publish that were read.";
    EVENTS = Counter "events_total" "Publishes that reached the hub, by result.";
    EVENTS_ACCEPTED = Counter "events_accepted_total" "Events accepted, by lane.";
    ENCODED = Counter "encoded_total" "Frames encoded: one for each event released, whatever the number of members.";
    FRAMES = Counter "frames_sent_total" "Event frames handed to sockets, by lane.";
    FRAME_BYTES = Counter "frame_sent_bytes_total" "Bytes of those, by lane.";
    REPLIES = Counter "replies_sent_total" "Replies and heartbeats handed to sockets.";
    BYTES_SENT = Counter "sent_bytes_total" "All bytes handed to sockets.";
    BYTES_RECEIVED = Counter "received_bytes_total" "All bytes read from sockets.";
    COMPRESSION_AGREED = Counter "compression_agreed_total" "Connections that agreed on permessage-deflate.";
    DEFLATED = Counter "deflated_frames_total" "Frames that were compressed: each once, whatever the number of members.";
    DEFLATED_BYTES = Counter "deflated_bytes_total" "Bytes of those, before and after.";
    DEFLATE_TIME = Counter "deflate_microseconds_total" "Time that compressing took, also where it did not pay.";
    SAVED = Counter "compression_saved_bytes_total" "Bytes that sockets were spared by compression.";
    DELTAS = Counter "delta_frames_total" "States handed to sockets as deltas.";
    DELTA_SAVED = Counter "delta_saved_bytes_total" "Bytes that deltas are shorter than the full states, both without compression.";
    WRITES = Counter "writes_total" "Write system calls that took something.";
    WRITES_BLOCKED = Counter "writes_blocked_total" "Writes that the kernel had no room for.";
    CONFLATED = Counter "conflated_total" "States replaced by newer ones while they waited, by where they waited.";
    DROPPED = Counter "dropped_frames_total" "Frames dropped, by why.";
    SLOW_WARNED = Counter "slow_consumers_warned_total" "Warnings to clients that read too slowly.";
    LAGS = Counter "lagging_total" "Times that something was set aside because a reactor's link was full, by kind.";
    GAPS = Counter "gaps_total" "Gap frames made by the hub.";
    JOINS = Counter "joins_total" "Joins by result.";
    AUTHORIZER_JOINS = Counter "authorizer_joins_total" "Joins that the authorizer was to decide, by how its word was had.";
    AUTHORIZER_REQUESTS = Counter "authorizer_requests_total" "Requests to the authorizer by result.";
    AUTHORIZER_SECONDS = Histogram "authorizer_seconds" "From a request to the authorizer to its answer, or to giving up.";
    AUTHORIZER_BREAKER = Gauge "authorizer_breaker" "0: requests are made. 1: not for the time being, after failures. 2: one is made to see.";
    AUTHORIZER_WAITING = Gauge "authorizer_waiting" "Questions that wait to be put to the authorizer.";
    ACKS = Counter "acks_total" "Acknowledgments by result.";
    UNACKNOWLEDGED = Gauge "unacknowledged" "Events that wait for their user's acknowledgment.";
    UNACKNOWLEDGED_BYTES = Gauge "unacknowledged_bytes" "Their bytes.";
    UNACKNOWLEDGED_EXPIRED = Counter "unacknowledged_expired_total" "Events that waited for an acknowledgment in vain, by why that ended.";
    REDELIVERED = Counter "redelivered_total" "Events given to their user again, because they were not acknowledged.";
    ACKS_UNTOLD = Counter "acks_untold_total" "Ends of such waits of which system:acks got no event, because the table of rooms was full.";
    ROOMS = Gauge "rooms" "Rooms in the table.";
    ROOMS_EVICTED = Counter "rooms_evicted_total" "Idle rooms evicted to make place.";
    MEMBERS = Gauge "members" "Memberships of rooms.";
    KEYS = Gauge "state_keys" "State keys.";
    STATE_BYTES = Gauge "state_bytes" "Bytes of the newest values of all state keys.";
    JOURNAL_ENTRIES = Counter "journal_entries_total" "Entries brought to disk: events, epochs, evictions.";
    JOURNAL_COMMITS = Histogram "journal_commit_seconds" "Writing and syncing one batch of entries.";
    JOURNAL_FAILURES = Counter "journal_failures_total" "Batches that the disk did not take, each try counted.";
    JOURNAL_FAILING = Gauge "journal_failing" "1 while the disk takes nothing: durable publishes are refused.";
    JOURNAL_BYTES = Gauge "journal_bytes" "Bytes of events on disk.";
    JOURNAL_QUEUED = Gauge "journal_queued_entries" "Entries that wait for the disk.";
    JOURNAL_QUEUED_BYTES = Gauge "journal_queued_bytes" "Their bytes.";
    JOURNAL_WAITING = Gauge "journal_waiting_publishes" "Publishes whose answer waits for the disk.";
    JOURNAL_HOLES = Counter "journal_holes_total" "Events that the journal never got: published with ack memory while it had no room, and gone from memory since.";
    REPLAYS = Gauge "journal_replays" "Members that get past events from disk.";
    REDIS_APPENDED = Counter "redis_appended_total" "Events that Redis has answered for.";
    REDIS_APPENDS = Histogram "redis_append_seconds" "From a batch of events being sent to Redis to its answer.";
    REDIS_FAILURES = Counter "redis_failures_total" "Batches that Redis did not take, each try counted.";
    REDIS_BREAKER = Gauge "redis_breaker" "0: Redis is used. 1: not for the time being, after failures. 2: one try is made to see.";
    REDIS_FED = Counter "redis_fed_total" "Events that came from Redis, this node's own among them.";
    REDIS_RESYNCS = Counter "redis_resyncs_total" "Shards that were read anew, because something was missed or another epoch began.";
    REDIS_WAITING = Gauge "redis_waiting_publishes" "Publishes that wait for Redis.";
    REDIS_UNPLACED = Counter "redis_unplaced_total" "Events from Redis that found no place here: --max-rooms, or --state-bytes, is too low for what the nodes share.";
    AUDIT_ENTRIES = Counter "audit_entries_total" "Entries of the audit trail brought to disk.";
    AUDIT_LOST = Counter "audit_lost_total" "Entries that found the audit trail's queue full.";
    AUDIT_FAILURES = Counter "audit_failures_total" "Writes of audit.db that the disk did not take, each try counted.";
    HISTORY = Gauge "history_bytes" "Bytes of stream events kept for resume.";
    QUEUED = Gauge "queued_bytes" "Bytes that wait for their readers.";
    OUTSTANDING = Gauge "outstanding_answers" "Answers that the hub owes the reactors.";
    LINK_USED = Gauge "link_used_slots" "Used slots of the links between threads.";
    LINK_SLOTS = Gauge "link_slots" "Slots of the links between threads.";
    MEMORY_BUDGET = Gauge "memory_budget_bytes" "The memory budget; 0: none.";
    MEMORY_USED = Gauge "memory_used_bytes" "What counts for the memory budget, by what it is.";
    MEMORY_LEVEL = Gauge "memory_level" "0: there is enough. From 80 % of the budget on 1, from 90 % 2, from 100 % 3, from 110 % 4; each ends ten below.";
    MEMORY_REFUSED = Counter "memory_refused_total" "What was refused for want of memory: events by lane, joins, handshakes.";
    MEMORY_CLOSED = Counter "memory_closed_total" "Connections closed for want of memory, by what they held: what they did not read, or input of which the end did not come.";
    MEMORY_UNFINISHED = Gauge "memory_unfinished_bytes" "What connections hold of input of which the end has not come.";
    MEMORY_UNREAD = Gauge "memory_unread_bytes" "What waits for clients that take nothing at present, the kernel's part included; a shared frame counts for each.";
    RSS = Gauge "process_resident_bytes" "Resident memory of the process.";
    CPU = Counter "process_cpu_milliseconds_total" "CPU time of the process, user and system.";
    DESCRIPTORS = Gauge "process_descriptors" "Open file descriptors.";
}

impl Sources {
    /// One scrape.
    pub(super) fn render(&self) -> String {
        let hub = *self.hub.lock();
        let mut out = Exposition::default();
        out.samples(&BUILD, [(label("version", env!("CARGO_PKG_VERSION")), 1)]);
        self.health(&mut out);
        self.delivery(&mut out);
        self.tls(&mut out);
        self.connections(&mut out);
        self.publishing(&mut out, &hub);
        self.sending(&mut out, &hub);
        self.acks(&mut out, &hub);
        self.rooms(&mut out, &hub);
        self.links(&mut out);
        self.authorizer(&mut out);
        self.memory(&mut out);
        self.journal(&mut out, &hub);
        self.bridge(&mut out, &hub);
        self.audit(&mut out);
        let usage = process::usage();
        out.single(&RSS, usage.resident_bytes);
        out.single(&CPU, usage.cpu_ms);
        out.single(&DESCRIPTORS, usage.descriptors);
        out.finish()
    }

    fn health(&self, out: &mut Exposition) {
        let now = self.health.state();
        out.samples(&STATE, State::ALL.map(|state| (label("state", state.name()), u64::from(state == now))));
        let reloads = RELOADS.iter().zip(self.health.reloads());
        out.samples(&RELOADS_TOTAL, reloads.map(|(result, count)| (label("result", result), count)));
        let components = self.health.components();
        out.samples(&COMPONENT_UP, components.iter().map(|found| (label("component", &found.name), u64::from(found.fault.is_none()))));
    }

    fn memory(&self, out: &mut Exposition) {
        out.single(&MEMORY_BUDGET, self.memory.budget());
        out.samples(&MEMORY_USED, self.memory.parts().map(|(part, bytes)| (label("part", part), bytes)));
        out.single(&MEMORY_LEVEL, self.memory.level() as u64);
        let refused = DEMANDS.iter().enumerate();
        out.samples(&MEMORY_REFUSED, refused.map(|(i, what)| (label("what", what), self.sum(|stats| &stats.memory_refused[i]))));
        let closed = SHEDS.iter().enumerate();
        out.samples(&MEMORY_CLOSED, closed.map(|(i, held)| (label("held", held), self.sum(|stats| &stats.closed_for_memory[i]))));
        let sum = |of: fn(&ReactorMemory) -> &Counter| self.memory.reactors.iter().map(|reactor| of(reactor).value()).sum::<u64>();
        out.single(&MEMORY_UNFINISHED, sum(|reactor| &reactor.unfinished));
        out.single(&MEMORY_UNREAD, sum(|reactor| &reactor.unread));
    }

    fn delivery(&self, out: &mut Exposition) {
        type Part = fn(&ReactorStats) -> &PerLane<crate::base::counters::DurationHistogram>;
        let parts: [(&Metric, Part); 3] = [
            (&DELIVERY, |stats| &stats.delivery),
            (&DELIVERY_HUB, |stats| &stats.delivery_hub),
            (&DELIVERY_REACTOR, |stats| &stats.delivery_reactor),
        ];
        for (metric, part) in parts {
            let rows = Lane::ALL.map(|lane| {
                let mut sum = HistogramSnapshot::default();
                self.reactors.iter().for_each(|stats| sum.merge(&part(stats)[lane.index()].snapshot()));
                (lane.name(), sum)
            });
            out.histograms(metric, "lane", rows);
        }
    }

    fn connections(&self, out: &mut Exposition) {
        let kinds = CONN_KINDS.iter().enumerate();
        out.samples(&CONNECTIONS, kinds.map(|(i, kind)| (label("kind", kind), self.sum(|stats| &stats.connections[i]))));
        out.single(&ACCEPTED, self.sum(|stats| &stats.accepted));
        out.single(&ACCEPT_REFUSED, self.sum(|stats| &stats.accept_refused));
        out.single(&ACCEPT_ERRORS, self.sum(|stats| &stats.accept_errors));
        let results = HANDSHAKES.iter().enumerate();
        out.samples(&HANDSHAKES_TOTAL, results.map(|(i, result)| (label("result", result), self.sum(|stats| &stats.handshakes[i]))));
        out.single(&TOKENS_KNOWN, self.sum(|stats| &stats.tokens_known));
        out.single(&SIGNATURE_CHECKS, self.sum(|stats| &stats.signature_checks));
        let none = TokenError::LABELS.into_iter().map(|label| (label, 0));
        out.samples(&TOKEN_ERRORS, labelled("reason", none.chain(self.reactors.iter().flat_map(|stats| stats.token_errors()))));
        out.samples(&CLOSES, labelled("reason", self.reactors.iter().flat_map(|stats| stats.closes())));
        out.samples(&REFUSALS, labelled("error", self.reactors.iter().flat_map(|stats| stats.refusals())));
    }

    fn tls(&self, out: &mut Exposition) {
        let results = TLS_RESULTS.iter().enumerate();
        out.samples(&TLS_HANDSHAKES, results.map(|(i, result)| (label("result", result), self.sum(|stats| &stats.tls_handshakes[i]))));
        let bytes = [("received", self.sum(|stats| &stats.tls_bytes_received)), ("sent", self.sum(|stats| &stats.tls_bytes_sent))];
        out.samples(&TLS_BYTES, bytes.map(|(direction, count)| (label("direction", direction), count)));
        if let Some(served) = &self.certificates {
            out.single(&TLS_EXPIRY, served.expires_in_s());
        }
    }

    fn publishing(&self, out: &mut Exposition, hub: &HubStats) {
        out.single(&PUBLISHES, self.sum(|stats| &stats.publish_lines));
        let accepted = hub.accepted.iter().sum();
        let results = [
            ("accepted", accepted),
            ("duplicate", hub.duplicate),
            ("stale", hub.stale),
            ("unchanged", hub.unchanged),
            ("refused", hub.refused),
        ];
        out.samples(&EVENTS, results.map(|(result, count)| (label("result", result), count)));
        out.samples(&EVENTS_ACCEPTED, Lane::ALL.map(|lane| (label("lane", lane.name()), hub.accepted[lane.index()])));
        out.single(&ENCODED, hub.encoded);
    }

    fn sending(&self, out: &mut Exposition, hub: &HubStats) {
        let by_lane = |counters: fn(&ReactorStats) -> &PerLane<Counter>| {
            Lane::ALL.map(|lane| (label("lane", lane.name()), self.sum(|stats| &counters(stats)[lane.index()])))
        };
        out.samples(&FRAMES, by_lane(|stats| &stats.frames_sent));
        out.samples(&FRAME_BYTES, by_lane(|stats| &stats.frame_bytes_sent));
        out.single(&REPLIES, self.sum(|stats| &stats.replies_sent));
        out.single(&BYTES_SENT, self.sum(|stats| &stats.bytes_sent));
        out.single(&BYTES_RECEIVED, self.sum(|stats| &stats.bytes_received));
        self.compression(out);
        out.single(&WRITES, self.sum(|stats| &stats.writes));
        out.single(&WRITES_BLOCKED, self.sum(|stats| &stats.writes_blocked));
        out.samples(&CONFLATED, self.conflated(hub).map(|(place, count)| (label("where", place), count)));
        out.samples(&DROPPED, self.dropped(hub).map(|(why, count)| (label("why", why), count)));
        out.single(&SLOW_WARNED, self.sum(|stats| &stats.slow_warned));
        let lags = [("stream", hub.behind), ("state", hub.dirty)];
        out.samples(&LAGS, lags.map(|(kind, count)| (label("kind", kind), count)));
        out.single(&GAPS, hub.gaps);
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
        out.samples(&ACKS, results.map(|(at, (result, count))| (label("result", result), count + at_reactors(at))));
        out.single(&UNACKNOWLEDGED, hub.unacknowledged);
        out.single(&UNACKNOWLEDGED_BYTES, hub.unacknowledged_bytes);
        let expired = EXPIRIES.iter().zip(hub.unacknowledged_expired);
        out.samples(&UNACKNOWLEDGED_EXPIRED, expired.map(|(why, count)| (label("why", why), count)));
        out.single(&REDELIVERED, hub.redelivered);
        out.single(&ACKS_UNTOLD, hub.acks_untold);
    }

    fn compression(&self, out: &mut Exposition) {
        out.single(&COMPRESSION_AGREED, self.sum(|stats| &stats.compression_agreed));
        out.single(&DEFLATED, self.sum(|stats| &stats.deflated_frames));
        let bytes = [("before", self.sum(|stats| &stats.deflated_plain_bytes)), ("after", self.sum(|stats| &stats.deflated_bytes))];
        out.samples(&DEFLATED_BYTES, bytes.map(|(when, count)| (label("when", when), count)));
        out.single(&DEFLATE_TIME, self.sum(|stats| &stats.deflate_ns) / 1000);
        out.single(&SAVED, self.sum(|stats| &stats.compression_saved_bytes));
        out.single(&DELTAS, self.sum(|stats| &stats.delta_frames));
        out.single(&DELTA_SAVED, self.sum(|stats| &stats.delta_saved_bytes));
    }

    fn rooms(&self, out: &mut Exposition, hub: &HubStats) {
        let joins = [("granted", hub.joined), ("denied", self.sum(|stats| &stats.joins_denied))];
        out.samples(&JOINS, joins.map(|(result, count)| (label("result", result), count)));
        out.single(&ROOMS, hub.rooms);
        out.single(&ROOMS_EVICTED, hub.rooms_evicted);
        out.single(&MEMBERS, hub.members);
        out.single(&KEYS, hub.keys);
        out.single(&STATE_BYTES, hub.state_bytes);
        out.single(&HISTORY, hub.history_bytes);
        out.single(&QUEUED, self.sum(|stats| &stats.queued_bytes));
        out.single(&OUTSTANDING, self.sum(|stats| &stats.outstanding));
    }

    /// Nothing without Redis.
    fn bridge(&self, out: &mut Exposition, hub: &HubStats) {
        let Some(bridge) = &self.bridge else { return };
        out.single(&REDIS_APPENDED, bridge.appended.value());
        out.histograms(&REDIS_APPENDS, "store", [("redis", bridge.appends.snapshot())]);
        out.single(&REDIS_FAILURES, bridge.failures.value());
        out.single(&REDIS_BREAKER, bridge.breaker());
        out.single(&REDIS_FED, bridge.fed.value());
        out.single(&REDIS_RESYNCS, bridge.resyncs.value());
        out.single(&REDIS_WAITING, hub.store_waiting);
        out.single(&REDIS_UNPLACED, hub.unplaced);
    }

    /// Nothing without a journal.
    fn journal(&self, out: &mut Exposition, hub: &HubStats) {
        let Some(journal) = &self.journal else { return };
        out.single(&JOURNAL_ENTRIES, journal.entries.value());
        out.histograms(&JOURNAL_COMMITS, "log", [("events", journal.commits.snapshot())]);
        out.single(&JOURNAL_FAILURES, journal.failures.value());
        out.single(&JOURNAL_FAILING, u64::from(hub.journal_failing));
        out.single(&JOURNAL_BYTES, journal.bytes.value());
        out.single(&JOURNAL_QUEUED, hub.journal_entries);
        out.single(&JOURNAL_QUEUED_BYTES, hub.journal_bytes);
        out.single(&JOURNAL_WAITING, hub.journal_waiting);
        out.single(&JOURNAL_HOLES, hub.journal_holes);
        out.single(&REPLAYS, hub.replays);
    }

    /// Nothing without a data directory.
    fn audit(&self, out: &mut Exposition) {
        let Some(audit) = &self.audit else { return };
        out.single(&AUDIT_ENTRIES, audit.stats.entries.value());
        out.single(&AUDIT_LOST, self.sum(|stats| &stats.audit_lost) + audit.admin_lost.load(Ordering::Relaxed));
        out.single(&AUDIT_FAILURES, audit.stats.failures.value());
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
        out.samples(&AUTHORIZER_JOINS, joins.map(|(how, count)| (label("how", how), count)));
        let requests = [
            ("allowed", stats.allowed),
            ("denied", stats.denied),
            ("timeout", stats.timeouts),
            ("connection", stats.connection_errors),
            ("status", stats.bad_statuses),
            ("bad_answer", stats.bad_answers),
        ];
        out.samples(&AUTHORIZER_REQUESTS, requests.map(|(result, count)| (label("result", result), count)));
        out.histograms(&AUTHORIZER_SECONDS, "result", [("answered", figures.answered_in), ("failed", figures.failed_in)]);
        out.single(&AUTHORIZER_BREAKER, figures.breaker_code);
        out.single(&AUTHORIZER_WAITING, figures.waiting as u64);
    }

    fn links(&self, out: &mut Exposition) {
        let [urgent, bulk] = &self.ingest;
        let mut links = vec![("urgent".to_owned(), urgent.len(), urgent.capacity()), ("bulk".to_owned(), bulk.len(), bulk.capacity())];
        links.extend(self.inboxes.iter().enumerate().map(|(i, link)| (format!("reactor-{i}"), link.len(), link.capacity())));
        out.samples(&LINK_USED, links.iter().map(|(name, used, _)| (label("link", name), *used as u64)));
        out.samples(&LINK_SLOTS, links.iter().map(|(name, _, slots)| (label("link", name), *slots as u64)));
    }

    fn sum(&self, counter: impl Fn(&ReactorStats) -> &Counter) -> u64 {
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

    /// Those of a daemon that has done nothing.
    pub(in crate::daemon) fn sources() -> Sources {
        let door = Door::new(Waker::Thread(std::thread::current()));
        let link = || Arc::new(Link::new(4, Arc::clone(&door)));
        let options = InquiryOptions { waiting_max: 1, answers_max: 1, kept_for: Duration::ZERO };
        Sources {
            health: Arc::new(Health::new(Clock::start())),
            certificates: None,
            journal: Some(Arc::default()),
            bridge: Some(Arc::default()),
            audit: Some(AuditFigures::default()),
            authorizer: Some(Arc::new(Authorizer::new(options, Vec::new()))),
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

    /// OBS-01, OBS-11: every metric of the table is in the scrape once, but for the expiry of certificates where there are none, and
    /// threads' figures are summed.
    #[test]
    fn a_scrape_has_every_metric_of_the_table() {
        let sources = sources();
        for stats in &sources.reactors {
            stats.closed(Reason::Eof);
        }
        let text = sources.render();
        for metric in METRICS {
            let expected = usize::from(metric.name != TLS_EXPIRY.name);
            assert_eq!(text.matches(&format!("# TYPE {} ", metric.name)).count(), expected, "{}", metric.name);
        }
        assert!(text.contains("tickerd_closed_total{reason=\"eof\"} 2\n"), "{text}");
        assert_eq!(text.matches("# TYPE ").count(), METRICS.len() - 1);
    }
}
