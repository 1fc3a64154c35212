//! The upgrade to WebSocket (RFC 6455 section 4.2.1), and where a request's token may stand.

use std::fmt;

use super::extensions::{self, PerMessageDeflate};
use super::{BAD_STATE, BodyLen, HttpRefusal, METHOD_NOT_ALLOWED, Request};

/// The one subprotocol that is spoken.
const SUBPROTOCOL: &str = "tickerd.v1";

/// A valid request to speak WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade<'a> {
    /// For the answer's Sec-WebSocket-Accept.
    pub key: &'a str,
    /// The page's origin, from browsers.
    pub origin: Option<&'a str>,
    /// What Sec-WebSocket-Protocol says.
    pub subprotocol: Subprotocol<'a>,
    /// The offer of permessage-deflate that can be accepted.
    pub deflate: Option<PerMessageDeflate>,
}

/// The subprotocols offered.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Subprotocol<'a> {
    /// `tickerd.v1` is among them: echo it.
    pub tickerd_v1: bool,
    /// There are any.
    pub offered: bool,
    /// The token of `bearer.<token>`, which is how a browser's page brings one.
    pub bearer: Option<&'a str>,
}

/// Shows all but the token.
impl fmt::Debug for Subprotocol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Subprotocol");
        shown.field("tickerd_v1", &self.tickerd_v1).field("offered", &self.offered).field("has_bearer", &self.bearer.is_some()).finish()
    }
}

impl<'a> Request<'a> {
    /// The upgrade, if the request asks for WebSocket. Any flaw is a refusal with the status that says how to mend it.
    pub fn upgrade(&self) -> Result<Option<Upgrade<'a>>, HttpRefusal> {
        if !self.has_token("upgrade", "websocket") {
            return Ok(None);
        }
        self.check_upgrade()?;
        let key = self.header("sec-websocket-key")?.filter(|key| is_key(key));
        let key = key.ok_or_else(|| HttpRefusal::bad("the header sec-websocket-key must be 16 bytes in base64"))?;
        let malformed = |_| HttpRefusal::bad("the header sec-websocket-extensions is not a list of extensions");
        let deflate = extensions::accept(self.values("sec-websocket-extensions")).map_err(malformed)?;
        Ok(Some(Upgrade { key, origin: self.header("origin")?, subprotocol: self.subprotocol()?, deflate }))
    }

    fn check_upgrade(&self) -> Result<(), HttpRefusal> {
        if self.method != "GET" {
            let refusal = HttpRefusal::new(405, METHOD_NOT_ALLOWED, "a WebSocket is opened by GET");
            return Err(HttpRefusal { extra_header: Some("Allow: GET"), ..refusal });
        }
        if self.minor_version != 1 {
            return Err(HttpRefusal::bad("a WebSocket is opened by HTTP/1.1"));
        }
        if !self.has_token("connection", "upgrade") {
            return Err(HttpRefusal::bad("the header connection lacks `Upgrade`: a proxy on the way must pass it on"));
        }
        if self.header("sec-websocket-version")? != Some("13") {
            let refusal = HttpRefusal::new(426, BAD_STATE, "the header sec-websocket-version must be 13");
            return Err(HttpRefusal { extra_header: Some("Sec-WebSocket-Version: 13"), ..refusal });
        }
        if !matches!(self.body_len()?, BodyLen::None | BodyLen::Bytes(0)) {
            return Err(HttpRefusal::bad("a request that opens a WebSocket has no body"));
        }
        Ok(())
    }

    fn subprotocol(&self) -> Result<Subprotocol<'a>, HttpRefusal> {
        let mut found = Subprotocol::default();
        for offer in self.tokens("sec-websocket-protocol") {
            found.offered = true;
            found.tickerd_v1 |= offer == SUBPROTOCOL;
            let Some(token) = offer.strip_prefix("bearer.") else {
                continue;
            };
            if found.bearer.replace(token).is_some() {
                return Err(HttpRefusal::bad("the header sec-websocket-protocol has two tokens: send one"));
            }
        }
        if found.offered && !found.tickerd_v1 {
            return Err(HttpRefusal::bad("the header sec-websocket-protocol must offer tickerd.v1, or nothing"));
        }
        Ok(found)
    }
}

/// 16 bytes in base64: 22 characters and two of padding.
fn is_key(key: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.strip_suffix("==").is_some_and(|digits| digits.bytes().all(is_base64))
}

/// The token that the request brings, not verified: from the one of `Authorization: Bearer`, the subprotocol and `?token=`
/// that has it.
pub fn token_of<'a>(request: &Request<'a>, upgrade: Option<&Upgrade<'a>>, allow_query: bool) -> Result<Option<&'a str>, HttpRefusal> {
    let header = request.header("authorization")?.and_then(bearer);
    let subprotocol = upgrade.and_then(|upgrade| upgrade.subprotocol.bearer);
    let query = query_token(request.query)?;
    if query.is_some() && !allow_query {
        let message =
            "a token in the query is not allowed here, it ends up in logs: send it by Authorization: Bearer or by sec-websocket-protocol";
        return Err(HttpRefusal::bad(message));
    }
    let mut tokens = [header, subprotocol, query].into_iter().flatten();
    match (tokens.next(), tokens.next()) {
        (_, Some(_)) => Err(HttpRefusal::bad("the request has more than one token: send it in one place")),
        (Some(""), None) => Err(HttpRefusal::bad("the token is empty: send one, or leave its place out")),
        (token, None) => Ok(token),
    }
}

/// The token of an Authorization header; other schemes, such as a proxy's Basic, are none of ours.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches([' ', '\t']))
}

fn query_token(query: Option<&str>) -> Result<Option<&str>, HttpRefusal> {
    let mut tokens = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.strip_prefix("token="));
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(HttpRefusal::bad("the query has two tokens: send one"));
    }
    Ok(token)
}
