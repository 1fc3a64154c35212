//! A connection's byte stream, whatever carries it: TCP, TLS or a unix socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Event;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::base::limits::{NOTSENT_LOWAT_BYTES, SEND_BUFFER_BYTES, TLS_CONNECTION_BYTES};
use crate::base::time::Mono;

use super::socket::{TcpStream, UnixStream};
use super::sys;
use super::tls::{Handshake, Session, TlsSocket};

/// A non-blocking stream.
#[derive(Debug)]
pub enum Stream {
    /// From a TCP listener.
    Tcp(TcpStream),
    /// From a TCP listener that speaks TLS.
    Tls(Box<TlsSocket>),
    /// From a unix socket listener.
    Unix(UnixStream),
}

/// What an event says of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A read may give something.
    pub readable: bool,
    /// A write may take something.
    pub writable: bool,
    /// The peer sends no more.
    pub read_closed: bool,
    /// The peer takes no more.
    pub write_closed: bool,
    /// The stream is broken.
    pub error: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Readiness {
        Readiness {
            readable: event.is_readable(),
            writable: event.is_writable(),
            read_closed: event.is_read_closed(),
            write_closed: event.is_write_closed(),
            error: event.is_error(),
        }
    }
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes that came. None is no end: a TLS record may have none for us.
    pub bytes: usize,
    /// Another read may give something.
    pub more: bool,
    /// The peer sends no more.
    pub end: bool,
}

/// Memory that all TLS connections of a reactor use in turn, and what went through it.
#[derive(Debug, Default)]
pub struct Scratch {
    records: Vec<u8>,
    pub(super) record: Vec<u8>,
    /// Bytes of records received since the last [`Scratch::take_counts`].
    pub(super) received: u64,
    /// Bytes of records sent since then.
    pub(super) sent: u64,
}

impl Scratch {
    pub(super) fn records(&mut self, len: usize) -> &mut [u8] {
        if self.records.len() < len {
            self.records.resize(len, 0);
        }
        &mut self.records[..len]
    }

    /// Bytes of records received and sent since this was asked last.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.received), std::mem::take(&mut self.sent))
    }
}

impl Stream {
    /// Speaks TLS from the first byte on, where that can be.
    #[must_use]
    pub fn with_tls(self, session: Session) -> Stream {
        match self {
            Stream::Tcp(tcp) => Stream::Tls(Box::new(TlsSocket::new(tcp, session))),
            other => other,
        }
    }

    /// One end of a pair of sockets, the other end of which is held in this process.
    pub fn from_pair(socket: std::os::unix::net::UnixStream) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        Ok(Stream::Unix(UnixStream::from_std(socket)))
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Tls(tls) => Some(tls.tcp()),
            Stream::Unix(_) => None,
        }
    }

    /// Small kernel buffers: bulk bytes wait in our lanes, where an alert can overtake them.
    pub fn prepare(&self) -> io::Result<()> {
        let Some(tcp) = self.tcp() else { return Ok(()) };
        let socket = SockRef::from(tcp);
        socket.set_tcp_nodelay(true)?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)
    }

    /// Registers for both directions, edge-triggered, once for the stream's life.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(tcp) => registry.register(tcp, token, interest),
            Stream::Tls(tls) => registry.register(tls.tcp_mut(), token, interest),
            Stream::Unix(unix) => registry.register(unix, token, interest),
        }
    }

    /// Ends the registration.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => registry.deregister(tcp),
            Stream::Tls(tls) => registry.deregister(tls.tcp_mut()),
            Stream::Unix(unix) => registry.deregister(unix),
        }
    }

    /// Reads once, at most as much as `buf` holds. See [`TlsSocket::read`] for what is special there.
    pub fn read(&mut self, buf: &mut [u8], scratch: &mut Scratch) -> io::Result<Received> {
        let bytes = match self {
            Stream::Tcp(tcp) => tcp.read(buf)?,
            Stream::Tls(tls) => return tls.read(buf, scratch),
            Stream::Unix(unix) => unix.read(buf)?,
        };
        Ok(Received { bytes, more: bytes == buf.len(), end: bytes == 0 })
    }

    /// Looks at what has come, and leaves it there: below TLS, if that is spoken.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.tcp().map_or(Ok(0), |tcp| tcp.peek(buf))
    }

    /// Takes what [`Stream::peek`] has shown.
    pub fn discard(&self, peeked: &mut [u8]) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |mut tcp| tcp.read_exact(peeked))
    }

    /// Writes what can be written now; how much that is. Over TLS that is what is sealed, of which the last bytes may be
    /// [`Stream::unsent`]: they go first at the next write, be it one of nothing.
    pub fn write(&mut self, buf: &[u8], now: Mono, scratch: &mut Scratch) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.write(buf),
            Stream::Tls(tls) => tls.write(buf, now, scratch),
            Stream::Unix(unix) => unix.write(buf),
        }
    }

    /// Bytes that are written and wait here, as the kernel did not take them.
    pub fn unsent(&self) -> usize {
        if let Stream::Tls(tls) = self { tls.unsent() } else { 0 }
    }

    /// Since when they wait.
    pub fn unsent_since(&self) -> Option<Mono> {
        if let Stream::Tls(tls) = self { tls.unsent_since() } else { None }
    }

    /// The beginning of a TLS record, or of a message of TLS, of which the rest is to come.
    pub fn partial_bytes(&self) -> usize {
        if let Stream::Tls(tls) = self { tls.partial_bytes() } else { 0 }
    }

    /// What it takes, sealed bytes excepted.
    pub fn own_bytes(&self) -> usize {
        if let Stream::Tls(tls) = self { TLS_CONNECTION_BYTES + tls.partial_bytes() } else { 0 }
    }

    /// Bytes that the kernel holds for the peer: not sent, or not acknowledged. 0 where it does not say.
    pub fn held_by_kernel(&self) -> usize {
        self.tcp().and_then(|tcp| sys::unacknowledged(tcp).ok()).unwrap_or(0)
    }

    /// How far the TLS handshake has come, if it speaks TLS.
    pub fn handshake(&self) -> Option<Handshake> {
        if let Stream::Tls(tls) = self { Some(tls.handshake()) } else { None }
    }

    /// Makes the coming close a reset, which frees what the kernel still holds for a reader that does not read.
    pub fn reset_on_close(&self) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |tcp| SockRef::from(tcp).set_linger(Some(Duration::ZERO)))
    }

    /// The connection is broken once the peer has acknowledged nothing for so long of what was sent: for one who never says anything (HBT-02).
    pub fn expect_acknowledgments(&self, within: Duration) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |tcp| SockRef::from(tcp).set_tcp_user_timeout(Some(within)))
    }

    /// Tells the peer that nothing more comes; it may still send.
    pub fn shutdown_write(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            Stream::Tls(tls) => tls.shutdown_write(scratch),
            Stream::Unix(unix) => unix.shutdown(Shutdown::Write),
        }
    }

    /// Before the close: TLS says that this is the end, if the kernel takes it at once.
    pub fn say_end(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        if let Stream::Tls(tls) = self { tls.say_end(scratch) } else { Ok(()) }
    }

    /// Who is at the other end, for the log.
    pub fn peer(&self) -> String {
        match self.tcp() {
            Some(tcp) => tcp.peer_addr().map_or_else(|_| "gone".to_owned(), |peer| peer.to_string()),
            None => "unix".to_owned(),
        }
    }
}
