//! Listening: each reactor has a listener of its own for each address, and the first one the publish socket. What a service manager has opened is
//! used as it is.

use std::net::{SocketAddr, TcpListener};

use crate::config::Config;
use crate::net::listener::{self, Listener};

use super::activation::Passed;
use super::lock::{self, AddressLock};
use super::publish_socket;

/// What is bound.
pub(super) struct Bound {
    /// Each reactor's.
    pub(super) listeners: Vec<Vec<Listener>>,
    /// The TCP addresses, port 0 being resolved.
    pub(super) addrs: Vec<SocketAddr>,
    /// The admin listener.
    pub(super) admin: TcpListener,
    /// Whether the publish socket's file is ours to remove.
    pub(super) owns_publish_socket: bool,
    /// To be held as long as the listeners are open.
    pub(super) locks: Vec<AddressLock>,
}

/// Binds all that the configuration names and nobody has passed to us.
pub(super) fn bind(config: &Config, mut passed: Passed) -> Result<Bound, String> {
    let mut listeners: Vec<Vec<Listener>> = (0..config.reactors).map(|_| Vec::new()).collect();
    let (mut addrs, mut locks) = (Vec::new(), Vec::new());
    for addr in &config.listen {
        let own = passed.take_tcp(*addr);
        let (addr, lock, of_reactors) =
            if own.is_empty() { bind_all(*addr, config.reactors)? } else { deal(*addr, &own, config.reactors)? };
        addrs.push(addr);
        locks.push(lock);
        listeners.iter_mut().zip(of_reactors).for_each(|(listeners, own)| listeners.extend(own));
    }
    let mut owns_publish_socket = false;
    if let Some(path) = &config.publish_socket {
        let own = passed.take_unix(path);
        owns_publish_socket = own.is_none();
        listeners[0].push(own.map_or_else(|| publish_socket::bind(path, config.publish_socket_mode), |own| Ok(Listener::from_unix(own)))?);
    }
    let admin = bind_admin(config.admin_listen, &mut passed)?;
    passed.finish()?;
    Ok(Bound { listeners, addrs, admin, owns_publish_socket, locks })
}

/// One listener for each reactor, bound here.
fn bind_all(addr: SocketAddr, reactors: usize) -> Result<(SocketAddr, AddressLock, Vec<Vec<Listener>>), String> {
    let known = if addr.port() == 0 { None } else { Some(claim(addr)?) };
    let first = bind_one(addr)?;
    let addr = first.local_addr().unwrap_or(addr);
    let lock = known.map_or_else(|| lock::lock(addr), Ok)?;
    let others = (1..reactors).map(|_| bind_one(addr));
    let of_reactors = std::iter::once(Ok(first)).chain(others).map(|listener| listener.map(|listener| vec![listener]));
    Ok((addr, lock, of_reactors.collect::<Result<_, _>>()?))
}

/// Deals out sockets that were passed. Where there are fewer than reactors, some share one: whoever is awake first accepts. Where there are more,
/// some have several: none may be left, for the kernel gives each its share of the connections.
fn deal(addr: SocketAddr, sockets: &[TcpListener], reactors: usize) -> Result<(SocketAddr, AddressLock, Vec<Vec<Listener>>), String> {
    let share = |socket: &TcpListener| {
        let shared = socket.try_clone().map_err(|error| format!("cannot share the socket of {addr} that systemd passed: {error}"))?;
        Ok(Listener::from_tcp(shared))
    };
    let of_reactor = |reactor: usize| match sockets.len() {
        fewer if fewer < reactors => vec![&sockets[reactor % fewer]],
        _ => sockets.iter().skip(reactor).step_by(reactors).collect(),
    };
    let of_reactors = (0..reactors).map(|reactor| of_reactor(reactor).into_iter().map(share).collect::<Result<Vec<_>, String>>());
    Ok((addr, lock::lock(addr)?, of_reactors.collect::<Result<_, _>>()?))
}

fn bind_admin(addr: SocketAddr, passed: &mut Passed) -> Result<TcpListener, String> {
    let bind = || TcpListener::bind(addr).map_err(|error| format!("cannot listen on {addr}: {error}; give another --admin-listen"));
    let Some(own) = passed.take_tcp(addr).pop() else { return bind() };
    own.set_nonblocking(false).map_err(|error| format!("cannot use the socket of {addr} that systemd passed: {error}"))?;
    Ok(own)
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

    /// Whether there are fewer or more sockets than reactors, each reactor has one, and each socket a reactor.
    #[test]
    fn sockets_are_dealt_out_to_reactors() {
        for (sockets, reactors, expected) in [(1, 3, [1, 1, 1].as_slice()), (2, 3, &[1, 1, 1]), (3, 3, &[1, 1, 1]), (5, 3, &[2, 2, 1])] {
            let first = bind_one(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let addr = first.local_addr().unwrap();
            let bound = |_| TcpListener::from(socket2::Socket::from(bind_raw(addr)));
            let sockets: Vec<TcpListener> = (0..sockets).map(bound).collect();
            let (_, _lock, dealt) = deal(addr, &sockets, reactors).unwrap();
            assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        }
    }

    fn bind_raw(addr: SocketAddr) -> std::os::fd::OwnedFd {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&addr.into()).unwrap();
        socket.listen(1).unwrap();
        socket.into()
    }

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
