//! Two recorded runs side by side: first what differs in what was run and where, then the figures with their ratios.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::Value;

use crate::hist::{self, Hist, bytes_text, three_digits, time_text};
use crate::record::Record;
use crate::report;
use crate::report::figures::{self, Figures, Series, lane_name, per, quantile, rss_per_connection};
use crate::report::text::{grouped, rate, title, wrapped};
use crate::scenario::Lane;

mod table;

use table::Table;

/// Percentiles that are compared.
const COMPARED: [(f64, &str); 4] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// Prints the comparison. Ratios are the second run's figure over the first's.
pub fn print(a: &Record, b: &Record, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "A  {}\n   {}\nB  {}\n   {}", title(a), a.target, title(b), b.target)?;
    differences(a, b, out)?;
    writeln!(out)?;
    table_of(a, b, ["A", "B"])?.print(out)?;
    reservations(a, "A", out)?;
    reservations(b, "B", out)
}

/// Prints the comparison of runs that were made in turns, A B A B …: each pair saw the host in the same mood, so that ratios within pairs say more
/// than those of any two runs.
pub fn print_pairs(pairs: &[(Record, Record)], out: &mut impl Write) -> io::Result<()> {
    for (name, side) in sides(pairs) {
        for (at, record) in side.iter().enumerate() {
            writeln!(out, "{:4}{}", format!("{name}{}", at + 1), title(record))?;
        }
    }
    if let Some((a, b)) = pairs.first() {
        differences(a, b, out)?;
    }
    for (name, side) in sides(pairs) {
        for (at, other) in side.iter().enumerate().skip(1) {
            if !same_work(side[0], other)? {
                writeln!(out, "NOT COMPARABLE: {name}{} is not what {name}1 is; `compare` of these two says what differs.", at + 1)?;
            }
        }
    }
    let table = |(at, (a, b)): (usize, &(Record, Record))| table_of(a, b, [&format!("A{}", at + 1), &format!("B{}", at + 1)]);
    let tables = pairs.iter().enumerate().map(table).collect::<io::Result<Vec<_>>>()?;
    writeln!(out, "\nMedians of {} runs each, and the ratios within the {} pairs", pairs.len(), pairs.len())?;
    table::print_many(&tables, out)?;
    for (name, side) in sides(pairs) {
        for (at, record) in side.iter().enumerate() {
            reservations(record, &format!("{name}{}", at + 1), out)?;
        }
    }
    Ok(())
}

fn sides(pairs: &[(Record, Record)]) -> [(&'static str, Vec<&Record>); 2] {
    [("A", pairs.iter().map(|(a, _)| a).collect()), ("B", pairs.iter().map(|(_, b)| b).collect())]
}

/// All figures of two runs.
fn table_of(a: &Record, b: &Record, [name_a, name_b]: [&str; 2]) -> io::Result<Table> {
    let (figures_a, figures_b) = (figures_of(a, name_a)?, figures_of(b, name_b)?);
    let runs: [Run; 2] = [(a, figures_a.as_ref()), (b, figures_b.as_ref())];
    let mut table = Table::new();
    rates(&mut table, runs);
    losses(&mut table, runs);
    cost(&mut table, runs);
    connect(&mut table, a, b)?;
    latencies(&mut table, runs[0].1, runs[1].1);
    Ok(table)
}

/// Why a run's figures may not be what they seem.
fn reservations(record: &Record, name: &str, out: &mut impl Write) -> io::Result<()> {
    if let Some(cut) = &record.cut {
        let text = format!("WARNING, run {name} is not whole: {}. Its figures are those of a part.", cut.text());
        writeln!(out, "\n{}", wrapped(&text, 100))?;
    }
    for doubt in figures_of(record, name)?.map(|figures| report::table::doubts(record, &figures)).unwrap_or_default() {
        writeln!(out, "\n{}", wrapped(&format!("WARNING, run {name}: {doubt}"), 100))?;
    }
    Ok(())
}

fn figures_of(record: &Record, name: &str) -> io::Result<Option<Figures>> {
    let Some(window) = figures::chosen(record) else { return Ok(None) };
    Figures::of(window).map(Some).map_err(|error| io::Error::other(format!("run {name}: {error}")))
}

/// What was not the same in the two runs, or that nothing was.
fn differences(a: &Record, b: &Record, out: &mut impl Write) -> io::Result<()> {
    let scenario = differing(&a.scenario, &b.scenario)?;
    let machine = differing(&a.machine, &b.machine)?;
    if scenario.is_empty() && machine.is_empty() && a.version == b.version {
        return writeln!(out, "\nThe same scenario, on the same kind of machine, by the same version.");
    }
    writeln!(out, "\nWhat differs, A → B:")?;
    for (what, paths) in [("scenario", &scenario), ("machine", &machine)] {
        for difference in paths {
            writeln!(out, "  {what} {difference}")?;
        }
    }
    if a.version != b.version {
        writeln!(out, "  version: {} → {}", a.version, b.version)?;
    }
    if scenario.iter().any(|difference| changes_figures(difference)) {
        writeln!(out, "NOT COMPARABLE as one scenario: the two runs did different work.")?;
    }
    if machine.is_empty() { Ok(()) } else { writeln!(out, "NOT COMPARABLE as one machine: differences may be the hosts'.") }
}

/// Whether a difference of scenarios can be seen in figures: the wording, what was asked, and the time before the measurement cannot.
fn changes_figures(difference: &str) -> bool {
    !["name:", "about:", "slo", "warmup_s:"].iter().any(|start| difference.starts_with(start))
}

/// Whether two runs did the same, on the same kind of machine.
fn same_work(one: &Record, other: &Record) -> io::Result<bool> {
    let scenario = differing(&one.scenario, &other.scenario)?;
    Ok(!scenario.iter().any(|difference| changes_figures(difference)) && differing(&one.machine, &other.machine)?.is_empty())
}

/// Paths of the values that differ, with both.
fn differing<T: serde::Serialize>(a: &T, b: &T) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    walk(&serde_json::to_value(a)?, &serde_json::to_value(b)?, "", &mut found);
    Ok(found)
}

fn walk(a: &Value, b: &Value, path: &str, found: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))).collect();
            names.sort_unstable();
            for name in names {
                walk(a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), &below(name), found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for at in 0..a.len().max(b.len()) {
                walk(a.get(at).unwrap_or(&Value::Null), b.get(at).unwrap_or(&Value::Null), &below(&format!("{}", at + 1)), found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: {} → {}", shown(a), shown(b))),
    }
}

/// A value in a line: a text without quotes, a group by its name.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => ["class", "type"].iter().find_map(|name| fields.get(*name)).map_or("some".into(), shown),
        other => other.to_string(),
    }
}

/// A record and the figures of the window that stands for it.
type Run<'a> = (&'a Record, Option<&'a Figures>);

fn rates(table: &mut Table, [a, b]: [Run; 2]) {
    let is_ramp = [a.0, b.0].into_iter().any(figures::is_ramp);
    table.section(if is_ramp { "highest rate that held" } else { "rates" });
    let of = |run: Run, figure: fn(&Figures) -> f64| measured(run).map(figure);
    table.row("published/s", of(a, |figures| figures.published_per_s), of(b, |figures| figures.published_per_s), rate);
    table.row("deliveries/s", of(a, |figures| figures.received_per_s), of(b, |figures| figures.received_per_s), rate);
}

fn losses(table: &mut Table, [a, b]: [Run; 2]) {
    table.section("faults and losses, whole run");
    let (a, b) = (a.0, b.0);
    let mut row = |name: &str, a: u64, b: u64| table.row(name, Some(a as f64), Some(b as f64), |count| grouped(count as u64));
    row("faults", a.totals.faults.total(), b.totals.faults.total());
    for ((name, a), (_, b)) in a.totals.faults.each().into_iter().zip(b.totals.faults.each()).filter(|((_, a), (_, b))| a + b > 0) {
        row(&format!("  {name}"), a, b);
    }
    row("told by gap", a.totals.told_missing, b.totals.told_missing);
    row("conflated states", a.totals.conflated, b.totals.conflated);
    row("transient lost", a.totals.transient_lost, b.totals.transient_lost);
    row("refused publishes", a.totals.refused(), b.totals.refused());
}

/// The figures of a run; of a ramp only if a step held, because else no rate did.
fn measured((record, figures): Run<'_>) -> Option<&Figures> {
    let none_held = figures::is_ramp(record) && record.windows.iter().all(|window| window.held != Some(true));
    figures.filter(|_| !none_held)
}

fn cost(table: &mut Table, [a, b]: [Run; 2]) {
    table.section("what it cost");
    let cpu = |run: Run| run.1.and_then(|figures| figures.server_cpu_us);
    table.row("server CPU per delivery", cpu(a), cpu(b), |us| format!("{} µs", three_digits(us)));
    table.row("server RSS per connection", rss_per_connection(a.0), rss_per_connection(b.0), bytes_text);
    let max = |run: Run| run.0.server.as_ref().map(|server| server.rss_max_bytes as f64);
    table.row("server RSS, highest", max(a), max(b), bytes_text);
    let busy = |run: Run| Some(100.0 * run.0.generator.busiest_worker);
    table.row("generator's busiest worker", busy(a), busy(b), |share| format!("{share:.0} %"));
    let slip = |run: Run| run.1.filter(|figures| !figures.slip.is_empty()).map(|figures| figures.slip.value_at_quantile(0.99) as f64);
    table.row("generator's slip, p99", slip(a), slip(b), time_text);
}

fn connect(table: &mut Table, a: &Record, b: &Record) -> io::Result<()> {
    table.section("connecting");
    let took = |record: &Record| hist::decode(&record.connect.took_us).map_err(io::Error::other);
    let (took_a, took_b) = (took(a)?, took(b)?);
    let joined = |record: &Record| Some(f64::from(record.connect.joined));
    table.row("joined", joined(a), joined(b), |count| grouped(count as u64));
    let per_s = |record: &Record| Some(per(f64::from(record.connect.joined), record.connect.seconds));
    table.row("joined/s", per_s(a), per_s(b), rate);
    for (at, name) in [(0.5, "p50"), (0.99, "p99")] {
        let of = |hist: &Hist| (!hist.is_empty()).then(|| hist.value_at_quantile(at) as f64 * 1e3);
        table.row(name, of(&took_a), of(&took_b), time_text);
    }
    Ok(())
}

/// Two blocks for each lane, and for each of its classes of rooms if there are several, that either run has.
fn latencies(table: &mut Table, a: Option<&Figures>, b: Option<&Figures>) {
    let is_split = |lane| {
        [a, b].into_iter().flatten().flat_map(|figures| &figures.lanes).any(|series| series.lane == lane && series.classes.len() > 1)
    };
    let (a, b) = (blocks(a, is_split), blocks(b, is_split));
    let names: BTreeSet<&(Lane, String)> = a.keys().chain(b.keys()).collect();
    for name in names {
        let (a, b) = (a.get(name), b.get(name));
        let title = format!("{} {}", lane_name(name.0), if name.1.is_empty() { "all rooms" } else { &name.1 });
        table.section(&format!("{title}, latency"));
        percentiles(table, a.map(|series| &series.latency), b.map(|series| &series.latency));
        table.section(&format!("{title}, service time"));
        percentiles(table, a.map(|series| &series.service), b.map(|series| &series.service));
    }
}

fn percentiles(table: &mut Table, a: Option<&Hist>, b: Option<&Hist>) {
    for (at, name) in COMPARED {
        let of = |hist: Option<&Hist>| Some(quantile(hist?, at)? as f64);
        table.row(name, of(a), of(b), time_text);
    }
    let max = |hist: Option<&Hist>| hist.filter(|hist| !hist.is_empty()).map(|hist| hist.max() as f64);
    table.row("max", max(a), max(b), time_text);
}

/// By lane and class; a lane that is split into several classes is there as a whole too, under no class.
fn blocks(figures: Option<&Figures>, is_split: impl Fn(Lane) -> bool) -> BTreeMap<(Lane, String), &Series> {
    let Some(figures) = figures else { return BTreeMap::new() };
    let whole = figures.lanes.iter().filter(|series| is_split(series.lane)).map(|series| ((series.lane, String::new()), series));
    whole.chain(figures.classes.iter().map(|series| ((series.lane, series.classes.concat()), series))).collect()
}

#[cfg(test)]
mod tests;
