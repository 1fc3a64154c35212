//! The publish socket: lines out of it.

use std::io::{self, Read};

use memchr::memchr;
use mio::event::Event;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

/// Read at once. A longer line makes the buffer grow, up to the second number; beyond that the publisher is dropped.
const BUFFER_BYTES: usize = 64 * 1024;
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Taken in one turn: more than the socket holds, so that only a publisher who writes while we read is cut off.
const TURN_BYTES: usize = 1024 * 1024;

/// Tokens from here on are ours.
pub(crate) const TOKENS_FROM: usize = 1 << 40;
const LISTENER: Token = Token(TOKENS_FROM);

/// The listener and the publishers.
#[derive(Debug)]
pub(crate) struct Publishers {
    listener: UnixListener,
    /// A slot is taken again when its publisher has gone.
    publishers: Vec<Option<Publisher>>,
}

#[derive(Debug)]
struct Publisher {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Of the buffer, what is read and not taken yet.
    start: usize,
    end: usize,
    /// The stream may have more.
    readable: bool,
    /// The publisher has ended its side: what is left is to be read up to the end.
    ended: bool,
}

/// What a look for lines found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// All that is there was taken.
    Drained,
    /// The taker wants no more in this turn, or the turn's budget is used up.
    Enough,
}

impl Publishers {
    pub(crate) fn new(mut listener: UnixListener, registry: &Registry) -> io::Result<Publishers> {
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Publishers { listener, publishers: Vec::new() })
    }

    /// Notes an event, whose token is one of ours.
    pub(crate) fn on_event(&mut self, event: &Event, registry: &Registry) -> io::Result<()> {
        if event.token() == LISTENER {
            return self.accept(registry);
        }
        if let Some(Some(publisher)) = self.publishers.get_mut(event.token().0 - TOKENS_FROM - 1) {
            publisher.readable = true;
            publisher.ended |= event.is_read_closed() || event.is_error();
        }
        Ok(())
    }

    fn accept(&mut self, registry: &Registry) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let slot = self.publishers.iter().position(Option::is_none).unwrap_or(self.publishers.len());
            if slot == self.publishers.len() {
                self.publishers.push(None);
            }
            registry.register(&mut stream, Token(TOKENS_FROM + 1 + slot), Interest::READABLE)?;
            let publisher = Publisher { stream, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, readable: true, ended: false };
            self.publishers[slot] = Some(publisher);
        }
    }

    /// Gives what is there to `take`, line by line, until it says that it wants no more. Whether there may be more now.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(&[u8]) -> bool) -> bool {
        let mut more = false;
        for slot in &mut self.publishers {
            let Some(publisher) = slot else { continue };
            match publisher.drain(&mut take) {
                Ok(found) => more |= found == Found::Enough,
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        eprintln!("tickerd-floor: a publisher is dropped: {error}");
                    }
                    *slot = None; // which closes the stream, and so ends its registration
                }
            }
        }
        more
    }
}

impl Publisher {
    fn drain(&mut self, take: &mut impl FnMut(&[u8]) -> bool) -> io::Result<Found> {
        let mut budget = TURN_BYTES;
        loop {
            if !self.take_lines(take) || budget == 0 {
                return Ok(Found::Enough);
            }
            if !self.readable {
                return Ok(Found::Drained);
            }
            budget = budget.saturating_sub(self.read()?);
        }
    }

    /// Takes the whole lines of the buffer; false if the taker wants no more.
    fn take_lines(&mut self, take: &mut impl FnMut(&[u8]) -> bool) -> bool {
        while let Some(len) = memchr(b'\n', &self.buffer[self.start..self.end]) {
            let line = self.start..self.start + len;
            self.start = line.end + 1;
            if !line.is_empty() && !take(&self.buffer[line]) {
                return false;
            }
        }
        true
    }

    /// Reads once, behind what is left of the last line. The end of the stream is an error.
    fn read(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            if self.end >= LINE_BYTES_MAX {
                return Err(io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
            }
            self.buffer.resize(self.end * 2, 0);
        }
        let asked = self.buffer.len() - self.end;
        match self.stream.read(&mut self.buffer[self.end..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.end += read;
                // Less than was asked is all there was: what comes later is another edge, and saves the read that says so.
                self.readable = read == asked || self.ended;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }
}
