//! When each event is due: all flows merged, and nothing else decides it. Pure.
//!
//! Within a span of constant rate, event `e` of a flow is due at `origin + phase + layout::due_ns(e - first)`. `origin` is the beginning of
//! the span, `first` the flow's first event in it; the phase is a fraction of the flow's period that the run's number chooses, so that flows
//! of one rate do not fall due together for ever.

use crate::layout;
use crate::scenario::{Flow, Scenario};

/// An event that falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Position of its flow.
    pub flow: usize,
    /// Its position in the flow.
    pub e: u64,
    /// When, `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

/// See the module.
pub struct Schedule {
    series: Vec<Series>,
}

struct Series {
    flow: Flow,
    /// 0 to 1.
    phase: f64,
    rate: f64,
    start_ns: u64,
    first: u64,
    e: u64,
    due_ns: u64,
}

impl Schedule {
    /// Nothing is due before [`Schedule::restart`].
    pub fn new(scenario: &Scenario, seed: u32) -> Schedule {
        let series = scenario.flows.iter().enumerate().map(|(at, flow)| Series {
            flow: flow.clone(),
            phase: phase(seed, at),
            rate: flow.rate,
            start_ns: u64::MAX,
            first: 0,
            e: 0,
            due_ns: u64::MAX,
        });
        Schedule { series: series.collect() }
    }

    /// From `origin_ns` on, every flow at so many times its rate. What was due before and not taken is forgotten; the positions go on.
    pub fn restart(&mut self, origin_ns: u64, factor: f64) {
        for series in &mut self.series {
            series.rate = series.flow.rate * factor;
            let period_ns = f64::from(series.flow.burst) / series.rate * 1e9;
            series.start_ns = origin_ns.saturating_add((period_ns * series.phase) as u64);
            series.first = series.e;
            series.due_ns = series.start_ns;
        }
    }

    /// Nothing more is due.
    pub fn stop(&mut self) {
        for series in &mut self.series {
            series.due_ns = u64::MAX;
        }
    }

    /// When the next event is due; `u64::MAX`: none is.
    pub fn next_ns(&self) -> u64 {
        self.series.iter().map(|series| series.due_ns).min().unwrap_or(u64::MAX)
    }

    /// Takes the next event that is due before `until_ns`.
    pub fn take(&mut self, until_ns: u64) -> Option<Due> {
        let (at, series) = self.series.iter_mut().enumerate().min_by_key(|(_, series)| series.due_ns)?;
        if series.due_ns >= until_ns {
            return None;
        }
        let due = Due { flow: at, e: series.e, at_ns: series.due_ns };
        series.e += 1;
        series.due_ns = series.start_ns.saturating_add(layout::due_ns(&series.flow, series.rate, series.e - series.first));
        Some(due)
    }

    /// Events taken of each flow.
    pub fn taken(&self) -> Vec<u64> {
        self.series.iter().map(|series| series.e).collect()
    }
}

/// 0 to 1, the same for the same seed and flow (splitmix64).
fn phase(seed: u32, flow: usize) -> f64 {
    let mut bits = (u64::from(seed) << 8 | flow as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ bits >> 31) as f64 / 18_446_744_073_709_551_616.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenarios::named;

    fn scenario(flows: &[(f64, u32)]) -> Scenario {
        let mut scenario = named("broadcast").expect("built in");
        let flow = scenario.flows[0].clone();
        scenario.flows = flows.iter().map(|(rate, burst)| Flow { rate: *rate, burst: *burst, ..flow.clone() }).collect();
        scenario
    }

    fn all(schedule: &mut Schedule, until_ns: u64) -> Vec<Due> {
        std::iter::from_fn(|| schedule.take(until_ns)).collect()
    }

    proptest! {
        /// Events come in the order of their times, each flow's in order of position, at the flow's rate, whatever the spans were.
        #[test]
        fn times_and_positions_only_grow(
            flows in prop::collection::vec((1.0f64..2_000.0, 1u32..20), 1..4), seed: u32,
            spans in prop::collection::vec((0.25f64..4.0, 1_000_000u64..500_000_000), 1..4),
        ) {
            let mut schedule = Schedule::new(&scenario(&flows), seed);
            let (mut origin_ns, mut next) = (1_000, vec![0; flows.len()]);
            prop_assert_eq!(schedule.take(u64::MAX), None);
            for (factor, length_ns) in spans {
                schedule.restart(origin_ns, factor);
                let until_ns = origin_ns + length_ns;
                let (mut last_ns, before) = (origin_ns, next.clone());
                for due in all(&mut schedule, until_ns) {
                    prop_assert!(due.at_ns >= last_ns && due.at_ns < until_ns);
                    prop_assert_eq!(due.e, next[due.flow]);
                    next[due.flow] += 1;
                    last_ns = due.at_ns;
                }
                for (at, (rate, burst)) in flows.iter().enumerate() {
                    let expected = rate * factor * length_ns as f64 / 1e9;
                    let sent = (next[at] - before[at]) as f64;
                    prop_assert!((sent - expected).abs() <= f64::from(*burst) + 1.0, "{sent} for {expected}");
                }
                prop_assert_eq!(schedule.taken(), next.clone());
                origin_ns = until_ns;
            }
        }
    }

    #[test]
    fn a_burst_falls_due_at_one_moment() {
        let mut schedule = Schedule::new(&scenario(&[(100.0, 5)]), 1);
        schedule.restart(0, 1.0);
        let times: Vec<u64> = all(&mut schedule, 200_000_000).iter().map(|due| due.at_ns).collect();
        assert_eq!(times.len() % 5, 0);
        for burst in times.chunks(5) {
            assert!(burst.iter().all(|at| at == &burst[0]));
        }
        assert_eq!(times[5] - times[0], 50_000_000);
    }

    #[test]
    fn a_stopped_schedule_owes_nothing_and_goes_on_counting() {
        let mut schedule = Schedule::new(&scenario(&[(1_000.0, 1)]), 1);
        schedule.restart(0, 1.0);
        let taken = all(&mut schedule, 10_000_000).len() as u64;
        schedule.stop();
        assert_eq!((schedule.next_ns(), schedule.take(u64::MAX)), (u64::MAX, None));
        schedule.restart(1_000_000_000, 1.0);
        assert_eq!(schedule.take(u64::MAX).map(|due| due.e), Some(taken));
    }

    #[test]
    fn phases_differ() {
        let phases: Vec<f64> = (0..8).map(|flow| phase(7, flow)).collect();
        assert!(phases.iter().all(|phase| (0.0..1.0).contains(phase)));
        assert!(phases.windows(2).all(|pair| (pair[0] - pair[1]).abs() > 1e-6));
    }
}
