//! The one table of options. Flags, environment variables, file keys, help and `check` are all made from it.

/// What a value looks like, which decides how the file may write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One string.
    Text,
    /// One non-negative integer.
    Number,
    /// A size such as `64KiB`; a bare integer is in bytes.
    Size,
    /// A duration such as `100ms`.
    Duration,
    /// On or off.
    Switch,
    /// Any number of strings: the flag is repeated, the variable separates them by commas, the file has an array.
    List,
}

impl Kind {
    /// What the file must have, for the message when it has something else.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Number => "an integer",
            Kind::Size => "a size such as \"64KiB\", or an integer in bytes",
            Kind::Duration => "a duration such as \"100ms\"",
            Kind::Switch => "true or false",
            Kind::List => "an array of strings",
        }
    }
}

/// Whether a changed value is taken on at SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// No: it holds from the next start on.
    Start,
    /// Yes.
    Live,
    /// Yes, unless that flag's values appear or vanish with it: whether there are any is decided at the start.
    LiveIfAny(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The flag without its dashes.
    pub flag: &'static str,
    /// What a value looks like.
    pub kind: Kind,
    /// What a value stands for, in the help.
    pub placeholder: &'static str,
    /// What holds if nobody gives a value; empty if that is nothing, or depends on the machine.
    pub default: &'static str,
    /// Where the help lists it.
    pub heading: &'static str,
    /// One line on what it does.
    pub help: &'static str,
    /// Whether a changed value is taken on at SIGHUP.
    pub reload: Reload,
}

impl Key {
    /// The key in the file.
    pub fn name(&self) -> String {
        self.flag.replace('-', "_")
    }

    /// The environment variable.
    pub fn env(&self) -> String {
        format!("TICKERD_{}", self.name().to_uppercase())
    }
}

const fn key(flag: &'static str, kind: Kind, placeholder: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { flag, kind, placeholder, default, heading: "", help, reload: Reload::Start }
}

/// The key, taken on at SIGHUP.
const fn live(key: Key) -> Key {
    Key { reload: Reload::Live, ..key }
}

/// The same, if `of` was there and still is.
const fn live_if_any(of: &'static str, key: Key) -> Key {
    Key { reload: Reload::LiveIfAny(of), ..key }
}

const fn under<const N: usize>(heading: &'static str, mut keys: [Key; N]) -> [Key; N] {
    let mut i = 0;
    while i < N {
        keys[i].heading = heading;
        i += 1;
    }
    keys
}

use Kind::{Duration, List, Number, Size, Switch, Text};

static LISTENERS: [Key; 11] = under(
    "Listeners",
    [
        key("listen", List, "ADDR", "127.0.0.1:8080", "Address for clients and publishers; repeatable, port 0 takes a free one"),
        key("admin-listen", Text, "ADDR", "127.0.0.1:9100", "Address for metrics, health and administration; loopback only"),
        live(key(
            "admin-api",
            Text,
            "ACCESS",
            "all",
            "What tokens with the scope admin may do under /v1/admin on --listen: off, read, or all (also revoke, disconnect, log-level)",
        )),
        key("publish-socket", Text, "PATH", "", "Unix socket for publishers on this machine; its file mode is the gate"),
        key("publish-socket-mode", Text, "OCTAL", "0660", "File mode of the publish socket"),
        live_if_any(
            "tls-cert",
            key(
                "tls-cert",
                List,
                "FILE",
                "",
                "Certificate chain in PEM: all of --listen then speaks TLS; repeatable, for other names or kinds of key",
            ),
        ),
        live_if_any(
            "tls-cert",
            key(
                "tls-key",
                List,
                "FILE",
                "",
                "Private key of the certificate, in PEM; one for each --tls-cert, or none if they are in its file",
            ),
        ),
        live(key("origin", List, "ORIGIN", "", "Web origin whose pages may connect, such as https://desk.example; repeatable; none: any")),
        live(key(
            "require-origin",
            Switch,
            "BOOL",
            "false",
            "Refuse WebSockets without Origin, unless their token has the scope publish: browsers alone, and backends",
        )),
        live(key("behind-proxy", List, "CIDR", "", "Network of the TLS proxies in front; repeatable; other peers are refused")),
        live(key(
            "client-address",
            Text,
            "SOURCE",
            "x-forwarded-for",
            "Where these proxies say who the client is: x-forwarded-for, forwarded, proxy-v2, or peer (nowhere)",
        )),
    ],
);

static TOKENS: [Key; 6] = under(
    "Tokens",
    [
        live(key("jwt-key", List, "FILE", "", "Key to verify tokens with: raw HMAC secret, PEM or JWKS; repeatable, required")),
        live(key("jwt-iss", Text, "ISSUER", "", "Issuer that a token must name in `iss`")),
        live(key("jwt-aud", Text, "AUDIENCE", "", "Audience that a token must name in `aud`")),
        live(key("jwt-user-claim", List, "CLAIM", "sub", "Claim that names the user; repeatable, the first that is present wins")),
        live(key("jwt-max-age", Duration, "DURATION", "", "Refuse tokens issued longer ago than this, whatever their `exp`")),
        live(key("query-token", Switch, "BOOL", "false", "Accept tokens as ?token=, where proxies and browsers may log them")),
    ],
);

static AUTHORIZER: [Key; 5] = under(
    "Authorizer",
    [
        live_if_any(
            "authorizer-url",
            key(
                "authorizer-url",
                Text,
                "URL",
                "",
                "Asked by POST about joins that neither token nor ownership allows; none: they are denied",
            ),
        ),
        live_if_any("authorizer-url", key("authorizer-token-file", Text, "FILE", "", "Bearer token for the authorizer")),
        live_if_any(
            "authorizer-url",
            key("authorizer-timeout", Duration, "DURATION", "2s", "How long one request to the authorizer may take"),
        ),
        live_if_any(
            "authorizer-url",
            key("authorizer-ttl", Duration, "DURATION", "30s", "How long a yes of the authorizer holds if it does not say; at most 1h"),
        ),
        live_if_any(
            "authorizer-url",
            key("authorizer-ca", Text, "FILE", "", "Authorities, in PEM, for an https authorizer; none: those that this machine trusts"),
        ),
    ],
);

static ESCALATION: [Key; 4] = under(
    "Escalation",
    [
        live_if_any(
            "webhook-url",
            key("webhook-url", Text, "URL", "", "Told by POST of events that their users do not acknowledge in time; none: nobody is"),
        ),
        live_if_any(
            "webhook-url",
            key(
                "webhook-secret-file",
                Text,
                "FILE",
                "",
                "What these requests are signed with: whsec_ and base64 of 24 to 64 bytes, in each line one",
            ),
        ),
        live_if_any(
            "webhook-url",
            key("webhook-ca", Text, "FILE", "", "Authorities, in PEM, for an https webhook; none: those that this machine trusts"),
        ),
        key("escalate-after", Duration, "DURATION", "5m", "How long an event may wait for its acknowledgment before the webhook is told"),
    ],
);

static THREADS: [Key; 3] = under(
    "Threads",
    [
        key("reactors", Number, "N", "", "Threads that own connections; default: one for each core, at most 64"),
        key("pin-cores", Switch, "BOOL", "false", "Bind each thread to a core of its own"),
        key("busy-poll-us", Number, "N", "0", "Microseconds to spin for work before sleeping: latency for power"),
    ],
);

static WINDOWS: [Key; 3] = under(
    "Windows",
    [
        key("update-window", Duration, "DURATION", "100ms", "At most one frame per state key of the update lane in this time; 0: none"),
        key("metric-gather", Duration, "DURATION", "100ms", "How long the metric lane gathers before a batch is closed; 0: not at all"),
        key("metric-flush", Duration, "DURATION", "500ms", "How often a room's metric batches leave"),
    ],
);

static COMPRESSION: [Key; 3] = under(
    "Compression",
    [
        key(
            "compression",
            Switch,
            "BOOL",
            "false",
            "Compress messages for clients that offer permessage-deflate: bandwidth for processor time",
        ),
        key("compression-level", Number, "N", "3", "1, the fastest, to 9, the shortest"),
        key("compression-min", Size, "SIZE", "256B", "Messages shorter than this are not compressed"),
    ],
);

static LIMITS: [Key; 11] = under(
    "Limits",
    [
        live(key("max-connections", Number, "N", "10000", "WebSocket connections in all; further ones get 503")),
        live(key("max-connections-per-user", Number, "N", "10", "Connections of one user; further ones are closed with 4003")),
        live(key(
            "max-connections-per-ip",
            Number,
            "N",
            "1000",
            "Connections of one address, or IPv6 network of 64 bits; further ones are closed with 4100; 0: any number",
        )),
        live(key(
            "handshakes-per-ip",
            Number,
            "N",
            "20",
            "Handshakes a second of one address, and five times as many at once; further ones get 429; 0: any number",
        )),
        live(key(
            "commands-per-client",
            Number,
            "N",
            "20",
            "Commands a second of one connection, and ten times as many at once; further ones are refused, and close it with 4104 if it goes on; 0: any number",
        )),
        key("max-queue-bytes", Size, "SIZE", "8MiB", "Bytes queued for one client before it is closed as too slow"),
        live(key(
            "reader-window",
            Size,
            "SIZE",
            "256KiB",
            "Bytes sent to a WebSocket beyond what it has read, as its pongs show, at which updates and metrics wait where alerts overtake them",
        )),
        live(key(
            "slow-timeout",
            Duration,
            "DURATION",
            "30s",
            "Age of a client's oldest queued frame before it is closed as too slow; it is warned at a sixth of it, or with half its queue full",
        )),
        key(
            "memory-budget",
            Size,
            "SIZE",
            "0",
            "Memory for connections, rooms, states, history and queues; near it metrics, then joins, handshakes and publishes are refused, alerts last; 0: none",
        ),
        key("heartbeat", Duration, "DURATION", "30s", "Time between pings"),
        live(key("drain-timeout", Duration, "DURATION", "10s", "Time that clients have to leave when the daemon stops")),
    ],
);

static HISTORY: [Key; 5] = under(
    "History",
    [
        key("history", Number, "N", "256", "Stream events kept per room and lane"),
        key("state-bytes", Size, "SIZE", "256MiB", "Bytes of all states' newest values; a publish that needs more is refused"),
        key("history-bytes", Size, "SIZE", "256MiB", "Bytes of history kept in all; the oldest go first"),
        key("history-age", Duration, "DURATION", "1h", "How long an event stays in the history"),
        key("max-rooms", Number, "N", "100000", "Rooms in all; a publish or join that needs another is refused"),
    ],
);

static DATA: [Key; 4] = under(
    "Data",
    [
        key("data-dir", Text, "DIR", "", "Directory for what survives a restart: events, states, owners, revocations; none: memory only"),
        key("journal-bytes", Size, "SIZE", "1GiB", "Bytes of events kept on disk; the oldest go first, 16 MiB at a time"),
        key("journal-age", Duration, "DURATION", "168h", "How long events are kept on disk"),
        key(
            "audit-age",
            Duration,
            "DURATION",
            "720h",
            "How long entries of the audit trail are kept there, at most 1,000,000; 0: none are made",
        ),
    ],
);

static NODES: [Key; 5] = under(
    "Several nodes",
    [
        key(
            "redis",
            Text,
            "URL",
            "",
            "Redis over which several daemons act as one: redis://[USER@]HOST[:PORT][/DB], or redis+sentinel://HOST:PORT,…/MASTER[/DB], or redis+cluster://HOST:PORT,…, with TLS rediss; it takes the journal's place",
        ),
        key("redis-password-file", Text, "FILE", "", "File of the password for Redis, also for that of --ingest-redis"),
        key("redis-ca", Text, "FILE", "", "With TLS: certificates of who must have signed Redis', PEM; none: whom the system trusts"),
        key("redis-cert", Text, "FILE", "", "With TLS: certificate that Redis gets to see, and its private key, both in one PEM file"),
        key(
            "redis-replicas",
            Number,
            "N",
            "0",
            "Replicas of Redis that must have an event before its publish is answered `ok`, at most 16 (WAIT)",
        ),
    ],
);

static INGEST: [Key; 2] = under(
    "Ingest from Redis",
    [
        key("ingest-stream", List, "NAME", "", "Stream from which the events are published that backends add to it (XADD); repeatable"),
        key("ingest-redis", Text, "URL", "", "Redis that has these streams, as for --redis; none: that of --redis"),
    ],
);

static LOG: [Key; 2] = under(
    "Log",
    [
        key("log", Text, "text|json", "text", "How log lines are written to stderr"),
        live(key("log-level", Text, "LEVEL", "info", "Least severe line written: error, warn, info, debug or trace")),
    ],
);

/// Every option, in the order of the help.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    LISTENERS
        .iter()
        .chain(&TOKENS)
        .chain(&AUTHORIZER)
        .chain(&ESCALATION)
        .chain(&THREADS)
        .chain(&WINDOWS)
        .chain(&COMPRESSION)
        .chain(&LIMITS)
        .chain(&HISTORY)
        .chain(&DATA)
        .chain(&NODES)
        .chain(&INGEST)
        .chain(&LOG)
}
