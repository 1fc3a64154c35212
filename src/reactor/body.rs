//! The body of `POST /v1/publish` and the answer to it. Lines are published as they come; the answer goes out when each has one.

use std::sync::Arc;

use crate::auth::Grants;
use crate::base::codes::{INVALID_FIELD, Refusal, TOO_LARGE};
use crate::base::ids::ConnId;
use crate::base::limits::HTTP_LINES_MAX;
use crate::wire::http::{write_refusal, write_response};
use crate::wire::reply;

use super::core::Core;
use super::publisher::{Answers, Cut, Outcome, Splitter, publish_line, refuse_too_long};

/// See the module.
#[derive(Debug)]
pub(super) struct Body {
    /// Bytes that are not taken yet.
    left: usize,
    /// The whole body is one event, which may span lines.
    is_json: bool,
    pub(super) keep_alive: bool,
    grants: Arc<Grants>,
    splitter: Splitter,
    tally: Tally,
    /// The answers so far, a line each.
    answers: Vec<u8>,
}

/// What the lines came to.
#[derive(Debug, Default)]
struct Tally {
    lines: usize,
    accepted: usize,
    /// Refusals that pass.
    passing: usize,
    /// The status of the last refusal, 503 being kept.
    refused_status: u16,
    retry_after_ms: Option<u32>,
}

impl Body {
    /// For a body of `len` bytes of which nothing was read yet.
    pub(super) fn new(len: usize, is_json: bool, keep_alive: bool, grants: Grants) -> Body {
        Body {
            left: len,
            is_json,
            keep_alive,
            grants: Arc::new(grants),
            splitter: Splitter::default(),
            tally: Tally::default(),
            answers: Vec::new(),
        }
    }

    /// Publishes what is there of the body while there is credit. How many bytes are dealt with.
    pub(super) fn take(&mut self, conn: ConnId, input: &[u8], answers: &mut Answers, core: &mut Core) -> usize {
        let input = &input[..input.len().min(self.left)];
        let used = if self.is_json { self.take_whole(conn, input, answers, core) } else { self.take_lines(conn, input, answers, core) };
        self.left -= used;
        used
    }

    fn take_whole(&mut self, conn: ConnId, input: &[u8], answers: &mut Answers, core: &mut Core) -> usize {
        if input.len() < self.left {
            return 0;
        }
        if !input.trim_ascii().is_empty() {
            self.publish(conn, input, answers, core);
        }
        input.len()
    }

    fn take_lines(&mut self, conn: ConnId, input: &[u8], answers: &mut Answers, core: &mut Core) -> usize {
        let is_end = input.len() == self.left;
        let mut used = 0;
        while used < input.len() && !answers.is_full() {
            if self.tally.lines > HTTP_LINES_MAX {
                return input.len();
            }
            let (cut, taken) = self.splitter.next(&input[used..], is_end);
            used += taken;
            match cut {
                Cut::Line(line) => self.publish(conn, line, answers, core),
                Cut::TooLong => {
                    self.tally.lines += 1;
                    refuse_too_long(&self.grants.user, answers, core);
                }
                Cut::Nothing => {}
                Cut::NeedMore => break,
            }
        }
        used
    }

    fn publish(&mut self, conn: ConnId, line: &[u8], answers: &mut Answers, core: &mut Core) {
        self.tally.lines += 1;
        if self.tally.lines > HTTP_LINES_MAX {
            let message = format!("more than {HTTP_LINES_MAX} lines in one request: this one and all after it are not published");
            core.stats.refused(TOO_LARGE);
            core.audit.published(core.now, &self.grants.user, "").settle(false);
            return answers.refuse(None, Refusal::new(TOO_LARGE, message));
        }
        publish_line(line, conn, &self.grants, answers, core);
    }

    /// Takes the answers that are there.
    pub(super) fn collect(&mut self, answers: &mut Answers, slow_down: bool) {
        while let Some((id, outcome)) = answers.pop() {
            self.tally.add(&outcome);
            reply::answer(&mut self.answers, id.as_ref(), &outcome, slow_down);
            self.answers.push(b'\n');
        }
    }

    /// What its answers take.
    pub(super) fn held_bytes(&self) -> usize {
        self.answers.capacity()
    }

    /// Whether all of it is taken.
    pub(super) fn is_read(&self) -> bool {
        self.left == 0
    }

    /// Writes the answer to the request.
    pub(super) fn write_answer(&self, out: &mut Vec<u8>, keep_alive: bool) {
        if self.tally.lines == 0 {
            let refusal = Refusal::new(INVALID_FIELD, "the body is blank: send one event, or one on each line");
            return write_refusal(out, 400, &refusal, keep_alive, &[]);
        }
        let content_type = if self.tally.lines == 1 { "application/json" } else { "application/x-ndjson" };
        let after_s = self.tally.retry_after_ms.map(|after_ms| after_ms.div_ceil(1000).to_string());
        let status = self.tally.status();
        let retry_after = after_s.as_deref().filter(|_| status != 200).map(|after_s| ("Retry-After", after_s));
        write_response(out, status, content_type, keep_alive, retry_after.as_slice(), &self.answers);
    }
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        let Err(refusal) = outcome else {
            self.accepted += 1;
            return;
        };
        self.passing += usize::from(refusal.retry_after_ms.is_some());
        self.retry_after_ms = self.retry_after_ms.max(refusal.retry_after_ms);
        if self.refused_status != 503 {
            self.refused_status = refusal.error.http_status;
        }
    }

    /// One line: its own. More: 200 with a line each, unless none was accepted.
    fn status(&self) -> u16 {
        match self {
            Tally { accepted: 1.., .. } => 200,
            Tally { lines: 1, .. } => self.refused_status,
            Tally { passing, lines, .. } if passing == lines => self.refused_status,
            _ => 400,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codes::{ErrorCode, INTERNAL, OVER_CAPACITY, QUEUE_FULL};
    use crate::base::lane::Lane;
    use crate::hub::ports::{Accepted, Number, Safety};

    fn status(outcomes: &[Option<(ErrorCode, Option<u32>)>]) -> u16 {
        let mut tally = Tally { lines: outcomes.len(), ..Tally::default() };
        for outcome in outcomes {
            tally.add(&match *outcome {
                Some((error, retry_after_ms)) => Err(Refusal { error, message: String::new(), retry_after_ms }),
                None => Ok(Accepted {
                    outcome: crate::hub::ports::Outcome::Accepted,
                    room: "r".into(),
                    lane: Lane::Alert,
                    number: Number::None,
                    epoch: "e".into(),
                    safety: Safety::Memory,
                    members: 0,
                }),
            });
        }
        tally.status()
    }

    #[test]
    fn the_status_says_whether_to_send_again() {
        let (full, over, bad) = (Some((QUEUE_FULL, Some(20))), Some((OVER_CAPACITY, Some(20))), Some((INVALID_FIELD, None)));
        assert_eq!(status(&[None]), 200);
        assert_eq!(status(&[full]), 429);
        assert_eq!(status(&[Some((INTERNAL, None))]), 500);
        assert_eq!(status(&[bad, None, full]), 200);
        assert_eq!(status(&[full, full]), 429);
        assert_eq!(status(&[over, full]), 503);
        assert_eq!(status(&[full, bad]), 400);
    }
}
