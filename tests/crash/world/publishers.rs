//! Publishers, who try again what they are not sure of.

use super::*;

/// What was published, and what its publisher knows of it.
#[derive(Clone)]
pub(super) struct Published {
    pub(super) event: Event,
    pub(super) ack: Safety,
}

impl World {
    pub(super) fn publish_new(&mut self) {
        let (room, lane) = (*self.rng.pick(&ROOMS), *self.rng.pick(&Lane::ALL));
        let ack = self.safety();
        if lane != Lane::Alert && self.rng.chance(30) {
            let (key, is_deletion) = (*self.rng.pick(&KEYS), self.rng.chance(10));
            self.publish_state(room, key, is_deletion);
        } else {
            self.publish_event(room, lane, ack);
        }
    }

    pub(super) fn safety(&mut self) -> Safety {
        if self.rng.chance(70) { Safety::Durable } else { Safety::Memory }
    }

    pub(super) fn publish_event(&mut self, room: &'static str, lane: Lane, ack: Safety) {
        let id = self.next_id();
        let event = Event { event_id: Some(id.as_str().into()), data: format!(r#"{{"id":"{id}"}}"#).into(), ..event("event", room, lane) };
        self.publish(Published { event, ack });
    }

    pub(super) fn publish_state(&mut self, room: &'static str, key: &'static str, is_deletion: bool) {
        let id = self.next_id();
        let (a, b) = (self.rng.below(3), *self.rng.pick(&["1.0", "1.0", "1.0", "null", "[null]"]));
        let data = if is_deletion {
            "null".to_owned()
        } else {
            format!(r#"{{"id":"{id}","o":{{"a":{a}.50,"b":{b}}},"rest":"is always the same in each state of this key"}}"#)
        };
        self.seen.saw("deleted states", u64::from(is_deletion));
        self.states.insert((room, key), data.clone());
        let event = Event { mode: Mode::State, key: key.into(), data: data.into(), ..event("state", room, Lane::Update) };
        self.publish(Published { event, ack: Safety::Durable });
    }

    fn next_id(&mut self) -> String {
        self.published += 1;
        format!("id-{}", self.published)
    }

    pub(super) fn publish_again(&mut self) {
        if !self.retries.is_empty() {
            let at = self.rng.below(self.retries.len());
            let published = self.retries.swap_remove(at);
            self.publish(published);
        }
    }

    pub(super) fn publish(&mut self, published: Published) {
        self.ticket += 1;
        let conn = ConnId { reactor: 0, slot: 99, generation: 0 };
        let publish = Publish { conn, ticket: self.ticket, accepted: self.now.mono, ack: published.ack, event: published.event.clone() };
        self.notices.sent(&published.event, self.now);
        self.waiting.insert(self.ticket, published);
        self.apply(Input::Publish(Box::new(publish)));
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        let published = self.waiting.remove(&answer.ticket).expect("each publish is answered once");
        let Some(event_id) = published.event.event_id.clone() else { return };
        match answer.outcome {
            Err(_) => {
                self.seen.saw("refused", 1);
                self.retries.push(published);
            }
            Ok(accepted) => {
                self.seen.saw("duplicates", u64::from(accepted.outcome == Outcome::Duplicate));
                if accepted.safety == Safety::Memory {
                    return self.seen.saw("memory", 1);
                }
                self.seen.saw("acknowledged", 1);
                assert!(self.out.disk.has(&event_id), "{event_id} is said to be durable, and is not on the disk");
                let Number::Seq(seq) = accepted.number else { panic!("{accepted:?}") };
                self.is_durable(&event_id, (room_of(&accepted.room), accepted.lane, seq));
                if *accepted.room == *USER_ROOM {
                    self.notices.durable(&event_id, seq);
                }
            }
        }
    }

    /// An event is on disk at that place for good.
    pub(super) fn is_durable(&mut self, id: &str, place: (&'static str, Lane, u64)) {
        let before = self.acknowledged.insert(id.to_owned(), place);
        assert!(before.is_none_or(|before| before == place), "{id} was {before:?}, and is {place:?}");
    }
}

/// A `stream` event.
pub(super) fn event(kind: &str, room: &str, lane: Lane) -> Event {
    Event {
        kind: kind.into(),
        room: room.into(),
        lane,
        mode: Mode::Stream,
        key: "".into(),
        owner: None,
        event_id: None,
        version: None,
        history: 0,
        ack_ttl: None,
        data: "1".into(),
    }
}
