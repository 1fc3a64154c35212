//! What the server said of each event. One answer for each line, in the order of the lines, so that the first belongs to the oldest
//! event that has none. Pure.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;

use crate::record::UNANSWERED;

/// Refusals that are remembered event by event; a run with more is not worth going on.
const REFUSED_MAX: usize = 10_000_000;
/// How an answer of this server begins that needs no closer look.
const ACCEPTED: &[u8] = br#"{"ok":true,"result":"accepted""#;

/// See the module.
#[derive(Default)]
pub struct Answers {
    /// Flow and position of each event that has no answer yet.
    awaited: VecDeque<(u8, u64)>,
    accepted: u64,
    others: BTreeMap<String, u64>,
    /// Positions of the refused events of each flow.
    refused: Vec<Vec<u64>>,
    refusals: usize,
    /// What the last refusal said.
    last_refusal: String,
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    result: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    message: String,
}

impl Answers {
    /// For so many flows.
    pub fn new(flows: usize) -> Answers {
        Answers { refused: vec![Vec::new(); flows], ..Answers::default() }
    }

    /// An event was sent: an answer will come.
    pub fn expect(&mut self, flow: usize, e: u64) {
        self.awaited.push_back((flow as u8, e));
    }

    /// Events that have no answer yet.
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Takes one answer. The error says why the run cannot go on.
    pub fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let unasked = || format!("the server answered an event that was not sent: {}", shown(line));
        let (flow, e) = self.awaited.pop_front().ok_or_else(unasked)?;
        if line.starts_with(ACCEPTED) {
            self.accepted += 1;
            return Ok(());
        }
        let answer: Answer =
            serde_json::from_slice(line).map_err(|error| format!("an answer that cannot be read ({error}): {}", shown(line)))?;
        *self.others.entry(if answer.ok { answer.result } else { answer.name }).or_default() += 1;
        if answer.ok {
            return Ok(());
        }
        self.last_refusal = answer.message;
        self.refused[usize::from(flow)].push(e);
        self.refusals += 1;
        if self.refusals < REFUSED_MAX {
            return Ok(());
        }
        Err(format!("the server refused {REFUSED_MAX} publishes, the last one with: {}", self.last_refusal))
    }

    /// Answers by what they said.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = self.others.clone();
        if self.accepted > 0 {
            *counts.entry("accepted".to_owned()).or_default() += self.accepted;
        }
        counts
    }

    /// No more answers will come: whether the server took those events is not known, so that nothing is owed for them.
    pub fn give_up(&mut self) {
        let unanswered = self.awaited.len() as u64;
        if unanswered > 0 {
            *self.others.entry(UNANSWERED.to_owned()).or_default() += unanswered;
        }
        for (flow, e) in self.awaited.drain(..) {
            self.refused[usize::from(flow)].push(e);
        }
    }

    /// Positions of the refused events of each flow.
    pub fn refused(&self) -> &[Vec<u64>] {
        &self.refused
    }

    /// How many those are.
    pub fn refusals(&self) -> usize {
        self.refusals
    }

    /// What the last refusal said; empty if there was none.
    pub fn last_refusal(&self) -> &str {
        &self.last_refusal
    }
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_and_refusals_have_an_address() {
        let mut answers = Answers::new(2);
        for (flow, e) in [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)] {
            answers.expect(flow, e);
        }
        for line in [
            r#"{"ok":true,"result":"accepted","room":"a","seq":1}"#,
            r#"{"result":"accepted","ok":true}"#,
            r#"{"ok":false,"code":201,"name":"queue_full","message":"full","retry_after_ms":20}"#,
            r#"{"ok":true,"result":"unchanged"}"#,
        ] {
            answers.take(line.as_bytes()).expect(line);
        }
        assert_eq!(answers.counts(), [("accepted".into(), 2), ("queue_full".into(), 1), ("unchanged".into(), 1)].into());
        assert_eq!((answers.refused(), answers.refusals(), answers.awaited()), (&[vec![1], vec![]][..], 1, 1));
        assert_eq!(answers.last_refusal(), "full");
    }

    #[test]
    fn what_was_never_answered_is_told_apart_and_not_owed() {
        let mut answers = Answers::new(2);
        for (flow, e) in [(0, 0), (1, 0), (1, 1)] {
            answers.expect(flow, e);
        }
        answers.take(br#"{"ok":true,"result":"accepted"}"#).expect("an answer");
        answers.give_up();
        assert_eq!(answers.counts(), [("accepted".into(), 1), (UNANSWERED.into(), 2)].into());
        assert_eq!((answers.refused(), answers.refusals(), answers.awaited()), (&[vec![], vec![0, 1]][..], 0, 0));
    }

    #[test]
    fn answers_that_make_no_sense_end_the_run() {
        let mut answers = Answers::new(1);
        assert!(answers.take(br#"{"ok":true}"#).expect_err("nothing was sent").contains("was not sent"));
        answers.expect(0, 0);
        assert!(answers.take(b"{ok}").expect_err("no JSON").contains("{ok}"));
    }
}
