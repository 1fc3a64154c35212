//! Bytes from the server, cut into answers and, on a WebSocket, whatever else comes. Pure.

use crate::client::codec::{self, CLOSE, CONTINUATION, Header, PING, TEXT};

use super::batch::Form;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// The answer to a publish.
    Answer(&'a [u8]),
    /// Another message of the protocol.
    Message(&'a [u8]),
    /// To be answered with a pong.
    Ping(&'a [u8]),
    /// The server ends the connection: the close frame's payload.
    Close(&'a [u8]),
    /// A pong, which nobody asked for, or a blank line.
    Nothing,
}

/// The first thing in `bytes`, and how many of them it takes; `None`: more is to come.
pub fn next(form: Form, bytes: &[u8]) -> Result<Option<(Inbound<'_>, usize)>, String> {
    match form {
        Form::Line => Ok(next_line(bytes)),
        Form::Frame => next_frame(bytes),
    }
}

fn next_line(bytes: &[u8]) -> Option<(Inbound<'_>, usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes[..end].trim_ascii();
    Some((if line.is_empty() { Inbound::Nothing } else { Inbound::Answer(line) }, end + 1))
}

fn next_frame(bytes: &[u8]) -> Result<Option<(Inbound<'_>, usize)>, String> {
    let Some(Header { opcode, is_final, header_len, payload_len }) = codec::header(bytes)? else { return Ok(None) };
    if !is_final || opcode == CONTINUATION {
        return Err(
            "the server sent the publisher a message in several frames, which this generator reads on members' connections only".to_owned()
        );
    }
    let Some(payload) = bytes.get(header_len..header_len + payload_len) else { return Ok(None) };
    let inbound = match opcode {
        TEXT if is_answer(payload) => Inbound::Answer(payload),
        TEXT => Inbound::Message(payload),
        PING => Inbound::Ping(payload),
        CLOSE => Inbound::Close(payload),
        _ => Inbound::Nothing,
    };
    Ok(Some((inbound, header_len + payload_len)))
}

/// An answer has `ok`; every other message has `type`.
fn is_answer(text: &[u8]) -> bool {
    if text.starts_with(br#"{"ok":"#) {
        return true;
    }
    if text.starts_with(br#"{"type":"#) {
        return false;
    }
    let value: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    value.is_some_and(|value| value.get("ok").is_some() && value.get("type").is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(form: Form, mut bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while let Ok(Some((inbound, len))) = next(form, bytes) {
            found.push(match inbound {
                Inbound::Answer(text) => format!("answer {}", String::from_utf8_lossy(text)),
                Inbound::Message(text) => format!("message {}", String::from_utf8_lossy(text)),
                Inbound::Ping(text) => format!("ping {}", String::from_utf8_lossy(text)),
                Inbound::Close(text) => format!("close {}", codec::close_code(text)),
                Inbound::Nothing => "nothing".to_owned(),
            });
            bytes = &bytes[len..];
        }
        found
    }

    #[test]
    fn lines_are_answers() {
        assert_eq!(all(Form::Line, b"{\"ok\":true}\n\r\n{\"ok\""), ["answer {\"ok\":true}", "nothing"]);
    }

    #[test]
    fn frames_are_told_apart() {
        let mut bytes = Vec::new();
        for (opcode, text) in [
            (0x81, r#"{"ok":true}"#),
            (0x81, r#"{"type":"heartbeat"}"#),
            (0x89, "x"),
            (0x81, r#"{"id":1,"ok":false}"#),
            (0x88, "\x03\u{79}"),
        ] {
            bytes.extend([opcode, text.len() as u8]);
            bytes.extend(text.as_bytes());
        }
        let expected = [r#"answer {"ok":true}"#, r#"message {"type":"heartbeat"}"#, "ping x", r#"answer {"id":1,"ok":false}"#, "close 889"];
        assert_eq!(all(Form::Frame, &bytes), expected);
        assert!(next(Form::Frame, b"\x82\x01").is_err(), "a binary frame");
        assert!(next(Form::Frame, b"\x01\x01{").is_err(), "a piece of a message");
    }
}
