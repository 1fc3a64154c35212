//! From the configuration to what each part takes, and what has to be read for it.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::{InquiryOptions, KeySet, Verifier, VerifyOptions};
use crate::base::bucket::Rate;
use crate::base::limits::{
    AUTHORIZER_ANSWERS_MAX, AUTHORIZER_WAITING_MAX, COMMAND_BURST, HANDSHAKE_BURST, REPLAY_PART_BYTES, REPLAY_SHARE, ROOMS_PER_CONN_MAX,
    UNACKNOWLEDGED_BYTES_MAX,
};
use crate::config::{CatalogEntry, Config, IssuerEntry};
use crate::hub::catalog::{Catalog, Entry};
use crate::hub::escalations::EscalationOptions;
use crate::hub::{HubOptions, OPERATORS_ROOMS};
use crate::reactor::registry::RegistryLimits;
use crate::reactor::{CompressionOptions, ReactorOptions};

use super::alerts;

/// State keys in one room: a market's symbols, a desk's accounts, with room to spare.
const KEYS_PER_ROOM_MAX: usize = 4096;

/// The hub's.
pub(super) fn hub(config: &Config) -> Result<HubOptions, String> {
    Ok(HubOptions {
        reactors: config.reactors,
        update_window: config.update_window,
        metric_gather: config.metric_gather,
        metric_flush: config.metric_flush,
        history_events: config.history_events,
        history_bytes: config.history_bytes,
        state_bytes: config.state_bytes,
        history_age: config.history_age,
        rooms_max: config.rooms_max,
        keys_per_room_max: KEYS_PER_ROOM_MAX,
        // Joins of all the rooms that a connection may have fill half of its queue.
        replay_at_once_bytes: REPLAY_PART_BYTES.min(config.queue_bytes_max / (2 * ROOMS_PER_CONN_MAX)),
        replay_part_bytes: REPLAY_PART_BYTES.min(config.queue_bytes_max / REPLAY_SHARE),
        // A user who comes back gets all of its own at once, and the queue must hold that.
        unacknowledged_user_bytes: config.queue_bytes_max / 4,
        unacknowledged_bytes: UNACKNOWLEDGED_BYTES_MAX.min(config.journal_bytes / 4),
        epoch_seed: random()?,
        escalation: escalation(config),
        local_rooms: local_rooms(&config.catalog),
    })
}

/// Who else is told of what users take no note of, if there is a webhook.
fn escalation(config: &Config) -> Option<EscalationOptions> {
    let own = config.catalog.iter().filter_map(|entry| Some((entry.kind.clone(), entry.escalate_after?)));
    config.webhook.as_ref().map(|webhook| EscalationOptions { after: webhook.after, types: own.collect() })
}

/// What the names of rooms begin with that are not shared with other nodes.
fn local_rooms(entries: &[CatalogEntry]) -> Vec<Box<str>> {
    let local = entries.iter().filter(|entry| entry.is_local);
    let local = local.map(|entry| entry.room.split('{').next().unwrap_or_default().into());
    // What a node has to say of itself is its own, also while it cannot reach the others.
    local.chain([alerts::ROOM].into_iter().chain(OPERATORS_ROOMS).map(Box::from)).collect()
}

/// The registry's.
pub(super) fn registry(config: &Config) -> RegistryLimits {
    RegistryLimits {
        connections_max: config.connections_max,
        per_user_max: config.connections_per_user_max,
        per_ip_max: (config.connections_per_ip_max > 0).then_some(config.connections_per_ip_max),
        handshakes: per_second(config.handshakes_per_ip, HANDSHAKE_BURST),
    }
}

/// So many in a second, and so many times as many at once; 0: any number.
fn per_second(rate: u32, times: u32) -> Option<Rate> {
    (rate > 0).then(|| Rate::per_second(rate, rate * times))
}

/// Each reactor's.
pub(super) fn reactor(config: &Config, instance: u32) -> ReactorOptions {
    ReactorOptions {
        origins: config.origins.clone(),
        require_origin: config.require_origin,
        admin_api: config.admin_api,
        query_token: config.query_token,
        peers: config.behind_proxy.clone(),
        client_address: config.client_address,
        commands: per_second(config.commands_per_client, COMMAND_BURST),
        strangers_max: config.strangers_max().div_ceil(config.reactors),
        queue_bytes_max: config.queue_bytes_max,
        reader_window: config.reader_window,
        slow_timeout: config.slow_timeout,
        heartbeat: config.heartbeat,
        busy_poll: config.busy_poll,
        compression: config
            .compression
            .then_some(CompressionOptions { level: config.compression_level, bytes_min: config.compression_min }),
        instance,
        conformance_echo: config.conformance_echo,
    }
}

/// The token verifier: the one issuer of the flags, and those of the file's tables. Reads their key files.
pub(super) fn verifier(config: &Config) -> Result<Verifier, String> {
    let mut verifier = Verifier::default();
    let mut trust = |keys: &[PathBuf], options| {
        let keys = load_keys(keys)?;
        verifier.trust(keys, options).map_err(|problem| format!("the keys of all issuers: {problem}"))
    };
    if !config.jwt_keys.is_empty() {
        trust(
            &config.jwt_keys,
            VerifyOptions {
                issuer: config.jwt_issuer.clone(),
                audience: config.jwt_audience.clone(),
                max_age: config.jwt_age_max,
                user_claims: config.jwt_user_claims.clone(),
                ..VerifyOptions::default()
            },
        )?;
    }
    for issuer in &config.issuers {
        trust(&issuer.keys, issuer_options(issuer, config.jwt_age_max))?;
    }
    Ok(verifier)
}

/// What the authorizer's desk may hold.
pub(super) fn inquiries(config: &Config) -> InquiryOptions {
    let kept_for = config.authorizer.as_ref().map_or(Duration::ZERO, |authorizer| authorizer.ttl);
    InquiryOptions { waiting_max: AUTHORIZER_WAITING_MAX, answers_max: AUTHORIZER_ANSWERS_MAX, kept_for }
}

fn issuer_options(issuer: &IssuerEntry, max_age: Option<Duration>) -> VerifyOptions {
    VerifyOptions {
        issuer: Some(issuer.iss.clone()),
        audience: issuer.aud.clone(),
        max_age,
        user_claims: issuer.user_claims.clone(),
        scope_claim: issuer.scope_claim.clone(),
        rooms_claim: issuer.rooms_claim.clone(),
        publish_rooms_claim: issuer.publish_rooms_claim.clone(),
        required_claims: issuer.required_claims.clone(),
    }
}

/// The built-in catalog and the configured entries.
pub(super) fn catalog(entries: &[CatalogEntry]) -> Result<Catalog, String> {
    Catalog::with(entries.iter().map(entry).collect()).map_err(|error| error.0)
}

/// Reads the key files; an error names the file and what is wrong with it.
fn load_keys(paths: &[PathBuf]) -> Result<KeySet, String> {
    let mut keys = KeySet::default();
    for path in paths {
        let bytes = std::fs::read(path).map_err(|error| {
            format!(
                "cannot read the key file {}: {error}; give --jwt-key, or the issuer's `key`, a file that this user may read",
                path.display()
            )
        })?;
        keys.add(&path.display().to_string(), &bytes).map_err(|error| error.to_string())?;
    }
    for note in keys.notes() {
        tracing::warn!(event = "key_skipped", note);
    }
    Ok(keys)
}

/// Tells this start of the daemon from others, in the names of sessions.
pub(super) fn instance() -> Result<u32, String> {
    random().map(|number| number as u32)
}

pub(super) fn random() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("the system has no random numbers: {error}"))
}

fn entry(configured: &CatalogEntry) -> Entry {
    Entry {
        kind: configured.kind.clone(),
        rooms: vec![configured.room.clone()],
        owner: configured.owner.clone(),
        lane: configured.lane,
        mode: configured.mode,
        key: configured.key.clone(),
        history: configured.history,
        ack_ttl: configured.ack_ttl,
    }
}
