//! What is fed, and what must hold of it.

use std::sync::LazyLock;

use flate2::{Decompress, FlushDecompress};
use serde_json::value::RawValue;
use tickerd::hub::catalog::Catalog;
use tickerd::wire::deflate::Inflater;
use tickerd::wire::http::{Head, parse_head, token_of};
use tickerd::wire::websocket::{Assembler, Limits, Message, Role, Step};
use tickerd::wire::{command, event};

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
    Target { name: "extensions", corpus: OFFERS, check: extensions },
    Target { name: "frames", corpus: FRAMES, check: frames },
    Target { name: "inflate", corpus: COMPRESSED, check: inflate },
    Target { name: "publish", corpus: LINES, check: publish },
    Target { name: "command", corpus: COMMANDS, check: client_command },
];

const HEADS: &[&[u8]] = &[
    b"GET /v1/ws?token=a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tickerd.v1, bearer.a.b.c\r\nOrigin: https://a\r\n\r\n",
    b"POST http://a:1/v1/publish HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 5\r\nAuthorization: Bearer a.b.c\r\n\r\nhello",
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n",
];

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
];

/// What is taken is JSON, and has been read as another reader reads it; `data` is the publisher's own bytes.
fn publish(input: &[u8]) {
    let Ok(draft) = event::parse(input, CATALOG.wanted()) else { return };
    let reference: serde_json::Value = serde_json::from_slice(input).expect("what is taken is JSON");
    assert_eq!(reference["type"].as_str(), Some(&*draft.kind));
    CATALOG.resolve(&draft).ok();
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::with(Vec::new()).expect("the built-in catalog is sound"));

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
