//! The demo's publisher: the desk's lines, pipelined over the daemon's publish socket, and the answers, read apart.
//!
//! Nothing is queued here: when the daemon stops reading, because too many lines are unanswered, the write waits.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use crate::base::counters::Counter;
use crate::base::lane::PerLane;
use crate::net::clock::Clock;

use super::desk::Desk;
use super::events::Line;

/// How often the desk moves.
const STEP: Duration = Duration::from_millis(2);

/// What was published, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Lines written, by lane.
    pub lanes: PerLane<Counter>,
    /// Answers that said no.
    pub refused: Counter,
    /// What the last of them said, or why the feed ended.
    pub last_words: Mutex<String>,
    /// The feed ended before it was told to.
    pub broken: AtomicBool,
}

/// The publisher's two threads.
#[derive(Debug)]
pub(super) struct Feed {
    /// Its figures.
    pub published: Arc<Published>,
    threads: [JoinHandle<()>; 2],
}

impl Feed {
    /// Connects and starts publishing.
    pub(super) fn start(path: &Path, desk: Desk, clock: Clock, stop: Arc<AtomicBool>) -> io::Result<Feed> {
        let socket = UnixStream::connect(path)?;
        let answers = BufReader::new(socket.try_clone()?);
        let published = Arc::new(Published::default());
        let (writing, reading) = (Arc::clone(&published), Arc::clone(&published));
        let reader = thread::Builder::new().name("demo-answers".to_owned()).spawn(move || {
            let read = read_answers(answers, &reading);
            reading.note(read.err(), "cannot read the daemon's answers");
        })?;
        let writer = thread::Builder::new().name("demo-desk".to_owned()).spawn(move || {
            let written = publish(&socket, desk, clock, &stop, &writing);
            writing.note(written.err(), "cannot publish");
        })?;
        Ok(Feed { published, threads: [writer, reader] })
    }

    /// Waits for the end of both; the demo must have been told to stop.
    pub(super) fn join(self) -> Result<(), String> {
        let ends = self.threads.map(JoinHandle::join);
        if ends.iter().all(Result::is_ok) { Ok(()) } else { Err("the demo's publisher panicked; its message is above".to_owned()) }
    }
}

impl Published {
    fn note(&self, error: Option<io::Error>, what: &str) {
        if let Some(error) = error {
            *self.last_words.lock() = format!("{what}: {error}");
            self.broken.store(true, Ordering::Relaxed);
        }
    }
}

fn publish(socket: &UnixStream, mut desk: Desk, clock: Clock, stop: &AtomicBool, published: &Published) -> io::Result<()> {
    let mut pipe = Pipe { socket, published, bytes: Vec::new() };
    let mut lines = Vec::new();
    let mut last = clock.mono();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(last.plus(STEP).since(clock.mono()));
        let now = clock.now();
        let elapsed = now.mono.since(last);
        last = now.mono;
        // What happens is published when it happens, and not once a batch of metrics has been made too.
        desk.trade(now, elapsed, &mut lines);
        pipe.write(&mut lines)?;
        desk.measure(clock.now(), elapsed, &mut lines);
        pipe.write(&mut lines)?;
    }
    socket.shutdown(Shutdown::Write)
}

struct Pipe<'a> {
    socket: &'a UnixStream,
    published: &'a Published,
    bytes: Vec<u8>,
}

impl Pipe<'_> {
    /// Writes and counts the lines in one go.
    fn write(&mut self, lines: &mut Vec<Line>) -> io::Result<()> {
        self.bytes.clear();
        for line in lines.iter() {
            self.bytes.extend_from_slice(line.text.as_bytes());
            self.bytes.push(b'\n');
        }
        self.socket.write_all(&self.bytes)?;
        lines.drain(..).for_each(|line| self.published.lanes[line.lane.index()].inc());
        Ok(())
    }
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    message: String,
}

fn read_answers(mut answers: impl BufRead, published: &Published) -> io::Result<()> {
    let mut line = Vec::new();
    while answers.read_until(b'\n', &mut line)? > 0 {
        // Twenty thousand a second say yes; only the others are worth parsing.
        if !line.starts_with(br#"{"ok":true"#) {
            published.refused.inc();
            let told = serde_json::from_slice(&line).map(|refused: Refused| format!("{}: {}", refused.name, refused.message));
            *published.last_words.lock() = told.unwrap_or_else(|_| String::from_utf8_lossy(&line).into_owned());
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lane::Lane;
    use crate::cli::demo::desk::DeskOptions;

    /// What is counted is what was written, and a refusal is told in the daemon's words.
    #[test]
    fn lines_go_out_and_refusals_come_back() {
        let (daemon, client) = UnixStream::pair().unwrap();
        let (stop, published) = (AtomicBool::new(false), Published::default());
        let desk = Desk::new(&DeskOptions { challenges: 2, metrics_per_second: 5_000, seed: 1 });
        thread::scope(|scope| {
            let writer = scope.spawn(|| publish(&client, desk, Clock::start(), &stop, &published));
            let mut lines = BufReader::new(&daemon).lines();
            for line in lines.by_ref().take(100) {
                let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                assert!(event["type"].is_string() && event["data"].is_object());
            }
            stop.store(true, Ordering::Relaxed);
            let read = 100 + lines.count() as u64;
            writer.join().unwrap().unwrap();
            assert_eq!(Lane::ALL.iter().map(|lane| published.lanes[lane.index()].value()).sum::<u64>(), read);
        });
        let answers =
            b"{\"ok\":true,\"seq\":1}\n{\"ok\":false,\"code\":201,\"name\":\"queue_full\",\"message\":\"later\"}\n{\"ok\":true}\n";
        read_answers(&answers[..], &published).unwrap();
        assert_eq!((published.refused.value(), &**published.last_words.lock()), (1, "queue_full: later"));
    }

    #[test]
    fn a_lost_daemon_is_told() {
        let (daemon, client) = UnixStream::pair().unwrap();
        drop(daemon);
        let desk = Desk::new(&DeskOptions { challenges: 1, metrics_per_second: 5_000, seed: 1 });
        let published = Published::default();
        let error = publish(&client, desk, Clock::start(), &AtomicBool::new(false), &published).unwrap_err();
        published.note(Some(error), "cannot publish");
        assert!(published.broken.load(Ordering::Relaxed) && published.last_words.lock().starts_with("cannot publish: "));
    }
}
