//! Every error code and close code, in one table each. Docs, clients and tests are made from these.

use super::limits::OWN_EVENT_IDS;

/// Why a command, a publish or a request was refused.
///
/// The numbers are stable; new ones are added at the end of their range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode {
    /// Stable number.
    pub code: u16,
    /// Stable name.
    pub name: &'static str,
    /// One of `auth`, `permission`, `rate`, `protocol`, `validation`, `not_found`, `server`, `upstream`.
    pub category: &'static str,
    /// The HTTP status where the refusal is an HTTP answer.
    pub http_status: u16,
    /// What it means, in a sentence.
    pub meaning: &'static str,
}

macro_rules! error_codes {
    ($(#[doc = $meaning:literal] $ident:ident = $code:literal $name:literal $category:literal $status:literal;)*) => {
        $(#[doc = $meaning] pub const $ident: ErrorCode =
            ErrorCode { code: $code, name: $name, category: $category, http_status: $status, meaning: $meaning.trim_ascii() };)*
        /// The whole table, in order of code.
        pub const ERRORS: &[ErrorCode] = &[$($ident),*];
    };
}

error_codes! {
    /// No token was brought, or it is not valid.
    AUTH_FAILED = 100 "auth_failed" "auth" 401;
    /// The token is past its `exp`.
    TOKEN_EXPIRED = 101 "token_expired" "auth" 401;
    /// A token for another user than the connection's.
    USER_MISMATCH = 102 "user_mismatch" "auth" 403;
    /// Not yours, or no such room: the answer is the same.
    ACCESS_DENIED = 103 "access_denied" "permission" 403;
    /// The token lacks the scope.
    FORBIDDEN = 104 "forbidden" "permission" 403;
    /// The token was good, and was revoked.
    TOKEN_REVOKED = 105 "token_revoked" "auth" 401;
    /// Too many commands.
    RATE_LIMITED = 200 "rate_limited" "rate" 429;
    /// A queue on the way is full; try again after `retry_after_ms`.
    QUEUE_FULL = 201 "queue_full" "rate" 429;
    /// A limit of this server is reached: rooms, keys, connections, memory.
    OVER_CAPACITY = 202 "over_capacity" "rate" 503;
    /// This connection has joined as many rooms as it may.
    TOO_MANY_ROOMS = 203 "too_many_rooms" "rate" 429;
    /// The user, or the address, has as many connections as allowed.
    TOO_MANY_CONNECTIONS = 204 "too_many_connections" "rate" 429;
    /// Not one JSON object, or not UTF-8.
    BAD_JSON = 300 "bad_json" "protocol" 400;
    /// No such `type` of command.
    UNKNOWN_TYPE = 301 "unknown_type" "protocol" 400;
    /// A command that this connection may not send now.
    BAD_STATE = 302 "bad_state" "protocol" 409;
    /// There is such a path, but not for this method; the header `Allow` has those that there are.
    METHOD_NOT_ALLOWED = 303 "method_not_allowed" "protocol" 405;
    /// A field is missing, of the wrong type, or out of bounds; the message names it.
    INVALID_FIELD = 400 "invalid_field" "validation" 400;
    /// Longer than allowed.
    TOO_LARGE = 401 "too_large" "validation" 413;
    /// The type's lane or mode is fixed by the catalog, and the publish gives another.
    CATALOG_CONFLICT = 402 "catalog_conflict" "validation" 409;
    /// The room belongs to another owner.
    OWNER_CONFLICT = 403 "owner_conflict" "validation" 409;
    /// A type outside the catalog must give room and lane.
    UNKNOWN_EVENT = 404 "unknown_event" "validation" 400;
    /// The same member twice in one JSON object.
    DUPLICATE_KEY = 405 "duplicate_key" "validation" 400;
    /// JSON nested deeper than allowed.
    TOO_DEEP = 406 "too_deep" "validation" 400;
    /// Not a member of that room.
    NOT_MEMBER = 500 "not_member" "not_found" 404;
    /// No such path.
    NOT_FOUND = 501 "not_found" "not_found" 404;
    /// The daemon is stopping.
    SHUTTING_DOWN = 600 "shutting_down" "server" 503;
    /// A defect of ours; the log has more.
    INTERNAL = 601 "internal" "server" 500;
    /// The disk does not take what is to be kept; try again after `retry_after_ms`, or with `"ack":"memory"`.
    JOURNAL_UNAVAILABLE = 602 "journal_unavailable" "server" 503;
    /// The store that several nodes share does not answer; try again after `retry_after_ms`.
    STORE_UNAVAILABLE = 603 "store_unavailable" "server" 503;
    /// Neither token nor ownership allows it, and the authorizer, which could, gives no answer; try again after `retry_after_ms`.
    AUTH_BACKEND_UNAVAILABLE = 700 "auth_backend_unavailable" "upstream" 503;
}

/// A WebSocket close code (RFC 6455 section 7.4) with what it tells the client to do.
///
/// 4000–4099: do not reconnect. 4100–4199: reconnect with full-jitter backoff, honouring `after_ms`. 4200–4299: at once,
/// with resume. 4300–4399: with a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode {
    /// The number on the wire.
    pub code: u16,
    /// The reason text on the wire and the label in metrics.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub meaning: &'static str,
}

macro_rules! close_codes {
    ($(#[doc = $meaning:literal] $ident:ident = $code:literal $name:literal;)*) => {
        $(#[doc = $meaning] pub const $ident: CloseCode = CloseCode { code: $code, name: $name, meaning: $meaning.trim_ascii() };)*
        /// The whole table, in order of code.
        pub const CLOSES: &[CloseCode] = &[$($ident),*];
    };
}

close_codes! {
    /// The peer closed, and we answer.
    CLOSE_NORMAL = 1000 "normal";
    /// RFC 6455: protocol violation.
    CLOSE_PROTOCOL = 1002 "protocol_error";
    /// RFC 6455: binary frames are not taken.
    CLOSE_UNSUPPORTED = 1003 "unsupported_data";
    /// RFC 6455: text that is not UTF-8, or a compressed message that is damaged.
    CLOSE_INVALID_PAYLOAD = 1007 "invalid_payload";
    /// RFC 6455: a message longer than allowed.
    CLOSE_TOO_BIG = 1009 "message_too_big";
    /// The request cannot be served as it is.
    CLOSE_BAD_REQUEST = 4000 "bad_request";
    /// The token is not valid.
    CLOSE_INVALID_TOKEN = 4001 "invalid_token";
    /// The user has as many connections as allowed.
    CLOSE_CONNECTION_LIMIT = 4003 "connection_limit";
    /// Access denied, for good.
    CLOSE_DENIED = 4005 "denied";
    /// No token came in time.
    CLOSE_AUTH_TIMEOUT = 4007 "auth_timeout";
    /// Too many bad commands in a row.
    CLOSE_TOO_MANY_ERRORS = 4008 "too_many_errors";
    /// The server is full.
    CLOSE_OVER_CAPACITY = 4100 "over_capacity";
    /// The daemon is stopping.
    CLOSE_SHUTDOWN = 4101 "shutdown";
    /// A defect of ours.
    CLOSE_INTERNAL = 4102 "internal";
    /// The client does not read fast enough.
    CLOSE_SLOW_CONSUMER = 4103 "slow_consumer";
    /// Too many commands, for too long.
    CLOSE_RATE = 4104 "rate_limited";
    /// A message was begun, and its end did not come in time.
    CLOSE_MESSAGE_TIMEOUT = 4105 "message_timeout";
    /// Nothing was heard from the client for too long.
    CLOSE_NO_PONG = 4201 "no_pong";
    /// What the server knew of this connection is lost.
    CLOSE_STATE_LOST = 4202 "state_lost";
    /// The token has expired.
    CLOSE_TOKEN_EXPIRED = 4300 "token_expired";
    /// The token was revoked.
    CLOSE_TOKEN_REVOKED = 4301 "token_revoked";
}

/// A refusal as it is told to the one concerned: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which error it is.
    pub error: ErrorCode,
    /// What was wrong, where, and what to do about it.
    pub message: String,
    /// When to try again, if that can help.
    pub retry_after_ms: Option<u32>,
}

impl Refusal {
    /// A refusal that trying again does not change.
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { error, message: message.into(), retry_after_ms: None }
    }

    /// A refusal that passes.
    pub fn passing(error: ErrorCode, message: impl Into<String>, retry_after_ms: u32) -> Refusal {
        Refusal { error, message: message.into(), retry_after_ms: Some(retry_after_ms) }
    }
}

/// An event has a name that only the daemon's own may have.
pub fn own_event_id() -> Refusal {
    let message = format!("`event_id` begins with `{OWN_EVENT_IDS}`, as those of the daemon's own events do: choose another");
    Refusal::new(INVALID_FIELD, message)
}
