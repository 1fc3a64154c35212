//! A disk that syncs when it likes, and what is on it: entries in order, and facts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tickerd::base::lane::Lane;
use tickerd::hub::journal::{Entry, Epoch, EventEntry, Fact, KeptState, Recovered, RecoveredRoom, RecoveredUnacknowledged, Seen, Trimmed};
use tickerd::wire::frame::Frame;

/// One that survives crashes.
#[derive(Default)]
pub(crate) struct Disk {
    synced: Vec<Entry>,
    /// Given, and lost in a crash.
    pending: VecDeque<Entry>,
    /// Entries synced since the last start.
    pub(crate) committed: u64,
    pub(crate) failing: bool,
    /// The oldest number that is kept.
    oldest: HashMap<(Arc<str>, Lane), u64>,
    states: BTreeMap<(String, String, String), KeptState>,
}

impl Disk {
    pub(crate) fn give(&mut self, entry: Entry) {
        self.pending.push_back(entry);
    }

    pub(crate) fn keep(&mut self, fact: Fact) {
        if let Fact::State { room, state } = fact {
            self.states.insert((room.to_string(), state.kind.to_string(), state.key.to_string()), state);
        }
    }

    /// Syncs some of what waits. Whether anything was synced.
    pub(crate) fn sync(&mut self, count: usize) -> bool {
        let count = count.min(self.pending.len());
        self.synced.extend(self.pending.drain(..count));
        self.committed += count as u64;
        count > 0
    }

    pub(crate) fn waits(&self) -> usize {
        self.pending.len()
    }

    /// The process is gone, and with it all that was not synced.
    pub(crate) fn crash(&mut self) {
        self.pending.clear();
        self.committed = 0;
        self.failing = false;
    }

    /// A new epoch is on disk before anybody hears of it.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        self.synced.push(Entry::Epoch(epoch));
    }

    pub(crate) fn has(&self, event_id: &str) -> bool {
        self.events().any(|event| event.event_id.as_deref() == Some(event_id))
    }

    /// The number of the event that tells the publisher's side that the notice waits no more.
    pub(crate) fn told(&self, event_id: &str) -> Option<u64> {
        let named = format!(r#""event_id":"{event_id}","room":"user:u","user":"u""#);
        let tells = |event: &&EventEntry| {
            let text = String::from_utf8_lossy(event.frame.as_text());
            text.starts_with(r#"{"type":"event."#) && text.contains(&named)
        };
        self.events().find(tells).map(|event| event.seq)
    }

    /// The last number of a stream.
    pub(crate) fn head(&self, room: &str, lane: Lane) -> u64 {
        let seqs = self.events().filter(|event| *event.room == *room && event.lane == lane).map(|event| event.seq);
        seqs.max().unwrap_or(0)
    }

    /// Lets go the older events of a stream: none of them, all, or such a share.
    pub(crate) fn trim(&mut self, room: &str, lane: Lane, percent: usize) -> Option<Trimmed> {
        let kept: Vec<u64> = self.stream(room, lane).map(|event| event.seq).collect();
        let oldest = kept.get(kept.len() * percent / 100).copied().or_else(|| Some(kept.last()? + 1))?;
        self.oldest.insert((room.into(), lane), oldest);
        Some(Trimmed { room: room.into(), lane, oldest })
    }

    pub(crate) fn oldest(&self, room: &str, lane: Lane) -> u64 {
        self.oldest.get(&(Arc::from(room), lane)).copied().unwrap_or(0)
    }

    /// Up to `max` events of that range.
    pub(crate) fn read(&self, room: &str, lane: Lane, from: u64, to: u64, max: usize) -> Vec<Arc<Frame>> {
        let mut found: Vec<_> = self.stream(room, lane).filter(|event| (from..=to).contains(&event.seq)).collect();
        found.sort_by_key(|event| event.seq);
        found.into_iter().take(max).map(|event| Arc::clone(&event.frame)).collect()
    }

    /// What a hub begins with.
    pub(crate) fn recovered(&self) -> Recovered {
        let mut rooms = BTreeMap::<String, RecoveredRoom>::new();
        let (mut epochs, mut unacknowledged) = (Vec::new(), Vec::new());
        for entry in &self.synced {
            match entry {
                Entry::Epoch(epoch) => epochs.push(epoch.clone()),
                Entry::Forget { .. } => panic!("no room is evicted here"),
                Entry::Settled { event_id, .. } => {
                    unacknowledged.retain(|waiting: &RecoveredUnacknowledged| *waiting.event_id != **event_id);
                }
                Entry::Escalated(_) => panic!("nobody is told of what waits here"),
                Entry::Event(event) => {
                    unacknowledged.extend(waiting(event));
                    let room = rooms.entry(event.room.to_string()).or_default();
                    room.name = (*event.room).into();
                    room.owner = event.owner.as_deref().map(Box::from);
                    let event_id = event.event_id.clone();
                    room.seen.extend(event_id.map(|event_id| Seen { event_id, seq: event.seq, ts_ms: event.ts_ms }));
                    let stream = room.lanes[event.lane.index()].get_or_insert_default();
                    stream.head = stream.head.max(event.seq);
                    stream.oldest = self.oldest(&event.room, event.lane).max(1);
                    if stream.starts.last().is_none_or(|(last, _)| *last < event.epoch) {
                        stream.starts.push((event.epoch, event.first));
                    }
                }
            }
        }
        for ((room, ..), state) in &self.states {
            let known =
                rooms.entry(room.clone()).or_insert_with(|| RecoveredRoom { name: room.as_str().into(), ..RecoveredRoom::default() });
            known.states.push(state.clone());
        }
        Recovered { epochs, rooms: rooms.into_values().collect(), unacknowledged }
    }

    fn events(&self) -> impl Iterator<Item = &EventEntry> {
        self.synced.iter().filter_map(|entry| match entry {
            Entry::Event(event) => Some(event),
            Entry::Epoch(_) | Entry::Forget { .. } | Entry::Settled { .. } | Entry::Escalated(_) => None,
        })
    }

    fn stream<'a>(&'a self, room: &'a str, lane: Lane) -> impl Iterator<Item = &'a EventEntry> {
        let oldest = self.oldest(room, lane);
        self.events().filter(move |event| *event.room == *room && event.lane == lane && event.seq >= oldest)
    }
}

/// The notice, if its user is to acknowledge it.
fn waiting(event: &EventEntry) -> Option<RecoveredUnacknowledged> {
    Some(RecoveredUnacknowledged {
        room: (*event.room).into(),
        event_id: event.event_id.clone()?,
        lane: event.lane,
        epoch: event.epoch,
        seq: event.seq,
        ts_ms: event.ts_ms,
        until_ms: event.ack_until_ms?,
        is_escalated: false,
        message: event.frame.as_text().into(),
    })
}
