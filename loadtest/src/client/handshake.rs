//! The upgrade from HTTP/1.1 to WebSocket (RFC 6455 section 4.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tungstenite::handshake::derive_accept_key;

use super::url::Url;

/// The most bytes of an answer's head.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A request's key in its text form.
pub fn key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// The request, with the token if there is one.
pub fn request(url: &Url, token: Option<&str>, key: &str) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: tickerd.v1\r\n{authorization}\r\n",
        url.path, url.host
    )
    .into_bytes()
}

/// Reads the answer to a request with that key. `None`: more is to come; else the length of its head. The error says what the server
/// answered instead of an upgrade.
pub fn answer(bytes: &[u8], key: &str) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err("the answer's head is too long".into()) } else { Ok(None) };
    };
    let head = str::from_utf8(&bytes[..end]).map_err(|_| "the answer's head is not UTF-8".to_owned())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101") {
        return Err(refusal(status));
    }
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect();
    let value = |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value);
    if !value("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("101 without `Upgrade: websocket`".into());
    }
    if value("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Err("101 with a wrong Sec-WebSocket-Accept".into());
    }
    if let Some(extensions) = value("sec-websocket-extensions") {
        return Err(format!("101 with extensions that were not offered: {extensions}"));
    }
    Ok(Some(end + 4))
}

fn refusal(status: &str) -> String {
    match status.split_once(' ') {
        Some((version, rest)) if version.starts_with("HTTP/") => format!("HTTP {}", rest.chars().take(60).collect::<String>()),
        _ => "the server does not speak HTTP".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    /// The answer of RFC 6455 section 1.3.
    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn the_answer_is_taken_when_whole() {
        for len in 0..GOOD.len() {
            assert_eq!(answer(&GOOD.as_bytes()[..len], KEY), Ok(None), "{len}");
        }
        assert_eq!(answer(format!("{GOOD}\x01").as_bytes(), KEY), Ok(Some(GOOD.len())));
    }

    #[test]
    fn other_answers_are_told() {
        let cases = [
            (GOOD.replace("s3p", "s3q"), "wrong Sec-WebSocket-Accept"),
            (GOOD.replace("WebSocket\r", "h2c\r"), "without `Upgrade: websocket`"),
            (GOOD.replace("Connection: ", "Sec-WebSocket-Extensions: "), "not offered"),
            (GOOD.replace("101 Switching Protocols", "401 Unauthorized"), "HTTP 401 Unauthorized"),
            (GOOD.replace("HTTP/1.1 ", "SSH-"), "does not speak HTTP"),
            ("x".repeat(HEAD_BYTES_MAX + 1), "too long"),
        ];
        for (text, part) in cases {
            let error = answer(text.as_bytes(), KEY).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_request_carries_the_token() {
        let url = Url::parse("ws://127.0.0.1:1/v1/ws").expect("is good");
        let text = String::from_utf8(request(&url, Some("a.b.c"), &key([0; 16]))).expect("is text");
        assert!(
            text.starts_with("GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:1\r\n") && text.ends_with("Authorization: Bearer a.b.c\r\n\r\n"),
            "{text}"
        );
        assert!(!String::from_utf8(request(&url, None, "k")).expect("is text").contains("Authorization"));
    }
}
