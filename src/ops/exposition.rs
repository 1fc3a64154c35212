//! The Prometheus text format, version 0.0.4: what is needed of it, and no more.

use std::fmt::Write;

use crate::base::counters::{BUCKETS_US, HistogramSnapshot, LONG_BUCKETS_S};

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of durations in seconds.
    Histogram,
    /// The same of what takes long.
    LongHistogram,
}

impl Type {
    /// Its name in the format.
    pub const fn name(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram | Type::LongHistogram => "histogram",
        }
    }
}

/// One row of the table of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Type,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// A scrape in the making.
#[derive(Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// A metric's head, then its samples: labels as `name="value"` pairs joined by commas, or nothing, and a value.
    pub fn samples(&mut self, metric: &Metric, samples: impl IntoIterator<Item = (String, u64)>) {
        self.head(metric);
        for (labels, value) in samples {
            let open = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            self.line(format_args!("{}{open} {value}", metric.name));
        }
    }

    /// A metric with one sample and no labels.
    pub fn single(&mut self, metric: &Metric, value: u64) {
        self.samples(metric, [(String::new(), value)]);
    }

    /// A metric's head, then its histograms: each with its labels as in [`Exposition::samples`].
    pub fn histograms(&mut self, metric: &Metric, rows: impl IntoIterator<Item = (String, HistogramSnapshot)>) {
        let bounds_ns = match metric.kind {
            Type::LongHistogram => LONG_BUCKETS_S.map(|s| s * 1_000_000_000),
            Type::Counter | Type::Gauge | Type::Histogram => BUCKETS_US.map(|us| us * 1_000),
        };
        self.head(metric);
        for (labels, snapshot) in rows {
            let name = metric.name;
            let (comma, open) = if labels.is_empty() { ("", String::new()) } else { (",", format!("{{{labels}}}")) };
            let mut cumulative = 0;
            for (count, bound_ns) in snapshot.buckets.iter().zip(bounds_ns) {
                cumulative += count;
                self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{}\"}} {cumulative}", seconds(bound_ns)));
            }
            let count: u64 = snapshot.buckets.iter().sum();
            self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"));
            self.line(format_args!("{name}_sum{open} {}", seconds(snapshot.sum_ns)));
            self.line(format_args!("{name}_count{open} {count}"));
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, metric: &Metric) {
        self.line(format_args!("# HELP {} {}", metric.name, metric.help));
        self.line(format_args!("# TYPE {} {}", metric.name, metric.kind.name()));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a String does not fail");
    }
}

/// One label as it stands between the braces.
pub fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{value}\"")
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::DurationHistogram;
    use std::time::Duration;

    /// OBS-01: the text is what the format's specification says.
    #[test]
    fn a_histogram_is_cumulative_and_ends_in_infinity() {
        let histogram = DurationHistogram::default();
        for us in [5, 10, 11, 20_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let mut exposition = Exposition::default();
        let metric = Metric { name: "tickerd_x_seconds", kind: Type::Histogram, labels: &["lane"], help: "X." };
        exposition.histograms(&metric, [(label("lane", "alert"), histogram.snapshot())]);
        let text = exposition.finish();
        assert!(text.starts_with("# HELP tickerd_x_seconds X.\n# TYPE tickerd_x_seconds histogram\n"));
        for line in [
            r#"tickerd_x_seconds_bucket{lane="alert",le="0.00001"} 2"#,
            r#"tickerd_x_seconds_bucket{lane="alert",le="0.00002"} 3"#,
            r#"tickerd_x_seconds_bucket{lane="alert",le="10"} 3"#,
            r#"tickerd_x_seconds_bucket{lane="alert",le="+Inf"} 4"#,
            r#"tickerd_x_seconds_count{lane="alert"} 4"#,
            r#"tickerd_x_seconds_sum{lane="alert"} 20.000026"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
