//! Who is connected, over all reactors: the caps on all clients, on those of one user and of one address, and the rate of handshakes of one
//! address. Off the hot path: it is asked when a connection opens, when its token is accepted, and when it ends.
//!
//! Addresses are those of clients, as [`ReactorOptions::limited`](super::options::ReactorOptions) has them. Those of IPv6 count by their network of
//! 64 bits, which is what one subscriber has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::base::bucket::{Bucket, Rate};
use crate::base::counters::{DurationHistogram, HistogramSnapshot};
use crate::base::limits::ADDRESSES_MAX;
use crate::base::time::Mono;

use super::absences::Absences;
use super::denials::Denials;
use super::roll::Roll;
use super::tickets::Tickets;

/// How often addresses that are not used any more are looked for, when there are too many.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct RegistryLimits {
    /// Clients in all.
    pub connections_max: usize,
    /// Clients of one user.
    pub per_user_max: u32,
    /// Clients of one address.
    pub per_ip_max: Option<u32>,
    /// Handshakes of one address.
    pub handshakes: Option<Rate>,
}

/// Whether a client stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// As long as its connection, and its absence means something.
    Lasting,
    /// It comes for one request at a time.
    Passing,
}

/// Why one more client is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many as there may be.
    Server,
    /// Its address has as many.
    Address,
    /// The user has as many.
    User,
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    limits: RwLock<RegistryLimits>,
    total: AtomicUsize,
    users: Mutex<Users>,
    addresses: Mutex<Addresses>,
    /// Whose connections are there, for nodes that count them together.
    pub roll: Roll,
    /// What stands for tokens in addresses.
    pub(super) tickets: Tickets,
    /// Joins that were denied to who asks by request.
    pub(super) denials: Denials,
}

#[derive(Debug, Default)]
struct Users {
    /// How many connections each has.
    connected: HashMap<Arc<str>, u32>,
    absences: Absences,
    /// How long they were away; written by who holds the lock.
    away: DurationHistogram,
}

#[derive(Debug, Default)]
struct Addresses {
    known: HashMap<IpAddr, Address>,
    swept: Mono,
}

#[derive(Debug, Default)]
struct Address {
    clients: u32,
    handshakes: Bucket,
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: RegistryLimits) -> Registry {
        Registry {
            limits: RwLock::new(limits),
            total: AtomicUsize::new(0),
            users: Mutex::default(),
            addresses: Mutex::default(),
            roll: Roll::default(),
            tickets: Tickets::default(),
            denials: Denials::default(),
        }
    }

    /// Holds to other limits from now on. Who is connected stays so.
    pub fn set_limits(&self, limits: RegistryLimits) {
        *self.limits.write() = limits;
    }

    fn limits(&self) -> RegistryLimits {
        *self.limits.read()
    }

    /// Counts a handshake of that address; or says how long until there may be one more.
    pub fn handshake(&self, address: Option<IpAddr>, now: Mono) -> Result<(), Duration> {
        let (Some(address), Some(rate)) = (address, self.limits().handshakes) else { return Ok(()) };
        self.addresses.lock().get(address, now).map_or(Ok(()), |known| known.handshakes.take(1, rate, now))
    }

    /// Counts one client more, if there may be one more. Ended by [`Registry::release`].
    pub fn admit(&self, user: &Arc<str>, address: Option<IpAddr>, presence: Presence, now: Mono) -> Result<(), Full> {
        let connections_max = self.connections_max();
        let one_more = |total| (total < connections_max).then_some(total + 1);
        self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).map_err(|_| Full::Server)?;
        let admitted = self
            .admit_address(address, now)
            .and_then(|()| self.admit_user(user, presence, now).inspect_err(|_| self.release_address(address)));
        if admitted.is_err() {
            self.total.fetch_sub(1, Ordering::Relaxed);
        }
        admitted
    }

    fn admit_address(&self, address: Option<IpAddr>, now: Mono) -> Result<(), Full> {
        let (Some(address), Some(max)) = (address, self.limits().per_ip_max) else { return Ok(()) };
        let mut addresses = self.addresses.lock();
        let Some(known) = addresses.get(address, now) else { return Ok(()) };
        let is_full = known.clients >= max;
        known.clients += u32::from(!is_full);
        if is_full { Err(Full::Address) } else { Ok(()) }
    }

    fn admit_user(&self, user: &Arc<str>, presence: Presence, now: Mono) -> Result<(), Full> {
        let per_user_max = self.limits().per_user_max;
        let mut users = self.users.lock();
        let Users { connected, absences, away } = &mut *users;
        let count = connected.entry(Arc::clone(user)).or_default();
        let admitted = *count < per_user_max;
        *count += u32::from(admitted);
        if *count == 0 {
            connected.remove(user);
        }
        if admitted
            && presence == Presence::Lasting
            && let Some(absence) = absences.back(user, now)
        {
            away.record_long(absence);
        }
        if admitted { Ok(()) } else { Err(Full::User) }
    }

    /// Counts one client less.
    pub fn release(&self, user: &Arc<str>, address: Option<IpAddr>, presence: Presence, now: Mono) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        self.release_address(address);
        let mut users = self.users.lock();
        let Users { connected, absences, .. } = &mut *users;
        if let Some(count) = connected.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                connected.remove(user);
                if presence == Presence::Lasting {
                    absences.left(user, now);
                }
            }
        }
    }

    fn release_address(&self, address: Option<IpAddr>) {
        let mut addresses = self.addresses.lock();
        if let Some(known) = address.and_then(|address| addresses.known.get_mut(&network(address))) {
            known.clients = known.clients.saturating_sub(1);
        }
    }

    /// Whether there may be one more; [`Registry::admit`] decides.
    pub fn has_room(&self) -> bool {
        self.connections() < self.connections_max()
    }

    /// Clients that there may be.
    pub fn connections_max(&self) -> usize {
        self.limits().connections_max
    }

    /// Clients that are connected.
    pub fn connections(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Users that are connected.
    pub fn users(&self) -> usize {
        self.users.lock().connected.len()
    }

    /// Connections of a user.
    pub fn connections_of(&self, user: &str) -> u32 {
        self.users.lock().connected.get(user).copied().unwrap_or(0)
    }

    /// Connections that a user may have.
    pub fn per_user_max(&self) -> u32 {
        self.limits().per_user_max
    }

    /// Users who came back, each counted once in a minute.
    pub fn returns(&self) -> u64 {
        self.users.lock().absences.returns()
    }

    /// How long users were away who came back.
    pub fn away(&self) -> HistogramSnapshot {
        self.users.lock().away.snapshot()
    }
}

impl Addresses {
    /// What is known of an address; nothing if there are so many others that this one cannot be remembered: the cap on all clients holds.
    fn get(&mut self, address: IpAddr, now: Mono) -> Option<&mut Address> {
        let key = network(address);
        if self.known.len() >= ADDRESSES_MAX && !self.known.contains_key(&key) {
            if now < self.swept.plus(SWEEP_EVERY) {
                return None;
            }
            self.swept = now;
            self.known.retain(|_, known| known.clients > 0 || !known.handshakes.is_full(now));
            if self.known.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        Some(self.known.entry(key).or_default())
    }
}

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::Presence::{Lasting, Passing};
    use super::*;

    const NOW: Mono = Mono(1);

    fn registry(connections_max: usize, per_user_max: u32, per_ip_max: Option<u32>) -> Registry {
        Registry::new(RegistryLimits { connections_max, per_user_max, per_ip_max, handshakes: Some(Rate::per_second(10, 50)) })
    }

    fn ip(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    /// LIM-03: a cap on all, one for each user, one for each address; what is refused by one of them counts for none.
    #[test]
    fn caps_hold_and_what_is_given_back_can_be_taken_again() {
        let (a, b, c): (Arc<str>, Arc<str>, Arc<str>) = ("a".into(), "b".into(), "c".into());
        let registry = registry(3, 1, Some(2));
        assert_eq!(registry.admit(&a, ip("192.0.2.1"), Lasting, NOW), Ok(()));
        assert_eq!(registry.admit(&a, ip("192.0.2.1"), Lasting, NOW), Err(Full::User));
        assert_eq!(registry.admit(&b, ip("::ffff:192.0.2.1"), Lasting, NOW), Ok(()), "the refused one does not count for the address");
        assert_eq!(registry.admit(&c, ip("192.0.2.1"), Lasting, NOW), Err(Full::Address));
        assert_eq!(registry.admit(&c, None, Lasting, NOW), Ok(()), "nor for all; and who is exempt is");
        assert_eq!(registry.admit(&"d".into(), ip("192.0.2.2"), Lasting, NOW), Err(Full::Server));
        registry.release(&a, ip("192.0.2.1"), Lasting, NOW);
        assert_eq!((registry.connections(), registry.users()), (2, 2));
        assert_eq!(registry.admit(&a, ip("192.0.2.1"), Lasting, NOW), Ok(()));
        assert!(!registry.has_room());
    }

    /// LIM-03: lower limits end nobody, and let in nobody until there are few enough.
    #[test]
    fn limits_change_under_those_who_are_there() {
        let registry = registry(3, 9, None);
        let user: Arc<str> = "a".into();
        (0..3).for_each(|_| registry.admit(&user, None, Lasting, NOW).unwrap());
        registry.set_limits(RegistryLimits { connections_max: 2, per_user_max: 2, per_ip_max: None, handshakes: None });
        assert_eq!((registry.connections(), registry.admit(&user, None, Lasting, NOW)), (3, Err(Full::Server)));
        (0..2).for_each(|_| registry.release(&user, None, Lasting, NOW));
        assert_eq!((registry.admit(&user, None, Lasting, NOW), registry.admit(&user, None, Lasting, NOW)), (Ok(()), Err(Full::Server)));
        registry.set_limits(RegistryLimits { connections_max: 9, per_user_max: 2, per_ip_max: None, handshakes: None });
        assert_eq!(registry.admit(&user, None, Lasting, NOW), Err(Full::User));
    }

    /// OBS-02: who comes for one request at a time was not away in between.
    #[test]
    fn only_those_who_stay_come_back() {
        let (registry, user): (Registry, Arc<str>) = (registry(9, 9, None), "a".into());
        let at = |s| NOW.plus(Duration::from_secs(s));
        for s in 0..10 {
            registry.admit(&user, None, Passing, at(s)).unwrap();
            registry.release(&user, None, Passing, at(s));
        }
        assert_eq!((registry.returns(), registry.away().buckets.iter().sum::<u64>()), (0, 0));
        for s in 10..15 {
            registry.admit(&user, None, Lasting, at(s)).unwrap();
            registry.release(&user, None, Lasting, at(s));
        }
        assert_eq!((registry.returns(), registry.away().buckets.iter().sum::<u64>()), (1, 4), "one user, who came back four times");
    }

    /// LIM-02.
    #[test]
    fn handshakes_of_one_address_have_a_rate() {
        let registry = registry(1, 1, None);
        let passed = |address| std::iter::repeat_with(|| registry.handshake(address, NOW)).take(200).flatten().count();
        assert_eq!(passed(ip("192.0.2.1")), 50);
        assert_eq!(passed(ip("2001:db8::1")), 50);
        assert_eq!(passed(ip("2001:db8::ffff:1")), 0, "the same network of 64 bits");
        assert_eq!(passed(ip("2001:db8:0:1::1")), 50);
        assert_eq!(passed(None), 200);
        assert_eq!(registry.handshake(ip("192.0.2.1"), NOW), Err(Duration::from_millis(100)));
    }

    /// The table is bounded: addresses that are not used any more make place.
    #[test]
    fn no_more_addresses_are_remembered_than_there_may_be() {
        let registry = registry(usize::MAX, u32::MAX, Some(1));
        for n in 0..ADDRESSES_MAX as u32 + 100 {
            registry.handshake(Some(IpAddr::from(n.to_be_bytes())), NOW).unwrap();
        }
        assert_eq!(registry.addresses.lock().known.len(), ADDRESSES_MAX);
        registry.admit(&"a".into(), ip("0.0.0.7"), Lasting, NOW).unwrap();
        let later = NOW.plus(Duration::from_secs(10));
        registry.handshake(ip("192.0.2.1"), later).unwrap();
        assert_eq!(registry.addresses.lock().known.len(), 2, "the one that is connected, and the new one");
    }
}
