use super::*;
use crate::report::testing::{self, written};

#[test]
fn a_clean_run_reads_as_printed_here() {
    let text = written(|out| print(&testing::plain(), out));
    assert_eq!(text, include_str!("plain.txt"), "\n{text}");
}

#[test]
fn a_troubled_run_says_so() {
    let text = written(|out| print(&testing::troubled(), out));
    assert_eq!(text, include_str!("troubled.txt"), "\n{text}");
}

#[test]
fn a_ramp_shows_its_steps() {
    let text = written(|out| print(&testing::ramp(), out));
    assert_eq!(text, include_str!("ramp.txt"), "\n{text}");
}

#[test]
fn a_run_without_a_window_says_so() {
    let mut record = testing::plain();
    record.windows.clear();
    let text = written(|out| print(&record, out));
    assert!(text.contains("\nNothing was measured: the run ended before its first window.\n"), "{text}");
}

/// PRF-10: a run in which nothing is sent has no empty tables, and says when its memory figure is not one of a server just started.
#[test]
fn idle_connections_have_no_latencies() {
    let mut record = testing::plain();
    record.scenario.flows.clear();
    (record.windows[0].flows, record.windows[0].slip_ns) = (Vec::new(), String::new());
    record.server.as_mut().expect("found").used_before = "it had 3 connections before".into();
    let text = written(|out| print(&record, out));
    assert!(text.contains("rooms       1,000 challenge rooms of 1 member, 1 market room of 1,000 members\n"), "{text}");
    assert!(!["Latency", "Service time", "p99.9", "slip", "answers", "for each delivery"].iter().any(|word| text.contains(word)), "{text}");
    assert!(
        text.contains("(1.50 KiB for each connection)") && text.contains("\n            it had 3 connections before: start it anew"),
        "{text}"
    );
}

/// The sentence of the scenario has the original sizes: what was run instead stands below it.
#[test]
fn a_scaled_run_says_what_it_was() {
    let mut record = testing::plain();
    record.scenario.connections.count = 20;
    record.scaled = vec!["20 connections instead of 1,000".into(), "20 challenge rooms instead of 1,000".into()];
    let text = written(|out| print(&record, out));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("desk, 20 connections · "), "{text}");
    assert_eq!(lines[2], "SCALED by flags: 20 connections instead of 1,000; 20 challenge rooms instead of 1,000.");
}

#[test]
fn what_holds_of_a_part_passes_nothing() {
    let text = written(|out| print(&testing::interrupted(), out));
    assert!(text.lines().next().is_some_and(|title| title.ends_with(" · interrupted after 12.3 of 30 s")), "{text}");
    let verdicts: Vec<&str> = text.lines().rev().take(3).collect();
    assert_eq!(
        verdicts,
        [
            "FAIL    update.p99<1ms  measured 63.9 ms",
            "so far  alert.p99<5ms   measured 1.94 ms",
            "FAIL    the whole run   measured interrupted after 12.3 of 30 s",
        ]
    );
}

#[test]
fn a_lane_in_which_nothing_came_has_dashes() {
    let mut record = testing::plain();
    for flow in &mut record.windows[0].flows {
        (flow.received, flow.latency, flow.service) = (0, String::new(), String::new());
    }
    let text = written(|out| print(&record, out));
    let row = text.lines().find(|line| line.starts_with("alert  ")).expect("a row for the lane");
    assert_eq!(row.matches('–').count(), QUANTILES.len() + 2, "{text}");
}

#[test]
fn only_a_loaded_generator_is_doubted() {
    let mut record = testing::plain();
    let doubts_of = |record: &Record| doubts(record, &Figures::of(&record.windows[0]).expect("well formed"));
    assert!(doubts_of(&record).is_empty());
    record.generator.busiest_worker = 0.91;
    assert_eq!(doubts_of(&record).len(), 1);
    record.windows[0].slip_ns = testing::spread(1e6, 1.9e6, 1000);
    assert_eq!(doubts_of(&record).len(), 2);
}

#[test]
fn ninety_nine_point_nine_nine_nine_is_not_a_hundred() {
    let mut record = testing::plain();
    (record.connect.wanted, record.connect.joined) = (1_000_000, 999_999);
    let text = written(|out| print(&record, out));
    assert!(text.contains("999,999 of 1,000,000 joined (99.99 %)"), "{text}");
}
