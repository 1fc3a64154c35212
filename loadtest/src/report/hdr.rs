//! The two text forms that other HDR histogram tools read: `.hgrm` (one distribution) and `.hlog` (a histogram for each second).

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag};

use super::figures::lane_name;
use crate::hist::{self, Hist};
use crate::record::{Moment, Record};

/// Nanoseconds in the unit of both forms, as their tools' own default is.
const MS: f64 = 1e6;

/// Rows from one halving of the rest of the distribution to the next, as the tools' own default is.
const TICKS_PER_HALF: u32 = 5;

/// The distribution by percentile, in milliseconds, as `HistogramLogProcessor` writes it and the HDR plotter reads it.
pub fn percentiles(hist: &Hist, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut count = 0;
    for row in hist.iter_quantiles(TICKS_PER_HALF) {
        count += row.count_since_last_iteration();
        let (value, quantile) = (row.value_iterated_to() as f64 / MS, row.quantile_iterated_to());
        write!(out, "{value:12.6} {quantile:2.12} {count:10}")?;
        // The last row's rest is nothing, and nothing is written for its inverse.
        if quantile < 1.0 { writeln!(out, " {:14.2}", 1.0 / (1.0 - quantile))? } else { writeln!(out)? }
    }
    let (mean, deviation, max) =
        if hist.is_empty() { (0.0, 0.0, 0.0) } else { (hist.mean() / MS, hist.stdev() / MS, hist.max() as f64 / MS) };
    let sub_buckets = 2_u64 << (10_u64.pow(u32::from(hist.sigfig())) * 2 - 1).ilog2();
    writeln!(out, "#[Mean    = {mean:12.6}, StdDeviation   = {deviation:12.6}]")?;
    writeln!(out, "#[Max     = {max:12.6}, Total count    = {:12}]", hist.len())?;
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", hist.buckets())
}

/// One interval for each second and lane, tagged with the lane's name; times are relative to the moment at which publishing began.
pub fn interval_log(record: &Record, out: &mut impl Write) -> io::Result<()> {
    // Publishing begins when the connections have joined.
    let base_s = record.began_unix_s as f64 + record.connect.seconds;
    writeln!(out, "#[tickerd loadtest {}: {}]", record.version, record.scenario.name)?;
    writeln!(out, "#[Latencies in nanoseconds from the intended time of sending, by the second of arrival; tags are lanes]")?;
    if let Some(cut) = &record.cut {
        writeln!(out, "#[{}]", super::text::line(&cut.text()))?;
    }
    writeln!(out, "#[Histogram log format version 1.3]")?;
    let utc = super::text::utc(base_s as u64);
    writeln!(out, "#[StartTime: {base_s:.3} (seconds since epoch), {utc}]")?;
    writeln!(out, "#[BaseTime: {base_s:.3} (seconds since epoch)]")?;
    writeln!(out, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new().with_max_value_divisor(MS).begin_log_with(out, &mut serializer)?;
    let mut began_s = 0.0;
    for moment in &record.seconds {
        interval(&mut log, moment, began_s)?;
        began_s = moment.at_s;
    }
    Ok(())
}

fn interval<W: Write>(log: &mut IntervalLogWriter<'_, '_, W, V2DeflateSerializer>, moment: &Moment, began_s: f64) -> io::Result<()> {
    let began = duration(began_s.min(moment.at_s));
    let length = duration(moment.at_s).saturating_sub(began);
    for (lane, encoded) in &moment.latency {
        let hist = hist::decode(encoded).map_err(|error| io::Error::other(format!("second {}: {error}", moment.at_s)))?;
        let tag = Tag::new(lane_name(*lane)).expect("lanes have plain names");
        log.write_histogram(&hist, began, length, Some(tag)).map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(())
}

/// A time that a record gives; one that cannot be is 0.
fn duration(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use proptest::prelude::*;

    use super::*;
    use crate::report::testing::{self, written};

    /// Rows of a `.hgrm`, as a reader of the format takes them: value, quantile, count, inverse.
    fn rows(text: &str) -> Vec<Vec<f64>> {
        let lines = text.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split_whitespace().map(|field| field.parse().expect("a number")).collect()).collect()
    }

    proptest! {
            #[test]
            fn percentiles_read_back(values in prop::collection::vec(1_u64..60_000_000_000, 1..300)) {
                let hist = hist::of(values.iter().copied());
                let text = written(|out| percentiles(&hist, out));
                let rows = rows(&text);
                let (last, others) = rows.split_last().expect("rows");
                prop_assert_eq!((&last[1..], last.len()), (&[1.0, values.len() as f64][..], 3), "no inverse in the last row");
                for row in others {
                    prop_assert!((row[3] - 1.0 / (1.0 - row[1])).abs() < 0.01 * row[3] + 0.01, "{row:?}");
    let up_to_here = values.iter().filter(|value| hist.lowest_equivalent(**value) as f64 / MS <= row[0]).count();
                    prop_assert_eq!(row[2] as usize, up_to_here);
                    prop_assert!(row[2] / values.len() as f64 >= row[1] - 1e-9, "{row:?}");
                }
                let is_rising = rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2]);
                prop_assert!(is_rising);
            }
        }

    #[test]
    fn a_distribution_looks_as_the_tools_write_it() {
        let mut hist = hist::new();
        hist.record_n(1_000_000, 3).expect("in range");
        hist.record(2_000_000).expect("in range");
        let text = written(|out| percentiles(&hist, out));
        let wanted = concat!(
            "       Value     Percentile TotalCount 1/(1-Percentile)\n\n",
            "    1.000447 0.000000000000          3           1.00\n",
        );
        assert!(text.starts_with(wanted), "{text}");
        let end = concat!(
            "    2.000895 1.000000000000          4\n",
            "#[Mean    =     1.250240, StdDeviation   =     0.433096]\n",
            "#[Max     =     2.000895, Total count    =            4]\n",
            "#[Buckets =           26, SubBuckets     =         2048]\n",
        );
        assert!(text.ends_with(end), "{text}");
        let empty = written(|out| percentiles(&hist::new(), out));
        assert!(empty.contains("Total count    =            0]"), "{empty}");
    }

    #[test]
    fn the_interval_log_reads_back() {
        let record = testing::plain();
        let text = written(|out| interval_log(&record, out));
        let mut times = 0;
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            match entry.expect("well formed") {
                LogEntry::StartTime(at) | LogEntry::BaseTime(at) => {
                    assert_eq!(at.as_secs(), record.began_unix_s + 2);
                    times += 1;
                }
                LogEntry::Interval(interval) => {
                    let bytes = STANDARD.decode(interval.encoded_histogram()).expect("base64");
                    let hist: Hist = Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
                    assert!((interval.max() - hist.max() as f64 / MS).abs() < 0.001, "the column is in milliseconds");
                    let tag = interval.tag().expect("tagged").as_str().to_owned();
                    found.push((tag, interval.start_timestamp().as_secs(), interval.duration().as_secs(), hist.len()));
                }
            }
        }
        let wanted = (0..3).flat_map(|at| [("alert".to_owned(), at, 1, 100), ("update".to_owned(), at, 1, 4_467)]);
        assert_eq!((times, found), (2, wanted.collect()));
    }
}
