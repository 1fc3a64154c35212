//! What a payload says of itself: the last member of `data` is a string of fixed width, so that a receiver finds it from the end of a
//! message without parsing, at tens of nanoseconds each.
//!
//! `"lt":"RRRRRRRR-FF-OOOOOO-NNNNNNNN-IIIIIIIIIIIIIIII-SSSSSSSSSSSSSSSS"` in lower-case hexadecimal: the run, the flow, the room within the
//! flow's class, the event's number within (flow, room) from 1 on, the intended and the actual time of sending (`CLOCK_MONOTONIC`, nanoseconds).

/// Characters of a stamp.
pub const STAMP_LEN: usize = 8 + 1 + 2 + 1 + 6 + 1 + 8 + 1 + 16 + 1 + 16;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Tells this run's events from those that a server kept from an earlier one.
    pub run: u32,
    /// Position of the flow in the scenario.
    pub flow: u8,
    /// Position of the room in its class; below 2²⁴.
    pub room: u32,
    /// Number of the event within (flow, room), from 1 on.
    pub n: u32,
    /// When it was to be sent.
    pub intended_ns: u64,
    /// When it was sent: the clock read just before the write.
    pub sent_ns: u64,
}

impl Stamp {
    /// Writes the stamp; `out` has [`STAMP_LEN`] bytes.
    pub fn write(&self, out: &mut [u8]) {
        assert_eq!(out.len(), STAMP_LEN, "a stamp has a fixed width");
        out.fill(b'-');
        hex(&mut out[0..8], u64::from(self.run));
        hex(&mut out[9..11], u64::from(self.flow));
        hex(&mut out[12..18], u64::from(self.room));
        hex(&mut out[19..27], u64::from(self.n));
        hex(&mut out[28..44], self.intended_ns);
        hex(&mut out[45..61], self.sent_ns);
    }

    /// Reads a stamp; `None` if these bytes are none.
    pub fn read(bytes: &[u8]) -> Option<Stamp> {
        let bytes: &[u8; STAMP_LEN] = bytes.try_into().ok()?;
        let dashes = [8, 11, 18, 27, 44].iter().all(|at| bytes[*at] == b'-');
        if !dashes {
            return None;
        }
        Some(Stamp {
            run: unhex(&bytes[0..8])? as u32,
            flow: unhex(&bytes[9..11])? as u8,
            room: unhex(&bytes[12..18])? as u32,
            n: unhex(&bytes[19..27])? as u32,
            intended_ns: unhex(&bytes[28..44])?,
            sent_ns: unhex(&bytes[45..61])?,
        })
    }
}

fn hex(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn unhex(bytes: &[u8]) -> Option<u64> {
    let (mut value, mut bad) = (0, 0);
    for byte in bytes {
        let digit = DIGITS[usize::from(*byte)];
        bad |= digit;
        value = value << 4 | u64::from(digit & 15);
    }
    (bad < 16).then_some(value)
}

/// The value of each hexadecimal digit; 255 for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(run: u32, flow: u8, room in 0u32..1 << 24, n: u32, intended_ns: u64, sent_ns: u64) {
            let stamp = Stamp { run, flow, room, n, intended_ns, sent_ns };
            let mut bytes = [0; STAMP_LEN];
            stamp.write(&mut bytes);
            prop_assert_eq!(Stamp::read(&bytes), Some(stamp));
        }

        /// A flipped bit is either noticed or another stamp, never a panic.
        #[test]
        fn other_bytes_are_no_stamp(at in 0..STAMP_LEN, byte: u8) {
            let stamp = Stamp { run: 1, flow: 2, room: 3, n: 4, intended_ns: 5, sent_ns: 6 };
            let mut bytes = [0; STAMP_LEN];
            stamp.write(&mut bytes);
            let before = bytes[at];
            bytes[at] = byte;
            prop_assert_eq!(Stamp::read(&bytes) == Some(stamp), before == byte);
        }
    }
}
