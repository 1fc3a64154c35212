//! Questions to an external authorizer: may this user join that room? What is open, what waits to be asked, what was answered lately,
//! and whether it is worth asking. Pure: whoever holds this does the asking.
//!
//! Connections that ask the same thing at a time share one question. Everything is bounded: the questions that wait, the answers that are
//! kept, and, by those who ask, the askers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::breaker::{Breaker, Permit};
use super::json;
use crate::base::generations::Generations;
use crate::base::ids::ConnId;
use crate::base::time::Mono;

/// Failures in a row after which nothing is asked for [`OPEN_FOR`].
const FAILURES_MAX: u32 = 5;
const OPEN_FOR: Duration = Duration::from_secs(10);
/// An answer that forbids is kept so long if it does not say: a right that is given shows soon.
const DENIAL_KEPT_FOR: Duration = Duration::from_secs(1);
/// No answer is kept for longer, whatever it says.
const KEPT_FOR_MAX: Duration = Duration::from_secs(3600);

/// What an operator may tune.
#[derive(Clone, Copy, Debug)]
pub struct InquiryOptions {
    /// Questions that may wait to be asked.
    pub waiting_max: usize,
    /// Answers that may be kept.
    pub answers_max: usize,
    /// How long an answer that allows is kept if it does not say.
    pub kept_for: Duration,
}

/// What is known of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user may join.
    Allow,
    /// The user may not.
    Deny,
    /// The authorizer does not say: it is down, or cannot keep up.
    Unavailable,
}

/// What the authorizer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    allow: bool,
    /// How long it holds. `None`: it does not say.
    ttl: Option<Duration>,
}

/// Why it said nothing of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It took too long.
    Timeout,
    /// It could not be reached, or broke off.
    Connection,
    /// Another status than 200.
    Status,
    /// What came is not the answer to the question.
    Answer,
}

/// A user and a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(Box<str>);

impl Key {
    /// A user has no control characters, so that no two questions have one key.
    fn new(user: &str, room: &str) -> Key {
        Key(format!("{user}\n{room}").into())
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('\n').unwrap_or_default()
    }
}

/// A question that is being asked; it is to be settled.
#[derive(Debug)]
#[must_use]
pub struct Inquiry {
    key: Key,
    permit: Permit,
}

impl Inquiry {
    /// The body of the request.
    pub fn to_json(&self) -> String {
        let (user, room) = self.key.parts();
        json!({ "user": user, "room": room }).to_string()
    }
}

/// What is said to those who asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The room that was asked about.
    pub room: Arc<str>,
    /// Who asked, in order.
    pub askers: Vec<ConnId>,
    /// What was said.
    pub verdict: Verdict,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Work {
    /// Ask this.
    Ask(Inquiry),
    /// Say this: it is not worth asking.
    Tell(Ruling),
}

/// How often what happened, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InquiryStats {
    /// Answered by what was said before.
    pub known: u64,
    /// Joined to a question that was open.
    pub shared: u64,
    /// Not asked because the breaker was open.
    pub refused_open: u64,
    /// Not asked because too many questions waited.
    pub refused_full: u64,
    /// Answers that allow.
    pub allowed: u64,
    /// Answers that forbid.
    pub denied: u64,
    /// No answer: [`Failure::Timeout`].
    pub timeouts: u64,
    /// No answer: [`Failure::Connection`].
    pub connection_errors: u64,
    /// No answer: [`Failure::Status`].
    pub bad_statuses: u64,
    /// No answer: [`Failure::Answer`].
    pub bad_answers: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Inquiries {
    options: InquiryOptions,
    breaker: Breaker,
    answers: Generations<Key, Kept>,
    /// Who waits for each question that waits or is being asked.
    open: HashMap<Key, Vec<ConnId>>,
    waiting: VecDeque<Key>,
    stats: InquiryStats,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    allow: bool,
    until: Mono,
}

impl Inquiries {
    /// Nothing asked, nothing known.
    pub fn new(options: InquiryOptions) -> Inquiries {
        Inquiries {
            options,
            breaker: Breaker::new(FAILURES_MAX, OPEN_FOR),
            answers: Generations::new(options.answers_max),
            open: HashMap::new(),
            waiting: VecDeque::new(),
            stats: InquiryStats::default(),
        }
    }

    /// Asks for a connection. `None`: a [`Ruling`] will name it.
    pub fn ask(&mut self, user: &str, room: &str, asker: ConnId, now: Mono) -> Option<Verdict> {
        let key = Key::new(user, room);
        if let Some(kept) = self.answers.get(&key).filter(|kept| now < kept.until) {
            self.stats.known += 1;
            return Some(if kept.allow { Verdict::Allow } else { Verdict::Deny });
        }
        if let Some(askers) = self.open.get_mut(&key) {
            askers.push(asker);
            self.stats.shared += 1;
            return None;
        }
        if self.breaker.is_open(now) {
            self.stats.refused_open += 1;
            return Some(Verdict::Unavailable);
        }
        if self.waiting.len() >= self.options.waiting_max {
            self.stats.refused_full += 1;
            return Some(Verdict::Unavailable);
        }
        self.open.insert(key.clone(), vec![asker]);
        self.waiting.push_back(key);
        None
    }

    /// What to do next, if anything waits.
    pub fn next(&mut self, now: Mono) -> Option<Work> {
        let key = self.waiting.pop_front()?;
        Some(if let Some(permit) = self.breaker.permit(now) {
            Work::Ask(Inquiry { key, permit })
        } else {
            self.stats.refused_open += 1;
            Work::Tell(self.rule(&key, Verdict::Unavailable))
        })
    }

    /// Takes what the authorizer said to a question.
    pub fn settle(&mut self, inquiry: &Inquiry, outcome: Result<Answer, Failure>, now: Mono) -> Ruling {
        self.breaker.settle(inquiry.permit, outcome.is_ok(), now);
        self.count(outcome);
        let Ok(answer) = outcome else { return self.rule(&inquiry.key, Verdict::Unavailable) };
        let usual = if answer.allow { self.options.kept_for } else { DENIAL_KEPT_FOR };
        let kept = Kept { allow: answer.allow, until: now.plus(answer.ttl.unwrap_or(usual).min(KEPT_FOR_MAX)) };
        self.answers.insert(inquiry.key.clone(), kept);
        self.rule(&inquiry.key, if answer.allow { Verdict::Allow } else { Verdict::Deny })
    }

    fn rule(&mut self, key: &Key, verdict: Verdict) -> Ruling {
        Ruling { room: key.parts().1.into(), askers: self.open.remove(key).unwrap_or_default(), verdict }
    }

    fn count(&mut self, outcome: Result<Answer, Failure>) {
        let stats = &mut self.stats;
        *match outcome {
            Ok(Answer { allow: true, .. }) => &mut stats.allowed,
            Ok(Answer { allow: false, .. }) => &mut stats.denied,
            Err(Failure::Timeout) => &mut stats.timeouts,
            Err(Failure::Connection) => &mut stats.connection_errors,
            Err(Failure::Status) => &mut stats.bad_statuses,
            Err(Failure::Answer) => &mut stats.bad_answers,
        } += 1;
    }

    /// How often what happened.
    pub fn stats(&self) -> InquiryStats {
        self.stats
    }

    /// Questions that wait to be asked.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How long answers that allow are kept from now on, if they do not say.
    pub fn keep_for(&mut self, kept_for: Duration) {
        self.options.kept_for = kept_for;
    }

    /// Whether nothing is asked for the time being, after failures.
    pub fn is_resting(&self, now: Mono) -> bool {
        self.breaker.is_open(now)
    }

    /// The state of the breaker: see [`Breaker::code`].
    pub fn breaker_code(&self) -> u64 {
        self.breaker.code()
    }
}

impl Answer {
    /// Reads `{"allow":true}`, with `ttl_ms` if it says how long. Other members mean nothing to us. `None`: it is no answer.
    pub fn parse(body: &[u8]) -> Option<Answer> {
        let members = json::parse_object(body)?;
        let allow = members.get("allow")?.as_bool()?;
        let ttl = match members.get("ttl_ms") {
            None | Some(Value::Null) => None,
            Some(ttl_ms) => Some(Duration::from_millis(ttl_ms.as_u64()?)),
        };
        Some(Answer { allow, ttl })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const OPTIONS: InquiryOptions = InquiryOptions { waiting_max: 4, answers_max: 8, kept_for: Duration::from_secs(30) };

    fn at(s: u64) -> Mono {
        Mono(0).plus(Duration::from_secs(s))
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { reactor: 0, slot, generation: 0 }
    }

    fn ask(inquiries: &mut Inquiries, now: Mono) -> Inquiry {
        match inquiries.next(now) {
            Some(Work::Ask(inquiry)) => inquiry,
            other => panic!("{other:?}"),
        }
    }

    fn answer(body: &str) -> Result<Answer, Failure> {
        Answer::parse(body.as_bytes()).ok_or(Failure::Answer)
    }

    #[test]
    fn only_a_plain_answer_is_one() {
        assert_eq!(answer(r#"{"allow":true}"#), Ok(Answer { allow: true, ttl: None }));
        assert_eq!(
            answer(r#"{"why":"x","ttl_ms":1500,"allow":false}"#),
            Ok(Answer { allow: false, ttl: Some(Duration::from_millis(1500)) })
        );
        for body in [
            "",
            "true",
            "[]",
            "{}",
            r#"{"allow":1}"#,
            r#"{"allow":"true"}"#,
            r#"{"allow":null}"#,
            r#"{"allow":false,"allow":true}"#,
            r#"{"allow":true,"ttl_ms":-1}"#,
            r#"{"allow":true,"ttl_ms":"1"}"#,
            r#"{"Allow":true}"#,
            "<html>",
        ] {
            assert_eq!(answer(body), Err(Failure::Answer), "{body}");
        }
    }

    /// ROM-02: one question for all who ask it at a time, an answer each, and none for who asks another.
    #[test]
    fn those_who_ask_the_same_share_a_question() {
        let mut inquiries = Inquiries::new(OPTIONS);
        for slot in 0..3 {
            assert_eq!(inquiries.ask("u1", "r:1", conn(slot), at(0)), None);
        }
        assert_eq!(inquiries.ask("u1", "r:2", conn(9), at(0)), None);
        let inquiry = ask(&mut inquiries, at(0));
        assert_eq!(inquiry.to_json(), r#"{"room":"r:1","user":"u1"}"#);
        assert_eq!(inquiries.ask("u1", "r:1", conn(3), at(1)), None, "it is being asked");
        let ruling = inquiries.settle(&inquiry, answer(r#"{"allow":true}"#), at(2));
        assert_eq!(ruling, Ruling { room: "r:1".into(), askers: (0..4).map(conn).collect(), verdict: Verdict::Allow });
        assert_eq!(inquiries.ask("u1", "r:1", conn(4), at(31)), Some(Verdict::Allow));
        assert_eq!(inquiries.ask("u1", "r:1", conn(4), at(32)), None, "kept for 30 s");
        assert_eq!(inquiries.ask("u2", "r:1", conn(4), at(31)), None, "another user");
    }

    #[test]
    fn an_answer_says_how_long_it_holds_within_reason() {
        for (body, holds_s) in [
            (r#"{"allow":true,"ttl_ms":5000}"#, 5),
            (r#"{"allow":true,"ttl_ms":0}"#, 0),
            (r#"{"allow":true,"ttl_ms":99999999999}"#, 3600),
            (r#"{"allow":false}"#, 1),
            (r#"{"allow":false,"ttl_ms":60000}"#, 60),
        ] {
            let mut inquiries = Inquiries::new(OPTIONS);
            assert_eq!(inquiries.ask("u", "r", conn(0), at(0)), None);
            let inquiry = ask(&mut inquiries, at(0));
            let verdict = inquiries.settle(&inquiry, answer(body), at(0)).verdict;
            if holds_s > 0 {
                assert_eq!(inquiries.ask("u", "r", conn(0), at(holds_s - 1)), Some(verdict), "{body}");
            }
            assert_eq!(inquiries.ask("u", "r", conn(0), at(holds_s)), None, "{body}");
        }
    }

    /// ERR-04, ERR-06: down means no, at once once that is known, and what was answered before still counts.
    #[test]
    fn when_the_authorizer_is_down_nobody_waits_for_it() {
        let mut inquiries = Inquiries::new(OPTIONS);
        assert_eq!(inquiries.ask("u", "known", conn(0), at(0)), None);
        let inquiry = ask(&mut inquiries, at(0));
        let _ = inquiries.settle(&inquiry, answer(r#"{"allow":true}"#), at(0));
        for room in 0..5 {
            assert_eq!(inquiries.ask("u", &room.to_string(), conn(0), at(0)), None);
            let inquiry = ask(&mut inquiries, at(0));
            assert_eq!(inquiries.settle(&inquiry, Err(Failure::Timeout), at(0)).verdict, Verdict::Unavailable);
        }
        assert_eq!(inquiries.ask("u", "other", conn(0), at(9)), Some(Verdict::Unavailable));
        assert_eq!(inquiries.ask("u", "known", conn(0), at(9)), Some(Verdict::Allow));
        assert_eq!(inquiries.ask("u", "probe", conn(0), at(10)), None);
        assert_eq!(inquiries.ask("u", "beside", conn(1), at(10)), None);
        let probe = ask(&mut inquiries, at(10));
        match inquiries.next(at(10)) {
            Some(Work::Tell(ruling)) => assert_eq!((&*ruling.room, ruling.verdict), ("beside", Verdict::Unavailable)),
            other => panic!("{other:?}"),
        }
        assert_eq!(inquiries.settle(&probe, answer(r#"{"allow":false}"#), at(11)).verdict, Verdict::Deny);
        assert_eq!(inquiries.ask("u", "other", conn(0), at(11)), None);
    }

    #[test]
    fn questions_that_wait_are_bounded() {
        let mut inquiries = Inquiries::new(OPTIONS);
        for room in 0..4 {
            assert_eq!(inquiries.ask("u", &room.to_string(), conn(0), at(0)), None);
        }
        assert_eq!(inquiries.ask("u", "5", conn(0), at(0)), Some(Verdict::Unavailable));
        assert_eq!(inquiries.ask("u", "0", conn(1), at(0)), None, "a question that is open needs no place");
        assert_eq!(inquiries.stats(), InquiryStats { refused_full: 1, shared: 1, ..InquiryStats::default() });
    }

    proptest! {
        /// Whatever happens in whatever order, everyone who was told to wait is told once, and nothing is left when all is settled.
        #[test]
        fn everyone_who_waits_is_told_once(ops in prop::collection::vec((0u8..4, 0u8..6, any::<bool>()), 0..200)) {
            let mut inquiries = Inquiries::new(OPTIONS);
            let (mut waiting, mut asked, mut now_s) = (BTreeSet::new(), Vec::new(), 0);
            let told = |ruling: Ruling, waiting: &mut BTreeSet<u32>| ruling.askers.iter().all(|asker| waiting.remove(&asker.slot));
            for (slot, (op, room, flag)) in (0u32..).zip(ops) {
                match op {
                    0 | 1 => {
                        if inquiries.ask("u", &room.to_string(), conn(slot), at(now_s)).is_none() {
                            waiting.insert(slot);
                        }
                    }
                    2 => match inquiries.next(at(now_s)) {
                        Some(Work::Ask(inquiry)) => asked.push(inquiry),
                        Some(Work::Tell(ruling)) => prop_assert!(told(ruling, &mut waiting)),
                        None => {}
                    },
                    _ => {
                        now_s += u64::from(room);
                        if let Some(inquiry) = asked.pop() {
                            let outcome = if flag { answer(r#"{"allow":true,"ttl_ms":1000}"#) } else { Err(Failure::Status) };
                            prop_assert!(told(inquiries.settle(&inquiry, outcome, at(now_s)), &mut waiting));
                        }
                    }
                }
            }
            while let Some(work) = inquiries.next(at(now_s)) {
                match work {
                    Work::Ask(inquiry) => asked.push(inquiry),
                    Work::Tell(ruling) => prop_assert!(told(ruling, &mut waiting)),
                }
            }
            for inquiry in asked {
                prop_assert!(told(inquiries.settle(&inquiry, Err(Failure::Connection), at(now_s)), &mut waiting));
            }
            prop_assert!(waiting.is_empty() && inquiries.open.is_empty() && inquiries.waiting() == 0);
        }
    }
}
