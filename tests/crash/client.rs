//! A client: what it has of each room, over all its connections; and what it may be given next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use tickerd::base::lane::{Lane, PerLane};
use tickerd::hub::ports::Since;

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
    pub(crate) states: HashMap<String, (u64, Value)>,
    pub(crate) is_caught_up: bool,
    pub(crate) rewound: u64,
    pub(crate) gaps: u64,
}

impl Have {
    /// From where it goes on.
    pub(crate) fn since(&self) -> Option<Since> {
        (!self.epoch.is_empty()).then(|| Since { epoch: self.epoch.as_str().into(), seq: self.next.map(|next| Some(next - 1)) })
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
            "event" => self.event(&message),
            "state" => self.state(&message, is_join),
            other => panic!("{other}: {message}"),
        }
    }

    fn subscribed(&mut self, message: &Value) {
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
        *next = to + 1;
        self.gaps += 1;
    }

    fn event(&mut self, message: &Value) {
        let lane = Lane::parse(message["lane"].as_str().unwrap()).unwrap().index();
        let seq = message["seq"].as_u64().unwrap();
        assert_eq!(seq, self.next[lane], "a hole or a duplicate that no gap tells of: {message}");
        self.next[lane] += 1;
        self.events[lane].insert(seq, message["data"]["id"].as_str().unwrap().to_owned());
    }

    fn state(&mut self, message: &Value, is_join: bool) {
        let (key, rev) = (message["key"].as_str().unwrap().to_owned(), message["rev"].as_u64().unwrap());
        let had = self.states.get(&key).map_or(0, |(rev, _)| *rev);
        assert!(rev > had || (is_join && rev == had), "rev {rev} after {had}: {message}");
        self.states.insert(key, (rev, message["data"].clone()));
    }
}
