//! The run second by second, for a spreadsheet.

use std::io::{self, Write};

use super::figures::lane_name;
use crate::hist;
use crate::record::Record;
use crate::scenario::Lane;

/// What every lane has.
const LANE_COLUMNS: [&str; 5] = ["received", "latency_ms_p50", "latency_ms_p99", "latency_ms_p999", "latency_ms_max"];

/// The phase of the last row of a run that ended before its time.
const CUT: &str = "cut";

/// One row for each second, and a first one that names the columns. What is not known is empty.
pub fn seconds(record: &Record, out: &mut impl Write) -> io::Result<()> {
    let lanes = lanes(record);
    let mut names: Vec<String> = ["at_s", "phase", "connections", "published", "received", "bytes"].map(str::to_owned).into();
    for lane in &lanes {
        names.extend(LANE_COLUMNS.map(|name| format!("{}_{name}", lane_name(*lane))));
    }
    names.extend(["faults", "slip_ms_max", "server_rss_bytes", "server_cpu_s", "generator_cpu_s"].map(str::to_owned));
    writeln!(out, "{}", names.join(","))?;
    for (at, moment) in record.seconds.iter().enumerate() {
        let is_last = at + 1 == record.seconds.len();
        let phase = if is_last && record.cut.is_some() { CUT } else { moment.phase.name() };
        let mut cells = vec![format!("{:.3}", moment.at_s), phase.to_owned(), moment.joined.to_string()];
        cells.extend([moment.published, moment.received, moment.bytes].map(|count| count.to_string()));
        for lane in &lanes {
            let encoded = moment.latency.get(lane).map_or("", String::as_str);
            cells.extend(lane_cells(encoded).map_err(|error| io::Error::other(format!("second {}: {error}", moment.at_s)))?);
        }
        cells.extend([moment.faults.to_string(), ms(moment.slip_max_ns)]);
        cells.push(moment.server_rss_bytes.map_or(String::new(), |bytes| bytes.to_string()));
        cells.push(moment.server_cpu_s.map_or(String::new(), |s| format!("{s:.3}")));
        cells.push(format!("{:.3}", moment.generator_cpu_s));
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

/// The lanes of all seconds: a lane may be silent in some.
fn lanes(record: &Record) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = record.seconds.iter().flat_map(|moment| moment.latency.keys().copied()).collect();
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}

fn lane_cells(encoded: &str) -> Result<[String; 5], String> {
    let hist = hist::decode(encoded)?;
    let at = |quantile| if hist.is_empty() { String::new() } else { ms(hist.value_at_quantile(quantile)) };
    Ok([hist.len().to_string(), at(0.5), at(0.99), at(0.999), at(1.0)])
}

fn ms(ns: u64) -> String {
    format!("{:.6}", ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{self, written};

    #[test]
    fn rows_have_the_columns_that_the_first_names() {
        let mut record = testing::plain();
        record.seconds[1].latency.remove(&Lane::Alert);
        record.seconds[2].server_rss_bytes = None;
        let text = written(|out| seconds(&record, out));
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| row.len() == 21), "{text}");
        let cell = |row: usize, name: &str| rows[row][rows[0].iter().position(|column| *column == name).expect(name)];
        assert_eq!([cell(1, "phase"), cell(2, "phase"), cell(3, "phase")], ["warmup", "measured", "measured"]);
        let cut = written(|out| seconds(&testing::interrupted(), out));
        assert!(cut.lines().last().is_some_and(|row| row.starts_with("3.000,cut,1000,")), "{cut}");
        assert_eq!((cell(1, "at_s"), cell(1, "published"), cell(1, "slip_ms_max")), ("1.000", "2102", "0.061234"));
        assert_eq!((cell(1, "alert_received"), cell(2, "alert_received")), ("100", "0"));
        assert_eq!((cell(2, "alert_latency_ms_p99"), cell(3, "server_rss_bytes")), ("", ""));
        let p99: f64 = cell(1, "alert_latency_ms_p99").parse().expect("a number");
        assert!((1.8..2.0).contains(&p99), "{p99}");
    }
}
