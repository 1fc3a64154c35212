//! The thread that reads past events for those who come back, on a connection of its own: feed and publishers do not wait for it.

use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::{REPLAY_PART_BYTES, REPLAY_PART_EVENTS};
use crate::hub::journal::{Fetch, Fetched};
use crate::hub::store::{News, past_event, shard_of};
use crate::net::link::{Door, Link};
use crate::wire::frame::Frame;

use super::client::{Client, Failure, nonsense};
use super::layout::Keys;
use super::{Shared, calls, record};

/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How soon a failure is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// What the thread owns or shares.
pub struct Fetcher {
    shared: Shared,
    inbox: Arc<Link<Fetch>>,
    door: Arc<Door>,
}

impl Fetcher {
    /// A thread's work. `inbox` leads to `door`.
    pub fn new(shared: Shared, inbox: Arc<Link<Fetch>>, door: Arc<Door>) -> Fetcher {
        Fetcher { shared, inbox, door }
    }

    /// Runs until told to stop.
    pub fn run(self) {
        let mut client = None;
        while !self.shared.is_ending() {
            self.door.turn();
            while let Some(fetch) = self.inbox.pop() {
                self.door.turn();
                let news = match self.fetch(&mut client, &fetch) {
                    Ok(frames) => News::Fetched(Box::new(Fetched { fetch, frames })),
                    Err(failure) => {
                        tracing::debug!(event = "fetch_failed", %failure, "it is tried again");
                        client = None;
                        std::thread::park_timeout(RETRY);
                        News::NotFetched(fetch)
                    }
                };
                self.shared.tell(news, &self.door);
            }
            self.door.arm();
            if self.inbox.is_empty() && !self.shared.is_ending() {
                std::thread::park_timeout(SLEEP_MAX);
            }
            self.door.disarm();
        }
    }

    fn fetch(&self, client: &mut Option<Client>, fetch: &Fetch) -> Result<Vec<Arc<Frame>>, Failure> {
        let client = match client {
            Some(client) => client,
            none => none.insert(self.shared.server.connect_all()?),
        };
        let shard = shard_of(&fetch.room);
        let log = Keys::new(shard).log(fetch.lane, &fetch.room);
        let mut range = redis::cmd("XRANGE");
        range.arg(log).arg(format!("{}-0", fetch.from)).arg(format!("{}-0", fetch.to)).arg("COUNT").arg(REPLAY_PART_EVENTS);
        let answers = client.ask(shard, &[range])?;
        let (mut frames, mut bytes) = (Vec::new(), 0);
        for (seq, text) in calls::entries(&answers[0]).ok_or_else(nonsense)? {
            if bytes >= REPLAY_PART_BYTES {
                break;
            }
            let body = record::body(text).ok_or_else(nonsense)?;
            let frame = past_event(fetch.id, seq, body.ts_ms, &body.event);
            bytes += frame.as_websocket().len();
            frames.push(frame);
        }
        Ok(frames)
    }
}
