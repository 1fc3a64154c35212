use std::collections::BTreeMap;

use proptest::prelude::*;

use super::diff;
use super::tree::Tree;

fn patch(from: &str, to: &str) -> Option<String> {
    let mut out = Vec::new();
    diff(from, to, usize::MAX / 2, &mut out).then(|| String::from_utf8(out).unwrap())
}

/// DLV-06: the cases of RFC 7396 as they come up between two states.
#[test]
fn the_patch_says_what_has_changed_and_nothing_else() {
    let cases = [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":"b","b":"c"}"#, r#"{"b":"c"}"#),
        (r#"{"a":"b","b":"c"}"#, r#"{"b":"c"}"#, r#"{"a":null}"#),
        (r#"{"a":["b"]}"#, r#"{"a":["b","c"]}"#, r#"{"a":["b","c"]}"#),
        (r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"b":1,"c":3}}"#, r#"{"a":{"c":3}}"#),
        (r#"{"a":{"b":1}}"#, r#"{"a":{}}"#, r#"{"a":{"b":null}}"#),
        (r#"{"a":{"b":1}}"#, r#"{"a":[]}"#, r#"{"a":[]}"#),
        (r#"{"a":1}"#, r#"{"a":{"b":2}}"#, r#"{"a":{"b":2}}"#),
        (r#"{"a":null,"b":1}"#, r#"{"a":null,"b":2}"#, r#"{"b":2}"#),
        (r#"{"a":null}"#, r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"{"a":1}"#, r#"{"a":[null,{"b":null}]}"#, r#"{"a":[null,{"b":null}]}"#),
        (r#" { "b" : {"c":1} , "a":1 } "#, r#"{"a":1,"b":{ "c" : 1}}"#, "{}"),
        (r#"{"\u0061":1}"#, r#"{"a":1,"ключ":2,"\"":3}"#, r#"{"ключ":2,"\"":3}"#),
    ];
    for (from, to, expected) in cases {
        assert_eq!(patch(from, to).as_deref(), Some(expected), "{from} -> {to}");
    }
}

/// DLV-06: no digit of a decimal is lost or added.
#[test]
fn numbers_keep_the_publishers_text() {
    let (from, to) = (r#"{"p":1.0,"q":2}"#, r#"{"p":1.00,"q":12345678901234567890.10e-1}"#);
    assert_eq!(patch(from, to).as_deref(), Some(r#"{"p":1.00,"q":12345678901234567890.10e-1}"#));
}

/// DLV-06: full state where a patch cannot say it.
#[test]
fn there_is_none_where_a_null_comes_in_or_one_is_no_object() {
    let none = [
        (r#"{"a":1}"#, r#"{"a":null}"#),
        (r"{}", r#"{"a":null}"#),
        (r"{}", r#"{"a":{"b":{"c":null}}}"#),
        (r#"{"a":[]}"#, r#"{"a":{"b":null}}"#),
        (r#"{"a":{"b":1}}"#, r#"{"a":{"b":null}}"#),
        ("[1]", "[2]"),
        ("{}", "[1]"),
        ("1", "{}"),
        ("", "{}"),
    ];
    for (from, to) in none {
        assert_eq!(patch(from, to), None, "{from} -> {to}");
    }
}

#[test]
fn it_is_no_longer_than_allowed() {
    for bytes_max in 0..10 {
        let mut out = b"before".to_vec();
        assert_eq!(diff(r#"{"a":1}"#, r#"{"a":2}"#, bytes_max, &mut out), bytes_max >= 7, "{bytes_max}");
    }
}

/// Objects of many members, in any order, cost no more than sorting them.
#[test]
fn many_members_in_another_order_are_found() {
    let object = |names: &mut dyn Iterator<Item = usize>| {
        let members: Vec<String> = names.map(|n| format!(r#""k{n}":{n}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let (from, to) = (object(&mut (0..5_000)), object(&mut (1..5_001).rev()));
    assert_eq!(patch(&from, &to).as_deref(), Some(r#"{"k5000":5000,"k0":null}"#));
}

/// JSON text with names that recur, so that two of them have much in common.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        6 => prop::sample::select(&["0", "-0", "1", "1.0", "1.00", "1e5", "123456789012345678901234567890.10", "true", "false"][..]).prop_map(String::from),
        2 => prop::sample::select(&[r#""""#, r#""a""#, r#""\u0061""#, r#""null""#, r#""\ud83d\ude00\n{\"""#, r#""ü""#][..]).prop_map(String::from),
        1 => Just("null".to_owned()),
    ];
    scalar.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            3 => members(inner.clone()),
            1 => prop::collection::vec(inner, 0..4).prop_map(|elements| format!("[ {}]", elements.join(" ,"))),
        ]
    })
}

fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let name = prop::sample::select(&["a", "b", "ключ", "\u{1F600}", "", "null", "a\"\\\n", "x1", "x2", "x3"][..]);
    (prop::collection::btree_map(name, value, 0..8), any::<bool>(), prop::sample::select(&["", " ", "\n\t"][..])).prop_map(
        |(members, is_reversed, space)| {
            let member = |(name, value): (&str, String)| format!("{space}{}{space}:{value}", serde_json::to_string(name).unwrap());
            let mut members: Vec<String> = members.into_iter().map(member).collect();
            if is_reversed {
                members.reverse();
            }
            format!("{{{}{space}}}", members.join(","))
        },
    )
}

/// Whether a patch from one to the other would have to set a null.
fn introduces_null(from: Option<&Tree>, to: &Tree) -> bool {
    let none = BTreeMap::new();
    match (from, to) {
        (Some(from), to) if from == to => false,
        (from, Tree::Object(to)) => {
            let from = if let Some(Tree::Object(from)) = from { from } else { &none };
            to.iter().any(|(name, value)| introduces_null(from.get(name), value))
        }
        (_, to) => to.is_null(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// DLV-06: applied by the letter of RFC 7396, the patch makes the new state of the old one, equal in canonical order; and there is one
    /// wherever there can be one.
    #[test]
    fn a_patch_makes_the_new_state_of_the_old_one(from in members(json()), to in members(json())) {
        let (old, new) = (Tree::parse(&from), Tree::parse(&to));
        match patch(&from, &to) {
            Some(patch) => prop_assert_eq!(old.patched(Tree::parse(&patch)).to_string(), new.to_string(), "{}", patch),
            None => prop_assert!(introduces_null(Some(&old), &new)),
        }
        prop_assert_eq!(patch(&from, &from), Some("{}".to_owned()));
    }
}
