//! A client command's connection to a daemon, with TLS or without.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Failure;
use super::endpoint::Endpoint;

/// A TLS handshake may take no longer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where to connect to, and whom to trust there.
pub(super) struct Connector {
    pub(super) endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
}

/// See the module.
pub(super) enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connector {
    /// With `ca`, certificates signed by one of that file are trusted alone, else those that this machine trusts.
    pub(super) fn new(endpoint: Endpoint, ca: Option<&Path>) -> Result<Connector, Failure> {
        if !endpoint.is_tls && ca.is_some() {
            return Err(Failure::Usage(
                "--ca: the URL is of plaintext, where there is no certificate to verify: write https:// or wss://".to_owned(),
            ));
        }
        let tls = endpoint.is_tls.then(|| client_config(ca)).transpose().map_err(Failure::Usage)?;
        Ok(Connector { endpoint, tls })
    }

    /// Connects, and shakes hands.
    pub(super) fn connect(&self) -> io::Result<Line> {
        let mut tcp = self.endpoint.connect()?;
        let Some(config) = &self.tls else { return Ok(Line::Plain(tcp)) };
        let name = ServerName::try_from(self.endpoint.host().to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        tcp.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        tcp.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).map_err(|error| explained(&error))?;
        }
        Ok(Line::Tls(Box::new(StreamOwned::new(tls, tcp))))
    }
}

fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let added = match ca {
        Some(path) => {
            let bad = |why: &str| format!("--ca {}: {why}: give certificates in PEM", path.display());
            let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            roots.add_parsable_certificates(certificates.map_err(|error| bad(&error.to_string()))?).0
        }
        None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs).0,
    };
    match (added, ca) {
        (0, Some(path)) => return Err(format!("--ca {}: it has no certificate: give certificates in PEM", path.display())),
        (0, None) => return Err("this machine trusts no certificate: install ca-certificates, or give --ca FILE".to_owned()),
        _ => {}
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let mut config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A handshake's error with what to do about it.
fn explained(error: &io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let hint = match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => "; give the authority's certificate by --ca FILE",
        Some(rustls::Error::InvalidMessage(_)) => "; is this address of a daemon with --tls-cert?",
        _ => "",
    };
    io::Error::new(error.kind(), format!("{error}{hint}"))
}

impl Line {
    /// The socket below, for its timeouts.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Line::Plain(tcp) => tcp,
            Line::Tls(tls) => tls.get_ref(),
        }
    }

    /// Whether the peer has neither closed nor sent anything to be read.
    pub(super) fn is_quiet(&mut self) -> bool {
        let before = self.tcp().set_nonblocking(true);
        let quiet = match self {
            Line::Plain(tcp) => tcp.peek(&mut [0]),
            // Tickets may have come, which are nothing to be read.
            Line::Tls(tls) => tls.read(&mut [0]),
        };
        let after = self.tcp().set_nonblocking(false);
        before.and(after).is_ok() && quiet.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Plain(tcp) => tcp.read(buf),
            Line::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Line::Plain(tcp) => tcp.write(buf),
            Line::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Plain(tcp) => tcp.flush(),
            Line::Tls(tls) => tls.flush(),
        }
    }
}
