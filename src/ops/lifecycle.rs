//! What the daemon is doing, and what it may do next (HBT-09). Pure.

use std::fmt;

use crate::base::time::Mono;

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Binding and loading: not to be used yet.
    Starting,
    /// Doing its job.
    Ready,
    /// Doing its job but for a part; it is ready again as soon as that is.
    Degraded,
    /// Leaving: clients are told to reconnect elsewhere.
    Draining,
    /// All threads have ended.
    Stopped,
}

impl State {
    /// All states, in the order in which a daemon has them.
    pub const ALL: [State; 5] = [State::Starting, State::Ready, State::Degraded, State::Draining, State::Stopped];

    /// Its name in answers, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Degraded => "degraded",
            State::Draining => "draining",
            State::Stopped => "stopped",
        }
    }

    /// Whether clients are served.
    pub const fn is_serving(self) -> bool {
        matches!(self, State::Ready | State::Degraded)
    }

    /// Whether `next` may follow.
    pub const fn may_become(self, next: State) -> bool {
        match next {
            State::Starting => false,
            State::Ready => matches!(self, State::Starting | State::Degraded),
            State::Degraded => matches!(self, State::Ready),
            State::Draining => matches!(self, State::Ready | State::Degraded),
            State::Stopped => matches!(self, State::Draining),
        }
    }
}

/// A transition that there is not: the state stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal {
    /// The state.
    pub from: State,
    /// What it was to become.
    pub to: State,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a daemon that is {} does not become {}", self.from.name(), self.to.name())
    }
}

/// The state, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle {
    state: State,
    since: Mono,
}

impl Lifecycle {
    /// A daemon that starts.
    pub fn new(now: Mono) -> Lifecycle {
        Lifecycle { state: State::Starting, since: now }
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it is that.
    pub fn since(&self) -> Mono {
        self.since
    }

    /// Goes on to another state; the one before.
    pub fn enter(&mut self, to: State, now: Mono) -> Result<State, Illegal> {
        let from = self.state;
        if !from.may_become(to) {
            return Err(Illegal { from, to });
        }
        *self = Lifecycle { state: to, since: now };
        Ok(from)
    }

    /// Ready if all is well, degraded if not; nothing in any other state. The state before, if it has changed.
    pub fn judge(&mut self, is_well: bool, now: Mono) -> Option<State> {
        let to = if is_well { State::Ready } else { State::Degraded };
        if self.state.is_serving() { self.enter(to, now).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What may happen to a daemon.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter(State),
        Judge(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![(0..State::ALL.len()).prop_map(|at| Step::Enter(State::ALL[at])), any::<bool>().prop_map(Step::Judge)];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// HBT-09: whatever it is told, it goes the one way from start to stop, and to and fro between ready and degraded alone.
        #[test]
        fn only_legal_transitions_happen(steps in steps()) {
            let mut lifecycle = Lifecycle::new(Mono(0));
            let mut seen = vec![State::Starting];
            for (at, step) in (1..).zip(steps) {
                let (before, now) = (lifecycle.state(), Mono(at));
                match step {
                    Step::Enter(to) => prop_assert_eq!(lifecycle.enter(to, now).is_ok(), before.may_become(to)),
                    Step::Judge(is_well) => {
                        lifecycle.judge(is_well, now);
                        if before.is_serving() {
                            prop_assert_eq!(lifecycle.state(), if is_well { State::Ready } else { State::Degraded });
                        } else {
                            prop_assert_eq!(lifecycle.state(), before);
                        }
                    }
                }
                if lifecycle.state() != before {
                    prop_assert_eq!(lifecycle.since(), now);
                    seen.push(lifecycle.state());
                }
            }
            let order = |state: &State| if *state == State::Degraded { State::Ready as u8 } else { *state as u8 };
            prop_assert!(seen.is_sorted_by_key(order), "{:?}", seen);
            let is_next = |pair: &[State]| pair[0].may_become(pair[1]);
            prop_assert!(seen.windows(2).all(is_next), "{:?}", seen);
            prop_assert_eq!(seen.contains(&State::Stopped), lifecycle.state() == State::Stopped, "that is the end");
        }
    }

    #[test]
    fn who_is_degraded_is_ready_again_by_itself() {
        let mut lifecycle = Lifecycle::new(Mono(0));
        assert_eq!(lifecycle.judge(false, Mono(1)), None, "not while it starts");
        lifecycle.enter(State::Ready, Mono(2)).unwrap();
        assert_eq!(lifecycle.judge(false, Mono(3)), Some(State::Ready));
        assert_eq!(lifecycle.judge(false, Mono(4)), None);
        assert_eq!(lifecycle.judge(true, Mono(5)), Some(State::Degraded));
        lifecycle.enter(State::Draining, Mono(6)).unwrap();
        let illegal = lifecycle.enter(State::Ready, Mono(7)).unwrap_err();
        assert_eq!(illegal.to_string(), "a daemon that is draining does not become ready");
        assert_eq!((lifecycle.state(), lifecycle.since()), (State::Draining, Mono(6)));
    }
}
