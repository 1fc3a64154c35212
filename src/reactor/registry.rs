//! Who is connected, over all reactors: the caps on all `WebSocket`s and on those of one user. Off the hot path: it is asked
//! once when a connection opens and once when it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct RegistryLimits {
    /// `WebSocket`s in all.
    pub connections_max: usize,
    /// `WebSocket`s of one user.
    pub per_user_max: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    limits: RegistryLimits,
    total: AtomicUsize,
    users: Mutex<HashMap<Arc<str>, u32>>,
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: RegistryLimits) -> Registry {
        Registry { limits, total: AtomicUsize::new(0), users: Mutex::default() }
    }

    /// Counts one WebSocket more, if there may be one more. Ended by [`Registry::close`].
    #[must_use]
    pub fn open(&self) -> bool {
        let one_more = |total| (total < self.limits.connections_max).then_some(total + 1);
        self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Counts one WebSocket less.
    pub fn close(&self) {
        self.total.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one connection of that user more, if there may be one more. Ended by [`Registry::release`].
    #[must_use]
    pub fn admit(&self, user: &Arc<str>) -> bool {
        let mut users = self.users.lock();
        let count = users.entry(Arc::clone(user)).or_default();
        let admitted = *count < self.limits.per_user_max;
        *count += u32::from(admitted);
        if *count == 0 {
            users.remove(user);
        }
        admitted
    }

    /// Counts one connection of that user less.
    pub fn release(&self, user: &Arc<str>) {
        let mut users = self.users.lock();
        if let Some(count) = users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                users.remove(user);
            }
        }
    }

    /// `WebSocket`s that are open.
    pub fn connections(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Users that are connected.
    pub fn users(&self) -> usize {
        self.users.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LIM-03: a cap on all, and one for each user.
    #[test]
    fn caps_hold_and_what_is_given_back_can_be_taken_again() {
        let registry = Registry::new(RegistryLimits { connections_max: 2, per_user_max: 1 });
        assert!(registry.open() && registry.open() && !registry.open());
        registry.close();
        assert!(registry.open());
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert!(registry.admit(&a) && !registry.admit(&a) && registry.admit(&b));
        registry.release(&a);
        assert_eq!(registry.users(), 1);
        assert!(registry.admit(&a));
        let none = Registry::new(RegistryLimits { connections_max: 0, per_user_max: 0 });
        assert!(!none.open() && !none.admit(&a));
        assert_eq!(none.users(), 0);
    }
}
