//! What a scenario must be. Each message says where, what, and what to do.

use std::collections::HashSet;

use crate::scenario::{Flow, Mode, Ramp, RoomClass, Scenario, Slow, Storm};
use crate::slo::{self, Slo};
use crate::stamp::STAMP_LEN;
use crate::{layout, payload};

const CONNECTIONS_MAX: u32 = 1_000_000;
const RATE_MAX: f64 = 1e7;
const SECONDS_MAX: f64 = 7.0 * 86_400.0;
/// A stamp has one byte for the flow.
const CLASSES_MAX: usize = 200;
/// A stamp has 24 bits for the room.
const ROOMS_MAX: u32 = 1 << 24;
/// What the server's `welcome` allows by default.
const ROOMS_PER_CONNECTION_MAX: u64 = 100;
const MEMBERSHIPS_MAX: u64 = 20_000_000;
/// The server takes lines of 64 KiB; the rest is for the envelope.
const DATA_BYTES_MAX: u32 = 60_000;
const BURST_MAX: u32 = 1_000_000;

/// Everything that can be wrong with it.
pub fn check(scenario: &Scenario) -> Result<(), String> {
    demand(is_class_name(&scenario.name), || format!("name `{}`: give 1 to 40 of a-z, 0-9, `-` and `_`", scenario.name))?;
    between("warmup_s", scenario.warmup_s, 0.0, SECONDS_MAX)?;
    between("duration_s", scenario.duration_s, 0.1, SECONDS_MAX)?;
    within("connections.count", scenario.connections.count, 1, CONNECTIONS_MAX)?;
    within("connections.rate", scenario.connections.rate, 1, CONNECTIONS_MAX)?;
    check_rooms(scenario)?;
    demand(scenario.flows.len() <= CLASSES_MAX, || format!("{} flows: at most {CLASSES_MAX}", scenario.flows.len()))?;
    for (at, flow) in scenario.flows.iter().enumerate() {
        check_flow(scenario, flow).map_err(|error| format!("flow {} ({}): {error}", at + 1, flow.kind))?;
        payload::Template::new(flow, scenario.class_of(flow).1)?;
    }
    check_twins(scenario)?;
    scenario.slow.as_ref().map_or(Ok(()), check_slow)?;
    scenario.storm.as_ref().map_or(Ok(()), check_storm)?;
    scenario.ramp.as_ref().map_or(Ok(()), |ramp| check_ramp(scenario, ramp))?;
    scenario.slo.iter().try_for_each(|slo| Slo::parse(slo, scenario).map(drop).map_err(|error| format!("slo: {error}")))
}

fn check_rooms(scenario: &Scenario) -> Result<(), String> {
    let count = scenario.rooms.len();
    demand((1..=CLASSES_MAX).contains(&count), || format!("{count} classes of rooms: give 1 to {CLASSES_MAX} [[room]] tables"))?;
    let (mut classes, mut names) = (HashSet::new(), HashSet::new());
    for room in &scenario.rooms {
        let here = |error| format!("room class `{}`: {error}", room.class);
        check_room(scenario, room).map_err(here)?;
        demand(classes.insert(&room.class), || here("the class is there twice: give each another name".to_owned()))?;
        for at in 0..room.count {
            let name = layout::room_name(room, at);
            demand(!names.contains(&name), || here(format!("room {name} is there twice: give each class names of its own")))?;
            names.insert(name);
        }
    }
    let each = |room: &RoomClass| u64::from(room.count) * u64::from(room.members);
    let total: u64 = scenario.rooms.iter().map(each).sum();
    demand(total <= MEMBERSHIPS_MAX, || format!("{total} memberships: at most {MEMBERSHIPS_MAX}; take fewer rooms or members"))?;
    let most: u64 = scenario.rooms.iter().map(|room| each(room).div_ceil(u64::from(scenario.connections.count))).sum();
    demand(most <= ROOMS_PER_CONNECTION_MAX, || {
        format!("a connection is in {most} rooms: at most {ROOMS_PER_CONNECTION_MAX}; take more connections, or fewer rooms")
    })
}

fn check_room(scenario: &Scenario, room: &RoomClass) -> Result<(), String> {
    demand(is_class_name(&room.class), || "the class is 1 to 40 of a-z, 0-9, `-` and `_`".to_owned())?;
    demand(!slo::is_reserved(&room.class), || "an SLO means something else by this word: choose another".to_owned())?;
    within("count", room.count, 1, ROOMS_MAX)?;
    within("members", room.members, 1, CONNECTIONS_MAX)?;
    demand(room.members <= scenario.connections.count, || {
        format!("{} members of {} connections: a connection is a member once", room.members, scenario.connections.count)
    })?;
    demand(room.count == 1 || room.name.contains("{n}"), || format!("{} rooms of one name: put {{n}} into `{}`", room.count, room.name))?;
    let longest = layout::room_name(room, room.count - 1);
    demand(is_identifier(&longest), || format!("room name `{longest}`: 1 to 200 of A-Z, a-z, 0-9 and `_.:%-`"))
}

fn check_flow(scenario: &Scenario, flow: &Flow) -> Result<(), String> {
    let classes = || scenario.rooms.iter().map(|room| room.class.as_str()).collect::<Vec<_>>().join(", ");
    let class = scenario.rooms.iter().find(|room| room.class == flow.rooms);
    let class = class.ok_or_else(|| format!("no class of rooms is called `{}`; there are: {}", flow.rooms, classes()))?;
    demand(flow.key.is_none() || flow.mode == Mode::State, || "only a flow of mode `state` has a key".to_owned())?;
    between("rate", flow.rate, 1e-3, RATE_MAX)?;
    within("burst", flow.burst, 1, BURST_MAX)?;
    let least = payload::bytes_min(flow, class);
    demand((least..=DATA_BYTES_MAX).contains(&flow.bytes), || {
        format!(
            "bytes = {}: give {least} to {DATA_BYTES_MAX}; {least} is what `data` needs for its `fields` and for the mark of {STAMP_LEN} characters by \
             which a receiver knows the event, its number and its time",
            flow.bytes
        )
    })
}

/// Two flows that change the same state would look like faults of the server.
fn check_twins(scenario: &Scenario) -> Result<(), String> {
    let mut seen = HashSet::new();
    for flow in scenario.flows.iter().filter(|flow| flow.mode == Mode::State) {
        demand(seen.insert((&flow.rooms, &flow.kind, &flow.key)), || {
            format!("two flows of type {} change the same state of `{}`: give them different types or keys", flow.kind, flow.rooms)
        })?;
    }
    Ok(())
}

fn check_ramp(scenario: &Scenario, ramp: &Ramp) -> Result<(), String> {
    demand(!scenario.flows.is_empty(), || "ramp: there is no flow whose rate could grow: add a [[flow]]".to_owned())?;
    demand(scenario.storm.is_none(), || "ramp and storm do not go together: leave one out".to_owned())?;
    between("ramp.from", ramp.from, 1e-6, 1e6)?;
    between("ramp.grow", ramp.grow, 1.01, 100.0)?;
    between("ramp.step_s", ramp.step_s, 0.5, 3_600.0)?;
    within("ramp.halvings", ramp.halvings, 0, 20)?;
    demand(!ramp.bound.is_empty(), || "ramp.bound is empty: say what a step must hold, such as \"all.p99<100ms\"".to_owned())?;
    let parsed = |text: &String| Slo::parse(text, scenario).map_err(|error| format!("ramp.bound: {error}"));
    ramp.bound.iter().try_for_each(|text| {
        let slo = parsed(text)?;
        demand(slo.is_of_a_step(), || format!("ramp.bound: `{text}` is not known of a single step: put it into `slo`"))
    })
}

fn check_slow(slow: &Slow) -> Result<(), String> {
    between("slow.share", slow.share, 0.0, 1.0)?;
    within("slow.bytes_per_s", slow.bytes_per_s, 1, u32::MAX)
}

fn check_storm(storm: &Storm) -> Result<(), String> {
    between("storm.share", storm.share, 0.0, 1.0)?;
    between("storm.every_s", storm.every_s, 0.1, SECONDS_MAX)?;
    within("storm.reconnect_rate", storm.reconnect_rate, 1, CONNECTIONS_MAX)
}

/// What the protocol allows as the name of a room, a type or a key.
fn is_identifier(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:%-".contains(&byte))
}

/// What a scenario or a class of rooms may be called: it stands in SLOs and file names.
fn is_class_name(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

fn demand(holds: bool, else_say: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(else_say()) }
}

fn between(what: &str, value: f64, min: f64, max: f64) -> Result<(), String> {
    // Written so that what is not a number fails.
    demand(value >= min && value <= max, || format!("{what} = {value}: give {min} to {max}"))
}

fn within(what: &str, value: u32, min: u32, max: u32) -> Result<(), String> {
    demand((min..=max).contains(&value), || format!("{what} = {value}: give {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use crate::scenarios::parse;

    const PLAIN: &str = r#"
name = "plain"
about = "One of each."
duration_s = 1
slo = ["all.p99<10ms", "faults<=0"]
[connections]
count = 10
rate = 100
[[room]]
class = "private"
name = "lt:{n}"
count = 10
members = 1
[[flow]]
rooms = "private"
type = "lt.note"
lane = "update"
mode = "stream"
rate = 100
bytes = 200
[[flow]]
rooms = "private"
type = "lt.state"
lane = "update"
mode = "state"
rate = 100
bytes = 200
"#;

    #[test]
    fn a_plain_one_is_taken() {
        let scenario = parse("plain.toml", PLAIN).expect("nothing is wrong with it");
        assert_eq!((scenario.flows[0].burst, scenario.warmup_s), (1, 0.0));
        assert_eq!(scenario.class_of(&scenario.flows[1]).0, 0);
    }

    /// Each mistake is told by name, with the file, and with what to do.
    #[test]
    fn mistakes_are_told() {
        for (from, to, told) in [
            ("name = \"plain\"", "name = \"a b\"", "name `a b`"),
            ("duration_s = 1", "duration_s = 0", "duration_s = 0"),
            ("duration_s = 1", "duration_s = nan", "duration_s = NaN"),
            ("duration_s = 1", "durations = 1", "unknown field `durations`"),
            ("count = 10\nrate", "count = 0\nrate", "connections.count = 0"),
            ("class = \"private\"", "class = \"alert\"", "SLO means something else"),
            ("name = \"lt:{n}\"", "name = \"lt:n\"", "put {n} into"),
            ("name = \"lt:{n}\"", "name = \"lt {n}\"", "room name `lt 9`"),
            ("members = 1", "members = 11", "a member once"),
            ("count = 10\nmembers = 1", "count = 400\nmembers = 3", "is in 120 rooms"),
            ("rooms = \"private\"", "rooms = \"public\"", "there are: private"),
            ("type = \"lt.note\"", "type = \"lt note\"", "its `type` must be"),
            ("rate = 100\nbytes = 200", "rate = 0\nbytes = 200", "flow 1 (lt.note): rate = 0"),
            (
                "bytes = 200",
                "bytes = 20",
                "bytes = 20: give 79 to 60000; 79 is what `data` needs for its `fields` and for the mark of 61 characters",
            ),
            ("bytes = 200", "bytes = 200\nkey = \"k\"", "only a flow of mode `state`"),
            ("mode = \"stream\"", "mode = \"streams\"", "unknown variant `streams`"),
            (
                "type = \"lt.note\"\nlane = \"update\"\nmode = \"stream\"",
                "type = \"lt.state\"\nlane = \"update\"\nmode = \"state\"",
                "different types or keys",
            ),
            ("faults<=0", "fault<=0", "slo: "),
            ("[connections]", "[storm]\nshare = 2\nevery_s = 1\nreconnect_rate = 1\n[connections]", "storm.share = 2"),
            ("[connections]", "[slow]\nshare = 0.1\nbytes_per_s = 0\n[connections]", "slow.bytes_per_s = 0"),
            ("[connections]", "[ramp]\nfrom = 1\ngrow = 1\nstep_s = 1\nhalvings = 1\nbound = []\n[connections]", "ramp.grow = 1"),
            ("[connections]", "[ramp]\nfrom = 1\ngrow = 2\nstep_s = 1\nhalvings = 1\nbound = []\n[connections]", "ramp.bound is empty"),
            (
                "[connections]",
                "[ramp]\nfrom = 1\ngrow = 2\nstep_s = 1\nhalvings = 1\nbound = ['connect.rate>1']\n[connections]",
                "not known of a single step",
            ),
        ] {
            assert!(PLAIN.contains(from), "{from}");
            let error = parse("plain.toml", &PLAIN.replacen(from, to, 1)).expect_err(to);
            assert!(error.starts_with("plain.toml: ") && error.contains(told), "{to}: {error}");
        }
    }

    #[test]
    fn rooms_of_two_classes_have_different_names() {
        let second = "[[room]]\nclass = \"other\"\nname = \"lt:3\"\ncount = 1\nmembers = 1\n[[flow]]";
        let error = parse("x", &PLAIN.replacen("[[flow]]", second, 1)).expect_err("lt:3 is there already");
        assert!(error.contains("room lt:3 is there twice"), "{error}");
    }
}
