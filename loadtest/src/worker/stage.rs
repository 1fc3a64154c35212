//! What the coordinator wants of the worker, and what it is told.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::control::{Command, Final, Report, Second};

use super::engine::{Engine, SECOND_NS, Timer, now_ns};
use super::recorder::histogram_us;
use super::reporter::{Note, packed};
use super::verify::account::Published;
use super::{Input, Ports};

/// Between two reports while connecting.
const PROGRESS_NS: u64 = SECOND_NS / 10;
/// Between two looks at whether all has come.
const FINISH_NS: u64 = SECOND_NS / 50;
/// How long it must be quiet once all has come: what comes twice comes late.
const QUIET_NS: u64 = SECOND_NS / 10;
/// The longest time that a finish waits, however patient the coordinator is.
const FINISH_NS_MAX: u64 = 300 * SECOND_NS;

/// How far the run is, and what was counted that is no event.
pub(super) struct Stage {
    /// All connections have been tried.
    is_connected: bool,
    joined: u32,
    settled: u32,
    failed: BTreeMap<String, u32>,
    took_us: Histogram<u64>,
    /// When the first connect began and the last first join was whole.
    began_ns: u64,
    joined_ns: u64,
    closes: BTreeMap<String, u32>,
    recovered: u32,
    not_recovered: u32,
    reconnect_us: Histogram<u64>,
    turn_ns_max: u64,
    finishing: Option<Finishing>,
}

struct Finishing {
    published: Published,
    patience_ns: u64,
    since_ns: u64,
    quiet_since_ns: u64,
    arrivals: u64,
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage {
            is_connected: false,
            joined: 0,
            settled: 0,
            failed: BTreeMap::new(),
            took_us: histogram_us(),
            began_ns: 0,
            joined_ns: 0,
            closes: BTreeMap::new(),
            recovered: 0,
            not_recovered: 0,
            reconnect_us: histogram_us(),
            turn_ns_max: 0,
            finishing: None,
        }
    }

    /// A turn of the loop took so long. Connecting does not count: tokens are signed then, and nothing is measured.
    pub(super) fn turn(&mut self, took_ns: u64) {
        if self.is_connected {
            self.turn_ns_max = self.turn_ns_max.max(took_ns);
        }
    }

    /// Connecting begins.
    pub(super) fn began(&mut self, now_ns: u64) {
        self.began_ns = now_ns;
    }

    /// A connection is joined to all its rooms.
    pub(super) fn joined(&mut self, is_first: bool, is_recovered: bool, took_ns: u64, now_ns: u64) {
        self.joined += 1;
        if is_first {
            self.settled += 1;
            self.joined_ns = now_ns;
            self.took_us.saturating_record(took_ns / 1000);
            return;
        }
        self.reconnect_us.saturating_record(took_ns / 1000);
        self.recovered += u32::from(is_recovered);
        self.not_recovered += u32::from(!is_recovered);
    }

    /// A first attempt has failed.
    pub(super) fn failed(&mut self, why: &str) {
        self.settled += 1;
        *self.failed.entry(why.to_owned()).or_default() += 1;
    }

    /// A later connection was closed or has failed.
    pub(super) fn lost(&mut self, was_joined: bool, why: &str) {
        self.joined -= u32::from(was_joined);
        *self.closes.entry(why.to_owned()).or_default() += 1;
    }

    /// A connection is reset on purpose.
    pub(super) fn storm(&mut self, was_joined: bool) {
        self.joined -= u32::from(was_joined);
    }
}

impl Engine {
    /// Does what the coordinator says. `false`: it is time to go.
    pub(super) fn input(&mut self, input: Input, ports: Ports<'_>) -> Result<bool, String> {
        let command = match input {
            Input::Command(command) => command,
            Input::Wrong(why) => return Err(why),
            Input::End => return Ok(false),
        };
        match command {
            Command::Connect => self.connect_all(),
            Command::Window { id, from_ns } => self.shared.recorder.open(id, from_ns),
            Command::Collect { id } => {
                let is_heard = self.hand_over(ports) && ports.notes.send(Note::Collect(id)).is_ok();
                self.shared.recorder.close(id);
                return Ok(is_heard);
            }
            Command::Storm { share, reconnect_rate } => self.storm(share, reconnect_rate),
            Command::Finish { sent, refused, patience_ms } => {
                let (published, now_ns) = (Published::new(&self.plan.scenario, &sent, &refused), now_ns());
                let arrivals = self.shared.verifier.arrivals();
                let patience_ns = patience_ms.saturating_mul(1_000_000);
                self.stage.finishing = Some(Finishing { published, patience_ns, since_ns: now_ns, quiet_since_ns: now_ns, arrivals });
                self.at(now_ns + FINISH_NS, Timer::Finish);
            }
        }
        Ok(true)
    }

    /// Hands what was measured to the reporter, and takes back what it has emptied.
    fn hand_over(&mut self, ports: Ports<'_>) -> bool {
        while let Ok(pair) = ports.spares.try_recv() {
            self.shared.recorder.give_back(pair);
        }
        let taken = self.shared.recorder.take();
        taken.is_empty() || ports.notes.send(Note::Taken(taken)).is_ok()
    }

    /// Tells how far connecting is, until it is done.
    pub(super) fn progress(&mut self, at_ns: u64, ports: Ports<'_>) -> bool {
        let stage = &mut self.stage;
        stage.is_connected = stage.settled == self.plan.count;
        let took_us = if stage.is_connected { packed(&stage.took_us) } else { String::new() };
        let (began_ns, joined_ns) = (stage.began_ns, stage.joined_ns);
        let report = Report::Connecting {
            joined: stage.joined,
            failed: stage.failed.clone(),
            took_us,
            began_ns,
            joined_ns,
            done: stage.is_connected,
        };
        if self.stage.is_connected {
            self.at(now_ns() + SECOND_NS, Timer::Second);
        } else {
            self.at(at_ns + PROGRESS_NS, Timer::Progress);
        }
        ports.notes.send(Note::Say(Box::new(report))).is_ok()
    }

    /// A second is over.
    pub(super) fn second(&mut self, at_ns: u64, ports: Ports<'_>) -> bool {
        self.at(at_ns + SECOND_NS, Timer::Second);
        let second = Second {
            at_ns: now_ns(),
            joined: self.stage.joined,
            cpu_s: cpu_s(),
            bytes: self.bytes,
            flows: Vec::new(),
            faults: self.shared.verifier.faults(),
        };
        let received = self.shared.verifier.received().to_vec();
        self.hand_over(ports) && ports.notes.send(Note::Second(Box::new(second), received)).is_ok()
    }

    /// Looks whether all has come, and reports the account if it has or nothing more is to be expected.
    pub(super) fn finish(&mut self, ports: Ports<'_>) -> bool {
        let Some(finishing) = &mut self.stage.finishing else {
            return true;
        };
        let (now_ns, arrivals) = (now_ns(), self.shared.verifier.arrivals());
        if arrivals != finishing.arrivals {
            (finishing.arrivals, finishing.quiet_since_ns) = (arrivals, now_ns);
        }
        let quiet_ns = now_ns - finishing.quiet_since_ns;
        let is_over = quiet_ns >= finishing.patience_ns
            || now_ns - finishing.since_ns >= FINISH_NS_MAX
            || quiet_ns >= QUIET_NS && self.shared.verifier.has_all(&finishing.published);
        if !is_over {
            self.at(now_ns + FINISH_NS, Timer::Finish);
            return true;
        }
        let account = self.shared.verifier.account(&finishing.published);
        let stage = &mut self.stage;
        stage.finishing = None;
        let report = Final {
            received: self.shared.verifier.received().to_vec(),
            faults: account.faults,
            apart: account.apart,
            told_missing: account.told_missing,
            conflated: account.conflated,
            transient_lost: account.transient_lost,
            closes: stage.closes.clone(),
            recovered: stage.recovered,
            not_recovered: stage.not_recovered,
            reconnect_us: packed(&stage.reconnect_us),
            pongs: self.shared.pongs,
            cpu_s: cpu_s(),
            turn_ns_max: stage.turn_ns_max,
        };
        self.hand_over(ports) && ports.notes.send(Note::Say(Box::new(Report::Final(Box::new(report))))).is_ok()
    }
}

/// Processor seconds of this process.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
