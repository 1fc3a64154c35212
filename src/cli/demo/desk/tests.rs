use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::base::ident::is_identifier;

/// Everything a desk publishes in that many steps of 50 ms.
fn published(seed: u64, challenges: usize, steps: u64) -> Vec<(Line, Value)> {
    let mut desk = Desk::new(&DeskOptions { challenges, metrics_per_second: 40, seed });
    let mut lines = Vec::new();
    for step in 1..=steps {
        let now = Now { mono: Mono(step * 50_000_000), wall_ms: 1_790_000_000_000 + step * 50 };
        desk.trade(now, Duration::from_millis(50), &mut lines);
        desk.measure(now, Duration::from_millis(50), &mut lines);
    }
    lines.into_iter().map(|line| (line.clone(), serde_json::from_str(&line.text).unwrap())).collect()
}

fn text<'a>(event: &'a Value, member: &str) -> &'a str {
    event["data"][member].as_str().unwrap_or_else(|| panic!("{member} of {event}"))
}

/// Cents of a decimal string, read independently of how the desk writes them.
fn cents(event: &Value, member: &str) -> i64 {
    let (whole, rest) = text(event, member).split_once('.').unwrap();
    assert_eq!(rest.len(), 2);
    format!("{whole}{rest}").parse().unwrap()
}

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64().is_none(),
        Value::Array(values) => values.iter().any(has_float),
        Value::Object(members) => members.values().any(has_float),
        _ => false,
    }
}

fn lane_of(kind: &str) -> Lane {
    match kind {
        "RISK_ALERT" | "CHALLENGE_STATUS_CHANGED" | "CHALLENGE_FAILED" | "CHALLENGE_FUNDED" => Lane::Alert,
        "EQUITY_UPDATED" | "TRADE_EXECUTED" => Lane::Update,
        "metrics.update" | "market.data.update" => Lane::Metric,
        other => panic!("{other} is in no catalog"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// EVT-01, EVT-02, EVT-03: every line is one the built-in catalog routes, in the lane we count it under; money is text.
    #[test]
    fn every_line_is_publishable(seed: u64, challenges in 1usize..8) {
        for (line, event) in published(seed, challenges, 400) {
            let kind = event["type"].as_str().unwrap();
            prop_assert_eq!(line.lane, lane_of(kind));
            prop_assert!(!line.text.contains(['\n', '\r']) && !has_float(&event), "{}", line.text);
            prop_assert!(event["data"]["demo"]["sent_ns"].as_u64().unwrap() > 0);
            let routed_by = match kind {
                "metrics.update" => "account_id",
                "market.data.update" => "symbol",
                _ => "challenge_id",
            };
            prop_assert!(is_identifier(text(&event, routed_by)));
            prop_assert!(event.get("key").is_none_or(|key| is_identifier(key.as_str().unwrap())));
        }
    }

    /// EVT-06: the alerts are those that the published equities call for, no more and no fewer.
    #[test]
    fn an_alert_comes_once_for_each_crossing(seed: u64) {
        let mut armed: HashMap<(String, String, i64), bool> = HashMap::new();
        let mut expected: Option<String> = None;
        for (_, event) in published(seed, 3, 4_000) {
            match event["type"].as_str().unwrap() {
                "EQUITY_UPDATED" => {
                    prop_assert_eq!(expected.take(), None, "an alert is missing before {}", event);
                    let (base, equity) = (cents(&event, "daily_start_equity"), cents(&event, "current_equity"));
                    let share = (base - equity) as f64 / base as f64 * 100.0;
                    let attempt = event["data"]["attempt"].to_string();
                    // A new day is told from its base; a base that comes back to the cent would only hide a crossing.
                    let armed = armed.entry((text(&event, "challenge_id").to_owned(), attempt, base)).or_insert(true);
                    if *armed && (4.0..=5.0).contains(&share) {
                        *armed = false;
                        expected = Some(text(&event, "challenge_id").to_owned());
                    } else if share < 3.75 {
                        *armed = true;
                    }
                }
                "RISK_ALERT" if text(&event, "alert_type") == "HIGH_DAILY_DRAWDOWN" => {
                    prop_assert_eq!(expected.take(), Some(text(&event, "challenge_id").to_owned()), "uncalled for: {}", event);
                    prop_assert_eq!(event["data"].as_object().unwrap().len(), 12, "11 members and the demo's own");
                }
                // A target reached on the way, or the peak's limit, ends the attempt: then there is nothing to warn of.
                "CHALLENGE_FAILED" | "CHALLENGE_FUNDED" => expected = None,
                _ => {}
            }
        }
    }

    /// EVT-04: PENDING > ACTIVE > FAILED or FUNDED, and each attempt goes that way once.
    #[test]
    fn status_changes_are_legal(seed: u64) {
        let mut statuses: HashMap<String, (u64, String)> = HashMap::new();
        for (_, event) in published(seed, 2, 6_000) {
            if event["type"] != "CHALLENGE_STATUS_CHANGED" {
                continue;
            }
            let attempt = event["data"]["attempt"].as_u64().unwrap();
            let (old, new) = (text(&event, "old_status"), text(&event, "new_status"));
            prop_assert!([("PENDING", "ACTIVE"), ("ACTIVE", "FAILED"), ("ACTIVE", "FUNDED")].contains(&(old, new)), "{}", event);
            let before = statuses.insert(text(&event, "challenge_id").to_owned(), (attempt, new.to_owned()));
            match before {
                Some((last, status)) if last == attempt => prop_assert_eq!(old, status),
                Some((last, status)) => {
                    prop_assert_eq!((attempt, old), (last + 1, "PENDING"));
                    prop_assert!(["FAILED", "FUNDED"].contains(&&*status));
                }
                None => prop_assert_eq!((attempt, old), (1, "ACTIVE")),
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_desk() {
    let texts = |seed| published(seed, 3, 200).into_iter().map(|(line, _)| line.text).collect::<Vec<_>>();
    assert_eq!(texts(7), texts(7));
    assert_ne!(texts(7), texts(8));
}

/// What the clients' arithmetic rests on: metric `n` is of series `(n - 1) % slots`, and each series has one room and key.
#[test]
fn metrics_take_turns() {
    let mut desk = Desk::new(&DeskOptions { challenges: 4, metrics_per_second: 100_000, seed: 1 });
    let (slots, mut lines) = (desk.slots() as u64, Vec::new());
    for step in 1..=2 {
        desk.measure(Now { mono: Mono(step * 50_000_000), wall_ms: 0 }, Duration::from_millis(50), &mut lines);
    }
    let mut names: HashMap<u64, String> = HashMap::new();
    let mut expected_n = 0;
    for event in lines.iter().map(|line| serde_json::from_str::<Value>(&line.text).unwrap()) {
        expected_n += 1;
        assert_eq!(event["data"]["demo"]["n"], expected_n);
        let name = event.get("key").unwrap_or(&event["data"]["symbol"]).to_string();
        assert_eq!(names.entry((expected_n - 1) % slots).or_insert_with(|| name.clone()), &name);
    }
    assert_eq!(expected_n, 10_000);
    assert_eq!(names.values().collect::<std::collections::HashSet<_>>().len() as u64, slots);
}

/// An alert may be said to overtake only metrics that no window of the daemon can hold any more.
#[test]
fn settled_metrics_are_old_ones() {
    let mut times = vec![0];
    for (_, event) in published(3, 2, 400) {
        let demo = &event["data"]["demo"];
        let sent_ns = demo["sent_ns"].as_u64().unwrap();
        if let Some(settled) = demo["settled_n"].as_u64() {
            assert!(settled == 0 || sent_ns - times[settled as usize] >= nanos(SETTLED_AFTER));
            assert!(times.get(settled as usize + 1).is_none_or(|next| sent_ns - next < nanos(SETTLED_AFTER + 2 * STEP_MAX)));
        } else {
            times.push(sent_ns);
        }
    }
    assert!(times.len() > 700);
}

#[test]
fn the_largest_desk_fits_one_connection() {
    let desk = Desk::new(&DeskOptions { challenges: 1000, metrics_per_second: 1, seed: 1 });
    assert_eq!(desk.challenges.len(), CHALLENGES_MAX);
    assert!(desk.rooms().len() <= crate::base::limits::ROOMS_PER_CONN_MAX);
    assert!(desk.rooms().iter().all(|room| is_identifier(room)));
}

/// A newcomer does not wait: whatever the seed, an alert comes in the first half minute.
#[test]
fn something_happens_soon() {
    for seed in 0..50 {
        let lines = published(seed, 20, 600);
        let all = lines.iter().filter(|(line, _)| line.lane == Lane::Alert).count();
        assert!(lines.iter().any(|(_, event)| event["type"] == "RISK_ALERT"), "seed {seed}: no alert in 30 s");
        assert!(all < 60, "seed {seed}: {all} in 30 s are a flood");
    }
}
