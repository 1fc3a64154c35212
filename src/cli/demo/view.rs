//! What the demo shows: pure text from a [`Picture`], and the little terminal control that redraws it in place.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use crate::base::lane::{Lane, PerLane};

/// Widths between which the picture is drawn.
const WIDTH_MIN: usize = 80;
const WIDTH_MAX: usize = 120;
/// Lines of the picture beside the alerts.
const FIXED_LINES: usize = 14;
/// The columns of a lane's row before its newest message.
const LANE_COLUMNS: usize = 66;
/// The columns of an alert's row behind its text.
const ALERT_COLUMNS: usize = 34;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// Everything that is shown at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    /// Since the desk began to publish.
    pub elapsed: Duration,
    /// When it ends, if not by Ctrl-C.
    pub seconds: Option<u64>,
    /// Events published in the last second.
    pub published_per_s: PerLane<u64>,
    /// Publishes that the daemon refused, and why the last one was.
    pub refused: Option<(u64, String)>,
    /// The fast client and the slow one.
    pub lines: [LinePicture; 2],
    /// Alerts, the newest last.
    pub alerts: Vec<AlertPicture>,
}

/// What one client sees.
#[derive(Clone, Debug, Default)]
pub(super) struct LinePicture {
    /// Who it is.
    pub name: String,
    /// By lane.
    pub lanes: PerLane<LanePicture>,
    /// Metric frames that wait in the daemon for this client.
    pub waiting: u64,
    /// Why the line is down, if it is.
    pub down: Option<String>,
}

/// One lane of one client. Latencies are absent until there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct LanePicture {
    /// Events received in the last second.
    pub received_per_s: u64,
    /// Events received.
    pub frames: u64,
    /// Half of all were faster, in microseconds.
    pub p50_us: Option<u64>,
    /// All but one in a hundred were faster.
    pub p99_us: Option<u64>,
    /// All but one in a thousand were faster.
    pub p999_us: Option<u64>,
    /// The slowest.
    pub max_us: Option<u64>,
    /// The newest message in short.
    pub latest: String,
}

/// One alert with its fate on both lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AlertPicture {
    /// What it says.
    pub text: String,
    /// Latency on each line, once it is there.
    pub latency_us: [Option<u64>; 2],
    /// Metric frames that it overtook on the slow line, once it is there.
    pub overtook: Option<u64>,
}

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    /// Columns of the terminal.
    pub width: usize,
    /// Its lines.
    pub height: usize,
    /// Whether to colour.
    pub color: bool,
}

/// The live block, at most as high as the canvas.
pub(super) fn block(picture: &Picture, canvas: Canvas) -> String {
    let width = canvas.width.clamp(WIDTH_MIN, WIDTH_MAX).min(canvas.width.max(1));
    let mut pen = Pen { text: String::new(), width, color: canvas.color };
    pen.line(BOLD, &title(picture));
    for line in &picture.lines {
        pen.line("", "");
        lanes(&mut pen, line, &picture.published_per_s);
    }
    pen.line("", "");
    let rows = canvas.height.saturating_sub(FIXED_LINES + 1).max(1);
    alerts(&mut pen, &picture.alerts, rows);
    pen.text
}

/// One line of text for each second, for a log or a pipe.
pub(super) fn second(picture: &Picture) -> String {
    let [fast, slow] = &picture.lines;
    let mut text = format!("{:>4} s ", picture.elapsed.as_secs());
    for lane in Lane::ALL {
        let (published, received) = (picture.published_per_s[lane.index()], &fast.lanes[lane.index()]);
        let rates = format!("{}/s > {}/s", grouped(published), grouped(received.received_per_s));
        append(&mut text, format_args!(" {lane} {rates} p50 {} |", latency(received.p50_us)));
    }
    let [alert, _, metric] = &slow.lanes;
    append(&mut text, format_args!(" slow line: alert p50 {}, metric p50 {}", latency(alert.p50_us), latency(metric.p50_us)));
    for line in &picture.lines {
        if let Some(why) = &line.down {
            append(&mut text, format_args!(" | {} is down: {why}", line.name));
        }
    }
    if let Some((count, why)) = &picture.refused {
        append(&mut text, format_args!(" | {} publishes refused: {why}", grouped(*count)));
    }
    text
}

/// One line of text for an alert.
pub(super) fn alert(alert: &AlertPicture) -> String {
    let mut text = format!("ALERT {}   {}", alert.text, latency(alert.latency_us[0]));
    if let Some(overtook) = alert.overtook {
        let slow = latency(alert.latency_us[1]);
        append(&mut text, format_args!("   overtook {} metric frames on the slow line ({slow})", grouped(overtook)));
    }
    text
}

/// The table at the end: both lines, all lanes. `overtaken`: metric frames that alerts overtook on each line, in all.
pub(super) fn summary(picture: &Picture, overtaken: [u64; 2]) -> String {
    let mut text = format!("\nIn {} s:\n", picture.elapsed.as_secs());
    append(
        &mut text,
        format_args!("  {:<6}{:<8}{:>11}{:>9}{:>9}{:>9}{:>9}{:>12}\n", "line", "lane", "frames", "p50", "p99", "p99.9", "max", "overtaken"),
    );
    for (line, overtaken) in picture.lines.iter().zip(overtaken) {
        for (lane, row) in Lane::ALL.iter().zip(&line.lanes) {
            let overtaken = if *lane == Lane::Metric { grouped(overtaken) } else { String::new() };
            let latencies = [row.p50_us, row.p99_us, row.p999_us, row.max_us].map(latency);
            let name = line.name.split(' ').next().unwrap_or_default().to_lowercase();
            append(&mut text, format_args!("  {name:<6}{:<8}{:>11}", lane.name(), grouped(row.frames)));
            for latency in latencies {
                append(&mut text, format_args!("{latency:>9}"));
            }
            append(&mut text, format_args!("{overtaken:>12}\n"));
        }
    }
    text.push_str("  overtaken: metric frames queued before an alert that arrived after it, in all.\n");
    text.push_str("  On the slow line an alert waits only for what the kernel's buffers hold.\n");
    text
}

fn title(picture: &Picture) -> String {
    let elapsed = picture.elapsed.as_secs();
    let until = picture.seconds.map_or(String::new(), |seconds| format!(" of {seconds} s"));
    let rates = picture.published_per_s.map(grouped);
    let refused = picture.refused.as_ref().map_or(String::new(), |(count, why)| format!("   {} refused: {why}", grouped(*count)));
    format!("{elapsed} s{until}; Ctrl-C ends it   published/s: alert {}, update {}, metric {}{refused}", rates[0], rates[1], rates[2])
}

fn lanes(pen: &mut Pen, line: &LinePicture, published: &PerLane<u64>) {
    let lost = line.down.as_ref().map_or(String::new(), |why| format!("   DOWN: {why}"));
    pen.line(BOLD, &format!("{}{lost}", line.name));
    pen.line(DIM, &format!("{:<8}{:>11}{:>10}{:>9}{:>9}{:>9}{:>8}  latest", "", "received/s", "conflated", "p50", "p99", "max", "waiting"));
    for (lane, row) in Lane::ALL.iter().zip(&line.lanes) {
        let [p50, p99, max] = [row.p50_us, row.p99_us, row.max_us].map(latency);
        let (mut conflated, mut waiting) = (String::new(), String::new());
        if *lane == Lane::Metric {
            conflated = share_missing(row.received_per_s, published[lane.index()]);
            waiting = grouped(line.waiting);
        }
        let received = grouped(row.received_per_s);
        let numbers = format!("  {:<6}{received:>11}{conflated:>10}{p50:>9}{p99:>9}{max:>9}{waiting:>8}  ", lane.name());
        let latest = fit(&row.latest, pen.width.saturating_sub(LANE_COLUMNS));
        pen.line(color(*lane), &format!("{numbers}{latest}"));
    }
}

fn alerts(pen: &mut Pen, alerts: &[AlertPicture], rows: usize) {
    let text_width = pen.width.saturating_sub(ALERT_COLUMNS);
    pen.line(BOLD, &format!("{:<text_width$}{:>10}{:>10}{:>14}", "ALERTS", "fast line", "slow line", "overtook"));
    for alert in &alerts[alerts.len().saturating_sub(rows)..] {
        let overtook = alert.overtook.map_or(String::new(), |count| format!("{} metrics", grouped(count)));
        let [fast, slow] = alert.latency_us.map(|us| us.map_or(String::new(), |us| latency(Some(us))));
        let text = fit(&alert.text, text_width);
        pen.line(color(Lane::Alert), &format!("{text:<text_width$}{fast:>10}{slow:>10}{overtook:>14}"));
    }
    if alerts.is_empty() {
        pen.line(DIM, "none yet: one comes within seconds");
    }
}

const fn color(lane: Lane) -> &'static str {
    match lane {
        Lane::Alert => "\x1b[1;31m",
        Lane::Update => "\x1b[33m",
        Lane::Metric => "\x1b[36m",
    }
}

struct Pen {
    text: String,
    width: usize,
    color: bool,
}

impl Pen {
    fn line(&mut self, style: &str, text: &str) {
        let text = fit(text, self.width);
        if self.color && !style.is_empty() {
            append(&mut self.text, format_args!("{style}{}{RESET}\n", text.trim_end()));
        } else {
            append(&mut self.text, format_args!("{}\n", text.trim_end()));
        }
    }
}

/// Cuts to a width, by characters.
fn fit(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// `0.31 ms`, `352 ms`, `11.2 s`; `-` if there is none.
pub(super) fn latency(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us @ 0..10_000) => format!("{:.2} ms", us as f64 / 1e3),
        Some(us @ 10_000..1_000_000) => format!("{} ms", us / 1000),
        Some(us) => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn share_missing(received: u64, published: u64) -> String {
    let percent = (published.saturating_sub(received) * 100).checked_div(published);
    percent.map_or(String::new(), |percent| format!("{percent} %"))
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("writing to a String does not fail");
}

/// Draws a block over the one that was drawn before.
#[derive(Debug, Default)]
pub(super) struct Painter {
    lines: usize,
}

impl Painter {
    /// Draws in place, the cursor being below the last block.
    pub(super) fn paint(&mut self, out: &mut impl Write, block: &str) -> io::Result<()> {
        let mut text = String::from("\x1b[?25l");
        if self.lines > 0 {
            append(&mut text, format_args!("\x1b[{}A", self.lines));
        }
        block.lines().for_each(|line| append(&mut text, format_args!("\x1b[2K{line}\n")));
        text.push_str("\x1b[J");
        self.lines = block.lines().count();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Gives the terminal back.
    pub(super) fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.lines = 0;
        out.write_all(b"\x1b[?25h")?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(alerts: usize) -> Picture {
        let lane = LanePicture {
            received_per_s: 6_400,
            frames: 1_234_567,
            p50_us: Some(310),
            p99_us: Some(352_000),
            p999_us: Some(900_000),
            max_us: Some(11_240_000),
            latest: "metrics.update account:c07 exposure.03 10000.00 and much more than fits the width".to_owned(),
        };
        let line = |name: &str| LinePicture { name: name.to_owned(), lanes: Lane::ALL.map(|_| lane.clone()), waiting: 3_180, down: None };
        let alert = AlertPicture {
            text: "RISK_ALERT challenge:c07  daily drawdown 4.12 of 5.00 %".to_owned(),
            latency_us: [Some(400), Some(410_000)],
            overtook: Some(3214),
        };
        Picture {
            elapsed: Duration::from_secs(12),
            seconds: Some(60),
            published_per_s: [1, 24, 20_000],
            refused: None,
            lines: [line("FAST LINE"), line("SLOW LINE, read at 64 KiB/s")],
            alerts: vec![alert; alerts],
        }
    }

    #[test]
    fn the_block_fits_the_terminal() {
        for (width, height) in [(80, 24), (100, 30), (120, 50), (300, 16)] {
            let text = block(&picture(99), Canvas { width, height, color: false });
            assert!(text.lines().all(|line| line.chars().count() <= width.min(120)), "{text}");
            assert!(text.lines().count() <= height, "{height}: {text}");
            assert!(!text.contains('\x1b'));
        }
    }

    #[test]
    fn the_block_says_it_at_a_glance() {
        let text = block(&picture(1), Canvas { width: 100, height: 30, color: false });
        let row = text.lines().last().unwrap();
        assert!(row.contains("RISK_ALERT challenge:c07  daily drawdown 4.12 of 5.00 %"), "{row}");
        assert!(row.ends_with("0.40 ms    410 ms 3,214 metrics"), "{row}");
        assert!(text.contains("metric      6,400      68 %  0.31 ms   352 ms   11.2 s   3,180  metrics.update"), "{text}");
        assert!(block(&picture(0), Canvas { width: 80, height: 24, color: false }).contains("none yet"));
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let text = block(&picture(1), Canvas { width: 80, height: 24, color: true });
        assert!(text.contains("\x1b[1;31m") && text.matches(RESET).count() > 8);
        for line in text.lines().filter(|line| line.contains('\x1b')) {
            assert!(line.ends_with(RESET), "a colour must not run on: {line:?}");
        }
    }

    #[test]
    fn plain_lines_tell_the_same() {
        let mut picture = picture(1);
        assert!(second(&picture).contains("metric 20,000/s > 6,400/s p50 0.31 ms"), "{}", second(&picture));
        picture.lines[1].down = Some("4103 slow_consumer".to_owned());
        picture.refused = Some((1, "queue_full".to_owned()));
        assert!(second(&picture).ends_with("is down: 4103 slow_consumer | 1 publishes refused: queue_full"));
        let text = alert(&picture.alerts[0]);
        assert_eq!(
            text,
            "ALERT RISK_ALERT challenge:c07  daily drawdown 4.12 of 5.00 %   0.40 ms   overtook 3,214 metric frames on the slow line (410 ms)"
        );
    }

    #[test]
    fn the_summary_has_a_row_for_each_line_and_lane() {
        let text = summary(&picture(0), [0, 12_345]);
        assert_eq!(text.lines().filter(|line| line.contains("1,234,567")).count(), 6);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.lines().any(|line| line.starts_with("  slow  metric") && line.ends_with("12,345")), "{text}");
    }

    #[test]
    fn numbers_read_easily() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [None, Some(9), Some(9_999), Some(10_000), Some(999_999), Some(1_000_000)].map(latency),
            ["-", "0.01 ms", "10.00 ms", "10 ms", "999 ms", "1.0 s"]
        );
    }

    #[test]
    fn a_block_is_drawn_over_the_last_one() {
        let (mut painter, mut out) = (Painter::default(), Vec::new());
        painter.paint(&mut out, "a\nb\n").unwrap();
        painter.paint(&mut out, "c\n").unwrap();
        painter.end(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("\x1b[2A").count(), 1);
        assert!(text.ends_with("c\n\x1b[J\x1b[?25h"));
    }
}
