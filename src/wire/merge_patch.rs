//! Merge patches (RFC 7396): what has changed between two JSON objects, as text. Pure.
//!
//! Values in a patch are the new text's own bytes, so that numbers keep every digit. Where two texts mean the same but are written in
//! different ways, the patch may say more than it must; it never says less.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::json::reader::Reader;

/// So many members are looked through for a name; more are sorted first.
const SCAN_MAX: usize = 16;

/// Appends the patch that makes `to` of `from`. False, with anything appended, if there is none of at most `bytes_max` bytes: both must be
/// objects, and no change may introduce a null, which in a patch means that a member goes.
pub fn diff(from: &str, to: &str, bytes_max: usize, out: &mut Vec<u8>) -> bool {
    let bytes_max = out.len() + bytes_max;
    is_object(from) && is_object(to) && Diff { out, bytes_max }.object(from, to).is_some()
}

fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{')
}

/// A patch in the making. Its productions give `None` if there will be none.
struct Diff<'o> {
    out: &'o mut Vec<u8>,
    bytes_max: usize,
}

impl Diff<'_> {
    fn object(&mut self, from: &str, to: &str) -> Option<()> {
        let (old, new) = (Members::read(from)?, Members::read(to)?);
        let mut is_kept = vec![false; old.list.len()];
        let mut next = 0;
        self.out.push(b'{');
        for member in &new.list {
            // Publishers write their members in the same order again.
            let at = old.find(&member.name, next);
            if let Some(at) = at {
                is_kept[at] = true;
                next = at + 1;
            }
            self.member(member, at.map(|at| old.list[at].value))?;
        }
        for (member, _) in old.list.iter().zip(is_kept).filter(|(_, is_kept)| !is_kept) {
            self.name(&member.name);
            self.out.extend_from_slice(b"null");
        }
        self.out.push(b'}');
        (self.out.len() <= self.bytes_max).then_some(())
    }

    /// A member that is there now, and its value before, if it was there.
    fn member(&mut self, member: &Member<'_>, before: Option<&str>) -> Option<()> {
        let value = member.value;
        match before {
            Some(before) if before == value => return Some(()),
            Some(before) if is_object(before) && is_object(value) => {
                let start = self.out.len();
                self.name(&member.name);
                let nested = self.out.len();
                self.object(before, value)?;
                if &self.out[nested..] == b"{}" {
                    self.out.truncate(start);
                }
                return Some(());
            }
            _ if has_null(value)? => return None,
            _ => {}
        }
        self.name(&member.name);
        self.out.extend_from_slice(value.as_bytes());
        (self.out.len() <= self.bytes_max).then_some(())
    }

    /// The beginning of a member.
    fn name(&mut self, name: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        serde_json::to_writer(&mut *self.out, name).expect("writing to a Vec does not fail");
        self.out.push(b':');
    }
}

/// Whether a value would not come through as what a patch sets: it is null, or an object with such a member.
fn has_null(value: &str) -> Option<bool> {
    match value.as_bytes().first() {
        Some(b'n') => Some(true),
        Some(b'{') if memchr::memmem::find(value.as_bytes(), b"null").is_some() => {
            for member in Members::read(value)?.list {
                if has_null(member.value)? {
                    return Some(true);
                }
            }
            Some(false)
        }
        _ => Some(false),
    }
}

/// One member of an object.
struct Member<'a> {
    name: Cow<'a, str>,
    /// Raw.
    value: &'a str,
}

/// The members of one object.
struct Members<'a> {
    list: Vec<Member<'a>>,
    /// Places in the list by name, if they were ever needed.
    sorted: OnceCell<Vec<usize>>,
}

impl<'a> Members<'a> {
    fn read(text: &'a str) -> Option<Members<'a>> {
        let mut list = Vec::with_capacity(SCAN_MAX);
        let read = Reader::new("a state", text).only_object(|reader, name| {
            list.push(Member { name, value: reader.raw()? });
            Ok(())
        });
        read.is_ok().then_some(Members { list, sorted: OnceCell::new() })
    }

    /// The place of that name, which is likely to be `hint`.
    fn find(&self, name: &str, hint: usize) -> Option<usize> {
        if self.list.get(hint).is_some_and(|member| member.name == name) {
            return Some(hint);
        }
        if self.list.len() <= SCAN_MAX {
            return self.list.iter().position(|member| member.name == name);
        }
        let sorted = self.sorted.get_or_init(|| {
            let mut places: Vec<usize> = (0..self.list.len()).collect();
            places.sort_unstable_by_key(|at| &self.list[*at].name);
            places
        });
        sorted.binary_search_by_key(&name, |at| &self.list[*at].name).ok().map(|found| sorted[found])
    }
}

#[cfg(test)]
#[path = "../../tests/sim/tree.rs"]
pub(crate) mod tree;

#[cfg(test)]
mod tests;
