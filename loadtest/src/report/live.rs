//! What is seen while a run goes on: the connections' bar, one line a second, a ramp's steps.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::figures::{self, Figures, lane_name};
use super::grid::columns_of;
use super::text::{grouped, rate};
use crate::hist::{self, three_digits, time_text};
use crate::record::{Moment, Window};
use crate::scenario::Lane;

mod columns;

use columns::Columns;

/// Lines between two headers.
const HEADER_EVERY: u32 = 20;

/// Between two lines of a bar that cannot be redrawn.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// Writes as things happen; quiet ones write nothing.
pub struct Live<W> {
    out: W,
    is_terminal: bool,
    width: usize,
    is_quiet: bool,
    /// The bar stands on the line where the cursor is.
    has_bar: bool,
    plain_last: Option<Instant>,
    columns: Option<Columns>,
    lines_since_header: u32,
}

impl<W: Write> Live<W> {
    /// `width`: the terminal's columns; 120 is a good choice where there is none.
    pub fn new(out: W, is_terminal: bool, width: u16, is_quiet: bool) -> Live<W> {
        let width = usize::from(width.clamp(40, 400));
        Live { out, is_terminal, width, is_quiet, has_bar: false, plain_last: None, columns: None, lines_since_header: 0 }
    }

    /// The connections so far. Call it as often as there is news: one bar is redrawn on a terminal, elsewhere there is a line a second.
    pub fn connecting(&mut self, joined: u32, wanted: u32, rate_per_s: f64, failed: u32) -> io::Result<()> {
        if self.is_quiet {
            return Ok(());
        }
        let is_done = joined.saturating_add(failed) >= wanted;
        if self.is_terminal {
            let bar = bar(joined, wanted, rate_per_s, failed, self.width - 1);
            write!(self.out, "\r\x1b[K{bar}")?;
            self.has_bar = true;
            if is_done {
                self.end_bar()?;
            }
        } else if is_done || self.plain_last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.plain_last = Some(Instant::now());
            writeln!(self.out, "{}", progress(joined, wanted, rate_per_s, failed))?;
        }
        self.out.flush()
    }

    /// One second of the run.
    pub fn second(&mut self, moment: &Moment) -> io::Result<()> {
        if self.is_quiet {
            return Ok(());
        }
        self.end_bar()?;
        if self.columns.is_none() || self.lines_since_header >= HEADER_EVERY {
            let columns = Columns::new(moment, self.width);
            write!(self.out, "{}", columns.header())?;
            self.columns = Some(columns);
            self.lines_since_header = 0;
        }
        if let Some(columns) = &self.columns {
            writeln!(self.out, "{}", columns.line(moment).map_err(io::Error::other)?)?;
        }
        self.lines_since_header += 1;
        self.out.flush()
    }

    /// A line of its own.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        if self.is_quiet {
            return Ok(());
        }
        self.end_bar()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// A step of a ramp, when it has ended.
    pub fn step(&mut self, window: &Window) -> io::Result<()> {
        let text = step_text(window).map_err(io::Error::other)?;
        // The next second belongs to another rate: it gets its own header.
        self.columns = None;
        self.note(&text)
    }

    /// What it writes to.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn end_bar(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.has_bar) { writeln!(self.out) } else { Ok(()) }
    }
}

fn progress(joined: u32, wanted: u32, rate_per_s: f64, failed: u32) -> String {
    let (joined, wanted, failed) = (grouped(u64::from(joined)), grouped(u64::from(wanted)), grouped(u64::from(failed)));
    format!("connecting {joined} of {wanted}, {}/s, {failed} failed", rate(rate_per_s))
}

/// The progress with as long a bar behind it as fits in `width`.
fn bar(joined: u32, wanted: u32, rate_per_s: f64, failed: u32, width: usize) -> String {
    const LONGEST: usize = 40;
    let text = progress(joined, wanted, rate_per_s, failed);
    let room = width.saturating_sub(columns_of(&text) + 1).min(LONGEST);
    if room < 10 {
        return text.chars().take(width).collect();
    }
    let full = if wanted == 0 { room } else { (room as u64 * u64::from(joined.min(wanted)) / u64::from(wanted)) as usize };
    format!("{text} {}{}", "█".repeat(full), "░".repeat(room - full))
}

fn step_text(window: &Window) -> Result<String, String> {
    let figures = Figures::of(window)?;
    let lanes = figures.lanes.iter().filter_map(|series| {
        let p99 = figures::quantile(&series.latency, 0.99)?;
        Some(format!(", {} p99 {}", lane_name(series.lane), time_text(p99 as f64)))
    });
    let (published, received) = (rate(figures.published_per_s), rate(figures.received_per_s));
    let result = match (window.held, window.because.as_str()) {
        (Some(true), _) => "held".into(),
        (Some(false), "") => "failed".into(),
        (Some(false), because) => format!("failed: {because}"),
        (None, _) => "not judged".into(),
    };
    Ok(format!(
        "step ×{}: {published} published/s, {received} received/s{}: {result}",
        three_digits(window.factor),
        lanes.collect::<String>()
    ))
}

/// Milliseconds in four columns, all of one unit so that they compare at a glance: `0.06`, `1.24`, `12.4`, `412`; from ten seconds on `12s`.
fn milliseconds(ns: u64) -> String {
    match ns as f64 / 1e6 {
        ms if ms < 9.995 => format!("{ms:.2}"),
        ms if ms < 99.95 => format!("{ms:.1}"),
        ms if ms < 9_999.5 => format!("{ms:.0}"),
        ms => format!("{:.0}s", ms / 1e3),
    }
}

/// The figures of one lane in one second, in the order of the columns.
fn lane_figures(moment: &Moment, lane: Lane) -> Result<Option<[u64; 4]>, String> {
    let hist = hist::decode(moment.latency.get(&lane).map_or("", String::as_str))?;
    let at = |quantile| hist.value_at_quantile(quantile);
    Ok((!hist.is_empty()).then(|| [at(0.5), at(0.99), at(0.999), hist.max()]))
}

#[cfg(test)]
mod tests;
