//! Asks the external authorizer: a few threads, because each request waits for its answer.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::auth::{Answer, Failure, Inquiry};
use crate::base::limits::AUTHORIZER_ANSWER_BYTES_MAX;
use crate::config::AuthorizerConfig;
use crate::net::clock::Clock;
use crate::reactor::authorizer::Authorizer;

/// Requests under way at a time.
const THREADS: usize = 8;
/// Longer secrets are none.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Asks by HTTP.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    url: String,
    /// The header that tells the authorizer who asks. A secret.
    bearer: Option<String>,
}

impl Client {
    /// Reads what the configuration names: the token, and for https the certificates to trust.
    pub(super) fn new(config: &AuthorizerConfig) -> Result<Client, String> {
        let mut tls = TlsConfig::builder();
        if config.url.starts_with("https:") {
            tls = tls
                .root_certs(RootCerts::new_with_certs(&authorities(config.ca.as_deref())?))
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent("tickerd")
            .max_response_header_size(16 * 1024)
            .max_idle_connections_per_host(THREADS)
            .tls_config(tls.build())
            .build()
            .new_agent();
        let bearer = config
            .token_file
            .as_deref()
            .map(|path| read_secret("the authorizer's token", path))
            .transpose()?
            .map(|token| format!("Bearer {token}"));
        Ok(Client { agent, url: config.url.clone(), bearer })
    }

    /// One request. Only a status of 200 is an answer; redirects are not followed.
    fn ask(&self, inquiry: &Inquiry) -> Result<Answer, (Failure, String)> {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        let mut response = request.send(inquiry.to_json()).map_err(|error| failure(&error))?;
        if response.status() != 200 {
            return Err((Failure::Status, format!("status {}", response.status())));
        }
        let body = response.body_mut().with_config().limit(AUTHORIZER_ANSWER_BYTES_MAX).read_to_vec().map_err(|error| failure(&error))?;
        Answer::parse(&body).ok_or_else(|| (Failure::Answer, "not an object with `allow`: true or false".to_owned()))
    }
}

/// The client that the next request is made with.
pub(super) type CurrentClient = Arc<RwLock<Client>>;

/// Starts the threads, which ask until the process ends.
pub(super) fn start(client: &CurrentClient, authorizer: &Arc<Authorizer>, clock: Clock) -> Result<(), String> {
    for index in 0..THREADS {
        let (client, authorizer) = (Arc::clone(client), Arc::clone(authorizer));
        super::spawn(&format!("authorizer-{index}"), move || {
            loop {
                let inquiry = authorizer.next(clock);
                let client = client.read().clone();
                let began = clock.mono();
                let outcome = client.ask(&inquiry);
                let now = clock.mono();
                if let Err((failure, why)) = &outcome {
                    tracing::warn!(event = "authorizer_failed", ?failure, why, asked = inquiry.to_json(), "the authorizer gave no answer");
                }
                let outcome = outcome.map_err(|(failure, _)| failure);
                authorizer.settle(&inquiry, outcome, now.since(began), now);
            }
        })?;
    }
    Ok(())
}

fn failure(error: &ureq::Error) -> (Failure, String) {
    let failure = match error {
        ureq::Error::Timeout(_) => Failure::Timeout,
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => Failure::Timeout,
        ureq::Error::BodyExceedsLimit(_) => Failure::Answer,
        _ => Failure::Connection,
    };
    (failure, error.to_string())
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
fn authorities(file: Option<&Path>) -> Result<Vec<Certificate<'static>>, String> {
    if let Some(path) = file {
        return read_certificates(path);
    }
    let known = rustls_native_certs::load_native_certs().certs;
    if known.is_empty() {
        return Err("this machine trusts no authority that an https authorizer could be checked with; give --authorizer-ca FILE".to_owned());
    }
    Ok(known.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let told = |why: &dyn std::fmt::Display| {
        format!(
            "the authorities that the authorizer is checked with, in {}: {why}; give --authorizer-ca a PEM file of them",
            path.display()
        )
    };
    let pem = fs::read(path).map_err(|error| told(&error))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| told(&error))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(told(&"there is none")) } else { Ok(certificates) }
}
