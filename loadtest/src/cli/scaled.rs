//! What flags made of a scenario's sizes and rates, in words: its own sentence has the original ones. Pure.

use crate::report::text::{grouped, plural, rate};
use crate::scenario::{RoomClass, Scenario};

/// What is not as it was, and what follows for each room.
pub(super) fn changes(before: &Scenario, after: &Scenario) -> Vec<String> {
    let mut changes = Vec::new();
    let (was, is) = (u64::from(before.connections.count), u64::from(after.connections.count));
    if was != is {
        changes.push(format!("{} instead of {}", plural(is, "connection"), grouped(was)));
    }
    for (was, is) in before.rooms.iter().zip(&after.rooms) {
        changes.extend(of_class(was, is));
    }
    for (at, (was, is)) in before.flows.iter().zip(&after.flows).enumerate() {
        // Said once for a class whose flows have all changed alike.
        let text = each_room(before, after, at);
        if was.rate.total_cmp(&is.rate).is_ne() {
            changes.push(format!(
                "{} {}/s instead of {}{}",
                is.kind,
                rate(is.rate),
                rate(was.rate),
                text.map_or(String::new(), |text| format!(" ({text})"))
            ));
        } else if let Some(text) = text.map(|text| format!("rates of {} as they were, so that {text}", is.rooms))
            && !changes.contains(&text)
        {
            changes.push(text);
        }
    }
    changes
}

fn of_class(was: &RoomClass, is: &RoomClass) -> Option<String> {
    let mut parts = Vec::new();
    if was.count != is.count {
        parts.push(format!("{} instead of {}", plural(u64::from(is.count), &format!("{} room", is.class)), grouped(u64::from(was.count))));
    }
    if was.members != is.members {
        parts.push(format!(
            "{} in each {} room instead of {}",
            plural(u64::from(is.members), "member"),
            is.class,
            grouped(u64::from(was.members))
        ));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How a flow's rate in each room has changed, if it has.
fn each_room(before: &Scenario, after: &Scenario, at: usize) -> Option<String> {
    let of = |scenario: &Scenario| scenario.flows[at].rate / f64::from(scenario.class_of(&scenario.flows[at]).1.count);
    let times = of(after) / of(before);
    ((times - 1.0).abs() > 1e-9).then(|| format!("each room gets {} times as much", rate(times)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::named;

    fn scaled(name: &str, count: Option<u32>, factor: f64) -> Vec<String> {
        let before = named(name).expect("built in");
        let mut after = before.clone();
        after.set_connections(count.unwrap_or(before.connections.count));
        after.scale_rates(factor);
        changes(&before, &after)
    }

    #[test]
    fn as_it_is_nothing_is_said() {
        assert_eq!(scaled("desk", None, 1.0), Vec::<String>::new());
        assert_eq!(scaled("desk", Some(10_000), 1.0), Vec::<String>::new());
    }

    /// A fiftieth of the rooms at the same rates: each gets fifty times as much, which is another load.
    #[test]
    fn fewer_connections_are_fewer_rooms() {
        let said = [
            "200 connections instead of 10,000",
            "200 challenge rooms instead of 10,000",
            "rates of challenge as they were, so that each room gets 50 times as much",
        ];
        assert_eq!(scaled("desk", Some(200), 1.0), said);
        assert_eq!(
            scaled("broadcast", Some(10), 1.0),
            ["10 connections instead of 1,000", "10 members in each shared room instead of 1,000"]
        );
    }

    #[test]
    fn other_rates_are_said_of_each_flow() {
        assert_eq!(scaled("broadcast", None, 2.0), ["lt.tick 100/s instead of 50 (each room gets 2 times as much)"]);
        let desk = scaled("desk", Some(200), 0.02);
        assert!(desk.contains(&"EQUITY_UPDATED 100/s instead of 5,000".to_owned()), "each room gets what it got: {desk:?}");
    }
}
