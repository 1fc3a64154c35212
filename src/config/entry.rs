//! What reading `[[catalog]]` and reading `[[issuer]]` have in common: arrays of tables, each an entry that no other may be like.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Origin;
use super::file::Parser;

/// Such an array.
pub(super) struct Section<T> {
    /// Its name.
    pub name: &'static str,
    /// What one entry is called.
    pub entry: &'static str,
    /// What an entry may have.
    pub fields: &'static [&'static str],
    /// The field by which entries differ, and its value; `T` has the rest.
    pub key: (&'static str, fn(&T) -> &str),
    /// What to do about two entries that do not.
    pub remedy: &'static str,
    /// Where an entry is written.
    pub origin: fn(&T) -> &Origin,
}

impl<T> Section<T> {
    /// Reads all entries, adding what is wrong to the parser's problems.
    pub(super) fn parse(
        &self,
        parser: &mut Parser<'_>,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(EntryReader<'_, '_, '_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(items) = value.get_ref().as_array() else {
            self.is_no_table(parser, &value.span());
            return Vec::new();
        };
        let mut entries: Vec<T> = Vec::new();
        for item in items {
            let Some(table) = item.get_ref().as_table() else {
                self.is_no_table(parser, &item.span());
                continue;
            };
            for name in table.keys().filter(|name| !self.fields.contains(&name.get_ref().as_ref())) {
                parser.unknown(name, self.fields.iter().copied().map(str::to_owned));
            }
            let reader = EntryReader { parser, section: self.name, table, span: item.span(), failed: false };
            let Some(entry) = read(reader) else { continue };
            let (field, key_of) = self.key;
            if let Some(first) = entries.iter().find(|first| key_of(first) == key_of(&entry)) {
                let message = format!("`{}` was already given at {}: {}", key_of(&entry), (self.origin)(first), self.remedy);
                parser.problem(&format!("{}.{field}", self.name), &item.span(), message);
            }
            entries.push(entry);
        }
        entries
    }

    fn is_no_table(&self, parser: &mut Parser<'_>, span: &Range<usize>) {
        parser.problem(self.name, span, format!("write each {} as a table under `[[{}]]`", self.entry, self.name));
    }
}

/// Reads one entry. Every field is read before the entry is given up, so that all problems show at once.
pub(super) struct EntryReader<'p, 'a, 't> {
    parser: &'p mut Parser<'a>,
    section: &'static str,
    table: &'t DeTable<'t>,
    span: Range<usize>,
    failed: bool,
}

impl<'t> EntryReader<'_, '_, 't> {
    pub(super) fn get(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table.get(name)
    }

    /// Each of these must be there.
    pub(super) fn require(&mut self, names: &[&str], message: &str) {
        for name in names {
            if self.get(name).is_none() {
                self.fail_at(name, &self.span.clone(), message.to_owned());
            }
        }
    }

    /// A field, if it is there and good.
    pub(super) fn optional<T>(&mut self, name: &str, read: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        let value = self.get(name)?;
        read(value.get_ref()).map_err(|message| self.fail_at(name, &value.span(), message)).ok()
    }

    /// That field is wrong.
    pub(super) fn fail(&mut self, name: &str, message: &str) {
        let span = self.get(name).map_or_else(|| self.span.clone(), Spanned::span);
        self.fail_at(name, &span, message.to_owned());
    }

    fn fail_at(&mut self, name: &str, span: &Range<usize>, message: String) {
        self.failed = true;
        self.parser.problem(&format!("{}.{name}", self.section), span, message);
    }

    /// Where the entry is written, unless something in it was wrong.
    pub(super) fn finish(self) -> Option<Origin> {
        (!self.failed).then(|| self.parser.origin(&self.span))
    }
}

/// A string.
pub(super) fn string<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("found {} where a string belongs", value.type_str()))
}

/// `true` or `false`.
pub(super) fn switch(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "write `true` or `false`".to_owned())
}
