//! The log of those who were turned away: a line for each, as long as they are not too many (OBS-17).

use std::net::IpAddr;

use tracing::{field, info};

use crate::base::bucket::Bucket;
use crate::base::limits::LOGGED_REFUSAL_RATE;
use crate::base::time::Mono;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    bucket: Bucket,
    /// Those who got no line since the last one.
    unlogged: u64,
}

impl Refusals {
    /// Logs that somebody did not get what was asked for.
    pub(super) fn log(&mut self, now: Mono, client: Option<IpAddr>, what: &str, reason: &str) {
        if self.bucket.take(1, LOGGED_REFUSAL_RATE, now).is_err() {
            self.unlogged += 1;
            return;
        }
        let unlogged = std::mem::take(&mut self.unlogged);
        info!(event = "refused", what, reason, client = client.map(field::display), unlogged);
    }
}
