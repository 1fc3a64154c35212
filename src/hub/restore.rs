//! A hub that begins with what a journal knew.

use std::sync::Arc;

use crate::base::ids::RoomId;
use crate::base::time::{Mono, Now};
use crate::wire::frame::{Frame, Kind, Tag};

use super::Hub;
use super::encode::{self, EventText};
use super::journal::{Epoch, KeptState, Recovered, RecoveredRoom};
use super::ledger::Ledger;
use super::ports::Number;
use super::publish::state_cost;
use super::room::{Sent, Stream};
use super::rooms::Eviction;
use super::{HubOptions, room};

impl Hub {
    /// A hub that counts on where the journal ends, in `epoch`, which the journal knows already.
    pub fn with_journal(options: HubOptions, now: Now, recovered: Recovered, epoch: Epoch) -> Hub {
        let mut hub = Hub::new(options);
        hub.ledger = Some(Ledger::default());
        hub.rooms.begin(recovered.epochs, epoch);
        let mut seen = Vec::new();
        for room in recovered.rooms {
            hub.restore(now, room, &mut seen);
        }
        hub.restore_unacknowledged(recovered.unacknowledged);
        seen.sort_by_key(|(ts_ms, ..)| *ts_ms);
        for (ts_ms, id, event_id, seq) in seen {
            let age_ms = now.wall_ms.saturating_sub(ts_ms);
            let at = Mono(now.mono.0.saturating_sub(age_ms.saturating_mul(1_000_000)));
            let known = room::Seen::Done { number: Number::Seq(seq), entry: 0 };
            hub.dedupe.remember(at, id, &event_id, known, &mut hub.rooms);
        }
        hub
    }

    /// Rooms beyond what the table holds are left out; they count as made again when they come back.
    fn restore(&mut self, now: Now, recovered: RecoveredRoom, seen: &mut Vec<(u64, RoomId, Box<str>, u64)>) {
        let Some((id, _)) = self.rooms.find_or_make(&recovered.name, Eviction::Never) else {
            self.stats.rooms_evicted += 1;
            return;
        };
        let room = self.rooms.by_id_mut(id).expect("it was made in the line above");
        (room.owner, room.born) = (recovered.owner.map(Arc::from), recovered.born);
        for (lane, stream) in recovered.lanes.into_iter().enumerate() {
            let Some(stream) = stream else { continue };
            room.lanes[lane] = Stream {
                head: stream.head,
                live: stream.head,
                history: stream.history,
                kept_from: stream.oldest,
                starts: stream.starts,
                ..Stream::default()
            };
        }
        seen.extend(recovered.seen.into_iter().map(|seen| (seen.ts_ms, id, seen.event_id, seen.seq)));
        for state in recovered.states {
            self.restore_state(now, id, &state);
        }
    }

    fn restore_state(&mut self, now: Now, id: RoomId, state: &KeptState) {
        let key_id = self.rooms.new_key_id();
        let Some(room) = self.rooms.by_id_mut(id) else { return };
        let keys_before = room.states.keys.len();
        let added = room.states.add(key_id, &state.kind, &state.key, state.lane, self.options.keys_per_room_max, |_| false);
        let Some(added) = added else { return };
        let key = &mut room.states.keys[added.index];
        (key.rev, key.version, key.ts_ms) = (state.rev, state.version, state.ts_ms);
        key.bytes = state_cost(state.data.as_deref().unwrap_or("null"));
        self.stats.state_bytes = self.stats.state_bytes + key.bytes as u64 - added.forgotten_bytes as u64;
        self.scratch.clear();
        let text = EventText {
            kind: &state.kind,
            room: &room.name,
            lane: state.lane,
            key: &state.key,
            number: Number::Rev(state.rev),
            base: None,
            ts_ms: state.ts_ms,
            event_id: None,
            data: state.data.as_deref(),
        };
        let data_at = encode::event(&mut self.scratch, &text);
        let kind = Kind::State { key: key.id, rev: key.rev, is_deleted: data_at.is_none() };
        self.state_released = now.mono.max(self.state_released);
        let tag = Tag { room: id, lane: state.lane, kind, accepted: now.mono, taken: now.mono, released: self.state_released };
        key.sent = Some(Sent { frame: Arc::new(Frame::text(tag, &self.scratch)), data_at });
        self.stats.keys += (room.states.keys.len() - keys_before) as u64;
    }
}
