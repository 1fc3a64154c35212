//! What one event costs in instructions: a figure that noise cannot move. Held against `instructions.txt` beside this file.
//!
//! ```text
//! cargo bench --bench instructions              counts, and fails if a part needs over a tenth more than written down
//! cargo bench --bench instructions -- --write   counts, and writes down
//! ```
//!
//! The parts are run one after the other as the server runs them, for n and for 2n events, under `valgrind --tool=callgrind`: the
//! difference is n events and nothing else, for what comes before cancels out. A part is the difference that it makes to those before it.
//! One room, one member, events of 300 bytes, nothing to batch: an idle server's cost.

use std::fmt::Write;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use self::common::{HotPath, STREAM};

mod common;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PARTS: [&str; 4] = ["parse", "hub", "deliver", "answer"];
const EVENTS: u64 = 3000;
/// The smallest of so many counts is taken: the allocator now and then does work for later.
const RUNS: usize = 2;
/// By so much of itself a part may grow unnoticed: another compiler, another machine.
const TOLERANCE: f64 = 0.1;
/// What is left of noise in a part: hash seeds differ from run to run.
const NOISE: f64 = 30.0;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["run", parts, events] => run(parts, events),
        _ if args.contains(&"--test") => run("4", "1"),
        _ => measure(args.contains(&"--write")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The first so many parts, for so many events: what is counted.
fn run(parts: &str, events: &str) -> Result<(), String> {
    let parts: usize = parts.parse().map_err(|error| format!("the number of parts: {error}"))?;
    let events: u64 = events.parse().map_err(|error| format!("the number of events: {error}"))?;
    let mut path = HotPath::new(STREAM);
    for _ in 0..events {
        let event = black_box(path.parse());
        if parts == 1 {
            continue;
        }
        path.hub(event);
        let (frame, answer) = black_box(path.take());
        if parts > 2 {
            black_box(path.deliver(&frame));
        }
        if parts > 3 {
            black_box(path.answer(&answer));
        }
    }
    Ok(())
}

fn measure(write: bool) -> Result<(), String> {
    let mut costs = Vec::new();
    let mut before = 0.0;
    for (at, part) in PARTS.into_iter().enumerate() {
        let so_far = per_event(at + 1)?;
        costs.push((part, so_far - before));
        before = so_far;
    }
    costs.push(("total", before));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    if write {
        let text = costs.iter().fold(String::new(), |mut text, (part, cost)| {
            writeln!(text, "{part} {cost:.0}").expect("writing to a String does not fail");
            text
        });
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let known = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}; make it with --write", path.display()))?;
    let faults: Vec<String> = costs.iter().filter_map(|(part, cost)| compare(part, *cost, &known)).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// Prints a part's cost beside what is written down; says what is wrong with it.
fn compare(part: &str, cost: f64, known: &str) -> Option<String> {
    let of_part = known.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == part);
    let Some(known) = of_part.and_then(|(_, known)| known.parse::<f64>().ok()) else {
        return Some(format!("{part}: benches/instructions.txt does not have it; make it anew with --write"));
    };
    let change = cost / known - 1.0;
    println!("{part:<8} {cost:>7.0} instructions for one event   {:>+6.1} % of {known:.0}", change * 100.0);
    (cost > known * (1.0 + TOLERANCE) + NOISE)
        .then(|| format!("{part}: {cost:.0} instructions, {known:.0} before: find out why, or accept it with --write"))
}

fn per_event(parts: usize) -> Result<f64, String> {
    Ok((least(parts, 2 * EVENTS)? - least(parts, EVENTS)?) / EVENTS as f64)
}

fn least(parts: usize, events: u64) -> Result<f64, String> {
    (0..RUNS).try_fold(f64::MAX, |least, _| Ok(least.min(count(parts, events)?)))
}

/// Instructions of a whole run.
fn count(parts: usize, events: u64) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["run", &parts.to_string(), &events.to_string()])
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}; install the package valgrind"))?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = report.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.filter(|_| output.status.success()).ok_or_else(|| format!("valgrind counted nothing:\n{report}"))
}
