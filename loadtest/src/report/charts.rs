//! The percentile plot: latency by percentile, both on logarithmic scales, so that the tail, which is what matters, takes the room.

use super::figures::{self, Figures, lane_name, quantile};
use super::svg::{Anchor, Svg};
use super::text::{self, rate, wrapped};
use crate::hist::{Hist, time_text};
use crate::record::Record;
use crate::scenario::Lane;

mod bound;
mod scale;

use bound::{Bound, Label};
use scale::{Scale, spread_apart, time_ticks};

/// The drawing's size.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;

/// Margins around the plot; the one above depends on the lines of the subtitle.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 136.0;
const BELOW: f64 = 62.0;

/// Characters that fit in a line of the subtitle, by the widest of the usual fonts.
const SUBTITLE_COLUMNS: usize = 118;

/// Lines of the subtitle; more would leave no room for the plot.
const SUBTITLE_LINES_MAX: usize = 6;

/// The furthest percentile, as decades from 100 %: 99.9999 %.
const DECADES_MAX: f64 = 6.0;

/// Steps of a line for each decade.
const STEPS: u32 = 50;

/// Height of a line's two-line label.
const LABEL_HEIGHT: f64 = 34.0;

/// What is drawn.
pub struct Chart {
    title: String,
    subtitle: Vec<String>,
    lines: Vec<Line>,
    bounds: Vec<Bound>,
}

/// One distribution.
struct Line {
    name: String,
    lane: Lane,
    /// The other run of a comparison.
    is_dashed: bool,
    hist: Hist,
}

/// The plot of one run: a line for each lane in which something came.
pub fn percentiles(record: &Record) -> Result<String, String> {
    let chart = Chart {
        title: format!("Latency by percentile: {}", record.scenario.name),
        subtitle: [
            wrapped(&text::about(&record.scenario.about, &record.scaled).replace('\n', " "), SUBTITLE_COLUMNS),
            setting(record, "")?,
        ]
        .map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .concat(),
        lines: lines_of(record, "", false)?,
        bounds: bounds_of(record),
    };
    Ok(chart.draw())
}

/// The plot of two runs: the first with solid lines, the second with dashed ones.
pub fn overlay(a: &Record, b: &Record) -> Result<String, String> {
    let title =
        if a.scenario.name == b.scenario.name { a.scenario.name.clone() } else { format!("{} and {}", a.scenario.name, b.scenario.name) };
    let mut lines = lines_of(a, "A ", false)?;
    lines.extend(lines_of(b, "B ", true)?);
    let subtitle = [setting(a, "A (solid): ")?, setting(b, "B (dashed): ")?].join("\n").lines().map(str::to_owned).collect();
    Ok(Chart { title: format!("Latency by percentile: {title}"), subtitle, lines, bounds: bounds_of(a) }.draw())
}

fn lines_of(record: &Record, prefix: &str, is_dashed: bool) -> Result<Vec<Line>, String> {
    let Some(window) = figures::chosen(record) else { return Ok(Vec::new()) };
    let lanes = Figures::of(window)?.lanes.into_iter().filter(|series| !series.latency.is_empty());
    Ok(lanes
        .map(|series| Line { name: format!("{prefix}{}", lane_name(series.lane)), lane: series.lane, is_dashed, hist: series.latency })
        .collect())
}

/// What a verdict or a ramp's step asked of a lane's latency.
fn bounds_of(record: &Record) -> Vec<Bound> {
    let asked = record.verdicts.iter().map(|verdict| &verdict.slo);
    let ramp = record.scenario.ramp.iter().flat_map(|ramp| &ramp.bound);
    asked.chain(ramp).filter_map(|text| Bound::parse(text)).collect()
}

/// How many, how fast, how long and where, in two lines.
fn setting(record: &Record, prefix: &str) -> Result<String, String> {
    let mut parts = vec![text::plural(u64::from(record.connect.joined), "connection")];
    if let Some(window) = figures::chosen(record) {
        let figures = Figures::of(window)?;
        parts.push(format!("{} published/s", rate(figures.published_per_s)));
        parts.push(format!("{} deliveries/s", rate(figures.received_per_s)));
        parts.push(text::seconds(window.seconds));
    }
    if let Some(cut) = &record.cut {
        parts.push(text::line(&cut.text()));
    }
    let host = format!("{} · {}", text::machine(&record.machine), text::utc(record.began_unix_s));
    let parts = wrapped(&format!("{prefix}{}", parts.join(" · ")), SUBTITLE_COLUMNS);
    Ok(format!("{parts}\n{}", wrapped(&host, SUBTITLE_COLUMNS)))
}

impl Chart {
    fn draw(&self) -> String {
        let mut svg = Svg::default();
        let range = self.range();
        let top = self.heading(&mut svg, range);
        let x = Scale::new((0.0, self.decades()), (LEFT, WIDTH - RIGHT));
        let y = Scale::new(range, (HEIGHT - BELOW, top));
        axes(&mut svg, &x, &y);
        let curves: Vec<Vec<(f64, f64)>> = self.lines.iter().map(|line| points(&line.hist, &x, &y)).collect();
        self.draw_bounds(&mut svg, &x, &y);
        self.draw_lines(&mut svg, &x, &y, &curves);
        self.name_bounds(&mut svg, &x, &y, &curves);
        svg.finish((WIDTH, HEIGHT), &self.title, &self.about(), STYLE)
    }

    /// Title and subtitle; returns where the plot begins.
    fn heading(&self, svg: &mut Svg, range: (f64, f64)) -> f64 {
        let mut y = 34.0;
        svg.text("title", (24.0, y), Anchor::Start, &self.title);
        y += 8.0;
        for line in self.subtitle.iter().take(SUBTITLE_LINES_MAX) {
            y += 17.0;
            svg.text("soft", (24.0, y), Anchor::Start, line);
        }
        y += 26.0;
        svg.text("soft", (24.0, y), Anchor::Start, "latency, from the moment at which an event was due (logarithmic)");
        for line in self.beyond(range) {
            y += 17.0;
            svg.text("soft", (24.0, y), Anchor::Start, &line);
        }
        y + 14.0
    }

    /// What was asked and is too far away to be drawn, in lines.
    fn beyond(&self, (low, high): (f64, f64)) -> Vec<String> {
        const LINES_MAX: usize = 2;
        let named = |what: &str, is_there: &dyn Fn(f64) -> bool| {
            let bounds: Vec<&str> = self.bounds.iter().filter(|bound| is_there(log(bound.ns))).map(|bound| bound.text.as_str()).collect();
            (!bounds.is_empty()).then(|| format!("{what} this plot: {}", bounds.join(", ")))
        };
        let all = [named("above", &|at| at > high), named("below", &|at| at < low)];
        let text = all.into_iter().flatten().collect::<Vec<_>>().join("; ");
        wrapped(&text, SUBTITLE_COLUMNS).lines().take(LINES_MAX).map(str::to_owned).collect()
    }

    /// How far the percentiles go: to that of the longest distribution's last but one value.
    fn decades(&self) -> f64 {
        let furthest = self.lines.iter().map(|line| decades_of(&line.hist)).fold(0.0, f64::max);
        furthest.clamp(2.0, DECADES_MAX)
    }

    /// The logarithms of the lowest and the highest latency that is drawn.
    fn range(&self) -> (f64, f64) {
        let values = || self.lines.iter().flat_map(|line| [log(line.hist.value_at_quantile(0.0)), log(line.hist.max())]);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        if low > high {
            return scale::nice_range(5.0, 7.0);
        }
        // A bound that is far away would press the lines together.
        let near = self.bounds.iter().map(|bound| log(bound.ns)).filter(|at| (low - 1.0..=high + 1.0).contains(at));
        let (low, high) = near.fold((low, high), |(low, high), at| (low.min(at), high.max(at)));
        scale::nice_range(low, high)
    }

    fn draw_bounds(&self, svg: &mut Svg, x: &Scale, y: &Scale) {
        for bound in self.shown(y) {
            let (class, at) = (lane_name(bound.lane), y.at(log(bound.ns)));
            let until = x.at(bound.decades.min(x.from.1));
            svg.line(&format!("bound {class}"), (x.to.0, at), (until, at));
            svg.line(&format!("stop {class}"), (until, at - 4.0), (until, at + 4.0));
        }
    }

    /// The bounds' names, where no curve runs through them if there is such a place.
    fn name_bounds(&self, svg: &mut Svg, x: &Scale, y: &Scale, curves: &[Vec<(f64, f64)>]) {
        let mut taken: Vec<Label> = Vec::new();
        for bound in self.shown(y) {
            let end = (x.at(bound.decades.min(x.from.1)), y.at(log(bound.ns)));
            let places = Label::places(&bound.text, end, x.to.1).filter(|label| y.to.1 <= label.top() && label.bottom() <= y.to.0);
            let places: Vec<Label> = places.filter(|label| taken.iter().all(|other| !label.meets(other))).collect();
            let is_free = |label: &&Label| curves.iter().flatten().all(|point| !label.holds(*point));
            // Where curves are everywhere, the text's outline sets it apart.
            if let Some(label) = places.iter().find(is_free).or(places.first()) {
                svg.text(&format!("label {}-text", lane_name(bound.lane)), (label.left, label.baseline), Anchor::Start, &bound.text);
                taken.push(*label);
            }
        }
    }

    fn shown<'a>(&'a self, y: &Scale) -> impl Iterator<Item = &'a Bound> {
        let (low, high) = y.from;
        self.bounds.iter().filter(move |bound| (low..=high).contains(&log(bound.ns)))
    }

    fn draw_lines(&self, svg: &mut Svg, x: &Scale, y: &Scale, curves: &[Vec<(f64, f64)>]) {
        let ends: Vec<(f64, f64)> = curves.iter().map(|points| *points.last().expect("a line has two points")).collect();
        let wanted: Vec<f64> = ends.iter().map(|end| end.1 + 1.0).collect();
        let labels = spread_apart(&wanted, LABEL_HEIGHT, (y.to.1 + 8.0, y.to.0 - 18.0));
        for ((line, end), label) in self.lines.iter().zip(&ends).zip(&labels) {
            svg.line(&format!("leader {}", lane_name(line.lane)), *end, (x.to.1 + 10.0, label - 1.0));
        }
        for (line, points) in self.lines.iter().zip(curves) {
            let dashed = if line.is_dashed { " dashed" } else { "" };
            svg.polyline(&format!("curve {}{dashed}", lane_name(line.lane)), points);
        }
        for (line, label) in self.lines.iter().zip(labels) {
            let class = lane_name(line.lane);
            svg.text(&format!("name {class}-text"), (x.to.1 + 14.0, label + 2.0), Anchor::Start, &line.name);
            let max = format!("max {}", time_text(line.hist.max() as f64));
            svg.text(&format!("label {class}-text"), (x.to.1 + 14.0, label + 17.0), Anchor::Start, &max);
        }
    }

    /// The drawing in words.
    fn about(&self) -> String {
        let lines = self.lines.iter().map(|line| {
            let at = |at| quantile(&line.hist, at).map_or("unknown".into(), |ns| time_text(ns as f64));
            format!("{}: p50 {}, p99 {}, max {}.", line.name, at(0.5), at(0.99), time_text(line.hist.max() as f64))
        });
        lines.collect::<Vec<_>>().join(" ")
    }
}

fn axes(svg: &mut Svg, x: &Scale, y: &Scale) {
    for (at, name) in time_ticks(y) {
        svg.line("grid", (x.to.0, y.at(at)), (x.to.1, y.at(at)));
        svg.text("tick", (x.to.0 - 10.0, y.at(at) + 4.0), Anchor::End, &name);
    }
    for (percent, at) in [
        ("50 %", 0.5_f64),
        ("90 %", 0.9),
        ("99 %", 0.99),
        ("99.9 %", 0.999),
        ("99.99 %", 0.9999),
        ("99.999 %", 0.99999),
        ("99.9999 %", 0.999_999),
    ] {
        let at = -(1.0 - at).log10();
        // The last tick's own decades are not exactly a whole number.
        if at <= x.from.1 + 1e-6 {
            svg.line("grid", (x.at(at), y.to.0), (x.at(at), y.to.1));
            svg.text("tick", (x.at(at), y.to.0 + 20.0), Anchor::Middle, percent);
        }
    }
    svg.line("axis", (x.to.0, y.to.0), (x.to.1, y.to.0));
    svg.text("soft", (f64::midpoint(x.to.0, x.to.1), y.to.0 + 44.0), Anchor::Middle, "percentile of events");
}

/// A distribution's line, from its lowest value to the last percentile that its number of values can tell.
fn points(hist: &Hist, x: &Scale, y: &Scale) -> Vec<(f64, f64)> {
    let decades = decades_of(hist).min(x.from.1);
    let steps = (decades * f64::from(STEPS)).ceil().max(1.0) as u32;
    let quantiles = (0..=steps).map(|step| decades * f64::from(step) / f64::from(steps));
    quantiles.map(|at| (x.at(at), y.at(log(hist.value_at_quantile(1.0 - 10_f64.powf(-at)))))).collect()
}

/// Decades from 100 % that a number of values can tell: 2 for a hundred.
fn decades_of(hist: &Hist) -> f64 {
    (hist.len() as f64).log10().max(0.1)
}

/// The logarithm of a latency; nothing is quicker than a nanosecond.
fn log(ns: u64) -> f64 {
    (ns.max(1) as f64).log10()
}

/// Light and dark. Lane colours are those of Okabe and Ito (told apart by colour-blind readers), lightened on dark ground.
/// Written out instead of with variables, which not every viewer of files knows.
const STYLE: &str = include_str!("charts/style.css");

#[cfg(test)]
mod tests;
