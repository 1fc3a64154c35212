//! Entries of a stream that backends publish through: as publish lines, and what becomes of them. Pure.

use std::io::Write;
use std::time::Duration;

use serde::Deserialize;

use crate::base::codes::{BAD_JSON, Refusal, own_event_id};
use crate::base::limits::{ENTRY_EVENT_IDS, OWN_EVENT_IDS};
use crate::wire::event;

/// The field of an entry that has the event, written as for the publish API.
pub(super) const FIELD: &str = "event";

/// What an entry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Its event.
    Event(Vec<u8>),
    /// Others.
    NoEvent,
    /// Nothing any more: its stream was cut before it was published.
    Trimmed,
}

/// What became of an entry, or of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was published, or had been before.
    Taken,
    /// It never will be.
    Refused(Refused),
    /// It may be, after that time.
    Later(Duration),
}

/// Why an entry, or a line, is not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As in the publish API.
    pub code: u16,
    /// The same.
    pub message: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused { code: refusal.error.code, message: refusal.message }
    }
}

/// The publish line for an entry of that id, with its end. An event without an `event_id` gets the entry's, so that an entry that is delivered
/// twice is published once.
pub(super) fn line(stream: &str, id: &str, fields: &Fields) -> Result<Vec<u8>, Refused> {
    let refused = |message| Err(Refused::from(Refusal::new(BAD_JSON, message)));
    let event = match fields {
        Fields::Event(event) => event.trim_ascii(),
        Fields::NoEvent => return refused(format!("the entry has no field `{FIELD}`: put the event there, as for /v1/publish")),
        Fields::Trimmed => {
            return refused("the entry was cut off the stream before it was published: let XADD keep more (MAXLEN)".to_owned());
        }
    };
    let draft = event::parse(event, &[]).map_err(|rejected| Refused::from(rejected.refusal))?;
    if draft.event_id.as_ref().is_some_and(|given| given.starts_with(OWN_EVENT_IDS)) {
        return Err(Refused::from(own_event_id()));
    }
    let mut line = Vec::with_capacity(event.len() + stream.len() + id.len() + 40);
    match event.strip_prefix(b"{") {
        Some(rest) if draft.event_id.is_none() => {
            write!(line, "{{\"event_id\":\"{ENTRY_EVENT_IDS}{stream}:{id}\",").expect("writing to a Vec does not fail");
            line.extend_from_slice(rest);
        }
        _ => line.extend_from_slice(event),
    }
    // It is sound JSON, so that breaks are between its tokens, where a space is as good.
    line.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    Ok(line)
}

/// What an answer to a line says. `None` if that is no answer.
pub(super) fn fate(answer: &[u8]) -> Option<Fate> {
    #[derive(Deserialize)]
    struct Answer {
        ok: bool,
        code: Option<u16>,
        message: Option<String>,
        retry_after_ms: Option<u64>,
    }
    Some(match serde_json::from_slice(answer).ok()? {
        Answer { ok: true, .. } => Fate::Taken,
        Answer { retry_after_ms: Some(ms), .. } => Fate::Later(Duration::from_millis(ms)),
        Answer { code, message, .. } => Fate::Refused(Refused { code: code?, message: message? }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::codes::{FORBIDDEN, QUEUE_FULL};
    use crate::wire::reply;

    fn text(event: &str) -> Result<String, Refused> {
        line("orders", "5-1", &Fields::Event(event.into())).map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn an_event_gets_the_id_of_its_entry_if_it_has_none() {
        let own = r#"{"type":"t","room":"r","event_id":"e1","data":{}}"#;
        assert_eq!(text(own).unwrap(), format!("{own}\n"));
        let spliced = "{\"event_id\":\"tickerd:entry:orders:5-1\", \"type\" : \"t\",   \"data\":{\"a\":\"\\n\"}}\n";
        assert_eq!(text("\n { \"type\" : \"t\", \r\n\"data\":{\"a\":\"\\n\"}} ").unwrap(), spliced);
        let null = text(r#"{"event_id":null,"type":"t","data":1}"#);
        assert!(null.is_ok_and(|line| event::parse(line.as_bytes(), &[]).is_err()), "the daemon says that it is there twice");
    }

    #[test]
    fn what_is_no_event_is_refused_in_the_words_of_the_publish_api() {
        let message = |refused: Result<_, Refused>| refused.unwrap_err().message;
        assert!(message(line("s", "1-0", &Fields::NoEvent)).contains("`event`"));
        assert!(message(line("s", "1-0", &Fields::Trimmed)).contains("MAXLEN"));
        for bad in ["", "x", "[]", "{}", r#"{"type":"t"}"#, "{\"type\":\"t\",\"data\":\"a\nb\"}"] {
            let refused = text(bad).unwrap_err();
            assert!(refused.code > 0 && !refused.message.is_empty(), "{bad}");
        }
    }

    #[test]
    fn answers_say_what_becomes_of_an_entry() {
        let told = |outcome| {
            let mut out = Vec::new();
            reply::answer(&mut out, None, &outcome, true);
            fate(&out)
        };
        let refused = Refused { code: FORBIDDEN.code, message: "no \"such\" room".to_owned() };
        assert_eq!(told(Err(Refusal::new(FORBIDDEN, "no \"such\" room"))), Some(Fate::Refused(refused)));
        assert_eq!(told(Err(Refusal::passing(QUEUE_FULL, "full", 20))), Some(Fate::Later(Duration::from_millis(20))));
        assert_eq!(fate(br#"{"ok":true,"result":"accepted"}"#), Some(Fate::Taken));
        assert_eq!((fate(b""), fate(br#"{"ok":false}"#), fate(b"[]")), (None, None, None));
    }

    proptest! {
        /// Whatever an entry has, it is one line, and means what it meant.
        #[test]
        fn an_entry_is_one_line(event in "\\PC{0,40}|[{}\"a-z:,\\[\\]\n\r ]{0,40}") {
            if let Ok(line) = line("s", "1-0", &Fields::Event(event.into())) {
                prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
                prop_assert!(event::parse(&line, &[]).is_ok_and(|draft| draft.event_id.is_some()));
            }
        }
    }
}
