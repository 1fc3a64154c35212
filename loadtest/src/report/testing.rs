//! Records made by hand, for the tests of what renders them.

use std::collections::BTreeMap;

use crate::control::{Apart, Faults};
use crate::hist;
use crate::record::{Connect, Cut, FlowRecord, Generator, Machine, Moment, Phase, Record, Server, Totals, Verdict, Window};
use crate::scenario::Lane;

const SCENARIO: &str = r#"
name = "desk"
about = "Private challenge rooms beside one market: what a desk's busy minute is like."
warmup_s = 5
duration_s = 30
slo = ["alert.p99<5ms", "update.p99<1ms"]
[connections]
count = 1000
rate = 500
[[room]]
class = "challenge"
name = "challenge:{n}"
count = 1000
members = 1
[[room]]
class = "market"
name = "market:{n}"
count = 1
members = 1000
[[flow]]
rooms = "challenge"
type = "RISK_ALERT"
lane = "alert"
mode = "stream"
catalog = true
rate = 100
bytes = 300
[[flow]]
rooms = "challenge"
type = "EQUITY_UPDATED"
lane = "update"
mode = "state"
catalog = true
rate = 2000
burst = 100
bytes = 300
[[flow]]
rooms = "market"
type = "market.note"
lane = "update"
mode = "stream"
rate = 2.5
bytes = 200
"#;

/// A histogram whose values rise evenly on a logarithmic scale, so that its quantiles are known by eye.
pub(crate) fn spread(from_ns: f64, to_ns: f64, count: u32) -> String {
    let mut hist = hist::new();
    for at in 0..count {
        hist.saturating_record((from_ns * (to_ns / from_ns).powf(f64::from(at) / f64::from(count))) as u64);
    }
    hist::encode(&hist)
}

fn flow(flow: usize, lane: Lane, class: &str, published: u64, received: u32, from_ns: f64, to_ns: f64) -> FlowRecord {
    let (latency, service) = (spread(from_ns, to_ns, received), spread(from_ns * 0.9, to_ns * 0.9, received));
    FlowRecord { flow, lane, class: class.into(), published, received: u64::from(received), latency, service }
}

fn window() -> Window {
    Window {
        factor: 1.0,
        seconds: 30.0,
        flows: vec![
            flow(0, Lane::Alert, "challenge", 3_000, 3_000, 100e3, 2e6),
            flow(1, Lane::Update, "challenge", 60_000, 59_000, 150e3, 9e6),
            flow(2, Lane::Update, "market", 75, 75_000, 200e3, 80e6),
        ],
        slip_ns: spread(1e3, 60e3, 63_075),
        generator_cpu_s: 6.5,
        server_cpu_s: Some(1.37),
        held: None,
        because: String::new(),
    }
}

fn moment(at: u32) -> Moment {
    let latency = [(Lane::Alert, spread(100e3, 2e6, 100)), (Lane::Update, spread(150e3, 80e6, 4_467))];
    Moment {
        at_s: f64::from(at),
        phase: if at == 1 { Phase::Warmup } else { Phase::Measured },
        joined: 1000,
        published: 2_102,
        received: 4_567,
        bytes: 2_345_678,
        latency: latency.into_iter().collect(),
        faults: 0,
        slip_max_ns: 61_234,
        server_rss_bytes: Some(24_000_000 + u64::from(at)),
        server_cpu_s: Some(0.046),
        generator_cpu_s: 0.217,
    }
}

/// A run without faults.
pub(crate) fn plain() -> Record {
    Record {
        format: 1,
        began_unix_s: 1_735_689_599,
        version: "0.1.0".into(),
        machine: Machine { cpus: 2, cpu_model: "Fast CPU @ 3 GHz".into(), memory_bytes: 24 << 30, kernel: "Linux 6.1.0".into() },
        target: "ws://127.0.0.1:8080/v1/ws".into(),
        scenario: toml::from_str(SCENARIO).expect("valid"),
        scaled: Vec::new(),
        connect: Connect { wanted: 1000, joined: 1000, failed: BTreeMap::new(), seconds: 2.0, took_us: spread(400.0, 9_000.0, 1000) },
        windows: vec![window()],
        seconds: (1..=3).map(moment).collect(),
        totals: Totals {
            published: 73_577,
            answers: [("accepted".into(), 73_577)].into(),
            expected: 91_000,
            received: 159_900,
            conflated: 1_166,
            closes: [("1000".into(), 1000)].into(),
            ..Totals::default()
        },
        generator: Generator { workers: 1, cpu_s: 8.25, turn_ns_max: 3_100_000, busiest_worker: 0.21 },
        server: Some(Server {
            pid: 4242,
            command: "target/release/tickerd".into(),
            used_before: String::new(),
            rss_before_bytes: 8_000_000,
            rss_joined_bytes: 9_536_000,
            rss_end_bytes: 11_000_000,
            rss_max_bytes: 12_000_000,
            cpu_s: 1.37,
        }),
        verdicts: vec![
            Verdict { slo: "alert.p99<5ms".into(), measured: "1.94 ms".into(), holds: true },
            Verdict { slo: "update.p99<1ms".into(), measured: "63.9 ms".into(), holds: false },
        ],
        cut: None,
    }
}

/// A run that the user ended.
pub(crate) fn interrupted() -> Record {
    let cut = Cut { cause: None, measured_s: 12.34, wanted_s: Some(30.0) };
    let mut record = plain();
    record.verdicts.insert(0, Verdict { slo: "the whole run".into(), measured: cut.text(), holds: false });
    record.cut = Some(cut);
    record
}

/// A run in which all went wrong that can.
pub(crate) fn troubled() -> Record {
    let mut record = plain();
    record.connect.joined = 990;
    record.connect.failed = [("refused".to_owned(), 4), ("timeout".to_owned(), 6)].into();
    record.totals.faults = Faults { missing: 3, misrouted: 1, ..Faults::default() };
    record.totals.answers = [("accepted".to_owned(), 73_000), ("queue_full".to_owned(), 577)].into();
    record.totals.last_refusal = "the queue of room challenge:7 is full".into();
    record.totals.apart = Apart { slow_owed: 4_000, slow_came: 1_200, slow_told: 2_500, absent_owed: 910 };
    record.totals.told_missing = 12;
    record.totals.transient_lost = 7;
    record.totals.recovered = 98;
    record.totals.not_recovered = 2;
    record.totals.reconnect_us = spread(1e3, 50e3, 100);
    record.totals.closes = [("1000".to_owned(), 900), ("4103".to_owned(), 90)].into();
    record.generator.busiest_worker = 0.97;
    record.windows[0].slip_ns = spread(100e3, 40e6, 63_075);
    record.server = None;
    record.windows[0].server_cpu_s = None;
    record
}

/// A search with three steps that held or failed.
pub(crate) fn ramp() -> Record {
    let mut record = plain();
    record.verdicts.clear();
    record.windows = [(1.0, Some(true), ""), (4.0, Some(false), "update.p99 81.2 ms, bound 50ms"), (3.0, Some(true), "")]
        .map(|(factor, held, because)| Window { factor, held, because: because.into(), ..window() })
        .into();
    for window in &mut record.windows {
        window.flows.iter_mut().for_each(|flow| flow.published = (flow.published as f64 * window.factor) as u64);
    }
    record
}

/// What a function writes, as text.
pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("a Vec takes all");
    String::from_utf8(out).expect("reports are text")
}
