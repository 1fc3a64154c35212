//! The hub with a journal in simulation: thousands of seeded runs in which the disk takes its time, fails, forgets what is old, and the
//! process crashes at any moment, losing all that was not synced. Clients come back with their positions, publishers try again.
//!
//! What is checked, by an oracle that shares no code with the hub or the journal:
//! - a publisher is told `durable` only of what is synced (DLV-12);
//! - a member gets every event of a (room, lane) in order from its `from` on, or a `gap`, over crashes and replays from disk (DLV-13, DLV-14);
//! - an event that its user is to acknowledge is given again until it is, and not after `ok`, which the publisher's side hears of (QTE-12);
//! - at the end, when the disk is well again, everybody catches up, and has each acknowledged event once (promise 2).
//!
//! `TICKERD_SIM_SEED=17 cargo test --test crash` runs one again, the same in every step; `TICKERD_SIM_SEEDS=100000` runs more.

mod client;
mod disk;
#[path = "../sim/rng.rs"]
mod rng;
mod world;

use std::time::Instant;

use crate::world::{Seen, World};

/// Runs in an ordinary `cargo test`.
const SEEDS: u64 = 1_000;

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
    if seeds.count() as u64 >= SEEDS {
        let Seen {
            crashes,
            acknowledged,
            memory,
            refused,
            duplicates,
            rewound,
            gaps,
            from_disk,
            failures,
            states,
            acks,
            acks_refused,
            redelivered,
        } = seen;
        let all = [
            acks,
            acks_refused,
            redelivered,
            crashes,
            acknowledged,
            memory,
            refused,
            duplicates,
            rewound,
            gaps,
            from_disk,
            failures,
            states,
        ];
        assert!(all.iter().all(|count| *count > 0), "a simulation that never meets the rare things checks nothing: {seen:?}");
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")));
    match number("TICKERD_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TICKERD_SIM_SEEDS").unwrap_or(SEEDS),
    }
}
