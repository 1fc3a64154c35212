//! Good and bad requests with the exact status of each, and the answers.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::base::codes::{NOT_FOUND, QUEUE_FULL};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn request(head: &str) -> Result<Request<'_>, HttpRefusal> {
    match parse_head(head.as_bytes())? {
        Head::Complete { request, used } => {
            assert_eq!(used, head.len(), "{head}");
            Ok(request)
        }
        Head::Partial => panic!("not complete: {head}"),
    }
}

/// A GET with these lines besides Host.
fn get(lines: &[&str]) -> String {
    let first = ["GET /v1/ws HTTP/1.1", "Host: localhost:8080"];
    [&first[..], lines, &["", ""]].concat().join("\r\n")
}

fn post(lines: &[&str]) -> String {
    get(lines).replacen("GET /v1/ws", "POST /v1/publish", 1)
}

const UPGRADE: [&str; 4] =
    ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];

/// A valid upgrade with the line that begins as `instead` does replaced, or with `instead` added.
fn upgrade_with(instead: &[&str]) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let kept = UPGRADE.iter().filter(|line| !instead.iter().any(|other| name(other) == name(line)));
    let added = instead.iter().filter(|line| !line.ends_with(": -"));
    get(&kept.chain(added).copied().collect::<Vec<_>>())
}

/// The status of the refusal, or 101 for an upgrade, or 200 for another good request.
fn status(head: &str) -> u16 {
    match request(head).and_then(|request| request.upgrade().map(|upgrade| upgrade.is_some())) {
        Ok(is_upgrade) => {
            if is_upgrade {
                101
            } else {
                200
            }
        }
        Err(refusal) => refusal.status,
    }
}

#[test]
fn a_request_is_read() {
    let head = "POST /v1/publish?a=b?c HTTP/1.1\r\nhOST: a.example:1\r\nContent-Length: 12\r\nX-Empty:\r\nCookie:  a=b \r\n\r\n";
    let request = request(head).unwrap();
    assert_eq!((request.method, request.path, request.query), ("POST", "/v1/publish", Some("a=b?c")));
    assert_eq!(request.header("HOST"), Ok(Some("a.example:1")));
    assert_eq!(request.header("x-empty"), Ok(Some("")));
    assert_eq!(request.header("cookie"), Ok(Some("a=b")));
    assert_eq!(request.header("cooki"), Ok(None));
    assert_eq!(request.body_len(), Ok(BodyLen::Bytes(12)));
    assert!(request.keep_alive());
    assert!(request.upgrade().unwrap().is_none());
}

/// NET-07 and RFC 6455 section 4.2.1: each flaw of an upgrade has its status.
#[test]
fn upgrades_good_and_bad() {
    let cases: &[(u16, &[&str])] = &[
        (101, &[]),
        (101, &["upgrade: WebSocket"]),
        (101, &["Connection: keep-alive, UPGRADE"]),
        (101, &["Connection: keep-alive", "Connection: upgrade"]),
        (101, &["Upgrade: h2c, websocket"]),
        (101, &["Origin: https://desk.example"]),
        (101, &["Sec-WebSocket-Extensions: permessage-deflate"]),
        (101, &["Sec-WebSocket-Protocol: tickerd.v1"]),
        (101, &["Sec-WebSocket-Protocol: other, tickerd.v1, bearer.a.b.c"]),
        (101, &["Sec-WebSocket-Protocol: bearer.a.b.c", "Sec-WebSocket-Protocol: tickerd.v1"]),
        (101, &["Content-Length: 0"]),
        (200, &["Upgrade: -"]),
        (200, &["Upgrade: h2c"]),
        (200, &["Upgrade: websocket/13"]),
        (400, &["Connection: -"]),
        (400, &["Connection: keep-alive"]),
        (400, &["Connection: upgrades"]),
        (426, &["Sec-WebSocket-Version: -"]),
        (426, &["Sec-WebSocket-Version: 8"]),
        (426, &["Sec-WebSocket-Version: 13, 8"]),
        (400, &["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"]),
        (400, &["Sec-WebSocket-Key: -"]),
        (400, &["Sec-WebSocket-Key:"]),
        (400, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ="]),
        (400, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA"]),
        (400, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2*jZQ=="]),
        (400, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]),
        (400, &["Sec-WebSocket-Protocol: other"]),
        (400, &["Sec-WebSocket-Protocol: tickerd.v2"]),
        (400, &["Sec-WebSocket-Protocol: bearer.a.b.c"]),
        (400, &["Sec-WebSocket-Protocol: tickerd.v1, bearer.a, bearer.a"]),
        (400, &["Origin: https://a.example", "Origin: https://b.example"]),
        (400, &["Content-Length: 5"]),
        (411, &["Transfer-Encoding: chunked"]),
    ];
    for (expected, lines) in cases {
        assert_eq!(status(&upgrade_with(lines)), *expected, "{lines:?}");
    }
    assert_eq!(status(&upgrade_with(&[]).replacen("GET", "POST", 1)), 405);
    assert_eq!(status(&upgrade_with(&[]).replacen("HTTP/1.1", "HTTP/1.0", 1)), 400);
}

/// Requests that a proxy and we might read differently are refused, whatever they ask for.
#[test]
fn smuggling_shapes_are_refused() {
    let raw = |rest: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}");
    let cases = [
        ("both lengths", 400, post(&["Content-Length: 5", "Transfer-Encoding: chunked"])),
        ("both lengths, the other way", 400, post(&["Transfer-Encoding: chunked", "Content-Length: 5"])),
        ("two lengths", 400, post(&["Content-Length: 5", "Content-Length: 6"])),
        ("two equal lengths", 400, post(&["Content-Length: 5", "content-length: 5"])),
        ("a list of lengths", 400, post(&["Content-Length: 5, 5"])),
        ("a signed length", 400, post(&["Content-Length: +5"])),
        ("a negative length", 400, post(&["Content-Length: -5"])),
        ("a hexadecimal length", 400, post(&["Content-Length: 0x5"])),
        ("an empty length", 400, post(&["Content-Length:"])),
        ("a length with a space", 400, post(&["Content-Length: 5 5"])),
        ("a length beyond 64 bits", 413, post(&["Content-Length: 18446744073709551616"])),
        ("chunked", 411, post(&["Transfer-Encoding: Chunked"])),
        ("chunked twice", 501, post(&["Transfer-Encoding: chunked, chunked"])),
        ("another coding", 501, post(&["Transfer-Encoding: gzip, chunked"])),
        ("an obscured coding", 501, post(&["Transfer-Encoding: xchunked"])),
        ("no coding", 501, post(&["Transfer-Encoding:"])),
        ("a coding in HTTP/1.0", 400, post(&["Transfer-Encoding: chunked"]).replacen("HTTP/1.1", "HTTP/1.0", 1)),
        ("a folded header", 400, raw("A: b\r\n c\r\n\r\n")),
        ("a folded first header", 400, raw("A: b\r\nB:\r\n\tc\r\n\r\n")),
        ("a space before the colon", 400, raw("Content-Length : 5\r\n\r\n")),
        ("a tab before the colon", 400, raw("Content-Length\t: 5\r\n\r\n")),
        ("a space before the name", 400, raw(" A: b\r\n\r\n")),
        ("a name with a space", 400, raw("A B: c\r\n\r\n")),
        ("a name with a bracket", 400, raw("A(: c\r\n\r\n")),
        ("a name with a byte beyond ASCII", 400, raw("Ä: c\r\n\r\n")),
        ("a header without name", 400, raw(": c\r\n\r\n")),
        ("a header without colon", 400, raw("A\r\n\r\n")),
        ("a null in a value", 400, raw("A: b\0c\r\n\r\n")),
        ("a carriage return in a value", 400, raw("A: b\rc\r\n\r\n")),
        ("a bare line feed", 400, raw("A: b\nContent-Length: 5\r\n\r\n")),
        ("a bare line feed at the end", 400, "GET / HTTP/1.1\r\nHost: a\n\n".into()),
        ("a line feed before", 400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("no host", 400, "GET / HTTP/1.1\r\n\r\n".into()),
        ("two hosts", 400, raw("Host: b\r\n\r\n")),
        ("two equal hosts", 400, raw("host: a\r\n\r\n")),
        ("a host that is a list", 400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n".into()),
        ("a host with a space", 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into()),
        ("a host with a path", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into()),
        ("a host with a user", 400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".into()),
        ("an absolute target of another scheme", 400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("an absolute target with a user", 400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("no version", 400, "GET / http/1.1\r\nHost: a\r\n\r\n".into()),
        ("a star", 400, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("a fragment", 400, "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("two spaces before the target", 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("a method with a bracket", 400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("HTTP/2", 505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into()),
        ("the preface of HTTP/2", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("TLS", 400, "\x16\x03\x01\x02\x00\x01\r\n\r\n".into()),
    ];
    for (name, expected, head) in cases {
        assert_eq!(parse_head(head.as_bytes()).map(|head| format!("{head:?}")).map_err(|refusal| refusal.status), Err(expected), "{name}");
    }
}

#[test]
fn hosts_of_every_kind_are_taken() {
    for host in ["a", "a.example", "a.example:8080", "127.0.0.1:1", "[::1]:8080", ""] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 200, "{host}");
    }
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 200, "HTTP/1.0 needs none");
}

/// LIM-10: a head is complete or refused within its limit.
#[test]
fn heads_have_a_limit() {
    let padded = |pad: usize| get(&[&format!("A: {}", "x".repeat(pad))]);
    let fits = padded(HTTP_HEAD_BYTES_MAX - padded(0).len());
    assert_eq!((fits.len(), status(&fits)), (HTTP_HEAD_BYTES_MAX, 200));
    let too_long = padded(HTTP_HEAD_BYTES_MAX);
    assert_eq!(status(&too_long), 431);
    assert!(matches!(parse_head(&too_long.as_bytes()[..HTTP_HEAD_BYTES_MAX]), Ok(Head::Partial)));
    assert_eq!(parse_head(&too_long.as_bytes()[..=HTTP_HEAD_BYTES_MAX]).unwrap_err().status, 431);
    assert_eq!(parse_head("\r\n".repeat(HTTP_HEAD_BYTES_MAX).as_bytes()).unwrap_err().status, 431);
    assert_eq!(status(&get(&["A: b"; HTTP_HEADERS_MAX - 1])), 200);
    assert_eq!(status(&get(&["A: b"; HTTP_HEADERS_MAX])), 431);
}

#[test]
fn connections_stay_open_by_version_and_header() {
    let keeps = |head: &str| request(head).unwrap().keep_alive();
    assert!(keeps(&get(&[])));
    assert!(keeps(&get(&["Connection: keep-alive"])));
    assert!(!keeps(&get(&["Connection: Close"])));
    assert!(!keeps(&get(&["Connection: keep-alive, close"])));
    assert!(!keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    assert!(request(&post(&["Expect: 100-Continue", "Content-Length: 5"])).unwrap().expects_continue());
    assert!(!request(&post(&["Content-Length: 5"])).unwrap().expects_continue());
}

/// AUT-02: one token, from one place, and never in a message.
#[test]
fn a_token_has_one_place() {
    const SUB: &str = "Sec-WebSocket-Protocol: tickerd.v1, bearer.a.b.c";
    const AUTH: &str = "Authorization: Bearer a.b.c";
    let token = |target: &str, lines: &[&str], allow_query: bool| {
        let head = upgrade_with(lines).replacen("/v1/ws", target, 1);
        let request = request(&head).unwrap();
        let upgrade = request.upgrade().unwrap();
        let token = token_of(&request, upgrade.as_ref(), allow_query).map(|token| token.map(str::to_owned));
        assert!(!format!("{:?} {request:?} {upgrade:?}", token.as_ref().err()).contains("a.b.c"), "{target} {lines:?}");
        token.map_err(|refusal| refusal.status)
    };
    let found = Ok(Some("a.b.c".to_owned()));
    assert_eq!(token("/v1/ws", &[], false), Ok(None));
    assert_eq!(token("/v1/ws", &[AUTH], false), found);
    assert_eq!(token("/v1/ws", &["Authorization: bEARER  a.b.c"], false), found);
    assert_eq!(token("/v1/ws", &["Authorization: Basic a.b.c"], false), Ok(None));
    assert_eq!(token("/v1/ws", &[SUB], false), found);
    assert_eq!(token("/v1/ws?x=1&token=a.b.c", &[], true), found);
    assert_eq!(token("/v1/ws?xtoken=a.b.c&tokens=a.b.c", &[], false), Ok(None));
    assert_eq!(token("/v1/ws?token=a.b.c", &[], false), Err(400));
    assert_eq!(token("/v1/ws?token=a.b.c", &[AUTH], false), Err(400));
    assert_eq!(token("/v1/ws?token=a.b.c&token=a.b.c", &[], true), Err(400));
    assert_eq!(token("/v1/ws?token=a.b.c", &[AUTH], true), Err(400));
    assert_eq!(token("/v1/ws?token=a.b.c", &[SUB], true), Err(400));
    assert_eq!(token("/v1/ws", &[AUTH, SUB], false), Err(400));
    assert_eq!(token("/v1/ws", &[AUTH, AUTH], false), Err(400));
    assert_eq!(token("/v1/ws", &["Authorization: Bearer"], false), Err(400));
    assert_eq!(token("/v1/ws", &["Sec-WebSocket-Protocol: tickerd.v1, bearer."], false), Err(400));
    assert_eq!(token("/v1/ws?token=", &[], true), Err(400));
}

/// RFC 9112 section 3.2.2: a server must accept the absolute form.
#[test]
fn an_absolute_target_is_its_path() {
    for (target, path, query) in [("http://a/b?c", "/b", Some("c")), ("HTTPS://[::1]:8080/b", "/b", None), ("http://a:1", "/", None)] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n");
        let request = request(&head).unwrap();
        assert_eq!((request.path, request.query), (path, query), "{target}");
    }
}

#[test]
fn an_upgrade_says_what_the_session_needs() {
    let head = upgrade_with(&["Origin: https://desk.example", "Sec-WebSocket-Protocol: tickerd.v1, bearer.a.b.c"]);
    let subprotocol = Subprotocol { tickerd_v1: true, offered: true, bearer: Some("a.b.c") };
    let expected = Upgrade { key: KEY, origin: Some("https://desk.example"), subprotocol, deflate: None };
    assert_eq!(request(&head).unwrap().upgrade().unwrap(), Some(expected));
    let head = upgrade_with(&[]);
    let bare = request(&head).unwrap().upgrade().unwrap().map(|upgrade| upgrade.subprotocol);
    assert_eq!(bare, Some(Subprotocol::default()));
}

/// RFC 6455 section 1.3 has this key and its answer.
#[test]
fn switching_answers_the_key() {
    let mut out = Vec::new();
    write_switching(&mut out, KEY, true, None);
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: tickerd.v1\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    write_switching(&mut out, KEY, false, None);
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("Protocol:") && !out.contains("Extensions:"));
}

/// DLV-23: what the offers, on one line or two, come to; RFC 6455 section 9.1: what is no offer at all is refused.
#[test]
fn an_offer_of_compression_is_answered() {
    let head = upgrade_with(&["Sec-WebSocket-Extensions: x-other", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]);
    let deflate = request(&head).unwrap().upgrade().unwrap().unwrap().deflate;
    let mut out = Vec::new();
    write_switching(&mut out, KEY, false, deflate);
    let line = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=15\r\n";
    assert!(String::from_utf8(out).unwrap().contains(line));
    let head = upgrade_with(&["Sec-WebSocket-Extensions: permessage-deflate;"]);
    assert_eq!(request(&head).unwrap().upgrade().unwrap_err().status, 400);
}

#[test]
fn a_response_is_whole() {
    let mut out = Vec::new();
    write_response(&mut out, 200, "text/plain", true, &[("ETag", "\"1\"")], b"hi");
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nX-Content-Type-Options: nosniff\r\n\
        Cache-Control: no-store\r\nETag: \"1\"\r\n\r\nhi";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    write_response(&mut out, 304, "text/plain", false, &[("cache-control", "max-age=60\r\nX: y")], b"hi");
    let expected =
        "HTTP/1.1 304 Not Modified\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\ncache-control: max-age=60X: y\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

/// ERR-01: a refusal tells its code, name, category and what to do, and when.
#[test]
fn a_refusal_is_json() {
    let mut out = Vec::new();
    let refusal = Refusal::passing(QUEUE_FULL, "full: \"x\"\nwait", 1001);
    write_refusal(&mut out, 429, &refusal, true, &[("Allow", "GET")]);
    let text = String::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"), "{head}");
    assert!(head.contains("\r\nRetry-After: 2") && head.contains("\r\nAllow: GET"), "{head}");
    let expected = serde_json::json!({"ok": false, "code": 201, "name": "queue_full", "category": "rate", "message": "full: \"x\"\nwait", "retry_after_ms": 1001});
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), expected);

    let mut out = Vec::new();
    HttpRefusal { extra_header: Some("Sec-WebSocket-Version: 13"), ..Refusal::new(NOT_FOUND, "x").into() }.write(&mut out, false);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n") && text.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{text}");
    assert!(!text.contains("etry"), "{text}");
}

/// Every status that an error code maps to has its reason phrase.
#[test]
fn every_errors_status_has_a_phrase() {
    let others = [101, 200, 204, 304, 405, 408, 411, 415, 426, 431, 501, 505];
    for status in crate::base::codes::ERRORS.iter().map(|error| error.http_status).chain(others).filter(|status| *status != 101) {
        let mut out = Vec::new();
        write_response(&mut out, status, "text/plain", true, &[], b"");
        assert!(!String::from_utf8(out).unwrap().contains(" Status\r\n"), "{status}");
    }
}

proptest! {
    /// LIM-05, LIM-10: no bytes make it panic.
    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..300), lines in vec("[ -~\r\n]{0,40}", 0..6)) {
        drop(parse_head(&bytes));
        if let Ok(Head::Complete { request, .. }) = parse_head(get(&lines.iter().map(String::as_str).collect::<Vec<_>>()).as_bytes()) {
            drop(request.upgrade());
            drop(token_of(&request, None, true));
        }
    }

    /// Where the reads are cut changes nothing: no prefix is complete, and the whole is what it is at once.
    #[test]
    fn a_prefix_is_partial(cut in 0..200usize) {
        let head = upgrade_with(&["Origin: https://desk.example"]);
        let cut = cut.min(head.len() - 1);
        let used = |bytes: &[u8]| parse_head(bytes).map(|head| if let Head::Complete { used, .. } = head { Some(used) } else { None });
        prop_assert_eq!(used(&head.as_bytes()[..cut]), Ok(None));
        prop_assert_eq!(used(format!("{head}GET / body").as_bytes()), Ok(Some(head.len())));
    }
}

/// A header that is added stands before the body, and cannot begin another.
#[test]
fn headers_are_added_to_an_answer_that_is_written() {
    let mut out = b"before\r\n\r\n".to_vec();
    let start = out.len();
    write_response(&mut out, 200, "text/plain", true, &[], b"body\r\n\r\n");
    add_headers(&mut out, start, &[("A", "1"), ("B", "2\r\nX: y")]);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("before\r\n\r\nHTTP/1.1 200 OK\r\n") && text.ends_with("\r\nA: 1\r\nB: 2X: y\r\n\r\nbody\r\n\r\n"), "{text}");
}
