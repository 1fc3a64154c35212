//! The thread that computes everything again every few minutes, from what is kept, beside the one that keeps it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::seat::Work;
use super::stats::AnalyticsStats;
use super::verify::{Verdict, verify};
use crate::net::link::Door;

/// Drifts told to the log in one round; the rest is counted.
const TOLD_MAX: usize = 10;
/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the thread owns or shares.
pub(super) struct Checker {
    pub(super) path: PathBuf,
    pub(super) every: Duration,
    pub(super) door: Arc<Door>,
    pub(super) stats: Arc<AnalyticsStats>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Work for Checker {
    /// Nobody waits for it.
    const NICE: i32 = 15;

    fn run(self) {
        let mut at = Instant::now() + self.every;
        while !self.stop.load(Ordering::Relaxed) {
            self.door.turn();
            if Instant::now() >= at && self.stats.is_open() {
                self.round();
                at = Instant::now() + self.every;
            }
            std::thread::park_timeout(SLEEP_MAX.min(at.saturating_duration_since(Instant::now())));
        }
    }
}

impl Checker {
    fn round(&self) {
        let (mut drifted, mut told) = (0, 0);
        let verified = verify(&self.path, None, |verdict| {
            self.door.turn();
            if !verdict.drifts.is_empty() {
                drifted += 1;
                tell(&verdict, &mut told);
            }
            !self.stop.load(Ordering::Relaxed)
        });
        match verified {
            Ok(()) => {
                self.stats.set_drifted(drifted);
                self.stats.verified.inc();
            }
            Err(error) => tracing::warn!(event = "analytics_unverified", error, "nothing was computed again; it is tried again later"),
        }
    }
}

fn tell(verdict: &Verdict, told: &mut usize) {
    for drift in &verdict.drifts {
        *told += 1;
        if *told <= TOLD_MAX {
            tracing::error!(
                event = "metrics_drift",
                account = verdict.account,
                field = drift.field,
                kept = drift.kept,
                recomputed = drift.recomputed,
                "a kept number is not the one that comes of the kept fills"
            );
        }
    }
}
