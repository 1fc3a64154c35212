//! What the analytics keep: fills, cash flows and marks as they came, in their order; up to where the journal was read; each account's state; and
//! what is to be published still. One `SQLite` file, in which one transaction takes all that belongs together.
//!
//! Numbers stand here as they were written, so that public tools read them, and a batch recomputation starts from nothing else. A mark is kept once,
//! for all accounts that know its symbol; an account for which it counts at another time, or not at all, has an exception.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use crate::base::lane::Lane;

use super::follow::Position;
use super::sqlite::{self, OpenError, Schema};

/// `application_id` is "tikn". `ts` is Unix milliseconds. `name` is the publisher's own name of a fill, `refused` why it does not count.
const SCHEMA: Schema = Schema {
    application_id: 0x7469_6b6e,
    version: 1,
    tables: "
        CREATE TABLE inputs (
            id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT, kind TEXT NOT NULL, ts INTEGER NOT NULL, symbol TEXT, quantity TEXT, price TEXT,
            fee TEXT, amount TEXT, name TEXT, epoch INTEGER, lane INTEGER, seq INTEGER, refused TEXT, data TEXT);
        CREATE UNIQUE INDEX inputs_by_place ON inputs (account, lane, epoch, seq) WHERE seq IS NOT NULL;
        CREATE UNIQUE INDEX inputs_by_name ON inputs (account, name) WHERE name IS NOT NULL;
        CREATE INDEX inputs_by_symbol ON inputs (symbol, id) WHERE account IS NULL;
        CREATE INDEX inputs_refused ON inputs (id) WHERE refused IS NOT NULL;
        CREATE TABLE exceptions (account TEXT NOT NULL, id INTEGER NOT NULL, ts INTEGER, PRIMARY KEY (account, id)) WITHOUT ROWID;
        CREATE TABLE accounts (account TEXT PRIMARY KEY, owner TEXT, began INTEGER NOT NULL, state BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE outbox (id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, line TEXT NOT NULL);
        CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    ",
};

/// The fact that says up to where the journal was read.
const PLACE: &str = "place";
/// The fact that says up to which input all kept states know of what concerns them.
const CLEAN: &str = "clean";
/// The fact that says how the accounts were configured.
const SETTINGS: &str = "settings";

/// See the module.
pub struct Accounts {
    db: Connection,
}

/// Where in the journal an input comes from. The same place is never taken twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The lane.
    pub lane: Lane,
    /// The epoch in which it is numbered.
    pub epoch: u32,
    /// Its number.
    pub seq: u64,
}

/// An input as it is kept. What is about all accounts, a mark, has no account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Whose it is: a room's name.
    pub account: Option<Box<str>>,
    /// What it is.
    pub kind: InputKind,
    /// When it counts, Unix milliseconds.
    pub ts_ms: u64,
    /// Of a fill or a mark.
    pub symbol: Option<Box<str>>,
    /// Of a fill: bought, or with a minus sold.
    pub quantity: Option<Box<str>>,
    /// Of a fill or a mark.
    pub price: Option<Box<str>>,
    /// Of a fill.
    pub fee: Option<Box<str>>,
    /// Of a cash flow: deposited, or with a minus withdrawn.
    pub amount: Option<Box<str>>,
    /// What the publisher calls it: one of a name counts once.
    pub name: Option<Box<str>>,
}

/// What an input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputKind {
    /// A trade of an account.
    #[default]
    Fill,
    /// Money that came or went.
    Flow,
    /// A price.
    Mark,
    /// A status that was published and does not follow from what is kept: its name stands as the symbol.
    Status,
    /// Something that is none of these, and was refused.
    Bad,
}

impl InputKind {
    const ALL: [InputKind; 5] = [InputKind::Fill, InputKind::Flow, InputKind::Mark, InputKind::Status, InputKind::Bad];

    /// As it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            InputKind::Fill => "fill",
            InputKind::Flow => "flow",
            InputKind::Mark => "mark",
            InputKind::Status => "status",
            InputKind::Bad => "bad",
        }
    }
}

/// An account as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAccount {
    /// The room's name.
    pub account: Box<str>,
    /// The room's owner.
    pub owner: Option<Box<str>>,
    /// When its first day began, Unix milliseconds.
    pub began_ms: u64,
    /// Its state.
    pub state: Vec<u8>,
}

impl Accounts {
    /// Opens the file, making it if it is not there.
    pub fn open(path: &Path) -> Result<Accounts, OpenError> {
        Ok(Accounts { db: sqlite::open(path, SCHEMA)? })
    }

    /// Opens a file that is there, beside a daemon or without one, and writes nothing. What is read is of one moment.
    pub fn open_to_read(path: &Path) -> rusqlite::Result<Accounts> {
        let db = sqlite::open_to_read(path)?;
        db.execute_batch("BEGIN")?;
        Ok(Accounts { db })
    }

    /// Begins what goes in at once.
    pub fn begin(&mut self) -> rusqlite::Result<Batch<'_>> {
        Ok(Batch { all: self.db.transaction()? })
    }

    /// Up to where the journal was read.
    pub fn place(&self) -> rusqlite::Result<Option<Position>> {
        let text = self.fact(PLACE)?;
        let numbers = text.as_deref().and_then(|text| text.split_once(':'));
        Ok(numbers.and_then(|(segment, offset)| Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })))
    }

    /// Up to which input all kept states know of what concerns them.
    pub fn clean(&self) -> rusqlite::Result<u64> {
        Ok(self.fact(CLEAN)?.and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    /// How the accounts were configured when they were written last.
    pub fn settings(&self) -> rusqlite::Result<Option<String>> {
        self.fact(SETTINGS)
    }

    fn fact(&self, name: &str) -> rusqlite::Result<Option<String>> {
        self.db.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0)).optional()
    }

    /// All accounts, or the one of that name.
    pub fn accounts(&self, only: Option<&str>) -> rusqlite::Result<Vec<KeptAccount>> {
        let mut select =
            self.db.prepare("SELECT account, owner, began, state FROM accounts WHERE ?1 IS NULL OR account = ?1 ORDER BY account")?;
        let rows = select.query_map([only], |row| {
            let began_ms = row.get::<_, i64>(2)?.cast_unsigned();
            // A state that is no blob is as good as none.
            Ok(KeptAccount { account: row.get(0)?, owner: row.get(1)?, began_ms, state: row.get(3).unwrap_or_default() })
        })?;
        rows.collect()
    }

    /// The number of the newest input; 0 if there is none.
    pub fn newest(&self) -> rusqlite::Result<u64> {
        self.db.query_row("SELECT coalesce(max(id), 0) FROM inputs", [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    /// The newest time at which one of the last inputs counts, Unix milliseconds.
    pub fn newest_ms(&self) -> rusqlite::Result<u64> {
        let select = "SELECT coalesce(max(ts), 0) FROM (SELECT ts FROM inputs WHERE refused IS NULL ORDER BY id DESC LIMIT 1000)";
        self.db.query_row(select, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    /// Gives the inputs that count and are newer than that one, in their order.
    pub fn inputs_after(&self, id: u64, mut each: impl FnMut(u64, Input)) -> rusqlite::Result<()> {
        let mut select = self.db.prepare(
            "SELECT id, account, kind, ts, symbol, quantity, price, fee, amount, name FROM inputs
             WHERE id > ?1 AND refused IS NULL AND (seq IS NOT NULL OR account IS NULL) ORDER BY id",
        )?;
        let mut rows = select.query([id.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let (id, input) = input(row)?;
            each(id, input);
        }
        Ok(())
    }

    /// The inputs that count for one account, up to that one, in their order and with the times at which they count: its own, and the marks of each
    /// symbol from its first fill in it on. An account's own have a place in the journal, by which they are found.
    pub fn inputs_of(&self, account: &str, until: u64) -> rusqlite::Result<Vec<(u64, Input)>> {
        let mut select = self.db.prepare(
            "WITH known AS (SELECT symbol, min(id) AS since FROM inputs
                           WHERE account = ?1 AND seq IS NOT NULL AND kind = 'fill' AND refused IS NULL GROUP BY symbol)
             SELECT id, account, kind, ts, symbol, quantity, price, fee, amount, name FROM inputs
             WHERE account = ?1 AND seq IS NOT NULL AND id <= ?2 AND refused IS NULL
             UNION ALL
             SELECT m.id, m.account, m.kind, coalesce(e.ts, m.ts), m.symbol, m.quantity, m.price, m.fee, m.amount, m.name
             FROM known CROSS JOIN inputs m ON m.account IS NULL AND m.symbol = known.symbol AND m.id > known.since AND m.id <= ?2
             LEFT JOIN exceptions e ON e.account = ?1 AND e.id = m.id
             WHERE e.id IS NULL OR e.ts IS NOT NULL
             ORDER BY id",
        )?;
        let rows = select.query_map((account, until.cast_signed()), input)?;
        rows.collect()
    }

    /// Accounts that have inputs that count, and no state: how many, and the oldest one's time, Unix milliseconds.
    pub fn without_state(&self, only: Option<&str>) -> rusqlite::Result<Vec<(Box<str>, u64, u64)>> {
        let mut select = self.db.prepare(
            "SELECT account, count(*), min(ts) FROM inputs WHERE account IS NOT NULL AND refused IS NULL AND (?1 IS NULL OR account = ?1)
             AND NOT EXISTS (SELECT 1 FROM accounts WHERE accounts.account = inputs.account) GROUP BY account",
        )?;
        let rows = select
            .query_map([only], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(2)?.cast_unsigned())))?;
        rows.collect()
    }

    /// What is to be published still, oldest first: the `event_id`, and the line.
    pub fn outbox(&self) -> rusqlite::Result<Vec<(Box<str>, Box<str>)>> {
        let mut select = self.db.prepare("SELECT event_id, line FROM outbox ORDER BY id")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }
}

fn input(row: &Row<'_>) -> rusqlite::Result<(u64, Input)> {
    let kind: Box<str> = row.get(2)?;
    let input = Input {
        account: row.get(1)?,
        kind: InputKind::ALL.into_iter().find(|known| known.name() == &*kind).unwrap_or(InputKind::Bad),
        ts_ms: row.get::<_, i64>(3)?.cast_unsigned(),
        symbol: row.get(4)?,
        quantity: row.get(5)?,
        price: row.get(6)?,
        fee: row.get(7)?,
        amount: row.get(8)?,
        name: row.get(9)?,
    };
    Ok((row.get::<_, i64>(0)?.cast_unsigned(), input))
}

/// What goes in at once, or not at all.
pub struct Batch<'a> {
    all: Transaction<'a>,
}

impl Batch<'_> {
    /// Keeps an input; its number, or none if one of its place, or of its name, is there already.
    pub fn keep(&self, input: &Input, origin: Option<Origin>) -> rusqlite::Result<Option<u64>> {
        let mut insert = self.all.prepare_cached(
            "INSERT OR IGNORE INTO inputs (account, kind, ts, symbol, quantity, price, fee, amount, name, lane, epoch, seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        let kept = insert.execute((
            input.account.as_deref(),
            input.kind.name(),
            input.ts_ms.cast_signed(),
            input.symbol.as_deref(),
            input.quantity.as_deref(),
            input.price.as_deref(),
            input.fee.as_deref(),
            input.amount.as_deref(),
            input.name.as_deref(),
            origin.map(|origin| i64::from(origin.lane as u8)),
            origin.map(|origin| i64::from(origin.epoch)),
            origin.map(|origin| origin.seq.cast_signed()),
        ))?;
        Ok((kept == 1).then(|| self.all.last_insert_rowid().cast_unsigned()))
    }

    /// The input counts at another time than it said.
    pub fn count_at(&self, id: u64, ts_ms: u64) -> rusqlite::Result<()> {
        self.all.prepare_cached("UPDATE inputs SET ts = ?2 WHERE id = ?1")?.execute((id.cast_signed(), ts_ms.cast_signed())).map(drop)
    }

    /// The input does not count: why, and the data as it was published. Its name is free for one that does.
    pub fn refuse(&self, id: u64, why: &str, data: &str) -> rusqlite::Result<()> {
        let mut update = self.all.prepare_cached("UPDATE inputs SET refused = ?2, data = ?3, name = NULL WHERE id = ?1")?;
        update.execute((id.cast_signed(), why, data)).map(drop)
    }

    /// Of those that do not count the newest are kept, so many.
    pub fn trim_refused(&self, max: u32) -> rusqlite::Result<()> {
        let mut delete = self.all.prepare_cached(
            "DELETE FROM inputs WHERE refused IS NOT NULL
             AND id <= (SELECT id FROM inputs WHERE refused IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?;
        delete.execute([max]).map(drop)
    }

    /// Nobody has a use for the input.
    pub fn drop_input(&self, id: u64) -> rusqlite::Result<()> {
        self.all.prepare_cached("DELETE FROM inputs WHERE id = ?1")?.execute([id.cast_signed()]).map(drop)
    }

    /// For that account the mark counts at another time, or not at all.
    pub fn except(&self, account: &str, id: u64, ts_ms: Option<u64>) -> rusqlite::Result<()> {
        let mut insert = self.all.prepare_cached("INSERT OR REPLACE INTO exceptions (account, id, ts) VALUES (?1, ?2, ?3)")?;
        insert.execute((account, id.cast_signed(), ts_ms.map(u64::cast_signed))).map(drop)
    }

    /// Keeps an account's state.
    pub fn save(&self, kept: &KeptAccount) -> rusqlite::Result<()> {
        let mut insert =
            self.all.prepare_cached("INSERT OR REPLACE INTO accounts (account, owner, began, state) VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute((&*kept.account, kept.owner.as_deref(), kept.began_ms.cast_signed(), &kept.state)).map(drop)
    }

    /// The journal was read up to there.
    pub fn set_place(&self, Position { segment, offset }: Position) -> rusqlite::Result<()> {
        self.set_fact(PLACE, &format!("{segment}:{offset}"))
    }

    /// All states that are kept know of what concerns them, up to that input.
    pub fn set_clean(&self, id: u64) -> rusqlite::Result<()> {
        self.set_fact(CLEAN, &id.to_string())
    }

    /// The accounts are configured so.
    pub fn set_settings(&self, text: &str) -> rusqlite::Result<()> {
        self.set_fact(SETTINGS, text)
    }

    fn set_fact(&self, name: &str, value: &str) -> rusqlite::Result<()> {
        self.all.prepare_cached("INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)")?.execute((name, value)).map(drop)
    }

    /// That line is to be published. One of that `event_id` is enough.
    pub fn post(&self, event_id: &str, line: &str) -> rusqlite::Result<()> {
        self.all.prepare_cached("INSERT OR IGNORE INTO outbox (event_id, line) VALUES (?1, ?2)")?.execute((event_id, line)).map(drop)
    }

    /// It was.
    pub fn posted(&self, event_id: &str) -> rusqlite::Result<()> {
        self.all.prepare_cached("DELETE FROM outbox WHERE event_id = ?1")?.execute([event_id]).map(drop)
    }

    /// All of it is kept.
    pub fn commit(self) -> rusqlite::Result<()> {
        self.all.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Scratch;
    use super::*;

    fn fill(account: &str, symbol: &str, name: Option<&str>) -> Input {
        Input {
            account: Some(account.into()),
            ts_ms: 5,
            symbol: Some(symbol.into()),
            quantity: Some("1".into()),
            price: Some("2.50".into()),
            name: name.map(Box::from),
            ..Input::default()
        }
    }

    fn mark(symbol: &str) -> Input {
        Input { kind: InputKind::Mark, ts_ms: 7, symbol: Some(symbol.into()), price: Some("3".into()), ..Input::default() }
    }

    fn at(seq: u64) -> Origin {
        Origin { lane: Lane::Update, epoch: 1, seq }
    }

    /// MET-03, MET-12: what comes again, from the same place or by the same name, counts once; marks count from the first fill of their symbol on,
    /// at the account's own time.
    #[test]
    fn inputs_are_kept_once_and_given_to_whom_they_concern() {
        let scratch = Scratch::new();
        let path = scratch.0.join("analytics.db");
        let mut accounts = Accounts::open(&path).unwrap();
        let batch = accounts.begin().unwrap();
        let keep = |input: &Input, origin| batch.keep(input, origin).unwrap();
        assert_eq!(keep(&mark("X"), None), Some(1), "nobody knows it yet");
        assert_eq!(keep(&fill("a:1", "X", Some("n1")), Some(at(1))), Some(2));
        assert_eq!(keep(&fill("a:1", "X", Some("n2")), Some(at(1))), None, "the same place");
        assert_eq!(keep(&fill("a:1", "X", Some("n1")), Some(at(2))), None, "the same name");
        // What was not kept has used up a number.
        assert_eq!(keep(&fill("a:2", "Y", Some("n1")), Some(at(1))), Some(5), "another account's");
        assert_eq!((keep(&mark("X"), None), keep(&mark("Y"), None), keep(&mark("X"), None)), (Some(6), Some(7), Some(8)));
        batch.except("a:1", 6, None).unwrap();
        batch.except("a:1", 8, Some(9)).unwrap();
        assert_eq!(keep(&fill("a:1", "X", None), Some(at(3))), Some(9));
        batch.refuse(9, "no reason", "{}").unwrap();
        batch.count_at(2, 6).unwrap();
        batch.commit().unwrap();
        let read = Accounts::open_to_read(&path).unwrap();
        let of = |account: &str, until| {
            read.inputs_of(account, until).unwrap().into_iter().map(|(id, input)| (id, input.ts_ms)).collect::<Vec<_>>()
        };
        assert_eq!(of("a:1", 99), [(2, 6), (8, 9)]);
        assert_eq!((of("a:1", 7), of("a:2", 99)), (vec![(2, 6)], vec![(5, 5), (7, 7)]));
        let mut after = Vec::new();
        read.inputs_after(5, |id, input| after.push((id, input.kind))).unwrap();
        assert_eq!(after, [(6, InputKind::Mark), (7, InputKind::Mark), (8, InputKind::Mark)]);
        assert_eq!((read.newest().unwrap(), read.newest_ms().unwrap()), (9, 7));
    }

    /// MET-12: a batch that is not committed leaves nothing; what is to be published is forgotten when it was.
    #[test]
    fn a_batch_goes_in_as_a_whole() {
        let scratch = Scratch::new();
        let path = scratch.0.join("analytics.db");
        let mut accounts = Accounts::open(&path).unwrap();
        let kept = KeptAccount { account: "a:1".into(), owner: None, began_ms: 3, state: vec![1, 2] };
        let write = |batch: &Batch<'_>| {
            batch.keep(&fill("a:1", "X", None), Some(at(1))).unwrap();
            batch.save(&kept).unwrap();
            batch.set_place(Position { segment: 3, offset: 4 }).unwrap();
            batch.post("e1", "line 1").unwrap();
            batch.post("e2", "line 2").unwrap();
        };
        write(&accounts.begin().unwrap());
        assert_eq!((accounts.newest().unwrap(), accounts.place().unwrap(), accounts.accounts(None).unwrap()), (0, None, vec![]));
        let batch = accounts.begin().unwrap();
        write(&batch);
        batch.posted("e1").unwrap();
        batch.set_settings("x").unwrap();
        batch.commit().unwrap();
        drop(accounts);
        let accounts = Accounts::open(&path).unwrap();
        assert_eq!((accounts.place().unwrap(), accounts.settings().unwrap()), (Some(Position { segment: 3, offset: 4 }), Some("x".into())));
        assert_eq!(accounts.accounts(Some("a:1")).unwrap(), [kept]);
        assert_eq!(accounts.accounts(Some("a:2")).unwrap(), []);
        assert_eq!(accounts.outbox().unwrap(), [("e2".into(), "line 2".into())]);
    }

    /// What does not count is kept aside within a bound; what counts is not concerned.
    #[test]
    fn the_newest_of_what_was_refused_are_kept() {
        let scratch = Scratch::new();
        let mut store = Accounts::open(&scratch.0.join("a.db")).unwrap();
        let batch = store.begin().unwrap();
        for seq in 1..=30 {
            let id = batch.keep(&fill("a:1", "X", None), Some(at(seq))).unwrap().unwrap();
            if seq % 3 > 0 {
                batch.refuse(id, "why", "data").unwrap();
            }
        }
        batch.trim_refused(5).unwrap();
        let count = |sql: &str| batch.all.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(
            (count("SELECT count(*) FROM inputs WHERE refused IS NULL"), count("SELECT count(*) FROM inputs WHERE refused IS NOT NULL")),
            (10, 5)
        );
        assert_eq!(count("SELECT min(seq) FROM inputs WHERE refused IS NOT NULL"), 23);
        batch.trim_refused(5).unwrap();
        assert_eq!(count("SELECT count(*) FROM inputs"), 15);
        // An account's own inputs are found by an index.
        let plan: Vec<String> = batch
            .all
            .prepare("EXPLAIN QUERY PLAN SELECT id FROM inputs WHERE account = 'a:1' AND seq IS NOT NULL AND id <= 9 AND refused IS NULL")
            .unwrap()
            .query_map([], |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(plan.iter().all(|step| step.contains("inputs_by_place")), "{plan:?}");
    }
}
