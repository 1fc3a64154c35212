//! Answers with the headers that all have, and the refusals that several paths give.

use std::time::Duration;

use crate::base::codes::{ErrorCode, FORBIDDEN, METHOD_NOT_ALLOWED, RATE_LIMITED, Refusal, SHUTTING_DOWN};
use crate::base::time::millis;
use crate::net::outbox::Outbox;
use crate::reactor::core::Core;
use crate::wire::http::{HttpRefusal, add_headers, strip_body};

/// For a year browsers come by TLS alone. Other names below this one are not ours to speak for.
const HSTS: &str = "max-age=31536000";

/// Writes an answer, with the headers that all answers have. A page of the origin `reader` may read it.
pub(in crate::reactor) fn answer(reader: Option<&str>, core: &Core, outbox: &mut Outbox, write: impl FnOnce(&mut Vec<u8>)) {
    let mut headers = Vec::new();
    if core.tls.is_some() {
        headers.push(("Strict-Transport-Security", HSTS));
    }
    if !core.options.origins.is_empty() {
        headers.push(("Vary", "Origin"));
    }
    headers.extend(reader.map(|origin| ("Access-Control-Allow-Origin", origin)));
    outbox.push_raw(core.now.mono, |out| {
        let start = out.len();
        write(out);
        add_headers(out, start, &headers);
    });
}

/// The answer to HEAD has no body (RFC 9110 section 9.3.2): one would be taken for the next answer.
pub(in crate::reactor) fn refuse(
    reader: Option<&str>,
    refusal: &HttpRefusal,
    keep_alive: bool,
    method: &str,
    core: &Core,
    outbox: &mut Outbox,
) {
    core.stats.refused(refusal.refusal.error);
    answer(reader, core, outbox, |out| {
        let start = out.len();
        refusal.write(out, keep_alive);
        if method == "HEAD" {
            strip_body(out, start);
        }
    });
}

pub(super) fn bad_origin() -> Refusal {
    Refusal::new(FORBIDDEN, "pages of this origin may not connect: the operator lists origins by --origin")
}

pub(super) fn not_allowed(allow: &'static str, message: &str) -> HttpRefusal {
    HttpRefusal { extra_header: Some(allow), ..Refusal::new(METHOD_NOT_ALLOWED, message).into() }
}

pub(in crate::reactor) fn unauthorized(refusal: Refusal) -> HttpRefusal {
    HttpRefusal { status: 401, refusal, extra_header: Some("WWW-Authenticate: Bearer") }
}

pub(super) fn too_many_handshakes(wait: Duration) -> HttpRefusal {
    let message = "too many handshakes from your address: connect again after retry_after_ms, and keep connections open";
    Refusal::passing(RATE_LIMITED, message, millis(wait)).into()
}

pub(in crate::reactor) fn shutting_down() -> HttpRefusal {
    Refusal::passing(SHUTTING_DOWN, "the server is stopping: come back later", 1_000).into()
}

pub(super) fn status(status: u16, error: ErrorCode, message: &str) -> HttpRefusal {
    HttpRefusal { status, refusal: Refusal::new(error, message), extra_header: None }
}
