//! The thread that reads the feeds of all shards, by one blocking read, and gives the hub what they bring. In a cluster, where no command may be
//! about keys of several servers, there is one for each shard.
//!
//! A feed's places are numbered without holes: one that is missing was let go before it was read here. Then, and whenever a shard has another
//! epoch than the one that was read, the shard is read anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use crate::hub::acks::ACKS_ROOM;
use crate::hub::journal::Epoch;
use crate::hub::store::{EPOCHS_PER_SHARD, Fed, News, Shard, shard_of};
use crate::net::clock::Clock;
use crate::net::link::Door;

use super::client::{Begin, Client, Failure, nonsense};
use super::layout::{Keys, REVOCATIONS, REVOCATIONS_SHARD};
use super::{Shared, calls, record};

/// How long a read waits for something to come.
const WAIT_MS: u64 = 500;
/// Events of each shard in one read.
const EVENTS_PER_READ: usize = 256;
/// How often the epochs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon a failure is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// What the thread owns or shares.
pub struct Reader {
    shared: Shared,
    door: Arc<Door>,
    clock: Clock,
    feeds: Vec<Feed>,
    /// If they are read here: who takes them, and the last one that was read.
    revocations: Option<(OnRevocation, String)>,
    looked: Instant,
}

/// Of one shard.
struct Feed {
    shard: u16,
    key: String,
    /// The last place that was read.
    place: u64,
    /// The epoch that was read, in the shard's own count.
    epoch: u32,
}

/// Takes a revocation, as JSON, that some node was told of.
pub type OnRevocation = Box<dyn Fn(&str) + Send>;

impl Reader {
    /// A thread's work: the feeds of these shards. The node has begun with that. Revocations come with one of the shards.
    pub fn new(
        shared: Shared,
        door: Arc<Door>,
        clock: Clock,
        begin: &Begin,
        part: &[u16],
        on_revocation: &mut Option<OnRevocation>,
    ) -> Reader {
        let feed = |shard: &Shard| Feed {
            shard: shard.number,
            key: Keys::new(shard.number).feed(),
            place: shard.place,
            epoch: epoch_of(&shard.epochs),
        };
        let feeds = begin.shards.iter().filter(|shard| part.contains(&shard.number)).map(feed).collect();
        let on_revocation = if part.contains(&REVOCATIONS_SHARD) { on_revocation.take() } else { None };
        let revocations = on_revocation.map(|on_revocation| (on_revocation, begin.revoked.clone()));
        Reader { shared, door, clock, feeds, revocations, looked: Instant::now() }
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        let (mut client, mut is_told) = (None, false);
        while !self.shared.is_ending() {
            self.door.turn();
            match self.turn(&mut client) {
                Ok(()) if std::mem::take(&mut is_told) => tracing::info!(event = "feed_back", "what other nodes publish comes again"),
                Ok(()) => {}
                Err(failure) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(event = "feed_failed", %failure, "nothing that is published comes from Redis; it is tried again");
                    }
                    client = None;
                    std::thread::park_timeout(RETRY);
                }
            }
        }
    }

    fn turn(&mut self, client: &mut Option<Client>) -> Result<(), Failure> {
        let client = match client {
            Some(client) => client,
            none => {
                let shards: Vec<u16> = self.feeds.iter().map(|feed| feed.shard).collect();
                let client = none.insert(self.shared.server.connect(&shards)?);
                self.take_up(client)?;
                client
            }
        };
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look(client)?;
        }
        let anew = (0..self.feeds.len()).filter(|at| self.shared.anew[usize::from(self.feeds[*at].shard)].swap(false, Ordering::Relaxed));
        anew.collect::<Vec<_>>().into_iter().try_for_each(|at| self.resync(client, at))?;
        let answers = client.ask(self.feeds[0].shard, &[self.read()])?;
        let Value::Array(streams) = &answers[0] else { return Ok(()) };
        for stream in streams {
            let Some([key, entries]) = calls::array(stream) else { return Err(nonsense()) };
            let key = calls::text(key).ok_or_else(nonsense)?;
            match self.feeds.iter().position(|feed| feed.key == key) {
                Some(at) => self.take(client, at, &calls::entries(entries).ok_or_else(nonsense)?)?,
                None => self.take_revocations(entries)?,
            }
        }
        Ok(())
    }

    /// On a new connection: what has another epoch, or lost a part of its feed, is read anew.
    fn take_up(&mut self, client: &mut Client) -> Result<(), Failure> {
        for at in 0..self.feeds.len() {
            let feed = &mut self.feeds[at];
            let (epochs, place) = &client.welcome[&feed.shard];
            let epoch = epoch_of(epochs);
            if epoch != feed.epoch || *place < feed.place {
                feed.epoch = epoch;
                self.resync(client, at)?;
            }
        }
        Ok(())
    }

    /// Redis may be another one behind the same connection, or have lost what it had.
    fn look(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.looked = Instant::now();
        let look = |feed: &Feed| {
            let mut cmd = redis::cmd("HGET");
            cmd.arg(Keys::new(feed.shard).meta()).arg("epoch");
            (feed.shard, cmd)
        };
        let cmds: Vec<(u16, Cmd)> = self.feeds.iter().map(look).collect();
        for (answer, feed) in client.ask_each(&cmds)?.iter().zip(&self.feeds) {
            if calls::text(answer).and_then(|text| text.parse().ok()) != Some(feed.epoch) {
                return Err(Failure("another epoch has begun".to_owned())); // the next connection reads it
            }
        }
        Ok(())
    }

    fn read(&self) -> Cmd {
        let mut cmd = redis::cmd("XREAD");
        cmd.arg("COUNT").arg(EVENTS_PER_READ).arg("BLOCK").arg(WAIT_MS).arg("STREAMS");
        cmd.arg(self.feeds.iter().map(|feed| &feed.key).collect::<Vec<_>>());
        cmd.arg(self.revocations.iter().map(|_| REVOCATIONS).collect::<Vec<_>>());
        cmd.arg(self.feeds.iter().map(|feed| format!("{}-0", feed.place)).collect::<Vec<_>>());
        cmd.arg(self.revocations.iter().map(|(_, last)| last).collect::<Vec<_>>());
        cmd
    }

    fn take_revocations(&mut self, entries: &Value) -> Result<(), Failure> {
        let (revocations, newest) = calls::revoked(entries).ok_or_else(nonsense)?;
        let Some((on_revocation, last)) = &mut self.revocations else { return Err(nonsense()) };
        for json in revocations {
            on_revocation(json);
        }
        newest.unwrap_or("0-0").clone_into(last);
        Ok(())
    }

    fn take(&mut self, client: &mut Client, at: usize, entries: &[(u64, &str)]) -> Result<(), Failure> {
        let heard = self.clock.mono();
        let Feed { shard, place: last, .. } = self.feeds[at];
        if entries.first().is_some_and(|(place, _)| *place != last + 1) {
            if shard == shard_of(ACKS_ROOM) {
                // What was missed there may be about any room.
                self.shared.anew.iter().for_each(|anew| anew.store(true, Ordering::Relaxed));
                return Ok(());
            }
            return self.resync(client, at);
        }
        // What is none of ours is left out: if it was an event, its number is missing, and members get a `gap`.
        let fed = |(place, text): &(u64, &str)| {
            let fed = record::fed(shard, *place, text, self.shared.server.node, heard);
            if fed.is_none() {
                tracing::error!(event = "feed_entry_not_understood", shard, place, "something in a feed is no event of this version");
            }
            fed
        };
        let fed: Vec<Fed> = entries.iter().filter_map(fed).collect();
        self.feeds[at].place = entries.last().map_or(last, |(place, _)| *place);
        self.shared.stats.fed.add(fed.len() as u64);
        self.shared.tell(News::Fed(fed), &self.door);
        Ok(())
    }

    fn resync(&mut self, client: &mut Client, at: usize) -> Result<(), Failure> {
        let feed = &mut self.feeds[at];
        let shard = client.shard(feed.shard)?;
        tracing::warn!(
            event = "shard_read_anew",
            shard = shard.number,
            rooms = shard.rooms.len(),
            "something of its feed was missed, or another epoch has begun"
        );
        self.shared.stats.resyncs.inc();
        feed.place = shard.place;
        self.shared.tell(News::Shard(Box::new(shard)), &self.door);
        Ok(())
    }
}

/// The present one, in the shard's own count.
fn epoch_of(epochs: &[Epoch]) -> u32 {
    epochs.last().map_or(0, |epoch| epoch.number % EPOCHS_PER_SHARD)
}
