//! Room templates such as `challenge:{challenge_id}`, cut once.

use crate::base::ident::{is_identifier, push_segment};
use crate::wire::event::Draft;

/// A template in its parts.
#[derive(Clone, Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    /// Text as it is.
    Text(String),
    /// The name of a member of `data`.
    Member(String),
}

impl Template {
    /// Whether the rooms that come of this text are identifiers, if they are not too long.
    pub(super) fn is_sound(text: &str) -> bool {
        let template = Template::parse(text);
        let sample: String = template.parts.iter().map(|part| if let Part::Text(text) = part { text } else { "x" }).collect();
        is_identifier(&sample) && !template.members().any(|name| name.contains('{'))
    }

    /// Cuts a text. Braces that are not closed are left as they are.
    pub(super) fn parse(text: &str) -> Template {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Member(name.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Template { parts }
    }

    /// The names of the members, in their order.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| if let Part::Member(name) = part { Some(&**name) } else { None })
    }

    /// The room, with the members' values put in, percent-encoded; `None` if `data` lacks one.
    pub(super) fn fill(&self, draft: &Draft<'_>) -> Option<Box<str>> {
        // Exact, unless something is to be encoded: then the box need not be another allocation.
        let bytes = self.parts.iter().try_fold(0, |bytes, part| Some(bytes + part.value(draft)?.len()))?;
        let mut room = String::with_capacity(bytes);
        for part in &self.parts {
            match part {
                Part::Text(text) => room.push_str(text),
                Part::Member(name) => push_segment(&mut room, field(draft, name)?),
            }
        }
        Some(room.into())
    }
}

impl Part {
    fn value<'p>(&'p self, draft: &'p Draft<'_>) -> Option<&'p str> {
        match self {
            Part::Text(text) => Some(text),
            Part::Member(name) => field(draft, name),
        }
    }
}

/// The value of that member of `data`, unless it is empty.
pub(super) fn field<'d>(draft: &'d Draft<'_>, name: &str) -> Option<&'d str> {
    draft.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value).filter(|value| !value.is_empty())
}
