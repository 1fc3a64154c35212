//! Publish lines: what they mean by `serde_json` and the rules of the protocol, read in another way than the daemon reads them.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tickerd::base::lane::{Lane, Mode};
use tickerd::base::limits::{JSON_DEPTH_MAX, REQUEST_ID_BYTES_MAX};
use tickerd::wire::event;
use tickerd::wire::request_id::RequestId;

use crate::targets::CATALOG;

/// LIM-05: a line is taken if and only if it is sound, and means what it says; `data` is the publisher's own bytes.
pub(crate) fn publish(input: &[u8]) {
    let read = event::parse(input, CATALOG.wanted());
    match (&read, Line::read(input)) {
        (Ok(draft), Some(line)) => {
            assert_eq!((&*draft.kind, &*draft.data), (&*line.kind, &*line.data));
            assert_eq!(draft.id.as_ref().map(RequestId::as_json), line.id.as_deref());
            assert_eq!((draft.room.as_deref(), draft.key.as_deref()), (line.room.as_deref(), line.key.as_deref()));
            assert_eq!((draft.event_id.as_deref(), draft.owner.as_deref()), (line.event_id.as_deref(), line.owner.as_deref()));
            assert_eq!((draft.lane, draft.mode, draft.version, draft.ack_memory), (line.lane, line.mode, line.version, line.ack_memory));
            let fields: Vec<_> = draft.fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            assert_eq!(fields, line.fields);
            CATALOG.resolve(draft).ok();
        }
        (Err(rejected), None) => assert!(!rejected.refusal.message.is_empty()),
        (Ok(draft), None) => panic!("taken, and not sound: {draft:?}"),
        (Err(rejected), Some(_)) => panic!("sound, and not taken: {rejected:?}"),
    }
}

struct Line {
    kind: String,
    data: String,
    id: Option<String>,
    room: Option<String>,
    key: Option<String>,
    event_id: Option<String>,
    owner: Option<String>,
    lane: Option<Lane>,
    mode: Option<Mode>,
    version: Option<u64>,
    ack_memory: bool,
    fields: Vec<(String, String)>,
}

const KNOWN: [&str; 11] = ["type", "data", "id", "room", "key", "lane", "mode", "event_id", "version", "owner", "ack"];

impl Line {
    fn read(line: &[u8]) -> Option<Line> {
        let members = Members::read(std::str::from_utf8(line).ok()?)?;
        let strangers = members.0.iter().filter(|(name, _)| !KNOWN.contains(&&**name));
        for (_, value) in strangers {
            depth_of(value)?;
        }
        let data = members.raw("data")?;
        depth_of(data)?;
        Some(Line {
            kind: members.identifier("type")??,
            data: data.replace(['\r', '\n'], " "),
            id: members.id()?,
            room: members.identifier("room")?,
            key: members.identifier("key")?,
            event_id: members.identifier("event_id")?,
            owner: members.identifier("owner")?,
            lane: members.given("lane").map(|raw| Lane::parse(&text(raw)?)).map_or(Some(None), |lane| lane.map(Some))?,
            mode: members.given("mode").map(|raw| Mode::parse(&text(raw)?)).map_or(Some(None), |mode| mode.map(Some))?,
            version: members.given("version").map(|raw| serde_json::from_str(raw).ok()).map_or(Some(None), |version| version.map(Some))?,
            ack_memory: match members.given("ack").map(text) {
                None => false,
                Some(word) => ["durable", "memory"].iter().position(|known| word.as_deref() == Some(known))? == 1,
            },
            fields: fields(data),
        })
    }
}

/// The members of `data` that the catalog looks at: strings, and integers as they are written.
fn fields(data: &str) -> Vec<(String, String)> {
    let Some(members) = Members::read(data) else { return Vec::new() };
    let wanted = members.0.into_iter().filter(|(name, _)| CATALOG.wanted().contains(name));
    wanted
        .filter_map(|(name, value)| text(value).or_else(|| is_integer(value).then(|| value.to_owned())).map(|value| (name, value)))
        .collect()
}

fn text(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

fn is_integer(raw: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(raw).is_ok() && !raw.contains(['.', 'e', 'E'])
        // Too long for a number of ours, and an integer all the same.
        || raw.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit())
}

/// The members of an object, none twice, in their order.
struct Members<'a>(Vec<(String, &'a str)>);

impl<'a> Members<'a> {
    /// None if this is no object.
    fn read(text: &'a str) -> Option<Members<'a>> {
        serde_json::from_str(text).ok()
    }

    fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    fn given(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|raw| *raw != "null")
    }

    /// None if it is given and is none.
    #[expect(clippy::option_option, reason = "not sound, absent, given")]
    fn identifier(&self, name: &str) -> Option<Option<String>> {
        let Some(raw) = self.given(name) else { return Some(None) };
        let is_fine =
            |text: &String| (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:%-".contains(&b));
        text(raw).filter(is_fine).map(Some)
    }

    #[expect(clippy::option_option, reason = "not sound, absent, given")]
    fn id(&self) -> Option<Option<String>> {
        let Some(raw) = self.given("id") else { return Some(None) };
        let is_fine = raw.len() <= REQUEST_ID_BYTES_MAX && (text(raw).is_some() || is_integer(raw));
        is_fine.then(|| Some(raw.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let (mut members, mut names) = (Vec::new(), HashSet::new());
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if !names.insert(name.clone()) {
                        return Err(M::Error::custom("twice"));
                    }
                    members.push((name, value.get()));
                }
                Ok(Members(members))
            }
        }
        reader.deserialize_map(Reading)
    }
}

/// How deep a value is nested; none if it is too deep, has a member twice, or a number or a character that there is not.
fn depth_of(raw: &str) -> Option<usize> {
    let mut reader = serde_json::Deserializer::from_str(raw);
    Strict { depth: 0 }.deserialize(&mut reader).ok().filter(|depth| *depth <= JSON_DEPTH_MAX)
}

struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<usize, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<usize, M::Error> {
        let (mut names, mut deepest) = (HashSet::new(), self.depth + 1);
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                return Err(M::Error::custom("twice"));
            }
            deepest = deepest.max(map.next_value_seed(Strict { depth: self.depth + 1 })?);
        }
        Ok(deepest)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<usize, S::Error> {
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
