//! `GET /v1/rooms`: the rooms that have most, as the hub knows them, with what waits for their members, as the reactors do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::bounded;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::base::codes::{INTERNAL, INVALID_FIELD, Refusal};
use crate::base::ids::RoomId;
use crate::hub::traffic::{RankBy, Ranked, Ranking};
use crate::net::link::Link;
use crate::reactor::Control;
use crate::reactor::weighing::{Queued, WeighRooms};
use crate::wire::query::Query;

use super::controls;
use super::hub_seat::Question;

/// How long the hub is waited for, and then the reactors.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rooms told in one answer.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 200;

/// See the module.
pub(super) struct TopRooms {
    hub: Arc<Link<Question>>,
    controls: Vec<Arc<Link<Control>>>,
    /// Held while the reactors are asked: each has one question under way.
    asking: Mutex<()>,
}

impl TopRooms {
    pub(super) fn new(hub: Arc<Link<Question>>, controls: Vec<Arc<Link<Control>>>) -> TopRooms {
        TopRooms { hub, controls, asking: Mutex::new(()) }
    }

    /// Answers the request.
    pub(super) fn list(&self, query: &str) -> Result<String, Refusal> {
        let query = Query::parse(query, &["sort", "limit"])?;
        let invalid = |message: String| Refusal::new(INVALID_FIELD, message);
        let limit = query.get("limit").map_or(Some(LIMIT), |text| text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)));
        let limit = limit.ok_or_else(|| invalid(format!("`limit` is a number from 1 to {LIMIT_MAX}")))?;
        let by = query.get("sort").map_or(Some(RankBy::Deliveries), |name| RankBy::ALL.into_iter().find(|by| by.name() == name));
        let by = by.ok_or_else(|| invalid(format!("`sort` can be {}", RankBy::ALL.map(RankBy::name).join(", "))))?;
        let _asking = self.asking.lock();
        let ranked = self.rank(by, limit).ok_or_else(|| Refusal::new(INTERNAL, "the hub gives no answer: see /healthz"))?;
        let (queued, silent) = self.weigh(&ranked.iter().map(|ranked| ranked.room).collect::<Vec<_>>());
        let rooms: Vec<Value> = ranked.iter().zip(queued).map(|(ranked, queued)| told(ranked, queued)).collect();
        Ok(json!({"sort": by.name(), "rooms": rooms, "unheard_reactors": silent}).to_string())
    }

    fn rank(&self, by: RankBy, limit: usize) -> Option<Vec<Ranked>> {
        let (answer, ranked) = bounded(1);
        self.hub.push(Question::Rank { ranking: Ranking::new(by, limit), answer }).ok()?;
        self.hub.ring();
        ranked.recv_timeout(PATIENCE).ok()
    }

    /// What waits for each room's members, and the reactors that have not said so in time.
    fn weigh(&self, rooms: &[RoomId]) -> (Vec<Queued>, BTreeSet<u16>) {
        let deadline = Instant::now() + PATIENCE;
        let mut sums = vec![Queued::default(); rooms.len()];
        let (weighed, answers) = bounded(self.controls.len());
        for control in &self.controls {
            let asked = WeighRooms { rooms: rooms.to_vec(), weighed: weighed.clone() };
            controls::tell(control, Control::Weigh(Box::new(asked)), deadline);
        }
        drop(weighed);
        let mut silent: BTreeSet<u16> = (0..self.controls.len() as u16).collect();
        while let Some(answer) = (!silent.is_empty()).then(|| answers.recv_deadline(deadline).ok()).flatten() {
            silent.remove(&answer.reactor);
            for (sum, queued) in sums.iter_mut().zip(answer.queued) {
                *sum = Queued { frames: sum.frames + queued.frames, bytes: sum.bytes + queued.bytes };
            }
        }
        (sums, silent)
    }
}

fn told(ranked: &Ranked, queued: Queued) -> Value {
    let rounded = |rate: f64| (rate * 1e3).round() / 1e3;
    json!({
        "room": &*ranked.name,
        "members": ranked.members,
        "events_per_s": rounded(ranked.rates.events),
        "deliveries_per_s": rounded(ranked.rates.deliveries),
        "bytes_per_s": rounded(ranked.rates.bytes),
        "held_bytes": ranked.held_bytes,
        "queued_frames": queued.frames,
        "queued_bytes": queued.bytes,
    })
}
