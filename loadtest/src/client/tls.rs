//! TLS towards the server: whom to trust, and a socket that may have TLS in it.
//!
//! Every handshake is a whole one, as those of so many different users are: a ticket that one connection got is no other's. What TLS
//! costs on this side is processor time of the generator, and is in its figures as such.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::url::Url;

/// The roots that Debian's `ca-certificates` keeps.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whom to trust, and by which name the server is to be known.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Trust {
    /// For a URL with `wss://`; `None` for one without. The error says what to do.
    pub fn of(url: &Url, ca: Option<&Path>) -> Result<Option<Trust>, String> {
        if !url.is_tls {
            return Ok(None);
        }
        let path = ca.unwrap_or(Path::new(SYSTEM_ROOTS));
        let failed = |what: &dyn std::fmt::Display| {
            let hint = if ca.is_none() { "; give the certificate that signed the server's with --ca FILE" } else { "" };
            format!("the certificates {}: {what}{hint}", path.display())
        };
        let pem = fs::read(path).map_err(|error| failed(&error))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| failed(&error))?;
            // Of a system's hundreds one or another may be of a form that is no longer taken.
            if let Err(error) = roots.add(certificate)
                && ca.is_some()
            {
                return Err(failed(&error));
            }
        }
        if roots.is_empty() {
            return Err(failed(&"no certificate in it (PEM)"));
        }
        let name = url.name.clone();
        let name = ServerName::try_from(name).map_err(|_| format!("`{}` is no name that a certificate could have", url.name))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.map_err(|error| failed(&error))?.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Some(Trust { config: Arc::new(config), name }))
    }

    fn connection(&self) -> io::Result<ClientConnection> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)
    }
}

/// What to do about a handshake that failed for a reason of TLS.
pub fn hint(why: &str) -> &'static str {
    match why {
        why if why.contains("certificate") => {
            "; --ca must be the certificate that signed the server's, and --url have a name that is in it"
        }
        why if why.contains("corrupt message") => "; does the server have TLS there? without it, --url is ws://",
        _ => "",
    }
}

/// A socket, with TLS in it if there is any.
pub struct Stream<S> {
    socket: S,
    tls: Option<Box<ClientConnection>>,
}

impl<S: Read + Write> Stream<S> {
    /// `trust`: with TLS, whose handshake goes on with the first reads and writes.
    pub fn new(socket: S, trust: Option<&Trust>) -> io::Result<Stream<S>> {
        let tls = trust.map(Trust::connection).transpose()?.map(Box::new);
        Ok(Stream { socket, tls })
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// Likewise, to register it.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// The socket alone, without a word to the peer.
    pub fn into_socket(self) -> S {
        self.socket
    }

    /// Whether sealed bytes wait for the socket.
    pub fn is_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads until the buffer is full or the socket is drained, for readiness that is told once. Of a socket without TLS one read says both.
    pub fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.socket.read(buffer);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                // What has come is told first; the error comes again.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl<S: Read + Write> Read for Stream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The peer has ended without saying so: an end as any other here.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            tls.read_tls(&mut self.socket)?;
            let processed = tls.process_new_packets();
            // The handshake's next flight, or the alert that says what is wrong.
            let sent = send(tls, &mut self.socket);
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            sent?;
        }
    }
}

impl<S: Read + Write> Write for Stream<S> {
    /// Takes nothing while earlier bytes wait for the socket: what a slow peer has not taken stays with the caller.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(bytes) };
        send(tls, &mut self.socket)?;
        if tls.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = tls.writer().write(bytes)?;
        send(tls, &mut self.socket)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| send(tls, &mut self.socket))
    }
}

/// Sends sealed bytes as far as the socket takes them.
fn send(tls: &mut ClientConnection, socket: &mut impl Write) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(socket) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(url: &str, ca: Option<&str>) -> Result<bool, String> {
        Trust::of(&Url::parse(url).expect(url), ca.map(Path::new)).map(|trust| trust.is_some())
    }

    #[test]
    fn what_is_no_certificate_is_told() {
        assert_eq!(trust("ws://127.0.0.1:1/", Some("/nonexistent")), Ok(false), "nobody needs it");
        let error = trust("wss://127.0.0.1:1/", Some("/nonexistent")).expect_err("no such file");
        assert!(error.contains("/nonexistent: No such file"), "{error}");
        let error = trust("wss://127.0.0.1:1/", Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).expect_err("no certificates");
        assert!(error.contains("no certificate in it"), "{error}");
    }
}
