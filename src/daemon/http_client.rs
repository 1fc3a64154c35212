//! The HTTP client for those whom the daemon asks or tells something: off the hot path, blocking, with a limit on all that may take long.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Longer secrets are none.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Whom to reach.
pub(super) struct Peer<'a> {
    /// What it is called in messages.
    pub(super) name: &'static str,
    pub(super) url: &'a str,
    /// The authorities that https is checked with; those that this machine trusts if none is given.
    pub(super) ca: Option<&'a Path>,
    /// The flag that names them.
    pub(super) ca_flag: &'static str,
    /// How long one request may take, its answer included.
    pub(super) timeout: Duration,
    /// Connections that are kept open.
    pub(super) idle_max: usize,
}

/// A client that follows no redirects and uses no proxy. Every status is an answer.
pub(super) fn agent(peer: &Peer<'_>) -> Result<Agent, String> {
    let mut tls = TlsConfig::builder();
    if peer.url.starts_with("https:") {
        tls = tls
            .root_certs(RootCerts::new_with_certs(&authorities(peer)?))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    }
    let config = Agent::config_builder()
        .timeout_global(Some(peer.timeout))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .user_agent("tickerd")
        .max_response_header_size(16 * 1024)
        .max_idle_connections_per_host(peer.idle_max)
        .tls_config(tls.build())
        .build();
    Ok(config.new_agent())
}

/// Reads a secret of one line.
pub(super) fn read_secret(what: &str, path: &Path) -> Result<String, String> {
    let told = |why: &dyn std::fmt::Display| format!("{what} in {}: {why}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(&error))?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(told(&format!("write one line of 1 to {TOKEN_BYTES_MAX} visible ASCII characters")));
    }
    Ok(token.to_owned())
}

/// Those of the file, or those that this machine trusts.
fn authorities(peer: &Peer<'_>) -> Result<Vec<Certificate<'static>>, String> {
    let Peer { name, ca, ca_flag, .. } = peer;
    if let Some(path) = ca {
        let told = |why: &dyn std::fmt::Display| {
            format!("the authorities that the {name} is checked with, in {}: {why}; give {ca_flag} a PEM file of them", path.display())
        };
        return read_certificates(path, told);
    }
    let known = rustls_native_certs::load_native_certs().certs;
    if known.is_empty() {
        return Err(format!("this machine trusts no authority that an https {name} could be checked with; give {ca_flag} FILE"));
    }
    Ok(known.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}

fn read_certificates(path: &Path, told: impl Fn(&dyn std::fmt::Display) -> String) -> Result<Vec<Certificate<'static>>, String> {
    let pem = fs::read(path).map_err(|error| told(&error))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| told(&error))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(told(&"there is none")) } else { Ok(certificates) }
}
