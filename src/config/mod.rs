//! Flags, environment and file to one validated value.
//!
//! The table in `keys` drives all of it: each key is a flag (`--max-rooms`), a variable (`TICKERD_MAX_ROOMS`) and a key of
//! the TOML file (`max_rooms`). Flags win over the environment, the environment over the file, the file over the default;
//! a list is taken whole from the first that gives it. Only the daemon knows [`Config`]; what is below takes its own options.

mod alerts;
mod analytics;
mod args;
mod catalog;
mod entry;
mod error;
mod file;
mod issuer;
mod keys;
mod parse;
mod reread;
mod resolve;
mod show;
mod suggest;
#[cfg(test)]
mod tests;
mod validate;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::cidr::Cidr;
use crate::base::limits::{CONNECTION_BYTES, PUBLISH_BYTES_MAX, ROOM_BYTES, TLS_CONNECTION_BYTES};
use crate::ops::log::{LogFormat, LogLevel};
use crate::reactor::admin_desk::AdminAccess;
use crate::wire::forwarded::ClientAddress;

pub use alerts::{AlertEntry, alert_limits};
pub use analytics::AnalyticsConfig;
pub use args::ServeArgs;
pub use catalog::CatalogEntry;
pub use error::{ConfigError, Origin, Problem};
pub use issuer::IssuerEntry;
pub use keys::{Key, Kind, Reload, keys};
pub use reread::Reread;
pub use resolve::{Setting, Surroundings};

use file::Tables;

/// Descriptors wanted beyond those of connections: listeners, the log, keys that are read again, and room to refuse politely.
const DESCRIPTORS_RESERVE: u64 = 256;
/// Connections without a token that there may be at least.
const STRANGERS_LEAST: usize = 16;
/// The smallest memory budget.
const MEMORY_BUDGET_LEAST: usize = 8 << 20;
/// The smallest queue of one client: with less than two of the largest frames, one alert would close a healthy client.
const QUEUE_BYTES_LEAST: usize = 2 * PUBLISH_BYTES_MAX;
/// Smaller ones would have a ping with every write.
const READER_WINDOW_LEAST: usize = 64 * 1024;

/// The validated configuration: every value is within its bounds and goes with the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Addresses for clients and publishers; never empty, and on loopback unless `tls` or `behind_proxy` is given.
    pub listen: Vec<SocketAddr>,
    /// The loopback address for metrics, health and administration.
    pub admin_listen: SocketAddr,
    /// What tokens with the scope `admin` may do on `listen`.
    pub admin_api: AdminAccess,
    /// The publishers' unix socket.
    pub publish_socket: Option<PathBuf>,
    /// Its file mode.
    pub publish_socket_mode: u32,
    /// Certificates and their keys; if there are any, `listen` speaks TLS. They are read later, and again on reload.
    pub tls: Vec<TlsFiles>,
    /// Origins whose pages may connect, as browsers send them; empty: any.
    pub origins: Vec<String>,
    /// Whether a WebSocket must come from a page, or bring a publisher's token.
    pub require_origin: bool,
    /// If not empty, the only networks that may connect.
    pub behind_proxy: Vec<Cidr>,
    /// Where those networks' proxies say who the client is.
    pub client_address: ClientAddress,
    /// Key files. They are read later, and again on reload. Empty only if there are `issuers`.
    pub jwt_keys: Vec<PathBuf>,
    /// Issuer that tokens must name.
    pub jwt_issuer: Option<String>,
    /// Audience that tokens must name.
    pub jwt_audience: Option<String>,
    /// Claims that name the user, the first that is present winning; never empty.
    pub jwt_user_claims: Vec<String>,
    /// Age since `iat` beyond which tokens are refused.
    pub jwt_age_max: Option<Duration>,
    /// Issuers beside the one whose tokens are signed with `jwt_keys`; none twice.
    pub issuers: Vec<IssuerEntry>,
    /// Whether `?token=` is accepted.
    pub query_token: bool,
    /// Who decides about joins that neither token nor ownership allows; nobody if none is given.
    pub authorizer: Option<AuthorizerConfig>,
    /// Who is told of events that their users do not acknowledge in time; nobody if none is given.
    pub webhook: Option<WebhookConfig>,
    /// Where what must outlive the process is kept; nowhere if none is given.
    pub data_dir: Option<PathBuf>,
    /// Bytes of events kept there.
    pub journal_bytes: usize,
    /// How long they are.
    pub journal_age: Duration,
    /// How long entries of the audit trail are; zero: none are made.
    pub audit_age: Duration,
    /// Redis over which several nodes share their rooms; none: this is the only node.
    pub redis: Option<RedisConfig>,
    /// Streams by which backends publish; none if none is named.
    pub ingest: Option<IngestConfig>,
    /// Threads that own connections.
    pub reactors: usize,
    /// Whether each thread is bound to a core.
    pub pin_cores: bool,
    /// How long to spin before sleeping.
    pub busy_poll: Duration,
    /// The update lane's window for each state key; zero: none.
    pub update_window: Duration,
    /// How long the metric lane gathers; zero: not at all.
    pub metric_gather: Duration,
    /// The period at which a room's metrics leave; at least 1 ms.
    pub metric_flush: Duration,
    /// Whether clients may agree on permessage-deflate.
    pub compression: bool,
    /// How hard to compress, 1 to 9.
    pub compression_level: u32,
    /// Bytes of the shortest message that is compressed.
    pub compression_min: usize,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one user.
    pub connections_per_user_max: u32,
    /// Connections of one address; 0: any number.
    pub connections_per_ip_max: u32,
    /// Handshakes of one address in a second; 0: any number.
    pub handshakes_per_ip: u32,
    /// Commands of one connection in a second; 0: any number.
    pub commands_per_client: u32,
    /// Bytes queued for one client.
    pub queue_bytes_max: usize,
    /// Bytes that a WebSocket may have unread before updates and metrics wait.
    pub reader_window: u32,
    /// Age of a client's oldest queued frame.
    pub slow_timeout: Duration,
    /// Bytes that may be held in all; 0: any number.
    pub memory_budget: usize,
    /// Time between pings.
    pub heartbeat: Duration,
    /// Time that clients have to leave when the daemon stops.
    pub drain_timeout: Duration,
    /// Stream events kept per room and lane.
    pub history_events: usize,
    /// Bytes of history in all.
    pub history_bytes: usize,
    /// Bytes of states in all.
    pub state_bytes: usize,
    /// Age at which history is dropped.
    pub history_age: Duration,
    /// Rooms in all.
    pub rooms_max: usize,
    /// How log lines are written.
    pub log: LogFormat,
    /// The least severe line written.
    pub log_level: LogLevel,
    /// Whether WebSocket messages are sent back instead of being served, without tokens: for conformance suites. Only with
    /// listeners on loopback.
    pub conformance_echo: bool,
    /// Routes beyond the built-in catalog; no type twice.
    pub catalog: Vec<CatalogEntry>,
    /// Alerts with thresholds of their own; none twice.
    pub alerts: Vec<AlertEntry>,
    /// Numbers of accounts, made of their fills; none: none are made.
    pub analytics: Option<AnalyticsConfig>,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's certificate first.
    pub certificate: PathBuf,
    /// The private key; may be the same file.
    pub key: PathBuf,
}

/// An external authorizer, asked by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizerConfig {
    /// Where it is asked: http or https, without a user's name or password.
    pub url: String,
    /// The file of the bearer token that it wants.
    pub token_file: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long an answer that allows is kept if it does not say.
    pub ttl: Duration,
    /// The authorities that https is checked with; those that this machine trusts if none is given.
    pub ca: Option<PathBuf>,
}

/// A webhook, told by HTTP of events that their users do not acknowledge in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where it is told: http or https, without a user's name or password.
    pub url: String,
    /// The file of the secrets that requests are signed with.
    pub secret_file: PathBuf,
    /// The authorities that https is checked with; those that this machine trusts if none is given.
    pub ca: Option<PathBuf>,
    /// How long an event may wait, unless its type has a time of its own.
    pub after: Duration,
}

/// Redis, over which several nodes share their rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// Where it is, without a password.
    pub url: String,
    /// The file of its password.
    pub password_file: Option<PathBuf>,
    /// With TLS: the file of whoever must have signed its certificate; none: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// With TLS: the file of our certificate and its key.
    pub certificate: Option<PathBuf>,
    /// Replicas that must have an event before its publisher is told `ok`.
    pub replicas: u32,
}

/// Streams of a Redis by which backends publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestConfig {
    /// Where they are.
    pub redis: RedisConfig,
    /// Their names: identifiers, never empty.
    pub streams: Vec<String>,
}

impl Config {
    /// Descriptors that the process should be allowed (LIM-09).
    fn descriptors_needed(&self) -> u64 {
        (self.connections_max + self.strangers_max()) as u64 + DESCRIPTORS_RESERVE
    }

    /// Takes no more connections than there are descriptors for: half of those that there are, if there are so few.
    fn lower_to_descriptors(&mut self, descriptors_max: Option<u64>) {
        if let Some(limit) = descriptors_max.filter(|limit| *limit < self.descriptors_needed()) {
            let left = (limit.saturating_sub(DESCRIPTORS_RESERVE) * 2 / 3).max(limit / 2);
            self.connections_max = self.connections_max.min(left as usize);
        }
    }

    /// Lowers what is kept for long so that the memory budget has a fifth left for what comes and goes: connections may take a third, history a
    /// quarter, states an eighth, rooms a 16th; and one client's queue a 32nd part. Where events are on disk takes 8 to 16 bytes for each, so that the
    /// journal may be twice the budget. What was lowered, and to what.
    fn lower_to_memory(&mut self) -> Vec<(&'static str, usize)> {
        let budget = self.memory_budget;
        if budget == 0 {
            return Vec::new();
        }
        let connection_bytes = CONNECTION_BYTES + if self.tls.is_empty() { 0 } else { TLS_CONNECTION_BYTES };
        let journal_bytes_max = if self.data_dir.is_some() { 2 * budget } else { usize::MAX };
        let limits = [
            ("journal_bytes", &mut self.journal_bytes, journal_bytes_max),
            ("history_bytes", &mut self.history_bytes, budget / 4),
            ("state_bytes", &mut self.state_bytes, budget / 8),
            ("max_rooms", &mut self.rooms_max, budget / 16 / ROOM_BYTES),
            ("max_connections", &mut self.connections_max, budget / 3 / connection_bytes),
            ("max_queue_bytes", &mut self.queue_bytes_max, (budget / 32).max(QUEUE_BYTES_LEAST)),
        ];
        let too_high = limits.into_iter().filter(|(_, limit, most)| **limit > *most);
        let lower = |(name, limit, most): (_, &mut usize, _)| {
            *limit = most;
            (name, most)
        };
        too_high.map(lower).collect()
    }

    /// Connections without a token, and HTTP connections, that there may be beside the others: half as many, for when all come back at once.
    pub fn strangers_max(&self) -> usize {
        (self.connections_max / 2).max(STRANGERS_LEAST)
    }
}

/// A configuration with what there is to tell about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every key's effective value and origin.
    pub settings: Vec<Setting>,
    /// Descriptors that the process should be allowed, for as many connections as were asked for.
    pub descriptors_needed: u64,
    /// What is most likely not meant: to be logged by `serve`, and shown by `check`.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// The effective configuration as a file, with the origin of each key behind it.
    pub fn show(&self) -> String {
        show::show(&self.settings, &self.config)
    }
}

/// Puts flags, environment and file together and validates the result; the error has all problems at once.
pub fn load(args: &ServeArgs, surroundings: &Surroundings) -> Result<Loaded, ConfigError> {
    let mut problems = Vec::new();
    let mut file = config_path(args, surroundings).map(|path| file::load(&path, &mut problems)).unwrap_or_default();
    let settings = resolve::resolve(args, surroundings, &file);
    let tables = std::mem::take(&mut file.tables);
    judge(settings, tables, args, surroundings, problems)
}

/// The admin listener's address alone, for who asks a daemon and is none: all else may be missing.
pub fn admin_listen(args: &ServeArgs, surroundings: &Surroundings) -> Result<SocketAddr, ConfigError> {
    let mut problems = Vec::new();
    let file = config_path(args, surroundings).map(|path| file::load(&path, &mut problems)).unwrap_or_default();
    let settings = resolve::resolve(args, surroundings, &file);
    let address = validate::admin_listen(&settings, &mut problems);
    if problems.is_empty() { Ok(address) } else { Err(ConfigError { problems }) }
}

/// Validates what was put together.
fn judge(
    settings: Vec<Setting>,
    tables: Tables,
    args: &ServeArgs,
    surroundings: &Surroundings,
    mut problems: Vec<Problem>,
) -> Result<Loaded, ConfigError> {
    let file = config_path(args, surroundings);
    let places = parse::Places {
        credentials: surroundings.variable("CREDENTIALS_DIRECTORY").map(Path::new),
        configuration: file.as_deref().and_then(Path::parent),
    };
    let mut config = validate::validate(&settings, tables, places, &mut problems);
    config.conformance_echo = args.conformance_echo;
    problems.extend(validate::check_conformance_echo(&config));
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let mut warnings = validate::warnings(&config, &settings, surroundings.descriptors_max, surroundings.cores);
    let descriptors_needed = config.descriptors_needed();
    config.lower_to_descriptors(surroundings.descriptors_max);
    let lowered: Vec<_> = config.lower_to_memory().into_iter().map(|(name, limit)| format!("{name} to {limit}")).collect();
    if !lowered.is_empty() {
        warnings.push(format!(
            "memory_budget: {} is little for some limits, which are lowered: {}",
            config.memory_budget,
            lowered.join(", ")
        ));
    }
    warnings.extend(surroundings.strangers());
    Ok(Loaded { config, settings, descriptors_needed, warnings })
}

fn config_path(args: &ServeArgs, surroundings: &Surroundings) -> Option<PathBuf> {
    args.config.clone().or_else(|| surroundings.variable("TICKERD_CONFIG").map(|path| Path::new(path).to_owned()))
}
