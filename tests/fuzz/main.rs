//! Hostile bytes for every reader of them: seeded, so that a failure comes again, and as many as asked for.
//!
//! ```text
//! cargo test --test fuzz                                                  a few, as a test
//! TICKERD_FUZZ=10000000 cargo test --release --test fuzz -- --nocapture   10⁷ for each target
//! TICKERD_FUZZ_TARGET=inflate TICKERD_FUZZ_SEED=7 …                       one target, another seed
//! ```
//!
//! A target is a line of `targets::TARGETS`: its name, inputs to begin with, and a function that panics where something is wrong. Inputs are
//! made from those by mutation: bits and bytes, ranges that are dropped, doubled or taken from another input, and words of the formats.

mod config;
mod publish;
mod rng;
mod targets;
mod tls;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rng::Rng;
use targets::{BROKE_ONCE, TARGETS, Target};

/// Executions for each target where nobody says how many.
const EXECUTIONS: u64 = 5_000;
/// An input is no longer than this.
const INPUT_BYTES_MAX: usize = 4096;
/// Words on which the formats turn.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b": ",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\u0000",
    b"\\ud83d",
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"-0",
    b"1e999",
    b"HTTP/1.1",
    b"http://",
    b"chunked",
    b"permessage-deflate",
    b"server_max_window_bits=9",
    b"\x00\x00\xff\xff",
    b"\x81\xfe\x00\x7e",
    b"\x88\x82",
    b"\xc1\x87",
    b"\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90",
    b"\xff",
    b"\x00",
];

#[test]
fn no_target_breaks() {
    let executions = number("TICKERD_FUZZ").unwrap_or(EXECUTIONS);
    let seed = number("TICKERD_FUZZ_SEED").unwrap_or(1);
    let only = std::env::var("TICKERD_FUZZ_TARGET").ok();
    let chosen: Vec<&Target> = TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)).collect();
    assert!(!chosen.is_empty(), "there is no target {only:?}");
    for target in chosen {
        run(target, executions, seed);
    }
}

#[test]
fn what_broke_a_target_once_does_not_again() {
    for (name, input) in BROKE_ONCE {
        let target = TARGETS.iter().find(|target| target.name == *name).expect("a target of that name");
        (target.check)(input);
    }
}

/// A target that is wrong about some input is told of, with that input.
#[test]
fn a_fault_is_found_and_shown() {
    let target = Target { name: "faulty", corpus: &[b"a quiet input"], check: |input| assert!(!input.contains(&b'!')) };
    let failure = catch_unwind(|| run(&target, 100_000, 1)).expect_err("the fault is found");
    let message = failure.downcast_ref::<String>().expect("a panic with a message");
    assert!(message.starts_with("faulty, seed 1, execution ") && message.contains("21"), "{message}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn run(target: &Target, executions: u64, seed: u64) {
    let began = Instant::now();
    let mut rng = Rng::new(seed);
    for execution in 0..executions {
        let input = mutated(target.corpus, &mut rng);
        let is_fine = catch_unwind(AssertUnwindSafe(|| (target.check)(&input))).is_ok();
        assert!(is_fine, "{}, seed {seed}, execution {execution}: {input:02x?} ({})", target.name, String::from_utf8_lossy(&input));
    }
    println!("fuzz {}: {executions} executions, seed {seed}, {:.1} s", target.name, began.elapsed().as_secs_f64());
}

fn mutated(corpus: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.pick(corpus).to_vec();
    for _ in 0..=rng.below(6) {
        mutate(&mut input, corpus, rng);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &[&[u8]], rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    let end = at + rng.below((input.len() - at).min(64) + 1);
    match rng.below(8) {
        0 if at < input.len() => input[at] ^= 1 << rng.below(8),
        1 if at < input.len() => input[at] = rng.below(256) as u8,
        2 => input.truncate(at),
        3 => drop(input.drain(at..end)),
        4 => {
            let doubled = input[at..end].to_vec();
            insert(input, at, &doubled);
        }
        5 => {
            let other = *rng.pick(corpus);
            let from = rng.below(other.len() + 1);
            insert(input, at, &other[from..]);
        }
        6 => insert(input, at, &[rng.below(256) as u8]),
        _ => {
            let word = *rng.pick(WORDS);
            insert(input, at, word);
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
