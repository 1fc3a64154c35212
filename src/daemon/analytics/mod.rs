//! The analytics: numbers of accounts, made of the fills that backends publish, and published by the daemon itself as by any other publisher.
//!
//! Fills and cash flows are `stream` events, so the journal has them, in their order and synced: the analytics follow its files at their own pace, and
//! the push path does not know of them. Marks are states, of which the newest is enough: the hub's thread leaves those in a link. What counts is kept
//! in `analytics.db` before a number made of it is published; with it, in one transaction, up to where the journal was read, and the alerts that came
//! of it, which are published until the hub has them. So a crash at any moment changes no number and gives no alert twice.
//!
//! | module | what is there |
//! | --- | --- |
//! | `desk` | the accounts in memory, and what is to be published of them |
//! | `fields` | what fills, cash flows and marks say |
//! | `inputs` | how they are given to an account or to a recomputation |
//! | `lines` | what is published, as publish lines |
//! | `outlet` | how it is published |
//! | `window` | marks that wait for their turn |
//! | `tap` | the hub's end of the link of marks |
//! | `verify` | everything computed again, from what is kept |
//! | `checker` | the thread that does so every few minutes |
//! | `time` | times as texts |

mod checker;
mod desk;
mod fields;
mod inputs;
mod lines;
mod outlet;
mod stats;
mod tap;
#[cfg(test)]
mod tests;
mod time;
mod verify;
mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::base::lane::Mode;
use crate::config::{AnalyticsConfig, Config};
use crate::hub::catalog::Catalog;
use crate::journal::accounts::{Accounts, Batch, InputKind};
use crate::journal::follow::{Followed, Follower, LogEnd, Position};
use crate::journal::sqlite::{OpenError, is_damage, set_aside};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link};
use crate::reactor::Control;

use self::checker::Checker;
use self::desk::Desk;
use self::fields::Envelope;
use self::outlet::Outlet;
use self::tap::{MARKS_MAX, Mark};
use self::window::Window;
use super::data_dir::DataDir;
use super::journal::JOURNAL;
use super::seat::{Seat, Work};
use super::{ingest, join, options};

pub(super) use self::stats::AnalyticsStats;
pub(super) use self::tap::Tap;
pub use self::verify::{Verdict, verify};

/// The file in the data directory.
pub const FILE: &str = "analytics.db";
/// Marks in one transaction.
const MARKS_PER_TURN: usize = 1024;
/// States kept in one transaction, but for those that must be.
const SAVES_PER_TURN: usize = 256;
/// How often states are kept of accounts that have changed: a restart reads what came since.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How often time itself is told to the accounts, and the longest sleep.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// With so many events to publish, no more of the journal is read.
const POSTS_MAX: usize = 10_000;
/// What comes within this time after a turn waits for the next one.
const GATHER: Duration = Duration::from_millis(5);
/// With more of the journal to read, there is no waiting.
const PRESSING_BYTES: u64 = 1024 * 1024;
/// How soon a failure is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Where prices are of a type that the catalog does not have.
const MARK_ROOM: &str = "market:{symbol}";
/// Refusals logged in a second; the rest is counted.
const LOGGED_PER_SECOND: usize = 10;

/// Whether the types that are to be fills and cash flows are in the journal, or what to do.
pub(super) fn check(config: &AnalyticsConfig, catalog: &Catalog) -> Result<(), String> {
    for kind in config.fills.iter().chain(&config.flows) {
        if let Some(entry) = catalog.entry(kind).filter(|entry| entry.mode != Mode::Stream) {
            let mode = entry.mode.name();
            return Err(format!(
                "analytics: `{kind}` is {mode} in the catalog, and fills and cash flows must be stream, for each counts: name other types"
            ));
        }
    }
    Ok(())
}

/// What the rooms begin with in which prices are published, as the catalog has it: behind that stands the symbol.
fn mark_rooms(config: &AnalyticsConfig, catalog: &Catalog) -> Vec<String> {
    let rooms =
        config.marks.iter().flat_map(|kind| catalog.entry(kind).map_or_else(|| vec![MARK_ROOM.to_owned()], |entry| entry.rooms.clone()));
    rooms.filter_map(|template| Some(template.split_once('{')?.0.to_owned())).collect()
}

/// The threads before they have their work: the hub and the journal need their ends of the links.
pub(super) struct AnalyticsSeat {
    seat: Seat<Analyst>,
    config: AnalyticsConfig,
    path: PathBuf,
    journal: (PathBuf, Arc<LogEnd>),
    marks: Arc<Link<Mark>>,
    mark_rooms: Vec<String>,
    stats: Arc<AnalyticsStats>,
}

/// The threads at work.
pub(super) struct AnalyticsHandle {
    threads: [JoinHandle<()>; 2],
    pub(super) doors: [(&'static str, Arc<Door>); 2],
    stop: Arc<AtomicBool>,
    pub(super) stats: Arc<AnalyticsStats>,
}

impl AnalyticsSeat {
    /// A seat, if there are to be analytics. `end`: of the journal in that directory.
    pub(super) fn start(config: &Config, dir: Option<&DataDir>, end: Option<Arc<LogEnd>>) -> Result<Option<AnalyticsSeat>, String> {
        let catalog = options::catalog(&config.catalog)?;
        let (Some(config), Some(dir), Some(end)) = (&config.analytics, dir, end) else { return Ok(None) };
        let mark_rooms = mark_rooms(config, &catalog);
        let seat = Seat::start("analytics")?;
        let marks = Arc::new(Link::new(MARKS_MAX, Arc::clone(&seat.door)));
        let (path, journal) = (dir.file(FILE), (dir.file(JOURNAL), end));
        Ok(Some(AnalyticsSeat { seat, config: config.clone(), path, journal, marks, mark_rooms, stats: Arc::default() }))
    }

    /// To be rung when there is something new in the journal.
    pub(super) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.seat.door)
    }

    /// The hub's end of the link of marks.
    pub(super) fn tap(&self) -> Tap {
        Tap::new(self.config.marks.clone(), Arc::clone(&self.marks), Arc::clone(&self.stats))
    }

    /// Sets the threads to work; they publish by that reactor.
    pub(super) fn occupy(self, clock: Clock, reactor: Arc<Link<Control>>) -> Result<AnalyticsHandle, String> {
        let (stop, stats, checker) = (Arc::new(AtomicBool::new(false)), self.stats, Seat::start("verify")?);
        let doors = [("analytics", Arc::clone(&self.seat.door)), ("verify", Arc::clone(&checker.door))];
        let (path, every) = (self.path.clone(), self.config.verify_every);
        let threads = [
            self.seat.occupy(|door| Analyst {
                path: self.path,
                journal: self.journal,
                config: self.config,
                clock,
                marks: self.marks,
                mark_rooms: self.mark_rooms,
                door,
                outlet: Outlet::new(ingest::publisher(reactor, true)),
                was_open: false,
                stats: Arc::clone(&stats),
                stop: Arc::clone(&stop),
            })?,
            checker.occupy(|door| Checker { path, every, door, stats: Arc::clone(&stats), stop: Arc::clone(&stop) })?,
        ];
        Ok(AnalyticsHandle { threads, doors, stop, stats })
    }
}

impl AnalyticsHandle {
    /// Ends the threads, which keep what there is to keep, and waits for them.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            join(thread);
        }
    }
}

impl Work for Analyst {
    fn run(self) {
        Analyst::run(self);
    }
}

/// What the thread owns or shares.
struct Analyst {
    path: PathBuf,
    /// Where the journal is, and up to where it is synced.
    journal: (PathBuf, Arc<LogEnd>),
    config: AnalyticsConfig,
    clock: Clock,
    marks: Arc<Link<Mark>>,
    /// What the rooms begin with in which prices count.
    mark_rooms: Vec<String>,
    door: Arc<Door>,
    outlet: Outlet,
    /// The file could be read once.
    was_open: bool,
    stats: Arc<AnalyticsStats>,
    stop: Arc<AtomicBool>,
}

/// What the thread does after a turn.
enum Next {
    /// Goes on: there is much to do.
    More,
    /// Lets things gather for a moment.
    Gather,
    /// Sleeps until it is rung for.
    Sleep,
}

/// What is open while the file is good.
struct Office {
    store: Accounts,
    desk: Desk,
    follower: Follower,
    /// Up to where it was read, as the file has it.
    placed: Position,
    /// The journal was read up to where it ended at the start: what was published by then is known.
    is_caught_up: bool,
    window: Window,
    tick_at: Instant,
    save_at: Instant,
}

impl Analyst {
    fn run(mut self) {
        let (mut office, mut told, mut log) = (None, None, Unlogged::default());
        loop {
            self.door.turn();
            let is_ending = self.stop.load(Ordering::Relaxed);
            let turned = self.turn(&mut office, is_ending);
            if let Some(office) = &mut office {
                log.tell(office.desk.refusals(), Instant::now());
            }
            if turned.is_err() {
                office = None; // what is in memory may be ahead of what is on disk
            }
            self.tell(turned.as_ref().err().or(self.outlet.fault()), &mut told);
            if is_ending {
                return;
            }
            match turned {
                Ok(Next::More) => {}
                // Not to be rung for: while fills come one by one, each commit of the journal would wake this thread, for a transaction of its own.
                Ok(Next::Gather) => std::thread::park_timeout(GATHER),
                Ok(Next::Sleep) => self.sleep(office.as_ref()),
                Err(_) => std::thread::park_timeout(RETRY),
            }
        }
    }

    /// Takes what is new, keeps it, and publishes what comes of it.
    fn turn(&mut self, office: &mut Option<Office>, is_ending: bool) -> Result<Next, String> {
        if office.is_none() {
            *office = Some(self.open()?);
            self.was_open = true;
        }
        let Some(office) = office else { return Ok(Next::Sleep) };
        let worked = self.take(office, is_ending)?;
        if !office.is_caught_up {
            return Ok(Next::More);
        }
        let posted = self.outlet.publish(&mut office.desk, &self.stats, &self.door);
        if !posted.is_empty() {
            let batch = office.store.begin().map_err(|error| told(&error))?;
            posted.iter().try_for_each(|name| batch.posted(name)).map_err(|error| told(&error))?;
            batch.commit().map_err(|error| told(&error))?;
        }
        let has_news = office.desk.has_news() && self.outlet.rest_until().is_none();
        Ok(match has_news || office.follower.behind_bytes() > PRESSING_BYTES {
            true => Next::More,
            false if worked => Next::Gather,
            false => Next::Sleep,
        })
    }

    /// Opens the file, with the accounts in it. One that is damaged is set aside; then the numbers are made of what the journal still has.
    fn open(&self) -> Result<Office, String> {
        let store = match Accounts::open(&self.path) {
            Ok(store) => store,
            Err(OpenError::Damaged(error)) => {
                let aside = set_aside(&self.path)?;
                tracing::error!(event = "analytics_damaged", %error, "{} is damaged and was set aside as {}", self.path.display(), aside.display());
                return Err("the file is begun anew".to_owned());
            }
            Err(OpenError::Other(told)) => return Err(told),
        };
        let begun = Instant::now();
        let now_ms = self.clock.now().wall_ms;
        let desk = Desk::load(&self.config, &self.stats, &store, now_ms, &|| self.door.turn()).map_err(|error| told(&error))?;
        if !self.was_open {
            // Of what comes after a failure, `analytics_recovered` tells once it goes on.
            tracing::info!(event = "analytics_opened", accounts = desk.size().0, ms = begun.elapsed().as_millis() as u64);
        }
        let follower = Follower::new(&self.journal.0, Arc::clone(&self.journal.1), store.place().map_err(|error| told(&error))?);
        let mut office = Office {
            store,
            desk,
            placed: follower.position(),
            follower,
            is_caught_up: false,
            window: Window::new(self.config.marks_every),
            tick_at: begun,
            save_at: begun + SAVE_EVERY,
        };
        let batch = office.store.begin().map_err(|error| told(&error))?;
        batch.set_settings(&self.config.text()).map_err(|error| told(&error))?;
        // States that were made with other settings are of no use to who verifies.
        office.desk.save(&batch, usize::MAX).map_err(|error| told(&error))?;
        batch.commit().map_err(|error| told(&error))?;
        self.stats.set_open();
        Ok(office)
    }

    /// Takes a part of what is new, in one transaction. Whether there was anything.
    fn take(&self, office: &mut Office, is_ending: bool) -> Result<bool, String> {
        let (now, now_ms) = (Instant::now(), self.clock.now().wall_ms);
        let Office { store, desk, follower, placed, window, is_caught_up, tick_at, save_at } = office;
        let batch = store.begin().map_err(|error| told(&error))?;
        let (before, mut newest_ms, mut failed, mut is_of_use) = (follower.position(), None, Ok(()), false);
        if desk.posts_waiting() < POSTS_MAX || !*is_caught_up {
            let missed = follower.read(|event| {
                if failed.is_ok() {
                    newest_ms = Some(event.ts_ms);
                    let taken = take_event(desk, window, &batch, &event, now_ms, &self.mark_rooms);
                    failed = taken.map(|is_taken| is_of_use |= is_taken);
                }
            });
            let missed = missed.map_err(|error| format!("the journal cannot be read: {error}"))?;
            self.tell_missed(missed.segments, missed.bytes);
        }
        failed.map_err(|error| told(&error))?;
        let has_read = follower.position() != before;
        let is_behind = follower.is_behind();
        // Time is no further than what was read, or days would be over whose fills are yet to come; prices of now wait likewise.
        let time_ms = if is_behind { newest_ms } else { Some(now_ms) };
        time_ms.inspect(|time_ms| self.stats.lag_ms.set(now_ms.saturating_sub(*time_ms)));
        let mut marks = 0;
        for mark in std::iter::from_fn(|| self.marks.pop()).take(if *is_caught_up { MARKS_PER_TURN } else { 0 }) {
            let envelope = Envelope { room: &mark.room, event_id: None, ts_ms: mark.ts_ms };
            marks += 1;
            put_mark(desk, window, envelope, &mark.data, &self.mark_rooms);
        }
        for mark in window.due(now) {
            desk.mark(&batch, &mark, now_ms).map_err(|error| told(&error))?;
        }
        let is_tick = now >= *tick_at;
        if is_tick {
            desk.tick(&batch, time_ms.unwrap_or_default()).map_err(|error| told(&error))?;
            *tick_at = now + TICK_EVERY;
            let (accounts, bytes) = desk.size();
            self.stats.accounts.set(accounts);
            self.stats.accounts_bytes.set(bytes);
        }
        if !is_behind && !*is_caught_up {
            // With a tick of now, what time alone raises was raised for the first time too.
            desk.tick(&batch, now_ms).map_err(|error| told(&error))?;
            desk.is_caught_up();
            *is_caught_up = true;
        }
        // What is of no use may be read again; so it is not written down each time that it was read.
        if follower.position() != *placed && (is_of_use || is_tick || is_ending) {
            *placed = follower.position();
            batch.set_place(*placed).map_err(|error| told(&error))?;
        }
        let is_due = now >= *save_at;
        desk.save(&batch, if is_due { SAVES_PER_TURN } else { 0 }).map_err(|error| told(&error))?;
        if is_due && !desk.is_saving() {
            *save_at = now + SAVE_EVERY;
        }
        if is_ending {
            // What is left of a round, and then another one.
            desk.save(&batch, usize::MAX).and_then(|()| desk.save(&batch, usize::MAX)).map_err(|error| told(&error))?;
        }
        batch.commit().map_err(|error| told(&error))?;
        self.stats.behind_bytes.set(follower.behind_bytes());
        self.stats.conflated.set(window.conflated());
        Ok(has_read || marks > 0)
    }

    fn tell_missed(&self, segments: u32, bytes: u64) {
        if segments == 0 && bytes == 0 {
            return;
        }
        self.stats.missed.add(u64::from(segments));
        tracing::error!(
            event = "analytics_missed",
            segments,
            bytes,
            "a part of the journal was gone, or damaged, before its fills were read: the numbers lack them; keep more (--journal-bytes), and publish them again"
        );
    }

    /// Tells the log what has changed, and the watch how it is.
    fn tell(&self, fault: Option<&String>, told: &mut Option<String>) {
        self.stats.set_failing(fault.is_some());
        match (fault, &told) {
            (Some(fault), None) => tracing::error!(event = "analytics_failing", "{fault}; it is tried again"),
            (None, Some(_)) => tracing::info!(event = "analytics_recovered", "numbers are kept and published again"),
            _ => return,
        }
        *told = fault.cloned();
    }

    fn sleep(&self, office: Option<&Office>) {
        self.door.arm();
        let is_idle = self.marks.is_empty() && office.is_none_or(|office| !office.follower.is_behind());
        if is_idle && !self.stop.load(Ordering::Relaxed) {
            let until = [office.and_then(|office| office.window.next()), self.outlet.rest_until()].into_iter().flatten().min();
            let left = until.map_or(TICK_EVERY, |until| until.saturating_duration_since(Instant::now()));
            std::thread::park_timeout(left.min(TICK_EVERY));
        }
        self.door.disarm();
    }
}

/// Takes an event of the journal. Whether it was of use.
fn take_event(
    desk: &mut Desk,
    window: &mut Window,
    batch: &Batch<'_>,
    event: &Followed<'_>,
    now_ms: u64,
    mark_rooms: &[String],
) -> rusqlite::Result<bool> {
    match desk.kind_of(event.kind()) {
        Some(InputKind::Mark) => {
            let envelope = Envelope { room: event.room, event_id: None, ts_ms: event.ts_ms };
            put_mark(desk, window, envelope, event.data(), mark_rooms);
            Ok(true)
        }
        Some(kind) => desk.take(batch, kind, event, now_ms).map(|()| true),
        None => desk.is_in_journal(batch, event),
    }
}

/// Puts a mark where it waits for its turn. The log alone is told of one that cannot be read: who publishes it does so for others too. One that was
/// published in another room than its symbol's does not count: who may publish there may not set this price.
fn put_mark(desk: &mut Desk, window: &mut Window, envelope: Envelope<'_>, data: &str, rooms: &[String]) {
    match fields::read(InputKind::Mark, envelope, data) {
        Ok(mark) if !mark.symbol.as_deref().is_some_and(|symbol| is_room_of(rooms, envelope.room, symbol)) => {
            desk.refuse_mark(envelope.room, "it is not the room of that symbol: publish prices where the catalog puts them");
        }
        Ok(mark) if mark.symbol.as_deref().is_some_and(|symbol| desk.is_traded(symbol)) => window.put(mark, Instant::now()),
        Ok(_) => {}
        Err(message) => desk.refuse_mark(envelope.room, &message),
    }
}

fn is_room_of(rooms: &[String], room: &str, symbol: &str) -> bool {
    rooms.iter().filter_map(|prefix| room.strip_prefix(&**prefix)).any(|rest| lines::decode(rest) == symbol)
}

fn told(error: &rusqlite::Error) -> String {
    if is_damage(error) {
        return format!(
            "{FILE}: {error}: stop the daemon and put a copy in its place; without one, take it away, and numbers are made of the journal's fills alone"
        );
    }
    format!("{FILE}: {error}")
}

/// Refused inputs in the log: so many in a second, and how many others there were.
#[derive(Default)]
struct Unlogged {
    since: Option<Instant>,
    logged: usize,
    others: usize,
}

impl Unlogged {
    fn tell(&mut self, refusals: Vec<String>, now: Instant) {
        if refusals.is_empty() {
            return;
        }
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.logged) = (Some(now), 0);
        }
        for refusal in refusals {
            if self.logged >= LOGGED_PER_SECOND {
                self.others += 1;
                continue;
            }
            self.logged += 1;
            let unlogged = std::mem::take(&mut self.others);
            tracing::warn!(event = "analytics_refused", unlogged, "{refusal}; it does not count");
        }
    }
}
