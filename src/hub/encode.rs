//! The text of an event.

use crate::base::lane::Lane;
use crate::wire::reply::put_event_number;
use crate::wire::text::{put, put_number};

use super::ports::Number;

/// What a member reads of an event. All names are identifiers, so they need no escapes.
pub(super) struct EventText<'a> {
    pub(super) kind: &'a str,
    pub(super) room: &'a str,
    pub(super) lane: Lane,
    /// Of a state; empty for none.
    pub(super) key: &'a str,
    pub(super) number: Number,
    /// Of a delta: the revision of the state that it changes.
    pub(super) base: Option<u64>,
    pub(super) ts_ms: u64,
    pub(super) event_id: Option<&'a str>,
    /// Raw JSON, of a delta the merge patch; `None` tells that the key is deleted.
    pub(super) data: Option<&'a str>,
}

/// Writes the text and returns where `data` begins in it, if there is one: it is the last member.
pub(super) fn event(out: &mut Vec<u8>, text: &EventText<'_>) -> Option<usize> {
    put(out, &[r#"{"type":""#, text.kind, r#"","room":""#, text.room, r#"","lane":""#, text.lane.name(), "\""]);
    if !text.key.is_empty() {
        put(out, &[r#","key":""#, text.key, "\""]);
    }
    put_event_number(out, text.number);
    if let Some(base) = text.base {
        put(out, &[r#","base":"#]);
        put_number(out, base);
    }
    put(out, &[r#","ts":"#]);
    put_number(out, text.ts_ms);
    if let Some(event_id) = text.event_id {
        put(out, &[r#","event_id":""#, event_id, "\""]);
    }
    let Some(data) = text.data else {
        out.extend_from_slice(br#","deleted":true}"#);
        return None;
    };
    put(out, &[if text.base.is_some() { r#","patch":"# } else { r#","data":"# }]);
    let data_at = out.len();
    out.extend_from_slice(data.as_bytes());
    out.push(b'}');
    Some(data_at)
}

/// `ts` and `event_id` of a text that [`event`] wrote. Identifiers need no escapes, so what stands before `data` is found by its names.
pub(super) fn ts_and_event_id(text: &[u8]) -> (u64, Option<&str>) {
    let end = memchr::memmem::find(text, br#","data":"#).unwrap_or(text.len());
    let head = std::str::from_utf8(&text[..end]).unwrap_or_default();
    let ts_ms = head.split_once(r#","ts":"#).map_or(0, |(_, rest)| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().unwrap_or_default()
    });
    let event_id = head.split_once(r#","event_id":""#).and_then(|(_, rest)| rest.split_once('"'));
    (ts_ms, event_id.map(|(event_id, _)| event_id))
}

/// The type of a text that [`event`] wrote.
pub(super) fn kind(text: &[u8]) -> &str {
    let rest = text.strip_prefix(br#"{"type":""#).unwrap_or_default();
    let end = memchr::memchr(b'"', rest).unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or_default()
}

/// The text of an event that [`event`] wrote with `data`, as it is given again.
pub(super) fn redelivered(out: &mut Vec<u8>, text: &[u8]) {
    let data_at = memchr::memmem::find(text, br#","data":"#).unwrap_or(text.len());
    out.extend_from_slice(&text[..data_at]);
    out.extend_from_slice(br#","redelivered":true"#);
    out.extend_from_slice(&text[data_at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ts_and_event_id_are_read_back() {
        let mut out = Vec::new();
        event(&mut out, &text());
        assert_eq!(ts_and_event_id(&out), (5, Some("e1")));
        assert_eq!((kind(&out), kind(b"")), ("RISK_ALERT", ""));
        out.clear();
        event(&mut out, &EventText { event_id: None, ts_ms: u64::MAX, data: Some(r#"{"x":1,"ts":7,"event_id":"no","data":1}"#), ..text() });
        assert_eq!(ts_and_event_id(&out), (u64::MAX, None));
    }

    fn text() -> EventText<'static> {
        EventText {
            kind: "RISK_ALERT",
            room: "challenge:8f",
            lane: Lane::Alert,
            key: "",
            number: Number::Seq(121),
            base: None,
            ts_ms: 5,
            event_id: Some("e1"),
            data: Some("{\"a\": 1.50}"),
        }
    }

    /// ARC-01: `data` is the publisher's own bytes, and the last member.
    #[test]
    fn data_stands_last_and_untouched() {
        let mut out = Vec::new();
        let at = event(&mut out, &text()).unwrap();
        let expected = r#"{"type":"RISK_ALERT","room":"challenge:8f","lane":"alert","seq":121,"ts":5,"event_id":"e1","data":{"a": 1.50}}"#;
        assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
        assert_eq!(&out[at..out.len() - 1], b"{\"a\": 1.50}");
    }

    /// QTE-12: marked, and the same otherwise, whatever `data` looks like.
    #[test]
    fn an_event_that_is_given_again_says_so_before_its_data() {
        let (mut out, mut again) = (Vec::new(), Vec::new());
        event(&mut out, &EventText { data: Some(r#"{"x":1,"data":2}"#), ..text() });
        redelivered(&mut again, &out);
        let expected = r#"{"type":"RISK_ALERT","room":"challenge:8f","lane":"alert","seq":121,"ts":5,"event_id":"e1","redelivered":true,"data":{"x":1,"data":2}}"#;
        assert_eq!(String::from_utf8(again).unwrap(), expected);
    }

    /// DLV-06: `base` names the state that the patch is for, and `patch` stands last.
    #[test]
    fn a_delta_has_base_and_patch() {
        let mut out = Vec::new();
        event(&mut out, &EventText { key: "8f", number: Number::Rev(908), base: Some(907), event_id: None, ..text() });
        assert!(out.ends_with(br#""key":"8f","rev":908,"base":907,"ts":5,"patch":{"a": 1.50}}"#), "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn a_deleted_key_has_no_data() {
        let mut out = Vec::new();
        let deleted = EventText { key: "8f", number: Number::Rev(3), event_id: None, data: None, ..text() };
        assert_eq!(event(&mut out, &deleted), None);
        assert!(out.ends_with(br#""key":"8f","rev":3,"ts":5,"deleted":true}"#), "{}", String::from_utf8_lossy(&out));
    }
}
