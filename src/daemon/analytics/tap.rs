//! What the hub's thread gives the analytics: states and transient events that are marks, as they are accepted. It never waits: while the link is full,
//! the newest mark of each symbol is held here, and the older ones are counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::time::Now;
use crate::hub::ports::Event;
use crate::net::link::Link;

use super::stats::AnalyticsStats;

/// Marks between the two threads.
pub(super) const MARKS_MAX: usize = 4096;
/// Symbols of which a mark is held while the link is full.
const HELD_MAX: usize = 4096;

/// A mark as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct Mark {
    /// When the hub accepted it.
    pub(super) ts_ms: u64,
    pub(super) room: Box<str>,
    pub(super) data: Box<str>,
}

/// The hub's end.
pub(in crate::daemon) struct Tap {
    kinds: Vec<String>,
    link: Arc<Link<Mark>>,
    stats: Arc<AnalyticsStats>,
    /// By room and key.
    held: BTreeMap<(Box<str>, Box<str>), Mark>,
    is_touched: bool,
}

impl Tap {
    pub(super) fn new(kinds: Vec<String>, link: Arc<Link<Mark>>, stats: Arc<AnalyticsStats>) -> Tap {
        Tap { kinds, link, stats, held: BTreeMap::new(), is_touched: false }
    }

    /// Takes the event if it is a mark.
    pub(in crate::daemon) fn take(&mut self, event: &Event, now: Now) {
        if !self.kinds.iter().any(|kind| **kind == *event.kind) || &*event.data == "null" {
            return;
        }
        self.is_touched = true;
        let mark = Mark { ts_ms: now.wall_ms, room: event.room[..].into(), data: event.data.clone() };
        let left = if self.held.is_empty() { self.link.push(mark) } else { Err(mark) };
        let Err(mark) = left else { return };
        let symbol = (event.room.clone(), event.key.clone());
        if self.held.len() >= HELD_MAX && !self.held.contains_key(&symbol) {
            return self.stats.lost.inc();
        }
        if self.held.insert(symbol, mark).is_some() {
            self.stats.conflated_by_hub.inc();
        }
    }

    /// At the end of a slice: gives what is held as far as there is room, and wakes the analytics.
    pub(in crate::daemon) fn ring(&mut self) {
        while let Some((symbol, mark)) = self.held.pop_first() {
            if let Err(mark) = self.link.push(mark) {
                self.held.insert(symbol, mark);
                break;
            }
            self.is_touched = true;
        }
        if std::mem::take(&mut self.is_touched) {
            self.link.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lane::{Lane, Mode};
    use crate::base::time::Mono;
    use crate::net::link::{Door, Waker};

    fn event(kind: &str, symbol: &str, price: u32) -> Event {
        Event {
            kind: kind.into(),
            room: format!("market:{symbol}").into(),
            lane: Lane::Metric,
            mode: Mode::State,
            key: symbol.into(),
            owner: None,
            event_id: None,
            version: None,
            history: 0,
            ack_ttl: None,
            data: price.to_string().into(),
        }
    }

    /// ARC-02: the hub waits for nobody; the last mark of each symbol comes, and what does not is counted.
    #[test]
    fn a_full_link_keeps_the_newest_of_each_symbol() {
        let link = Arc::new(Link::new(2, Door::new(Waker::Thread(std::thread::current()))));
        let stats = Arc::new(AnalyticsStats::default());
        let mut tap = Tap::new(vec!["tick".to_owned()], Arc::clone(&link), Arc::clone(&stats));
        let now = Now { mono: Mono(0), wall_ms: 5 };
        tap.take(&event("other", "A", 0), now);
        tap.take(&Event { data: "null".into(), ..event("tick", "A", 0) }, now);
        for price in 1..=4 {
            tap.take(&event("tick", "A", price), now);
        }
        tap.take(&event("tick", "B", 9), now);
        let taken = |link: &Link<Mark>| std::iter::from_fn(|| link.pop()).map(|mark| mark.data.to_string()).collect::<Vec<_>>();
        assert_eq!((taken(&link), stats.conflated_by_hub.value(), stats.lost.value()), (vec!["1".to_owned(), "2".to_owned()], 1, 0));
        tap.take(&event("tick", "B", 10), now);
        tap.ring();
        assert_eq!(taken(&link), ["4", "10"], "in no other order than by symbol");
        tap.take(&event("tick", "A", 5), now);
        assert_eq!(taken(&link), ["5"]);
    }
}
