//! The thread that publishes what backends put into streams of a Redis (`XADD`), as if they had used the publish socket.
//!
//! A stream is read by a consumer group, by one node at a time, which holds a lease on it: so the order of the stream is the order of the events. An
//! entry is acknowledged once the event is safe, and one that is none is set aside in `STREAM:refused` first. After a crash, whoever gets the
//! lease begins with what was read and not acknowledged; what of that was published is known by its `event_id`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::{Cmd, Connection, Value};

use crate::net::link::Door;

use super::calls;
use super::client::{Failure, Server, ask, nonsense};
use super::entries::{FIELD, Fate, Fields, Refused, line};
use super::layout;
use super::publisher::{Publish, Publisher};
use super::stats::IngestStats;

/// The consumer group, and the one consumer in it.
const GROUP: &str = "tickerd";
/// Entries read at a time. After a failure, which may be for their length, fewer.
const ENTRIES_PER_READ: usize = 256;
/// How long an answer may take: entries may be long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for something to come.
const WAIT_MS: u64 = 250;
/// How long a lease holds: after a crash, the next node begins that much later.
const LEASE: Duration = Duration::from_secs(5);
/// When it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// A lease that is older is held for lost here: the store's clock may be a little ahead.
const LEASE_TRUSTED: Duration = Duration::from_secs(4);
/// Entries kept in the stream of those that were set aside, about.
const REFUSED_MAX: usize = 10_000;
/// How soon a failure is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// An entry that may be published later is tried again no later than that.
const LATER_MAX: Duration = Duration::from_secs(1);

/// What the thread owns or shares.
pub struct Ingest {
    /// Where the streams are.
    pub server: Server,
    /// Their names; in a cluster, one.
    pub streams: Vec<String>,
    /// Rung once a second by who watches the threads.
    pub door: Arc<Door>,
    /// Set, and the door rung, when the thread shall end.
    pub stop: Arc<AtomicBool>,
    /// The figures.
    pub stats: Arc<IngestStats>,
    /// The way in.
    pub publish: Publish,
}

/// A stream on this connection.
struct Stream {
    name: String,
    /// When the lease that is held was asked for.
    leased: Option<Instant>,
    /// What was read by whoever had the lease, and not acknowledged, has been dealt with.
    is_caught_up: bool,
}

/// What a connection to Redis has.
struct Session {
    redis: Connection,
    streams: Vec<Stream>,
    renewed: Option<Instant>,
}

struct Entry {
    id: String,
    fields: Fields,
}

impl Ingest {
    /// Runs until told to stop. What it has read by then is published, or left for whoever gets the lease.
    pub fn run(self) {
        let (mut session, mut publisher, mut is_told) = (None, None, false);
        // The group, if it is new, begins with what comes from now on. One that is gone later, with all of Redis, begins anew.
        let (mut begin, mut count) = ("$", ENTRIES_PER_READ);
        while !self.is_ending() {
            self.door.turn();
            match self.turn((begin, count), &mut session, &mut publisher) {
                Ok(()) => {
                    if std::mem::take(&mut is_told) {
                        tracing::info!(event = "ingest_back", "the streams can be read again");
                    }
                    self.stats.failing.store(false, Ordering::Relaxed);
                    begin = "0";
                    count = (count * 2).min(ENTRIES_PER_READ);
                }
                Err(failure) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(event = "ingest_failed", %failure, "nothing is taken from the streams of --ingest-stream; it is tried again");
                    }
                    self.stats.failing.store(true, Ordering::Relaxed);
                    (session, publisher) = (None, None);
                    count = (count / 16).max(1);
                    self.stats.leases.set(0);
                    self.rest(RETRY);
                }
            }
        }
        if let Some(session) = &mut session {
            self.release(session);
        }
    }

    fn is_ending(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps that long, whoever rings.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero() && !self.is_ending()) {
            std::thread::park_timeout(left);
            self.door.turn();
        }
    }

    fn turn(&self, (begin, count): (&str, usize), session: &mut Option<Session>, publisher: &mut Option<Publisher>) -> Result<(), Failure> {
        let session = match session {
            Some(session) => session,
            none => none.insert(self.connect(begin)?),
        };
        self.renew(session)?;
        if !session.streams.iter().any(Stream::is_held) {
            self.rest(RENEW_EVERY);
            return Ok(());
        }
        let answers = ask(&mut session.redis, &[read(&session.streams, count)])?;
        let Value::Array(streams) = &answers[0] else { return Ok(()) };
        for answer in streams {
            let Some([name, entries]) = calls::array(answer) else { return Err(nonsense()) };
            let name = calls::text(name).ok_or_else(nonsense)?;
            let at = session.streams.iter().position(|stream| stream.name == name).ok_or_else(nonsense)?;
            let entries = calls::array(entries).ok_or_else(nonsense)?;
            // Of what was read before, there is nothing left.
            session.streams[at].is_caught_up |= entries.is_empty();
            let entries = entries.iter().map(entry).collect::<Option<Vec<_>>>().ok_or_else(nonsense)?;
            self.take(session, at, &entries, publisher)?;
        }
        Ok(())
    }

    fn connect(&self, begin: &str) -> Result<Session, Failure> {
        let mut redis = self.server.plain(&self.streams[0])?;
        redis.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        for name in &self.streams {
            let mut group = redis::cmd("XGROUP");
            group.arg("CREATE").arg(name).arg(GROUP).arg(begin).arg("MKSTREAM");
            match ask(&mut redis, &[group]) {
                Err(Failure(message)) if !message.starts_with("BUSYGROUP") => return Err(Failure(format!("stream {name}: {message}"))),
                _ => {}
            }
        }
        let streams = self.streams.iter().map(|name| Stream { name: name.clone(), leased: None, is_caught_up: false }).collect();
        Ok(Session { redis, streams, renewed: None })
    }

    /// Asks for the leases, once a second. One that was not ours before may have been another's.
    fn renew(&self, session: &mut Session) -> Result<(), Failure> {
        let asked = Instant::now();
        if session.renewed.is_some_and(|at| asked.duration_since(at) < RENEW_EVERY) {
            return Ok(());
        }
        let calls: Vec<Cmd> = session.streams.iter().map(|stream| self.lease(calls::LEASE, &stream.name)).collect();
        for (stream, answer) in session.streams.iter_mut().zip(ask(&mut session.redis, &calls)?) {
            let was_held = stream.is_held();
            stream.leased = (answer == Value::Int(1)).then_some(asked);
            if stream.is_held() && !was_held {
                stream.is_caught_up = false;
                if self.stats.failing.load(Ordering::Relaxed) {
                    continue; // `ingest_back` will tell
                }
                tracing::info!(event = "ingest_begun", stream = stream.name, "this node publishes what comes by the stream");
            }
        }
        session.renewed = Some(asked);
        self.stats.leases.set(session.streams.iter().filter(|stream| stream.is_held()).count() as u64);
        Ok(())
    }

    /// Lets another node begin at once.
    fn release(&self, session: &mut Session) {
        let calls: Vec<Cmd> =
            session.streams.iter().filter(|stream| stream.is_held()).map(|stream| self.lease(calls::RELEASE, &stream.name)).collect();
        if let Err(failure) = ask(&mut session.redis, &calls) {
            tracing::debug!(event = "ingest_not_released", %failure, "the leases end by themselves");
        }
    }

    fn lease(&self, script: &str, stream: &str) -> Cmd {
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(script).arg(1).arg(layout::lease(stream)).arg(format!("{:x}", self.server.node)).arg(LEASE.as_millis() as u64);
        cmd
    }

    /// Publishes entries, and acknowledges them, in their order.
    fn take(&self, session: &mut Session, at: usize, entries: &[Entry], publisher: &mut Option<Publisher>) -> Result<(), Failure> {
        let mut done = Vec::new();
        let mut left: Vec<(&str, Vec<u8>)> = Vec::new();
        for entry in entries {
            match line(&session.streams[at].name, &entry.id, &entry.fields) {
                Ok(line) => left.push((&entry.id, line)),
                Err(refused) => done.push((entry.id.as_str(), Some(refused))),
            }
        }
        while !left.is_empty() {
            self.door.turn();
            self.renew(session)?;
            // Another node may be at it: it begins with what is not acknowledged.
            if !session.streams[at].is_held() || self.is_ending() {
                break;
            }
            let later = self.publish(&mut left, &mut done, publisher)?;
            if let Some(later) = later {
                self.stats.retried.add(left.len() as u64);
                self.rest(later.min(LATER_MAX));
            }
        }
        self.settle(session, at, &done)
    }

    /// Publishes lines. Those that are dealt with go over to `done`; for the others it says when they may be tried again.
    fn publish<'a>(
        &self,
        left: &mut Vec<(&'a str, Vec<u8>)>,
        done: &mut Vec<(&'a str, Option<Refused>)>,
        publisher: &mut Option<Publisher>,
    ) -> Result<Option<Duration>, Failure> {
        let fates = {
            let publisher = match publisher {
                Some(publisher) => publisher,
                none => none.insert(Publisher::new(&self.publish).map_err(|error| failed(&error))?),
            };
            publisher.publish(left.iter().map(|(_, line)| line.as_slice())).map_err(|error| failed(&error))?
        };
        let mut later = None;
        for ((id, line), fate) in std::mem::take(left).into_iter().zip(fates) {
            match fate {
                Fate::Taken => done.push((id, None)),
                Fate::Refused(refused) => done.push((id, Some(refused))),
                Fate::Later(after) => {
                    later = later.max(Some(after));
                    left.push((id, line));
                }
            }
        }
        Ok(later)
    }

    /// Acknowledges what is done, what was refused being set aside before.
    fn settle(&self, session: &mut Session, at: usize, done: &[(&str, Option<Refused>)]) -> Result<(), Failure> {
        let name = &session.streams[at].name;
        let refused_to = layout::refused(name, self.server.is_cluster());
        let mut cmds = Vec::new();
        for (id, refused) in done {
            let Some(Refused { code, message }) = refused else { continue };
            tracing::warn!(event = "ingest_refused", stream = name, id, code, "{message}");
            cmds.push(set_aside(name, &refused_to, id, *code, message));
        }
        let refused = cmds.len() as u64;
        if !done.is_empty() {
            let ids: Vec<&str> = done.iter().map(|(id, _)| *id).collect();
            let mut ack = redis::cmd("XACK");
            ack.arg(name).arg(GROUP).arg(ids);
            cmds.push(ack);
        }
        ask(&mut session.redis, &cmds)?;
        self.stats.refused.add(refused);
        self.stats.accepted.add(done.len() as u64 - refused);
        Ok(())
    }
}

impl Stream {
    fn is_held(&self) -> bool {
        self.leased.is_some_and(|at| at.elapsed() < LEASE_TRUSTED)
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure(format!("the daemon itself does not take what is published: {error}"))
}

/// What is new, and of a stream whose lease was just got, what was read before and not acknowledged.
fn read(streams: &[Stream], count: usize) -> Cmd {
    let held: Vec<&Stream> = streams.iter().filter(|stream| stream.is_held()).collect();
    let names: Vec<&str> = held.iter().map(|stream| stream.name.as_str()).collect();
    let from: Vec<&str> = held.iter().map(|stream| if stream.is_caught_up { ">" } else { "0" }).collect();
    let mut cmd = redis::cmd("XREADGROUP");
    cmd.arg("GROUP").arg(GROUP).arg(GROUP).arg("COUNT").arg(count).arg("BLOCK").arg(WAIT_MS).arg("STREAMS").arg(names).arg(from);
    cmd
}

fn entry(value: &Value) -> Option<Entry> {
    let [id, fields] = calls::array(value)? else { return None };
    let id = calls::text(id)?.to_owned();
    let Some(fields) = calls::array(fields) else { return Some(Entry { id, fields: Fields::Trimmed }) };
    let event = fields.chunks_exact(2).find(|pair| calls::text(&pair[0]) == Some(FIELD)).and_then(|pair| match &pair[1] {
        Value::BulkString(bytes) => Some(bytes.clone()),
        _ => None,
    });
    Some(Entry { id, fields: event.map_or(Fields::NoEvent, Fields::Event) })
}

/// Copies an entry to where operators look for what was refused. A script does it, so that the entry's bytes need not travel.
fn set_aside(stream: &str, refused_to: &str, id: &str, code: u16, message: &str) -> Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(calls::SET_ASIDE).arg(2).arg(stream).arg(refused_to).arg(id).arg(REFUSED_MAX).arg(code).arg(message);
    cmd
}
