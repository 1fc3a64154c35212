//! What an operator is told of a room: the very rules that decide joins, asked without joining.

use serde_json::{Value, json};

use crate::base::lane::{Lane, PerLane};
use crate::base::rules::Rule;

use super::Hub;

/// What is known of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomFacts {
    /// What each of the hub's rules says about the user's joining it.
    pub rules: Vec<Rule>,
    /// The room as it is; none if there is no such room.
    pub room: Option<RoomNow>,
}

/// A room as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomNow {
    /// The name of its history.
    pub epoch: Box<str>,
    /// Its owner, percent-encoded.
    pub owner: Option<Box<str>>,
    /// Members, over all reactors.
    pub members: u64,
    /// The last number of each lane.
    pub heads: PerLane<u64>,
    /// The oldest number of each lane that is in memory.
    pub oldest: PerLane<u64>,
    /// State keys.
    pub keys: usize,
}

impl RoomFacts {
    /// As JSON; null if there is no such room.
    pub fn told(&self) -> Value {
        let Some(room) = &self.room else { return Value::Null };
        let lanes = |of: &PerLane<u64>| {
            Lane::ALL.into_iter().map(|lane| (lane.name().to_owned(), of[lane.index()].into())).collect::<serde_json::Map<_, _>>()
        };
        json!({
            "epoch": &room.epoch,
            "owner": &room.owner,
            "members": room.members,
            "seq": lanes(&room.heads),
            "oldest_in_memory": lanes(&room.oldest),
            "state_keys": room.keys,
        })
    }
}

impl Hub {
    /// What the hub would say to that user's joining the room. Nothing is changed.
    pub fn inspect(&self, user: &str, name: &str) -> RoomFacts {
        let id = self.rooms.id_of(name);
        let room = id.and_then(|id| self.rooms.by_id(id));
        let owned = self.owned_by(user, name).is_some();
        let owner = match room.map(|room| room.owner.as_deref()) {
            None => "there is no such room yet: nobody owns it until an event for it names an owner".to_owned(),
            Some(None) => "no event for the room has named an owner".to_owned(),
            Some(Some(_)) if owned => "the user owns the room".to_owned(),
            Some(Some(owner)) => format!("the room belongs to {owner}"),
        };
        let has_place = room.is_some() || self.rooms.has_place();
        let rules = vec![
            Rule::new("owner", owned, owner),
            Rule::new(
                "place",
                has_place,
                match room {
                    Some(_) => "the room is there",
                    None if has_place => "the room is not there, and would be made for who may join it by pattern",
                    None => "the room is not there, and the table of rooms is full (--max-rooms)",
                },
            ),
        ];
        let room = room.map(|room| RoomNow {
            epoch: Box::from(&*room.epoch.name),
            owner: room.owner.as_deref().map(Box::from),
            members: room.members_total().into(),
            heads: Lane::ALL.map(|lane| room.lanes[lane.index()].live),
            oldest: Lane::ALL.map(|lane| room.lanes[lane.index()].oldest()),
            keys: room.states.keys.len(),
        });
        RoomFacts { rules, room }
    }
}
