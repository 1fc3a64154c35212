use super::*;
use crate::report::testing::{self, written};

/// A run at half the rate by a later version, with other rooms.
fn other() -> Record {
    let mut record = testing::troubled();
    record.version = "0.2.0".into();
    record.scenario.flows[0].rate = 50.0;
    record.scenario.rooms.pop();
    record.windows[0].flows.pop();
    record.windows[0].flows[0].latency = testing::spread(50e3, 1e6, 3_000);
    record
}

#[test]
fn two_runs_read_as_printed_here() {
    let text = written(|out| print(&testing::plain(), &other(), out));
    assert_eq!(text, include_str!("plain.txt"), "\n{text}");
}

#[test]
fn ramps_are_compared_by_the_highest_rate_that_held() {
    let mut other = testing::ramp();
    other.windows[1].held = Some(true);
    let text = written(|out| print(&testing::ramp(), &other, out));
    assert_eq!(text, include_str!("ramp.txt"), "\n{text}");
    other.windows.iter_mut().for_each(|window| window.held = Some(false));
    let text = written(|out| print(&testing::ramp(), &other, out));
    let row = text.lines().find(|line| line.starts_with("  published/s")).expect("a row");
    assert!(row.split_whitespace().eq(["published/s", "6,308", "–", "–"]), "no rate held: {row}");
}

#[test]
fn a_run_beside_itself_has_ratios_of_one() {
    let text = written(|out| print(&testing::plain(), &testing::plain(), out));
    assert!(text.contains("\nThe same scenario, on the same kind of machine, by the same version.\n"), "{text}");
    let ratios = text.lines().skip_while(|line| !line.contains("B/A")).skip(1).filter(|line| line.starts_with("  "));
    let ratios: Vec<&str> = ratios.filter_map(|line| line.split_whitespace().last()).collect();
    assert!(ratios.len() > 20 && ratios.iter().all(|ratio| ["1.00", "–"].contains(ratio)), "{text}");
}

#[test]
fn runs_without_windows_are_compared_as_far_as_they_went() {
    let mut record = testing::plain();
    record.windows.clear();
    let text = written(|out| print(&record, &testing::plain(), out));
    assert!(text.contains("alert challenge, latency") && text.contains("  joined "), "{text}");
}

#[test]
fn another_warm_up_is_told_and_harmless() {
    let mut other = testing::plain();
    other.scenario.warmup_s = 1.0;
    let text = written(|out| print(&testing::plain(), &other, out));
    assert!(text.contains("  scenario warmup_s: 5.0 → 1.0\n") && !text.contains("NOT COMPARABLE"), "{text}");
    other.scenario.duration_s = 1.0;
    assert!(written(|out| print(&testing::plain(), &other, out)).contains("NOT COMPARABLE"));
}

#[test]
fn a_run_that_is_not_whole_is_marked() {
    let text = written(|out| print(&testing::plain(), &testing::interrupted(), out));
    assert!(
        text.contains("B  desk, 1,000 connections · 2024-12-31 23:59:59 UTC · tickerd loadtest 0.1.0 · interrupted after 12.3 of 30 s\n"),
        "{text}"
    );
    assert!(text.contains("\nWARNING, run B is not whole: interrupted after 12.3 of 30 s."), "{text}");
}

/// Each run has its name, a run of another kind among those of its side is told, and a warning says whose it is.
#[test]
fn pairs_that_were_made_in_turns_are_compared_by_pairs() {
    let mut slower = testing::plain();
    slower.windows[0].flows[0].latency = testing::spread(200e3, 4e6, 3_000);
    let pairs = [(testing::plain(), slower.clone()), (testing::plain(), testing::plain()), (testing::plain(), slower)];
    let text = written(|out| print_pairs(&pairs, out));
    assert!(text.contains("A1  desk, ") && text.contains("B3  desk, ") && text.contains("within the 3 pairs"), "{text}");
    let row = text
        .lines()
        .skip_while(|line| !line.starts_with("alert challenge, latency"))
        .find(|line| line.starts_with("  p50"))
        .expect("a row");
    assert!(row.split_whitespace().rev().take(3).eq(["2.00", "2.00", "1.00"]), "{row}");
    assert!(!text.contains("NOT COMPARABLE") && !text.contains("WARNING"), "{text}");
    let odd = [(testing::plain(), testing::plain()), (testing::interrupted(), other())];
    let text = written(|out| print_pairs(&odd, out));
    assert!(text.contains("NOT COMPARABLE: B2 is not what B1 is;") && text.contains("WARNING, run A2 is not whole"), "{text}");
}

#[test]
fn a_spoilt_record_is_named() {
    let mut record = testing::plain();
    record.windows[0].flows[0].latency = "AAAA".into();
    let error = print(&testing::plain(), &record, &mut Vec::new()).expect_err("spoilt");
    assert!(error.to_string().starts_with("run B: flow 0: latency: a histogram"), "{error}");
}

#[test]
fn differences_have_their_paths() {
    let (a, b) = (serde_json::json!({"x": [1, {"class": "c"}], "y": 1}), serde_json::json!({"x": [2], "y": 1, "z": "t"}));
    assert_eq!(differing(&a, &b).expect("plain values"), ["x.1: 1 → 2", "x.2: c → none", "z: none → t"]);
}
