use proptest::prelude::*;

use super::*;
use crate::hist;
use crate::record::FlowRecord;
use crate::report::testing;

/// Each element's name and attributes. Panics if the text is no well-formed XML as far as this crate writes it.
fn elements(xml: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let mut open = Vec::new();
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        assert_plain(&rest[..at]);
        let (tag, after) = rest[at + 1..].split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "tags nest");
            continue;
        }
        let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        found.push((name, attributes_of(attributes)));
        if !is_empty {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "all is closed: {open:?} {rest:?}");
    found
}

fn attributes_of(mut text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    while let Some((name, rest)) = text.trim_start().split_once("=\"") {
        let (value, rest) = rest.split_once('"').expect("a value ends");
        assert_plain(value);
        found.push((name, value));
        text = rest;
    }
    assert_eq!(text.trim(), "");
    found
}

fn assert_plain(text: &str) {
    let entities = ["&amp;", "&lt;", "&gt;", "&quot;"];
    let is_entity = |at: usize| entities.iter().any(|entity| text[at..].starts_with(entity));
    assert!(text.match_indices('&').all(|(at, _)| is_entity(at)), "{text:?}");
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
}

/// Every coordinate, as (x, y).
fn coordinates(elements: &[(&str, Vec<(&str, &str)>)]) -> Vec<(f64, f64)> {
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let mut found = Vec::new();
    for (_, attributes) in elements {
        let value = |name: &str| attributes.iter().find(|(is, _)| *is == name).map(|(_, value)| *value);
        for (x, y) in [("x", "y"), ("x1", "y1"), ("x2", "y2")] {
            if let (Some(x), Some(y)) = (value(x), value(y)) {
                found.push((number(x), number(y)));
            }
        }
        let points = value("points").unwrap_or("").split_whitespace();
        found.extend(points.map(|point| point.split_once(',').expect("two numbers")).map(|(x, y)| (number(x), number(y))));
    }
    found
}

fn record_of(lanes: &[(Lane, Vec<u64>)], slo: &str, about: &str) -> Record {
    let mut record = testing::plain();
    record.scenario.about = about.into();
    record.verdicts[0].slo = slo.into();
    record.windows[0].flows = lanes
        .iter()
        .map(|(lane, values)| {
            let hist = hist::of(values.iter().copied());
            let latency = hist::encode(&hist);
            FlowRecord { flow: 0, lane: *lane, class: "c".into(), published: 1, received: hist.len(), service: latency.clone(), latency }
        })
        .collect();
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_was_measured_is_drawn_within_the_view(
        alert in prop::collection::vec(0_u64..100_000_000_000, 0..200),
        update in prop::collection::vec(0_u64..20, 0..50),
        metric in prop::collection::vec(1_000_000_u64..1_000_100, 0..50),
        limit in 0_u64..100_000_000,
        about in "\\PC{0,300}",
    ) {
        let lanes = [(Lane::Alert, alert), (Lane::Update, update), (Lane::Metric, metric)];
        let record = record_of(&lanes, &format!("alert.p99<{limit}us"), &about);
        let svg = percentiles(&record).expect("well formed");
        let elements = elements(&svg);
        let drawn = elements.iter().filter(|(name, _)| *name == "polyline").count();
        prop_assert_eq!(drawn, lanes.iter().filter(|(_, values)| !values.is_empty()).count());
        for (x, y) in coordinates(&elements) {
            prop_assert!((0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{x} {y} in\n{svg}");
        }
    }
}

#[test]
fn a_line_rises_to_the_right_and_ends_at_its_last_percentile() {
    let svg = percentiles(&testing::plain()).expect("well formed");
    let elements = elements(&svg);
    let curves: Vec<_> = elements.into_iter().filter(|(name, _)| *name == "polyline").collect();
    assert_eq!(curves.len(), 2);
    for curve in curves {
        let points = coordinates(&[curve]);
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 >= pair[1].1), "{points:?}");
    }
    assert!(svg.contains(">alert.p99 &lt; 5ms<") && svg.contains(">99.99 %<") && svg.contains(">max 2.00 ms<"), "{svg}");
}

/// A bound that is far from what was measured is told, not left out.
#[test]
fn what_is_too_far_away_to_be_drawn_is_named() {
    let mut record = testing::plain();
    record.verdicts[0].slo = "alert.p99<20s".into();
    record.verdicts[1].slo = "update.p50<1us".into();
    let svg = percentiles(&record).expect("well formed");
    assert!(svg.contains(">above this plot: alert.p99 &lt; 20s; below this plot: update.p50 &lt; 1us<"), "{svg}");
    assert!(!percentiles(&testing::plain()).expect("well formed").contains("this plot:"));
}

#[test]
fn an_overlay_has_both_runs() {
    let svg = overlay(&testing::plain(), &testing::troubled()).expect("well formed");
    let elements = elements(&svg);
    let classes = elements.iter().filter(|(name, _)| *name == "polyline").map(|(_, attributes)| attributes[0].1);
    assert_eq!(classes.collect::<Vec<_>>(), ["curve alert", "curve update", "curve alert dashed", "curve update dashed"]);
    assert!([">A alert<", ">B update<", "A (solid)", "B (dashed)"].iter().all(|text| svg.contains(text)), "{svg}");
}

#[test]
fn a_run_without_a_window_is_an_empty_plot() {
    let mut record = testing::plain();
    record.windows.clear();
    let svg = percentiles(&record).expect("well formed");
    assert!(elements(&svg).iter().all(|(name, _)| *name != "polyline"));
}
