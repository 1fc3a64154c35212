//! The phases of a run: connecting, measuring (plainly, idly, or in search of a limit), and the account.

use std::io::Write;
use std::time::{Duration, Instant};

use super::ledger::{self, Connecting};
use super::search::Search;
use super::step::{Step, Taken, instant, server_cpu_s, span_of};
use super::{Happening, Run};
use crate::client::tls;
use crate::control::{Command, Final, Report};
use crate::hist;
use crate::publisher::{Account, Said};
use crate::record::{Cut, Record, Verdict, Window};
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
    /// Until every connection has joined or failed, or the run is cut.
    pub(super) fn connect(&mut self) -> Result<(), String> {
        let wanted = self.options.scenario.connections.count;
        self.tell(&Command::Connect);
        let began = Instant::now();
        let (mut workers, mut last_change) = (vec![Connecting::default(); self.workers.len()], began);
        while !workers.iter().all(|worker| worker.is_done) && !self.is_cut() {
            let happening = self.next(Instant::now() + Duration::from_millis(100));
            if let Some(Happening::Report(at, Report::Connecting { joined, failed, took_us, began_ns, joined_ns, done })) = happening {
                if joined != workers[at].joined || failed != workers[at].failed {
                    last_change = Instant::now();
                }
                workers[at] = Connecting { joined, failed, took_us, began_ns, joined_ns, is_done: done };
                let sum = ledger::connect(wanted, &workers)?;
                let rate = f64::from(sum.joined) / began.elapsed().as_secs_f64();
                self.live.connecting(sum.joined, wanted, rate, sum.failed.values().sum()).ok();
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
        self.record.connect = ledger::connect(wanted, &workers)?;
        match &self.cut {
            None => self.check_joined(),
            Some(Cut { cause: None, .. }) => Ok(()),
            Some(Cut { cause: Some(cause), .. }) => Err(format!("while connecting: {cause}")),
        }
    }

    /// A run without a single member measures nothing.
    fn check_joined(&mut self) -> Result<(), String> {
        let connect = &self.record.connect;
        let reasons = connect.failed.iter().map(|(why, count)| format!("{why} ({count} times)")).collect::<Vec<_>>().join("; ");
        if connect.joined == 0 {
            // Those that had joined and are lost again have no reason here.
            let reasons = if reasons.is_empty() { "the server ended them".to_owned() } else { reasons };
            return Err(self.with_the_servers_end(&format!("no connection joined: {reasons}{}", hint(&reasons))));
        }
        if !connect.failed.is_empty() {
            let text = format!("{} of {} connections joined; the others: {reasons}{}", connect.joined, connect.wanted, hint(&reasons));
            self.note(&text);
        }
        Ok(())
    }

    /// All windows of the scenario, as far as the run goes.
    pub(super) fn measure(&mut self) -> Result<(), String> {
        if self.is_cut() {
            return Ok(());
        }
        self.begin_seconds();
        self.hold(Instant::now() + SETTLE);
        let usage = self.usage();
        if let (Some(server), Some(usage)) = (&mut self.record.server, usage.server) {
            server.rss_joined_bytes = usage.rss_bytes;
        }
        let scenario = &self.options.scenario;
        if let Some(ramp) = scenario.ramp.clone() {
            return self.ramp(&ramp);
        }
        if scenario.flows.is_empty() {
            self.idle();
            return Ok(());
        }
        let step = Step { id: 1, warmup_s: scenario.warmup_s, seconds: scenario.duration_s, factor: 1.0, is_trial: false };
        let taken = self.take(step)?;
        if taken.window.seconds > 0.0 {
            self.record.windows.push(taken.window);
        }
        Ok(())
    }

    /// Connections at rest.
    fn idle(&mut self) {
        let scenario = &self.options.scenario;
        let span = span_of(Step { id: 1, warmup_s: scenario.warmup_s, seconds: scenario.duration_s, factor: 1.0, is_trial: false });
        self.span = Some(span);
        self.hold(instant(span.measured_ns));
        if self.is_cut() {
            return;
        }
        let (begin, began) = (self.usage(), Instant::now());
        self.hold(instant(span.until_ns));
        let end = self.usage();
        self.note_busiest(&begin, &end);
        self.record.windows.push(Window {
            factor: 1.0,
            seconds: began.elapsed().as_secs_f64(),
            generator_cpu_s: end.generator_cpu_s - begin.generator_cpu_s,
            server_cpu_s: server_cpu_s(&begin, &end),
            ..Window::default()
        });
    }

    fn ramp(&mut self, ramp: &Ramp) -> Result<(), String> {
        let parse = |text: &String| Slo::parse(text, &self.options.scenario);
        let bounds = ramp.bound.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let mut search = Search::new(ramp);
        let mut id = 1;
        while let Some(factor) = search.next() {
            let warmup_s = self.options.scenario.warmup_s;
            let taken = self.take(Step { id, warmup_s, seconds: ramp.step_s, factor, is_trial: true })?;
            if self.is_cut() {
                break; // a step that was cut short tells nothing
            }
            let because = self.failure(&taken, &bounds);
            search.tell(because.is_none());
            let window = Window { held: Some(because.is_none()), because: because.unwrap_or_default(), ..taken.window };
            self.live.step(&window).ok();
            self.record.windows.push(window);
            id += 2;
        }
        Ok(())
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
        let account = self.end_publishing();
        let patience_ms = PATIENCE.as_millis() as u64;
        self.tell(&Command::Finish { sent: account.sent.clone(), refused: account.refused.clone(), patience_ms });
        let finals = self.finals();
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
        record.totals.last_refusal = account.last_refusal;
        record.totals.refused_of = account.refused.iter().map(|refused| refused.len() as u64).collect();
        record.totals.expected = ledger::owed(&self.options.scenario, &account.sent, &account.refused).iter().sum();
        ledger::close(&mut record.totals, &finals)?;
        self.record.cut = self.cut.take().map(|cut| Cut {
            measured_s: self.record.windows.iter().fold(0.0, |sum, window| sum + window.seconds),
            wanted_s: self.options.scenario.ramp.is_none().then_some(self.options.scenario.duration_s),
            ..cut
        });
        self.record.verdicts = verdicts(&self.record)?;
        Ok(self.record)
    }

    fn end_publishing(&mut self) -> Account {
        let Some(publisher) = &self.publisher else { return Account::default() };
        publisher.end();
        let ends = Instant::now() + ACCOUNT_MAX;
        while Instant::now() < ends {
            if let Some(failed) = self.failed.take() {
                return failed.account;
            }
            if let Some(Happening::Said(Said::Account(account))) = self.next(ends) {
                return account;
            }
        }
        self.fail("the publisher does not end".to_owned());
        Account::default()
    }

    /// The accounts of the workers that there are.
    fn finals(&mut self) -> Vec<Final> {
        let ends = Instant::now() + ACCOUNT_MAX;
        let mut finals: Vec<Option<Final>> = vec![None; self.workers.len()];
        while finals.iter().enumerate().any(|(at, last)| last.is_none() && !self.workers.is_gone(at)) {
            if let Some(Happening::Report(worker, Report::Final(last))) = self.next(ends) {
                finals[worker] = Some(*last);
            }
            if Instant::now() >= ends {
                self.fail(format!("a worker did not close its account within {} s", ACCOUNT_MAX.as_secs()));
                break;
            }
        }
        finals.into_iter().flatten().collect()
    }
}

/// What to do about failed connections.
fn hint(reasons: &str) -> &'static str {
    match reasons {
        reasons if reasons.contains("401") => {
            "; --key must be the key that the server verifies tokens with (and --iss, --aud what it demands)"
        }
        reasons if reasons.contains("503") => "; the server has as many connections as it allows: start it with a higher --max-connections",
        reasons if !tls::hint(reasons).is_empty() => tls::hint(reasons),
        reasons if reasons.contains("4003") => "; the server allows a user fewer connections",
        _ => "",
    }
}

/// What the scenario asks, and what was found: of a ramp, in its highest step that held. Of a run that was cut, the first says so: what holds
/// of a part is no verdict on the whole.
fn verdicts(record: &Record) -> Result<Vec<Verdict>, String> {
    let nothing = Window::default();
    let window = figures::chosen(record).unwrap_or(&nothing);
    let judge = |text: &String| Slo::parse(text, &record.scenario).map(|slo| slo.judge(record, window));
    let cut = record.cut.as_ref().map(|cut| Verdict { slo: "the whole run".to_owned(), measured: cut.text(), holds: false });
    let mut verdicts = cut.into_iter().map(Ok).chain(record.scenario.slo.iter().map(judge)).collect::<Result<Vec<_>, _>>()?;
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
