//! A position as one text, for those who carry it about in a header or a query: `k3:alert.118,update.8840,metric.0`.
//!
//! It names the last `seq` of each lane in an epoch, as `since` does over WebSocket. A long poll's has a part more, `state.5f3a2c11-81937-8d2f04ac`,
//! which says which changes of states it has seen: a number that means something to one start of the daemon alone, which the part names first, and in
//! one room alone, whose mark it names last. An epoch is the same in most rooms, so that nothing else would tell a position of another one.

use std::fmt;

use crate::base::codes::{INVALID_FIELD, Refusal};
use crate::base::ident::is_identifier;
use crate::base::lane::{Lane, PerLane};
use crate::base::limits::CURSOR_BYTES_MAX;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The history in which `seq` counts.
    pub epoch: Box<str>,
    /// The last `seq` of each lane that it names.
    pub seq: PerLane<Option<u64>>,
    /// Which changes of states were seen.
    pub states: Option<StatesSeen>,
}

/// All changes of states up to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatesSeen {
    /// The start of the daemon that counts them.
    pub instance: u32,
    /// The last one.
    pub until: u64,
    /// The [`room_mark`] of the room whose states they are.
    pub room: u32,
}

/// Tells a room from others, most likely, in few digits: its name's FNV-1a hash, which is the same on all nodes and in all versions.
pub fn room_mark(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

const STATE: &str = "state";

impl Cursor {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Cursor, Refusal> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(malformed(&format!("it has more than {CURSOR_BYTES_MAX} bytes")));
        }
        let (epoch, parts) = text.rsplit_once(':').ok_or_else(|| malformed("it has no `:` behind the epoch"))?;
        if !is_identifier(epoch) {
            return Err(malformed("its epoch is none"));
        }
        let mut cursor = Cursor { epoch: epoch.into(), seq: [None; Lane::COUNT], states: None };
        for part in parts.split(',') {
            cursor.take(part)?;
        }
        Ok(cursor)
    }

    /// Refuses a position that came with another room's answer.
    pub fn check_room(&self, name: &str) -> Result<(), Refusal> {
        if self.states.is_none_or(|states| states.room == room_mark(name)) {
            return Ok(());
        }
        let message = "`since` is a position in another room: give the `cursor` of this room's last answer, or none to begin anew";
        Err(Refusal::new(INVALID_FIELD, message))
    }

    fn take(&mut self, part: &str) -> Result<(), Refusal> {
        let (name, value) = part.split_once('.').ok_or_else(|| malformed("a part of it has no `.`"))?;
        let is_new = if name == STATE {
            let seen = StatesSeen::parse(value).ok_or_else(|| malformed("its `state` is none"))?;
            self.states.replace(seen).is_none()
        } else {
            let lane = Lane::parse(name).ok_or_else(|| malformed("a part of it names no lane"))?;
            let seq = number(value).ok_or_else(|| malformed("a lane's part of it is no number"))?;
            self.seq[lane.index()].replace(seq).is_none()
        };
        if is_new { Ok(()) } else { Err(malformed("it names a lane twice")) }
    }
}

impl StatesSeen {
    fn parse(text: &str) -> Option<StatesSeen> {
        let (instance, rest) = text.split_once('-')?;
        let (until, room) = rest.split_once('-')?;
        Some(StatesSeen { instance: hex(instance)?, until: number(until)?, room: hex(room)? })
    }
}

/// Eight digits.
fn hex(digits: &str) -> Option<u32> {
    let is_hex = digits.len() == 8 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cold]
fn malformed(why: &str) -> Refusal {
    let message = format!("the position must be like `k3:alert.118,update.8840`, as it came in `id` or `cursor`, but {why}");
    Refusal::new(INVALID_FIELD, message)
}

/// A position on its way out: it names all lanes, for one that is left out would begin at its end.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// The history in which `seq` counts.
    pub epoch: &'a str,
    /// The last `seq` of each lane.
    pub seq: PerLane<u64>,
    /// For a long poll.
    pub states: Option<StatesSeen>,
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.epoch)?;
        let mut separator = ':';
        for lane in Lane::ALL {
            write!(f, "{separator}{}.{}", lane.name(), self.seq[lane.index()])?;
            separator = ',';
        }
        match self.states {
            Some(StatesSeen { instance, until, room }) => write!(f, ",{STATE}.{instance:08x}-{until}-{room:08x}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_reads_as_documented() {
        let cursor = Cursor::parse("k3:alert.118,update.8840").unwrap();
        assert_eq!((&*cursor.epoch, cursor.seq, cursor.states), ("k3", [Some(118), Some(8840), None], None));
        let cursor = Cursor::parse("k3:metric.0,state.0000002a-7-00000003").unwrap();
        assert_eq!((cursor.seq, cursor.states), ([None, None, Some(0)], Some(StatesSeen { instance: 42, until: 7, room: 3 })));
    }

    /// The mark is in positions that clients keep: it must not change.
    #[test]
    fn a_position_is_of_one_room() {
        assert_eq!((room_mark(""), room_mark("a"), room_mark("foobar")), (0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968));
        let states = Some(StatesSeen { instance: 1, until: 1, room: room_mark("r:1") });
        let cursor = Cursor { epoch: "k3".into(), seq: [None; Lane::COUNT], states };
        assert_eq!(cursor.check_room("r:1"), Ok(()));
        assert!(cursor.check_room("r:2").unwrap_err().message.contains("another room"));
        assert_eq!(Cursor { states: None, ..cursor }.check_room("r:2"), Ok(()), "a stream's position says nothing of it");
    }

    /// LIM-05: refused, not guessed at.
    #[test]
    fn what_is_no_position_is_refused() {
        let long = format!("{}:alert.1", "e".repeat(300));
        let bad = [
            "",
            "k3",
            "k3:",
            ":alert.1",
            "k3:alert",
            "k3:alert.",
            "k3:alert.-1",
            "k3:alert.+1",
            "k3:alert.1,",
            "k3:alert.1,alert.2",
            "k3:alarm.1",
            "k 3:alert.1",
            "k3:alert.18446744073709551616",
            "k3:state.7",
            "k3:state.0000002a-7",
            "k3:state.0000002A-7-00000003",
            "k3:state.+000002a-7-00000003",
            "k3:state.0000002a-7-3",
            "k3:state.0000002a-1-00000003,state.0000002a-1-00000003",
            "k3:alert.1\r\n",
            long.as_str(),
        ];
        for text in bad {
            assert_eq!(Cursor::parse(text).unwrap_err().error, INVALID_FIELD, "{text:?}");
        }
    }

    proptest! {
        /// DLV-14: what goes out as `id` or `cursor` comes back as the same position.
        #[test]
        fn a_position_comes_back_as_it_went(epoch in "[a-z0-9:_.-]{1,40}", seq: [u64; 3], states: Option<(u32, u64, u32)>) {
            let states = states.map(|(instance, until, room)| StatesSeen { instance, until, room });
            let text = Position { epoch: &epoch, seq, states }.to_string();
            prop_assert_eq!(Cursor::parse(&text), Ok(Cursor { epoch: epoch.into(), seq: seq.map(Some), states }));
        }

        #[test]
        fn any_text_is_a_position_or_refused(text in "[a-z0-9:.,-]{0,60}|\\PC{0,60}") {
            if let Ok(cursor) = Cursor::parse(&text) {
                prop_assert!(cursor.seq.iter().any(Option::is_some) || cursor.states.is_some());
            }
        }
    }
}
