//! What a client says: its handshake, its frames, its wish to join a room. Pure.

use memchr::memmem::find;
use tungstenite::handshake::derive_accept_key;

/// A request's head, and a message, may be so long.
pub(crate) const INPUT_BYTES_MAX: usize = 64 * 1024;

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// A text message, unmasked.
    Text(&'a [u8]),
    /// To be echoed.
    Ping(&'a [u8]),
    /// To be echoed; the connection ends.
    Close(&'a [u8]),
    /// A pong, or what a floor does not care for.
    Nothing,
}

/// The next frame of the input and its length; `Ok(None)`: it is not there as a whole. An error ends the connection.
pub(crate) fn next(input: &mut [u8]) -> Result<Option<(Said<'_>, usize)>, &'static str> {
    let [first, second, ..] = *input else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err("a client's frame is not masked");
    }
    let (len, head) = match (second & 0x7f, input.len()) {
        (126, 0..4) | (127, 0..10) => return Ok(None),
        (126, _) => (usize::from(u16::from_be_bytes([input[2], input[3]])), 4),
        (127, _) => return Err("a client's frame is too long"),
        (len, _) => (usize::from(len), 2),
    };
    let end = head + 4 + len;
    if input.len() < end {
        return Ok(None);
    }
    let (head, body) = input[..end].split_at_mut(head + 4);
    let mask = &head[head.len() - 4..];
    body.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    let said = match first {
        0x81 => Said::Text(body),
        0x89 => Said::Ping(body),
        0x88 => Said::Close(body),
        _ => Said::Nothing,
    };
    Ok(Some((said, end)))
}

/// The answer to the request that the input begins with, and the request's length; `Ok(None)`: its head is not whole.
pub(crate) fn upgrade(input: &[u8]) -> Result<Option<(String, usize)>, &'static str> {
    let Some(end) = find(input, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&input[..end]).map_err(|_| "the request's head is no text")?;
    let mut lines = head.split("\r\n");
    let is_get = lines.next().is_some_and(|line| line.starts_with("GET "));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let key = headers.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).map(|(_, value)| value.trim()).next();
    let (true, Some(key)) = (is_get, key) else { return Err("the request is no WebSocket handshake") };
    let accept = derive_accept_key(key.as_bytes());
    let protocol = if head.contains("tickerd.v1") { "Sec-WebSocket-Protocol: tickerd.v1\r\n" } else { "" };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    );
    Ok(Some((answer, end + 4)))
}

/// A wish to join: the `id`, if it is a number, and the room.
pub(crate) fn subscribe(text: &[u8]) -> Option<(Option<&str>, &str)> {
    find(text, b"\"subscribe\"")?;
    let text = std::str::from_utf8(text).ok()?;
    let room = text.split_once("\"room\":\"")?.1.split_once('"')?.0;
    let id = text.split_once("\"id\":").map(|(_, rest)| &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()]);
    Some((id.filter(|id| !id.is_empty()), room))
}

/// The answer to it.
pub(crate) fn subscribed(id: Option<&str>, room: &str) -> [String; 2] {
    let id = id.map(|id| format!(r#""id":{id},"#)).unwrap_or_default();
    [format!(r#"{{"type":"subscribed",{id}"room":"{room}"}}"#), format!(r#"{{"type":"caught_up","room":"{room}"}}"#)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, section 1.3.
    #[test]
    fn a_handshake_gets_the_key_of_the_specification() {
        let request = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nrest";
        let (answer, used) = upgrade(request.as_bytes()).unwrap().unwrap();
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(&request[used..], "rest");
        assert_eq!(upgrade(&request.as_bytes()[..40]), Ok(None));
        assert!(upgrade(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").is_err());
        assert!(upgrade(b"POST / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n").is_err());
    }

    fn masked(first: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        if body.len() < 126 {
            frame.push(0x80 | body.len() as u8);
        } else {
            frame.push(0xfe);
            frame.extend_from_slice(&(body.len() as u16).to_be_bytes());
        }
        frame.extend_from_slice(&[1, 2, 3, 4]);
        frame.extend(body.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    #[test]
    fn frames_are_unmasked_once_they_are_whole() {
        for body in [&b"hello"[..], &[b'x'; 300]] {
            let frame = masked(0x81, body);
            for cut in 0..frame.len() {
                assert_eq!(next(&mut frame.clone()[..cut]), Ok(None), "{cut}");
            }
            assert_eq!(next(&mut frame.clone()), Ok(Some((Said::Text(body), frame.len()))));
        }
        assert_eq!(next(&mut masked(0x89, b"p")), Ok(Some((Said::Ping(b"p"), 7))));
        assert_eq!(next(&mut masked(0x88, b"")), Ok(Some((Said::Close(b""), 6))));
        assert!(next(&mut [0x81, 0x00]).is_err());
    }

    #[test]
    fn a_subscription_names_its_room_and_perhaps_its_id() {
        assert_eq!(subscribe(br#"{"type":"subscribe","id":17,"room":"r:1"}"#), Some((Some("17"), "r:1")));
        assert_eq!(subscribe(br#"{"type":"subscribe","room":"r:1","id":"x"}"#), Some((None, "r:1")));
        assert_eq!(subscribe(br#"{"type":"unsubscribe","room":"r:1"}"#), None);
        assert_eq!(subscribe(br#"{"type":"subscribe"}"#), None);
        assert_eq!(subscribed(Some("17"), "r"), [r#"{"type":"subscribed","id":17,"room":"r"}"#, r#"{"type":"caught_up","room":"r"}"#]);
        assert_eq!(subscribed(None, "r")[0], r#"{"type":"subscribed","room":"r"}"#);
    }
}
