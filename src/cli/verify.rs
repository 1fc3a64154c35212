//! `tickerd verify`: the numbers of `[analytics]`, computed again from the fills, cash flows and marks that are kept.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::analytics::batch::Drift;
use crate::daemon::analytics::{FILE, Verdict, verify};

use super::{Failure, emit, unwritten};

/// Compute the numbers of `[analytics]` again from the kept fills, cash flows and marks, beside a running daemon or without one. Exits with 1 if a kept
/// number is another, with 2 if there is nothing to verify
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The daemon's data directory; nothing is written there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Only this account, by its room, such as `challenge:8f`
    #[arg(long, value_name = "ROOM")]
    account: Option<String>,
    /// Print one JSON object for each account, with all that was computed, instead of text
    #[arg(long)]
    json: bool,
}

/// Verifies, and prints what came of it.
pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let path = args.data_dir.join(FILE);
    if !path.exists() {
        let message = format!("there is no {}: give the --data-dir of a daemon with [analytics]", path.display());
        return Err(Failure::Usage(message));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut accounts, mut drifted, mut written) = (0_usize, 0_usize, Ok(()));
    let verified = verify(&path, args.account.as_deref(), |verdict| {
        accounts += 1;
        drifted += usize::from(!verdict.drifts.is_empty());
        written = if args.json { print_json(&mut out, &verdict) } else { print_text(&mut out, &verdict) };
        written.is_ok()
    });
    verified.map_err(Failure::Failed)?;
    written.map_err(|error| unwritten(&error))?;
    if let Some(account) = args.account.as_ref().filter(|_| accounts == 0) {
        return Err(Failure::Usage(format!(
            "there is no account `{account}`: give its room, such as `challenge:8f`; without --account all are verified"
        )));
    }
    if !args.json {
        writeln!(out, "{accounts} accounts, {drifted} with other numbers").map_err(|error| unwritten(&error))?;
    }
    emit(&mut out, b"")?;
    if drifted > 0 {
        return Err(Failure::Failed(format!("{drifted} of {accounts} accounts have other numbers than those that come of their fills")));
    }
    Ok(())
}

fn print_text(out: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    let Verdict { account, inputs, later, drifts, .. } = verdict;
    let later = if *later > 0 { format!("; {later} came since its numbers were kept") } else { String::new() };
    if drifts.is_empty() {
        return writeln!(out, "{account}: equal, from {inputs} inputs{later}");
    }
    writeln!(out, "{account}: {} numbers are others, from {inputs} inputs{later}", drifts.len())?;
    drifts.iter().try_for_each(|drift| writeln!(out, "  {}: kept {}, recomputed {}", drift.field, drift.kept, drift.recomputed))
}

fn print_json(out: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    let drift = |drift: &Drift| json!({"field": drift.field, "kept": drift.kept, "recomputed": drift.recomputed});
    let Verdict { account, inputs, later, drifts, recomputed } = verdict;
    let drifts: Vec<Value> = drifts.iter().map(drift).collect();
    writeln!(out, "{}", json!({"account": account, "inputs": inputs, "later": later, "drifts": drifts, "recomputed": recomputed}))
}
