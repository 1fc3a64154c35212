//! One TLS connection as bytes in and bytes out, without a socket: records in, plaintext and records out.
//!
//! It keeps no buffers but what is left of a record that has not come to its end: what is read and what is sealed lives in memory that all connections
//! of a reactor share.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{Error, HandshakeKind, ServerConfig};

use crate::base::limits::TLS_PARTIAL_BYTES_MAX;

/// A record's own bytes beside its plaintext are fewer.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// The alert `decode_error` (RFC 8446 section 6.2) as it is before there are keys.
const PLAIN_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// How far a handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// It goes on.
    Running,
    /// Done, with a signature.
    Full,
    /// Done, with a ticket of a former session.
    Resumed,
    /// It failed, or the connection did later: there is an alert to be sent, and nothing else.
    Failed,
}

/// What came of opening records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of plaintext.
    pub bytes: usize,
    /// The peer has said that no more comes.
    pub end: bool,
}

/// See the module.
pub struct Session {
    tls: UnbufferedServerConnection,
    /// The beginning of a record or of a message that is spread over records.
    partial: Vec<u8>,
    failed: bool,
    closed: bool,
}

impl Session {
    /// A connection that has yet to shake hands.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Session, Error> {
        Ok(Session { tls: UnbufferedServerConnection::new(config)?, partial: Vec::new(), failed: false, closed: false })
    }

    /// How far the handshake has come.
    pub fn handshake(&self) -> Handshake {
        match self.tls.handshake_kind() {
            _ if self.failed => Handshake::Failed,
            Some(HandshakeKind::Resumed) if !self.tls.is_handshaking() => Handshake::Resumed,
            Some(_) if !self.tls.is_handshaking() => Handshake::Full,
            _ => Handshake::Running,
        }
    }

    /// Puts what is left of former input at the front of `records`, where it belongs; what is read goes behind it. Its length.
    pub fn put_partial(&self, records: &mut [u8]) -> usize {
        records[..self.partial.len()].copy_from_slice(&self.partial);
        self.partial.len()
    }

    /// How much of a record, or of a message, is kept until the rest comes.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Opens what came: [`Session::put_partial`] and what was read behind it. `plaintext` has room for as many bytes. What is to be sent in turn,
    /// also after an error, is appended to `out`.
    pub fn open(&mut self, records: &mut [u8], plaintext: &mut [u8], out: &mut Vec<u8>) -> Result<Opened, Error> {
        let (mut opened, mut used) = (Opened::default(), 0);
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut records[used..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plaintext[opened.bytes..opened.bytes + record.payload.len()].copy_from_slice(record.payload);
                        opened.bytes += record.payload.len();
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => append(out, 0, |to| data.encode(to).map_err(|error| encode_error(&error)))?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => opened.end = true,
                // Blocked, or ready for more.
                Ok(_) => {
                    used += discard;
                    break;
                }
                Err(error) => {
                    used += discard;
                    return Err(self.fail(error, &mut records[used..], out));
                }
            }
            used += discard;
        }
        let rest = &mut records[used..];
        if rest.len() > TLS_PARTIAL_BYTES_MAX {
            return Err(self.fail(Error::General("a handshake message is too long".to_owned()), rest, out));
        }
        self.partial = rest.to_vec();
        Ok(opened)
    }

    /// Appends the alert that tells of an error. The input is not looked at again.
    fn fail(&mut self, error: Error, rest: &mut [u8], out: &mut Vec<u8>) -> Error {
        let before = out.len();
        (self.failed, self.partial) = (true, Vec::new());
        while self.tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = self.tls.process_tls_records(rest).state
            && append(out, 0, |to| data.encode(to).map_err(|error| encode_error(&error))).is_ok()
        {}
        // rustls has no alert for a message that is too long, and there are no keys before its hello.
        let is_silent = out.len() == before && !matches!(error, Error::AlertReceived(_));
        if is_silent && self.tls.handshake_kind().is_none() {
            out.extend_from_slice(&PLAIN_ALERT);
        }
        error
    }

    /// Appends the records that hold this plaintext to `out`: one, if it is no longer than one may be.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.when_ready(out, |ready, out| {
            append(out, plaintext.len() + RECORD_OVERHEAD_BYTES, |to| ready.encrypt(plaintext, to).map_err(|error| encrypt_error(&error)))
        })
    }

    /// Appends the word that nothing more comes, once.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if std::mem::replace(&mut self.closed, true) || self.failed {
            return Ok(());
        }
        self.when_ready(out, |ready, out| {
            append(out, RECORD_OVERHEAD_BYTES, |to| ready.queue_close_notify(to).map_err(|error| encrypt_error(&error)))
        })
    }

    fn when_ready(
        &mut self,
        out: &mut Vec<u8>,
        then: impl FnOnce(&mut rustls::unbuffered::WriteTraffic<'_, rustls::server::ServerConnectionData>, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            // The rest of the input goes with it: rustls remembers how far it has looked at that.
            match self.tls.process_tls_records(&mut self.partial).state? {
                ConnectionState::WriteTraffic(mut ready) => return then(&mut ready, out),
                ConnectionState::EncodeTlsData(mut data) => append(out, 0, |to| data.encode(to).map_err(|error| encode_error(&error)))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("handshake", &self.handshake()).finish_non_exhaustive()
    }
}

/// How much room is missing, or that there is no way.
type Short = Result<InsufficientSizeError, Error>;

fn encode_error(error: &EncodeError) -> Short {
    match error {
        EncodeError::InsufficientSize(short) => Ok(*short),
        EncodeError::AlreadyEncoded => Err(Error::General("encoded twice".to_owned())),
    }
}

fn encrypt_error(error: &EncryptError) -> Short {
    match error {
        EncryptError::InsufficientSize(short) => Ok(*short),
        EncryptError::EncryptExhausted => Err(Error::EncryptError),
    }
}

/// Appends what `write` writes. It is given `room` bytes, and once more as many as it says it needs.
fn append(out: &mut Vec<u8>, room: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, Short>) -> Result<(), Error> {
    let start = out.len();
    out.resize(start + room, 0);
    let written = write(&mut out[start..]).or_else(|short| {
        out.resize(start + short?.required_size, 0);
        write(&mut out[start..]).map_err(|short| short.err().unwrap_or(Error::EncryptError))
    });
    out.truncate(start + *written.as_ref().unwrap_or(&0));
    written.map(|_| ())
}
