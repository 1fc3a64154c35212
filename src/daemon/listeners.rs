//! Binding: each reactor has a listener of its own for each address, and the first one the publish socket.

use std::net::SocketAddr;

use crate::config::Config;
use crate::net::listener::{self, Listener};

use super::lock::{self, AddressLock};
use super::publish_socket;

/// What is bound.
pub(super) struct Bound {
    /// Each reactor's.
    pub(super) listeners: Vec<Vec<Listener>>,
    /// The TCP addresses, port 0 being resolved.
    pub(super) addrs: Vec<SocketAddr>,
    /// To be held as long as the listeners are open.
    pub(super) locks: Vec<AddressLock>,
}

/// Binds all that the configuration names.
pub(super) fn bind(config: &Config) -> Result<Bound, String> {
    let mut bound = Bound { listeners: vec![Vec::new()], addrs: Vec::new(), locks: Vec::new() };
    for addr in &config.listen {
        let known = if addr.port() == 0 { None } else { Some(claim(*addr)?) };
        let listener = bind_one(*addr)?;
        let addr = listener.local_addr().unwrap_or(*addr);
        bound.locks.push(known.map_or_else(|| lock::lock(addr), Ok)?);
        bound.addrs.push(addr);
        bound.listeners[0].push(listener);
    }
    if let Some(path) = &config.publish_socket {
        bound.listeners[0].push(publish_socket::bind(path, config.publish_socket_mode)?);
    }
    for _ in 1..config.reactors {
        bound.listeners.push(bound.addrs.iter().map(|addr| bind_one(*addr)).collect::<Result<_, _>>()?);
    }
    Ok(bound)
}

/// Locks a fixed address, and sees that nobody listens on one that overlaps with it: with `SO_REUSEPORT` the kernel would let
/// us share it, so it is asked without.
fn claim(addr: SocketAddr) -> Result<AddressLock, String> {
    let lock = lock::lock(addr)?;
    match std::net::TcpListener::bind(addr) {
        Ok(_) => Ok(lock),
        Err(error) => Err(format!("cannot listen on {addr}: {error}; stop who listens there, or give another --listen")),
    }
}

fn bind_one(addr: SocketAddr) -> Result<Listener, String> {
    listener::bind_tcp(addr).map_err(|error| format!("cannot listen on {addr}: {error}; give another --listen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another process of the same user that listens with `SO_REUSEPORT` holds no lock of ours, and would share the address.
    #[test]
    fn an_address_that_somebody_shares_is_not_claimed() {
        let other = bind_one(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let addr = other.local_addr().unwrap();
        assert!(bind_one(addr).is_ok(), "the kernel would allow it");
        assert!(claim(addr).err().is_some_and(|error| error.contains(&addr.to_string())));
        drop(other);
        assert!(claim(addr).is_ok());
    }
}
