//! A record's histograms, read once and summed as the reports need them: by lane, and by lane and class of rooms.

use std::collections::BTreeMap;

use crate::hist::{self, Hist};
use crate::record::{FlowRecord, Record, Window};
use crate::scenario::Lane;

/// The quantiles that reports name, but for the highest value.
pub const QUANTILES: [(f64, &str); 6] = [(0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// The figures of one window.
pub struct Figures {
    /// One for each lane that has flows, in order of priority.
    pub lanes: Vec<Series>,
    /// One for each lane and class of rooms, likewise.
    pub classes: Vec<Series>,
    /// How late the publisher was, nanoseconds.
    pub slip: Hist,
    /// Events sent per second.
    pub published_per_s: f64,
    /// Distinct events received per second.
    pub received_per_s: f64,
    /// Distinct events received.
    pub received: u64,
    /// The server's processor time for each of them, if it was found.
    pub server_cpu_us: Option<f64>,
}

/// The events of one lane, or of one lane and class of rooms.
pub struct Series {
    /// Its lane.
    pub lane: Lane,
    /// Its classes of rooms, each once.
    pub classes: Vec<String>,
    /// Events sent.
    pub published: u64,
    /// Distinct events received.
    pub received: u64,
    /// From the intended time, nanoseconds.
    pub latency: Hist,
    /// From the actual time of sending, nanoseconds.
    pub service: Hist,
}

impl Figures {
    /// The figures of a window; an error if a histogram in it cannot be read.
    pub fn of(window: &Window) -> Result<Figures, String> {
        let lanes = group(&window.flows, |flow| (flow.lane, ""))?;
        let classes = group(&window.flows, |flow| (flow.lane, flow.class.as_str()))?;
        let published: u64 = window.flows.iter().map(|flow| flow.published).sum();
        let received: u64 = window.flows.iter().map(|flow| flow.received).sum();
        Ok(Figures {
            lanes,
            classes,
            slip: hist::decode(&window.slip_ns)?,
            published_per_s: per(published as f64, window.seconds),
            received_per_s: per(received as f64, window.seconds),
            received,
            server_cpu_us: window.server_cpu_s.filter(|_| received > 0).map(|cpu_s| cpu_s * 1e6 / received as f64),
        })
    }

    /// The lane with the shortest p99 latency, and that latency: where the generator's own delay weighs most.
    pub fn quickest(&self) -> Option<(Lane, u64)> {
        let lanes = self.lanes.iter().filter(|series| !series.latency.is_empty());
        lanes.map(|series| (series.lane, series.latency.value_at_quantile(0.99))).min_by_key(|(_, p99)| *p99)
    }
}

/// The window that stands for the run: a plain run's only one; of a ramp, the step with the highest rate that held, or the lowest step if none did.
pub fn chosen(record: &Record) -> Option<&Window> {
    let held = record.windows.iter().filter(|window| window.held == Some(true)).max_by(|a, b| a.factor.total_cmp(&b.factor));
    held.or_else(|| record.windows.iter().min_by(|a, b| a.factor.total_cmp(&b.factor)))
}

/// Whether the record is a ramp's.
pub fn is_ramp(record: &Record) -> bool {
    record.windows.iter().any(|window| window.held.is_some())
}

/// Resident bytes that each connection added, if the server was found.
pub fn rss_per_connection(record: &Record) -> Option<f64> {
    let server = record.server.as_ref()?;
    (record.connect.joined > 0)
        .then(|| server.rss_joined_bytes.saturating_sub(server.rss_before_bytes) as f64 / f64::from(record.connect.joined))
}

/// A lane as the protocol writes it.
pub fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Alert => "alert",
        Lane::Update => "update",
        Lane::Metric => "metric",
    }
}

/// The value at a quantile, if there are enough values for it to differ from the highest one.
pub fn quantile(hist: &Hist, quantile: f64) -> Option<u64> {
    // The small share keeps 1 / (1 - 0.9) from being a little more than 10.
    let needed = (1.0 / (1.0 - quantile)) * (1.0 - 1e-9);
    (hist.len() as f64 >= needed).then(|| hist.value_at_quantile(quantile))
}

/// A rate; none over no time.
pub fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}

fn group<'a>(flows: &'a [FlowRecord], key: impl Fn(&'a FlowRecord) -> (Lane, &'a str)) -> Result<Vec<Series>, String> {
    let mut groups: BTreeMap<(Lane, &str), Series> = BTreeMap::new();
    for flow in flows {
        let series = groups.entry(key(flow)).or_insert_with(|| Series {
            lane: flow.lane,
            classes: Vec::new(),
            published: 0,
            received: 0,
            latency: hist::new(),
            service: hist::new(),
        });
        series.published += flow.published;
        series.received += flow.received;
        if !series.classes.contains(&flow.class) {
            series.classes.push(flow.class.clone());
        }
        hist::add_encoded(&mut series.latency, &flow.latency).map_err(|error| format!("flow {}: latency: {error}", flow.flow))?;
        hist::add_encoded(&mut series.service, &flow.service).map_err(|error| format!("flow {}: service time: {error}", flow.flow))?;
    }
    Ok(groups.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    #[test]
    fn lanes_sum_their_classes() {
        let record = testing::plain();
        let figures = Figures::of(&record.windows[0]).expect("well formed");
        assert_eq!(figures.lanes.iter().map(|series| series.lane).collect::<Vec<_>>(), [Lane::Alert, Lane::Update]);
        for lane in &figures.lanes {
            let parts = figures.classes.iter().filter(|series| series.lane == lane.lane);
            assert_eq!(lane.received, parts.clone().map(|series| series.received).sum::<u64>());
            assert_eq!(lane.latency.len(), parts.map(|series| series.latency.len()).sum::<u64>());
        }
        assert_eq!(figures.lanes[1].classes, ["challenge", "market"]);
    }

    #[test]
    fn a_ramp_stands_for_its_highest_step_that_held() {
        let mut record = testing::ramp();
        assert_eq!(chosen(&record).map(|window| window.factor), Some(3.0));
        record.windows.iter_mut().for_each(|window| window.held = Some(false));
        assert_eq!(chosen(&record).map(|window| window.factor), Some(1.0));
        record.windows.clear();
        assert!(chosen(&record).is_none());
    }

    #[test]
    fn a_quantile_needs_values_beyond_it() {
        let mut hist = hist::new();
        hist.record_n(1000, 10).expect("in range");
        assert_eq!(quantile(&hist, 0.9), Some(1000), "one in ten is beyond it");
        hist.record_n(1000, 89).expect("in range");
        assert_eq!((quantile(&hist, 0.9), quantile(&hist, 0.99)), (Some(1000), None));
        hist.record(1000).expect("in range");
        assert_eq!(quantile(&hist, 0.99), Some(1000));
    }

    #[test]
    fn a_spoilt_histogram_is_named() {
        let mut window = testing::plain().windows.remove(0);
        window.flows[1].service = "AAAA".into();
        let error = Figures::of(&window).err().expect("spoilt");
        assert!(error.starts_with("flow 1: service time: a histogram that cannot be read"), "{error}");
    }
}
