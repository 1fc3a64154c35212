//! What the hub and the authorizer have sent: frames to be delivered, and answers.

use crate::base::ids::RoomId;
use crate::base::limits::{AHEAD_MAX, ANSWER_FRAMES_AHEAD_MAX};
use crate::hub::ports::{AckAnswer, Answer, Output};

use super::Reactor;

impl Reactor {
    /// Takes all that was there when it began; less if so much is to be written that the hub had better keep the rest: its link fills then,
    /// and what finds no room there is conflated, or comes later, or becomes a `gap`, where here it would end in the members' queues.
    pub(super) fn take_inbox(&mut self) {
        let waiting = self.inbox.len();
        if waiting > AHEAD_MAX / 2 {
            // The hub may sleep over it: if it does so while we take what there is, at least as much is left for the next turn.
            self.core.uplink.nudge();
        }
        for _ in 0..waiting {
            if self.core.runs.is_full() {
                break;
            }
            let Some(output) = self.inbox.pop() else { break };
            let frames = output.answer_frames();
            self.take_output(output);
            self.inbox.add_done(frames);
            self.answer_frames += frames;
        }
        // The hub may sleep over what it could answer: it is woken before it would have nothing more on the way.
        if self.answer_frames >= ANSWER_FRAMES_AHEAD_MAX / 2 {
            self.answer_frames = 0;
            self.core.uplink.nudge();
        }
    }

    fn take_output(&mut self, output: Output) {
        match output {
            Output::Deliver(frame) => self.deliver(frame),
            Output::Joined(joined) => {
                self.core.uplink.answered(1);
                let (id, room, delta, replay) = (joined.conn, joined.room, joined.delta, joined.replay);
                self.settle_room(room);
                match self.conns.by_id(id) {
                    Some(conn) => conn.on_joined(*joined, &mut self.core),
                    None => self.core.uplink.leave(room, id, delta),
                }
                self.enlist(id.slot);
                self.schedule(id.slot); // a poll may have begun to wait
                self.begin_replay(id, room, replay);
            }
            Output::Reply { conn: id, frames } => {
                self.core.uplink.answered(1);
                // States of a snapshot are newer than what waits for their room.
                if let Some(room) = frames.iter().map(|frame| frame.tag.room).find(|room| *room != RoomId::NONE) {
                    self.settle_room(room);
                }
                if let Some(conn) = self.conns.by_id(id) {
                    conn.on_reply(frames, &mut self.core);
                }
                self.enlist(id.slot);
            }
            Output::Unowned(join) => {
                self.core.uplink.answered(1);
                let id = join.conn;
                if let Some(conn) = self.conns.by_id(id) {
                    conn.on_unowned(join, &mut self.core);
                }
                self.enlist(id.slot);
            }
            Output::Answers(answers) => self.take_answers(answers),
            Output::Acked(answers) => self.take_acked(answers),
            Output::Replayed(replayed) => self.take_replayed(*replayed),
            Output::Lost(room) => self.lose(room),
        }
    }

    /// Takes what the authorizer said.
    pub(super) fn take_words(&mut self) {
        for _ in 0..self.words.len() {
            let Some(word) = self.words.pop() else { return };
            self.core.inquirer.heard();
            if let Some(conn) = self.conns.by_id(word.conn) {
                conn.on_word(&word, &mut self.core);
            }
            self.enlist(word.conn.slot);
        }
    }

    /// Takes what the store said of tickets.
    pub(super) fn take_ticket_words(&mut self) {
        for _ in 0..self.ticket_words.len() {
            let Some(word) = self.ticket_words.pop() else { return };
            self.core.ticket_desk.heard();
            let id = word.conn;
            if let Some(conn) = self.conns.by_id(id) {
                conn.on_ticket_word(word.said, &mut self.core);
            }
            self.enlist(id.slot);
            self.schedule(id.slot);
        }
    }

    fn take_answers(&mut self, answers: Vec<Answer>) {
        self.core.uplink.answered_publishes(answers.len());
        for answer in answers {
            let id = answer.conn;
            if let Err(refusal) = &answer.outcome {
                self.core.stats.refused(refusal.error);
            }
            if let Some(conn) = self.conns.by_id(id) {
                conn.on_answer(answer, &mut self.core);
            }
            self.enlist(id.slot);
        }
    }

    fn take_acked(&mut self, answers: Vec<AckAnswer>) {
        self.core.uplink.answered(answers.len());
        for answer in answers {
            let id = answer.conn;
            if let Some(conn) = self.conns.by_id(id) {
                conn.on_acked(answer, &mut self.core);
            }
            self.enlist(id.slot);
        }
    }
}
