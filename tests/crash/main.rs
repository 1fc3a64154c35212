//! The hub with a journal in simulation: thousands of seeded runs in which the disk takes its time, fails, forgets what is old, and the
//! process crashes at any moment, losing all that was not synced. Clients come back with their positions, publishers try again.
//!
//! What is checked, by an oracle that shares no code with the hub or the journal:
//! - a publisher is told `durable` only of what is synced (DLV-12);
//! - a member gets every event of a (room, lane) in order from its `from` on, or a `gap`, over crashes and replays from disk (DLV-13, DLV-14);
//! - a member that asks for deltas gets such as build on what it has, and has the publisher's states at the end (DLV-06);
//! - an event that its user is to acknowledge is given on each join until it is, be it by its id or by a position, until its time is over, or
//!   until it is the oldest of too many; not after `ok`; and the publisher's side hears how its wait ended (QTE-11, QTE-12);
//! - liveness: when the disk is well again, everybody catches up within [`TURNS_MAX`] turns, and has each acknowledged event once (promise 2);
//!   what is published then reaches everybody; and one more crash costs nothing at all.
//!
//! `TICKERD_SIM_SEED=17 cargo test --test crash` runs one again, the same in every step; `TICKERD_SIM_SEEDS=100000` runs more.
//!
//! | module | what it is |
//! | --- | --- |
//! | `world` | one run: the steps of publishers, clients, disk and process, and the end |
//! | `client` | what a client has, and may be given next |
//! | `disk` | a disk that syncs when it likes |
//! | `seen` | how often the interesting things happened |

mod client;
mod disk;
#[path = "../sim/rng.rs"]
mod rng;
mod seen;
#[path = "../sim/tree.rs"]
mod tree;
mod world;

use std::time::Instant;

use crate::seen::Seen;
use crate::world::World;

/// Runs in an ordinary `cargo test`.
const SEEDS: u64 = 1_000;
/// Turns in which everybody must have caught up: in each the disk syncs a few entries and reads a part of a few events for
/// each replay, and the reactor takes a few frames.
const TURNS_MAX: u64 = 400;

/// What a thousand seeds must meet.
const RARE: [&str; 22] = [
    "acknowledged",
    "acks",
    "acks by position",
    "acks refused",
    "crashes",
    "deleted states",
    "deltas",
    "disk failures",
    "duplicates",
    "expired",
    "from disk",
    "full states in place of deltas",
    "gaps",
    "memory",
    "overtaken replays",
    "positions of former epochs",
    "redelivered",
    "redelivered beside a replay",
    "refused",
    "rewound",
    "states",
    "too many",
];

#[test]
fn nothing_acknowledged_is_lost() {
    let begun = Instant::now();
    let mut seen = Seen::default();
    let seeds = seeds();
    for seed in seeds.clone() {
        let ran = std::panic::catch_unwind(|| World::new(seed).run());
        match ran {
            Ok(run) => seen.add(run),
            Err(panic) => {
                eprintln!("seed {seed} failed; again: TICKERD_SIM_SEED={seed} cargo test --test crash");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("seeds {seeds:?}, {:.0} seeds/s, {seen:?}", seeds.clone().count() as f64 / begun.elapsed().as_secs_f64());
    let never: Vec<_> = RARE.into_iter().filter(|what| seen.count(what) == 0).collect();
    assert!(never.is_empty() || (seeds.count() as u64) < SEEDS, "a simulation that never meets the rare things checks nothing: {never:?}");
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")));
    match number("TICKERD_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TICKERD_SIM_SEEDS").unwrap_or(SEEDS),
    }
}
