//! Members come and go, ask for snapshots and subscribe anew, while their rooms are flooded: what waits for a whole room meets every change of
//! who is in it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

const ROOMS: u64 = 3;
const CHANGES: usize = 600;

/// What a client knows of a room that it is in.
#[derive(Default)]
struct Known {
    /// The next `seq`, by lane.
    next: BTreeMap<String, u64>,
    /// The last `rev`, by type.
    revs: BTreeMap<String, u64>,
}

/// A member who checks all that it gets (promises 2, 3 and 4; PRO-06).
struct Member {
    client: Client,
    rooms: BTreeMap<String, Known>,
    events: usize,
}

impl Member {
    /// Reads until the answer with that id, and checks what comes before it.
    fn answer(&mut self, id: u64) -> Value {
        loop {
            let message: Value = serde_json::from_str(&self.client.text()).unwrap();
            if message["id"] == id {
                return message;
            }
            self.check(&message);
        }
    }

    fn check(&mut self, message: &Value) {
        let kind = message["type"].as_str().unwrap();
        assert!(kind != "gap" && kind != "error", "{message}");
        if matches!(kind, "caught_up" | "heartbeat") {
            return;
        }
        let room = message["room"].as_str().unwrap();
        let known = self.rooms.get_mut(room).unwrap_or_else(|| panic!("not a member: {message}"));
        self.events += 1;
        if let Some(rev) = message["rev"].as_u64() {
            let last = known.revs.entry(kind.to_owned()).or_default();
            assert!(rev >= *last, "{message} after rev {last}");
            *last = rev;
        } else {
            let next = known.next.get_mut(message["lane"].as_str().unwrap()).unwrap();
            assert_eq!(message["seq"].as_u64(), Some(*next), "{message}");
            *next += 1;
        }
    }

    fn change(&mut self, id: u64, verb: &str, room: &str) {
        self.client.say(&format!(r#"{{"type":"{verb}","id":{id},"room":"{room}"}}"#));
        let answer = self.answer(id);
        match answer["type"].as_str().unwrap() {
            "subscribed" => {
                let from = answer["from"].as_object().unwrap();
                let next = from.iter().map(|(lane, seq)| (lane.clone(), seq.as_u64().unwrap())).collect();
                self.rooms.insert(room.to_owned(), Known { next, revs: BTreeMap::new() });
            }
            "ok" if verb == "unsubscribe" => _ = self.rooms.remove(room),
            "ok" => {}
            _ => assert!(!self.rooms.contains_key(room), "{answer}"),
        }
    }
}

fn flood(house: &House, stop: &AtomicBool) {
    let mut stream = UnixStream::connect(&house.socket).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    let mut lines = Vec::new();
    for first in (0..).step_by(10) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        lines.clear();
        for n in first..first + 10 {
            for room in 0..ROOMS {
                for (lane, mode) in [("update", "stream"), ("alert", "stream"), ("update", "state"), ("alert", "state")] {
                    let kind = format!("{lane}.{mode}");
                    writeln!(lines, r#"{{"type":"{kind}","room":"r{room}","lane":"{lane}","mode":"{mode}","data":{n}}}"#).unwrap();
                }
            }
        }
        stream.write_all(&lines).unwrap();
        for _ in 0..10 * 4 * ROOMS {
            line.clear();
            answers.read_line(&mut line).unwrap();
            assert!(line.contains(r#""ok":true"#), "{line}");
        }
    }
}

#[test]
fn nobody_gets_too_much_or_too_little_while_members_come_and_go() {
    let house = House::open("churn", ReactorOptions { commands: None, ..options() });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&house, &stop));
        let members: Vec<_> = (0..2u64)
            .map(|seed| {
                let house = &house;
                scope.spawn(move || {
                    let mut random = 0x9E37_79B9_7F4A_7C15 ^ seed;
                    let client = house.client(&format!("u{seed}"), &["*"]);
                    let mut member = Member { client, rooms: BTreeMap::new(), events: 0 };
                    for id in 0..CHANGES as u64 {
                        // Xorshift (Marsaglia 2003): the same changes in every run.
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let verb = ["subscribe", "subscribe", "unsubscribe", "snapshot"][random as usize % 4];
                        member.change(id + 1, verb, &format!("r{}", (random >> 8) % ROOMS));
                    }
                    member.events
                })
            })
            .collect();
        let events: Vec<_> = members.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        for events in events {
            assert!(events.unwrap() > 0, "nothing came between the changes");
        }
    });
}
