//! Deltas from end to end, but for the sockets: 100,000 random updates of nested documents go through the hub and each client's outbox, and
//! every client has the publisher's document at every revision that it is told of (DLV-06).
//!
//! Documents have objects in objects, arrays, nulls and names of all kinds; members come in any order; keys are deleted and set again. Some
//! clients are slow, so that states conflate on their way; the link to their reactor fills; they leave and resume, join again, ask for
//! snapshots, and want deltas or not.
//!
//! `TICKERD_SIM_SEED=17 cargo test --test deltas` runs another sequence.

mod client;
mod document;
#[path = "../sim/rng.rs"]
mod rng;
#[path = "../sim/tree.rs"]
mod tree;
mod world;

use crate::world::World;

const UPDATES: usize = 100_000;

#[test]
fn every_client_has_the_publishers_state_after_each_of_100_000_updates() {
    let seed = std::env::var("TICKERD_SIM_SEED").map_or(1, |text| text.parse().expect("TICKERD_SIM_SEED is a number"));
    let begun = std::time::Instant::now();
    let mut world = World::new(seed);
    let mut updates = 0;
    while updates < UPDATES {
        let until = updates + 1_000;
        while updates < until {
            updates += world.turn();
        }
        world.settle();
    }
    let seen = world.seen();
    println!("seed {seed}, {updates} updates in {:.1} s, {seen:?}", begun.elapsed().as_secs_f64());
    let rare =
        [seen.conflated, seen.deleted, seen.fulls, seen.nulls, seen.joins, seen.resumed, seen.snapshots, seen.unchanged, seen.missed];
    assert!(rare.iter().all(|count| *count > 100), "a test that never meets the rare things checks nothing");
    assert!(seen.deltas > seen.fulls && seen.saved_bytes > 50 * seen.deltas, "most states are told as deltas, and that saves something");
}
