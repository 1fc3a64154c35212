//! Listening sockets. Every reactor has its own for each address (`SO_REUSEPORT`), so that the kernel spreads connections.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::socket::{TcpListener, UnixListener};
use super::stream::Stream;

/// Connections that the kernel may hold for us before we accept them.
const BACKLOG: i32 = 4096;

/// A non-blocking listening socket.
#[derive(Debug)]
pub enum Listener {
    /// Speaks HTTP and WebSocket.
    Tcp(TcpListener),
    /// Speaks NDJSON: publishers on this machine.
    Unix(UnixListener),
}

/// Binds a TCP address. For more reactors bind the returned listener's [`Listener::local_addr`] again: port 0 is then resolved.
pub fn bind_tcp(addr: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(Listener::Tcp(TcpListener::from_std(socket.into())))
}

impl Listener {
    /// Wraps a listening TCP socket, which its maker has made non-blocking.
    pub fn from_tcp(listener: std::net::TcpListener) -> Listener {
        Listener::Tcp(TcpListener::from_std(listener))
    }

    /// Wraps a bound unix socket, which its binder has made non-blocking. The file and its mode are the binder's business.
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> Listener {
        Listener::Unix(UnixListener::from_std(listener))
    }

    /// The TCP address that it is bound to.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(tcp) => tcp.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Takes one connection, with its peer's IP address where it has one.
    pub fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Listener::Tcp(tcp) => tcp.accept().map(|(stream, peer)| (Stream::Tcp(stream), Some(peer.ip()))),
            Listener::Unix(unix) => unix.accept().map(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }

    /// Registers for incoming connections, edge-triggered.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(tcp) => registry.register(tcp, token, Interest::READABLE),
            Listener::Unix(unix) => registry.register(unix, token, Interest::READABLE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reactors_bind_the_same_port() {
        let first = bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let addr = first.local_addr().unwrap();
        assert_eq!(bind_tcp(addr).unwrap().local_addr(), Some(addr));
    }
}
