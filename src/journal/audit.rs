//! The audit trail and the performance records: a `SQLite` file of their own that public tools read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, Statement, params_from_iter};

use crate::base::audit::Entry;
use crate::base::ids::SessionName;
use crate::base::lane::PerLane;
use crate::base::limits::AUDIT_ENTRIES_KEPT;

use super::export::Selection;
use super::sqlite::{self, OpenError, Schema};

/// How long performance records are kept.
const PERFORMANCE_AGE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Entries deleted in one transaction, so that it does not take long.
const FORGOTTEN_AT_ONCE: i64 = 10_000;

/// `application_id` is "tika". Each `ts` is Unix milliseconds: of an entry, when it happened; of a performance record, when its time ended.
/// `refusals`, `closes` and `drops` are JSON objects.
const SCHEMA: Schema = Schema {
    application_id: 0x7469_6b61,
    version: 1,
    tables: "
        CREATE TABLE trail (
            id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, kind TEXT NOT NULL, user TEXT, ip TEXT, session TEXT, room TEXT, subject TEXT, reason TEXT,
            count INTEGER NOT NULL, accepted INTEGER, refused INTEGER);
        CREATE TABLE performance (
            ts INTEGER PRIMARY KEY, took_ms INTEGER NOT NULL, connections INTEGER NOT NULL, rooms INTEGER NOT NULL, members INTEGER NOT NULL,
            events_alert INTEGER NOT NULL, events_update INTEGER NOT NULL, events_metric INTEGER NOT NULL,
            deliveries_alert INTEGER NOT NULL, deliveries_update INTEGER NOT NULL, deliveries_metric INTEGER NOT NULL,
            p50_us_alert INTEGER, p50_us_update INTEGER, p50_us_metric INTEGER,
            p99_us_alert INTEGER, p99_us_update INTEGER, p99_us_metric INTEGER,
            max_us_alert INTEGER, max_us_update INTEGER, max_us_metric INTEGER,
            refusals TEXT NOT NULL, closes TEXT NOT NULL, drops TEXT NOT NULL, cpu_ms INTEGER NOT NULL, rss_bytes INTEGER NOT NULL,
            journal_bytes INTEGER NOT NULL, journal_sync_p99_us INTEGER, audit_lost INTEGER NOT NULL);
    ",
};

/// The columns that are JSON.
const OBJECTS: [&str; 3] = ["refusals", "closes", "drops"];

const INSERT_ENTRY: &str = "INSERT INTO trail (ts, kind, user, ip, session, room, subject, reason, count, accepted, refused)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const INSERT_PERFORMANCE: &str = "INSERT OR REPLACE INTO performance VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)";

/// What went on in a minute, or since the daemon's start, if that is less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Performance {
    /// When it ended, Unix milliseconds.
    pub ts_ms: u64,
    /// How long it was.
    pub took_ms: u64,
    /// At its end: connections of all kinds, rooms, memberships.
    pub connections: u64,
    /// See above.
    pub rooms: u64,
    /// See above.
    pub members: u64,
    /// Events accepted.
    pub events: PerLane<u64>,
    /// Events handed to sockets.
    pub deliveries: PerLane<u64>,
    /// How long that took, from the read that completed the event; none where nothing was delivered as it happened.
    pub latencies: PerLane<Option<Latency>>,
    /// Refusals by error.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Ended connections by reason.
    pub closes: BTreeMap<&'static str, u64>,
    /// Frames dropped, and states conflated, by why.
    pub drops: BTreeMap<&'static str, u64>,
    /// Processor time of the process.
    pub cpu_ms: u64,
    /// At its end: resident memory of the process.
    pub rss_bytes: u64,
    /// At its end: bytes of events on disk.
    pub journal_bytes: u64,
    /// Of the batches brought to disk; none if there were none.
    pub journal_sync_p99_us: Option<u64>,
    /// Entries that the audit trail did not get.
    pub audit_lost: u64,
}

/// Upper bounds of what a histogram's buckets hold, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of all took no longer.
    pub p50_us: u64,
    /// 99 % did.
    pub p99_us: u64,
    /// All did.
    pub max_us: u64,
}

/// The file.
pub struct Book {
    db: Connection,
    path: PathBuf,
    /// Tells this start of the daemon from others.
    instance: u32,
    entries_kept: u64,
}

impl Book {
    /// Opens it, making it if it is not there. `instance`: of the sessions that entries will name.
    pub fn open(path: &Path, instance: u32) -> Result<Book, OpenError> {
        Ok(Book { db: sqlite::open(path, SCHEMA)?, path: path.to_owned(), instance, entries_kept: AUDIT_ENTRIES_KEPT })
    }

    /// Whether the file has still its name.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Writes entries and records, all of them or none.
    pub fn write(&mut self, entries: &[Entry], records: &[Performance]) -> rusqlite::Result<()> {
        let all = self.db.transaction()?;
        if !entries.is_empty() {
            let mut insert = all.prepare_cached(INSERT_ENTRY)?;
            entries.iter().try_for_each(|entry| put_entry(&mut insert, entry, self.instance))?;
        }
        for record in records {
            put_performance(&mut *all.prepare_cached(INSERT_PERFORMANCE)?, record)?;
        }
        all.commit()
    }

    /// Lets go some of what is older than `age`, or more than may be kept. Whether there is more.
    pub fn forget(&mut self, now_ms: u64, age: Duration) -> rusqlite::Result<bool> {
        let before = |age: Duration| now_ms.saturating_sub(age.as_millis() as u64).cast_signed();
        let all = self.db.transaction()?;
        // Entries are in the order of their time, or nearly so: the first that is young enough ends what is old.
        let bounds = "SELECT coalesce(min(id), 0), coalesce(max(id), 0),
            coalesce((SELECT id FROM trail WHERE ts >= ?1 ORDER BY id LIMIT 1), max(id) + 1) FROM trail";
        let (first, last, young): (i64, i64, Option<i64>) =
            all.query_row(bounds, [before(age)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let keep_from = young.unwrap_or(0).max(last + 1 - self.entries_kept.cast_signed());
        let until = keep_from.min(first + FORGOTTEN_AT_ONCE);
        all.execute("DELETE FROM trail WHERE id < ?1", [until])?;
        all.execute("DELETE FROM performance WHERE ts < ?1", [before(PERFORMANCE_AGE)])?;
        all.commit()?;
        Ok(until < keep_from)
    }
}

fn put_entry(insert: &mut Statement<'_>, entry: &Entry, instance: u32) -> rusqlite::Result<()> {
    insert.execute((
        entry.ts_ms.cast_signed(),
        entry.kind.name(),
        entry.user.as_deref(),
        entry.ip.map(|ip| ip.to_canonical().to_string()),
        entry.session.map(|id| SessionName { instance, id }.to_string()),
        entry.room.as_deref(),
        entry.subject.as_deref(),
        Some(entry.reason).filter(|reason| !reason.is_empty()),
        entry.count.cast_signed(),
        entry.answered.map(|answered| answered.accepted.cast_signed()),
        entry.answered.map(|answered| answered.refused.cast_signed()),
    ))?;
    Ok(())
}

fn put_performance(insert: &mut Statement<'_>, record: &Performance) -> rusqlite::Result<()> {
    let latency = |part: fn(&Latency) -> u64| record.latencies.map(|latency| latency.as_ref().map(part));
    let (p50, p99, max) = (latency(|latency| latency.p50_us), latency(|latency| latency.p99_us), latency(|latency| latency.max_us));
    let known = |values: PerLane<u64>| values.map(Some);
    let levels = [record.ts_ms, record.took_ms, record.connections, record.rooms, record.members].map(Some);
    let lanes = [known(record.events), known(record.deliveries), p50, p99, max].concat();
    let rest =
        [Some(record.cpu_ms), Some(record.rss_bytes), Some(record.journal_bytes), record.journal_sync_p99_us, Some(record.audit_lost)];
    let number = |value: Option<u64>| Value::from(value.map(u64::cast_signed));
    let sums = [&record.refusals, &record.closes, &record.drops].map(|counts| Value::from(object(counts)));
    let values = levels.into_iter().chain(lanes).map(number).chain(sums).chain(rest.map(number));
    insert.execute(params_from_iter(values)).map(drop)
}

/// Counts as a JSON object, without those that are 0.
fn object(counts: &BTreeMap<&'static str, u64>) -> String {
    let members: Vec<String> = counts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("\"{name}\":{count}")).collect();
    format!("{{{}}}", members.join(","))
}

/// The latest refusals that concern the user and the room, the newest first, as JSON.
pub fn refusals(path: &Path, user: &str, room: &str, max: usize) -> rusqlite::Result<serde_json::Value> {
    let db = sqlite::open_to_read(path)?;
    let mut select = db.prepare(
        "SELECT ts, kind, reason, room, ip, session FROM trail
         WHERE user = ?1 AND kind IN ('deny', 'refuse', 'leave', 'disconnect') AND (room = ?2 OR room IS NULL)
         ORDER BY id DESC LIMIT ?3",
    )?;
    let rows = select.query_map((user, room, (max as u64).cast_signed()), |row| {
        let text = |at: usize| row.get::<_, Option<String>>(at);
        let (ts, kind) = (row.get::<_, i64>(0)?, text(1)?);
        Ok(serde_json::json!({"ts": ts, "kind": kind, "reason": text(2)?, "room": text(3)?, "ip": text(4)?, "session": text(5)?}))
    })?;
    rows.collect::<rusqlite::Result<Vec<_>>>().map(serde_json::Value::from)
}

/// Reads the file that a daemon writes, or wrote, as lines of JSON.
pub struct Pages {
    db: Connection,
}

impl Pages {
    /// Opens a file that is there, and writes nothing.
    pub fn open(path: &Path) -> rusqlite::Result<Pages> {
        Ok(Pages { db: sqlite::open_to_read(path)? })
    }

    /// Gives the entries of the trail, oldest first, as far as they are wanted, until somebody wants no more. Those without a room come only if all
    /// rooms are wanted.
    pub fn entries<E>(&self, selection: &Selection, take: impl FnMut(&[u8]) -> Result<(), E>) -> rusqlite::Result<Result<(), E>> {
        let is_wanted = |row: &Row<'_>| {
            let room = row.get_ref("room").ok().and_then(|room| room.as_str().ok()).unwrap_or_default();
            selection.has(room, u64::MAX)
        };
        self.lines("SELECT * FROM trail WHERE ts >= ?1 ORDER BY id", selection.since_ms, is_wanted, take)
    }

    /// Gives the performance records, oldest first.
    pub fn performance<E>(&self, since_ms: u64, take: impl FnMut(&[u8]) -> Result<(), E>) -> rusqlite::Result<Result<(), E>> {
        self.lines("SELECT * FROM performance WHERE ts >= ?1 ORDER BY ts", since_ms, |_| true, take)
    }

    fn lines<E>(
        &self,
        query: &str,
        since_ms: u64,
        is_wanted: impl Fn(&Row<'_>) -> bool,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> rusqlite::Result<Result<(), E>> {
        let mut query = self.db.prepare(query)?;
        let names: Vec<String> = query.column_names().map(str::to_owned).collect();
        let mut rows = query.query([i64::try_from(since_ms).unwrap_or(i64::MAX)])?;
        let mut line = Vec::new();
        while let Some(row) = rows.next()? {
            if is_wanted(row) {
                line.clear();
                put_row(&mut line, &names, row)?;
                if let Err(enough) = take(&line) {
                    return Ok(Err(enough));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// A row as a JSON object; what is null is left out, and so is `id`.
fn put_row(line: &mut Vec<u8>, names: &[String], row: &Row<'_>) -> rusqlite::Result<()> {
    let mut before = b'{';
    for (at, name) in names.iter().enumerate().filter(|(_, name)| *name != "id") {
        let value = match row.get_ref(at)? {
            ValueRef::Integer(value) => value.to_string(),
            ValueRef::Text(text) => {
                let text = String::from_utf8_lossy(text);
                let json = if OBJECTS.contains(&name.as_str()) { serde_json::from_str(&text).ok() } else { None };
                json.unwrap_or_else(|| serde_json::Value::from(text)).to_string()
            }
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => continue,
        };
        line.push(before);
        line.extend([b"\"", name.as_bytes(), b"\":", value.as_bytes()].concat());
        before = b',';
    }
    line.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests;
