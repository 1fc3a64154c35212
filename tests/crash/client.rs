//! A client: what it has of each room, over all its connections; and what it may be given next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use serde_json::value::RawValue;
use tickerd::base::lane::{Lane, PerLane};
use tickerd::hub::ports::Since;
use tickerd::wire::frame::Frame;

use crate::tree::Tree;

/// What it has of one room.
#[derive(Default)]
pub(crate) struct Have {
    /// The ids of the events, by number.
    pub(crate) events: PerLane<BTreeMap<u64, String>>,
    /// Numbers that a `gap` named.
    pub(crate) missing: PerLane<BTreeSet<u64>>,
    /// Of these, such as were told to all members: their reactor lagged behind what memory keeps.
    pub(crate) lagged: PerLane<BTreeSet<u64>>,
    /// Where it began, with nothing.
    pub(crate) from: PerLane<u64>,
    pub(crate) epoch: String,
    /// The number that must come next.
    pub(crate) next: PerLane<u64>,
    /// Rev and value of each key; no value if it was told that the key is deleted.
    pub(crate) states: HashMap<String, (u64, Option<Tree>)>,
    pub(crate) is_caught_up: bool,
    pub(crate) rewound: u64,
    pub(crate) gaps: u64,
    pub(crate) deltas: u64,
    /// Since it joined: the rev of each key,
    told: HashMap<String, u64>,
    /// events that came in their place,
    pub(crate) given: BTreeSet<String>,
    /// such as were given again, with their numbers,
    pub(crate) again: BTreeMap<String, u64>,
    /// and numbers of alerts that a `gap` named.
    pub(crate) missed: BTreeSet<u64>,
}

impl Have {
    /// From where it goes on.
    pub(crate) fn since(&self) -> Option<Since> {
        (!self.epoch.is_empty()).then(|| Since { epoch: self.epoch.as_str().into(), seq: self.next.map(|next| Some(next - 1)) })
    }

    /// The frame's delta, if it builds on what this membership was told.
    pub(crate) fn delta<'a>(&self, frame: &'a Frame) -> Option<&'a Frame> {
        frame.delta()?;
        let message: Value = serde_json::from_slice(frame.as_text()).unwrap();
        frame.delta_on(*self.told.get(message["key"].as_str()?)?)
    }

    pub(crate) fn take(&mut self, text: &[u8], is_join: bool) {
        let message: Value = serde_json::from_slice(text).unwrap();
        match message["type"].as_str().unwrap() {
            "subscribed" => self.subscribed(&message),
            "caught_up" => {
                assert!(!self.is_caught_up, "caught up twice");
                self.is_caught_up = true;
            }
            "gap" => self.gap(&message, is_join),
            "notice" if message["redelivered"] == true => {
                let (id, seq) = (message["event_id"].as_str().unwrap().to_owned(), message["seq"].as_u64().unwrap());
                assert!(self.again.insert(id, seq).is_none(), "given again twice: {message}");
            }
            "event" | "notice" => self.event(&message, message["data"]["id"].as_str().unwrap().to_owned()),
            "event.acknowledged" | "event.expired" => {
                let id = message["data"]["event_id"].as_str().unwrap();
                self.event(&message, told_of(id));
            }
            "state" => self.state(&message, text, is_join),
            other => panic!("{other}: {message}"),
        }
    }

    fn subscribed(&mut self, message: &Value) {
        (self.is_caught_up, self.told, self.given, self.again, self.missed) = Default::default();
        let is_first = self.epoch.is_empty();
        let epoch = message["epoch"].as_str().unwrap();
        if self.epoch != epoch {
            self.states.clear();
        }
        epoch.clone_into(&mut self.epoch);
        for lane in Lane::ALL {
            let (at, from) = (lane.index(), message["from"][lane.name()].as_u64().unwrap());
            if let Some(end) = message["rewound"][lane.name()].as_u64() {
                self.rewound += 1;
                assert!(end + 1 < self.next[at], "rewound to {end} at {}", self.next[at]);
                self.events[at].retain(|seq, _| *seq <= end);
                self.missing[at].retain(|seq| *seq <= end);
                self.next[at] = end + 1;
            }
            if is_first {
                (self.from[at], self.next[at]) = (from, from);
            }
            assert_eq!(from, self.next[at], "lane {lane} goes on elsewhere: {message}");
        }
    }

    fn gap(&mut self, message: &Value, is_join: bool) {
        let lane = Lane::parse(message["lane"].as_str().unwrap()).unwrap().index();
        let (from, to) = (message["from"].as_u64().unwrap(), message["to"].as_u64().expect("every epoch is known here"));
        let next = &mut self.next[lane];
        assert!(from <= *next && *next <= to, "gap {from}..={to} at {next}");
        self.missing[lane].extend(*next..=to);
        self.lagged[lane].extend((*next..=to).filter(|_| !is_join));
        self.missed.extend((*next..=to).filter(|_| lane == Lane::Alert.index()));
        *next = to + 1;
        self.gaps += 1;
    }

    fn event(&mut self, message: &Value, id: String) {
        let lane = Lane::parse(message["lane"].as_str().unwrap()).unwrap().index();
        let seq = message["seq"].as_u64().unwrap();
        assert_eq!(seq, self.next[lane], "a hole or a duplicate that no gap tells of: {message}");
        self.next[lane] += 1;
        self.given.insert(id.clone());
        self.events[lane].insert(seq, id);
    }

    fn state(&mut self, message: &Value, text: &[u8], is_join: bool) {
        let (key, rev) = (message["key"].as_str().unwrap().to_owned(), message["rev"].as_u64().unwrap());
        let had = self.states.get(&key).map_or(0, |(rev, _)| *rev);
        assert!(rev > had || (is_join && rev == had), "rev {rev} after {had}: {message}");
        let member = |name| {
            let members: HashMap<&str, &RawValue> = serde_json::from_slice(text).unwrap();
            members.get(name).map(|value| Tree::parse(value.get()))
        };
        let value = if let Some(patch) = member("patch") {
            let base = message["base"].as_u64();
            assert_eq!(base, self.told.get(&key).copied(), "a delta on what this membership was not told: {message}");
            self.deltas += 1;
            let (_, before) = self.states.remove(&key).unwrap();
            Some(before.expect("a deletion is not built on").patched(patch))
        } else {
            assert!(message["deleted"] == true || !message["data"].is_null(), "{message}");
            member("data")
        };
        self.told.insert(key.clone(), rev);
        self.states.insert(key, (rev, value));
    }
}

/// What stands for the event that tells of the end of a notice's wait.
pub(crate) fn told_of(notice: &str) -> String {
    format!("told of {notice}")
}
