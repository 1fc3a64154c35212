//! The reader against `serde_json`, which knows the grammar, and a scanner of another make, which knows the rest.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::IgnoredAny;

use super::super::Scanned;
use super::*;
use crate::base::codes::DUPLICATE_KEY;

mod reference;

fn scan(text: &str) -> Result<Scanned<'_>, Refusal> {
    super::super::scan("it", text, &wanted())
}

fn wanted() -> [String; 2] {
    ["a".to_owned(), "é".to_owned()]
}

/// What the two oracles say: the grammar first, then the rest.
fn expected(text: &str) -> Result<Scanned<'_>, Option<Refusal>> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| None)?;
    reference::scan("it", text, &wanted()).map_err(Some)
}

fn check(text: &str) -> Result<(), TestCaseError> {
    match (scan(text), expected(text)) {
        (Ok(got), Ok(expected)) => prop_assert_eq!(got, expected, "{:?}", text),
        (Err(got), Err(Some(expected))) => prop_assert_eq!(got, expected, "{:?}", text),
        (Err(_), Err(None)) => {} // which of several faults comes first is told by serde_json in the end
        (got, expected) => prop_assert!(false, "{:?}: {:?}, but expected {:?}", text, got, expected),
    }
    Ok(())
}

fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,2}"
}

/// Mostly sound, and now and then all that can be wrong with a string.
fn string_text() -> impl Strategy<Value = String> {
    let escapes = vec![
        r"\n",
        r"\u0061",
        r"\ud834\udd1e",
        r#"\""#,
        r"\\",
        r"\/",
        r"\b\f\r\t",
        r"\u0000",
        r"\ud800",
        r"\udc00",
        r"\ud800\u0061",
        r"\ud800\n",
        r"\x",
        r"\u12",
        r"\u+123",
        r"\u00g0",
        r"\U0061",
        "\u{0}",
        "\u{1f}",
        "\n",
        "\u{7f}",
        "\u{2028}",
        "\\",
        "\"",
    ];
    let piece = prop_oneof![6 => "[a-cé漢𝄞/ {}\\[,:]{0,9}", 1 => select(escapes).prop_map(String::from)];
    vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn number_text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => any::<i64>().prop_map(|number| number.to_string()),
        2 => any::<f64>().prop_map(|number| format!("{number:e}")),
        3 => "[-+]?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][-+]?[0-9]{0,3})?",
        1 => select(vec!["-0", "01", "-01", "1.", ".5", "1e", "1e+", "+1", "-", "--1", "0x1", "1e308", "1e309", "-1E400", "1e-999", "0e999", "0.0", "1.e1", "1_0"])
            .prop_map(String::from),
        1 => (290..320usize, "[1-9]").prop_map(|(count, digit)| digit.repeat(count)),
    ]
}

fn scalar_text() -> impl Strategy<Value = String> {
    let words = vec!["null", "true", "false", "nul", "True", "truefalse", "NaN", "Infinity", "-Infinity", "'a'", ""];
    prop_oneof![3 => string_text(), 3 => number_text(), 1 => select(words).prop_map(String::from)]
}

fn name_text() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(vec![r#""a""#, r#""b""#, r#""\u0061""#, r#""é""#, r#""""#, r#""longer name""#]).prop_map(String::from), 1 => string_text()]
}

/// Most of it JSON.
fn text() -> impl Strategy<Value = String> {
    let spaced = (space(), scalar_text(), space()).prop_map(|(before, value, after)| format!("{before}{value}{after}"));
    spaced.prop_recursive(6, 40, 5, |inner| {
        let member = (space(), name_text(), space(), inner.clone()).prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{value}"));
        let wrap = |levels: usize, open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
        prop_oneof![
            4 => vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            8 => vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
            1 => (25..36usize, inner.clone()).prop_map(move |(levels, inner)| wrap(levels, "[", &inner, "]")),
            1 => (25..36usize, inner).prop_map(move |(levels, inner)| wrap(levels, r#"{"a":"#, &inner, "}")),
        ]
    })
}

/// Flips, cuts, insertions, at characters' ends so that it stays text.
fn damage(text: &str, at: Index, insert: &str, how: u8) -> String {
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let nth = at.index(ends.len());
    let (from, to) = (ends[nth], ends[(nth + 1).min(ends.len() - 1)]);
    match how {
        0 => format!("{}{insert}{}", &text[..from], &text[to..]),
        1 => format!("{}{insert}{}", &text[..from], &text[from..]),
        2 => format!("{}{}", &text[..from], &text[to..]),
        _ => text[..from].to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn it_takes_and_refuses_what_the_oracles_do(text in text()) {
        check(&text)?;
    }

    #[test]
    fn damage_is_seen_as_the_oracles_see_it(
        text in text(), at: Index, insert in "[{}\\[\\]\",:\\\\0-9eE+.a-u \n\t\u{0}-\u{1f}é-]", how in 0u8..4, again in any::<Option<Index>>(),
    ) {
        let damaged = damage(&text, at, &insert, how);
        check(&damaged)?;
        if let Some(at) = again {
            check(&damage(&damaged, at, &insert, 3 - how))?;
        }
    }

    #[test]
    fn numbers_are_those_of_the_grammar(text in number_text()) {
        check(&text)?;
        check(&format!("[{text}]"))?;
        check(&format!(r#"{{"a":{text}}}"#))?;
    }

    #[test]
    fn strings_are_those_of_the_grammar(text in string_text()) {
        check(&text)?;
        check(&format!(r#"{{"a":{text}}}"#))?;
        check(&format!(r#"{{{text}:1,"a":2}}"#))?;
    }

    #[test]
    fn plain_bytes_end_at_the_first_byte_that_is_not(text in r"[\x01-\x7fé]{0,4}[#-\[^-\x7fé]{0,40}[\x00-\x7fé]{0,4}") {
        let expected = text.bytes().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
        prop_assert_eq!(plain_bytes(text.as_bytes()), expected);
    }
}

/// The generators above reach every kind of fault: here is one of each, so that none is only a matter of luck.
#[test]
fn each_fault_has_its_code() {
    let deep = "[".repeat(33) + &"]".repeat(33);
    let cases = [
        (r#"{"a":1,"\u0061":2}"#, DUPLICATE_KEY),
        ("[1e309]", INVALID_FIELD),
        (&deep, TOO_DEEP),
        (r#""\ud800""#, BAD_JSON),
        ("[1 2]", BAD_JSON),
        ("{\"a\" 1}", BAD_JSON),
        ("{1:1}", BAD_JSON),
        ("{\"a\":1,}", BAD_JSON),
        ("[1,]", BAD_JSON),
        ("[]]", BAD_JSON),
        ("[}", BAD_JSON),
        ("", BAD_JSON),
        ("\"\u{1f}\"", BAD_JSON),
    ];
    for (text, code) in cases {
        assert_eq!(scan(text).expect_err(text).error, code, "{text}");
        check(text).unwrap();
    }
}
