//! The table of alerts. README's is made from it.

use std::time::Duration;

use crate::base::lane::Lane;

use super::history::Readings;
use super::measure::Measure::{self, Burn, Growth, Level, PerHundredClients, Rate, Share};
use super::{Definition, Limits, Severity};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn alert(
    name: &'static str,
    severity: Severity,
    measure: Measure,
    (fire, clear): (f64, f64),
    (hold, clear_hold): (u64, u64),
    help: &'static str,
) -> Definition {
    Definition { name, severity, measure, limits: Limits { fire, clear, hold: s(hold), clear_hold: s(clear_hold) }, help }
}

const fn burn(lane: Lane, bound_us: u64, over: [Duration; 2]) -> Measure {
    Burn { lane, bound_us, budget: 0.01, over }
}

fn fill(used: u64, max: u64) -> Option<f64> {
    (max > 0).then(|| used as f64 / max as f64)
}

fn handshakes(readings: &Readings) -> u64 {
    readings.handshakes + readings.handshakes_failed
}

const FIVE_MINUTES: Duration = s(300);

/// All of them.
pub const ALERTS: &[Definition] = &[
    alert(
        "component_down",
        Severity::Critical,
        Level(|readings| Some(readings.faults as f64)),
        (1.0, 1.0),
        (0, 0),
        "Parts that do not work: `/healthz` says which, and what is wrong with them.",
    ),
    alert(
        "journal_failing",
        Severity::Critical,
        Level(|readings| Some(f64::from(u8::from(readings.journal_failing)))),
        (1.0, 1.0),
        (0, 0),
        "The disk takes nothing, and durable publishes are refused: see to space and permissions of `--data-dir`.",
    ),
    alert(
        "disk_filling",
        Severity::Warning,
        Level(|readings| readings.disk_fill),
        (0.90, 0.85),
        (60, 60),
        "Share of the file system of `--data-dir` that is used: make room, or lower `--journal-bytes`.",
    ),
    alert(
        "memory_filling",
        Severity::Critical,
        Level(|readings| fill(readings.memory_used, readings.memory_budget)),
        (0.80, 0.70),
        (5, 30),
        "Share of `--memory-budget` that is used: metrics are refused from 80 % on, joins and publishes later.",
    ),
    alert(
        "resident_memory",
        Severity::Warning,
        Level(|readings| Some(readings.resident_bytes as f64)),
        (4e9, 3.6e9),
        (60, 60),
        "Resident bytes of the process: set the thresholds to what this host has, or give a `--memory-budget`.",
    ),
    alert(
        "queue_filling",
        Severity::Warning,
        Level(|readings| Some(readings.queue_fill)),
        (0.80, 0.70),
        (0, 10),
        "The fullest of the queues between threads: publishers are told to slow down, and refused when it is full. The log (`queue_filling`) says which.",
    ),
    alert(
        "connections_filling",
        Severity::Warning,
        Level(|readings| fill(readings.connections, readings.connections_max)),
        (0.90, 0.85),
        (30, 30),
        "Share of `--max-connections` that is used: from 95 % on `/readyz` says `full`. Raise it, or add a server.",
    ),
    alert(
        "alert_latency_fast_burn",
        Severity::Critical,
        burn(Lane::Alert, 10_000, [s(3600), FIVE_MINUTES]),
        (14.4, 14.4),
        (0, 60),
        "How many times too fast alerts use up their error budget (one in a hundred may take longer than 10 ms), in an hour and in the last 5 minutes: at 14.4 a month's is gone in two days. `tickerd_delivery_part_seconds` says where the time goes.",
    ),
    alert(
        "alert_latency_slow_burn",
        Severity::Warning,
        burn(Lane::Alert, 10_000, [s(6 * 3600), s(1800)]),
        (6.0, 6.0),
        (0, 60),
        "The same in six hours and in the last 30 minutes: at 6 a month's is gone in five days.",
    ),
    alert(
        "slow_clients",
        Severity::Warning,
        Growth(|readings| readings.slow_warned + readings.slow_closed, s(60)),
        (1.0, 1.0),
        (0, 0),
        "Clients that were warned of reading too slowly, or closed for it, in the last minute: `/v1/connections?sort=queued` says who reads slowly now; the log and the audit trail (`slow_consumer`) say who was closed.",
    ),
    alert(
        "publish_refusals",
        Severity::Critical,
        Share { of: |readings| readings.refused, all: |readings| readings.publishes, over: FIVE_MINUTES, least: 20 },
        (0.05, 0.02),
        (0, 30),
        "Share of publishes that were refused in the last 5 minutes: `tickerd_refused_total` says why.",
    ),
    alert(
        "delivery_failures",
        Severity::Warning,
        Share {
            of: |readings| readings.dropped,
            all: |readings| readings.dropped + readings.deliveries.iter().sum::<u64>(),
            over: FIVE_MINUTES,
            least: 100,
        },
        (0.05, 0.02),
        (0, 30),
        "Share of frames that were dropped for slow readers or full links in the last 5 minutes: `tickerd_dropped_frames_total` says why.",
    ),
    alert(
        "handshake_failures",
        Severity::Warning,
        Share { of: |readings| readings.handshakes_failed, all: handshakes, over: FIVE_MINUTES, least: 20 },
        (0.05, 0.02),
        (0, 30),
        "Share of handshakes that failed in the last 5 minutes: `tickerd_handshakes_total` says why.",
    ),
    alert(
        "auth_failures",
        Severity::Warning,
        Rate(|readings| readings.tokens_refused, s(60)),
        (5.0, 1.0),
        (0, 30),
        "Tokens refused in a second, over the last minute: a key that was rotated too early, or somebody who guesses. `tickerd_token_errors_total` and the audit trail say more.",
    ),
    alert(
        "join_denials",
        Severity::Warning,
        Rate(|readings| readings.joins_denied, s(60)),
        (1.0, 0.5),
        (0, 30),
        "Joins denied in a second, over the last minute: rooms are guessed, or an owner is missing. `tickerd explain` and the audit trail say more.",
    ),
    alert(
        "reconnect_storm",
        Severity::Warning,
        PerHundredClients(|readings| readings.came_back, s(60)),
        (10.0, 5.0),
        (0, 60),
        "Users who came back in the last minute (over WebSocket or server-sent events, each counted once), for each 100 clients: see what the closes have in common (`tickerd_closed_total`), and the proxy.",
    ),
    alert(
        "certificate_expiry",
        Severity::Critical,
        Level(|readings| readings.certificate_expiry_s.map(|left| left as f64)),
        (14.0 * 86_400.0, 15.0 * 86_400.0),
        (0, 0),
        "Seconds until the first certificate expires: renew it, and send SIGHUP.",
    ),
    alert(
        "audit_lost",
        Severity::Warning,
        Growth(|readings| readings.audit_lost, FIVE_MINUTES),
        (1.0, 1.0),
        (0, 0),
        "Entries of the audit trail that found its queue full in the last 5 minutes: the disk is too slow for it.",
    ),
    alert(
        "metrics_drift",
        Severity::Critical,
        Level(|readings| readings.metrics_drift.map(|accounts| accounts as f64)),
        (1.0, 1.0),
        (0, 0),
        "Accounts whose numbers are not those that come of the kept fills: `tickerd verify` says which numbers.",
    ),
];
