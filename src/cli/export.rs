//! `tickerd export`: what is in a data directory, as lines of JSON.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::hub::journal::Recovered;
use crate::journal::audit::Pages;
use crate::journal::export::{Exporter, Found, Selection, put_state};
use crate::journal::log;
use crate::journal::tables::Tables;

use super::{Failure, complain, emit, unwritten};

/// Print the events of a data directory as lines of JSON, oldest first, or its audit trail, or its performance records; beside a running daemon, or
/// without one. Exits with 1 if a part is damaged
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// The daemon's data directory; nothing is written there
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Only this room, or with `*` last, rooms that begin so
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    room: Option<String>,
    /// Only what was accepted at that time or later, in Unix milliseconds as in `ts`
    #[arg(long, value_name = "TS", default_value_t = 0)]
    since: u64,
    /// Print the newest value of each state key too, after the events
    #[arg(long)]
    states: bool,
    /// Print again what waits for an acknowledgment, after the events, with the time `until` which it does
    #[arg(long)]
    acks: bool,
    /// Print the audit trail instead: who connected, joined, published, was refused
    #[arg(long, conflicts_with_all = ["states", "acks", "performance"])]
    audit: bool,
    /// Print the performance records instead, one for each minute
    #[arg(long, conflicts_with_all = ["states", "acks", "room"])]
    performance: bool,
}

/// What was left out.
#[derive(Debug, Default)]
struct Damage {
    bytes: usize,
    segments: u64,
    rows: u64,
}

impl Damage {
    fn tell(self) -> Result<(), Failure> {
        let Damage { bytes, segments, rows } = self;
        if bytes == 0 && segments == 0 && rows == 0 {
            return Ok(());
        }
        let gone = if segments > 0 { format!("{segments} segments of events are gone; ") } else { String::new() };
        Err(Failure::Failed(format!("{gone}{bytes} damaged bytes of events and {rows} damaged states are left out; all else is there")))
    }
}

/// Prints what is there.
pub(super) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let selection = Selection { room: args.room.clone(), since_ms: args.since };
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    if args.audit || args.performance {
        audit(args, &selection, &mut out)?;
        return emit(&mut out, b"");
    }
    let mut damage = Damage::default();
    let exporter = events(&args.data_dir, selection.clone(), &mut out, &mut damage)?;
    if args.acks {
        exporter.unacknowledged().try_for_each(|line| write_line(&mut out, &line))?;
    }
    if args.states {
        states(&args.data_dir, &selection, &mut out, &mut damage)?;
    }
    emit(&mut out, b"")?;
    damage.tell()
}

fn events(dir: &Path, selection: Selection, out: &mut impl Write, damage: &mut Damage) -> Result<Exporter, Failure> {
    let journal = dir.join("journal");
    let (segments, missing) = log::segments(&journal)
        .map_err(|error| Failure::Failed(format!("cannot read {}: {error}; give the --data-dir of a daemon", journal.display())))?;
    if missing > 0 {
        damage.segments = missing;
        complain(&format!("{}: {missing} segments are missing between others, and their events with them", journal.display()));
    }
    let mut exporter = Exporter::new(selection);
    for (at, path) in segments.iter().enumerate() {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // a daemon has let it go a moment ago
            Err(error) => return Err(Failure::Failed(format!("cannot read {}: {error}", path.display()))),
        };
        let is_last = at + 1 == segments.len();
        if bytes.is_empty() && !is_last {
            damage.segments += 1;
            complain(&format!("{}: it is empty: its events are gone", path.display()));
        }
        exporter.segment(&bytes, is_last, |found| {
            match found {
                Found::Line(line) => return write_line(out, line),
                Found::Damage { at, len } => {
                    damage.bytes += len;
                    complain(&format!("{}: {len} bytes at {at} are damaged, and left out", path.display()));
                }
                Found::Torn { len } => {
                    complain(&format!("{}: its last {len} bytes are a write that was cut off, or is under way", path.display()));
                }
            }
            Ok(())
        })?;
    }
    Ok(exporter)
}

fn states(dir: &Path, selection: &Selection, out: &mut impl Write, damage: &mut Damage) -> Result<(), Failure> {
    let path = dir.join("state.db");
    if !path.exists() {
        return Ok(());
    }
    let failed = |error| Failure::Failed(format!("cannot read {}: {error}", path.display()));
    let mut recovered = Recovered::default();
    damage.rows += Tables::open_to_read(&path).and_then(|tables| tables.read(&mut recovered)).map_err(failed)?;
    let mut line = Vec::new();
    for room in &recovered.rooms {
        for state in room.states.iter().filter(|state| selection.has(&room.name, state.ts_ms)) {
            line.clear();
            put_state(&mut line, &room.name, state);
            write_line(out, &line)?;
        }
    }
    Ok(())
}

/// Prints the audit trail or the performance records.
fn audit(args: &ExportArgs, selection: &Selection, out: &mut impl Write) -> Result<(), Failure> {
    let path = args.data_dir.join("audit.db");
    let take = |line: &[u8]| write_line(out, line);
    let read = Pages::open(&path)
        .and_then(|pages| if args.audit { pages.entries(selection, take) } else { pages.performance(selection.since_ms, take) });
    read.map_err(|error| Failure::Failed(format!("cannot read {}: {error}; give the --data-dir of a daemon", path.display())))?
}

fn write_line(out: &mut impl Write, line: &[u8]) -> Result<(), Failure> {
    out.write_all(line).and_then(|()| out.write_all(b"\n")).map_err(|error| unwritten(&error))
}

fn pattern(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('*').unwrap_or(text);
    if name.contains('*') { Err("`*` may only be last".to_owned()) } else { Ok(text.to_owned()) }
}
