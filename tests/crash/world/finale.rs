//! The end of a run: all is well again, and so must everybody be.

use super::*;

/// Frames that the reactor takes in a turn.
const FRAMES_PER_TURN: usize = 20;
/// Events that are read at a time, at most.
const EVENTS_PER_PART: usize = 20;

impl World {
    pub(super) fn end(&mut self) {
        self.out.disk.failing = false;
        self.out.can_keep = true;
        self.everybody_subscribes();
        self.rest("after the faults");
        self.check();
        self.go_on();
        self.acknowledge_all();
        self.rest("after all was acknowledged");
        self.crash_at_rest();
    }

    /// What is published when all is well reaches everybody, and nothing is refused.
    fn go_on(&mut self) {
        let (gaps, refused) = (self.gaps(), self.seen.count("refused"));
        for room in ROOMS {
            for lane in Lane::ALL {
                self.publish_event(room, lane, Safety::Durable);
                self.rest("after an event");
            }
            for key in KEYS {
                self.publish_state(room, key, false);
                self.rest("after a state");
            }
        }
        self.publish_notice();
        self.rest("after a notice");
        assert_eq!((self.gaps(), self.seen.count("refused")), (gaps, refused), "gaps and refusals while all was well");
        (0..CLIENTS).for_each(|client| self.subscribe_to(client, USER_ROOM));
        self.rest("after a join");
        self.check_times();
        self.check();
    }

    /// Everything is on disk by now.
    fn crash_at_rest(&mut self) {
        assert!(!self.hub.hurry(), "states wait to be kept, and there was time");
        let told = |world: &World| (world.gaps(), world.have.values().map(|have| have.rewound).sum::<u64>());
        let before = told(self);
        self.crash();
        self.everybody_subscribes();
        self.rest("after the last crash");
        assert_eq!(told(self), before, "gaps and rewound positions, though everything was synced");
        self.check();
        self.check_ends();
    }

    fn everybody_subscribes(&mut self) {
        for room in ALL_ROOMS {
            (0..CLIENTS).for_each(|client| self.subscribe_to(client, room));
        }
    }

    fn gaps(&self) -> u64 {
        self.have.values().map(|have| have.gaps).sum()
    }

    /// Liveness: in so many turns everybody has what there is; and then time passes, so that nothing is held or waits to be kept.
    fn rest(&mut self, when: &str) {
        // Replays of one event at a time take so much longer.
        let turns_max = if self.options.replay_part_bytes == 1 { 3 * TURNS_MAX } else { TURNS_MAX };
        for _ in 0..2 {
            let mut turns = 0;
            loop {
                self.turn();
                let unrest = self.unrest();
                if unrest.is_empty() {
                    break;
                }
                turns += 1;
                assert!(turns < turns_max, "{when}: still {unrest:?} after {turns} turns");
            }
            self.seen.turns_max = self.seen.turns_max.max(turns);
            self.pass(3_000);
        }
    }

    fn turn(&mut self) {
        self.sync();
        self.hear_of_trimmed();
        (0..self.out.fetches.len()).for_each(|_| self.answer_fetch(EVENTS_PER_PART));
        (0..self.taken.len()).for_each(|_| self.take_replay());
        (0..self.retries.len()).for_each(|_| self.publish_again());
        (0..FRAMES_PER_TURN).for_each(|_| self.serve());
        self.pass(5);
        self.tick();
    }

    fn unrest(&self) -> Vec<&'static str> {
        let stats = self.hub.stats();
        let all = [
            ("publishes to send again", !self.retries.is_empty()),
            ("publishes to answer", !self.waiting.is_empty()),
            ("acknowledgments to answer", self.is_asking()),
            ("joins to answer", self.asked.iter().any(|asked| !asked.is_empty())),
            ("clients to catch up", self.have.len() < CLIENTS * ALL_ROOMS.len() || !self.have.values().all(|have| have.is_caught_up)),
            ("replays to end", stats.replays > 0 || !self.taken.is_empty() || !self.out.fetches.is_empty()),
            ("outputs to take", !self.out.outputs.is_empty()),
            ("entries to sync", self.out.disk.waits() > 0 || stats.journal_entries > 0),
            ("something owed", self.hub.is_lagging()),
        ];
        all.into_iter().filter_map(|(what, is_so)| is_so.then_some(what)).collect()
    }

    fn check(&mut self) {
        for (&(client, room), have) in &self.have {
            for (event_id, (of, lane, seq)) in &self.acknowledged {
                if *of == room && *seq >= have.from[lane.index()] {
                    let is_missing = have.missing[lane.index()].contains(seq);
                    let may_miss = *seq < self.out.disk.oldest(room, *lane) || have.lagged[lane.index()].contains(seq);
                    let is_gone = is_missing && may_miss;
                    let has = have.events[lane.index()].get(seq) == Some(event_id);
                    assert!(has || is_gone, "client {client} lacks {event_id}, {lane} {seq} of {room}, or has something else there");
                }
            }
            for lane in Lane::ALL {
                let mut ids: Vec<_> = have.events[lane.index()].values().collect();
                ids.sort();
                // What had to go for too many is told again if the disk failed then.
                ids.windows(2).for_each(|pair| assert!(pair[0] != pair[1] || room == ACKS_ROOM, "client {client} has {} twice", pair[0]));
            }
            for ((of, key), newest) in &self.states {
                if *of == room {
                    self.seen.saw("states", 1);
                    let has = have.states.get(*key).and_then(|(_, value)| value.as_ref());
                    let newest = Some(Tree::parse(newest)).filter(|newest| !newest.is_null());
                    assert_eq!(has, newest.as_ref(), "client {client}: {key} of {room}");
                }
            }
        }
        let stats = self.hub.stats();
        assert_eq!((stats.journal_entries, stats.journal_bytes, stats.journal_waiting, stats.replays), (0, 0, 0, 0), "{stats:?}");
    }
}
