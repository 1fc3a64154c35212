//! What must hold: `alert.p99<5ms`, `faults<=0`. Read once against the scenario; judged against a record.
//!
//! `<subject><op><value>`, `op` being one of `<` `<=` `>` `>=`. A subject is
//!
//! - `<lane>.<stat>`, `<class of rooms>.<stat>` or `all.<stat>`: latency from the intended time; `stat` is `p50`, `p90`, `p99`, `p99.9`,
//!   `p99.99`, `max` or `mean`; `<lane>.service.<stat>` and so on: service time;
//! - or one of the figures in [`FIGURES`].

use std::time::Duration;

mod judge;

use crate::scenario::{Lane, Scenario};
use crate::units;

/// A requirement, as it was asked and as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// As it was asked.
    pub text: String,
    subject: Subject,
    op: Op,
    bound: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Subject {
    Delay { of: Of, is_service: bool, stat: Stat },
    Figure(&'static Figure),
}

/// Whose deliveries.
#[derive(Clone, Debug, PartialEq)]
enum Of {
    All,
    Lane(Lane),
    Class(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stat {
    /// 0 to 1.
    Quantile(f64),
    Max,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// A plain number.
    Count,
    /// Nanoseconds.
    Time,
    /// Bytes.
    Size,
}

/// A figure that an SLO can be about, beside latencies.
#[derive(Debug, PartialEq)]
pub struct Figure {
    /// The subject.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    unit: Unit,
    /// Known of each step of a ramp, not of the whole run alone.
    of_a_step: bool,
}

const fn figure(name: &'static str, unit: Unit, of_a_step: bool, about: &'static str) -> Figure {
    Figure { name, about, unit, of_a_step }
}

/// All of them.
pub const FIGURES: &[Figure] = &[
    figure("faults", Unit::Count, false, "missing, doubled, disordered, misrouted, corrupt, stale and closed, together"),
    figure("told_missing", Unit::Count, false, "events that a `gap` told of"),
    figure("refused", Unit::Count, false, "publishes that the server refused"),
    figure("connect.rate", Unit::Count, false, "connections joined to all their rooms per second"),
    figure("connect.success", Unit::Count, false, "share of the connections that joined, 0 to 1"),
    figure("connect.p99", Unit::Time, false, "from connect to the last `caught_up`"),
    figure("reconnect.p99", Unit::Time, false, "the same of reconnects"),
    figure("deliveries_per_s", Unit::Count, true, "distinct events verified per second, over all connections"),
    figure("publishes_per_s", Unit::Count, true, "events published per second"),
    figure("generator.slip.p99", Unit::Time, true, "how late the publisher was"),
    figure("generator.slip.max", Unit::Time, true, "the same, at most"),
    figure("generator.busiest_worker", Unit::Count, false, "share of a processor that the busiest worker took"),
    figure("server.cpu_per_delivery", Unit::Time, true, "processor time of the server for each delivery"),
    figure("server.rss_per_connection", Unit::Size, false, "resident bytes that each idle connection added to the server"),
];

const STATS: [(&str, Stat); 7] = [
    ("p50", Stat::Quantile(0.5)),
    ("p90", Stat::Quantile(0.9)),
    ("p99", Stat::Quantile(0.99)),
    ("p99.9", Stat::Quantile(0.999)),
    ("p99.99", Stat::Quantile(0.9999)),
    ("max", Stat::Max),
    ("mean", Stat::Mean),
];

/// Whether a class of rooms may not be called so, because an SLO means something else by it.
pub fn is_reserved(class: &str) -> bool {
    let lane = Lane::ALL.iter().any(|lane| crate::payload::lane_name(*lane) == class);
    let figure = FIGURES.iter().any(|figure| figure.name.split('.').next() == Some(class));
    lane || figure || class == "all"
}

impl Slo {
    /// Reads one. The message says what is wrong, and what there is.
    pub fn parse(text: &str, scenario: &Scenario) -> Result<Slo, String> {
        let trimmed = text.trim();
        let at =
            trimmed.find(['<', '>']).ok_or_else(|| format!("`{text}` has no `<`, `<=`, `>` or `>=`: write it like `alert.p99<5ms`"))?;
        let (left, right) = (trimmed[..at].trim(), &trimmed[at..]);
        let ops = [("<=", Op::AtMost), (">=", Op::AtLeast), ("<", Op::Less), (">", Op::More)];
        let (op, value) = ops.iter().find_map(|(sign, op)| Some((*op, right.strip_prefix(sign)?))).expect("it begins with < or >");
        let subject = subject(left, scenario).map_err(|error| format!("`{text}`: {error}"))?;
        let bound = bound(value.trim(), subject.unit()).map_err(|error| format!("`{text}`: {error}"))?;
        Ok(Slo { text: trimmed.to_owned(), subject, op, bound })
    }

    /// Whether it can be judged of one step of a ramp.
    pub fn is_of_a_step(&self) -> bool {
        match &self.subject {
            Subject::Delay { .. } => true,
            Subject::Figure(figure) => figure.of_a_step,
        }
    }

    /// The bound, if it is one on latency from the intended time: what the publisher's own delay is measured against.
    pub fn latency_bound(&self) -> Option<Duration> {
        let is_latency = matches!(self.subject, Subject::Delay { is_service: false, .. });
        is_latency.then(|| Duration::from_nanos(self.bound as u64))
    }

    fn holds(&self, measured: f64) -> bool {
        match self.op {
            Op::Less => measured < self.bound,
            Op::AtMost => measured <= self.bound,
            Op::More => measured > self.bound,
            Op::AtLeast => measured >= self.bound,
        }
    }
}

impl Subject {
    fn unit(&self) -> Unit {
        match self {
            Subject::Delay { .. } => Unit::Time,
            Subject::Figure(figure) => figure.unit,
        }
    }
}

fn subject(text: &str, scenario: &Scenario) -> Result<Subject, String> {
    if let Some(figure) = FIGURES.iter().find(|figure| figure.name == text) {
        return Ok(Subject::Figure(figure));
    }
    let (of, rest) = text.split_once('.').unwrap_or((text, ""));
    let of = delays_of(of, scenario).ok_or_else(|| format!("`{of}` is nothing that is measured here; there is {}", possible(scenario)))?;
    let (is_service, stat) = rest.strip_prefix("service.").map_or((false, rest), |stat| (true, stat));
    let known = STATS.iter().find(|(name, _)| *name == stat);
    let names = || STATS.map(|(name, _)| name).join(", ");
    let (_, stat) = known.ok_or_else(|| format!("`{stat}` is no statistic; there is {}", names()))?;
    Ok(Subject::Delay { of, is_service, stat: *stat })
}

fn delays_of(name: &str, scenario: &Scenario) -> Option<Of> {
    let lane = |lane: &&Lane| crate::payload::lane_name(**lane) == name && scenario.flows.iter().any(|flow| flow.lane == **lane);
    if name == "all" && !scenario.flows.is_empty() {
        return Some(Of::All);
    }
    if let Some(lane) = Lane::ALL.iter().find(lane) {
        return Some(Of::Lane(*lane));
    }
    scenario.flows.iter().any(|flow| flow.rooms == name).then(|| Of::Class(name.to_owned()))
}

/// Every first word that an SLO of this scenario can have.
fn possible(scenario: &Scenario) -> String {
    let mut names: Vec<&str> = Lane::ALL.map(crate::payload::lane_name).to_vec();
    names.push("all");
    names.extend(scenario.rooms.iter().map(|room| room.class.as_str()));
    names.retain(|name| delays_of(name, scenario).is_some());
    let delays = names.iter().map(|name| format!("{name}.p99"));
    delays.chain(FIGURES.iter().map(|figure| figure.name.to_owned())).collect::<Vec<_>>().join(", ")
}

fn bound(text: &str, unit: Unit) -> Result<f64, String> {
    match unit {
        Unit::Time => Ok(units::parse_duration(text)?.as_nanos() as f64),
        Unit::Size => Ok(units::parse_size(text)? as f64),
        Unit::Count => {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
            number.ok_or_else(|| format!("`{text}` is no number: write it like 0, 0.95 or 50000"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::named;

    fn parse(text: &str) -> Result<Slo, String> {
        Slo::parse(text, &named("smoke").expect("built in"))
    }

    #[test]
    fn every_form_is_understood() {
        let slo = parse(" alert.p99.9 <= 1.5ms ").expect("spaces do not matter");
        let stat = Stat::Quantile(0.999);
        assert_eq!((slo.text.as_str(), slo.op, slo.bound), ("alert.p99.9 <= 1.5ms", Op::AtMost, 1.5e6));
        assert_eq!(slo.subject, Subject::Delay { of: Of::Lane(Lane::Alert), is_service: false, stat });
        assert_eq!(parse("all.service.max<1s").expect("service time").latency_bound(), None);
        assert_eq!(parse("all.mean<1s").expect("latency").latency_bound(), Some(Duration::from_secs(1)));
        for text in FIGURES.iter().map(|figure| match figure.unit {
            Unit::Count => format!("{}>=0.5", figure.name),
            Unit::Time => format!("{}<500us", figure.name),
            Unit::Size => format!("{}<1.5KiB", figure.name),
        }) {
            assert!(parse(&text).is_ok(), "{text}");
        }
        assert_eq!(parse("server.rss_per_connection<1536B").expect("bytes").bound as u64, 1536);
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_there_is() {
        for (text, told) in [
            ("alert.p99=5ms", "has no `<`"),
            ("alert.p98<5ms", "`p98` is no statistic; there is p50, p90, p99, p99.9, p99.99, max, mean"),
            ("alert<5ms", "is no statistic"),
            ("alarm.p99<5ms", "there is alert.p99, update.p99, metric.p99, all.p99"),
            ("faults.p99<5ms", "nothing that is measured here"),
            ("alert.p99<5", "write it like"),
            ("alert.p99<5m5", "write it like"),
            ("faults<=none", "is no number"),
            ("faults<=-1", "is no number"),
            ("faults<=nan", "is no number"),
            ("server.rss_per_connection<1s", "write it like"),
            ("<5ms", "nothing that is measured here"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_bound_is_held_or_not() {
        let holds = |text: &str, measured: f64| parse(text).expect(text).holds(measured);
        assert!(!holds("all.p99<5ms", 5e6) && holds("all.p99<=5ms", 5e6));
        assert!(!holds("deliveries_per_s>5", 5.0) && holds("deliveries_per_s>=5", 5.0));
    }
}
