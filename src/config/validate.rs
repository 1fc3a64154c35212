//! Raw settings to the one value that nothing checks again.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::cidr::Cidr;
use crate::ops::log::{LogFormat, LogLevel};
use crate::reactor::admin_desk::AdminAccess;
use crate::wire::forwarded::ClientAddress;

use super::args::CONFORMANCE_ECHO;
use super::error::{Origin, Problem};
use super::file::Tables;
use super::issuer::IssuerEntry;
use super::parse::{self, Places};
use super::resolve::{REACTORS_MAX, Setting};
use super::{
    AuthorizerConfig, Config, IngestConfig, QUEUE_BYTES_LEAST, READER_WINDOW_LEAST, RedisConfig, TlsFiles, WebhookConfig, parse::duration,
    parse::number, parse::size,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Builds the configuration, adding whatever is wrong to `problems`; the value is good only if none was added.
pub(super) fn validate(
    settings: &[Setting],
    Tables { catalog, issuers, alerts, analytics }: Tables,
    places: Places<'_>,
    problems: &mut Vec<Problem>,
) -> Config {
    let mut read = Reader { settings, problems };
    let (tls_certificates, tls_keys) = (read.files("tls-cert", places), read.files("tls-key", places));
    let config = Config {
        listen: read.list("listen", parse::address),
        admin_listen: read.admin_listen(),
        admin_api: read.one("admin-api", AdminAccess::Off, parse::name(AdminAccess::ALL, AdminAccess::name)),
        publish_socket: read.maybe("publish-socket", parse::socket_path),
        publish_socket_mode: read.one("publish-socket-mode", 0, parse::file_mode),
        tls: read.pair_up(tls_certificates, tls_keys),
        origins: read.list("origin", parse::origin),
        require_origin: read.one("require-origin", false, parse::switch),
        behind_proxy: read.list("behind-proxy", Cidr::parse),
        client_address: read.one("client-address", ClientAddress::Peer, parse::name(ClientAddress::ALL, ClientAddress::name)),
        jwt_keys: read.files("jwt-key", places),
        jwt_issuer: read.maybe("jwt-iss", parse::nonempty),
        jwt_audience: read.maybe("jwt-aud", parse::nonempty),
        jwt_user_claims: read.list("jwt-user-claim", parse::nonempty),
        jwt_age_max: read.maybe("jwt-max-age", duration(SECOND..=366 * DAY)),
        issuers: issuers.into_iter().map(|issuer| read.issuer(issuer, places)).collect(),
        query_token: read.one("query-token", false, parse::switch),
        authorizer: read.authorizer(places),
        webhook: read.webhook(places),
        data_dir: read.maybe("data-dir", parse::directory),
        journal_bytes: read.one("journal-bytes", 1 << 20, size(1 << 20..=1 << 44)),
        journal_age: read.one("journal-age", MINUTE, duration(MINUTE..=3660 * DAY)),
        redis: read.redis(places),
        ingest: read.ingest(places),
        audit_age: read.one("audit-age", MINUTE, duration(Duration::ZERO..=3660 * DAY)),
        reactors: read.one("reactors", 1, number(1..=REACTORS_MAX)),
        pin_cores: read.one("pin-cores", false, parse::switch),
        busy_poll: Duration::from_micros(read.one("busy-poll-us", 0, number(0..=10_000))),
        update_window: read.one("update-window", SECOND, duration(Duration::ZERO..=10 * SECOND)),
        metric_gather: read.one("metric-gather", SECOND, duration(Duration::ZERO..=10 * SECOND)),
        metric_flush: read.one("metric-flush", SECOND, duration(Duration::from_millis(1)..=MINUTE)),
        compression: read.one("compression", false, parse::switch),
        compression_level: read.one("compression-level", 1, number(1..=9)),
        compression_min: read.one("compression-min", 0, size(0..=1 << 20)),
        connections_max: read.one("max-connections", 1, number(1..=1_000_000)),
        connections_per_user_max: read.one("max-connections-per-user", 1, number(1..=1_000_000)),
        connections_per_ip_max: read.one("max-connections-per-ip", 0, number(0..=1_000_000)),
        handshakes_per_ip: read.one("handshakes-per-ip", 0, number(0..=100_000)),
        commands_per_client: read.one("commands-per-client", 0, number(0..=100_000)),
        queue_bytes_max: read.one("max-queue-bytes", 0, size(QUEUE_BYTES_LEAST..=1 << 30)),
        reader_window: read.one("reader-window", 0, size(READER_WINDOW_LEAST..=1 << 30)) as u32,
        memory_budget: read.one("memory-budget", 0, parse::memory_budget),
        slow_timeout: read.one("slow-timeout", SECOND, duration(SECOND..=HOUR)),
        heartbeat: read.one("heartbeat", SECOND, duration(SECOND..=5 * MINUTE)),
        drain_timeout: read.one("drain-timeout", SECOND, duration(Duration::ZERO..=10 * MINUTE)),
        history_events: read.one("history", 0, number(0..=1_000_000)),
        history_bytes: read.one("history-bytes", 0, size(0..=1 << 40)),
        state_bytes: read.one("state-bytes", 0, size(0..=1 << 40)),
        history_age: read.one("history-age", SECOND, duration(SECOND..=30 * DAY)),
        rooms_max: read.one("max-rooms", 1, number(1..=10_000_000)),
        log: read.one("log", LogFormat::Text, parse::name(LogFormat::ALL, LogFormat::name)),
        log_level: read.one("log-level", LogLevel::Info, parse::name(LogLevel::ALL, LogLevel::name)),
        conformance_echo: false,
        alerts,
        analytics,
        catalog,
    };
    read.check_together(&config);
    config
}

/// The admin listener's address.
pub(super) fn admin_listen(settings: &[Setting], problems: &mut Vec<Problem>) -> SocketAddr {
    Reader { settings, problems }.admin_listen()
}

/// Reads settings by flag name and keeps what is wrong. A bad value is replaced by a stand-in, so that reading goes on to the next problem.
struct Reader<'a> {
    settings: &'a [Setting],
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn one<T>(&mut self, flag: &str, stand_in: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.maybe(flag, parse).unwrap_or(stand_in)
    }

    fn maybe<T>(&mut self, flag: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.list(flag, parse).pop()
    }

    fn list<T>(&mut self, flag: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let setting = self.setting(flag);
        let mut values = Vec::new();
        for text in &setting.values {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(message) => self.problem(flag, message),
            }
        }
        values
    }

    fn admin_listen(&mut self) -> SocketAddr {
        self.one("admin-listen", SocketAddr::from(([127, 0, 0, 1], 0)), parse::loopback_address)
    }

    /// The authorizer, if its URL is given.
    fn authorizer(&mut self, places: Places<'_>) -> Option<AuthorizerConfig> {
        let token_file = self.maybe("authorizer-token-file", |text| parse::key_file(text, places));
        let timeout = self.one("authorizer-timeout", SECOND, duration(SECOND / 10..=MINUTE / 2));
        let ttl = self.one("authorizer-ttl", SECOND, duration(Duration::ZERO..=HOUR));
        let ca = self.maybe("authorizer-ca", parse::file);
        let url = self.maybe("authorizer-url", parse::url("--authorizer-token-file"));
        Some(AuthorizerConfig { url: url?, token_file, timeout, ttl, ca })
    }

    /// The webhook, if its URL is given.
    fn webhook(&mut self, places: Places<'_>) -> Option<WebhookConfig> {
        let secret_file = self.maybe("webhook-secret-file", |text| parse::key_file(text, places));
        let ca = self.maybe("webhook-ca", parse::file);
        let after = self.one("escalate-after", SECOND, duration(SECOND..=7 * DAY));
        let url = self.maybe("webhook-url", parse::url("--webhook-secret-file"))?;
        if secret_file.is_none() && self.setting("webhook-secret-file").values.is_empty() {
            let message = format!("`{url}` could not tell who calls: give --webhook-secret-file FILE, which requests are signed with");
            self.problem("webhook-url", message);
        }
        Some(WebhookConfig { url, secret_file: secret_file?, ca, after })
    }

    /// Redis, if its URL is given.
    fn redis(&mut self, places: Places<'_>) -> Option<RedisConfig> {
        let password_file = self.maybe("redis-password-file", |text| parse::key_file(text, places));
        let (ca, certificate) = (self.maybe("redis-ca", parse::file), self.maybe("redis-cert", |text| parse::key_file(text, places)));
        let replicas = self.one("redis-replicas", 0, number(0..=16));
        let url = self.maybe("redis", parse::redis_url);
        Some(RedisConfig { url: url?, password_file, ca, certificate, replicas })
    }

    /// Ingest from Redis, if a stream is named.
    fn ingest(&mut self, places: Places<'_>) -> Option<IngestConfig> {
        let streams = self.list("ingest-stream", parse::stream);
        let own = self.maybe("ingest-redis", parse::redis_url);
        if streams.is_empty() {
            if own.is_some() {
                self.problem("ingest-redis", "no stream is named to publish from: give --ingest-stream, or leave this out".to_owned());
            }
            return None;
        }
        // What is wrong with the files is told where they are read for the nodes.
        let quiet = |flag: &str| self.setting(flag).values.first().cloned();
        let key_file = |flag: &str| quiet(flag).and_then(|path| parse::key_file(&path, places).ok());
        let (password_file, certificate, ca) =
            (key_file("redis-password-file"), key_file("redis-cert"), quiet("redis-ca").map(PathBuf::from));
        let Some(url) = own.or_else(|| quiet("redis").and_then(|url| parse::redis_url(&url).ok())) else {
            self.problem("ingest-stream", "no Redis is named that has the stream: give --ingest-redis, or --redis".to_owned());
            return None;
        };
        if url.contains("+cluster://") && streams.len() > 1 {
            self.problem(
                "ingest-stream",
                "in a cluster they may be on several servers, and are read by one connection: give one".to_owned(),
            );
        }
        Some(IngestConfig { redis: RedisConfig { url, password_file, ca, certificate, replicas: 0 }, streams })
    }

    /// Looks the key files of an issuer up.
    fn issuer(&mut self, issuer: IssuerEntry, places: Places<'_>) -> IssuerEntry {
        let found = issuer.keys.iter().map(|path| parse::key_file(&path.to_string_lossy(), places)).collect::<Result<Vec<_>, _>>();
        match found {
            Ok(keys) => IssuerEntry { keys, ..issuer },
            Err(message) => {
                self.problems.push(Problem { key: "issuer.key".to_owned(), origin: issuer.origin.clone(), message });
                issuer
            }
        }
    }

    fn files(&mut self, flag: &str, places: Places<'_>) -> Vec<PathBuf> {
        self.list(flag, |text| parse::key_file(text, places))
    }

    /// Each certificate has its key at the same place in the other list, or in its own file.
    fn pair_up(&mut self, certificates: Vec<PathBuf>, keys: Vec<PathBuf>) -> Vec<TlsFiles> {
        if !keys.is_empty() && keys.len() != certificates.len() {
            let message = format!(
                "there are {} keys for {} certificates: give one --tls-key for each --tls-cert, in the same order",
                keys.len(),
                certificates.len()
            );
            self.problem("tls-key", message);
        }
        let keys = if keys.is_empty() { certificates.clone() } else { keys };
        certificates.into_iter().zip(keys).map(|(certificate, key)| TlsFiles { certificate, key }).collect()
    }

    fn setting(&self, flag: &str) -> Setting {
        // A name that the table lacks is a defect of this file, which the first test to load anything finds.
        self.settings.iter().find(|setting| setting.flag == flag).expect("the table of keys has this flag").clone()
    }

    fn problem(&mut self, flag: &str, message: String) {
        let origin = self.setting(flag).origin;
        self.problems.push(Problem { key: flag.replace('-', "_"), origin, message });
    }

    /// Rules between keys.
    fn check_together(&mut self, config: &Config) {
        self.check_key_given(config);
        self.check_issuers(config);
        self.check_listeners_given();
        self.check_no_address_twice(config);
        self.check_plaintext(config);
        self.check_proxy_header(config);
        self.check_analytics(config);
        self.check_redis_tls();
    }

    /// Certificates for a Redis that is spoken to in plaintext: who gives them believes that TLS is on.
    fn check_redis_tls(&mut self) {
        let urls: Vec<String> =
            ["redis", "ingest-redis"].into_iter().flat_map(|flag| self.setting(flag).values).filter(|url| !url.is_empty()).collect();
        let Some(plaintext) = urls.first() else { return };
        if urls.iter().any(|url| url.starts_with("rediss")) {
            return;
        }
        let message = format!("it is for TLS, and `{plaintext}` is without: write rediss:// there, or leave this out");
        for flag in ["redis-ca", "redis-cert"] {
            if !self.setting(flag).values.is_empty() {
                self.problem(flag, message.clone());
            }
        }
    }

    fn check_key_given(&mut self, config: &Config) {
        if self.setting("jwt-key").values.is_empty() && config.issuers.is_empty() {
            self.problem(
                "jwt-key",
                "there is no key to verify tokens with: give --jwt-key FILE, or TICKERD_JWT_KEY, or `jwt_key` or an `[[issuer]]` in the file".to_owned(),
            );
        }
        if self.setting("jwt-user-claim").values.is_empty() {
            self.problem("jwt-user-claim", "no claim is left that names the user: write one, or leave the key out for `sub`".to_owned());
        }
    }

    /// A key is one issuer's: whoever has it could speak for all that it is given to.
    fn check_issuers(&mut self, config: &Config) {
        if config.jwt_keys.is_empty() && !config.issuers.is_empty() {
            for flag in ["jwt-iss", "jwt-aud"] {
                if !self.setting(flag).values.is_empty() {
                    self.problem(
                        flag,
                        "it is about the tokens of `jwt_key`, which is not given: write it into the `[[issuer]]`".to_owned(),
                    );
                }
            }
        }
        let mut seen: Vec<(&Path, &str)> = config.jwt_keys.iter().map(|path| (path.as_path(), "jwt_key")).collect();
        for issuer in &config.issuers {
            let problem = |key: &str, message| Problem { key: format!("issuer.{key}"), origin: issuer.origin.clone(), message };
            if config.jwt_issuer.as_ref() == Some(&issuer.iss) {
                let message = format!("`{}` is `jwt_iss` too: give its keys in one place", issuer.iss);
                self.problems.push(problem("iss", message));
            }
            for path in &issuer.keys {
                if let Some((_, owner)) = seen.iter().find(|(known, owner)| known == path && *owner != issuer.iss) {
                    let message = format!("`{}` is a key of `{owner}` too: a key belongs to one issuer", path.display());
                    self.problems.push(problem("key", message));
                }
                seen.push((path, &issuer.iss));
            }
        }
    }

    fn check_listeners_given(&mut self) {
        if self.setting("listen").values.is_empty() {
            self.problem("listen", "there is no address to listen on: write one, or leave the key out for 127.0.0.1:8080".to_owned());
        }
    }

    fn check_no_address_twice(&mut self, config: &Config) {
        for (i, address) in config.listen.iter().enumerate().filter(|(_, address)| address.port() != 0) {
            if config.listen[..i].contains(address) {
                self.problem("listen", format!("`{address}` is given twice: give it once"));
            }
            if *address == config.admin_listen {
                self.problem("admin-listen", format!("`{address}` is also in `listen`: give each listener a port of its own"));
            }
        }
    }

    /// Whoever may send the header may be whom he likes.
    fn check_proxy_header(&mut self, config: &Config) {
        if config.client_address == ClientAddress::ProxyV2 && self.setting("behind-proxy").values.is_empty() {
            let message = "`proxy-v2` lets everybody say who he is: name the networks of the proxies with --behind-proxy CIDR";
            self.problem("client-address", message.to_owned());
        }
    }

    /// Numbers are made of what the journal keeps, and kept beside it.
    fn check_analytics(&mut self, config: &Config) {
        let Some(analytics) = &config.analytics else { return };
        let mut fail = |message: &str| {
            let problem = Problem { key: "analytics".to_owned(), origin: analytics.origin.clone(), message: message.to_owned() };
            self.problems.push(problem);
        };
        if config.redis.is_some() {
            fail(
                "with --redis there is no journal here to make numbers of, and each node would alert: run the analytics in a daemon without --redis",
            );
        } else if config.data_dir.is_none() {
            fail("numbers are made of what the journal keeps: give --data-dir");
        }
    }

    /// Tokens in plaintext on a network are tokens given away. A proxy that ends TLS is the one exception, and then only its networks may connect.
    fn check_plaintext(&mut self, config: &Config) {
        if !self.setting("behind-proxy").values.is_empty() || !self.setting("tls-cert").values.is_empty() {
            return;
        }
        for address in config.listen.iter().filter(|address| !is_loopback(address.ip())) {
            self.problem(
                "listen",
                format!(
                    "`{address}` would take tokens in plaintext from the network: give --tls-cert and --tls-key, or listen on 127.0.0.1, or put a TLS proxy in front and name its network with --behind-proxy CIDR"
                ),
            );
        }
    }
}

/// What is sent back to anybody must not be reached by everybody.
pub(super) fn check_conformance_echo(config: &Config) -> Option<Problem> {
    let stranger = config.listen.iter().find(|address| !is_loopback(address.ip())).filter(|_| config.conformance_echo)?;
    let message = format!("it needs no token, so it does not go with the listener `{stranger}`: listen on 127.0.0.1");
    Some(Problem { key: CONFORMANCE_ECHO.replace('-', "_"), origin: Origin::Flag(CONFORMANCE_ECHO), message })
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn is_plaintext_beyond_loopback(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(authority, |(host, _)| host);
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    host != "localhost" && !ip.is_ok_and(is_loopback)
}

/// What is not wrong, but most likely not meant.
pub(super) fn warnings(config: &Config, settings: &[Setting], descriptors_max: Option<u64>, cores: usize) -> Vec<String> {
    let origin =
        |flag: &str| settings.iter().find(|setting| setting.flag == flag).map_or(Origin::Default, |setting| setting.origin.clone());
    let mut warnings = Vec::new();
    let needed = config.descriptors_needed();
    if let Some(limit) = descriptors_max.filter(|limit| *limit < needed) {
        warnings.push(format!(
            "max_connections: {} need {needed} descriptors and this process may open {limit}, so fewer are taken: raise LimitNOFILE= in the unit (or `ulimit -Hn`), or lower --max-connections ({})",
            config.connections_max,
            origin("max-connections"),
        ));
    }
    if config.publish_socket.is_some() && config.publish_socket_mode & 0o002 != 0 {
        warnings.push(format!(
            "publish_socket_mode: {:04o} lets every user of this machine publish: the mode is the only gate ({})",
            config.publish_socket_mode,
            origin("publish-socket-mode"),
        ));
    }
    if let Some(network) = config.behind_proxy.iter().find(|network| network.is_everything()) {
        warnings.push(format!(
            "behind_proxy: {network} is every address: anybody may connect in plaintext and say who the client is; name your proxies' networks ({})",
            origin("behind-proxy"),
        ));
    }
    if let Some(authorizer) = &config.authorizer
        && authorizer.token_file.is_some()
        && is_plaintext_beyond_loopback(&authorizer.url)
    {
        warnings.push(format!(
            "authorizer_url: {} gets its token in plaintext over the network: use https ({})",
            authorizer.url.split('?').next().unwrap_or_default(), // what stands behind may be a secret
            origin("authorizer-url"),
        ));
    }
    if let Some(webhook) = config.webhook.as_ref().filter(|webhook| is_plaintext_beyond_loopback(&webhook.url)) {
        warnings.push(format!(
            "webhook_url: {} gets users' events in plaintext over the network: use https ({})",
            webhook.url.split('?').next().unwrap_or_default(), // what stands behind may be a secret
            origin("webhook-url"),
        ));
    }
    if config.webhook.is_none()
        && let Some(entry) = config.catalog.iter().find(|entry| entry.escalate_after.is_some())
    {
        warnings.push(format!("catalog: `{}` has `escalate_after`, and nobody is told: give --webhook-url ({})", entry.kind, entry.origin));
    }
    if config.pin_cores && config.reactors > cores {
        warnings.push(format!(
            "pin_cores: {} reactors on {cores} cores would share cores for good: lower --reactors ({})",
            config.reactors,
            origin("pin-cores"),
        ));
    }
    warnings
}
