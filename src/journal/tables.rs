//! The tables: the newest value of each state key and the owners of rooms, in one `SQLite` file that public tools read.
//!
//! `SQLite` finds torn writes, not bits that flip in a file at rest: each row carries a CRC32 of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, Transaction};

use crate::base::lane::Lane;
use crate::hub::journal::{Fact, KeptState, Recovered, RecoveredRoom};

use super::sqlite::{self, OpenError, Schema};

/// `application_id` is "tikd". `ts` is Unix milliseconds; `data` is null if the key is deleted; `born` is a number of an epoch.
const SCHEMA: Schema = Schema {
    application_id: 0x7469_6b64,
    version: 1,
    tables: "
        CREATE TABLE owners (room TEXT PRIMARY KEY, owner TEXT NOT NULL, born INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE states (
            room TEXT NOT NULL, type TEXT NOT NULL, key TEXT NOT NULL, lane TEXT NOT NULL, rev INTEGER NOT NULL, version INTEGER,
            ts INTEGER NOT NULL, data TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (room, type, key)) WITHOUT ROWID;
    ",
};

/// See the module.
pub struct Tables {
    db: Connection,
    path: PathBuf,
}

impl Tables {
    /// Opens the file, making it if it is not there.
    pub fn open(path: &Path) -> Result<Tables, OpenError> {
        Ok(Tables { db: sqlite::open(path, SCHEMA)?, path: path.to_owned() })
    }

    /// Opens a file that is there, beside a daemon or without one, and writes nothing.
    pub fn open_to_read(path: &Path) -> rusqlite::Result<Tables> {
        Ok(Tables { db: sqlite::open_to_read(path)?, path: path.to_owned() })
    }

    /// Adds what the file knows to what the log knew. How many damaged rows were left out.
    pub fn read(&self, recovered: &mut Recovered) -> rusqlite::Result<u64> {
        let mut rooms = ByName::new(&mut recovered.rooms);
        let mut damaged = 0;
        let mut owners = self.db.prepare("SELECT room, owner, born, checksum FROM owners")?;
        let mut owners = owners.query([])?;
        while let Some(row) = owners.next()? {
            match read_owner(row) {
                Some((name, owner, born)) => {
                    rooms.get(&name, born).owner.get_or_insert(owner);
                }
                None => damaged += 1,
            }
        }
        let mut states = self.db.prepare("SELECT room, type, key, lane, rev, version, ts, data, checksum FROM states")?;
        let mut states = states.query([])?;
        while let Some(row) = states.next()? {
            match read_state(row) {
                Some((name, state)) => rooms.get(&name, 0).states.push(state),
                None => damaged += 1,
            }
        }
        Ok(damaged)
    }

    /// Whether the file has still its name.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Writes facts, all of them or none.
    pub fn write(&mut self, facts: &[Fact]) -> rusqlite::Result<()> {
        let all = self.db.transaction()?;
        for fact in facts {
            write(&all, fact)?;
        }
        all.commit()
    }
}

/// Rooms found by their names.
struct ByName<'a> {
    rooms: &'a mut Vec<RecoveredRoom>,
    places: HashMap<Box<str>, usize>,
}

impl ByName<'_> {
    fn new(rooms: &mut Vec<RecoveredRoom>) -> ByName<'_> {
        let places = rooms.iter().enumerate().map(|(at, room)| (room.name.clone(), at)).collect();
        ByName { rooms, places }
    }

    /// The room, added if it is not there.
    fn get(&mut self, name: &str, born: u32) -> &mut RecoveredRoom {
        let at = *self.places.entry(name.into()).or_insert(self.rooms.len());
        if at == self.rooms.len() {
            self.rooms.push(RecoveredRoom { name: name.into(), born, ..RecoveredRoom::default() });
        }
        &mut self.rooms[at]
    }
}

fn write(all: &Transaction<'_>, fact: &Fact) -> rusqlite::Result<()> {
    match fact {
        Fact::Owner { room, owner, born } => {
            let mut insert = all.prepare_cached("INSERT OR REPLACE INTO owners (room, owner, born, checksum) VALUES (?1, ?2, ?3, ?4)")?;
            insert.execute((&**room, &**owner, i64::from(*born), owner_checksum(room, owner, *born)))?;
        }
        Fact::State { room, state } => {
            let mut insert = all.prepare_cached(
                "INSERT OR REPLACE INTO states (room, type, key, lane, rev, version, ts, data, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            let version = state.version.map(u64::cast_signed);
            let checksum = state_checksum(room, state);
            insert.execute((
                &**room,
                &*state.kind,
                &*state.key,
                state.lane.name(),
                state.rev.cast_signed(),
                version,
                state.ts_ms.cast_signed(),
                state.data.as_deref(),
                checksum,
            ))?;
        }
        Fact::Forget { room } => {
            all.prepare_cached("DELETE FROM states WHERE room = ?1")?.execute([&**room])?;
            all.prepare_cached("DELETE FROM owners WHERE room = ?1")?.execute([&**room])?;
        }
    }
    Ok(())
}

fn read_owner(row: &Row<'_>) -> Option<(Box<str>, Box<str>, u32)> {
    let (room, owner, born) = (text(row, 0)?, text(row, 1)?, u32::try_from(number(row, 2)?).ok()?);
    (owner_checksum(&room, &owner, born) == number(row, 3)?).then_some((room, owner, born))
}

fn read_state(row: &Row<'_>) -> Option<(Box<str>, KeptState)> {
    let room = text(row, 0)?;
    let state = KeptState {
        kind: text(row, 1)?,
        key: text(row, 2)?,
        lane: Lane::parse(&text(row, 3)?)?,
        rev: number(row, 4)?.cast_unsigned(),
        version: row.get_ref(5).ok()?.as_i64_or_null().ok()?.map(i64::cast_unsigned),
        ts_ms: number(row, 6)?.cast_unsigned(),
        data: row.get_ref(7).ok()?.as_str_or_null().ok()?.map(Box::from),
    };
    (state_checksum(&room, &state) == number(row, 8)?).then_some((room, state))
}

fn number(row: &Row<'_>, column: usize) -> Option<i64> {
    row.get_ref(column).ok()?.as_i64().ok()
}

fn text(row: &Row<'_>, column: usize) -> Option<Box<str>> {
    row.get_ref(column).ok()?.as_str().ok().map(Box::from)
}

fn owner_checksum(room: &str, owner: &str, born: u32) -> i64 {
    Checksum::default().bytes(room).bytes(owner).number(u64::from(born)).end()
}

fn state_checksum(room: &str, state: &KeptState) -> i64 {
    let version = Checksum::default().bytes(room).bytes(&state.kind).bytes(&state.key).bytes(state.lane.name()).number(state.rev);
    let with_version = version.number(u64::from(state.version.is_some())).number(state.version.unwrap_or_default());
    let with_data = with_version.number(state.ts_ms).number(u64::from(state.data.is_some()));
    with_data.bytes(state.data.as_deref().unwrap_or_default()).end()
}

/// CRC32 over a row's values, texts with their lengths, so that no two rows read alike.
#[derive(Default)]
struct Checksum(crc32fast::Hasher);

impl Checksum {
    fn number(mut self, value: u64) -> Checksum {
        self.0.update(&value.to_le_bytes());
        self
    }

    fn bytes(self, value: &str) -> Checksum {
        let mut with_len = self.number(value.len() as u64);
        with_len.0.update(value.as_bytes());
        with_len
    }

    fn end(self) -> i64 {
        i64::from(self.0.finalize())
    }
}
