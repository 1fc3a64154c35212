//! The thread that reads the feeds of all shards, by one blocking read, and gives the hub what they bring.
//!
//! A feed's places are numbered without holes: one that is missing was let go before it was read here. Then, and whenever a shard has another
//! epoch than the one that was read, the shard is read anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use crate::hub::acks::ACKS_ROOM;
use crate::hub::journal::Epoch;
use crate::hub::store::{EPOCHS_PER_SHARD, Fed, News, SHARDS, shard_of};
use crate::net::clock::Clock;
use crate::net::link::Door;

use super::client::{Begin, Client, Failure, nonsense};
use super::layout::{Keys, REVOCATIONS};
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
    /// By shard: the last place that was read.
    places: Vec<u64>,
    /// By shard: the epoch that was read, in its own count.
    epochs: Vec<u32>,
    feeds: Vec<String>,
    /// The last revocation that was read.
    revoked: String,
    on_revocation: OnRevocation,
    looked: Instant,
}

/// Takes a revocation, as JSON, that some node was told of.
pub type OnRevocation = Box<dyn Fn(&str) + Send>;

impl Reader {
    /// A thread's work. The node has begun with that.
    pub fn new(shared: Shared, door: Arc<Door>, clock: Clock, begin: &Begin, on_revocation: OnRevocation) -> Reader {
        let shards = &begin.shards;
        let feeds = (0..SHARDS).map(|shard| Keys::new(shard).feed()).collect();
        let epochs = shards.iter().map(|shard| epoch_of(&shard.epochs)).collect();
        let places = shards.iter().map(|shard| shard.place).collect();
        Reader { shared, door, clock, places, epochs, feeds, revoked: begin.revoked.clone(), on_revocation, looked: Instant::now() }
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
                let client = none.insert(self.shared.server.connect()?);
                self.take_up(client)?;
                client
            }
        };
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look(client)?;
        }
        let answers = client.ask(&[self.read()])?;
        let Value::Array(streams) = &answers[0] else { return Ok(()) };
        for stream in streams {
            let Some([key, entries]) = calls::array(stream) else { return Err(nonsense()) };
            let key = calls::text(key).ok_or_else(nonsense)?;
            match self.feeds.iter().position(|feed| feed == key) {
                Some(shard) => self.take(client, shard as u16, &calls::entries(entries).ok_or_else(nonsense)?)?,
                None => self.take_revocations(entries)?,
            }
        }
        Ok(())
    }

    /// On a new connection: what has another epoch, or lost a part of its feed, is read anew.
    fn take_up(&mut self, client: &mut Client) -> Result<(), Failure> {
        for shard in 0..SHARDS {
            let (epochs, place) = &client.welcome[usize::from(shard)];
            let epoch = epoch_of(epochs);
            if epoch != self.epochs[usize::from(shard)] || *place < self.places[usize::from(shard)] {
                self.epochs[usize::from(shard)] = epoch;
                self.resync(client, shard)?;
            }
        }
        Ok(())
    }

    /// Redis may be another one behind the same connection, or have lost what it had.
    fn look(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.looked = Instant::now();
        let look = |shard| {
            let mut cmd = redis::cmd("HGET");
            cmd.arg(Keys::new(shard).meta()).arg("epoch");
            cmd
        };
        let cmds: Vec<Cmd> = (0..SHARDS).map(look).collect();
        for (answer, epoch) in client.ask(&cmds)?.iter().zip(&self.epochs) {
            if calls::text(answer).and_then(|text| text.parse().ok()) != Some(*epoch) {
                return Err(Failure("another epoch has begun".to_owned())); // the next connection reads it
            }
        }
        Ok(())
    }

    fn read(&self) -> Cmd {
        let mut cmd = redis::cmd("XREAD");
        cmd.arg("COUNT").arg(EVENTS_PER_READ).arg("BLOCK").arg(WAIT_MS).arg("STREAMS").arg(&self.feeds).arg(REVOCATIONS);
        for place in &self.places {
            cmd.arg(format!("{place}-0"));
        }
        cmd.arg(&self.revoked);
        cmd
    }

    fn take_revocations(&mut self, entries: &Value) -> Result<(), Failure> {
        let (revocations, last) = calls::revoked(entries).ok_or_else(nonsense)?;
        for json in revocations {
            (self.on_revocation)(json);
        }
        last.unwrap_or("0-0").clone_into(&mut self.revoked);
        Ok(())
    }

    fn take(&mut self, client: &mut Client, shard: u16, entries: &[(u64, &str)]) -> Result<(), Failure> {
        let heard = self.clock.mono();
        let last = self.places[usize::from(shard)];
        if entries.first().is_some_and(|(place, _)| *place != last + 1) {
            // What was missed there may be about any room.
            let shards = if shard == shard_of(ACKS_ROOM) { 0..SHARDS } else { shard..shard + 1 };
            return shards.into_iter().try_for_each(|shard| self.resync(client, shard));
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
        self.places[usize::from(shard)] = entries.last().map_or(last, |(place, _)| *place);
        self.shared.stats.fed.add(fed.len() as u64);
        self.shared.tell(News::Fed(fed), &self.door);
        Ok(())
    }

    fn resync(&mut self, client: &mut Client, number: u16) -> Result<(), Failure> {
        let shard = client.shard(number)?;
        tracing::warn!(
            event = "shard_read_anew",
            shard = number,
            rooms = shard.rooms.len(),
            "something of its feed was missed, or another epoch has begun"
        );
        self.shared.stats.resyncs.inc();
        self.places[usize::from(number)] = shard.place;
        self.shared.tell(News::Shard(Box::new(shard)), &self.door);
        Ok(())
    }
}

/// The present one, in the shard's own count.
fn epoch_of(epochs: &[Epoch]) -> u32 {
    epochs.last().map_or(0, |epoch| epoch.number % EPOCHS_PER_SHARD)
}
