//! What every way of publishing has in common: lines cut from bytes, answers in the order of the lines. Pure.

use std::collections::VecDeque;

use crate::auth::Grants;
use crate::base::codes::{FORBIDDEN, Refusal, SHUTTING_DOWN, TOO_LARGE, own_event_id};
use crate::base::ids::{ConnId, Ticket};
use crate::base::limits::{CREDIT_WINDOW, PUBLISH_BYTES_MAX};
use crate::hub::ports::{Accepted, Event, Publish, Safety};
use crate::wire::event::{self, Draft};
use crate::wire::request_id::RequestId;

use super::audit::Mark;
use super::core::Core;
use super::memory::Demand;

/// What became of a line.
pub(super) type Outcome = Result<Accepted, Refusal>;

/// The answers of one connection, given in the order of its lines: one that comes early waits for those before it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The ticket of the next line.
    next: Ticket,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: Option<RequestId>,
    outcome: Option<Outcome>,
    /// For the audit trail.
    mark: Mark,
}

impl Answers {
    /// Opens a place for an answer that the hub gives.
    fn open(&mut self, id: Option<RequestId>, mark: Mark) -> Ticket {
        self.add(Waiting { id, outcome: None, mark })
    }

    /// Adds an answer that is known already.
    pub(super) fn refuse(&mut self, id: Option<RequestId>, refusal: Refusal) {
        self.add(Waiting { id, outcome: Some(Err(refusal)), mark: Mark::default() });
    }

    fn add(&mut self, waiting: Waiting) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.waiting.push_back(waiting);
        ticket
    }

    /// Puts an answer in its place.
    pub(super) fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        let first = self.next - self.waiting.len() as Ticket;
        let waiting = ticket.checked_sub(first).and_then(|at| self.waiting.get_mut(at as usize));
        debug_assert!(waiting.is_some(), "the hub answered a line twice");
        if let Some(waiting) = waiting {
            waiting.mark.settle(outcome.is_ok());
            waiting.outcome = Some(outcome);
        }
    }

    /// Takes the next answer, if it is there.
    pub(super) fn pop(&mut self) -> Option<(Option<RequestId>, Outcome)> {
        self.waiting.front()?.outcome.as_ref()?;
        let Waiting { id, outcome, mark: _ } = self.waiting.pop_front()?;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some((id, outcome?))
    }

    /// What it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.waiting.len() * size_of::<Waiting>()
    }

    /// Whether no answer is owed to the publisher.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the credit window is used up: no more lines may be read.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= CREDIT_WINDOW
    }
}

/// Takes one line to publish: sends it to the hub, or refuses it. Either way `answers` has a place for it.
pub(super) fn publish_line(line: &[u8], conn: ConnId, grants: &Grants, answers: &mut Answers, core: &mut Core) {
    core.stats.publish_lines.inc();
    let parsed = event::parse(line, core.catalog.wanted());
    let kind = match &parsed {
        Ok(draft) => &*draft.kind,
        Err(rejected) => rejected.kind.as_deref().unwrap_or_default(),
    };
    let mut mark = core.audit.published(core.now, &grants.user, kind);
    let (id, admitted) = match parsed {
        Ok(mut draft) => (draft.id.take(), admit(&draft, grants, core).map(|event| (event, draft.ack_memory))),
        Err(rejected) => (rejected.id, Err(rejected.refusal)),
    };
    let sent = admitted.and_then(|(event, ack_memory)| {
        let ack = if ack_memory { Safety::Memory } else { Safety::Durable };
        let publish = Publish { conn, ticket: answers.next, accepted: core.now.mono, ack, event };
        core.uplink.publish(Box::new(publish))
    });
    match sent {
        Ok(()) => drop(answers.open(id, mark)),
        Err(refusal) => {
            mark.settle(false);
            refuse(id, refusal, answers, core);
        }
    }
}

/// Refuses a line that is not worth parsing.
pub(super) fn refuse_too_long(user: &str, answers: &mut Answers, core: &mut Core) {
    core.stats.publish_lines.inc();
    core.audit.published(core.now, user, "").settle(false);
    let message = format!("the line is longer than {PUBLISH_BYTES_MAX} bytes, and is skipped: send less data in one event");
    refuse(None, Refusal::new(TOO_LARGE, message), answers, core);
}

fn refuse(id: Option<RequestId>, refusal: Refusal, answers: &mut Answers, core: &mut Core) {
    core.stats.refused(refusal.error);
    core.stats.publish_refused.inc();
    answers.refuse(id, refusal);
}

fn admit(draft: &Draft<'_>, grants: &Grants, core: &Core) -> Result<Event, Refusal> {
    if core.is_draining() {
        return Err(Refusal::passing(SHUTTING_DOWN, "the server is stopping: reconnect, and send again", 1000));
    }
    let event = core.catalog.resolve(draft)?;
    if event.event_id.as_deref().is_some_and(|event_id| !grants.may_name(event_id)) {
        return Err(own_event_id());
    }
    if !grants.may_publish(&event.room) {
        let message = format!(
            "the token may not publish to room {}: it needs the scope publish and a matching publish_rooms, and broadcast for system: and admin: rooms",
            event.room
        );
        return Err(Refusal::new(FORBIDDEN, message));
    }
    core.spare_memory(Demand::Event(event.lane))?;
    Ok(event)
}

/// Cuts lines from bytes as they come. Blank ones are skipped, and what is too long to be taken.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// In the midst of a line that is too long.
    skipping: bool,
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    /// A line, without its end.
    Line(&'a [u8]),
    /// The beginning of a line that is longer than allowed; it is reported once.
    TooLong,
    /// Nothing to take: blank, or the rest of a line that is too long.
    Nothing,
    /// No line ends in these bytes. They are not consumed.
    NeedMore,
}

impl Splitter {
    /// Looks at the start of `input`, and says how many bytes of it are dealt with. `is_end`: nothing follows `input`.
    pub(super) fn next<'a>(&mut self, input: &'a [u8], is_end: bool) -> (Cut<'a>, usize) {
        let end = memchr::memchr(b'\n', input);
        let (line, used) = match end {
            Some(end) => (&input[..end], end + 1),
            None if is_end || self.skipping || input.len() > PUBLISH_BYTES_MAX => (input, input.len()),
            None => return (Cut::NeedMore, 0),
        };
        let was_skipping = std::mem::replace(&mut self.skipping, false);
        if was_skipping || line.len() > PUBLISH_BYTES_MAX {
            self.skipping = end.is_none() && !is_end;
            return (if was_skipping { Cut::Nothing } else { Cut::TooLong }, used);
        }
        let line = line.trim_ascii();
        (if line.is_empty() { Cut::Nothing } else { Cut::Line(line) }, used)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::codes::QUEUE_FULL;

    fn refused(n: u32) -> Outcome {
        Err(Refusal::passing(QUEUE_FULL, "", n))
    }

    #[test]
    fn answers_come_in_the_order_of_the_lines() {
        let mut answers = Answers::default();
        let tickets = [answers.open(Some(1.into()), Mark::default()), answers.open(Some(2.into()), Mark::default())];
        answers.refuse(Some(3.into()), Refusal::new(QUEUE_FULL, ""));
        answers.settle(tickets[1], refused(2));
        assert_eq!(answers.pop(), None);
        answers.settle(tickets[0], refused(1));
        let order: Vec<_> = std::iter::from_fn(|| answers.pop()).map(|(id, _)| id.unwrap()).collect();
        assert_eq!(order, [RequestId::from(1), 2.into(), 3.into()]);
        let ticket = answers.open(None, Mark::default());
        assert_eq!(ticket, 3, "tickets are never given twice");
        answers.settle(ticket, refused(4));
        assert_eq!(answers.pop(), Some((None, refused(4))));
        assert!(answers.is_empty());
    }

    #[test]
    fn the_credit_window_counts_what_is_not_given_yet() {
        let mut answers = Answers::default();
        for _ in 0..CREDIT_WINDOW {
            assert!(!answers.is_full());
            answers.open(None, Mark::default());
        }
        assert!(answers.is_full());
        answers.settle(0, refused(0));
        answers.pop();
        assert!(!answers.is_full());
    }

    /// Feeds the input in the given portions, as reads would, and notes what comes out.
    fn cut(input: &[u8], portions: &[usize]) -> Vec<Option<Vec<u8>>> {
        let (mut splitter, mut out, mut rest, mut fed) = (Splitter::default(), Vec::new(), Vec::new(), 0);
        let mut portions = portions.iter().cycle();
        while fed < input.len() || !rest.is_empty() {
            let portion = (*portions.next().unwrap()).min(input.len() - fed);
            rest.extend_from_slice(&input[fed..fed + portion]);
            fed += portion;
            loop {
                let (cut, used) = splitter.next(&rest, fed == input.len());
                match cut {
                    Cut::Line(line) => out.push(Some(line.to_vec())),
                    Cut::TooLong => out.push(None),
                    Cut::Nothing => {}
                    Cut::NeedMore => break,
                }
                rest.drain(..used);
                if rest.is_empty() {
                    break;
                }
            }
        }
        out
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_once_and_the_next_one_is_taken() {
        let long = "x".repeat(PUBLISH_BYTES_MAX + 1);
        let fits = "y".repeat(PUBLISH_BYTES_MAX);
        let input = format!("a\r\n\n  \n{long}\n{fits}\n{long}{long}{long}\nlast");
        let expected = vec![Some(b"a".to_vec()), None, Some(fits.into_bytes()), None, Some(b"last".to_vec())];
        for portion in [1000, 60_000, usize::MAX] {
            assert_eq!(cut(input.as_bytes(), &[portion]), expected);
        }
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_are_read(
            lines in prop::collection::vec("[a-z ]{0,12}", 0..20), portions in prop::collection::vec(1usize..30, 1..10),
        ) {
            let expected: Vec<_> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).map(|line| Some(line.as_bytes().to_vec())).collect();
            prop_assert_eq!(cut(lines.join("\n").as_bytes(), &portions), expected);
        }
    }
}
