//! A connection's byte stream, whatever carries it. TLS takes its place here later.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::base::limits::{NOTSENT_LOWAT_BYTES, SEND_BUFFER_BYTES};

/// A non-blocking stream.
#[derive(Debug)]
pub enum Stream {
    /// From a TCP listener.
    Tcp(TcpStream),
    /// From a unix socket listener.
    Unix(UnixStream),
}

impl Stream {
    /// Small kernel buffers: bulk bytes wait in our lanes, where an alert can overtake them.
    pub fn prepare(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => {
                let socket = SockRef::from(tcp);
                socket.set_tcp_nodelay(true)?;
                socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
                socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)
            }
            Stream::Unix(_) => Ok(()),
        }
    }

    /// Registers for both directions, edge-triggered, once for the stream's life.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(tcp) => registry.register(tcp, token, interest),
            Stream::Unix(unix) => registry.register(unix, token, interest),
        }
    }

    /// Ends the registration.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => registry.deregister(tcp),
            Stream::Unix(unix) => registry.deregister(unix),
        }
    }

    /// Makes the coming close a reset, which frees what the kernel still holds for a reader that does not read.
    pub fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => SockRef::from(tcp).set_linger(Some(Duration::ZERO)),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// Tells the peer that nothing more comes; it may still send.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            Stream::Unix(unix) => unix.shutdown(Shutdown::Write),
        }
    }

    /// Who is at the other end, for the log.
    pub fn peer(&self) -> String {
        match self {
            Stream::Tcp(tcp) => tcp.peer_addr().map_or_else(|_| "gone".to_owned(), |peer| peer.to_string()),
            Stream::Unix(_) => "unix".to_owned(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.read(buf),
            Stream::Unix(unix) => unix.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.write(buf),
            Stream::Unix(unix) => unix.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
