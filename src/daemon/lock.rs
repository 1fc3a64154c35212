//! One daemon for an address. `SO_REUSEPORT`, which lets each reactor have a listener of its own, would also let a second daemon
//! take half of the first one's clients; so the address is locked first, by a name in the abstract socket namespace, which
//! the kernel frees when the process ends, however it ends.

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

/// Held for as long as the daemon listens.
#[derive(Debug)]
pub(super) struct AddressLock {
    _name: UnixListener,
}

/// Locks an address, or says who is in the way.
pub(super) fn lock(addr: SocketAddr) -> Result<AddressLock, String> {
    let name = UnixAddr::from_abstract_name(format!("tickerd/listen/{addr}")).map_err(|error| format!("cannot lock {addr}: {error}"))?;
    match UnixListener::bind_addr(&name) {
        Ok(listener) => Ok(AddressLock { _name: listener }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(format!(
            "cannot listen on {addr}: another tickerd does (it holds the abstract socket @tickerd/listen/{addr}); stop it, or give another --listen"
        )),
        Err(error) => Err(format!("cannot lock {addr}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_locked_once_until_it_is_given_back() {
        let addr: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let held = lock(addr).unwrap();
        assert!(lock(addr).unwrap_err().contains("127.0.0.1:1"));
        drop(held);
        assert!(lock(addr).is_ok());
    }
}
