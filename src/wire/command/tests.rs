//! Commands: what each verb takes, and what is refused how.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::base::codes::{DUPLICATE_KEY, TOO_DEEP};

fn read_text(text: &str) -> Result<Command, Box<Rejected>> {
    parse(&mut text.as_bytes().to_vec())
}

fn command(text: &str) -> Command {
    read_text(text).unwrap_or_else(|rejected| panic!("{text}: {rejected:?}"))
}

fn rejected(text: &str) -> Rejected {
    *read_text(text).expect_err(text)
}

#[test]
fn every_verb_is_read() {
    let id = || Some(RequestId::from(1));
    let room = || String::from("challenge:8f");
    assert_eq!(command(r#"{"type":"auth","id":1,"token":"a.b.c"}"#), Command::Auth { id: id(), token: "a.b.c".into() });
    assert_eq!(command(r#"{"type":"unsubscribe","id":1,"room":"challenge:8f"}"#), Command::Unsubscribe { id: id(), room: room() });
    assert_eq!(command(r#"{"type":"snapshot","room":"challenge:8f"}"#), Command::Snapshot { id: None, room: room(), digest: false });
    assert_eq!(
        command(r#"{"type":"snapshot","room":"challenge:8f","digest":true}"#),
        Command::Snapshot { id: None, room: room(), digest: true }
    );
    assert_eq!(command(r#"{"type":"ping","id":1}"#), Command::Ping { id: id() });
    assert_eq!(
        command(r#" {"room":"challenge:8f","type":"subscribe"} "#),
        Command::Subscribe { id: None, room: room(), since: None, history: None, delta: false, sample: None }
    );
}

/// QTE-10: an interval of its own, and some of the states.
#[test]
fn a_member_may_want_some_states_now_and_then() {
    let sample = |text: &str| match command(text) {
        Command::Subscribe { sample, .. } => sample.map(|sample| (sample.every.as_millis(), sample.types, sample.keys)),
        other => panic!("{other:?}"),
    };
    assert_eq!(sample(r#"{"type":"subscribe","room":"a","every_ms":null}"#), None);
    assert_eq!(
        sample(r#"{"type":"subscribe","room":"a","every_ms":5000,"types":["T"],"keys":["k","l"]}"#),
        Some((5_000, vec!["T".into()], vec!["k".into(), "l".into()]))
    );
    assert_eq!(sample(r#"{"type":"subscribe","room":"a","keys":["k"]}"#), Some((0, vec![], vec!["k".into()])));
}

/// PRO-06, QTE-12: of one event, with an answer; of all up to a position, without.
#[test]
fn an_ack_is_of_one_event_or_of_a_position() {
    let id = Some(RequestId::from(1));
    assert_eq!(command(r#"{"type":"ack","id":1,"event_id":"e:1"}"#), Command::Ack { id, event_id: "e:1".into() });
    let up_to = UpTo { room: "r".into(), lane: Lane::Update, epoch: "k3".into(), seq: u64::MAX };
    assert_eq!(command(r#"{"type":"ack","room":"r","lane":"update","epoch":"k3","seq":18446744073709551615}"#), Command::AckUpTo(up_to));
    for (text, named) in [
        (r#"{"type":"ack","id":1}"#, "`id`"),
        (r#"{"type":"ack","id":1,"room":"r","lane":"alert","epoch":"k3","seq":1}"#, "`id`"),
        (r#"{"type":"ack","event_id":"e","seq":1}"#, "`seq`"),
        (r#"{"type":"ack","event_id":"a b"}"#, "`event_id`"),
        (r#"{"type":"ack","lane":"alert","epoch":"k3","seq":1}"#, "`room`"),
        (r#"{"type":"ack","room":"r","epoch":"k3","seq":1}"#, "`lane`"),
        (r#"{"type":"ack","room":"r","lane":"fast","epoch":"k3","seq":1}"#, "`lane`"),
        (r#"{"type":"ack","room":"r","lane":"alert","seq":1}"#, "`epoch`"),
        (r#"{"type":"ack","room":"r","lane":"alert","epoch":"k3"}"#, "`seq`"),
        (r#"{"type":"ack","room":"r","lane":"alert","epoch":"k3","seq":-1}"#, "`seq`"),
    ] {
        let rejected = rejected(text);
        assert!(rejected.refusal.error == INVALID_FIELD && rejected.refusal.message.contains(named), "{text}: {rejected:?}");
    }
}

#[test]
fn a_subscribe_may_have_a_position_and_a_history() {
    let text = r#"{"type":"subscribe","id":"x","room":"r","since":{"epoch":"k3","seq":{"alert":118,"metric":18446744073709551615,"later":"x"}},"delta":true,"history":20}"#;
    let Command::Subscribe { id: Some(id), since: Some(since), history: Some(20), delta: true, .. } = command(text) else {
        panic!("{:?}", command(text));
    };
    assert_eq!(id.as_json(), r#""x""#);
    assert_eq!(since, SinceText { epoch: "k3".into(), seq: [Some(118), None, Some(u64::MAX)] });
    let silent = command(r#"{"type":"subscribe","room":"r","since":{"epoch":"k3","seq":{}},"history":null}"#);
    assert!(matches!(silent, Command::Subscribe { since: Some(SinceText { seq: [None, None, None], .. }), history: None, .. }));
}

/// QTE-14, ARC-02: the capabilities are the dispatcher's own table: every verb there is answered, and no other.
#[test]
fn the_verbs_are_the_table() {
    assert_eq!(VERBS, ["auth", "subscribe", "unsubscribe", "snapshot", "ack", "ping"]);
    for verb in VERBS {
        let about = if *verb == "ack" { "event_id" } else { "room" };
        let text = json!({"type": verb, about: "r", "token": "t"}).to_string();
        assert_ne!(command(&text), Command::Publish, "{verb}");
    }
    for other in ["acks", "publish", "Ping", "", "pings", "quote_update"] {
        assert_eq!(command(&json!({ "type": other }).to_string()), Command::Publish, "{other}");
    }
}

/// ARC-01: a publish line is left as it was, and may hold what a command may not.
#[test]
fn a_publish_is_left_as_it_was() {
    let text = format!(r#"{{"type":"note","room":"r","data":[12345678901234567890123,"{}"]}}"#, "x".repeat(COMMAND_BYTES_MAX));
    let mut bytes = text.clone().into_bytes();
    assert_eq!(parse(&mut bytes), Ok(Command::Publish));
    assert_eq!(bytes, text.as_bytes());
}

/// PRO-10: the refusal of an unknown type lists the known ones, and carries the `id`.
#[test]
fn an_unknown_type_is_told_the_verbs() {
    let rejected = unknown_type(br#"{"id":9,"type":"jump"}"#);
    assert_eq!((rejected.refusal.error, rejected.id), (UNKNOWN_TYPE, Some(RequestId::from(9))));
    assert!(VERBS.iter().all(|verb| rejected.refusal.message.contains(verb)), "{}", rejected.refusal.message);
}

#[test]
fn a_bad_member_is_named() {
    let cases = [
        (r#"{"id":5}"#, "`type`"),
        (r#"{"id":5,"type":7}"#, "`type`"),
        (r#"{"id":5,"type":null}"#, "`type`"),
        (r#"{"id":5,"type":"auth"}"#, "`token`"),
        (r#"{"id":5,"type":"auth","token":7}"#, "`token`"),
        (r#"{"id":5,"type":"auth","token":""}"#, "`token`"),
        (r#"{"id":5,"type":"subscribe"}"#, "`room`"),
        (r#"{"id":5,"type":"snapshot","room":"a b"}"#, "`room`"),
        (r#"{"id":5,"type":"snapshot","room":"a","digest":1}"#, "`digest`"),
        (r#"{"id":5,"type":"subscribe","room":"a","every_ms":999}"#, "`every_ms`"),
        (r#"{"id":5,"type":"subscribe","room":"a","every_ms":60001}"#, "`every_ms`"),
        (r#"{"id":5,"type":"subscribe","room":"a","every_ms":"5s"}"#, "`every_ms`"),
        (r#"{"id":5,"type":"subscribe","room":"a","types":[]}"#, "`types`"),
        (r#"{"id":5,"type":"subscribe","room":"a","types":"a"}"#, "`types`"),
        (r#"{"id":5,"type":"subscribe","room":"a","keys":["a b"]}"#, "`keys`"),
        (r#"{"id":5,"type":"subscribe","room":"a","keys":[7]}"#, "`keys`"),
        (r#"{"id":5,"type":"unsubscribe","room":["r"]}"#, "`room`"),
        (r#"{"id":5,"type":"subscribe","room":"r","history":-1}"#, "`history`"),
        (r#"{"id":5,"type":"subscribe","room":"r","history":1.5}"#, "`history`"),
        (r#"{"id":5,"type":"subscribe","room":"r","history":4294967296}"#, "`history`"),
        (r#"{"id":5,"type":"subscribe","room":"r","since":"k3"}"#, "`since`"),
        (r#"{"id":5,"type":"subscribe","room":"r","since":{"seq":{}}}"#, "`since.epoch`"),
        (r#"{"id":5,"type":"subscribe","room":"r","since":{"epoch":"","seq":{}}}"#, "`since.epoch`"),
        (r#"{"id":5,"type":"subscribe","room":"r","since":{"epoch":"k"}}"#, "`since.seq`"),
        (r#"{"id":5,"type":"subscribe","room":"r","since":{"epoch":"k","seq":7}}"#, "`since.seq`"),
        (r#"{"id":5,"type":"subscribe","room":"r","since":{"epoch":"k","seq":{"update":-1}}}"#, "`since.seq.update`"),
        (r#"{"id":5,"type":"subscribe","room":"r","since":{"epoch":"k","seq":{"update":1.0}}}"#, "`since.seq.update`"),
    ];
    for (text, name) in cases {
        let Rejected { id, refusal, .. } = rejected(text);
        assert!(refusal.error == INVALID_FIELD && refusal.message.contains(name), "{text}: {refusal:?}");
        assert_eq!(id, Some(RequestId::from(5)), "{text}");
    }
    assert!(rejected(r#"{"type":"ping","id":1.5}"#).refusal.message.contains("`id`"));
}

/// PRO-10, LIM-05: strict JSON for commands too.
#[test]
fn bad_json_is_refused() {
    let deep = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(32), "]".repeat(32));
    let large = format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(COMMAND_BYTES_MAX));
    let cases = [
        ("", BAD_JSON),
        ("[]", BAD_JSON),
        ("hello", BAD_JSON),
        (r#"{"type":"ping""#, BAD_JSON),
        (r#"{"type":"ping"}}"#, BAD_JSON),
        (r#"{"type":"ping","x":"\ud800"}"#, BAD_JSON),
        (r#"{"type":"ping","x":12345678901234567890123}"#, BAD_JSON),
        (r#"{"type":"ping","x":1e999}"#, INVALID_FIELD),
        (r#"{"type":"ping","type":"ping"}"#, DUPLICATE_KEY),
        (r#"{"type":"ping","x":{"y":1,"y":1}}"#, DUPLICATE_KEY),
        (&deep, TOO_DEEP),
        (&large, TOO_LARGE),
    ];
    for (text, error) in cases {
        assert_eq!(rejected(text).refusal.error, error, "{text:.60}");
    }
    assert_eq!(parse(&mut b"{\"type\":\"ping\",\"x\":\"\xff\"}".to_vec()).unwrap_err().refusal.error, BAD_JSON);
    assert_eq!(rejected(r#"{"id":3,"type":"ping","#).id, Some(RequestId::from(3)));
}

/// AUT-02: a token appears in no log.
#[test]
fn a_token_is_not_shown() {
    assert!(!format!("{:?}", command(r#"{"type":"auth","token":"secret"}"#)).contains("secret"));
}

proptest! {
    /// LIM-05: nothing makes it panic.
    #[test]
    fn any_text_is_answered(bytes in vec(any::<u8>(), 0..200), inner in r#"[\[\]{}",:\\a-f0-9eE.+ -]{0,60}"#) {
        drop(parse(&mut bytes.clone()));
        drop(unknown_type(&bytes));
        drop(read_text(&format!(r#"{{"type":"subscribe","room":"r","since":{inner}}}"#)));
    }

    /// A command is read as serde_json reads it.
    #[test]
    fn commands_are_what_serde_json_wrote(room in "[A-Za-z0-9_.:%-]{1,200}", epoch in "[a-z0-9]{1,20}", alert: Option<u64>, history: u32, delta: bool, name: String) {
        let text = json!({"type": "subscribe", "room": room, "history": history, "delta": delta, "since": {"epoch": epoch, "seq": {"alert": alert}}, "other": name});
        let expected = Command::Subscribe { id: None, room, since: Some(SinceText { epoch, seq: [alert, None, None] }), history: Some(history), delta, sample: None };
        prop_assert_eq!(read_text(&text.to_string()), Ok(expected));
    }
}
