//! Asks the external authorizer: a few threads, because each request waits for its answer.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use ureq::Agent;

use crate::auth::{Answer, Failure, Inquiry};
use crate::base::limits::AUTHORIZER_ANSWER_BYTES_MAX;
use crate::config::AuthorizerConfig;
use crate::net::clock::Clock;
use crate::reactor::authorizer::Authorizer;

use super::http_client::{self, Peer, read_secret};

/// Requests under way at a time.
const THREADS: usize = 8;

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
        let agent = http_client::agent(&Peer {
            name: "authorizer",
            url: &config.url,
            ca: config.ca.as_deref(),
            ca_flag: "--authorizer-ca",
            timeout: config.timeout,
            idle_max: THREADS,
        })?;
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
