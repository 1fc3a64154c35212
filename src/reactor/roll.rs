//! Whose connections are there, over all reactors, in the order in which they came: for nodes that count a user's connections together. Nothing is
//! written where nobody reads it. Polls are not here: behind a load balancer one client's come by a connection to each node.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::base::ids::ConnId;
use crate::net::link::Door;

/// See the module.
#[derive(Default)]
pub struct Roll {
    /// Of who reads it.
    door: OnceLock<Arc<Door>>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    there: HashMap<Arc<str>, Vec<ConnId>>,
    /// Users whose number has changed since it was told.
    changed: HashSet<Arc<str>>,
    /// Nobody can be told: all of it is told later.
    is_resting: bool,
}

impl fmt::Debug for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roll").finish_non_exhaustive()
    }
}

impl Roll {
    /// It is written from now on, for whoever has that door. Before anybody comes.
    pub fn open(&self, door: Arc<Door>) {
        self.door.set(door).ok();
    }

    pub(super) fn came(&self, user: &Arc<str>, conn: ConnId) {
        self.change(user, |conns| conns.push(conn));
    }

    pub(super) fn left(&self, user: &Arc<str>, conn: ConnId) {
        self.change(user, |conns| conns.retain(|other| *other != conn));
    }

    fn change(&self, user: &Arc<str>, change: impl FnOnce(&mut Vec<ConnId>)) {
        let Some(door) = self.door.get() else { return };
        let mut book = self.book.lock();
        let conns = book.there.entry(Arc::clone(user)).or_default();
        change(conns);
        if conns.is_empty() {
            book.there.remove(user);
        }
        if !book.is_resting {
            book.changed.insert(Arc::clone(user));
            drop(book);
            door.ring();
        }
    }

    /// Takes users whose number has changed, at most so many, with their numbers.
    pub fn take_changed(&self, max: usize) -> Vec<(Arc<str>, u32)> {
        let mut book = self.book.lock();
        let users: Vec<Arc<str>> = book.changed.iter().take(max).cloned().collect();
        let count = |user: Arc<str>| {
            book.changed.remove(&user);
            let count = book.there.get(&user).map_or(0, Vec::len) as u32;
            (user, count)
        };
        users.into_iter().map(count).collect()
    }

    /// Whether there are any.
    pub fn has_changed(&self) -> bool {
        !self.book.lock().changed.is_empty()
    }

    /// These are to be told again.
    pub fn tell_again(&self, users: Vec<Arc<str>>) {
        self.book.lock().changed.extend(users);
    }

    /// All of it is to be told, and what changes from now on.
    pub fn tell_all(&self) {
        let mut book = self.book.lock();
        book.is_resting = false;
        book.changed = book.there.keys().cloned().collect();
    }

    /// Nothing is to be told until all of it is.
    pub fn rest(&self) {
        let mut book = self.book.lock();
        book.is_resting = true;
        book.changed = HashSet::new();
    }

    /// The user's connections but for that many which came first, the newest first.
    pub fn beyond(&self, user: &str, kept: u32) -> Vec<ConnId> {
        let book = self.book.lock();
        book.there.get(user).map_or_else(Vec::new, |conns| conns.iter().skip(kept as usize).rev().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::link::Waker;

    fn conn(slot: u32) -> ConnId {
        ConnId { reactor: 0, slot, generation: 0 }
    }

    fn roll() -> Roll {
        let roll = Roll::default();
        roll.open(Door::new(Waker::Thread(std::thread::current())));
        roll
    }

    fn changed(roll: &Roll) -> Vec<(String, u32)> {
        let mut changed: Vec<_> = roll.take_changed(usize::MAX).into_iter().map(|(user, count)| (user.to_string(), count)).collect();
        changed.sort();
        changed
    }

    /// LIM-03, SCL-03: who comes and goes is told by number, once however often it changed; the newest are those who came last.
    #[test]
    fn what_changed_is_told_once() {
        let (roll, a, b): (_, Arc<str>, Arc<str>) = (roll(), "a".into(), "b".into());
        (0..3).for_each(|slot| roll.came(&a, conn(slot)));
        roll.came(&b, conn(9));
        roll.left(&b, conn(9));
        assert_eq!(changed(&roll), [("a".to_owned(), 3), ("b".to_owned(), 0)]);
        assert!(!roll.has_changed());
        roll.left(&a, conn(1));
        roll.came(&a, conn(4));
        assert_eq!(roll.beyond("a", 1), [conn(4), conn(2)]);
        assert_eq!((roll.beyond("a", 3), roll.beyond("b", 0)), (vec![], vec![]));
        assert_eq!(changed(&roll), [("a".to_owned(), 3)]);
        roll.tell_again(vec![a]);
        assert_eq!(roll.take_changed(0), []);
        assert_eq!(changed(&roll), [("a".to_owned(), 3)]);
    }

    /// ERR-06: while nobody can be told nothing piles up; then all who are there are told of.
    #[test]
    fn who_is_there_is_told_anew() {
        let (roll, a, b): (_, Arc<str>, Arc<str>) = (roll(), "a".into(), "b".into());
        roll.came(&a, conn(1));
        roll.rest();
        roll.came(&b, conn(2));
        roll.left(&a, conn(1));
        assert!(!roll.has_changed());
        roll.tell_all();
        assert_eq!(changed(&roll), [("b".to_owned(), 1)]);
        roll.left(&b, conn(2));
        assert_eq!(changed(&roll), [("b".to_owned(), 0)]);
        assert!(roll.book.lock().there.is_empty());
    }

    /// LIM-06: without other nodes nothing is kept.
    #[test]
    fn nothing_is_written_where_nobody_reads_it() {
        let roll = Roll::default();
        roll.came(&"a".into(), conn(1));
        assert!(roll.book.lock().there.is_empty() && !roll.has_changed());
    }
}
