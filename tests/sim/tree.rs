//! JSON as a client of deltas has it, by the letter of RFC 7396: numbers are text, members are in canonical order.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

/// A value. Shown, it is canonical: two values are equal if they are shown alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    Object(BTreeMap<String, Tree>),
    Array(Vec<Tree>),
    /// Anything else, as text: a string with the usual escapes alone, a number with all its digits.
    Scalar(String),
}

impl Tree {
    pub(crate) fn parse(text: &str) -> Tree {
        let text = text.trim();
        let bad = |error: serde_json::Error| -> ! { panic!("not JSON: {error}: {text}") };
        match text.as_bytes().first() {
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_else(|error| bad(error));
                Tree::Object(members.into_iter().map(|(name, value)| (name, Tree::parse(value.get()))).collect())
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_else(|error| bad(error));
                Tree::Array(elements.into_iter().map(|element| Tree::parse(element.get())).collect())
            }
            Some(b'"') => {
                let string: String = serde_json::from_str(text).unwrap_or_else(|error| bad(error));
                Tree::Scalar(serde_json::to_string(&string).expect("a string is JSON"))
            }
            _ => Tree::Scalar(text.to_owned()),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Tree::Scalar("null".to_owned())
    }

    /// Section 2, `MergePatch`.
    #[must_use]
    pub(crate) fn patched(self, patch: Tree) -> Tree {
        let Tree::Object(patch) = patch else { return patch };
        let mut members = if let Tree::Object(members) = self { members } else { BTreeMap::new() };
        for (name, value) in patch {
            let before = members.remove(&name);
            if !value.is_null() {
                members.insert(name, before.unwrap_or(Tree::Array(Vec::new())).patched(value));
            }
        }
        Tree::Object(members)
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = |at| if at == 0 { "" } else { "," };
        match self {
            Tree::Scalar(text) => f.write_str(text),
            Tree::Array(elements) => {
                f.write_str("[")?;
                elements.iter().enumerate().try_for_each(|(at, element)| write!(f, "{}{element}", separator(at)))?;
                f.write_str("]")
            }
            Tree::Object(members) => {
                f.write_str("{")?;
                members.iter().enumerate().try_for_each(|(at, (name, value))| write!(f, "{}{name:?}:{value}", separator(at)))?;
                f.write_str("}")
            }
        }
    }
}
