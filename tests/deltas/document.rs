//! JSON documents that change at random.

use crate::rng::Rng;

/// Names of members, some of which need escapes.
const NAMES: [&str; 12] = ["a", "b", "qty", "price", "ключ", "\u{1F600}", "", "null", "a\"\\\n", "x1", "x2", "x3"];
const SCALARS: [&str; 16] = [
    "0",
    "-0",
    "1",
    "1.0",
    "1.00",
    "1e5",
    "12345678901234567890.10",
    "true",
    "false",
    "null",
    r#""""#,
    r#""a""#,
    r#""\u0061""#,
    r#""null""#,
    r#""\ud83d\ude00\n{\"""#,
    r#""ü""#,
];
/// So deep do documents nest, and so many members or elements has each part of one.
const DEPTH_MAX: usize = 4;
const MEMBERS_MAX: usize = 8;

/// A value.
#[derive(Clone)]
pub(crate) enum Document {
    Object(Vec<(&'static str, Document)>),
    Array(Vec<Document>),
    Scalar(&'static str),
}

impl Document {
    /// An object with a part that changes seldom.
    pub(crate) fn new(rng: &mut Rng) -> Document {
        let rest = Document::Scalar(r#""what is the same in each state of this key: it is long enough for a patch to be worth it""#);
        Document::Object(vec![("a", Document::object(rng, 1)), ("price", Document::object(rng, 1)), ("x3", rest)])
    }

    fn object(rng: &mut Rng, depth: usize) -> Document {
        let mut members: Vec<(&str, Document)> = Vec::new();
        for _ in 0..rng.below(4) {
            let name = *rng.pick(&NAMES);
            if members.iter().all(|(other, _)| *other != name) {
                members.push((name, Document::any(rng, depth + 1)));
            }
        }
        Document::Object(members)
    }

    fn any(rng: &mut Rng, depth: usize) -> Document {
        match rng.below(10) {
            0..2 if depth < DEPTH_MAX => Document::object(rng, depth),
            2 if depth < DEPTH_MAX => Document::Array((0..rng.below(3)).map(|_| Document::any(rng, depth + 1)).collect()),
            _ => Document::Scalar(rng.pick::<&str>(&SCALARS)),
        }
    }

    /// Changes something somewhere.
    pub(crate) fn change(&mut self, rng: &mut Rng, depth: usize) {
        match self {
            Document::Object(members) if depth == 0 || rng.chance(70) => {
                let at = rng.below(members.len() + 1);
                match rng.below(10) {
                    0 if depth > 0 && at < members.len() => drop(members.remove(at)),
                    1..3 if members.len() < MEMBERS_MAX => {
                        let name = *rng.pick(&NAMES);
                        members.retain(|(other, _)| *other != name);
                        members.push((name, Document::any(rng, depth + 1)));
                    }
                    3 => members.reverse(),
                    _ if at < members.len() => members[at].1.change(rng, depth + 1),
                    _ => {}
                }
            }
            Document::Array(elements) if rng.chance(70) => {
                let at = rng.below(elements.len() + 1);
                match rng.below(4) {
                    0 if at < elements.len() => drop(elements.remove(at)),
                    1 if elements.len() < MEMBERS_MAX => elements.insert(at, Document::any(rng, depth + 1)),
                    _ if at < elements.len() => elements[at].change(rng, depth + 1),
                    _ => {}
                }
            }
            _ => *self = Document::any(rng, depth),
        }
    }

    /// As JSON, with space in between or not.
    pub(crate) fn put(&self, rng: &mut Rng, out: &mut String) {
        let space = *rng.pick(&["", "", "", " ", "\n\t"]);
        match self {
            Document::Scalar(text) => out.push_str(text),
            Document::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at == 0 { space } else { "," });
                    element.put(rng, out);
                }
                out.push(']');
            }
            Document::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { space } else { "," });
                    // A name may be written in more ways than one.
                    let is_escaped = *name == "a" && rng.chance(20);
                    out.push_str(&if is_escaped {
                        r#""\u0061""#.to_owned()
                    } else {
                        serde_json::to_string(name).expect("a string is JSON")
                    });
                    out.push(':');
                    value.put(rng, out);
                }
                out.push('}');
            }
        }
    }
}
