//! Sockets for tests: the kernel's, or ends of wires in memory, to whose other ends a test does what networks and kernels do.
//!
//! A wire keeps what edge-triggered readiness promises, and no more: an event when something has come since a read said `WouldBlock` or was
//! short, and when there is room again after a write said so. Beyond that it is as unkind as its seed wants: reads and writes are
//! short, or take nothing, though there is more.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, LazyLock};

use mio::event::Source;
use mio::{Interest, Registry, Token, net};
use parking_lot::{Mutex, MutexGuard};

use super::stream::Readiness;

/// A stream of the kernel's, or an end of a wire.
#[derive(Debug)]
pub enum Socket<S> {
    /// The kernel's.
    Kernel(S),
    /// The server's end of a wire, which is closed when this is dropped.
    Fake(End),
}

/// In the place of mio's.
pub type TcpStream = Socket<net::TcpStream>;
/// In the place of mio's.
pub type UnixStream = Socket<net::UnixStream>;

/// The server's end of a wire.
#[derive(Debug)]
pub struct End(Wire);

/// The other end, and the network and the kernel in between.
#[derive(Clone, Debug, Default)]
pub struct Wire(Arc<Mutex<State>>);

/// What is on a wire and what happened to it.
#[derive(Debug, Default)]
pub struct State {
    /// The server's name for it, once it is registered.
    pub token: Option<Token>,
    /// Bytes that have come, for the server to read.
    pub arrived: VecDeque<u8>,
    /// Bytes that the server has written.
    pub written: Vec<u8>,
    /// How many those were, and are, in all.
    pub written_total: u64,
    /// Bytes that the server may write.
    pub room: usize,
    /// The peer sends no more.
    pub ended: bool,
    /// The peer has reset it.
    pub reset: bool,
    /// The server has shut down its side.
    pub shut: bool,
    /// The server has closed it.
    pub closed: bool,
    /// The last write found too little room.
    pub blocked: bool,
    /// Some write took less than it was given.
    pub refused: bool,
    /// Where faults come from; 0: there are none.
    pub seed: u64,
    readable: bool,
    writable: bool,
    reset_told: bool,
}

impl Wire {
    /// What is on it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// The server's end.
    pub fn end(&self) -> End {
        End(self.clone())
    }
}

impl State {
    /// The peer sends so many bytes, or all of these, if it still sends something.
    pub fn arrive(&mut self, bytes: &mut VecDeque<u8>, len: usize) {
        let len = len.min(bytes.len());
        if !self.ended && !self.reset && !self.closed && len > 0 {
            self.arrived.extend(bytes.drain(..len));
            self.readable = true;
        }
    }

    /// The peer sends no more.
    pub fn finish(&mut self) {
        self.readable |= !self.ended;
        self.ended = true;
    }

    /// The peer is gone: what was on the way to the server is lost too.
    pub fn reset(&mut self) {
        self.arrived.clear();
        (self.reset, self.readable, self.writable) = (true, true, true);
    }

    /// The peer has read something.
    pub fn make_room(&mut self, bytes: usize) {
        self.room = self.room.saturating_add(bytes);
        self.writable |= std::mem::take(&mut self.blocked);
    }

    /// What epoll would tell now, if it would tell anything.
    pub fn event(&mut self) -> Option<(Token, Readiness)> {
        let (readable, writable) = (std::mem::take(&mut self.readable), std::mem::take(&mut self.writable));
        let token = self.token.filter(|_| !self.closed && (readable || writable))?;
        let (read_closed, write_closed, error) = (self.ended || self.reset, self.reset, self.reset);
        Some((token, Readiness { readable, writable, read_closed, write_closed, error }))
    }

    /// Whether [`State::event`] has one.
    pub fn has_event(&self) -> bool {
        self.token.is_some() && !self.closed && (self.readable || self.writable)
    }

    /// Once in `n`.
    fn happens(&mut self, n: u64) -> bool {
        self.seed != 0 && self.below(n) == 0
    }

    /// Xorshift (Marsaglia 2003).
    fn below(&mut self, bound: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) % bound
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.reset {
            return if std::mem::replace(&mut self.reset_told, true) { Ok(0) } else { Err(ErrorKind::ConnectionReset.into()) };
        }
        if self.arrived.is_empty() {
            return if self.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let mut n = self.arrived.len().min(buf.len());
        // Once the end has come, everything has.
        if !self.ended {
            if self.happens(8) {
                self.readable = true;
                return Err(ErrorKind::WouldBlock.into());
            }
            if self.happens(3) {
                n = 1 + self.below(n as u64) as usize;
            }
            self.readable |= n < self.arrived.len().min(buf.len());
        }
        if self.happens(32) {
            return Err(ErrorKind::Interrupted.into());
        }
        for (to, byte) in buf.iter_mut().zip(self.arrived.drain(..n)) {
            *to = byte;
        }
        Ok(n)
    }

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.arrived.is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = self.arrived.len().min(buf.len());
        buf.iter_mut().zip(&self.arrived).for_each(|(to, byte)| *to = *byte);
        Ok(n)
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.reset || self.shut {
            self.reset_told |= self.reset;
            return Err(ErrorKind::BrokenPipe.into());
        }
        if buf.is_empty() {
            return Ok(0);
        }
        if self.room == 0 || self.happens(8) {
            self.note_short();
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.happens(32) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut n = buf.len().min(self.room);
        if self.happens(3) {
            n = 1 + self.below(n as u64) as usize;
        }
        self.room -= n;
        if n < buf.len() {
            self.note_short();
        }
        self.written.extend_from_slice(&buf[..n]);
        self.written_total += n as u64;
        Ok(n)
    }

    /// A write took less than it was given: an event says when there is room, which is now if there is some.
    fn note_short(&mut self) {
        self.blocked = self.room == 0;
        self.refused = true;
        self.writable |= !self.blocked;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.state().closed = true;
    }
}

impl<S> From<S> for Socket<S> {
    fn from(socket: S) -> Socket<S> {
        Socket::Kernel(socket)
    }
}

impl<S: Read> Read for Socket<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Kernel(socket) => socket.read(buf),
            Socket::Fake(end) => end.0.state().read(buf),
        }
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match *self {
            Socket::Kernel(socket) => (&mut &*socket).read(buf),
            Socket::Fake(end) => end.0.state().read(buf),
        }
    }
}

impl<S: Write> Write for Socket<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Kernel(socket) => socket.write(buf),
            Socket::Fake(end) => end.0.state().write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Source> Source for Socket<S> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Socket::Kernel(socket) => socket.register(registry, token, interests),
            Socket::Fake(end) => {
                let mut state = end.0.state();
                // As epoll does for a socket that is new to it.
                state.writable = true;
                state.readable |= state.ended || state.reset || !state.arrived.is_empty();
                state.token = Some(token);
                Ok(())
            }
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Socket::Kernel(socket) => socket.reregister(registry, token, interests),
            Socket::Fake(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Socket::Kernel(socket) => socket.deregister(registry),
            Socket::Fake(end) => {
                end.0.state().token = None;
                Ok(())
            }
        }
    }
}

/// A socket that is connected to nothing: who sets a fake's options sets this one's.
static NOWHERE: LazyLock<socket2::Socket> =
    LazyLock::new(|| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a process may have a socket"));

impl<S: AsFd> AsFd for Socket<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Kernel(socket) => socket.as_fd(),
            Socket::Fake(_) => NOWHERE.as_fd(),
        }
    }
}

/// What both kinds of mio's streams have, each for itself.
macro_rules! streams {
    ($($stream:ty),*) => {$(
        impl Socket<$stream> {
            /// As mio's.
            pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                match self {
                    Socket::Kernel(socket) => socket.shutdown(how),
                    Socket::Fake(end) => {
                        end.0.state().shut = true;
                        Ok(())
                    }
                }
            }
        }
    )*};
}

streams!(net::TcpStream, net::UnixStream);

impl UnixStream {
    /// As mio's.
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> UnixStream {
        Socket::Kernel(net::UnixStream::from_std(stream))
    }
}

impl TcpStream {
    /// As mio's.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Kernel(socket) => socket.peek(buf),
            Socket::Fake(end) => end.0.state().peek(buf),
        }
    }

    /// As mio's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Socket::Kernel(socket) => socket.peer_addr(),
            Socket::Fake(_) => Ok(PEER),
        }
    }
}

/// Whence all fakes come.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What a listener of a test's is to accept, one after the other; nothing: `WouldBlock`.
pub type Accepts = Arc<Mutex<VecDeque<io::Result<End>>>>;

/// A listener of the kernel's, or a test's.
#[derive(Debug)]
pub enum Accepting<L> {
    /// The kernel's.
    Kernel(L),
    /// A test's, which gets an event for whatever is put there.
    Fake(Accepts),
}

/// In the place of mio's.
pub type TcpListener = Accepting<net::TcpListener>;
/// In the place of mio's.
pub type UnixListener = Accepting<net::UnixListener>;

fn next_of(accepts: &Accepts) -> io::Result<End> {
    accepts.lock().pop_front().unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))
}

impl TcpListener {
    /// As mio's.
    pub fn from_std(listener: std::net::TcpListener) -> TcpListener {
        Accepting::Kernel(net::TcpListener::from_std(listener))
    }

    /// As mio's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Accepting::Kernel(listener) => listener.local_addr(),
            Accepting::Fake(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// As mio's.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Accepting::Kernel(listener) => listener.accept().map(|(socket, peer)| (Socket::Kernel(socket), peer)),
            Accepting::Fake(accepts) => next_of(accepts).map(|end| (Socket::Fake(end), PEER)),
        }
    }
}

impl UnixListener {
    /// As mio's.
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> UnixListener {
        Accepting::Kernel(net::UnixListener::from_std(listener))
    }

    /// As mio's.
    pub fn accept(&self) -> io::Result<(UnixStream, Option<std::os::unix::net::SocketAddr>)> {
        match self {
            Accepting::Kernel(listener) => listener.accept().map(|(socket, peer)| (Socket::Kernel(socket), Some(peer))),
            Accepting::Fake(accepts) => next_of(accepts).map(|end| (Socket::Fake(end), None)),
        }
    }
}

impl<L: Source> Source for Accepting<L> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Accepting::Kernel(listener) => listener.register(registry, token, interests),
            Accepting::Fake(_) => Ok(()),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Accepting::Kernel(listener) => listener.reregister(registry, token, interests),
            Accepting::Fake(_) => Ok(()),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Accepting::Kernel(listener) => listener.deregister(registry),
            Accepting::Fake(_) => Ok(()),
        }
    }
}
