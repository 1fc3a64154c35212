use super::*;
use crate::report::testing;

fn live(is_terminal: bool, width: u16) -> Live<Vec<u8>> {
    Live::new(Vec::new(), is_terminal, width, false)
}

fn text(live: Live<Vec<u8>>) -> String {
    String::from_utf8(live.into_inner()).expect("text")
}

fn moment(lanes: &[Lane]) -> Moment {
    let mut moment = testing::plain().seconds.remove(0);
    moment.latency = lanes.iter().map(|lane| (*lane, testing::spread(412e3, 12.3e6, 10_000))).collect();
    moment
}

#[test]
fn a_second_reads_as_printed_here() {
    let mut live = live(true, 140);
    live.second(&moment(&[Lane::Alert, Lane::Update, Lane::Metric])).expect("a Vec takes all");
    let mut next = moment(&[Lane::Alert]);
    (next.phase, next.joined, next.bytes, next.published) = (crate::record::Phase::Measured, 9_998, 1_234_567_890, 12_345_678);
    live.second(&next).expect("a Vec takes all");
    let text = text(live);
    let wanted = concat!(
        " times in ms                              ─ alert ───────────  ─ update ──────────  ─ metric ──────────\n",
        "phase time   conns  publ/s  recv/s  MB/s   p50  p99 99.9  max   p50  p99 99.9  max   p50  p99 99.9  max faults slip rss MiB  cpu\n",
        " warm    1   1,000   2,102   4,567   2.3  2.25 11.9 12.3 12.3  2.25 11.9 12.3 12.3  2.25 11.9 12.3 12.3      0 0.06    22.9   5%\n",
        " meas    1   9,998   12.3M   4,567 1,235  2.25 11.9 12.3 12.3     –    –    –    –     –    –    –    –      0 0.06    22.9   5%\n",
    );
    assert_eq!(text, wanted, "a lost connection is seen, and a lane in which nothing came has dashes\n{text}");
}

#[test]
fn lines_fit_the_terminal_and_keep_what_matters() {
    let all = [Lane::Alert, Lane::Update, Lane::Metric];
    for width in [60, 80, 100, 120, 200] {
        for lanes in 0..=3 {
            let mut live = live(true, width);
            let mut moment = moment(&all[..lanes]);
            (moment.joined, moment.received, moment.faults) = (100_000, 10_500_000, 123_456);
            live.second(&moment).expect("a Vec takes all");
            let text = text(live);
            let longest = text.lines().map(columns_of).max().expect("lines");
            assert!(longest <= usize::from(width), "{longest} columns of {width} with {lanes} lanes\n{text}");
            assert!(text.contains("recv/s") && text.contains("faults") && text.matches("p99").count() == lanes, "\n{text}");
            let [.., header, line] = text.lines().collect::<Vec<_>>()[..] else { panic!("a header and a line: {text}") };
            assert_eq!(columns_of(header), columns_of(line), "columns stand below their names\n{text}");
        }
    }
}

#[test]
fn the_header_comes_again() {
    let mut live = live(true, 120);
    for _ in 0..=HEADER_EVERY {
        live.second(&moment(&[Lane::Alert])).expect("a Vec takes all");
    }
    assert_eq!(text(live).matches("publ/s").count(), 2);
}

#[test]
fn a_terminal_has_one_bar_and_the_line_after_it_is_its_own() {
    let mut live = live(true, 80);
    live.connecting(500, 1000, 480.0, 2).expect("a Vec takes all");
    live.note("hello").expect("a Vec takes all");
    let text = text(live);
    let bar = text.strip_prefix("\r\x1b[K").expect("redrawn in place").lines().next().expect("a line");
    assert_eq!(bar.matches('█').count(), bar.matches('░').count(), "{bar}");
    assert!(bar.starts_with("connecting 500 of 1,000, 480/s, 2 failed █") && columns_of(bar) < 80, "{bar}");
    assert!(text.ends_with("\nhello\n"), "{text:?}");
}

#[test]
fn elsewhere_progress_is_a_line_a_second_and_one_when_done() {
    let mut live = live(false, 120);
    for joined in 0..1000 {
        live.connecting(joined, 1000, 500.0, 0).expect("a Vec takes all");
    }
    live.connecting(990, 1000, 500.0, 10).expect("a Vec takes all");
    let text = text(live);
    assert!(text.starts_with("connecting 0 of 1,000, 500/s, 0 failed\n"), "{text}");
    assert!(text.ends_with("connecting 990 of 1,000, 500/s, 10 failed\n"), "{text}");
    assert!(text.lines().count() < 1000 && !text.contains('\r'), "{text}");
}

#[test]
fn a_step_says_whether_it_held() {
    let mut live = live(false, 120);
    for window in &testing::ramp().windows[..2] {
        live.step(window).expect("a Vec takes all");
    }
    let text = text(live);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "step ×1.00: 2,103 published/s, 4,567 received/s, alert p99 1.94 ms, update p99 71.9 ms: held");
    assert!(lines[1].starts_with("step ×4.00: ") && lines[1].ends_with(": failed: update.p99 81.2 ms, bound 50ms"), "{text}");
}

#[test]
fn quiet_is_quiet() {
    let mut live = Live::new(Vec::new(), true, 120, true);
    live.connecting(1, 2, 1.0, 0).expect("a Vec takes all");
    live.second(&moment(&[Lane::Alert])).expect("a Vec takes all");
    live.note("hello").expect("a Vec takes all");
    live.step(&testing::ramp().windows[0]).expect("a Vec takes all");
    assert_eq!(text(live), "");
}

#[test]
fn times_take_four_columns_and_one_unit() {
    let texts =
        [0, 999, 61_000, 1_240_000, 9_996_000, 12_345_678, 99_960_000, 999_600_000, 9_999_400_000, 60_000_000_000].map(milliseconds);
    assert_eq!(texts, ["0.00", "0.00", "0.06", "1.24", "10.0", "12.3", "100", "1000", "9999", "60s"]);
}
