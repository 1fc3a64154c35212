//! A TLS session on its TCP socket: what is sealed and not taken by the kernel waits here, and goes before all else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use crate::base::limits::TLS_RECORD_BYTES_MAX;
use crate::base::time::Mono;
use crate::net::socket::TcpStream;
use crate::net::stream::{Received, Scratch};

use super::session::{Handshake, Session};

/// See the module.
#[derive(Debug)]
pub struct TlsSocket {
    tcp: TcpStream,
    session: Session,
    /// Sealed, and not sent: it is started, and cannot be overtaken. At most one record and what the handshake has to say.
    unsent: Vec<u8>,
    /// Since when there is plaintext among that.
    since: Mono,
}

impl TlsSocket {
    /// A socket on which nothing was read yet.
    pub fn new(tcp: TcpStream, session: Session) -> TlsSocket {
        TlsSocket { tcp, session, unsent: Vec::new(), since: Mono::NEVER }
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The socket below, to be registered.
    pub fn tcp_mut(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// How far the handshake has come.
    pub fn handshake(&self) -> Handshake {
        self.session.handshake()
    }

    /// What is kept of a record, or of a message, until the rest comes.
    pub fn partial_bytes(&self) -> usize {
        self.session.partial_bytes()
    }

    /// Bytes that are sealed and not sent.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Since when plaintext is among those bytes.
    pub fn unsent_since(&self) -> Option<Mono> {
        (self.since != Mono::NEVER).then_some(self.since)
    }

    /// Reads once and opens what came, which may be no plaintext at all. [`ErrorKind::InvalidData`]: the peer broke the protocol, and an alert
    /// waits to be sent; what it still sends is read and dropped.
    pub fn read(&mut self, plaintext: &mut [u8], scratch: &mut Scratch) -> io::Result<Received> {
        // Plaintext is never longer than its records, so that nothing is ever left inside.
        let records = scratch.records(plaintext.len());
        let kept = self.session.put_partial(records);
        let room = records.len() - kept;
        let read = self.tcp.read(&mut records[kept..])?;
        let more = read == room;
        scratch.received += read as u64;
        if read == 0 || self.handshake() == Handshake::Failed {
            return Ok(Received { bytes: 0, more, end: read == 0 });
        }
        let opened = self.session.open(&mut scratch.records(plaintext.len())[..kept + read], plaintext, &mut self.unsent);
        let opened = opened.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        Ok(Received { bytes: opened.bytes, more, end: opened.end })
    }

    /// Seals and sends, record by record, until the kernel takes no more; `WouldBlock` if it took nothing of what waited before. What
    /// is counted is what is sealed: the rest of the last record goes before all else.
    pub fn write(&mut self, plaintext: &[u8], now: Mono, scratch: &mut Scratch) -> io::Result<usize> {
        self.send_unsent(scratch)?;
        let mut sealed = 0;
        for piece in plaintext.chunks(TLS_RECORD_BYTES_MAX) {
            let record = &mut scratch.record;
            record.clear();
            self.session.seal(piece, record).map_err(io::Error::other)?;
            sealed += piece.len();
            let sent = match self.tcp.write(record) {
                Ok(sent) => sent,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(error) => return Err(error),
            };
            scratch.sent += sent as u64;
            if sent < scratch.record.len() {
                self.unsent = scratch.record[sent..].to_vec();
                self.since = now;
                break;
            }
        }
        Ok(sealed)
    }

    fn send_unsent(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.tcp.write(&self.unsent) {
                Ok(sent) => {
                    scratch.sent += sent as u64;
                    self.unsent.drain(..sent);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (self.unsent, self.since) = (Vec::new(), Mono::NEVER);
        Ok(())
    }

    /// Tells the peer that nothing more comes: by TLS, so that nobody can cut the stream short unnoticed, and then by TCP.
    pub fn shutdown_write(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        self.say_end(scratch)?;
        self.tcp.shutdown(Shutdown::Write)
    }

    /// As much of an end as the kernel takes at once.
    pub fn say_end(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        if self.handshake() != Handshake::Running {
            self.session.close(&mut self.unsent).map_err(io::Error::other)?;
        }
        self.send_unsent(scratch)
    }
}
