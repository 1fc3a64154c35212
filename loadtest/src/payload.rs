//! What is published, byte for byte: the one place that builds the `data` of an event, and so the one that knows what a receiver must find.
//!
//! `data` is `{<the flow's fields>,"pad":"…","lt":"<stamp>"}` and has exactly the flow's `bytes`: the padding takes up what is left. The
//! padding is a running pattern, so that bytes lost, doubled or moved inside it are found by one comparison.
//!
//! Nothing is formatted per event: a [`Numbered`] text is assembled for one room and patched for the next, as long as the room's number
//! has as many digits as before.

use crate::scenario::{Flow, Lane, Mode, RoomClass};
use crate::stamp::{STAMP_LEN, Stamp};

/// What comes before the stamp in `data`, and after it.
pub const BEFORE_STAMP: &[u8] = b"\"lt\":\"";
/// See [`BEFORE_STAMP`].
pub const AFTER_STAMP: &[u8] = b"\"}";
/// What comes before `data` in a line and in an event.
pub const BEFORE_DATA: &[u8] = b"\"data\":";
/// The most bytes of `data`: what the protocol allows an event by default.
pub const BYTES_MAX: u32 = 64 * 1024;

const PAD: &[u8] = b"\"pad\":\"";
const PATTERN: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.";
/// Where the actual time of sending stands in a stamp.
const SENT_AT: usize = STAMP_LEN - 16;

/// A text with `{n}` in it, assembled for one number at a time, and optionally padded to a length.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// The text between the places of the number; a place between each two.
    parts: Vec<Vec<u8>>,
    /// What follows the parts, and how long all of it is to be: the padding fills what is between.
    padded: Option<(Vec<u8>, usize)>,
    number: Option<u32>,
    digits: usize,
    places: Vec<usize>,
    bytes: Vec<u8>,
}

impl Numbered {
    /// A text as it is, but for its numbers.
    pub fn new(text: &str) -> Numbered {
        let parts = text.split("{n}").map(|part| part.as_bytes().to_vec()).collect();
        Numbered { parts, padded: None, number: None, digits: 0, places: Vec::new(), bytes: Vec::new() }
    }

    fn padded(text: &str, tail: Vec<u8>, total: usize) -> Numbered {
        Numbered { padded: Some((tail, total)), ..Numbered::new(text) }
    }

    fn append(&mut self, text: &[u8]) {
        self.parts.last_mut().expect("a text has at least one part").extend_from_slice(text);
    }

    /// The text for that number.
    #[inline]
    pub fn of(&mut self, number: u32) -> &mut [u8] {
        if self.number != Some(number) {
            self.assemble(number);
        }
        &mut self.bytes
    }

    fn assemble(&mut self, number: u32) {
        if self.number.replace(number).is_some() && self.places.is_empty() {
            return;
        }
        let mut buffer = [0; 10];
        let digits = decimal(number, &mut buffer);
        if self.digits == digits.len() {
            for at in &self.places {
                self.bytes[*at..at + digits.len()].copy_from_slice(digits);
            }
            return;
        }
        self.digits = digits.len();
        self.places.clear();
        self.bytes.clear();
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                self.places.push(self.bytes.len());
                self.bytes.extend_from_slice(digits);
            }
            self.bytes.extend_from_slice(part);
        }
        if let Some((tail, total)) = &self.padded {
            let pad = total.saturating_sub(self.bytes.len() + tail.len());
            self.bytes.extend(PATTERN.iter().cycle().take(pad));
            self.bytes.extend_from_slice(tail);
        }
    }
}

/// The number's digits, at the end of `buffer`.
fn decimal(mut number: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}

/// The bytes of `data` up to the stamp, for each room of a flow.
pub fn data_head(flow: &Flow) -> Numbered {
    let total = flow.bytes as usize - STAMP_LEN - AFTER_STAMP.len();
    let comma = if flow.fields.trim().is_empty() { "" } else { "," };
    let text = format!("{{{}{comma}{}", flow.fields, String::from_utf8_lossy(PAD));
    Numbered::padded(&text, [b"\",", BEFORE_STAMP].concat(), total)
}

/// The publish line up to `"data":`, for each room of a flow.
pub fn line_head(flow: &Flow, class: &RoomClass) -> Numbered {
    let given = || format!(r#""lane":"{}","mode":"{}","#, lane_name(flow.lane), mode_name(flow.mode));
    let lane_and_mode = if flow.catalog { String::new() } else { given() };
    let key = flow.key.as_ref().map(|key| format!(r#""key":"{key}","#)).unwrap_or_default();
    Numbered::new(&format!(r#"{{"type":"{}","room":"{}",{lane_and_mode}{key}"#, flow.kind, class.name))
}

/// The fewest bytes that `data` of this flow can have, for every room of the class.
pub fn bytes_min(flow: &Flow, class: &RoomClass) -> u32 {
    let fields = flow.fields.replace("{n}", &class.count.saturating_sub(1).to_string());
    let comma = usize::from(!fields.trim().is_empty());
    let head = 1 + fields.len() + comma + PAD.len() + 2 + BEFORE_STAMP.len();
    (head + STAMP_LEN + AFTER_STAMP.len()) as u32
}

/// Publish lines of one flow.
#[derive(Clone, Debug)]
pub struct Template {
    /// From the line's first byte to `"data":`.
    head: Numbered,
    data: Numbered,
}

impl Template {
    /// Checks what the flow says and prepares its lines. The error says what to change in the scenario.
    pub fn new(flow: &Flow, class: &RoomClass) -> Result<Template, String> {
        check(flow, class).map_err(|what| format!("flow `{}` to rooms `{}`: {what}", flow.kind, flow.rooms))?;
        let mut head = line_head(flow, class);
        head.append(BEFORE_DATA);
        Ok(Template { head, data: data_head(flow) })
    }

    /// Appends the line that says this event, without a newline. Returns where its stamp begins in `out`, for [`patch_sent`].
    pub fn line(&mut self, stamp: &Stamp, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(self.head.of(stamp.room));
        out.extend_from_slice(self.data.of(stamp.room));
        let at = out.len();
        out.resize(at + STAMP_LEN, 0);
        stamp.write(&mut out[at..]);
        out.extend_from_slice(AFTER_STAMP);
        out.push(b'}');
        at
    }
}

/// Sets the actual time of sending in a line whose stamp begins at `at`: for lines that were built before their write.
pub fn patch_sent(line: &mut [u8], at: usize, sent_ns: u64) {
    let out = &mut line[at + SENT_AT..at + STAMP_LEN];
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(sent_ns >> (60 - 4 * index) & 15) as usize];
    }
}

fn check(flow: &Flow, class: &RoomClass) -> Result<(), String> {
    if !is_name(&flow.kind) {
        return Err(format!("its `type` must be 1 to 200 of A-Z a-z 0-9 _ . : % -, not `{}`", flow.kind));
    }
    if !is_name(&class.name.replace("{n}", "0")) {
        return Err(format!("a room's `name` must be 1 to 200 of A-Z a-z 0-9 _ . : % -, and {{n}}, not `{}`", class.name));
    }
    if class.count > 1 && !class.name.contains("{n}") {
        return Err(format!("{} rooms need {{n}} in their `name`, or all are the same room", class.count));
    }
    if let Some(key) = &flow.key
        && !is_name(&key.replace("{n}", "0"))
    {
        return Err(format!("its `key` must be 1 to 200 of A-Z a-z 0-9 _ . : % -, and {{n}}, not `{key}`"));
    }
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&format!("{{{}}}", flow.fields.replace("{n}", "0")))
        .map_err(|error| format!("its `fields` must be the inside of a JSON object, such as \"id\":\"{{n}}\": {error}"))?;
    if fields.contains_key("pad") || fields.contains_key("lt") {
        return Err("its `fields` must not contain `pad` or `lt`: these are the load generator's".into());
    }
    if flow.bytes < bytes_min(flow, class) || flow.bytes > BYTES_MAX {
        return Err(format!("its `bytes` must be {} to {BYTES_MAX}, not {}", bytes_min(flow, class), flow.bytes));
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:%-".contains(&byte))
}

/// As the protocol writes it.
pub fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Alert => "alert",
        Lane::Update => "update",
        Lane::Metric => "metric",
    }
}

/// As the protocol writes it.
pub fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Stream => "stream",
        Mode::State => "state",
        Mode::Transient => "transient",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(count: u32) -> RoomClass {
        RoomClass { class: "c".into(), name: "desk:{n}".into(), count, members: 1 }
    }

    fn flow(bytes: u32, fields: &str) -> Flow {
        Flow {
            rooms: "c".into(),
            kind: "tick".into(),
            lane: Lane::Update,
            mode: Mode::State,
            catalog: false,
            key: Some("k{n}".into()),
            rate: 1.0,
            burst: 1,
            bytes,
            fields: fields.into(),
        }
    }

    fn stamp(room: u32) -> Stamp {
        Stamp { run: 7, flow: 1, room, n: 3, intended_ns: 4, sent_ns: 5 }
    }

    proptest! {
        /// Whatever rooms come in whatever order, the line is what it would be if it were built alone, and `data` has its size.
        #[test]
        fn a_line_is_its_own_rooms(rooms in prop::collection::vec(0u32..100_000, 1..20), extra in 0u32..300, with_fields: bool) {
            let fields = if with_fields { r#""a":"x{n}","b":{n}"# } else { "" };
            let (mut flow, class) = (flow(0, fields), class(100_000));
            flow.bytes = bytes_min(&flow, &class) + extra;
            let mut template = Template::new(&flow, &class).expect("a good flow");
            for room in rooms {
                let mut line = b"before".to_vec();
                let at = template.line(&stamp(room), &mut line);
                let value: serde_json::Value = serde_json::from_slice(&line[6..]).expect("JSON");
                prop_assert_eq!(&value["room"], &format!("desk:{room}"));
                prop_assert_eq!(&value["key"], &format!("k{room}"));
                prop_assert_eq!((&value["lane"], &value["mode"]), (&"update".into(), &"state".into()));
                if with_fields {
                    prop_assert_eq!((&value["data"]["a"], &value["data"]["b"]), (&format!("x{room}").into(), &room.into()));
                }
                let data = line.windows(7).position(|bytes| bytes == b"\"data\":").expect("has data") + 7;
                prop_assert_eq!(line.len() - 1 - data, flow.bytes as usize);
                prop_assert_eq!(Stamp::read(&line[at..at + STAMP_LEN]), Some(stamp(room)));
            }
        }

        #[test]
        fn the_time_of_sending_can_be_set_later(sent_ns: u64) {
            let mut template = Template::new(&flow(300, ""), &class(1)).expect("a good flow");
            let mut line = Vec::new();
            let at = template.line(&stamp(0), &mut line);
            patch_sent(&mut line, at, sent_ns);
            prop_assert_eq!(Stamp::read(&line[at..at + STAMP_LEN]), Some(Stamp { sent_ns, ..stamp(0) }));
        }
    }

    #[test]
    fn a_catalogs_lane_and_mode_are_not_given() {
        let flow = Flow { catalog: true, key: None, ..flow(300, "") };
        let mut line = Vec::new();
        Template::new(&flow, &class(1)).expect("a good flow").line(&stamp(0), &mut line);
        assert!(line.starts_with(br#"{"type":"tick","room":"desk:0","data":{"pad":"0123"#), "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn what_cannot_be_published_is_refused_with_its_reason() {
        let one_name = RoomClass { name: "desk".into(), ..class(2) };
        let cases = [
            (flow(78, ""), class(1), "must be 79 to 65536, not 78"),
            (flow(300, "\"lt\":1"), class(1), "must not contain `pad` or `lt`"),
            (flow(300, "\"a\":"), class(1), "inside of a JSON object"),
            (flow(300, ""), one_name, "2 rooms need {n}"),
            (Flow { kind: "a b".into(), ..flow(300, "") }, class(1), "its `type`"),
            (Flow { key: Some("\"".into()), ..flow(300, "") }, class(1), "its `key`"),
        ];
        for (flow, class, part) in cases {
            let error = Template::new(&flow, &class).expect_err("is wrong");
            assert!(error.contains(part), "{error}");
        }
    }
}
