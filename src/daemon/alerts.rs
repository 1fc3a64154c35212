//! The built-in alerts at work: once a second the daemon's figures are read and judged; who crosses is told to the log, to the metrics, to
//! `/v1/alerts`, and to the members of the room `system:alerts`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::base::codes::Refusal;
use crate::base::lane::{Lane, Mode, PerLane};
use crate::base::time::Mono;
use crate::config::{AlertEntry, alert_limits};
use crate::hub::OPERATORS_ROOMS;
use crate::hub::catalog::Catalog;
use crate::hub::ports::{Event, Input};
use crate::net::clock::Clock;
use crate::net::link::Link;
use crate::ops::alerts::{ALERTS, Alert, Crossing, Definition, Evaluator, Readings, Severity};
use crate::wire::event;
use crate::wire::query::Query;

use super::firing_file::FiringFile;
use super::metrics::Sources;
use super::shared::Shared;

/// Where alerts are published.
pub(super) const ROOM: &str = "system:alerts";
/// In the data directory.
const FIRING_FILE: &str = "alerts";
/// Crossings that wait for room on the way to the hub; older ones go first.
const UNTOLD_MAX: usize = 64;
/// The times over which `/v1/stats` tells rates.
const WINDOWS_S: [u64; 3] = [1, 10, 60];

/// See the module.
pub(super) struct Alerts {
    clock: Clock,
    /// Tells this start of the daemon from others.
    instance: u32,
    sources: Sources,
    hub: Arc<Link<Input>>,
    inner: Mutex<Inner>,
}

struct Inner {
    evaluator: Evaluator,
    /// What fires is on disk, so that the next start knows of it.
    file: FiringFile,
    /// Those that the last run has told as firing, and of which nothing is known yet.
    before: Vec<&'static Definition>,
    catalog: Arc<Catalog>,
    /// Crossings so far.
    crossings: u64,
    untold: VecDeque<Event>,
}

impl Inner {
    /// The names of those that fire.
    fn firing(&self) -> Vec<&'static str> {
        self.evaluator.alerts().iter().filter(|alert| alert.is_firing()).map(|alert| alert.definition.name).collect()
    }

    /// The event, as it is for publishers.
    fn event(&self, line: &[u8]) -> Result<Event, Refusal> {
        let draft = event::parse(line, self.catalog.wanted()).map_err(|rejected| rejected.refusal)?;
        self.catalog.resolve(&draft)
    }
}

impl Alerts {
    pub(super) fn new(clock: Clock, instance: u32, sources: Sources, shared: &Shared, entries: &[AlertEntry]) -> Alerts {
        let evaluator = Evaluator::new(|definition| alert_limits(entries, definition));
        let (file, before) = FiringFile::open(sources.data_dir.as_ref().map(|dir| dir.join(FIRING_FILE)));
        let catalog = Arc::clone(&shared.catalog);
        let inner = Inner { evaluator, file, before, catalog, crossings: 0, untold: VecDeque::new() };
        Alerts { clock, instance, sources, hub: Arc::clone(&shared.urgent), inner: Mutex::new(inner) }
    }

    /// Goes on with other thresholds, and another catalog.
    pub(super) fn reload(&self, entries: &[AlertEntry], catalog: &Arc<Catalog>) {
        let mut inner = self.inner.lock();
        inner.catalog = Arc::clone(catalog);
        for alert in inner.evaluator.set_limits(|definition| alert_limits(entries, definition)) {
            self.tell(&mut inner, &alert, Crossing::Cleared);
        }
    }

    /// Reads and judges.
    pub(super) fn look(&self) {
        let readings = self.sources.readings(self.clock.mono());
        let mut inner = self.inner.lock();
        for (alert, crossing) in inner.evaluator.step(&readings) {
            self.tell(&mut inner, &alert, crossing);
        }
        self.settle(&mut inner);
        self.sources.health.set_firing(inner.firing());
        while let Some(event) = inner.untold.pop_front() {
            if let Err(Input::Announce(event)) = self.hub.push(Input::Announce(Box::new(event))) {
                inner.untold.push_front(*event);
                break;
            }
        }
        self.hub.ring();
    }

    /// What the last run has told as firing is over, if it does not fire and is not about to. Then all that was told as firing is kept for the next one.
    fn settle(&self, inner: &mut Inner) {
        for definition in std::mem::take(&mut inner.before) {
            let now = inner.evaluator.alerts().iter().find(|alert| alert.definition.name == definition.name).cloned();
            match now {
                Some(alert) if alert.is_firing() => {} // which was told
                Some(alert) if alert.since().is_some() => inner.before.push(definition),
                Some(alert) => self.tell(inner, &alert, Crossing::Cleared),
                None => self.tell(inner, &Alert::new(definition, definition.limits), Crossing::Cleared),
            }
        }
        let mut names = inner.firing();
        names.extend(inner.before.iter().map(|definition| definition.name));
        if let Err(error) = inner.file.keep(names) {
            tracing::error!(event = "alerts_not_kept", %error, "{FIRING_FILE}: the next start will not say that these alerts are over");
        }
    }

    /// Tells the log, and notes what is to be published.
    fn tell(&self, inner: &mut Inner, alert: &Alert, crossing: Crossing) {
        let (name, severity, help) = (alert.definition.name, alert.definition.severity.name(), alert.definition.help);
        let (value, fire, clear) = (alert.value, alert.limits.fire, alert.limits.clear);
        match (crossing, alert.definition.severity) {
            (Crossing::Fired, Severity::Critical) => tracing::error!(event = "alert_fired", alert = name, severity, value, fire, "{help}"),
            (Crossing::Fired, Severity::Warning) => tracing::warn!(event = "alert_fired", alert = name, severity, value, fire, "{help}"),
            (Crossing::Cleared, _) => tracing::info!(event = "alert_cleared", alert = name, severity, value, clear),
        }
        inner.crossings += 1;
        let state = if crossing == Crossing::Fired { "firing" } else { "cleared" };
        let line = json!({
            "type": "system_alert",
            "room": ROOM,
            "event_id": format!("alert:{:08x}:{}", self.instance, inner.crossings),
            "data": {"alert": name, "severity": severity, "state": state, "value": value, "fire": fire, "clear": clear, "help": help},
        })
        .to_string();
        match inner.event(line.as_bytes()) {
            Ok(event) => inner.untold.push_back(event),
            Err(refusal) => {
                tracing::error!(event = "alert_untold", alert = name, "{}: the catalog's system_alert is no use", refusal.message);
            }
        }
        if inner.untold.len() > UNTOLD_MAX {
            inner.untold.pop_front();
            tracing::error!(
                event = "alert_untold",
                alert = name,
                "the way to the hub has been full for long: an older alert was not published"
            );
        }
    }

    /// What operators see who are in their rooms now: what `/v1/stats` and `/healthz` say. Who is not there misses nothing: the next one has it all.
    pub(super) fn tell_operators(&self) {
        let members = self.sources.hub.lock().operators;
        if members == [0; OPERATORS_ROOMS.len()] {
            return;
        }
        let (stats, health) = (self.stats("").unwrap_or_default(), self.sources.health.report().1.to_string());
        for ((room, data), _) in OPERATORS_ROOMS.into_iter().zip([stats, health]).zip(members).filter(|(_, members)| *members > 0) {
            let kind = room.replace(':', "_");
            drop(self.hub.push(Input::Announce(Box::new(operators_event(kind, room, data))))); // a full link has more urgent things
        }
        self.hub.ring();
    }

    /// Whether each alert fires, 0 or 1; also those that are switched off, which do not.
    pub(super) fn firing(&self) -> Vec<(&'static str, u64)> {
        let inner = self.inner.lock();
        let is_firing = |name| inner.evaluator.alerts().iter().any(|alert| alert.definition.name == name && alert.is_firing());
        ALERTS.iter().map(|definition| (definition.name, u64::from(is_firing(definition.name)))).collect()
    }

    /// `GET /v1/alerts`.
    pub(super) fn list(&self, query: &str) -> Result<String, Refusal> {
        Query::parse(query, &[])?;
        let (now, inner) = (self.clock.mono(), self.inner.lock());
        let alerts: Vec<Value> = inner.evaluator.alerts().iter().map(|alert| told(alert, now)).collect();
        Ok(json!({ "alerts": alerts }).to_string())
    }

    /// `GET /v1/stats`: levels as they are, and rates over a second, ten, and sixty.
    pub(super) fn stats(&self, query: &str) -> Result<String, Refusal> {
        Query::parse(query, &[])?;
        let inner = self.inner.lock();
        let history = inner.evaluator.history();
        let Some(now) = history.now() else { return Ok("{}".to_owned()) };
        let windows = WINDOWS_S.map(|s| {
            let before = history.ago(Duration::from_secs(s)).unwrap_or(now);
            (format!("{s}s"), window(before, now))
        });
        let windows: serde_json::Map<String, Value> = windows.into_iter().collect();
        Ok(json!({
            "ts": self.clock.now().wall_ms,
            "state": self.sources.health.state().name(),
            "connections": now.connections,
            "connections_max": now.connections_max,
            "users": now.users,
            "rooms": now.rooms,
            "members": now.members,
            "queued_bytes": now.queued_bytes,
            "queue_fill": now.queue_fill,
            "memory_used_bytes": now.memory_used,
            "memory_budget_bytes": now.memory_budget,
            "resident_bytes": now.resident_bytes,
            "disk_fill": now.disk_fill,
            "certificate_expiry_s": now.certificate_expiry_s,
            "faults": now.faults,
            "firing": inner.firing(),
            "windows": windows,
        })
        .to_string())
    }
}

/// What operators see at a moment.
fn operators_event(kind: String, room: &str, data: String) -> Event {
    Event {
        kind: kind.into(),
        room: room.into(),
        lane: Lane::Metric,
        mode: Mode::Transient,
        key: Box::default(),
        owner: None,
        event_id: None,
        version: None,
        history: 0,
        ack_ttl: None,
        data: data.into(),
    }
}

/// What happened between two readings.
fn window(before: &Readings, now: &Readings) -> Value {
    let seconds = now.at.since(before.at).as_secs_f64();
    let rate = |of: fn(&Readings) -> u64| if seconds > 0.0 { of(now).saturating_sub(of(before)) as f64 / seconds } else { 0.0 };
    let lanes = Lane::ALL.map(|lane| {
        let at = lane.index();
        let grown = |of: fn(&Readings) -> PerLane<u64>| {
            if seconds > 0.0 { of(now)[at].saturating_sub(of(before)[at]) as f64 / seconds } else { 0.0 }
        };
        let counts: Vec<u64> = now.latencies[at].iter().zip(before.latencies[at]).map(|(now, before)| now.saturating_sub(before)).collect();
        let told = json!({
            "events_per_s": grown(|readings| readings.accepted),
            "deliveries_per_s": grown(|readings| readings.deliveries),
            "p50_us": super::performance::bound_us(&counts, 50),
            "p99_us": super::performance::bound_us(&counts, 99),
            "latency_counts": counts,
        });
        (lane.name().to_owned(), told)
    });
    json!({
        "seconds": seconds,
        "publishes_per_s": rate(|readings| readings.publishes),
        "refused_per_s": rate(|readings| readings.refused),
        "sent_bytes_per_s": rate(|readings| readings.sent_bytes),
        "conflated_per_s": rate(|readings| readings.conflated),
        "dropped_per_s": rate(|readings| readings.dropped),
        "handshakes_per_s": rate(|readings| readings.handshakes),
        "handshakes_failed_per_s": rate(|readings| readings.handshakes_failed),
        "cpu": rate(|readings| readings.cpu_ms) / 1_000.0,
        "lanes": lanes.into_iter().collect::<serde_json::Map<_, _>>(),
    })
}

fn told(alert: &Alert, now: Mono) -> Value {
    let state = match (alert.is_firing(), alert.since()) {
        (true, _) => "firing",
        (false, Some(_)) => "pending",
        (false, None) => "quiet",
    };
    json!({
        "alert": alert.definition.name,
        "severity": alert.definition.severity.name(),
        "state": state,
        "for_ms": alert.since().map(|since| now.since(since).as_millis() as u64),
        "value": alert.value,
        "fire": alert.limits.fire,
        "clear": alert.limits.clear,
        "for_s": alert.limits.hold.as_secs_f64(),
        "clear_for_s": alert.limits.clear_hold.as_secs_f64(),
        "help": alert.definition.help,
    })
}
