//! Storms of states, of which many members want deltas.

use super::random::Random;
use super::{number, run};

/// The value of a state: mostly an object of which a part is as it was, at times something else, or its deletion.
pub(super) fn state(events: u64, len: usize, random: &mut Random) -> String {
    match random.below(40) {
        0 => return "null".to_owned(),
        1 => return format!("[{events}]"),
        _ => {}
    }
    let pad = "x".repeat(if random.once_in(8) { len.min(300) } else { 200 });
    let mut members = vec![format!(r#""n":{events}.50"#), format!(r#""pad":"{pad}""#)];
    for name in ["a", "b", "ключ", r"\u0064"] {
        let value = match random.below(40) {
            0 | 1 => continue,
            2 => random.pick(&["null", r#"{"in":null}"#]).to_owned(),
            3..6 => format!(r#"[{}, {{"e":1.0}}, null]"#, random.below(3)),
            6..12 => format!(r#"{{"bid":0.{}0,"ask":{{"p":{}}}}}"#, random.below(3), random.below(2)),
            _ => random.pick(&["1.0", "1.00", r#""two""#, r#"{"bid":0.10,"ask":{"p":1}}"#]).to_owned(),
        };
        members.push(format!(r#""{name}":{value}"#));
    }
    if random.once_in(3) {
        members.reverse();
    }
    format!("{{{}}}", members.join(", "))
}

/// DLV-06: through 100,000 random updates, over the same network, to members that are slow, join again and resume: what each makes of deltas
/// and full states is what the publisher made it, state by state (equal in canonical order).
#[test]
fn a_storm_of_deltas_gives_everybody_the_publishers_states() {
    const UPDATES: u64 = 100_000;
    let (mut updates, mut deltas, mut seeds) = (0, 0, 0);
    let single = number("TICKERD_SIM_SEED");
    while updates < UPDATES && (single.is_none() || seeds == 0) {
        let seen = run(single.unwrap_or(seeds), true);
        (updates, deltas, seeds) = (updates + seen["accepted"], deltas + seen["deltas"], seeds + 1);
    }
    println!("storm of deltas: {seeds} seeds, {updates} updates, {deltas} deltas");
    assert!(deltas > UPDATES / 25 || single.is_some(), "{deltas} deltas of {updates} updates");
}
