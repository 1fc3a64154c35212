//! How the analytics publish: events one after the other until the hub has each, then the newest states.

use std::time::{Duration, Instant};

use crate::bridge::publisher::{Fate, Publish, Publisher};
use crate::net::link::Door;

use super::desk::Desk;
use super::stats::AnalyticsStats;

/// Lines published before their answers are read.
const LINES_AT_ONCE: usize = 256;
/// Accounts whose states are published before inputs are looked for again.
const ACCOUNTS_PER_TURN: usize = 512;
/// How soon a failure is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// What the hub has no place for now is tried again no later than that.
const LATER_MAX: Duration = Duration::from_secs(1);

/// The way out, while it is good.
pub(super) struct Outlet {
    publish: Publish,
    publisher: Option<Publisher>,
    rest_until: Option<Instant>,
    fault: Option<String>,
}

impl Outlet {
    pub(super) fn new(publish: Publish) -> Outlet {
        Outlet { publish, publisher: None, rest_until: None, fault: None }
    }

    /// Until when nothing is published, because the last try failed.
    pub(super) fn rest_until(&self) -> Option<Instant> {
        self.rest_until
    }

    /// Why nothing can be published.
    pub(super) fn fault(&self) -> Option<&String> {
        self.fault.as_ref()
    }

    /// Publishes what there is. The names of events with which that is over.
    pub(super) fn publish(&mut self, desk: &mut Desk, stats: &AnalyticsStats, door: &Door) -> Vec<Box<str>> {
        let mut done = Vec::new();
        let now = Instant::now();
        if !desk.has_news() || self.rest_until.is_some_and(|until| now < until) {
            return done;
        }
        let later = self.posts(desk, stats, door, &mut done).and_then(|later| match later {
            None => self.states(desk, stats, door),
            later => Ok(later),
        });
        self.rest_until = match later {
            Ok(later) => {
                self.fault = None;
                later.map(|later| now + later.min(LATER_MAX))
            }
            Err(error) => {
                self.publisher = None;
                self.fault = Some(format!("the daemon itself does not take what is published: {error}"));
                Some(now + RETRY)
            }
        };
        done
    }

    fn posts(
        &mut self,
        desk: &mut Desk,
        stats: &AnalyticsStats,
        door: &Door,
        done: &mut Vec<Box<str>>,
    ) -> std::io::Result<Option<Duration>> {
        loop {
            let posts = desk.posts(LINES_AT_ONCE);
            if posts.is_empty() {
                return Ok(None);
            }
            door.turn();
            let fates = self.send(posts.iter().map(|post| &*post.line))?;
            for (post, fate) in posts.iter().zip(fates) {
                // Those behind one that waits are published again with it: their `event_id` tells.
                if let Fate::Later(later) = fate {
                    return Ok(Some(later));
                }
                tell(&fate, &post.name, stats);
                done.extend(desk.posted().map(|post| post.name));
            }
        }
    }

    fn states(&mut self, desk: &mut Desk, stats: &AnalyticsStats, door: &Door) -> std::io::Result<Option<Duration>> {
        let states = desk.states(ACCOUNTS_PER_TURN);
        let mut again = None;
        for part in states.chunks(LINES_AT_ONCE / 2) {
            door.turn();
            let lines = || part.iter().flat_map(|(room, lines)| lines.iter().map(move |line| (room, &**line)));
            let fates = match self.send(lines().map(|(_, line)| line)) {
                Ok(fates) => fates,
                Err(error) => {
                    for (room, _) in &states {
                        desk.unpublish(room.clone());
                    }
                    return Err(error);
                }
            };
            for ((room, _), fate) in lines().zip(fates) {
                if let Fate::Later(later) = fate {
                    desk.unpublish(room.clone());
                    again = again.max(Some(later));
                } else {
                    tell(&fate, room, stats);
                }
            }
        }
        Ok(again)
    }

    fn send<'l>(&mut self, lines: impl Iterator<Item = &'l str>) -> std::io::Result<Vec<Fate>> {
        let publisher = match &mut self.publisher {
            Some(publisher) => publisher,
            none => none.insert(Publisher::new(&self.publish)?),
        };
        publisher.publish(lines.map(str::as_bytes))
    }
}

fn tell(fate: &Fate, name: &str, stats: &AnalyticsStats) {
    match fate {
        Fate::Taken => stats.published.inc(),
        Fate::Refused(refused) => {
            stats.unpublished.inc();
            tracing::warn!(event = "analytics_unpublished", name, code = refused.code, "{}", refused.message);
        }
        Fate::Later(_) => {}
    }
}
