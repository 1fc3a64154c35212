//! The worker's voice: a thread that adds up, compresses and prints, so that the loop is not kept from its sockets. It runs at the lowest
//! priority, because it may share its processor with the loop.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::control::{FlowWindow, Report, Second};

use super::recorder::{Pair, Taken, histogram_ns};

/// What the loop hands over.
#[derive(Debug)]
pub(super) enum Note {
    /// What came.
    Taken(Vec<Taken>),
    /// A second is over: everything but its flows, and what came of each flow so far.
    Second(Box<Second>, Vec<u64>),
    /// Report that window.
    Collect(u32),
    /// Report this as it is.
    Say(Box<Report>),
}

/// A histogram in a line of JSON: base64 of its V2 deflate form; empty if it is empty.
pub(super) fn packed(histogram: &Histogram<u64>) -> String {
    if histogram.is_empty() {
        return String::new();
    }
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("writing to a Vec does not fail");
    STANDARD.encode(bytes)
}

/// Reports until the loop is gone or nobody reads.
pub(super) fn run(notes: &Receiver<Note>, spare: &SyncSender<Pair>, flows: usize, output: &mut impl Write) {
    // A hint only: where it is refused, the thread runs like the loop.
    let _refused = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
    let mut reporter = Reporter { windows: BTreeMap::new(), second: vec![histogram_ns(); flows], flows, scratch: histogram_ns() };
    while let Ok(note) = notes.recv() {
        let report = match note {
            Note::Taken(taken) => {
                reporter.add(taken, spare);
                continue;
            }
            Note::Second(second, received) => reporter.second(*second, &received),
            Note::Collect(id) => reporter.window(id),
            Note::Say(report) => *report,
        };
        if say(output, &report).is_err() {
            return;
        }
    }
}

/// Writes one line.
pub(super) fn say(output: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

struct Reporter {
    /// By window and flow.
    windows: BTreeMap<u32, Vec<Total>>,
    /// Latency in this second, by flow.
    second: Vec<Histogram<u64>>,
    flows: usize,
    /// Empty between two uses.
    scratch: Histogram<u64>,
}

/// One flow in one window.
#[derive(Clone)]
struct Total {
    received: u64,
    latency: Histogram<u64>,
    service: Histogram<u64>,
}

impl Default for Total {
    fn default() -> Total {
        Total { received: 0, latency: histogram_ns(), service: histogram_ns() }
    }
}

impl Reporter {
    fn add(&mut self, all: Vec<Taken>, spare: &SyncSender<Pair>) {
        for taken in all {
            for (flow, cell) in taken.cells.into_iter().enumerate() {
                let window = taken.window.map(|id| self.windows.entry(id).or_insert_with(|| vec![Total::default(); self.flows]));
                let total = window.map(|flows| &mut flows[flow]);
                let Some(mut pair) = cell.pair else {
                    if let Some(total) = total {
                        total.received += cell.received;
                    }
                    continue;
                };
                pair.latency.drain_into(&mut self.scratch);
                let same = "all histograms have the same bounds";
                self.second[flow].add(&self.scratch).expect(same);
                if let Some(total) = total {
                    total.received += cell.received;
                    total.latency.add(&self.scratch).expect(same);
                    pair.service.drain_into(&mut total.service);
                } else {
                    pair.service.drain_into(&mut self.scratch);
                }
                self.scratch.reset();
                // If the loop has enough of them, this one is let go.
                let _enough = spare.try_send(pair);
            }
        }
    }

    fn second(&mut self, mut second: Second, received: &[u64]) -> Report {
        for (latency, received) in self.second.iter_mut().zip(received) {
            second.flows.push(FlowWindow { received: *received, latency: packed(latency), service: String::new() });
            if !latency.is_empty() {
                latency.reset();
            }
        }
        Report::Second(Box::new(second))
    }

    fn window(&mut self, id: u32) -> Report {
        let flows = self.windows.remove(&id).unwrap_or_else(|| vec![Total::default(); self.flows]);
        let flow = |total: Total| FlowWindow { received: total.received, latency: packed(&total.latency), service: packed(&total.service) };
        Report::Window { id, flows: flows.into_iter().map(flow).collect() }
    }
}
