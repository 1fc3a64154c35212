//! What alerts are measured by.

use std::time::Duration;

use crate::base::counters::BUCKETS_US;
use crate::base::lane::Lane;

use super::history::{History, Readings};

/// A way to get one number out of readings.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// What is read now.
    Level(fn(&Readings) -> Option<f64>),
    /// How much a counter has grown in that time.
    Growth(fn(&Readings) -> u64, Duration),
    /// How much a counter grows in a second, on average over that time.
    Rate(fn(&Readings) -> u64, Duration),
    /// How much a counter has grown in that time, for each hundred clients that there are, who are taken to be no fewer.
    PerHundredClients(fn(&Readings) -> u64, Duration),
    /// The share of the first in the second, in that time, if the second has grown by so much.
    Share {
        /// The part.
        of: fn(&Readings) -> u64,
        /// The whole.
        all: fn(&Readings) -> u64,
        /// How far back.
        over: Duration,
        /// So few tell nothing.
        least: u64,
    },
    /// How fast the error budget of an SLO burns: the share of a lane's deliveries that took longer than `bound_us`, over the share that may.
    /// Measured over two times, of which the lesser counts: the long one, so that a moment is no alert, and the short one, so that it ends soon.
    Burn {
        /// Whose deliveries.
        lane: Lane,
        /// What is too long; one of [`BUCKETS_US`].
        bound_us: u64,
        /// The share that may take longer.
        budget: f64,
        /// The two times.
        over: [Duration; 2],
    },
}

/// So few deliveries tell nothing about a share of a hundredth.
const DELIVERIES_LEAST: u64 = 100;

impl Measure {
    /// The number; none if there is too little to tell.
    pub fn value(&self, history: &History) -> Option<f64> {
        match *self {
            Measure::Level(of) => of(history.now()?),
            Measure::Growth(of, over) => Some(history.growth(over, of) as f64),
            Measure::Rate(of, over) => {
                let took = history.now()?.at.since(history.ago(over)?.at);
                (!took.is_zero()).then(|| history.growth(over, of) as f64 / took.as_secs_f64())
            }
            Measure::PerHundredClients(of, over) => {
                Some(history.growth(over, of) as f64 * 100.0 / history.now()?.connections.max(100) as f64)
            }
            Measure::Share { of, all, over, least } => share(history.growth(over, of), history.growth(over, all), least),
            Measure::Burn { lane, bound_us, budget, over } => {
                let burns = over.map(|over| {
                    let (late, all) = late(history, lane, bound_us, over);
                    share(late, all, DELIVERIES_LEAST).map(|share| share / budget)
                });
                Some(burns[0]?.min(burns[1]?))
            }
        }
    }
}

fn share(of: u64, all: u64, least: u64) -> Option<f64> {
    (all >= least.max(1)).then(|| of as f64 / all as f64)
}

/// Deliveries of that time that took longer than a bound, and all.
fn late(history: &History, lane: Lane, bound_us: u64, over: Duration) -> (u64, u64) {
    let first_late = BUCKETS_US.partition_point(|bound| *bound <= bound_us);
    let sum = |readings: &Readings, from: usize| readings.latencies[lane.index()][from..].iter().sum::<u64>();
    (history.growth(over, |readings| sum(readings, first_late)), history.growth(over, |readings| sum(readings, 0)))
}
