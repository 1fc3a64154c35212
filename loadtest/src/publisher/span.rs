//! A span of publishing at one rate: what was sent in it, how late, and when it is over. Pure.

use crate::hist::{self, Hist};

use super::schedule::Due;
use super::{ANSWERS_NS_MAX, Done};

/// What to publish. Times are `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When it begins.
    pub from_ns: u64,
    /// Events due from here on are measured.
    pub measured_ns: u64,
    /// When it ends.
    pub until_ns: u64,
    /// On every flow's rate.
    pub factor: f64,
    /// How late an event may be sent.
    pub backlog_ns_max: u64,
    /// Whether to end the span, rather than the run, when one is later.
    pub may_give_up: bool,
}

/// A span in progress.
pub(super) struct Running {
    span: Span,
    published: Vec<u64>,
    slip: Hist,
    kept_waiting_ns: u64,
    /// Sent less refused, of each flow, before it.
    accepted_before: Vec<u64>,
    refusals_before: u64,
    gave_up: bool,
}

/// How it goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Goes,
    /// Everything is sent and answered.
    Over,
    /// The server takes less than is due: the span is to be given up.
    TooSlow,
    /// The run cannot go on.
    Fails(String),
}

impl Running {
    /// `taken` and `refused`: of each flow so far.
    pub(super) fn new(span: Span, taken: &[u64], refused: &[Vec<u64>]) -> Running {
        Running {
            span,
            published: vec![0; taken.len()],
            slip: hist::new(),
            kept_waiting_ns: 0,
            accepted_before: accepted(taken, refused),
            refusals_before: count(refused),
            gave_up: false,
        }
    }

    pub(super) fn sent(&mut self, due: Due, sent_ns: u64) {
        if due.at_ns >= self.span.measured_ns {
            self.published[due.flow] += 1;
            self.slip.saturating_record(sent_ns.saturating_sub(due.at_ns));
        }
    }

    pub(super) fn kept_waiting(&mut self, ns: u64) {
        self.kept_waiting_ns += ns;
    }

    /// Ends it now.
    pub(super) fn cut(&mut self, now_ns: u64) {
        self.span.until_ns = self.span.until_ns.min(now_ns);
    }

    /// Ends it now, because the server is too slow: what is due and not taken yet stays unsent.
    pub(super) fn give_up(&mut self, now_ns: u64) {
        self.cut(now_ns);
        self.gave_up = true;
    }

    /// Until when events are to be taken from the schedule.
    pub(super) fn take_until_ns(&self) -> u64 {
        if self.gave_up { 0 } else { self.span.until_ns }
    }

    /// `unsent_ns`: when the oldest event was due that was taken and not sent; `next_ns`: when the next one is due; `awaited`: answers.
    pub(super) fn progress(&self, now_ns: u64, unsent_ns: Option<u64>, next_ns: u64, awaited: usize) -> Progress {
        let is_taken = next_ns >= self.take_until_ns();
        if is_taken && now_ns >= self.span.until_ns && unsent_ns.is_none() && awaited == 0 {
            return Progress::Over;
        }
        let oldest_ns = unsent_ns.unwrap_or(u64::MAX).min(if is_taken { u64::MAX } else { next_ns });
        let backlog_ns = now_ns.saturating_sub(oldest_ns);
        if backlog_ns > self.span.backlog_ns_max && self.span.may_give_up && !self.gave_up {
            return Progress::TooSlow;
        }
        let overtime_ns = now_ns.saturating_sub(self.span.until_ns);
        if backlog_ns > self.span.backlog_ns_max && !self.gave_up {
            return Progress::Fails(format!(
                "the server takes publishes more slowly than this scenario sends them: one has waited for {} s; lower the rate with \
                 --rate-factor, or let `ramp` find the highest",
                backlog_ns / 1_000_000_000
            ));
        }
        if is_taken && overtime_ns > ANSWERS_NS_MAX + self.span.backlog_ns_max {
            let seconds = overtime_ns / 1_000_000_000;
            return Progress::Fails(format!("{awaited} publishes are still not answered {seconds} s after the last one was due"));
        }
        Progress::Goes
    }

    /// `taken` and `refused`: of each flow so far.
    pub(super) fn done(self, taken: &[u64], refused: &[Vec<u64>]) -> Done {
        let accepted = accepted(taken, refused);
        Done {
            published: self.published,
            accepted: accepted.iter().zip(&self.accepted_before).map(|(now, before)| now - before).collect(),
            slip: self.slip,
            until_ns: self.span.until_ns,
            kept_waiting_ns: self.kept_waiting_ns,
            refused: count(refused) - self.refusals_before,
            gave_up: self.gave_up,
        }
    }
}

fn accepted(taken: &[u64], refused: &[Vec<u64>]) -> Vec<u64> {
    taken.iter().zip(refused).map(|(taken, refused)| taken - refused.len() as u64).collect()
}

fn count(refused: &[Vec<u64>]) -> u64 {
    refused.iter().map(|refused| refused.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn running(may_give_up: bool) -> Running {
        let span = Span { from_ns: 10 * S, measured_ns: 11 * S, until_ns: 20 * S, factor: 1.0, backlog_ns_max: 2 * S, may_give_up };
        Running::new(span, &[100], &[vec![1, 2, 3]])
    }

    #[test]
    fn it_is_over_when_all_is_sent_and_answered() {
        let running = running(false);
        assert_eq!(running.progress(15 * S, None, 15 * S, 0), Progress::Goes, "more is due");
        assert_eq!(running.progress(19 * S, None, 21 * S, 0), Progress::Goes, "nothing more is due, but its time is not over");
        assert_eq!(running.progress(21 * S, Some(20 * S - 1), 21 * S, 0), Progress::Goes, "one is not sent");
        assert_eq!(running.progress(21 * S, None, 20 * S - 1, 0), Progress::Goes, "one is not taken");
        assert_eq!(running.progress(21 * S, None, 21 * S, 1), Progress::Goes, "one is not answered");
        assert_eq!(running.progress(21 * S, None, 20 * S, 0), Progress::Over);
    }

    #[test]
    fn a_server_that_falls_behind_ends_the_run_or_the_span() {
        let fails = |progress: Progress, part: &str| match progress {
            Progress::Fails(message) => assert!(message.contains(part), "{message}"),
            other => panic!("{part}: {other:?}"),
        };
        assert_eq!(running(false).progress(15 * S, Some(13 * S), 14 * S, 0), Progress::Goes);
        fails(running(false).progress(15 * S + 1, Some(13 * S), 14 * S, 0), "--rate-factor");
        fails(running(false).progress(15 * S + 1, None, 13 * S, 0), "--rate-factor");
        fails(running(false).progress(20 * S + ANSWERS_NS_MAX + 2 * S + 1, None, 20 * S, 7), "7 publishes are still not answered");
        let mut slow = running(true);
        assert_eq!(slow.progress(15 * S + 1, Some(13 * S), 13 * S, 5), Progress::TooSlow);
        slow.give_up(15 * S + 1);
        assert_eq!(slow.progress(15 * S + 2, Some(13 * S), 13 * S, 5), Progress::Goes, "what was taken is still sent");
        assert_eq!(slow.progress(15 * S + 2, None, 13 * S, 0), Progress::Over);
        let done = slow.done(&[150], &[(0..10).collect()]);
        assert_eq!((done.gave_up, done.until_ns, done.refused, done.accepted), (true, 15 * S + 1, 7, vec![50 - 7]));
    }

    #[test]
    fn only_the_measured_part_counts() {
        let mut running = running(false);
        running.sent(Due { flow: 0, e: 0, at_ns: 11 * S - 1 }, 12 * S);
        running.sent(Due { flow: 0, e: 1, at_ns: 11 * S }, 11 * S + 5);
        running.kept_waiting(3);
        let done = running.done(&[102], &[vec![1, 2, 3]]);
        assert_eq!((done.published, done.slip.len(), done.slip.max(), done.kept_waiting_ns), (vec![1], 1, 5, 3));
    }
}
