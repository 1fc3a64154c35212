//! Ingest from Redis: its thread, and the way by which it publishes.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bridge::Server;
use crate::bridge::ingest::Ingest;
use crate::bridge::publisher::Publish;
use crate::bridge::stats::IngestStats;
use crate::config::IngestConfig;
use crate::net::link::{Door, Link};
use crate::reactor::Control;

use super::bridge::access;
use super::seat::{Seat, Work};
use super::{controls, join, options};

/// How long a reactor that hangs is waited for.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(5);

/// The thread at work.
pub(super) struct IngestHandle {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    pub(super) door: Arc<Door>,
    pub(super) stats: Arc<IngestStats>,
}

impl IngestHandle {
    /// Starts the thread, which publishes by that reactor. A Redis that does not answer is waited for: this node serves without it.
    pub(super) fn start(config: &IngestConfig, reactor: Arc<Link<Control>>) -> Result<IngestHandle, String> {
        let server = Server::new(&config.redis.url, access(&config.redis)?, options::random()?)
            .map_err(|failure| format!("cannot use Redis at {}: {failure}", config.redis.url))?;
        let seat = Seat::start("ingest")?;
        let (door, stop, stats) = (Arc::clone(&seat.door), Arc::new(AtomicBool::new(false)), Arc::new(IngestStats::default()));
        let (streams, publish) = (config.streams.clone(), publisher(reactor, true)); // for the ids that it gives; what entries may not do it sees to
        let ingest = Ingest { server, streams, door: Arc::clone(&door), stop: Arc::clone(&stop), stats: Arc::clone(&stats), publish };
        Ok(IngestHandle { thread: seat.occupy(|_| ingest)?, stop, door, stats })
    }

    /// Ends the thread, and waits until what it has published is answered.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        join(self.thread);
    }
}

/// A pair of sockets, of which a reactor serves the one. `is_daemon`: what is published is the daemon's own.
pub(super) fn publisher(reactor: Arc<Link<Control>>, is_daemon: bool) -> Publish {
    Box::new(move || {
        let (own, its) = UnixStream::pair()?;
        let adopt = Control::Adopt { socket: Arc::new(OwnedFd::from(its)), is_daemon };
        if controls::tell(&reactor, adopt, Instant::now() + ADOPTION_PATIENCE) {
            return Ok(own);
        }
        Err(std::io::Error::other("a reactor does not come round"))
    })
}

impl Work for Ingest {
    const NICE: i32 = 0;

    fn run(self) {
        Ingest::run(self);
    }
}
