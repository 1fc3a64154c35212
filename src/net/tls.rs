//! TLS 1.2 and 1.3 at the server's side, by rustls: what is offered, with which certificates, and one connection's records.
//!
//! Offered are suites with forward secrecy and authenticated encryption alone (no CBC, no RSA key exchange), in our order. Sessions are
//! resumed by tickets, which all reactors open with the same keys; a ticket holds the session, the server nothing. There is no early data:
//! it could be replayed.

mod certificates;
mod session;
mod socket;

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, Ticketer, cipher_suite as suite};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, SupportedCipherSuite, version};

pub use certificates::{Certificates, Fault, Identity, load};
pub use session::{Handshake, Opened, Session};
pub use socket::TlsSocket;

/// What is offered, the preferred first: AES-128 costs a quarter less than AES-256, and nobody breaks either.
const SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// What all TLS connections of the daemon share.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// Serves with these certificates, whatever they are at each handshake.
    pub fn new(certificates: Arc<Certificates>) -> Result<ServerTls, rustls::Error> {
        let provider = rustls::crypto::CryptoProvider { cipher_suites: SUITES.to_vec(), ..aws_lc_rs::default_provider() };
        let builder = ServerConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new()?;
        config.max_early_data_size = 0;
        Ok(ServerTls(Arc::new(config)))
    }

    /// A connection that has yet to shake hands.
    pub fn session(&self) -> Result<Session, rustls::Error> {
        Session::new(Arc::clone(&self.0))
    }
}

/// The protocol versions and cipher suites that are offered, for people, the preferred first.
pub fn offered() -> impl Iterator<Item = (&'static str, String)> {
    SUITES.iter().map(|suite| {
        let version = if suite.tls13().is_some() { "TLS 1.3" } else { "TLS 1.2" };
        (version, suite.suite().as_str().unwrap_or("?").replace("TLS13_", "TLS_"))
    })
}

#[cfg(test)]
mod tests;
