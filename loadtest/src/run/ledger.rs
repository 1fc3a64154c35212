//! What the workers say, added up. Pure.

use std::collections::BTreeMap;

use crate::control::{Final, FlowWindow, Second};
use crate::hist::{self, Hist};
use crate::record::{Connect, FlowRecord, Moment, Totals};
use crate::scenario::{Lane, Mode, Scenario};

/// Seconds as they come, from each worker at its own time.
pub(super) struct Ledger {
    lanes: Vec<Lane>,
    /// The newest of each worker.
    newest: Vec<Second>,
    /// Those that have reported since the last moment.
    fresh: Vec<bool>,
    /// What arrived since the last moment, by lane.
    arrived: BTreeMap<Lane, Hist>,
    /// At the last moment.
    received: u64,
    bytes: u64,
}

impl Ledger {
    /// For so many workers.
    pub(super) fn new(scenario: &Scenario, workers: usize) -> Ledger {
        let lanes: Vec<Lane> = scenario.flows.iter().map(|flow| flow.lane).collect();
        let arrived = lanes.iter().map(|lane| (*lane, hist::new())).collect();
        Ledger { lanes, newest: vec![Second::default(); workers], fresh: vec![false; workers], arrived, received: 0, bytes: 0 }
    }

    /// That worker's connections have joined: its seconds, which say so too, are still to come.
    pub(super) fn joined_at_first(&mut self, worker: usize, joined: u32) {
        self.newest[worker].joined = joined;
    }

    /// A worker's second.
    pub(super) fn add(&mut self, worker: usize, second: Second) -> Result<(), String> {
        for (lane, flow) in self.lanes.iter().zip(&second.flows) {
            if let Some(arrived) = self.arrived.get_mut(lane) {
                hist::add_encoded(arrived, &flow.latency)?;
            }
        }
        self.newest[worker] = second;
        self.fresh[worker] = true;
        Ok(())
    }

    /// Whether every worker has reported a second since the last moment.
    pub(super) fn is_complete(&self) -> bool {
        self.fresh.iter().all(|fresh| *fresh)
    }

    /// Closes a moment: what came since the last one.
    pub(super) fn moment(&mut self) -> Moment {
        let received: u64 = (0..self.lanes.len()).map(|flow| self.received(flow)).sum();
        let bytes: u64 = self.newest.iter().map(|second| second.bytes).sum();
        let moment = Moment {
            joined: self.joined(),
            received: received.saturating_sub(self.received),
            bytes: bytes.saturating_sub(self.bytes),
            latency: self.arrived.iter().map(|(lane, arrived)| (*lane, hist::encode(arrived))).collect(),
            faults: self.faults(),
            ..Moment::default()
        };
        (self.received, self.bytes) = (received, bytes);
        self.fresh.fill(false);
        for arrived in self.arrived.values_mut() {
            arrived.reset();
        }
        moment
    }

    /// Connections that are joined now.
    pub(super) fn joined(&self) -> u32 {
        self.newest.iter().map(|second| second.joined).sum()
    }

    /// Events of that flow received so far.
    pub(super) fn received(&self, flow: usize) -> u64 {
        self.newest.iter().filter_map(|second| second.flows.get(flow)).map(|flow| flow.received).sum()
    }

    /// Faults so far.
    pub(super) fn faults(&self) -> u64 {
        self.newest.iter().map(|second| second.faults.total()).sum()
    }
}

/// The flows of one window, as each worker has them.
pub(super) fn flows(scenario: &Scenario, published: &[u64], workers: &[Vec<FlowWindow>]) -> Result<Vec<FlowRecord>, String> {
    let of = |flow: usize| workers.iter().filter_map(move |windows| windows.get(flow));
    let one = |(at, flow): (usize, &crate::scenario::Flow)| {
        Ok(FlowRecord {
            flow: at,
            lane: flow.lane,
            class: flow.rooms.clone(),
            published: published.get(at).copied().unwrap_or(0),
            received: of(at).map(|window| window.received).sum(),
            latency: hist::encode(&hist::merge(of(at).map(|window| window.latency.as_str()))?),
            service: hist::encode(&hist::merge(of(at).map(|window| window.service.as_str()))?),
        })
    };
    scenario.flows.iter().enumerate().map(one).collect()
}

/// Deliveries of `stream` events that were sent and not refused, of each flow; 0 for other modes, where fewer may come.
pub(super) fn owed(scenario: &Scenario, sent: &[u64], refused: &[Vec<u64>]) -> Vec<u64> {
    let owed = scenario.flows.iter().enumerate().map(|(at, flow)| {
        let refused = refused.get(at).map_or(0, Vec::len) as u64;
        let accepted = sent.get(at).copied().unwrap_or(0).saturating_sub(refused);
        if flow.mode == Mode::Stream { accepted * u64::from(scenario.class_of(flow).1.members) } else { 0 }
    });
    owed.collect()
}

/// Adds the workers' accounts to the run's.
pub(super) fn close(totals: &mut Totals, finals: &[Final]) -> Result<(), String> {
    for last in finals {
        totals.received += last.received.iter().sum::<u64>();
        totals.faults.add(&last.faults);
        totals.apart.add(&last.apart);
        totals.told_missing += last.told_missing;
        totals.conflated += last.conflated;
        totals.transient_lost += last.transient_lost;
        totals.recovered += last.recovered;
        totals.not_recovered += last.not_recovered;
        merge_counts(&mut totals.closes, &last.closes);
    }
    totals.reconnect_us = hist::encode(&hist::merge(finals.iter().map(|last| last.reconnect_us.as_str()))?);
    Ok(())
}

/// How far one worker is with connecting.
#[derive(Clone, Debug, Default)]
pub(super) struct Connecting {
    /// Joined to all their rooms.
    pub joined: u32,
    /// By what was wrong.
    pub failed: BTreeMap<String, u32>,
    /// See [`Report::Connecting`](crate::control::Report::Connecting).
    pub took_us: String,
    /// Likewise.
    pub began_ns: u64,
    /// Likewise.
    pub joined_ns: u64,
    /// No more will come.
    pub is_done: bool,
}

/// All workers together.
pub(super) fn connect(wanted: u32, workers: &[Connecting]) -> Result<Connect, String> {
    // By the workers' clocks, which are one: how often they report is not to be seen in it.
    let began_ns = workers.iter().map(|worker| worker.began_ns).filter(|began_ns| *began_ns > 0).min().unwrap_or(0);
    let joined_ns = workers.iter().map(|worker| worker.joined_ns).max().unwrap_or(0);
    let mut connect = Connect { wanted, seconds: joined_ns.saturating_sub(began_ns) as f64 / 1e9, ..Connect::default() };
    for worker in workers {
        connect.joined += worker.joined;
        merge_counts(&mut connect.failed, &worker.failed);
    }
    connect.took_us = hist::encode(&hist::merge(workers.iter().map(|worker| worker.took_us.as_str()))?);
    Ok(connect)
}

fn merge_counts(to: &mut BTreeMap<String, u32>, from: &BTreeMap<String, u32>) {
    for (name, count) in from {
        *to.entry(name.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Faults;
    use crate::scenarios::named;

    fn encoded(values: &[u64]) -> String {
        let mut hist = hist::new();
        for value in values {
            hist.saturating_record(*value);
        }
        hist::encode(&hist)
    }

    fn second(received: u64, latency: &[u64]) -> Second {
        let flow = FlowWindow { received, latency: encoded(latency), service: String::new() };
        Second { joined: 5, bytes: received * 300, flows: vec![flow], ..Second::default() }
    }

    #[test]
    fn moments_hold_what_came_since_the_last() {
        let scenario = named("broadcast").expect("built in");
        let mut ledger = Ledger::new(&scenario, 2);
        ledger.joined_at_first(1, 7);
        assert_eq!(ledger.moment().joined, 7);
        ledger.add(0, second(3, &[10, 20, 30])).expect("encoded");
        assert!(!ledger.is_complete());
        ledger.add(1, second(1, &[40])).expect("encoded");
        assert!(ledger.is_complete());
        let first = ledger.moment();
        assert!(!ledger.is_complete());
        assert_eq!((first.received, first.bytes, first.joined), (4, 1_200, 10));
        assert_eq!(hist::decode(&first.latency[&Lane::Update]).expect("encoded").len(), 4);
        ledger.add(1, second(3, &[50, 60])).expect("encoded");
        let next = ledger.moment();
        assert_eq!((next.received, next.bytes), (2, 600));
        assert_eq!(hist::decode(&next.latency[&Lane::Update]).expect("encoded").min(), 50);
        assert_eq!((ledger.moment().received, ledger.received(0)), (0, 6));
    }

    #[test]
    fn windows_of_workers_add_up() {
        let scenario = named("broadcast").expect("built in");
        let of = |values: &[u64]| vec![FlowWindow { received: values.len() as u64, latency: encoded(values), service: encoded(&[1]) }];
        let flows = flows(&scenario, &[9], &[of(&[5, 6]), of(&[]), of(&[7])]).expect("encoded");
        assert_eq!((flows.len(), flows[0].published, flows[0].received, flows[0].class.as_str()), (1, 9, 3, "shared"));
        assert_eq!(hist::decode(&flows[0].latency).expect("encoded").max(), 7);
        assert!(super::flows(&scenario, &[9], &[vec![FlowWindow { latency: "?".into(), ..FlowWindow::default() }]]).is_err());
    }

    #[test]
    fn only_accepted_stream_events_are_owed() {
        let scenario = named("smoke").expect("built in");
        let owed = owed(&scenario, &[10, 10, 10, 10, 10], &[vec![1, 2], vec![3]]);
        assert_eq!(owed, [8, 9 * 50, 0, 0, 0], "private alerts, shared ticks; states and transients");
    }

    #[test]
    fn accounts_add_up() {
        let last = |n: u64| Final {
            received: vec![n, n],
            faults: Faults { missing: n, ..Faults::default() },
            closes: [("4103".to_owned(), n as u32)].into(),
            reconnect_us: encoded(&[n]),
            ..Final::default()
        };
        let mut totals = Totals::default();
        close(&mut totals, &[last(1), last(2)]).expect("encoded");
        assert_eq!((totals.received, totals.faults.missing, totals.closes["4103"]), (6, 3, 3));
        assert_eq!(hist::decode(&totals.reconnect_us).expect("encoded").len(), 2);
    }

    #[test]
    fn connections_add_up() {
        let worker = |joined, began_ns, joined_ns| Connecting {
            joined,
            failed: [("HTTP 503".to_owned(), 1)].into(),
            took_us: encoded(&[9]),
            began_ns,
            joined_ns,
            is_done: true,
        };
        let workers = [worker(4, 1_000_000, 2_000_000), worker(6, 1_500_000, 3_500_000), worker(0, 0, 0)];
        let connect = connect(12, &workers).expect("encoded");
        assert_eq!((connect.wanted, connect.joined, connect.failed["HTTP 503"]), (12, 10, 3));
        assert!((connect.seconds - 0.0025).abs() < 1e-9, "from the first connect of all to the last join of all: {}", connect.seconds);
    }
}
