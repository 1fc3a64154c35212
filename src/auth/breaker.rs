//! A circuit breaker: after some failures in a row nothing is tried for a while, then one probe decides.

use std::time::Duration;

use crate::base::time::Mono;

/// See the module.
#[derive(Clone, Debug)]
pub struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many failures in a row, fewer than it takes.
    Closed { failures: u32 },
    /// Nothing is tried until then.
    Open { until: Mono },
    /// The probe is under way.
    Probing,
}

/// The leave to try once. Its outcome is told with it, so that one that was begun before the breaker opened is not taken for the probe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    is_probe: bool,
}

impl Breaker {
    /// A closed breaker that opens for `open_for` after `failures_max` failures in a row.
    pub fn new(failures_max: u32, open_for: Duration) -> Breaker {
        Breaker { failures_max, open_for, state: State::Closed { failures: 0 } }
    }

    /// Whether a try would not be permitted now.
    pub fn is_open(&self, now: Mono) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until } => now < until,
            State::Probing => true,
        }
    }

    /// Permits a try. Every permit is to be settled.
    pub fn permit(&mut self, now: Mono) -> Option<Permit> {
        if self.is_open(now) {
            return None;
        }
        let is_probe = matches!(self.state, State::Open { .. });
        if is_probe {
            self.state = State::Probing;
        }
        Some(Permit { is_probe })
    }

    /// Takes the outcome of a try.
    pub fn settle(&mut self, permit: Permit, succeeded: bool, now: Mono) {
        let opened = State::Open { until: now.plus(self.open_for) };
        self.state = match self.state {
            State::Probing if permit.is_probe && succeeded => State::Closed { failures: 0 },
            State::Probing if permit.is_probe => opened,
            State::Closed { .. } if succeeded => State::Closed { failures: 0 },
            State::Closed { failures } if failures + 1 >= self.failures_max => opened,
            State::Closed { failures } => State::Closed { failures: failures + 1 },
            // Begun before it opened: the probe alone decides now.
            state @ (State::Open { .. } | State::Probing) => state,
        };
    }

    /// 0 closed, 1 open, 2 a probe is under way: for the gauge.
    pub fn code(&self) -> u64 {
        match self.state {
            State::Closed { .. } => 0,
            State::Open { .. } => 1,
            State::Probing => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn at(s: u64) -> Mono {
        Mono(0).plus(Duration::from_secs(s))
    }

    fn fail(breaker: &mut Breaker, now: Mono) {
        let permit = breaker.permit(now).unwrap();
        breaker.settle(permit, false, now);
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_probe_closes_it() {
        let mut breaker = Breaker::new(5, OPEN_FOR);
        (0..4).for_each(|_| fail(&mut breaker, at(0)));
        let permit = breaker.permit(at(0)).unwrap();
        breaker.settle(permit, true, at(0));
        (0..4).for_each(|_| fail(&mut breaker, at(0)));
        assert_eq!(breaker.code(), 0);
        fail(&mut breaker, at(0));
        assert_eq!((breaker.code(), breaker.permit(at(9))), (1, None));
        let probe = breaker.permit(at(10)).unwrap();
        assert_eq!((breaker.code(), breaker.permit(at(100))), (2, None), "one probe at a time");
        breaker.settle(probe, false, at(11));
        assert_eq!(breaker.permit(at(20)), None);
        let probe = breaker.permit(at(21)).unwrap();
        breaker.settle(probe, true, at(22));
        assert_eq!(breaker.code(), 0);
    }

    /// A try that was begun before it opened says nothing about now.
    #[test]
    fn stragglers_neither_close_nor_prolong_it() {
        for succeeded in [true, false] {
            let mut breaker = Breaker::new(1, OPEN_FOR);
            let [straggler, other] = [(); 2].map(|()| breaker.permit(at(0)).unwrap());
            fail(&mut breaker, at(0));
            breaker.settle(straggler, succeeded, at(5));
            assert!(breaker.is_open(at(9)) && !breaker.is_open(at(10)));
            let probe = breaker.permit(at(10)).unwrap();
            breaker.settle(other, succeeded, at(10));
            assert_eq!(breaker.code(), 2);
            breaker.settle(probe, true, at(10));
            assert_eq!(breaker.code(), 0);
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Permit,
        Settle(prop::sample::Index, bool),
        Wait(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => Just(Op::Permit),
            3 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(index, succeeded)| Op::Settle(index, succeeded)),
            1 => (0u64..15).prop_map(Op::Wait),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order: it opens only at a failure, stays open for its whole time, then lets one probe out at
        /// a time, and closes by a success alone.
        #[test]
        fn it_opens_by_failure_waits_and_closes_by_success(ops in prop::collection::vec(op(), 0..200)) {
            let mut breaker = Breaker::new(3, OPEN_FOR);
            let (mut now_s, mut out, mut opened_s) = (0, Vec::<Permit>::new(), None::<u64>);
            for op in ops {
                let before = breaker.code();
                match op {
                    Op::Wait(s) => now_s += s,
                    Op::Permit => {
                        let permit = breaker.permit(at(now_s));
                        if let Some(since_s) = opened_s.filter(|_| before == 1) {
                            prop_assert_eq!(permit.is_some(), now_s >= since_s + 10);
                        }
                        prop_assert!(before != 2 || permit.is_none());
                        prop_assert!(before != 0 || permit.is_some());
                        out.extend(permit);
                    }
                    Op::Settle(index, succeeded) if !out.is_empty() => {
                        let permit = out.swap_remove(index.index(out.len()));
                        breaker.settle(permit, succeeded, at(now_s));
                        match (before, breaker.code()) {
                            (0 | 2, 1) => {
                                prop_assert!(!succeeded);
                                opened_s = Some(now_s);
                            }
                            (2, 0) => prop_assert!(succeeded),
                            (before, after) => prop_assert_eq!(before, after),
                        }
                    }
                    Op::Settle(..) => {}
                }
                prop_assert!(out.iter().filter(|permit| permit.is_probe).count() <= 1);
            }
        }
    }
}
