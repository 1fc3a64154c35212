//! The flags of `tickerd loadtest`, and what each form of it does.
//!
//! What a person watches goes to stderr; results (tables, records, lists) go to stdout.

mod flags;
mod plan;
mod scaled;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::record::Record;
use crate::report::live::Live;
use crate::report::{files, table, text};
use crate::scenarios::{BUILT_IN, find};
use crate::{compare, run, worker};

pub use flags::LoadtestArgs;
use flags::{RunArgs, Sub};

/// The width of lines where there is no terminal.
const WIDTH: u16 = 132;

/// Why it did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Usage is wrong, or a scenario: exit code 2.
    Usage(String),
    /// It was tried and failed, or what was asked does not hold: exit code 1.
    Failed(String),
    /// The user ended it: exit code 130, as a shell has it for Ctrl-C.
    Interrupted(String),
    /// Nobody reads stdout any more.
    OutputClosed,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Failed(format!("cannot write to stdout: {error}")),
        }
    }
}

/// Does it. `stop` gives the flag that the user's signals set; a worker has none, and ends when it is told to.
pub fn main(args: &LoadtestArgs, stop: impl FnOnce() -> io::Result<Arc<AtomicBool>>) -> Result<ExitCode, Failure> {
    let done = |()| ExitCode::SUCCESS;
    match &args.command {
        Some(Sub::List) => list(&mut io::stdout().lock()).map(done),
        Some(Sub::Show { name }) => show(name, &mut io::stdout().lock()).map(done),
        Some(Sub::Compare { runs }) => set_side_by_side(runs, &mut io::stdout().lock()).map(done),
        Some(Sub::Worker) => Ok(worker::run()),
        None => {
            let stop = stop().map_err(|error| Failure::Failed(format!("cannot watch for signals: {error}")))?;
            measure(&args.run, stop).map(done)
        }
    }
}

fn list(out: &mut impl Write) -> Result<(), Failure> {
    for built_in in BUILT_IN {
        writeln!(out, "{:<14} {}", built_in.name, built_in.scenario().about)?;
    }
    Ok(())
}

fn show(name: &str, out: &mut impl Write) -> Result<(), Failure> {
    out.write_all(find(name).map_err(Failure::Usage)?.text.as_bytes())?;
    Ok(())
}

fn set_side_by_side(runs: &[PathBuf], out: &mut impl Write) -> Result<(), Failure> {
    if !runs.len().is_multiple_of(2) {
        return Err(Failure::Usage(format!("compare takes pairs of runs, A1 B1 A2 B2 …, and {} are no pairs", runs.len())));
    }
    let pair = |pair: &[PathBuf]| Ok((read_record(&pair[0])?, read_record(&pair[1])?));
    let pairs = runs.chunks(2).map(pair).collect::<Result<Vec<_>, Failure>>()?;
    match pairs.as_slice() {
        [(a, b)] => compare::print(a, b, out)?,
        pairs => compare::print_pairs(pairs, out)?,
    }
    Ok(())
}

fn read_record(path: &Path) -> Result<Record, Failure> {
    files::read(path).map_err(Failure::Usage)
}

/// Runs a scenario, and reports it in every form that was asked for.
fn measure(args: &RunArgs, stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let options = plan::options(args, stop).map_err(Failure::Usage)?;
    if let Some(dir) = &args.out {
        // Before the run: it would be a pity to find out afterwards.
        files::prepare(dir).map_err(|error| Failure::Usage(format!("--out: {error}")))?;
    }
    let mut live = Live::new(io::stderr(), io::stderr().is_terminal(), width(), args.quiet);
    let scenario = &options.scenario;
    let (about, count) = (text::about(&scenario.about, &options.scaled), u64::from(scenario.connections.count));
    live.note(&format!("{}: {about}\n{} to {}", scenario.name, text::plural(count, "connection"), options.target.url)).ok();
    let record = run::run(&options, &mut live).map_err(Failure::Failed)?;
    if let Some(dir) = &args.out {
        // First, so that they are there even if nobody reads stdout.
        files::write(&record, dir).map_err(Failure::Failed)?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        let json = serde_json::to_string(&record).map_err(|error| Failure::Failed(format!("the record cannot be written: {error}")))?;
        writeln!(out, "{json}")?;
    } else {
        table::print(&record, &mut out)?;
    }
    out.flush()?;
    judge(&record)
}

fn judge(record: &Record) -> Result<(), Failure> {
    if let Some(cut) = &record.cut {
        let failure = if cut.cause.is_none() { Failure::Interrupted } else { Failure::Failed };
        return Err(failure(cut.text()));
    }
    let failed = record.verdicts.iter().filter(|verdict| !verdict.holds);
    let failed: Vec<String> = failed.map(|verdict| format!("{}: {}", verdict.slo, verdict.measured)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!("{} of {} requirements do not hold: {}", failed.len(), record.verdicts.len(), failed.join("; "))))
}

fn width() -> u16 {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(WIDTH, |size| size.ws_col)
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    #[test]
    fn runs_are_compared_in_pairs() {
        let runs = |line: &str| -> Result<Vec<PathBuf>, String> {
            let command = <LoadtestArgs as clap::Args>::augment_args(Command::new("loadtest"));
            let matches = command.try_get_matches_from(line.split_whitespace()).map_err(|error| error.to_string())?;
            match LoadtestArgs::from_arg_matches(&matches).expect(line).command {
                Some(Sub::Compare { runs }) => Ok(runs),
                other => panic!("{line}: {other:?}"),
            }
        };
        assert_eq!(runs("loadtest compare a1 b1 a2 b2").map(|runs| runs.len()), Ok(4));
        assert!(runs("loadtest compare a1").is_err());
        let three = runs("loadtest compare a1 b1 a2").expect("is told later");
        let error = set_side_by_side(&three, &mut Vec::new()).expect_err("no pairs");
        assert!(matches!(&error, Failure::Usage(text) if text.contains("A1 B1 A2 B2")), "{error:?}");
    }
}
