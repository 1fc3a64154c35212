//! An SLO against what was found. What was not measured does not hold, and says why.

use crate::hist::{self, Hist, grouped};
use crate::payload::lane_name;
use crate::record::{FlowRecord, Record, Verdict, Window};

use super::{Figure, Of, Slo, Stat, Subject, Unit};

impl Slo {
    /// Judges it: latencies and rates of that window, everything else of the whole run.
    pub fn judge(&self, record: &Record, window: &Window) -> Verdict {
        let measured = match &self.subject {
            Subject::Delay { of, is_service, stat } => delay(of, *is_service, *stat, record, window),
            Subject::Figure(figure) => measure(figure, record, window),
        };
        match measured {
            Ok(value) => Verdict { slo: self.text.clone(), measured: self.measured(value) + self.remark(record), holds: self.holds(value) },
            Err(why) => Verdict { slo: self.text.clone(), measured: why, holds: false },
        }
    }

    /// The value, to as many digits as tell it from the bound: `0.9999` is not 1.
    fn measured(&self, value: f64) -> String {
        let unit = self.subject.unit();
        let texts = (3..=9).map(|digits| (unit.text(value, digits), unit.text(self.bound, digits)));
        let differing = texts.into_iter().find(|(text, bound)| text != bound);
        differing.map_or_else(|| unit.text(value, 3), |(text, _)| text)
    }

    /// What must be known beside the value.
    fn remark(&self, record: &Record) -> &'static str {
        let is_memory = matches!(self.subject, Subject::Figure(figure) if figure.unit == Unit::Size);
        let was_used = record.server.as_ref().is_some_and(|server| !server.used_before.is_empty());
        if is_memory && was_used { " (of a server that had been in use: start it anew)" } else { "" }
    }
}

impl Unit {
    fn text(self, value: f64, digits: usize) -> String {
        match self {
            Unit::Time => hist::time_digits(value, digits),
            Unit::Size => hist::bytes_digits(value, digits),
            Unit::Count => {
                let text = hist::digits(value, digits);
                let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
                let (whole, part) = (whole.parse().map_or(whole.to_owned(), grouped), part.trim_end_matches('0'));
                if part.is_empty() { whole } else { format!("{whole}.{part}") }
            }
        }
    }
}

fn delay(of: &Of, is_service: bool, stat: Stat, record: &Record, window: &Window) -> Result<f64, String> {
    let is_meant = |flow: &&FlowRecord| match of {
        Of::All => true,
        Of::Lane(lane) => flow.lane == *lane,
        Of::Class(class) => flow.class == *class,
    };
    let texts = window.flows.iter().filter(is_meant).map(|flow| if is_service { &flow.service } else { &flow.latency });
    let value = statistic(&hist::merge(texts.map(String::as_str))?, stat);
    value.ok_or_else(|| {
        let nothing = match of {
            Of::All => "nothing arrived".to_owned(),
            Of::Lane(lane) => format!("nothing arrived in lane {}", lane_name(*lane)),
            Of::Class(class) => format!("nothing arrived in {class}"),
        };
        let totals = &record.totals;
        let refused = window.flows.iter().filter(is_meant).filter_map(|flow| totals.refused_of.get(flow.flow)).sum::<u64>();
        if refused == 0 {
            return nothing;
        }
        format!("{nothing}: the server refused {} of its publishes, the last one with: {}", grouped(refused), totals.last_refusal)
    })
}

fn statistic(hist: &Hist, stat: Stat) -> Option<f64> {
    (!hist.is_empty()).then(|| match stat {
        Stat::Quantile(q) => hist.value_at_quantile(q) as f64,
        Stat::Max => hist.max() as f64,
        Stat::Mean => hist.mean(),
    })
}

fn of_hist(text: &str, stat: Stat, scale: f64) -> Result<f64, String> {
    statistic(&hist::decode(text)?, stat).map(|value| value * scale).ok_or_else(|| "nothing was measured".to_owned())
}

fn measure(figure: &Figure, record: &Record, window: &Window) -> Result<f64, String> {
    const P99: Stat = Stat::Quantile(0.99);
    let (totals, connect) = (&record.totals, &record.connect);
    let received: u64 = window.flows.iter().map(|flow| flow.received).sum();
    let published: u64 = window.flows.iter().map(|flow| flow.published).sum();
    match figure.name {
        "faults" => Ok(totals.faults.total() as f64),
        "told_missing" => Ok(totals.told_missing as f64),
        "refused" => Ok(totals.refused() as f64),
        "connect.rate" => ratio(f64::from(connect.joined), connect.seconds),
        "connect.success" => ratio(f64::from(connect.joined), f64::from(connect.wanted)),
        "connect.p99" => of_hist(&connect.took_us, P99, 1e3),
        "reconnect.p99" => of_hist(&totals.reconnect_us, P99, 1e3),
        "deliveries_per_s" => ratio(received as f64, window.seconds),
        "publishes_per_s" => ratio(published as f64, window.seconds),
        "generator.slip.p99" => of_hist(&window.slip_ns, P99, 1.0),
        "generator.slip.max" => of_hist(&window.slip_ns, Stat::Max, 1.0),
        "generator.busiest_worker" => Ok(record.generator.busiest_worker),
        "server.cpu_per_delivery" => ratio(window.server_cpu_s.ok_or_else(no_server)? * 1e9, received as f64),
        "server.rss_per_connection" => {
            let server = record.server.as_ref().ok_or_else(no_server)?;
            ratio(server.rss_joined_bytes.saturating_sub(server.rss_before_bytes) as f64, f64::from(connect.joined))
        }
        other => Err(format!("`{other}` is measured nowhere")),
    }
}

fn no_server() -> String {
    "the server's process was not found: run on its machine, or give --server-pid".to_owned()
}

fn ratio(of: f64, to: f64) -> Result<f64, String> {
    if to > 0.0 { Ok(of / to) } else { Err("nothing was measured".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Connect, Generator, Machine, Server, Totals};
    use crate::scenario::{Lane, Scenario};
    use crate::scenarios::named;
    use crate::slo::FIGURES;

    fn hist_of(values: impl IntoIterator<Item = u64>) -> String {
        let mut hist = hist::new();
        for value in values {
            hist.saturating_record(value);
        }
        hist::encode(&hist)
    }

    /// Alerts of 1 to 100 ms; updates of 1 s, of which there are 100 too.
    fn record(scenario: Scenario) -> Record {
        let flow = |flow, lane, latency: String| FlowRecord {
            flow,
            lane,
            class: "all".to_owned() + &flow.to_string(),
            published: 10,
            received: 100,
            service: hist_of([500_000]),
            latency,
        };
        let alerts = flow(0, Lane::Alert, hist_of((1..=100).map(|ms| ms * 1_000_000)));
        let updates = flow(1, Lane::Update, hist_of([1_000_000_000; 100]));
        let window = Window {
            factor: 1.0,
            seconds: 2.0,
            flows: vec![alerts, updates],
            slip_ns: hist_of([1_000]),
            server_cpu_s: Some(0.002),
            ..Window::default()
        };
        let server = Server { rss_before_bytes: 1_000, rss_joined_bytes: 16_000, ..Server::default() };
        Record {
            format: 1,
            began_unix_s: 0,
            version: String::new(),
            machine: Machine::default(),
            target: String::new(),
            scenario,
            scaled: Vec::new(),
            connect: Connect { wanted: 10, joined: 10, seconds: 0.1, took_us: hist_of([700]), ..Connect::default() },
            windows: vec![window],
            seconds: Vec::new(),
            totals: Totals { answers: [("accepted".into(), 18), ("queue_full".into(), 2)].into(), ..Totals::default() },
            generator: Generator::default(),
            server: Some(server),
            verdicts: Vec::new(),
            cut: None,
        }
    }

    fn judged(text: &str) -> (String, bool) {
        let scenario = named("smoke").expect("built in");
        let record = record(scenario.clone());
        let verdict = Slo::parse(text, &scenario).expect(text).judge(&record, &record.windows[0]);
        (verdict.measured, verdict.holds)
    }

    fn says(text: &str, measured: &str, holds: bool) {
        assert_eq!(judged(text), (measured.to_owned(), holds), "{text}");
    }

    #[test]
    fn figures_come_from_where_they_are() {
        says("alert.p99<100ms", "99.0 ms", true);
        says("alert.max<100ms", "100.01 ms", false);
        says("all.p50<500ms", "100 ms", true);
        says("all.p90<500ms", "1.00 s", false);
        says("update.service.mean<1ms", "500 µs", true);
        says("refused<=1", "2", false);
        says("faults<=0", "0", true);
        says("connect.rate>=100", "100", true);
        says("connect.success>=0.95", "1", true);
        says("connect.p99<1ms", "700 µs", true);
        says("deliveries_per_s>=100", "100", true);
        says("publishes_per_s>=100", "10", false);
        says("generator.slip.p99<1ms", "1.00 µs", true);
        says("server.cpu_per_delivery<20us", "10.0 µs", true);
        says("server.rss_per_connection<1536B", "1.46 KiB", true);
    }

    /// A value that rounds to its bound is told apart from it.
    #[test]
    fn a_value_beside_its_bound_is_not_shown_as_the_bound() {
        let scenario = named("smoke").expect("built in");
        let text = |slo: &str, value| Slo::parse(slo, &scenario).expect(slo).measured(value);
        assert_eq!(text("connect.success>=1", 0.9999), "0.9999");
        assert_eq!(text("connect.success>=1", 1.0), "1");
        assert_eq!(text("all.p99<5ms", 5_003_000.0), "5.003 ms");
        assert_eq!(text("deliveries_per_s>=50000", 49_999.6), "49,999.6");
        assert_eq!(text("deliveries_per_s>=50000", 51_234.6), "51,235");
        assert_eq!(text("server.rss_per_connection<1KiB", 1024.5), "1.0005 KiB");
    }

    #[test]
    fn memory_of_a_used_server_is_marked() {
        let scenario = named("smoke").expect("built in");
        let mut record = record(scenario.clone());
        record.server.as_mut().expect("found").used_before = "it had 3 connections".into();
        let slo = Slo::parse("server.rss_per_connection<1536B", &scenario).expect("a figure");
        assert_eq!(slo.judge(&record, &record.windows[0]).measured, "1.46 KiB (of a server that had been in use: start it anew)");
    }

    #[test]
    fn a_flow_of_which_everything_was_refused_says_so() {
        let scenario = named("smoke").expect("built in");
        let mut record = record(scenario.clone());
        record.windows[0].flows[0].latency = String::new();
        (record.totals.refused_of, record.totals.last_refusal) = (vec![1_200, 0], "no such lane".into());
        let slo = Slo::parse("alert.p99<1s", &scenario).expect("a lane");
        let told = "nothing arrived in lane alert: the server refused 1,200 of its publishes, the last one with: no such lane";
        assert_eq!(slo.judge(&record, &record.windows[0]).measured, told);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        says("metric.p99<1h", "nothing arrived in lane metric", false);
        says("reconnect.p99<1h", "nothing was measured", false);
        let scenario = named("smoke").expect("built in");
        let record = Record { server: None, ..record(scenario.clone()) };
        let slo = Slo::parse("server.rss_per_connection<1GiB", &scenario).expect("a figure");
        assert!(slo.judge(&record, &record.windows[0]).measured.contains("--server-pid"));
    }

    /// A figure in the table is one that can be measured.
    #[test]
    fn every_figure_is_measured_somewhere() {
        let record = record(named("smoke").expect("built in"));
        for figure in FIGURES {
            assert!(!measure(figure, &record, &record.windows[0]).is_err_and(|why| why.contains("nowhere")), "{}", figure.name);
        }
    }
}
