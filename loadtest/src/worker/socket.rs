//! Sockets to the server. Towards a loopback address the source addresses rotate over 127.0.0.0/8, because one of them has ports for fewer
//! connections than a run may want.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections from one source address: far fewer than it has ports, so that those of closed connections are not in the way.
const PER_SOURCE: u32 = 4_000;
/// The receive buffer of a slow reader, so that what it does not read waits in the server.
const SLOW_BUFFER_BYTES: usize = 4_096;

/// The source address of a connection, if it is not the kernel's to choose.
pub(super) fn source(target: SocketAddr, position: u32) -> Option<IpAddr> {
    let IpAddr::V4(to) = target.ip() else {
        return None;
    };
    let turn = position / PER_SOURCE;
    to.is_loopback().then(|| Ipv4Addr::new(127, 0, 1 + (turn / 250 % 250) as u8, 1 + (turn % 250) as u8).into())
}

/// Begins to connect.
pub(super) fn connect(target: SocketAddr, position: u32, is_slow: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if is_slow {
        socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
    }
    if let Some(source) = source(target, position) {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Ends a connection with a reset: nothing is said, and no port waits.
pub(super) fn reset(socket: TcpStream) {
    // Without it the end is an ordinary one, which the server must bear too.
    let _refused = SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO));
    drop(socket);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_rotate_on_loopback_alone() {
        let local: SocketAddr = "127.0.0.1:80".parse().expect("is an address");
        let text = |position| source(local, position).map(|address| address.to_string());
        assert_eq!(text(0).as_deref(), Some("127.0.1.1"));
        assert_eq!(text(3_999).as_deref(), Some("127.0.1.1"));
        assert_eq!(text(4_000).as_deref(), Some("127.0.1.2"));
        assert_eq!(text(4_000 * 250).as_deref(), Some("127.0.2.1"));
        assert_eq!(source("10.0.0.1:80".parse().expect("is an address"), 0), None);
        assert_eq!(source("[::1]:80".parse().expect("is an address"), 0), None);
    }
}
