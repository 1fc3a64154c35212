//! What our files of `SQLite` have in common: how they are told from others, opened, read beside the daemon, and set aside when they are damaged.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Another process that writes to the file is waited for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    /// Tells it from other `SQLite` files.
    pub application_id: i32,
    /// Of the tables. A daemon writes files of its own version only.
    pub version: i32,
    /// Makes them.
    pub tables: &'static str,
}

/// Why the file was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// It is damaged: `SQLite` does not read it.
    Damaged(rusqlite::Error),
    /// Anything else: what, and what to do.
    Other(String),
}

/// Opens the file, making it if it is not there.
pub(super) fn open(path: &Path, schema: Schema) -> Result<Connection, OpenError> {
    let told = |error: rusqlite::Error| {
        if is_damage(&error) {
            OpenError::Damaged(error)
        } else {
            OpenError::Other(format!("cannot open {}: {error}; is it a file, in a --data-dir that this user may write?", path.display()))
        }
    };
    // Made here, for SQLite would let everybody read it, and what it puts beside it has the same mode. What is wrong with the place, it tells.
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).ok();
    let mut db = Connection::open(path).map_err(told)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(told)?;
    db.pragma_update(None, "journal_mode", "WAL").map_err(told)?;
    // Nobody was told that what is in the file is safe: the end of what was written may go with the power, and no more.
    db.pragma_update(None, "synchronous", "NORMAL").map_err(told)?;
    prepare(&mut db, path, schema).map_err(|error| error.map_or_else(OpenError::Other, told))?;
    Ok(db)
}

/// Opens a file that is there, and writes nothing. One that no daemon has open is whole by itself, and gets no files beside it, which might
/// be another user's than the daemon's.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let escaped = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let is_in_use = with_suffix(path, "-wal").exists();
    let uri = format!("file:{escaped}{}", if is_in_use { "" } else { "?immutable=1" });
    let db = Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}

/// Whether the file itself is what is wrong.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Gives a damaged file another name, and says which.
pub fn set_aside(path: &Path) -> Result<PathBuf, String> {
    let aside = aside(path);
    for suffix in ["", "-wal", "-shm"] {
        let from = with_suffix(path, suffix);
        match std::fs::rename(&from, with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(format!("cannot set the damaged file {} aside: {error}", from.display()));
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// A name that no file has.
fn aside(path: &Path) -> PathBuf {
    let mut n = 1;
    loop {
        let aside = with_suffix(path, &format!(".damaged-{n}"));
        if !aside.exists() {
            return aside;
        }
        n += 1;
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the tables in an empty file. An error of `SQLite`, or what is wrong with the file.
fn prepare(db: &mut Connection, path: &Path, schema: Schema) -> Result<(), Result<rusqlite::Error, String>> {
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(Ok)?;
    match (number("application_id").map_err(Ok)?, number("user_version").map_err(Ok)?) {
        (id, version) if (id, version) == (schema.application_id, schema.version) => Ok(()),
        (id, version) if id == schema.application_id => {
            Err(Err(format!("{} is of version {version}, which this tickerd does not read: use the one that wrote it", path.display())))
        }
        (0, 0) if tables == 0 => make(db, schema).map_err(Ok),
        _ => Err(Err(format!("{} is not a file of tickerd: give another --data-dir", path.display()))),
    }
}

fn make(db: &mut Connection, schema: Schema) -> rusqlite::Result<()> {
    let all = db.transaction()?;
    all.execute_batch(schema.tables)?;
    all.pragma_update(None, "application_id", schema.application_id)?;
    all.pragma_update(None, "user_version", schema.version)?;
    all.commit()
}
