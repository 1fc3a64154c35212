//! Publish lines against `serde_json`'s own idea of the same bytes, and every rule that it does not have.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::*;
use crate::base::codes::{BAD_JSON, DUPLICATE_KEY, ErrorCode, TOO_DEEP};
use crate::base::limits::JSON_DEPTH_MAX;

fn draft(line: &str) -> Draft<'_> {
    parse(line.as_bytes(), &[]).unwrap_or_else(|rejected| panic!("{line}: {rejected:?}"))
}

fn refusal(line: &str) -> Refusal {
    parse(line.as_bytes(), &[]).expect_err(line).refusal
}

fn error(line: &str) -> ErrorCode {
    refusal(line).error
}

fn with_data(data: &str) -> String {
    format!(r#"{{"type":"t","data":{data}}}"#)
}

/// The oracle for what `serde_json` lets through: the deepest nesting, or an error for a member that is there twice.
struct Strict {
    depth: usize,
}

impl<'a> DeserializeSeed<'a> for Strict {
    type Value = usize;

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<usize, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Strict {
    type Value = usize;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<usize, M::Error> {
        let (mut names, mut deepest) = (HashSet::new(), self.depth + 1);
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                return Err(M::Error::custom("twice"));
            }
            deepest = deepest.max(map.next_value_seed(Strict { depth: self.depth + 1 })?);
        }
        Ok(deepest)
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<usize, S::Error> {
        let mut deepest = self.depth + 1;
        while let Some(depth) = seq.next_element_seed(Strict { depth: self.depth + 1 })? {
            deepest = deepest.max(depth);
        }
        Ok(deepest)
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(self.depth)
    }

    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(self.depth)
    }

    fn visit_u64<E>(self, _: u64) -> Result<usize, E> {
        Ok(self.depth)
    }

    fn visit_i64<E>(self, _: i64) -> Result<usize, E> {
        Ok(self.depth)
    }

    fn visit_f64<E>(self, _: f64) -> Result<usize, E> {
        Ok(self.depth)
    }

    fn visit_str<E>(self, _: &str) -> Result<usize, E> {
        Ok(self.depth)
    }
}

/// The depth of valid JSON; none if it has a member twice.
fn strict_depth(json: &str) -> Option<usize> {
    Strict { depth: 0 }.deserialize(&mut serde_json::Deserializer::from_str(json)).ok()
}

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", " ", "\n", "\r\n", "\t "])
}

fn string_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-c_é漢𝄞/ ]{0,6}",
        1 => select(vec![r"\n", r"\u0061", r"\ud834\udd1e", r#"\""#, r"\\", r"\/", r"\u0000", "{", "[", ",", ":", "\u{2028}"]).prop_map(String::from),
    ];
    vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn scalar_json() -> impl Strategy<Value = String> {
    let numbers = vec!["0", "-0", "-1", "12345678901234567890123", "1.50", "-0.0e-0", "2E+10", "1e-400", "1e308", "1e309", "-1E400"];
    let words = vec!["null", "true", "false"];
    prop_oneof![
        3 => string_json(),
        2 => select(numbers).prop_map(String::from),
        1 => select(words).prop_map(String::from),
        1 => any::<i64>().prop_map(|number| number.to_string()),
    ]
}

/// JSON text with space between the tokens, members that are there twice now and then, and any nesting.
fn json() -> impl Strategy<Value = String> {
    let spaced = (space(), scalar_json(), space()).prop_map(|(before, value, after)| format!("{before}{value}{after}"));
    spaced.prop_recursive(40, 60, 4, |inner| {
        let member = (space(), string_json(), space(), inner.clone()).prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{value}"));
        prop_oneof![
            vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// ARC-01, LIM-05: what is accepted is what serde_json reads, byte for byte; what is refused breaks the rule it is refused by.
    #[test]
    fn data_is_the_publishers_own_bytes(data in json()) {
        let line = with_data(&data);
        let value = serde_json::from_str::<Value>(&data);
        match parse(line.as_bytes(), &[]) {
            Ok(draft) => {
                prop_assert_eq!(&*draft.data, data.trim_matches([' ', '\t', '\r', '\n']).replace(['\r', '\n'], " "));
                prop_assert_eq!(serde_json::from_str::<Value>(&draft.data).unwrap(), value.unwrap());
                prop_assert!(strict_depth(&data).is_some_and(|depth| depth <= JSON_DEPTH_MAX));
            }
            Err(rejected) => match rejected.refusal.error {
                INVALID_FIELD => prop_assert!(value.is_err(), "a number beyond doubles"),
                DUPLICATE_KEY => prop_assert_eq!(strict_depth(&data), None),
                TOO_DEEP => prop_assert!(strict_depth(&data).is_none_or(|depth| depth > JSON_DEPTH_MAX)),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    /// LIM-05: no damage makes it panic, or makes it accept what serde_json does not.
    #[test]
    fn damaged_lines_are_refused_as_serde_json_would(data in json(), damage in vec((any::<Index>(), any::<u8>(), 0..3), 1..4)) {
        let mut line = with_data(&data).into_bytes();
        for (at, byte, how) in damage {
            let at = at.index(line.len());
            match how {
                0 => line[at] = byte,
                1 => line[at] = b"{}[]\",:\\0e"[byte as usize % 10],
                _ => drop(line.remove(at)),
            }
        }
        let value = serde_json::from_slice::<Value>(&line);
        match (parse(&line, &["a".to_owned()]), value) {
            (Ok(draft), Ok(value)) => prop_assert_eq!(&serde_json::from_str::<Value>(&draft.data).unwrap(), &value["data"]),
            (Ok(draft), Err(error)) => prop_assert!(false, "{:?} but {}", draft, error),
            (Err(rejected), Ok(value)) if rejected.refusal.error == BAD_JSON => prop_assert!(!value.is_object(), "{:?}", rejected),
            (Err(_), _) => {}
        }
    }

    /// LIM-05: nothing at all makes it panic.
    #[test]
    fn any_bytes_are_answered(line in vec(any::<u8>(), 0..200), text in ".{0,100}") {
        drop(parse(&line, &["a".to_owned()]));
        drop(parse(text.as_bytes(), &["a".to_owned()]));
        drop(json::scan("any text", &text, &["a".to_owned()]));
    }

    /// Many members take another way than few: both find the one that is there twice, wherever it is.
    #[test]
    fn a_duplicate_is_found_among_many(count in 2..60usize, at: Index, again: Index) {
        let (at, again) = (at.index(count), again.index(count));
        let member = |nth: usize| format!(r#""k{}":{nth}"#, if nth == again { at } else { nth });
        let data = format!("{{{}}}", (0..count).map(member).collect::<Vec<_>>().join(","));
        let got = parse(with_data(&data).as_bytes(), &[]).map(drop).map_err(|rejected| rejected.refusal.error);
        prop_assert_eq!(got, if at == again { Ok(()) } else { Err(DUPLICATE_KEY) });
    }
}

#[test]
fn the_whole_envelope_is_read() {
    let line = r#" {"type":"note","id":7,"room":"user:u%401","lane":"alert","mode":"stream","key":"k.1","data":{"a":[1.50]},
        "event_id":"e-1","version":18446744073709551615,"owner":"u1","ack":"memory","unknown":{"x":[null]}} "#;
    let expected = Draft {
        kind: "note".into(),
        id: Some(RequestId::from(7)),
        data: r#"{"a":[1.50]}"#.into(),
        room: Some("user:u%401".into()),
        lane: Some(Lane::Alert),
        mode: Some(Mode::Stream),
        key: Some("k.1".into()),
        event_id: Some("e-1".into()),
        version: Some(u64::MAX),
        owner: Some("u1".into()),
        ack_memory: true,
        fields: Vec::new(),
    };
    assert_eq!(draft(line), expected);
}

#[test]
fn what_is_not_given_or_null_is_none() {
    let short = draft(r#"{"type":"t","data":null}"#);
    let nulls = r#"{"type":"t","data":null,"id":null,"room":null,"lane":null,"mode":null,"key":null,"event_id":null,"version":null,"owner":null,"ack":null}"#;
    assert_eq!(short, draft(nulls));
    assert_eq!(&*short.data, "null");
    assert!(!draft(r#"{"type":"t","data":1,"ack":"durable"}"#).ack_memory);
}

/// The hot path copies nothing of the line.
#[test]
fn a_plain_line_is_borrowed() {
    let draft = draft(r#"{"type":"t","data":{"a":"\n é"},"room":"r"}"#);
    assert!(matches!((draft.kind, draft.data, draft.room), (Cow::Borrowed(_), Cow::Borrowed(_), Some(Cow::Borrowed(_)))));
}

#[test]
fn escapes_in_the_envelope_are_understood() {
    let draft = draft("{\"\\u0074ype\":\"\\u0061\\u002eb\",\"d\\u0061ta\":1,\"id\":\"\\u0061\"}");
    assert_eq!((&*draft.kind, &*draft.data, draft.id.unwrap().as_json()), ("a.b", "1", "\"\\u0061\""));
}

/// ARC-01: line breaks between tokens become spaces, and nothing else changes.
#[test]
fn line_breaks_between_tokens_become_spaces() {
    assert_eq!(draft("{\"type\":\"t\",\r\n\"data\":\n{\"a\":\r\n [\n1\r]}\n}").data, "{\"a\":   [ 1 ]}");
    assert_eq!(draft("{\"type\":\"t\",\"data\":[1,\r2]}").data, "[1, 2]");
    assert_eq!(draft(r#"{"type":"t","data":"a\r\nb"}"#).data, r#""a\r\nb""#);
}

#[test]
fn numbers_pass_as_they_are_if_they_are_finite() {
    for data in ["12345678901234567890123", "-0", "1.10", "1E5", "1e-999999", "0e999999", &"9".repeat(308)] {
        assert_eq!(draft(&with_data(data)).data, data);
    }
    for data in ["1e309", "-1e309", "[1.5E+400]", &"9".repeat(310), "{\"a\":123e99999999999999999999}"] {
        assert_eq!(error(&with_data(data)), INVALID_FIELD, "{data}");
    }
    for data in ["NaN", "Infinity", "-Infinity", "{\"a\":NaN}", "[1,\n-Infinity]", "{\"longer\":\"text\",\"a\":NaN}"] {
        let refusal = refusal(&with_data(data));
        assert!(refusal.error == INVALID_FIELD && refusal.message.contains("NaN"), "{data}: {refusal:?}");
    }
    for data in ["01", "1.", ".5", "+1", "0x1", "1e", "--1", "nan", "\"NaN\" 1"] {
        assert_eq!(error(&with_data(data)), BAD_JSON, "{data}");
    }
}

/// LIM-05: 32 levels are allowed, 33 are not, be they of arrays, objects or both, in `data` or in what is ignored.
#[test]
fn depth_has_a_limit() {
    let nested = |levels: usize, open: &str, close: &str| format!("{}0{}", open.repeat(levels), close.repeat(levels));
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let (ok, deep) = (nested(JSON_DEPTH_MAX, open, close), nested(JSON_DEPTH_MAX + 1, open, close));
        assert_eq!(draft(&with_data(&ok)).data, ok);
        assert_eq!(error(&with_data(&deep)), TOO_DEEP);
        assert_eq!(error(&format!(r#"{{"type":"t","data":1,"x":{deep}}}"#)), TOO_DEEP);
    }
    let beside = format!("[{},{}]", nested(31, "[", "]"), nested(31, r#"{"a":"#, "}"));
    assert_eq!(draft(&with_data(&beside)).data, beside);
    assert_eq!(error(&with_data(&"[".repeat(60_000))), BAD_JSON);
    assert_eq!(error(&with_data(&nested(30_000, "[", "]"))), TOO_DEEP);
}

/// LIM-05: a member may be there once, however it is written and wherever it is.
#[test]
fn duplicate_members_are_refused_at_any_depth() {
    for data in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#, r#"[{"x":[{"":0,"":0}]}]"#, r#"{"a":{"b":1},"c":{"b":1,"b":2}}"#] {
        assert_eq!(error(&with_data(data)), DUPLICATE_KEY, "{data}");
    }
    for data in [r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#, r#"[{"a":1},{"a":1}]"#, r#"{"a":"a","b":"a","A":"a"}"#] {
        assert_eq!(draft(&with_data(data)).data, data);
    }
    for line in [
        r#"{"type":"t","type":"t","data":1}"#,
        r#"{"type":"t","data":1,"data":2}"#,
        r#"{"type":"t","data":1,"x":1,"x":2}"#,
        r#"{"type":"t","data":1,"x":{"y":1,"y":2}}"#,
        r#"{"type":"t","data":1,"id":null,"id":1}"#,
    ] {
        assert_eq!(error(line), DUPLICATE_KEY, "{line}");
    }
}

/// A refused name is not echoed in full.
#[test]
fn a_long_name_is_cut_in_the_message() {
    let name = "é".repeat(5000);
    let refusal = refusal(&with_data(&format!(r#"{{"{name}":1,"{name}":1}}"#)));
    assert!(refusal.error == DUPLICATE_KEY && refusal.message.len() < 300, "{refusal:?}");
}

#[test]
fn half_a_surrogate_pair_is_refused() {
    for data in
        [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0061""#, r#""\ud800\ud800""#, r#""\ud83d x""#, r#"{"\udfff":1}"#, r#""\uDBFF\"""#]
    {
        assert_eq!(error(&with_data(data)), BAD_JSON, "{data}");
    }
    for data in [r#""\ud83d\ude00""#, r#""\uD83D\uDE00 \u0000 \ud7ff\ue000""#, r#""\\ud800""#] {
        assert_eq!(draft(&with_data(data)).data, data);
    }
}

#[test]
fn what_is_not_one_object_is_refused() {
    for line in [
        "",
        " ",
        "null",
        "[]",
        "\"x\"",
        "1",
        "{",
        "{}x",
        r#"{"type":"t","data":1}{}"#,
        r#"{"type":"t","data":1,}"#,
        "{'type':'t'}",
        "\u{feff}{}",
    ] {
        assert_eq!(error(line), BAD_JSON, "{line}");
    }
    let not_utf8 = parse(b"{\"type\":\"t\",\"data\":\"\xff\"}", &[]).unwrap_err().refusal;
    assert!(not_utf8.error == BAD_JSON && not_utf8.message.contains("byte 20"), "{not_utf8:?}");
    assert_eq!(error("{\"type\":\"t\",\"data\":\"a\nb\"}"), BAD_JSON, "a raw line break within a string");
}

#[test]
fn a_bad_member_is_named() {
    let long = format!(r#""{}""#, "x".repeat(201));
    let cases: &[(&str, &[&str])] = &[
        ("type", &["\"\"", "1", "\"a b\"", "\"é\"", "\"a/b\"", "null", &long]),
        ("room", &["\"\"", "1", "{}", "\"user u1\"", &long]),
        ("key", &["\"a\\nb\"", "[]"]),
        ("owner", &["\"\\ud800\"", "7"]),
        ("event_id", &["\"\"", "true"]),
        ("lane", &["\"Alert\"", "0", "\"\""]),
        ("mode", &["\"log\"", "false"]),
        ("version", &["-1", "1.0", "1e3", "\"7\"", "18446744073709551616"]),
        ("ack", &["\"none\"", "true"]),
        ("id", &["1.5", "1e2", "true", "[]", "{}", "\"\\ud800\"", &long]),
    ];
    for (name, values) in cases {
        for value in *values {
            let line = if *name == "type" {
                format!(r#"{{"type":{value},"data":1}}"#)
            } else {
                format!(r#"{{"type":"t","data":1,"{name}":{value}}}"#)
            };
            let refusal = refusal(&line);
            assert!(refusal.error == INVALID_FIELD && refusal.message.contains(&format!("`{name}`")), "{line}: {refusal:?}");
        }
    }
    assert!(refusal(r#"{"data":1}"#).message.contains("`type`"));
    assert!(refusal(r#"{"type":"t"}"#).message.contains("`data`"));
    assert_eq!(draft(&format!(r#"{{"type":"{}","data":1}}"#, "x".repeat(200))).kind.len(), 200);
}

/// The `id` comes back whenever it could be read, wherever in the line the fault is.
#[test]
fn a_refusal_carries_the_id() {
    let large = format!(r#"{{"id":"x","type":"t","data":"{}"}}"#, "é".repeat(PUBLISH_BYTES_MAX));
    let cases = [
        (r#"{"type":"","data":1,"id":"a"}"#, Some("\"a\"")),
        (r#"{"id":123456789012345678901234,"type":"t"}"#, Some("123456789012345678901234")),
        (r#"{"id":-3,"type":"t","data":{"a":1,"a":2}}"#, Some("-3")),
        (r#"{"id":4,"type":"t","data":nope}"#, Some("4")),
        (r#"{"type":"t","data":nope,"id":4}"#, None),
        (r#"{"id":1.5,"type":"t","data":1}"#, None),
        (&large, Some("\"x\"")),
    ];
    for (line, id) in cases {
        let rejected = parse(line.as_bytes(), &[]).expect_err(line);
        assert_eq!(rejected.id.as_ref().map(RequestId::as_json), id, "{:?}", rejected.refusal);
    }
}

/// LIM-04.
#[test]
fn a_line_may_be_as_long_as_the_limit() {
    let fits = with_data(&format!("\"{}\"", "x".repeat(PUBLISH_BYTES_MAX - with_data("\"\"").len())));
    assert_eq!(fits.len(), PUBLISH_BYTES_MAX);
    draft(&fits);
    assert_eq!(error(&format!("{fits} ")), TOO_LARGE);
}

#[test]
fn wanted_members_are_taken_from_the_top_of_data() {
    let data = r#"{"x":{"user_id":"no"},"user_id":"u1","n":-12345678901234567890123,"esc\u0061pe":"\u0041\n","half":1.5,"flag":true,"none":null,"list":["user_id"],"other":"o"}"#;
    let line = with_data(data);
    let wanted = ["n", "user_id", "escape", "half", "flag", "none", "list", "x", "missing"].map(str::to_owned);
    let fields = parse(line.as_bytes(), &wanted).unwrap().fields;
    let expected = [("user_id", "u1"), ("n", "-12345678901234567890123"), ("escape", "A\n")];
    assert_eq!(fields.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>(), expected);
    assert!(parse(with_data(r#"[{"user_id":"u1"},"user_id"]"#).as_bytes(), &wanted).unwrap().fields.is_empty());
}

/// As it is told apart in [`parse`], but by the careful way alone, which knows the grammar from `serde_json`.
fn parse_carefully<'a>(line: &'a [u8], wanted: &[String]) -> Result<Draft<'a>, Box<Rejected>> {
    let mut envelope = Envelope::default();
    let outcome = json::utf8(line).and_then(|text| envelope.read_again(text)).and_then(|()| envelope.draft(wanted));
    outcome.map_err(|refusal| {
        Box::new(Rejected {
            id: envelope.id().ok().flatten(),
            kind: envelope.identifier(TYPE).ok().flatten().map(|kind| Box::from(&*kind)),
            refusal,
        })
    })
}

/// Whether one walk is enough for a line.
fn reads_at_once(line: &[u8]) -> bool {
    json::utf8(line).is_ok_and(|text| Envelope::default().read_at_once(text, &[]).is_ok())
}

/// Members as a publisher may write them: mostly fit for their names.
fn member() -> impl Strategy<Value = String> {
    let fit = select(vec![
        r#""type":"t""#,
        r#""type":"RISK_ALERT""#,
        r#""typ\u0065":"t""#,
        r#""id":7"#,
        r#""id":"x\u0061""#,
        r#""id":-01"#,
        r#""room":"r:1""#,
        r#""room":"r\u003a1""#,
        r#""room":null"#,
        r#""lane":"alert""#,
        r#""lane":"al\u0065rt""#,
        r#""mode":"state""#,
        r#""key":"k""#,
        r#""event_id":"e-1""#,
        r#""event_id":"\ud800""#,
        r#""version":18446744073709551615"#,
        r#""version":1e400"#,
        r#""owner":"u1""#,
        r#""owner":{"a":[1,{"b":2,"b":3}]}"#,
        r#""ack":"memory""#,
        r#""x":1"#,
    ]);
    let name = prop_oneof![8 => select(NAMES.to_vec()).prop_map(|name| format!("\"{name}\"")), 1 => string_json()];
    prop_oneof![4 => fit.prop_map(String::from), 1 => (name, json()).prop_map(|(name, value)| format!("{name}:{value}"))]
}

/// Most have a type and `data`, somewhere among the others.
fn line() -> impl Strategy<Value = String> {
    let needed =
        prop_oneof![6 => json().prop_map(|data| vec![r#""type":"t""#.to_owned(), format!(r#""data":{data}"#)]), 1 => Just(Vec::new())];
    let all = (needed, vec(member(), 0..4)).prop_flat_map(|(needed, more)| Just([needed, more].concat()).prop_shuffle());
    (all, space(), space()).prop_map(|(members, a, b)| format!("{a}{{{}}}{b}", members.join(&format!("{b},{a}"))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    /// One walk finds what two find, or leaves the line to them; and what they take, it takes.
    #[test]
    fn one_walk_is_as_good_as_two(line in line(), damage in vec((any::<Index>(), any::<u8>(), 0..4), 0..3)) {
        let mut line = line.into_bytes();
        for (at, byte, how) in damage {
            let at = at.index(line.len());
            match how {
                0 => line[at] = byte,
                1 => line.insert(at, b"{}[]\",:\\0eE+-. \n\t\x01\xc3u"[byte as usize % 20]),
                2 => drop(line.remove(at)),
                _ => line.truncate(at.max(1)),
            }
        }
        let wanted = ["a".to_owned(), String::new()];
        let careful = parse_carefully(&line, &wanted);
        prop_assert!(careful.is_err() || reads_at_once(&line), "one walk is too strict: {:?}", careful);
        prop_assert_eq!(parse(&line, &wanted), careful);
    }
}

/// What the benches and every sound publisher send is never read twice.
#[test]
fn a_sound_line_is_read_once() {
    for line in [r#"{"type":"t","data":{}}"#, " {\"data\" : [1, -2.5e3, \"\\ud83d\\ude00\"] ,\n\"x\": null, \"\\u0074ype\":\"t\"} "] {
        assert!(reads_at_once(line.as_bytes()), "{line}");
    }
    for line in ["", "{", r#"{"type":"t","data":1}x"#, r#"{"type":"t","data":nope}"#, r#"{"type":"t","data":{"a":1,"a":1}}"#] {
        assert!(!reads_at_once(line.as_bytes()), "{line}");
    }
}
