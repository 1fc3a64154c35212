use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::base::counters::BUCKETS_US;
use crate::base::lane::Lane;

const LIMITS: Limits = Limits { fire: 0.8, clear: 0.7, hold: Duration::from_secs(5), clear_hold: Duration::from_secs(3) };

fn at(s: u64) -> Mono {
    Mono(0).plus(Duration::from_secs(s))
}

fn alert(limits: Limits) -> Alert {
    Alert::new(&ALERTS[0], limits)
}

/// OBS-10: the moments at which it fires and clears, by example.
#[test]
fn it_fires_after_its_hold_and_clears_after_the_other() {
    let mut alert = alert(LIMITS);
    let mut step = |s, value| alert.step(at(s), value);
    for (s, value) in [(0, Some(0.79)), (1, Some(0.8)), (5, Some(0.9)), (6, Some(0.1)), (7, Some(0.8)), (11, Some(1.0))] {
        assert_eq!(step(s, value), None, "{s}: not for five seconds yet");
    }
    assert_eq!(step(12, Some(0.8)), Some(Crossing::Fired));
    for (s, value) in [(13, Some(0.69)), (15, Some(0.7)), (16, Some(0.5)), (18, None)] {
        assert_eq!(step(s, value), None, "{s}: not good for three seconds yet");
    }
    assert_eq!(step(19, Some(0.6)), Some(Crossing::Cleared));
    assert_eq!((alert.is_firing(), alert.since(), alert.value), (false, None, Some(0.6)));
}

/// One that fires when too little is left.
#[test]
fn it_may_fire_downwards() {
    let mut alert = alert(Limits { fire: 14.0, clear: 15.0, hold: Duration::ZERO, clear_hold: Duration::ZERO });
    let crossings: Vec<_> =
        [20.0, 14.1, 14.0, 3.0, 14.5, 15.0, 15.1].into_iter().zip(0..).map(|(left, s)| alert.step(at(s), Some(left))).collect();
    assert_eq!(crossings, [None, None, Some(Crossing::Fired), None, None, None, Some(Crossing::Cleared)]);
}

proptest! {
    /// OBS-10: whatever is measured, an alert fires exactly when the value has been bad for `hold` without a break since it was last over, and clears
    /// exactly when it has been good for `clear_hold`, as the whole past says.
    #[test]
    fn it_crosses_exactly_when_the_past_says(
        steps in prop::collection::vec((1u64..4, prop::option::weighted(0.9, 0.0f64..1.0)), 1..80), hold in 0u64..8, clear_hold in 0u64..8,
    ) {
        let limits = Limits { hold: Duration::from_secs(hold), clear_hold: Duration::from_secs(clear_hold), ..LIMITS };
        let mut alert = alert(limits);
        let mut past: Vec<(u64, Option<f64>)> = Vec::new();
        let (mut now, mut last_crossing, mut is_firing) = (0, 0, false);
        for (later, value) in steps {
            now += later;
            past.push((now, value));
            let is_wanted = |value: Option<f64>| if is_firing { value.is_none_or(|v| v < 0.7) } else { value.is_some_and(|v| v >= 0.8) };
            let since_crossing = past.iter().rev().take_while(|(s, value)| *s > last_crossing && is_wanted(*value));
            let for_s = since_crossing.last().map(|(first, _)| now - first);
            let crosses = for_s.is_some_and(|for_s| for_s >= if is_firing { clear_hold } else { hold });
            let crossing = alert.step(at(now), value);
            prop_assert_eq!(crossing.is_some(), crosses, "at {}", now);
            if crosses {
                is_firing = !is_firing;
                last_crossing = now;
            }
            prop_assert_eq!(alert.is_firing(), is_firing);
        }
    }

    /// No flapping: a value that stays between the two thresholds, or beyond `fire`, never ends an alert, and one below `fire` never begins one.
    #[test]
    fn between_the_thresholds_nothing_changes(values in prop::collection::vec(0.7f64..0.8, 1..50), fires in any::<bool>()) {
        let mut alert = alert(Limits { hold: Duration::ZERO, clear_hold: Duration::ZERO, ..LIMITS });
        if fires {
            prop_assert_eq!(alert.step(at(0), Some(0.8)), Some(Crossing::Fired));
        }
        for (value, s) in values.into_iter().zip(1..) {
            prop_assert_eq!(alert.step(at(s), Some(value)), None);
        }
        prop_assert_eq!(alert.is_firing(), fires);
    }

    /// What was read so long ago, or a little longer, is found in any tier; and no more is kept than for six hours.
    #[test]
    fn the_past_is_found(ages in prop::collection::vec(0u64..25_000, 1..20), every in 1u64..7) {
        let mut history = History::default();
        let end = 22_000;
        for s in (0..=end).step_by(every as usize) {
            history.push(&Readings { at: at(s), publishes: s, ..Readings::default() });
        }
        let now = history.now().unwrap().publishes;
        for age in ages {
            let found = now - history.ago(Duration::from_secs(age)).unwrap().publishes;
            let apart = if age + every <= 61 { every } else if age + 10 + every <= 610 { 10 + every } else { 60 + every };
            let is_old = age + apart > 6 * 3600 || age >= now;
            prop_assert!(is_old || (found >= age && found < age + apart), "{} for {}", found, age);
            prop_assert!(found <= 6 * 3600 + 120);
        }
    }
}

/// Readings of a daemon each of whose figures grows by so many a second.
fn history_of(seconds: u64, reading: impl Fn(u64) -> Readings) -> History {
    let mut history = History::default();
    for s in 0..=seconds {
        history.push(&Readings { at: at(s), ..reading(s) });
    }
    history
}

#[test]
fn shares_and_rates_need_something_to_go_by() {
    let share = Measure::Share { of: |r| r.refused, all: |r| r.publishes, over: Duration::from_secs(300), least: 20 };
    let few = history_of(10, |s| Readings { publishes: s, refused: s, ..Readings::default() });
    assert_eq!(share.value(&few), None, "ten are too few");
    let many = history_of(400, |s| Readings { publishes: 10 * s, refused: s.saturating_sub(300), ..Readings::default() });
    let value = share.value(&many).unwrap();
    assert!((0.032..=0.034).contains(&value), "100 of the last 3,000: {value}");
    assert_eq!(Measure::Rate(|r| r.publishes, Duration::from_secs(60)).value(&many), Some(10.0));
    assert_eq!(Measure::Growth(|r| r.publishes, Duration::from_secs(60)).value(&many), Some(600.0));
    let one = history_of(0, |_| Readings::default());
    assert_eq!(Measure::Rate(|r| r.publishes, Duration::from_secs(60)).value(&one), None, "one reading has no rate");
    let clients = history_of(60, |s| Readings { came_back: s, connections: 400, ..Readings::default() });
    assert_eq!(Measure::PerHundredClients(|r| r.came_back, Duration::from_secs(60)).value(&clients), Some(15.0));
}

/// Latencies of a lane of which so many a second are late.
fn latencies(s: u64, late_from: u64, late_until: u64) -> Readings {
    let mut readings = Readings::default();
    let late = s.clamp(late_from, late_until) - late_from;
    let slot = |bound_us| BUCKETS_US.iter().position(|bound| *bound == bound_us).unwrap();
    readings.latencies[Lane::Alert.index()][slot(10_000)] = 100 * s - 50 * late;
    readings.latencies[Lane::Alert.index()][slot(20_000)] = 50 * late;
    readings
}

/// OBS-10: half of the alerts are late: the budget of a hundredth burns fifty times too fast once the hour knows, and it is over as soon as five
/// minutes are good, though the hour is not.
#[test]
fn a_budget_burns_while_both_times_say_so() {
    let burn = ALERTS.iter().find(|alert| alert.name == "alert_latency_fast_burn").unwrap().measure;
    let value = |seconds, from, until| burn.value(&history_of(seconds, |s| latencies(s, from, until))).unwrap();
    assert!(value(3_600, 3_600, 3_600) < f64::EPSILON);
    let (at_first, later) = (value(3_660, 3_600, 9_999), value(3_600 + 1_200, 3_600, 9_999));
    assert!(at_first < 1.0 && later > 14.4, "{at_first} {later}");
    assert!(value(3_600 + 1_200 + 320, 3_600, 4_800) < 0.1, "five minutes later");
}

#[test]
fn the_table_is_sound() {
    assert_eq!(ALERTS.iter().map(|alert| alert.name).collect::<HashSet<_>>().len(), ALERTS.len());
    for alert in ALERTS {
        assert!(alert.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && alert.help.ends_with('.'), "{}", alert.name);
        assert!(!alert.limits.is_good(alert.limits.fire) || alert.limits.fire > alert.limits.clear, "{}", alert.name);
    }
    let calm =
        |s| Readings { memory_budget: 1 << 30, connections_max: 100, certificate_expiry_s: Some(90 * 86_400 - s), ..Readings::default() };
    let mut evaluator = Evaluator::new(|definition| Some(definition.limits));
    for s in 0..1_000 {
        assert_eq!(evaluator.step(&Readings { at: at(s), ..calm(s) }).len(), 0, "a calm daemon has no alert");
    }
    let bad = Readings { at: at(1_000), faults: 2, journal_failing: true, queue_fill: 0.9, slow_warned: 1, audit_lost: 3, ..calm(1_000) };
    let fired: Vec<_> = evaluator.step(&bad).iter().map(|(alert, crossing)| (alert.definition.name, *crossing)).collect();
    let names = ["component_down", "journal_failing", "queue_filling", "slow_clients", "audit_lost"];
    assert_eq!(fired, names.map(|name| (name, Crossing::Fired)));
    let ended = evaluator.set_limits(|definition| (definition.name != "audit_lost").then_some(definition.limits));
    assert_eq!(ended.iter().map(|alert| alert.definition.name).collect::<Vec<_>>(), ["audit_lost"]);
    let calm_again = (1_001..1_100).flat_map(|s| evaluator.step(&Readings { slow_warned: 1, audit_lost: 3, at: at(s), ..calm(s) })).count();
    assert_eq!(calm_again, 4, "each is over once");
}
