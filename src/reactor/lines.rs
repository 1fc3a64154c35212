//! Publishers on the unix socket: NDJSON in, NDJSON out, pipelined. No I/O.

use std::sync::Arc;

use crate::auth::Grants;
use crate::base::ids::{ConnId, Ticket};
use crate::net::outbox::Outbox;
use crate::wire::reply;

use super::connection::{Then, Took};
use super::core::Core;
use super::publisher::{Answers, Cut, Outcome, Splitter, publish_line, refuse_too_long};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lines {
    answers: Answers,
    splitter: Splitter,
    /// It is the daemon that publishes.
    pub(super) is_daemon: bool,
}

impl Lines {
    /// Takes lines from the input while there is credit. `is_end`: the publisher sends no more.
    pub(super) fn take(&mut self, id: ConnId, input: &[u8], is_end: bool, core: &mut Core, outbox: &mut Outbox) -> Took {
        let (mut used, mut more) = (0, true);
        while used < input.len() && !self.answers.is_full() {
            let (cut, taken) = self.splitter.next(&input[used..], is_end);
            used += taken;
            match cut {
                Cut::Line(line) => self.publish(line, id, core),
                Cut::TooLong => refuse_too_long(&self.grants(core).user, &mut self.answers, core),
                Cut::Nothing => {}
                Cut::NeedMore => {
                    more = false;
                    break;
                }
            }
        }
        self.give_answers(core, outbox);
        Took { used, more, whole: used > 0, then: Then::Go }
    }

    /// What the answers take that it waits for.
    pub(super) fn held_bytes(&self) -> usize {
        self.answers.held_bytes()
    }

    fn publish(&mut self, line: &[u8], id: ConnId, core: &mut Core) {
        publish_line(line, id, &self.grants(core), &mut self.answers, core);
    }

    fn grants(&self, core: &Core) -> Arc<Grants> {
        Arc::clone(if self.is_daemon { &core.daemon_grants } else { &core.unix_grants })
    }

    /// The hub has answered a line.
    pub(super) fn on_answer(&mut self, ticket: Ticket, outcome: Outcome, core: &mut Core, outbox: &mut Outbox) {
        self.answers.settle(ticket, outcome);
        self.give_answers(core, outbox);
    }

    fn give_answers(&mut self, core: &mut Core, outbox: &mut Outbox) {
        let slow_down = core.uplink.slow_down();
        while let Some((id, outcome)) = self.answers.pop() {
            outbox.push_raw(core.now.mono, |out| {
                reply::answer(out, id.as_ref(), &outcome, slow_down);
                out.push(b'\n');
            });
        }
    }

    /// Whether no more lines may be read until some are answered.
    pub(super) fn is_blocked(&self) -> bool {
        self.answers.is_full()
    }

    /// Whether every line is answered.
    pub(super) fn is_settled(&self) -> bool {
        self.answers.is_empty()
    }
}
