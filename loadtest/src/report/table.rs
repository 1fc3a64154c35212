//! The closing report.

use std::io::{self, Write};

use super::figures::{self, Figures, QUANTILES, Series, lane_name, per, quantile, rss_per_connection};
use super::grid::Grid;
use super::text::{self, grouped, plural, rate};
use crate::control::Apart;
use crate::hist::{self, Hist, bytes_text, three_digits, time_text};
use crate::record::{Record, Window};
use crate::scenario::RoomClass;

/// Share of a processor above which the busiest worker's figures are its own.
const BUSY: f64 = 0.9;

/// Share of the quickest lane's p99 above which the publisher's delay is no longer small beside it.
const SLIP_SHARE: f64 = 0.5;

/// Width of the names at the left.
const NAME: usize = 12;

/// Width of the warnings' lines.
const WIDTH: usize = 100;

/// Prints all that a person wants to know when a run has ended. A record whose histograms cannot be read is an error that says which.
pub fn print(record: &Record, out: &mut impl Write) -> io::Result<()> {
    head(record, out)?;
    let Some(window) = figures::chosen(record) else {
        writeln!(out, "\nNothing was measured: the run ended before its first window.")?;
        return verdicts(record, out);
    };
    let figures = Figures::of(window).map_err(io::Error::other)?;
    if figures::is_ramp(record) {
        steps(record, out)?;
    }
    measured(record, window, &figures, out)?;
    account(record, out)?;
    generator(record, window, &figures, out)?;
    server(record, &figures, out)?;
    warnings(record, &figures, out)?;
    verdicts(record, out)
}

fn line(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{name:NAME$}{value}")
}

/// What ran where, and how the connections began.
fn head(record: &Record, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}\n{}\n", text::title(record), text::about(&record.scenario.about, &record.scaled))?;
    line(out, "machine", &text::machine(&record.machine))?;
    line(out, "server", &record.target)?;
    let rooms_of = |class: &RoomClass| {
        let rooms = plural(u64::from(class.count), &format!("{} room", class.class));
        format!("{rooms} of {}", plural(u64::from(class.members), "member"))
    };
    if record.scenario.flows.is_empty() {
        line(out, "rooms", &record.scenario.rooms.iter().map(rooms_of).collect::<Vec<_>>().join(", "))?;
    }
    for (at, flow) in record.scenario.flows.iter().enumerate() {
        let class = record.scenario.rooms.iter().find(|class| class.class == flow.rooms);
        let rooms = class.map_or(String::new(), |class| format!("to {}", rooms_of(class)));
        let burst = if flow.burst > 1 { format!(" in bursts of {}", grouped(u64::from(flow.burst))) } else { String::new() };
        let (kind, bytes, per_s) = (&flow.kind, flow.bytes, rate(flow.rate));
        line(out, if at == 0 { "flows" } else { "" }, &format!("{}: {kind}, {per_s}/s{burst}, {bytes} B, {rooms}", lane_name(flow.lane)))?;
    }
    connect(record, out)
}

fn connect(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let connect = &record.connect;
    let share = 100.0 * per(f64::from(connect.joined), f64::from(connect.wanted));
    // Never rounded up to a success that it was not.
    let share = if connect.joined < connect.wanted { (share * 100.0).floor() / 100.0 } else { share };
    let took = hist::decode(&connect.took_us).map_err(|error| io::Error::other(format!("connect: {error}")))?;
    let (joined, wanted) = (grouped(u64::from(connect.joined)), grouped(u64::from(connect.wanted)));
    let per_s = rate(per(f64::from(connect.joined), connect.seconds));
    line(out, "connections", &format!("{joined} of {wanted} joined ({share} %), {per_s}/s{}", times(&took)))?;
    if !connect.failed.is_empty() {
        line(out, "", &format!("failed: {}", text::counts(&connect.failed)))?;
    }
    Ok(())
}

/// `, p50 1.90 ms, p99 8.72 ms, max …` of a histogram in microseconds; nothing if it is empty.
fn times(us: &Hist) -> String {
    if us.is_empty() {
        return String::new();
    }
    let at = |quantile| time_text(us.value_at_quantile(quantile) as f64 * 1e3);
    format!(", p50 {}, p99 {}, max {}", at(0.5), at(0.99), time_text(us.max() as f64 * 1e3))
}

/// A ramp's steps, in the order of their rates.
fn steps(record: &Record, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nSteps of the search, by rate (p99 of the latency)")?;
    let mut windows: Vec<&Window> = record.windows.iter().collect();
    windows.sort_by(|a, b| a.factor.total_cmp(&b.factor));
    let all = windows.iter().map(|window| Figures::of(window)).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let lanes = all.first().map_or(&[][..], |figures| &figures.lanes);
    let names = lanes.iter().map(|series| lane_name(series.lane));
    // The results are words, to the left.
    let mut grid = Grid::new(0..4 + lanes.len());
    grid.row(["factor", "published/s", "received/s"].into_iter().chain(names).chain(["server CPU", "result"]));
    for (window, figures) in windows.iter().zip(&all) {
        grid.row(step(window, figures));
    }
    grid.print(out)?;
    if windows.iter().all(|window| window.held != Some(true)) {
        return writeln!(out, "No step held: begin with a lower rate (`ramp.from`). The figures below are the lowest step's.");
    }
    writeln!(out, "The figures below are those of the highest step that held.")
}

fn step(window: &Window, figures: &Figures) -> Vec<String> {
    let mut cells = vec![three_digits(window.factor), rate(figures.published_per_s), rate(figures.received_per_s)];
    cells.extend(figures.lanes.iter().map(|series| cell(quantile(&series.latency, 0.99))));
    cells.push(window.server_cpu_s.map_or("–".into(), |cpu_s| format!("{:.0} %", 100.0 * per(cpu_s, window.seconds))));
    cells.push(match window.held {
        Some(true) => "held".into(),
        Some(false) if window.because.is_empty() => "failed".into(),
        Some(false) => format!("failed: {}", window.because),
        None => "–".into(),
    });
    cells
}

/// Rates and percentiles of the window that stands for the run.
fn measured(record: &Record, window: &Window, figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    let factor = if figures::is_ramp(record) { format!(" at factor {}", three_digits(window.factor)) } else { String::new() };
    let warmup = if record.scenario.warmup_s > 0.0 {
        format!(" after {} of warm-up", text::seconds(record.scenario.warmup_s))
    } else {
        String::new()
    };
    writeln!(out)?;
    line(out, "measured", &format!("{}{warmup}{factor}", text::seconds(window.seconds)))?;
    if figures.lanes.is_empty() {
        return line(out, "rates", "nothing was to be sent");
    }
    let (published, received) = (rate(figures.published_per_s), rate(figures.received_per_s));
    line(out, "rates", &format!("{published} published/s, {received} deliveries/s"))?;
    writeln!(out, "\nLatency, from the moment at which an event was due to the read that completed it")?;
    percentiles(figures, |series| &series.latency, out)?;
    writeln!(out, "\nService time, from the moment at which it was really sent")?;
    percentiles(figures, |series| &series.service, out)?;
    let has_few = figures.classes.iter().any(|series| series.received < 10_000);
    if has_few { writeln!(out, "– : too few events for this percentile") } else { Ok(()) }
}

/// A row for each lane, and below it one for each of its classes of rooms if there are several.
fn percentiles(figures: &Figures, of: impl Fn(&Series) -> &Hist, out: &mut impl Write) -> io::Result<()> {
    let mut grid = Grid::new(2..usize::MAX);
    let names = ["lane", "rooms"].into_iter().chain(QUANTILES.map(|(_, name)| name)).chain(["max", "mean", "received"]);
    grid.row(names);
    for lane in &figures.lanes {
        let rooms = if let [class] = lane.classes.as_slice() { class } else { "all" };
        grid.row(row(lane_name(lane.lane), rooms, lane.received, of(lane)));
        if lane.classes.len() > 1 {
            for series in figures.classes.iter().filter(|series| series.lane == lane.lane) {
                grid.row(row("", &series.classes[0], series.received, of(series)));
            }
        }
    }
    grid.print(out)
}

fn row(lane: &str, rooms: &str, received: u64, hist: &Hist) -> Vec<String> {
    let mut cells = vec![lane.to_owned(), rooms.to_owned()];
    cells.extend(QUANTILES.map(|(at, _)| cell(quantile(hist, at))));
    let (max, mean) = if hist.is_empty() { (None, None) } else { (Some(hist.max()), Some(hist.mean() as u64)) };
    cells.extend([cell(max), cell(mean), grouped(received)]);
    cells
}

fn cell(ns: Option<u64>) -> String {
    ns.map_or("–".into(), |ns| time_text(ns as f64))
}

/// What came of everything that was published, over the whole run.
fn account(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let totals = &record.totals;
    let (published, received, expected) = (grouped(totals.published), grouped(totals.received), grouped(totals.expected));
    writeln!(out, "\nThe whole run, warm-up included")?;
    if record.scenario.flows.is_empty() {
        faults(record, out)?;
        return closes(record, out);
    }
    line(out, "published", &published)?;
    let refused = totals.refused();
    let refused = if refused > 0 { format!(" ({} REFUSED)", grouped(refused)) } else { String::new() };
    let answers = if totals.answers.is_empty() { "none asked for".into() } else { text::counts(&totals.answers) };
    line(out, "answers", &format!("{answers}{refused}"))?;
    if !totals.last_refusal.is_empty() {
        line(out, "", &format!("the last refusal: {}", text::line(&totals.last_refusal)))?;
    }
    line(out, "deliveries", &format!("{received} received, all modes; accepted stream events had to make {expected}"))?;
    apart(&totals.apart, out)?;
    faults(record, out)?;
    let gaps = if totals.told_missing > 0 {
        format!("{} stream events not delivered, told by `gap`", grouped(totals.told_missing))
    } else {
        "none".into()
    };
    line(out, "gaps told", &gaps)?;
    line(out, "conflated", &format!("{} states replaced by newer ones before they came", grouped(totals.conflated)))?;
    if totals.transient_lost > 0 {
        line(out, "transient", &format!("{} lost, as this mode may", grouped(totals.transient_lost)))?;
    }
    if totals.recovered + totals.not_recovered > 0 {
        let took = hist::decode(&totals.reconnect_us).map_err(|error| io::Error::other(format!("reconnects: {error}")))?;
        let (whole, lossy) = (grouped(u64::from(totals.recovered)), grouped(u64::from(totals.not_recovered)));
        line(out, "reconnects", &format!("{whole} recovered all, {lossy} lost something and were told{}", times(&took)))?;
    }
    closes(record, out)
}

fn closes(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let closes = &record.totals.closes;
    if closes.is_empty() { Ok(()) } else { line(out, "closes", &text::counts(closes)) }
}

/// Why fewer may have come than had to: deliveries that are no faults, and in no latency.
fn apart(apart: &Apart, out: &mut impl Write) -> io::Result<()> {
    if apart.slow_owed > 0 {
        let [owed, came, told] = [apart.slow_owed, apart.slow_came, apart.slow_told].map(grouped);
        let rest = grouped(apart.slow_owed.saturating_sub(apart.slow_came + apart.slow_told));
        line(out, "", &format!("of these {owed} to slow readers: {came} read, {told} told of by `gap`, {rest} still to come at the end"))?;
    }
    if apart.absent_owed > 0 {
        line(out, "", &format!("of these {} to connections that had not joined", grouped(apart.absent_owed)))?;
    }
    Ok(())
}

fn faults(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let faults = &record.totals.faults;
    let each: Vec<String> = faults.each().iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect();
    if faults.total() == 0 {
        return line(out, "faults", &format!("none ({})", each.join(", ")));
    }
    line(out, "FAULTS", &each.join(", "))
}

/// The generator about itself.
fn generator(record: &Record, window: &Window, figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    let generator = &record.generator;
    let slip = &figures.slip;
    let turn = time_text(generator.turn_ns_max as f64);
    let share = 100.0 * per(window.generator_cpu_s, window.seconds);
    writeln!(out, "\nThe generator itself")?;
    line(out, "processor", &format!("{share:.0} % of one while measured, {:.2} s in all", generator.cpu_s))?;
    let workers = grouped(u64::from(generator.workers));
    line(out, "workers", &format!("{workers}, the busiest {:.0} % of a processor, longest turn {turn}", 100.0 * generator.busiest_worker))?;
    if slip.is_empty() {
        return if figures.lanes.is_empty() { Ok(()) } else { line(out, "slip", "nothing was sent") };
    }
    let at = |quantile| time_text(slip.value_at_quantile(quantile) as f64);
    line(out, "slip", &format!("p50 {}, p99 {}, max {}: how late events were sent", at(0.5), at(0.99), time_text(slip.max() as f64)))
}

fn server(record: &Record, figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    let Some(server) = &record.server else {
        return writeln!(out, "\nThe server's process was not found on this host: no processor time or memory of it is known.");
    };
    let at = |bytes: u64| bytes_text(bytes as f64);
    writeln!(out, "\nThe server's process, {} ({})", server.pid, server.command)?;
    let each = figures.server_cpu_us.map_or(String::new(), |us| format!("{} µs for each delivery, ", three_digits(us)));
    line(out, "processor", &format!("{each}{:.2} s while measured", server.cpu_s))?;
    let each = rss_per_connection(record).map_or(String::new(), |bytes| format!(" ({} for each connection)", bytes_text(bytes)));
    let (before, joined) = (at(server.rss_before_bytes), at(server.rss_joined_bytes));
    // A process that has ended has none.
    let end = if server.rss_end_bytes > 0 { format!("{} at the end", at(server.rss_end_bytes)) } else { "not there at the end".to_owned() };
    line(out, "resident", &format!("{before} before, {joined} with all joined{each}, {end}, {} at most", at(server.rss_max_bytes)))?;
    if server.used_before.is_empty() {
        return Ok(());
    }
    line(out, "", &format!("{}: start it anew to see what a connection takes", server.used_before))
}

/// Says when the figures are the generator's own.
fn warnings(record: &Record, figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    for warning in doubts(record, figures) {
        writeln!(out, "\n{}", text::wrapped(&format!("WARNING: {warning}"), WIDTH))?;
    }
    Ok(())
}

/// Why the figures may be the generator's and not the server's; empty if nothing says so.
pub fn doubts(record: &Record, figures: &Figures) -> Vec<String> {
    let mut doubts = Vec::new();
    let busy = record.generator.busiest_worker;
    if busy > BUSY {
        let share = 100.0 * busy;
        doubts.push(format!(
            "the generator is the limit: its busiest worker used {share:.0} % of a processor, so the figures above are the generator's, \
             not the server's. Use more workers, more processors or a lower rate."
        ));
    }
    let slip = figures.slip.value_at_quantile(0.99);
    if let Some((lane, p99)) = figures.quickest()
        && slip as f64 > SLIP_SHARE * p99 as f64
    {
        let (slip, p99, lane) = (time_text(slip as f64), time_text(p99 as f64), lane_name(lane));
        doubts.push(format!(
            "the publisher was late: its slip's p99 is {slip} and the p99 of {lane} {p99}, so much of that latency is the generator's own. \
             The service time leaves it out; a lower rate or a processor of its own lessens it."
        ));
    }
    doubts
}

fn verdicts(record: &Record, out: &mut impl Write) -> io::Result<()> {
    if record.verdicts.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut grid = Grid::new(0..0);
    for verdict in &record.verdicts {
        let word = match (verdict.holds, &record.cut) {
            (false, _) => "FAIL",
            (true, None) => "PASS",
            (true, Some(_)) => "so far",
        };
        grid.row([word.to_owned(), verdict.slo.clone(), format!("measured {}", verdict.measured)]);
    }
    grid.print(out)
}

#[cfg(test)]
mod tests;
