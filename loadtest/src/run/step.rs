//! One span of publishing and its measurement: windows opened, events sent, what is on its way awaited, windows collected.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Happening, Run, Usage, ledger, storm_command};
use crate::clock::now_ns;
use crate::control::{Command, FlowWindow, Report};
use crate::hist;
use crate::publisher::{Done, Said, Span};
use crate::record::Window;
use crate::scenario::{Lane, Mode};

/// From the workers being told to the first event, so that all are ready.
const LEAD: Duration = Duration::from_millis(200);
/// How late an event may be sent before the run, or the step, is given up.
const BACKLOG_MAX: Duration = Duration::from_secs(10);
/// The same in a ramp: the step has failed by far, and the search goes on.
const STEP_BACKLOG_MAX: Duration = Duration::from_secs(2);
/// What the server's windows may hold back, and more: states are awaited so long.
const HOLD_MAX: Duration = Duration::from_millis(1_200);
/// Nothing has come for so long: nothing more is on its way. Workers tell what came once a second.
const QUIET: Duration = Duration::from_millis(2_500);
/// However much is on its way.
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// The same where slow readers are: theirs would take minutes, and is not waited for.
const DRAIN_MAX_SLOW: Duration = Duration::from_secs(3);
/// A worker's answer to `collect`.
const COLLECT_MAX: Duration = Duration::from_secs(30);

/// A step to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Its window's name; the one before it is its warm-up's.
    pub(super) id: u32,
    pub(super) warmup_s: f64,
    pub(super) seconds: f64,
    pub(super) factor: f64,
    /// Part of a search: it may fail without ending the run.
    pub(super) is_trial: bool,
}

/// What became of it.
pub(super) struct Taken {
    pub(super) window: Window,
    pub(super) done: Done,
    /// Deliveries of `stream` events that were owed when it ended, and had not come.
    pub(super) outstanding: u64,
    /// Faults that were counted in it.
    pub(super) faults: u64,
}

impl<W: Write> Run<'_, W> {
    /// Takes it, as far as the run goes.
    pub(super) fn take(&mut self, step: Step) -> Result<Taken, String> {
        let before: Vec<u64> = self.received_streams();
        let faults_before = self.ledger.faults();
        let span = span_of(step);
        self.span = Some(span);
        self.tell(&Command::Window { id: step.id - 1, from_ns: span.from_ns });
        self.tell(&Command::Window { id: step.id, from_ns: span.measured_ns });
        let publisher = self.publisher.as_ref().ok_or("there is nothing to publish")?;
        publisher.publish(span);
        let (done, used) = self.publish(span);
        // `published` leaves the warm-up out; what is owed has it.
        let outstanding = self.drain(&before, &done);
        self.collect(step.id - 1);
        let flows = self.collect(step.id);
        let window = self.window(step, span, &done, &used, &flows)?;
        Ok(Taken { window, outstanding, faults: self.ledger.faults().saturating_sub(faults_before), done })
    }

    /// Until the publisher has sent everything and has all answers, or cannot go on: what it says, and what was used in the measured part.
    fn publish(&mut self, span: Span) -> (Done, (Usage, Usage)) {
        let storm = storm_command(self.options, self.workers.len());
        let mut storm_at = storm.as_ref().map(|(every, _)| instant(span.from_ns) + *every);
        let (mut begin, mut end, mut is_cut) = (None, None, false);
        loop {
            let now_ns = now_ns();
            if begin.is_none() && now_ns >= span.measured_ns {
                begin = Some(self.usage());
            }
            if end.is_none() && now_ns >= span.until_ns {
                end = Some(self.usage());
            }
            if let (Some((every, command)), Some(at)) = (&storm, storm_at)
                && Instant::now() >= at
                && now_ns < span.until_ns
            {
                self.tell(command);
                storm_at = Some(at + *every);
            }
            if !is_cut && self.is_cut() {
                is_cut = true;
                if let Some(publisher) = &self.publisher {
                    publisher.cut();
                }
            }
            let mark_ns = if now_ns < span.measured_ns { span.measured_ns } else { span.until_ns.max(now_ns + 50_000_000) };
            let done = match self.next(instant(mark_ns)) {
                Some(Happening::Said(Said::Done(done))) => Some(done),
                _ => self.failed.as_mut().map(|failed| failed.done.take().unwrap_or_default()),
            };
            if let Some(done) = done {
                let end = end.unwrap_or_else(|| self.usage());
                return (done, (begin.unwrap_or_else(|| end.clone()), end));
            }
        }
    }

    /// Waits for what is on its way, unless something is broken. Returns the deliveries of `stream` events that did not come.
    fn drain(&mut self, before: &[u64], done: &Done) -> u64 {
        let scenario = &self.options.scenario;
        let is_held = scenario.flows.iter().any(|flow| flow.mode != Mode::Stream || flow.lane == Lane::Metric);
        let longest = if scenario.slow.is_some() { DRAIN_MAX_SLOW } else { DRAIN_MAX };
        let began = Instant::now();
        let earliest = began + if is_held { HOLD_MAX } else { Duration::ZERO };
        let (mut last, mut last_change) = (self.received_streams(), began);
        loop {
            let owed = self.owed_since(before, done);
            let now = Instant::now();
            let is_quiet = now.duration_since(last_change) >= QUIET;
            let is_over = now >= earliest && (owed == 0 || is_quiet || now.duration_since(began) >= longest);
            if is_over || self.has_failed() {
                return owed;
            }
            self.next(now + Duration::from_millis(20));
            let received = self.received_streams();
            if received != last {
                (last, last_change) = (received, Instant::now());
            }
        }
    }

    /// Received so far of each `stream` flow; 0 for the others.
    fn received_streams(&self) -> Vec<u64> {
        let flows = self.options.scenario.flows.iter().enumerate();
        flows.map(|(at, flow)| if flow.mode == Mode::Stream { self.ledger.received(at) } else { 0 }).collect()
    }

    fn owed_since(&self, before: &[u64], done: &Done) -> u64 {
        let owed = ledger::owed(&self.options.scenario, &done.accepted, &[]);
        let of = |(at, owed): (usize, &u64)| (owed + before[at]).saturating_sub(self.ledger.received(at));
        owed.iter().enumerate().map(of).sum()
    }

    /// The parts of that window of the workers that there are.
    fn collect(&mut self, wanted: u32) -> Vec<Vec<FlowWindow>> {
        self.tell(&Command::Collect { id: wanted });
        let ends = Instant::now() + COLLECT_MAX;
        let mut parts: Vec<Option<Vec<FlowWindow>>> = vec![None; self.workers.len()];
        while parts.iter().enumerate().any(|(at, part)| part.is_none() && !self.workers.is_gone(at)) {
            if let Some(Happening::Report(worker, Report::Window { id, flows })) = self.next(ends)
                && id == wanted
            {
                parts[worker] = Some(flows);
            }
            if Instant::now() >= ends {
                self.fail(format!("a worker did not report its window within {} s", COLLECT_MAX.as_secs()));
                break;
            }
        }
        parts.into_iter().flatten().collect()
    }

    fn window(
        &mut self,
        step: Step,
        span: Span,
        done: &Done,
        (begin, end): &(Usage, Usage),
        parts: &[Vec<FlowWindow>],
    ) -> Result<Window, String> {
        let seconds = done.until_ns.saturating_sub(span.measured_ns) as f64 / 1e9;
        self.note_busiest(begin, end);
        Ok(Window {
            factor: step.factor,
            seconds,
            flows: ledger::flows(&self.options.scenario, &done.published, parts)?,
            slip_ns: hist::encode(&done.slip),
            generator_cpu_s: (end.generator_cpu_s - begin.generator_cpu_s).max(0.0),
            server_cpu_s: server_cpu_s(begin, end),
            held: None,
            because: String::new(),
        })
    }

    /// The busiest worker between two moments, if it was busier than all before.
    pub(super) fn note_busiest(&mut self, begin: &Usage, end: &Usage) {
        let seconds = end.at_ns.saturating_sub(begin.at_ns) as f64 / 1e9;
        if seconds <= 0.0 {
            return;
        }
        let shares = begin.workers_cpu_s.iter().zip(&end.workers_cpu_s).map(|(begin, end)| (end - begin) / seconds);
        self.record.generator.busiest_worker = shares.fold(self.record.generator.busiest_worker, f64::max);
    }
}

/// What the server used between two moments, if it was found and lived through both.
pub(super) fn server_cpu_s(begin: &Usage, end: &Usage) -> Option<f64> {
    Some((end.server?.cpu_s - begin.server?.cpu_s).max(0.0))
}

pub(super) fn span_of(step: Step) -> Span {
    let from_ns = now_ns() + LEAD.as_nanos() as u64;
    let measured_ns = from_ns + (step.warmup_s * 1e9) as u64;
    let backlog_max = if step.is_trial { STEP_BACKLOG_MAX } else { BACKLOG_MAX };
    Span {
        from_ns,
        measured_ns,
        until_ns: measured_ns + (step.seconds * 1e9) as u64,
        factor: step.factor,
        backlog_ns_max: backlog_max.as_nanos() as u64,
        may_give_up: step.is_trial,
    }
}

/// The same moment by the other clock; now, if it has passed.
pub(super) fn instant(at_ns: u64) -> Instant {
    Instant::now() + Duration::from_nanos(at_ns.saturating_sub(now_ns()))
}
