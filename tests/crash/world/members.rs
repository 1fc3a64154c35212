//! Clients, and the reactor that serves them.

use super::*;

/// A membership, as a reactor has it.
pub(super) struct Member {
    pub(super) id: RoomId,
    floor: PerLane<u64>,
    delta: bool,
    /// What must come until it is caught up.
    due: Option<Due>,
}

impl World {
    pub(super) fn conn(&self, client: usize) -> ConnId {
        ConnId { reactor: 0, slot: client as u32, generation: self.generations[client] }
    }

    pub(super) fn subscribe(&mut self) {
        let (client, room) = (self.rng.below(CLIENTS), *self.rng.pick(&ALL_ROOMS));
        self.subscribe_to(client, room);
    }

    pub(super) fn subscribe_to(&mut self, client: usize, room: &'static str) {
        if self.asked[client].iter().any(|(asked, _)| *asked == room) {
            return;
        }
        let since = self.have.get(&(client, room)).and_then(Have::since);
        let join = Join {
            conn: self.conn(client),
            request: None,
            room: room.into(),
            user: "u".into(),
            by_pattern: true,
            consent: Consent::None,
            history: if since.is_none() { *self.rng.pick(&[None, Some(5), Some(1000)]) } else { None },
            since,
            delta: self.rng.chance(50),
            poll: None,
            sample: None,
        };
        let due = if room == USER_ROOM { self.due() } else { Due::default() };
        self.asked[client].push_back((room, due));
        // One who is a member already and asks again is left as it is until it is answered: its position may be old by then.
        self.leave(client, room);
        self.apply(Input::Join(Box::new(join)));
    }

    pub(super) fn unsubscribe(&mut self) {
        let (client, room) = (self.rng.below(CLIENTS), *self.rng.pick(&ALL_ROOMS));
        self.leave(client, room);
    }

    fn leave(&mut self, client: usize, room: &'static str) {
        if let Some(member) = self.members.remove(&(client, room)) {
            let conn = self.conn(client);
            self.apply(Input::Leave { room: member.id, conn, delta: member.delta });
        }
    }

    pub(super) fn take_replay(&mut self) {
        if !self.taken.is_empty() {
            let at = self.rng.below(self.taken.len());
            let input = self.taken.swap_remove(at);
            self.apply(input);
        }
    }

    // The reactor.

    pub(super) fn serve(&mut self) {
        match self.out.outputs.pop_front() {
            None => {}
            Some(Output::Answers(answers)) => answers.into_iter().for_each(|answer| self.answered(answer)),
            Some(Output::Joined(joined)) => self.joined(&joined),
            Some(Output::Acked(answers)) => self.acked(answers),
            Some(Output::Deliver(frame)) => self.deliver(&frame),
            Some(Output::Replayed(replayed)) => self.replayed(&replayed),
            Some(other) => panic!("{other:?}"),
        }
    }

    fn joined(&mut self, joined: &Joined) {
        let client = joined.conn.slot as usize;
        let (room, due) = self.asked[client].pop_front().expect("an answer that nobody asked for");
        assert_eq!(room, room_of(&joined.name), "answers come in the order of the questions");
        self.taken.extend(joined.replay.map(|id| Input::ReplayTaken { id, wants_more: true }));
        self.members.insert((client, room), Member { id: joined.room, floor: joined.floor, delta: joined.delta, due: Some(due) });
        let have = self.have.entry((client, room)).or_default();
        joined.frames.iter().for_each(|frame| have.take(frame.as_text(), true));
        self.look_at_due(client, room);
    }

    fn deliver(&mut self, frame: &Arc<Frame>) {
        let last = match frame.tag.kind {
            Kind::Stream { seq } => seq,
            Kind::Gap { to } => to,
            _ => u64::MAX,
        };
        for ((client, room), member) in &self.members {
            if member.id == frame.tag.room && (last == u64::MAX || last >= member.floor[frame.tag.lane.index()]) {
                let have = self.have.get_mut(&(*client, *room)).expect("it is a member");
                let delta = have.delta(frame).filter(|_| member.delta);
                self.seen.saw("full states in place of deltas", u64::from(member.delta && delta.is_none() && frame.delta().is_some()));
                have.take(delta.unwrap_or(frame).as_text(), false);
            }
        }
    }

    fn replayed(&mut self, replayed: &Replayed) {
        let client = replayed.conn.slot as usize;
        let is_here = replayed.conn == self.conn(client);
        let member = self.members.iter_mut().find(|((of, _), member)| *of == client && member.id == replayed.room && is_here);
        let wants_more = member.is_some();
        let room = member.map(|((_, room), member)| {
            if let Some((lane, floor)) = replayed.floor {
                member.floor[lane.index()] = floor;
            }
            let have = self.have.get_mut(&(client, *room)).expect("it is a member");
            replayed.frames.iter().for_each(|frame| have.take(frame.as_text(), true));
            *room
        });
        if let Some(room) = room {
            self.look_at_due(client, room);
        }
        if !replayed.is_done {
            self.taken.push(Input::ReplayTaken { id: replayed.id, wants_more });
        }
    }

    /// One who is caught up has what was due.
    fn look_at_due(&mut self, client: usize, room: &'static str) {
        let member = self.members.get_mut(&(client, room)).expect("it is a member");
        let have = &self.have[&(client, room)];
        if have.is_caught_up && room == USER_ROOM {
            let Some(due) = member.due.take() else { return };
            self.notices.check(&due, have, &mut self.seen);
        }
    }
}
