//! The phases of a run: connecting, measuring (plainly, idly, or in search of a limit), and the account.

use std::io::Write;
use std::time::{Duration, Instant};

use super::ledger::{self, Connecting};
use super::search::Search;
use super::step::{Step, Taken, server_cpu_s};
use super::{Happening, Run};
use crate::control::{Command, Final, Report};
use crate::hist;
use crate::publisher::{Account, Said};
use crate::record::{Record, Verdict, Window};
use crate::report::figures;
use crate::scenario::Ramp;
use crate::slo::Slo;

/// No connection has come or failed for so long.
const CONNECT_STALL_MAX: Duration = Duration::from_secs(30);
/// Between the last join and the first event: the server's memory comes to rest.
const SETTLE: Duration = Duration::from_millis(500);
/// Nothing has come for so long after everything was published: what is missing is missing. A server's heartbeat or window is shorter.
const PATIENCE: Duration = Duration::from_secs(2);
/// A worker's account, once it has lost its patience.
const ACCOUNT_MAX: Duration = Duration::from_secs(60);
/// Of a step's time: if the server kept the publisher waiting less than this, the publisher was late by itself.
const KEPT_WAITING_SHARE: f64 = 0.1;

impl<W: Write> Run<'_, W> {
    /// Until every connection has joined or failed.
    pub(super) fn connect(&mut self) -> Result<(), String> {
        let wanted = self.options.scenario.connections.count;
        self.workers.tell(&Command::Connect)?;
        let began = Instant::now();
        let (mut workers, mut last_change) = (vec![Connecting::default(); self.workers.len()], began);
        while !workers.iter().all(|worker| worker.is_done) {
            let happening = self.next(Instant::now() + Duration::from_millis(100))?;
            if let Some(Happening::Report(at, Report::Connecting { joined, failed, took_us, done })) = happening {
                if joined != workers[at].joined || failed != workers[at].failed {
                    last_change = Instant::now();
                }
                workers[at] = Connecting { joined, failed, took_us, is_done: done };
                let sum = ledger::connect(wanted, 0.0, &workers)?;
                let rate = f64::from(sum.joined) / began.elapsed().as_secs_f64();
                self.live.connecting(sum.joined, wanted, rate, sum.failed.values().sum()).ok();
            }
            if self.wants_to_stop() {
                return Err("interrupted while connecting: nothing was measured".to_owned());
            }
            if last_change.elapsed() > CONNECT_STALL_MAX {
                let joined: u32 = workers.iter().map(|worker| worker.joined).sum();
                return Err(format!(
                    "{joined} of {wanted} connections joined, and then nothing for {} s: is the server overloaded, or stopped?",
                    CONNECT_STALL_MAX.as_secs()
                ));
            }
        }
        for (at, worker) in workers.iter().enumerate() {
            self.ledger.joined_at_first(at, worker.joined);
        }
        let seconds = last_change.duration_since(began).as_secs_f64();
        self.record.connect = ledger::connect(wanted, seconds, &workers)?;
        self.check_joined()
    }

    /// A run without a single member measures nothing.
    fn check_joined(&mut self) -> Result<(), String> {
        let connect = &self.record.connect;
        let reasons = connect.failed.iter().map(|(why, count)| format!("{why} ({count} times)")).collect::<Vec<_>>().join("; ");
        if connect.joined == 0 {
            return Err(format!("no connection joined: {reasons}{}", hint(&reasons)));
        }
        if !connect.failed.is_empty() {
            let text = format!("{} of {} connections joined; the others: {reasons}{}", connect.joined, connect.wanted, hint(&reasons));
            self.note(&text);
        }
        Ok(())
    }

    /// All windows of the scenario.
    pub(super) fn measure(&mut self) -> Result<(), String> {
        self.begin_seconds();
        self.hold(Instant::now() + SETTLE)?;
        let usage = self.usage();
        if let (Some(server), Some(usage)) = (&mut self.record.server, usage.server) {
            server.rss_joined_bytes = usage.rss_bytes;
        }
        let scenario = &self.options.scenario;
        if let Some(ramp) = scenario.ramp.clone() {
            return self.ramp(&ramp);
        }
        if scenario.flows.is_empty() {
            return self.idle();
        }
        let step = Step { id: 1, warmup_s: scenario.warmup_s, seconds: scenario.duration_s, factor: 1.0, is_trial: false };
        let taken = self.take(step)?;
        self.record.windows.push(taken.window);
        Ok(())
    }

    /// Connections at rest.
    fn idle(&mut self) -> Result<(), String> {
        self.hold(Instant::now() + Duration::from_secs_f64(self.options.scenario.warmup_s))?;
        let (begin, began) = (self.usage(), Instant::now());
        self.hold(began + Duration::from_secs_f64(self.options.scenario.duration_s))?;
        let end = self.usage();
        self.note_busiest(&begin, &end);
        self.record.windows.push(Window {
            factor: 1.0,
            seconds: began.elapsed().as_secs_f64(),
            generator_cpu_s: end.generator_cpu_s - begin.generator_cpu_s,
            server_cpu_s: server_cpu_s(&begin, &end),
            ..Window::default()
        });
        Ok(())
    }

    fn ramp(&mut self, ramp: &Ramp) -> Result<(), String> {
        let parse = |text: &String| Slo::parse(text, &self.options.scenario);
        let bounds = ramp.bound.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let mut search = Search::new(ramp);
        let mut id = 1;
        while let Some(factor) = search.next() {
            let warmup_s = self.options.scenario.warmup_s;
            let taken = self.take(Step { id, warmup_s, seconds: ramp.step_s, factor, is_trial: true })?;
            if self.wants_to_stop() {
                break; // a step that was cut short tells nothing
            }
            let because = self.failure(&taken, &bounds);
            search.tell(because.is_none());
            let window = Window { held: Some(because.is_none()), because: because.unwrap_or_default(), ..taken.window };
            self.live.step(&window).ok();
            self.record.windows.push(window);
            id += 2;
        }
        if self.record.windows.is_empty() { Err("interrupted before the first step was over".to_owned()) } else { Ok(()) }
    }

    /// Why a step does not hold; `None` if it does.
    fn failure(&self, taken: &Taken, bounds: &[Slo]) -> Option<String> {
        let (done, window) = (&taken.done, &taken.window);
        let late_ns = bounds.iter().filter_map(Slo::latency_bound).map(|bound| bound.as_nanos() as u64).min();
        let slip_ns = done.slip.value_at_quantile(0.99);
        let kept_waiting = done.kept_waiting_ns as f64 / 1e9 / window.seconds.max(0.001);
        if late_ns.is_some_and(|bound_ns| !done.slip.is_empty() && slip_ns > bound_ns) && kept_waiting < KEPT_WAITING_SHARE {
            return Some(format!("generator-limited: its own slip p99 is {}", hist::time_text(slip_ns as f64)));
        }
        if done.gave_up {
            return Some(format!("the server took publishes more slowly than they were due, for {:.1} s", window.seconds));
        }
        if done.refused > 0 {
            return Some(format!("{} publishes refused", done.refused));
        }
        if taken.faults > 0 {
            return Some(format!("{} faults", taken.faults));
        }
        let failed = bounds.iter().map(|slo| slo.judge(&self.record, window)).find(|verdict| !verdict.holds);
        if let Some(failed) = failed {
            let busy = self.record.generator.busiest_worker > 0.9;
            let limited = if busy { " (a worker was at its processor's limit: perhaps the generator's)" } else { "" };
            return Some(format!("{}: {}{limited}", failed.slo, failed.measured));
        }
        (taken.outstanding > 0).then(|| format!("{} deliveries had not come when the step was over", taken.outstanding))
    }

    /// The account of the whole run.
    pub(super) fn close(mut self) -> Result<Record, String> {
        let account = self.end_publishing()?;
        let patience_ms = PATIENCE.as_millis() as u64;
        self.workers.tell(&Command::Finish { sent: account.sent.clone(), refused: account.refused.clone(), patience_ms })?;
        let finals = self.finals()?;
        let usage = self.usage();
        self.second_ends = None;
        if let (Some(server), Some(usage)) = (&mut self.record.server, usage.server) {
            server.rss_end_bytes = usage.rss_bytes;
            server.cpu_s = self.record.windows.iter().filter_map(|window| window.server_cpu_s).sum();
        }
        let rss_bytes = usage.server.map_or(0, |server| server.rss_bytes);
        self.note_rss(rss_bytes);
        let record = &mut self.record;
        record.generator.cpu_s = usage.generator_cpu_s;
        record.generator.turn_ns_max = finals.iter().map(|last| last.turn_ns_max).max().unwrap_or(0);
        record.totals.published = account.sent.iter().sum();
        record.totals.answers = account.answers;
        record.totals.expected = ledger::owed(&self.options.scenario, &account.sent, &account.refused).iter().sum();
        ledger::close(&mut record.totals, &finals)?;
        if record.totals.refused() > 0 && !account.last_refusal.is_empty() {
            let text = format!("the server refused publishes, the last one with: {}", account.last_refusal);
            self.note(&text);
        }
        self.record.verdicts = verdicts(&self.record)?;
        Ok(self.record)
    }

    fn end_publishing(&mut self) -> Result<Account, String> {
        let Some(publisher) = &self.publisher else { return Ok(Account::default()) };
        publisher.end();
        let ends = Instant::now() + ACCOUNT_MAX;
        while Instant::now() < ends {
            if let Some(Happening::Said(Said::Account(account))) = self.next(ends)? {
                return Ok(account);
            }
        }
        Err("the publisher does not end".to_owned())
    }

    fn finals(&mut self) -> Result<Vec<Final>, String> {
        let ends = Instant::now() + ACCOUNT_MAX;
        let mut finals: Vec<Option<Final>> = vec![None; self.workers.len()];
        while finals.iter().any(Option::is_none) {
            if let Some(Happening::Report(worker, Report::Final(last))) = self.next(ends)? {
                finals[worker] = Some(*last);
            }
            if Instant::now() >= ends {
                return Err(format!("a worker did not close its account within {} s", ACCOUNT_MAX.as_secs()));
            }
        }
        Ok(finals.into_iter().flatten().collect())
    }
}

/// What to do about failed connections.
fn hint(reasons: &str) -> &'static str {
    match reasons {
        reasons if reasons.contains("401") => {
            "; --key must be the key that the server verifies tokens with (and --iss, --aud what it demands)"
        }
        reasons if reasons.contains("503") => "; the server has as many connections as it allows: start it with a higher --max-connections",
        reasons if reasons.contains("4003") => "; the server allows a user fewer connections",
        _ => "",
    }
}

/// What the scenario asks, and what was found: of a ramp, in its highest step that held.
fn verdicts(record: &Record) -> Result<Vec<Verdict>, String> {
    let Some(window) = figures::chosen(record) else { return Ok(Vec::new()) };
    let judge = |text: &String| Slo::parse(text, &record.scenario).map(|slo| slo.judge(record, window));
    let mut verdicts = record.scenario.slo.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
    if let Some(ramp) = &record.scenario.ramp {
        let (holds, measured) = if record.windows.iter().any(|window| window.held == Some(true)) {
            (true, format!("at {} times the rates", hist::three_digits(window.factor)))
        } else {
            (false, "no step held".to_owned())
        };
        verdicts.push(Verdict { slo: format!("a step holds {}", ramp.bound.join(", ")), measured, holds });
    }
    Ok(verdicts)
}
