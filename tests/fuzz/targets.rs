//! What is fed, and what must hold of it.

use std::net::IpAddr;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use flate2::{Decompress, FlushDecompress};
use serde_json::value::RawValue;
use tickerd::auth::{KeySet, Verifier, VerifyOptions, encode_base64url};
use tickerd::hub::catalog::Catalog;
use tickerd::wire::cursor::{Cursor, Position};
use tickerd::wire::deflate::Inflater;
use tickerd::wire::forwarded::ClientAddress;
use tickerd::wire::http::{Head, parse_head, token_of};
use tickerd::wire::websocket::{Assembler, Limits, Message, Role, Step};
use tickerd::wire::{command, proxy};

use crate::config::{CONFIGURATIONS, config};
use crate::publish::publish;
use crate::tls::{TLS_INPUTS, tls};

/// One reader.
pub(crate) struct Target {
    /// For `TICKERD_FUZZ_TARGET`.
    pub(crate) name: &'static str,
    /// Inputs to begin with.
    pub(crate) corpus: &'static [&'static [u8]],
    /// Panics where something is wrong.
    pub(crate) check: fn(&[u8]),
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "handshake", corpus: HEADS, check: handshake },
    Target { name: "position", corpus: POSITIONS, check: position },
    Target { name: "extensions", corpus: OFFERS, check: extensions },
    Target { name: "frames", corpus: FRAMES, check: frames },
    Target { name: "inflate", corpus: COMPRESSED, check: inflate },
    Target { name: "publish", corpus: LINES, check: publish },
    Target { name: "command", corpus: COMMANDS, check: client_command },
    Target { name: "token", corpus: TOKENS, check: token },
    Target { name: "claims", corpus: CLAIMS, check: claims },
    Target { name: "proxy", corpus: PROXY_HEADERS, check: proxy_header },
    Target { name: "forwarded", corpus: FORWARDED, check: forwarded },
    Target { name: "config", corpus: CONFIGURATIONS, check: config },
    Target { name: "tls", corpus: TLS_INPUTS, check: tls },
];

/// Inputs that once broke a target.
pub(crate) const BROKE_ONCE: &[(&str, &[u8])] = &[
    // A key without a name was shown as nothing.
    ("config", b"''=\"=\""),
    // A number with leading zeros was shown as no TOML.
    ("config", b"\0\0--jwt-key=/k\n--history=00"),
    // A hello that announces to be longer than any may be was refused without an alert.
    ("tls", b"\x40\x16\x03\x01\x00\x44\x01\x9f\x00\x00\x40\x03\x03AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
];

const HEADS: &[&[u8]] = &[
    b"GET /v1/ws?token=a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tickerd.v1, bearer.a.b.c\r\nOrigin: https://a\r\n\r\n",
    b"POST http://a:1/v1/publish HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\nAuthorization: Bearer a.b.c\r\n\r\nhello",
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n",
];

const POSITIONS: &[&[u8]] = &[
    b"k3:alert.118,update.8840,metric.0",
    b"5692161d100b05e5:alert.0,update.18446744073709551615,metric.7,state.0000002a-99",
    b"room=challenge%3A8f&since=k3%3Aalert.1&history=5",
];

/// A position that is taken says the same when it is given out, and a query's parameters are found in one way alone.
fn position(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(cursor) = Cursor::parse(text)
        && let [Some(alert), Some(update), Some(metric)] = cursor.seq
    {
        let given = Position { epoch: &cursor.epoch, seq: [alert, update, metric], states: cursor.states }.to_string();
        assert_eq!(Cursor::parse(&given), Ok(cursor));
    }
    let head = [b"GET /v1/events?", input, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    if let Ok(Head::Complete { request, .. }) = parse_head(&head) {
        for name in ["room", "since", "history", "ticket"] {
            let (param, places) = (request.param(name), request.query.unwrap_or_default().split('&'));
            let places = places.filter(|pair| pair.split('=').next() == Some(name)).count();
            assert_eq!(matches!(param, Ok(None)), places == 0);
            assert!(places < 2 || param.is_err());
        }
    }
}

/// What follows a head does not change it, and a head that is refused stays refused.
fn handshake(input: &[u8]) {
    let whole = parse_head(input);
    let longer = [input, b"x"].concat();
    match (&whole, parse_head(&longer)) {
        (Ok(Head::Complete { request, used }), Ok(Head::Complete { used: again, .. })) => {
            assert!(*used <= input.len() && *used == again);
            assert!(request.path.starts_with('/') && request.body_len().is_ok());
            let upgrade = request.upgrade().ok().flatten();
            token_of(request, upgrade.as_ref(), true).ok();
        }
        (Ok(Head::Complete { .. }), other) => panic!("complete, and then {other:?}"),
        (Err(refusal), Ok(_)) => panic!("{refusal:?}, and then not"),
        (Err(_), Err(_)) | (Ok(Head::Partial), _) => {}
    }
}

const OFFERS: &[&[u8]] = &[
    b"permessage-deflate; client_max_window_bits; server_max_window_bits=\"10\", permessage-deflate",
    b"x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover; client_no_context_takeover",
];

/// Whatever is offered, what is answered would be accepted, and comes to the same.
fn extensions(input: &[u8]) {
    let answer = |offer: &[u8]| {
        let head = [HEAD_BEFORE_OFFER, offer, b"\r\n\r\n"].concat();
        let Ok(Head::Complete { request, used }) = parse_head(&head) else { return None };
        if used < head.len() {
            return None; // it ended the head, and is another matter
        }
        request.upgrade().ok().flatten().and_then(|upgrade| upgrade.deflate)
    };
    if let Some(accepted) = answer(input) {
        let text = accepted.to_string();
        assert!((9..=15).contains(&accepted.window_bits()) && answer(text.as_bytes()) == Some(accepted), "{text}");
    }
}

const HEAD_BEFORE_OFFER: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: ";

const FRAMES: &[&[u8]] = &[
    b"\x01\x81\x85\0\0\0\0hello\x89\x81\0\0\0\0p\x88\x82\0\0\0\0\x03\xe8",
    b"\x03\x01\x83\0\0\0\0{\xc3\xa9\x8a\x80\0\0\0\0\x80\x81\0\0\0\0}",
    b"\x07\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00\x41\x83\0\0\0\0\xf2\x48\xcd\x80\x84\0\0\0\0\xc9\xc9\x07\x00",
    b"\x02\x82\xfe\x00\x7e\x01\x02\x03\x04",
    b"\x03\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x82\x01\x02\x03\x04ab",
];

/// How the input is cut by the network changes nothing. The first byte says how it is cut.
fn frames(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    assert_eq!(messages(bytes, usize::from(*cut).max(1)), messages(bytes, bytes.len().max(1)));
}

/// All messages, and the code of the end if there is one.
fn messages(bytes: &[u8], chunk_bytes: usize) -> (Vec<String>, Option<u16>) {
    let (mut assembler, mut inflater) = (Assembler::inflating(Role::Server), Inflater::default());
    let limits = Limits { message_bytes_max: 1000 };
    let (mut waiting, mut found) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(chunk_bytes) {
        waiting.extend_from_slice(chunk);
        loop {
            let used = match assembler.step(&mut waiting, &limits, &mut inflater) {
                Ok(Step::Message { message, used }) => {
                    if let Message::Text(text) = message {
                        assert!(text.len() <= limits.message_bytes_max);
                    }
                    found.push(format!("{message:?}"));
                    used
                }
                Ok(Step::NeedMore { used }) => {
                    waiting.drain(..used);
                    break;
                }
                Err(code) => return (found, Some(code.code)),
            };
            waiting.drain(..used);
        }
    }
    assert!(waiting.len() < limits.message_bytes_max + 14, "more waits than a header and the longest message");
    (found, None)
}

const COMPRESSED: &[&[u8]] = &[
    b"\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
    b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
    b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    b"\xec\xc1\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\xee\x08\x0a\x00",
];

/// No more than the limit; what comes is what the library gives for the same bytes; and the next message, sound, is read as ever.
fn inflate(input: &[u8]) {
    const LIMIT: usize = 8 * 1024;
    let mut inflater = Inflater::default();
    let inflated = inflater.message(input, LIMIT).map(<[u8]>::to_vec);
    assert_eq!(inflater.message(COMPRESSED[0], LIMIT), Ok(&b"Hello"[..]));
    let Ok(inflated) = inflated else { return };
    assert!(inflated.len() <= LIMIT);
    let mut reference = vec![0; LIMIT + 1];
    let mut raw = Decompress::new(false);
    if raw.decompress(&[input, b"\x00\x00\xff\xff"].concat(), &mut reference, FlushDecompress::Sync).is_ok() {
        // The reference stops where a stream ends; another may follow.
        assert!(inflated.starts_with(&reference[..raw.total_out() as usize]));
    }
}

const LINES: &[&[u8]] = &[
    br#"{"type":"RISK_ALERT","id":7,"data":{"challenge_id":"8f","user_id":"u1","a":[1,2.5e3,"\u00e9\ud83d\ude00",null,true]}}"#,
    br#"{"type":"note","room":"user:u1","lane":"alert","mode":"stream","data":{},"event_id":"e1","version":7,"owner":"u1"}"#,
    b"{\"ty\\u0070e\":\"EQUITY_UPDATED\", \"ack\":\"memory\",\"id\":\"\\\"a\",\"x\":[[-0.0E-5]],\"key\":null,\r\n\"data\" : {\"challenge_id\":12345678901234567890123,\n\"b\":[[[[]]]],\"user_id\":\"\\u0075\"} }",
];

/// What a daemon has whose operator adds nothing.
pub(crate) static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::with(Vec::new()).expect("the built-in catalog is sound"));

const COMMANDS: &[&[u8]] = &[
    br#"{"type":"subscribe","id":1,"room":"challenge:8f","since":{"epoch":"k3","seq":{"alert":118,"update":8840}},"delta":true}"#,
    br#"{"type":"auth","id":"a","token":"a.b.c"}"#,
    br#"{"type":"snapshot","id":null,"room":"r:1"}"#,
];

/// What is taken is JSON by its grammar, which has escapes of half a character too.
fn client_command(input: &[u8]) {
    if command::parse(&mut input.to_vec()).is_ok() {
        serde_json::from_slice::<&RawValue>(input).expect("what is taken is JSON");
    }
}

/// Unix milliseconds at which the tokens below are good.
const NOW_MS: u64 = 1_795_000_000_000;
const SECRET: &[u8] = b"a secret of thirty-two bytes, yes";

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let mut keys = KeySet::default();
    keys.add("secret", SECRET).expect("a sound secret");
    Verifier::new(keys, VerifyOptions::default())
});

const TOKENS: &[&[u8]] = &[
    b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsImV4cCI6MTc5NTAwMDYwMH0.Zm9yZ2VkIGFzIGEgc2lnbmF0dXJlIG9mIDMyIGJ5dGVz",
    b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSIsImV4cCI6MTc5NTAwMDYwMH0.",
    b"eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.e30.AAAA",
];

/// What was not signed is no token.
fn token(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(VERIFIER.verify(text, NOW_MS).is_err(), "nobody signed it");
    }
}

/// Header and claims, parted by a line feed; both are hostile, and the signature is right.
const CLAIMS: &[&[u8]] = &[
    b"{\"alg\":\"HS256\",\"typ\":\"JWT\"}\n{\"sub\":\"u1\",\"exp\":1795000600,\"iat\":1795000000,\"rooms\":[\"quote:*\",\"challenge:8f\"]}",
    b"{\"alg\":\"HS256\"}\n{\"sub\":\"u/1\",\"exp\":1795000600.5,\"nbf\":1,\"scope\":\"publish admin\",\"publish_rooms\":[\"*\"],\"jti\":\"j\"}",
    b"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false,\"zip\":\"DEF\"}\n{\"sub\":\"u1\",\"exp\":1e12,\"aud\":[\"a\"],\"iss\":\"i\"}",
];

/// Whoever signs: what is taken is JSON as another reader reads it, names a user, and has not expired.
fn claims(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let signed = format!("{}.{}", encode_base64url(header), encode_base64url(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    let token = format!("{signed}.{}", encode_base64url(signature.as_ref()));
    if VERIFIER.verify(&token, NOW_MS).is_ok() {
        let header: serde_json::Value = serde_json::from_slice(header).expect("the header is JSON");
        assert_eq!(header["alg"], "HS256");
        assert!(header.get("crit").is_none() && header.get("zip").is_none());
        let claims: serde_json::Value = serde_json::from_slice(claims).expect("the claims are JSON");
        assert!(claims["sub"].as_str().is_some_and(|user| !user.is_empty()));
        assert!(claims["exp"].as_f64().is_some_and(|exp| exp > 0.0 && (exp + 6.0) * 1000.0 > NOW_MS as f64));
    }
}

const PROXY_HEADERS: &[&[u8]] = &[
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x7f\x00\x00\x01\x12\x67\x1f\x90GET / HTTP/1.1\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13\xcb\x00\x71\x09\x7f\x00\x00\x01\x12\x67\x1f\x90\x04\x00\x01\x00\x03\x00\x00",
    b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
];

/// A prefix is partial or already as bad; what follows a header does not change it.
fn proxy_header(input: &[u8]) {
    let whole = proxy::parse(input);
    match whole {
        Ok(proxy::Step::Header { used, .. }) => {
            assert!(used <= input.len() && used <= proxy::HEADER_BYTES_MAX);
            assert_eq!(proxy::parse(&input[..used]), whole);
            assert_eq!(proxy::parse(&input[..used - 1]), Ok(proxy::Step::Partial));
        }
        Ok(proxy::Step::Partial) => assert!(input.len() < proxy::HEADER_BYTES_MAX),
        Err(_) => assert!(proxy::parse(&[input, b"more"].concat()).is_err()),
    }
}

const FORWARDED: &[&[u8]] = &[
    b"203.0.113.9, 10.0.0.1",
    b"for=203.0.113.9;proto=https, for=\"[2001:db8::1]:4711\";by=10.0.0.2",
    b"for=\"_gazonk\\\"\", for=unknown;host=\"a,b\"",
];

/// Nobody but a trusted proxy is believed; and what a client says of itself before a proxy appends its own word changes nothing.
fn forwarded(input: &[u8]) {
    let [proxy, client]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [203, 0, 113, 9].into()];
    for (header, word) in [(ClientAddress::XForwardedFor, "203.0.113.9"), (ClientAddress::Forwarded, "for=203.0.113.9")] {
        assert_eq!(header.client(client, [input].into_iter(), |ip| ip == proxy), client);
        let lines = [input, word.as_bytes()];
        assert_eq!(header.client(proxy, lines.into_iter(), |ip| ip == proxy), client);
    }
}
