//! The built-in alerts: what is measured, from which value on it is an alert, and when that is over (OBS-10). Pure: readings come in as values, with
//! their time, and crossings go out.
//!
//! An alert fires when its value is at or beyond `fire` for `hold`, and clears when it is on the good side of `clear` for `clear_hold`; between the
//! two it stays what it is, so that a value which wavers about one threshold is told once.

mod history;
mod measure;
mod table;

use std::time::Duration;

use crate::base::time::Mono;

pub use history::{History, Readings};
pub use measure::Measure;
pub use table::ALERTS;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody should get up.
    Critical,
    /// Somebody should look at it tomorrow.
    Warning,
}

impl Severity {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        }
    }
}

/// An alert as it is built in.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its name; stable.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is measured by.
    pub measure: Measure,
    /// Its thresholds, if the configuration has no others.
    pub limits: Limits,
    /// What it means, and what to do.
    pub help: &'static str,
}

/// When an alert fires, and when it clears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// It fires from here on: upwards if that is above `clear`, else downwards.
    pub fire: f64,
    /// It clears beyond this.
    pub clear: f64,
    /// For how long the value must be beyond `fire`.
    pub hold: Duration,
    /// For how long it must be beyond `clear`.
    pub clear_hold: Duration,
}

impl Limits {
    fn is_bad(&self, value: f64) -> bool {
        if self.fire >= self.clear { value >= self.fire } else { value <= self.fire }
    }

    fn is_good(&self, value: f64) -> bool {
        if self.fire >= self.clear { value < self.clear } else { value > self.clear }
    }
}

/// What an alert is at present.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Quiet,
    /// Bad since then, but not for long enough.
    Pending(Mono),
    /// It fired then, and has been good since that other time, if it is.
    Firing(Mono, Option<Mono>),
}

/// One alert at work.
#[derive(Clone, Debug)]
pub struct Alert {
    /// What it is.
    pub definition: &'static Definition,
    /// Its thresholds.
    pub limits: Limits,
    state: State,
    /// What was measured last; nothing if there was nothing to measure.
    pub value: Option<f64>,
}

/// An alert begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// It fires.
    Fired,
    /// It is over.
    Cleared,
}

impl Alert {
    /// A quiet one.
    pub fn new(definition: &'static Definition, limits: Limits) -> Alert {
        Alert { definition, limits, state: State::Quiet, value: None }
    }

    /// Whether it fires at present.
    pub fn is_firing(&self) -> bool {
        matches!(self.state, State::Firing(..))
    }

    /// Since when it fires, or is about to.
    pub fn since(&self) -> Option<Mono> {
        match self.state {
            State::Quiet => None,
            State::Pending(since) | State::Firing(since, _) => Some(since),
        }
    }

    /// Takes what is measured now. What cannot be measured, for want of events, is good.
    pub fn step(&mut self, now: Mono, value: Option<f64>) -> Option<Crossing> {
        self.value = value;
        let is_bad = value.is_some_and(|value| self.limits.is_bad(value));
        let is_good = value.is_none_or(|value| self.limits.is_good(value));
        if let State::Firing(since, good_since) = self.state {
            let good_since = is_good.then(|| good_since.unwrap_or(now));
            let is_over = good_since.is_some_and(|good| now.since(good) >= self.limits.clear_hold);
            self.state = if is_over { State::Quiet } else { State::Firing(since, good_since) };
            return is_over.then_some(Crossing::Cleared);
        }
        if !is_bad {
            self.state = State::Quiet;
            return None;
        }
        let since = self.since().unwrap_or(now);
        let fires = now.since(since) >= self.limits.hold;
        self.state = if fires { State::Firing(now, None) } else { State::Pending(since) };
        fires.then_some(Crossing::Fired)
    }
}

/// All alerts, and what they are measured by.
#[derive(Debug)]
pub struct Evaluator {
    alerts: Vec<Alert>,
    history: History,
}

impl Evaluator {
    /// Those of the table that have limits.
    pub fn new(limits_of: impl Fn(&Definition) -> Option<Limits>) -> Evaluator {
        let alerts = ALERTS.iter().filter_map(|definition| Some(Alert::new(definition, limits_of(definition)?))).collect();
        Evaluator { alerts, history: History::default() }
    }

    /// Goes on with other limits. An alert that fires goes on firing until it is good by these; one that has none any more is over.
    pub fn set_limits(&mut self, limits_of: impl Fn(&Definition) -> Option<Limits>) -> Vec<Alert> {
        let before = std::mem::replace(self, Evaluator::new(limits_of));
        self.history = before.history;
        let mut ended = Vec::new();
        for old in before.alerts {
            match self.alerts.iter_mut().find(|alert| alert.definition.name == old.definition.name) {
                Some(alert) => (alert.state, alert.value) = (old.state, old.value),
                None if old.is_firing() => ended.push(old),
                None => {}
            }
        }
        ended
    }

    /// Takes new readings. The alerts that have crossed.
    pub fn step(&mut self, readings: &Readings) -> Vec<(Alert, Crossing)> {
        let now = readings.at;
        self.history.push(readings);
        let mut crossed = Vec::new();
        for alert in &mut self.alerts {
            let value = alert.definition.measure.value(&self.history);
            if let Some(crossing) = alert.step(now, value) {
                crossed.push((alert.clone(), crossing));
            }
        }
        crossed
    }

    /// All of them.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// What was read.
    pub fn history(&self) -> &History {
        &self.history
    }
}

#[cfg(test)]
mod tests;
