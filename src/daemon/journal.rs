//! The journal's files in the data directory, and its three threads.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::base::limits::{JOURNAL_ENTRIES_MAX, JOURNAL_FACTS_MAX, REPLAY_FETCHES_MAX};
use crate::base::memory::Memory;
use crate::config::Config;
use crate::hub::epoch_name;
use crate::hub::journal::{Entry, Epoch, Fact, Fetch, Recovered, Report};
use crate::journal::follow::LogEnd;
use crate::journal::keeper::Keeper;
use crate::journal::log::{Log, Opened, Retention};
use crate::journal::reader::Reader;
use crate::journal::sqlite::{OpenError, set_aside};
use crate::journal::stats::JournalStats;
use crate::journal::tables::Tables;
use crate::journal::writer::Writer;
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};

use super::analytics::{AnalyticsSeat, Tap};
use super::data_dir::DataDir;
use super::options;
use super::seat::{Crew, Seat, Work};

/// The log's directory in the data directory.
pub(super) const JOURNAL: &str = "journal";
/// How long an `event_id` is remembered over a restart.
const SEEN_FOR: Duration = Duration::from_secs(60);
/// Reports that may wait for the hub.
const REPORT_SLOTS: usize = 1024;

/// What was found in the data directory.
pub(super) struct Journal {
    log: Log,
    tables: Tables,
    recovered: Recovered,
    epoch: Epoch,
}

/// What the hub gets of the journal.
pub(super) struct ForHub {
    pub(super) links: JournalLinks,
    /// With what it begins.
    pub(super) recovered: Recovered,
    /// In which it counts from now on; the log has it already.
    pub(super) epoch: Epoch,
}

/// The hub's ends of the links.
pub(super) struct JournalLinks {
    pub(super) entries: Arc<Link<Entry>>,
    pub(super) facts: Arc<Link<Fact>>,
    pub(super) fetches: Arc<Link<Fetch>>,
    pub(super) reports: Arc<Link<Report>>,
    /// With analytics.
    pub(super) tap: Option<Tap>,
}

/// The threads at work.
pub(super) type JournalHandle = Crew<JournalStats>;

impl Journal {
    /// Opens all files, and begins a new epoch, of which clients hear only when it is on disk.
    pub(super) fn open(dir: &DataDir, clock: Clock) -> Result<Journal, String> {
        let path = dir.file(JOURNAL);
        let told = |error: std::io::Error| {
            format!("cannot use the journal {}: {error}; give --data-dir a directory that this user may write", path.display())
        };
        let begun = std::time::Instant::now();
        let seen_since_ms = clock.now().wall_ms.saturating_sub(SEEN_FOR.as_millis() as u64);
        let Opened { mut log, mut recovered, dropped } = Log::open(&path, seen_since_ms).map_err(told)?;
        if !dropped.is_nothing() {
            tracing::warn!(event = "journal_damaged", %dropped, "a part of the journal cannot be read: clients that miss events of it get `gap`, or an earlier position");
        }
        let (number, is_blank) = (recovered.epochs.last().map_or(0, |last| last.number) + 1, recovered.epochs.is_empty());
        let epoch = Epoch { number, name: epoch_name(options::random()?), by_eviction: false };
        log.append(&[Entry::Epoch(epoch.clone())]).map_err(told)?;
        let tables = open_tables(&dir.file("state.db"), &mut recovered)?;
        if is_blank && !recovered.rooms.is_empty() {
            let dropped = "all events";
            tracing::warn!(
                event = "journal_damaged",
                dropped,
                "state.db has rooms, and no segment of the journal has anything: they were removed, or cut to nothing; numbers begin again"
            );
        }
        tracing::info!(
            event = "journal_opened",
            rooms = recovered.rooms.len(),
            bytes = log.bytes(),
            ms = begun.elapsed().as_millis() as u64
        );
        Ok(Journal { log, tables, recovered, epoch })
    }

    /// Up to where the log is synced, from now on.
    pub(super) fn end(&self) -> Arc<LogEnd> {
        self.log.end()
    }

    /// Starts the threads.
    pub(super) fn start(
        self,
        config: &Config,
        clock: Clock,
        hub: &Arc<Door>,
        memory: Arc<Memory>,
        analytics: Option<&AnalyticsSeat>,
    ) -> Result<(JournalHandle, ForHub), String> {
        let (stop, stats) = (Arc::new(AtomicBool::new(false)), Arc::new(JournalStats::default()));
        let reports = Arc::new(Link::new(REPORT_SLOTS, Arc::clone(hub)));
        let (writer, reader, keeper) =
            (Seat::<Writer>::start("journal")?, Seat::<Reader>::start("replay")?, Seat::<Keeper>::start("tables")?);
        let links = JournalLinks {
            entries: Arc::new(Link::new(JOURNAL_ENTRIES_MAX + 4, Arc::clone(&writer.door))),
            facts: Arc::new(Link::new(JOURNAL_FACTS_MAX, Arc::clone(&keeper.door))),
            fetches: Arc::new(Link::new(REPLAY_FETCHES_MAX, Arc::clone(&reader.door))),
            reports: Arc::clone(&reports),
            tap: analytics.map(AnalyticsSeat::tap),
        };
        let doors = [("journal", &writer.door), ("replay", &reader.door), ("tables", &keeper.door)];
        let doors = doors.map(|(name, door)| (name.to_owned(), Arc::clone(door))).into();
        let retention = Retention { age: config.journal_age, bytes: config.journal_bytes as u64 };
        let threads = vec![
            reader.occupy(|door| Reader {
                log: self.log.reader(),
                inbox: Arc::clone(&links.fetches),
                door,
                reports: Arc::clone(&reports),
                stop: Arc::clone(&stop),
            })?,
            writer.occupy(|door| Writer {
                log: self.log,
                inbox: Arc::clone(&links.entries),
                door,
                reports: Arc::clone(&reports),
                follower: analytics.map(AnalyticsSeat::door),
                retention,
                clock,
                memory,
                stats: Arc::clone(&stats),
                stop: Arc::clone(&stop),
            })?,
            keeper.occupy(|door| Keeper { tables: self.tables, inbox: Arc::clone(&links.facts), door, stop: Arc::clone(&stop) })?,
        ];
        Ok((Crew { threads, doors, stop, stats }, ForHub { links, recovered: self.recovered, epoch: self.epoch }))
    }
}

impl Work for Writer {
    fn run(self) {
        Writer::run(self);
    }
}

impl Work for Reader {
    fn run(self) {
        Reader::run(self);
    }
}

impl Work for Keeper {
    fn run(self) {
        Keeper::run(self);
    }
}

/// Opens the tables. A file that `SQLite` does not read is set aside, and another one begun: what it knew comes again with the next updates.
fn open_tables(path: &Path, recovered: &mut Recovered) -> Result<Tables, String> {
    let before = recovered.clone();
    let damage = match Tables::open(path) {
        Ok(tables) => match tables.read(recovered) {
            Ok(0) => return Ok(tables),
            Ok(damaged) => {
                tracing::warn!(
                    event = "tables_damaged",
                    damaged,
                    "rows of {} are damaged and left out: the next update of each state brings it back",
                    path.display()
                );
                return Ok(tables);
            }
            Err(error) => error,
        },
        Err(OpenError::Damaged(error)) => error,
        Err(OpenError::Other(told)) => return Err(told),
    };
    *recovered = before;
    let aside = set_aside(path)?;
    tracing::warn!(
        event = "tables_lost",
        error = %damage,
        "{} is damaged and was set aside as {}: states and owners come again with the next updates",
        path.display(),
        aside.display()
    );
    Tables::open(path).map_err(|error| match error {
        OpenError::Damaged(error) => format!("cannot make {}: {error}", path.display()),
        OpenError::Other(told) => told,
    })
}
