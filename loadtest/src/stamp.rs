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
        let mut place = [b'0'; 8];
        place[..2].copy_from_slice(&bytes[9..11]);
        place[2..].copy_from_slice(&bytes[12..18]);
        let (place, mut bad) = unhex(place);
        let mut part = |at: usize| {
            let (value, not_digits) = unhex(*bytes[at..].first_chunk().expect("a stamp is longer"));
            bad |= not_digits;
            value
        };
        let (run, n) = (part(0), part(19));
        let mut time = |at: usize| u64::from(part(at)) << 32 | u64::from(part(at + 8));
        let (intended_ns, sent_ns) = (time(28), time(45));
        (bad == 0).then_some(Stamp { run, flow: (place >> 24) as u8, room: place & 0xff_ffff, n, intended_ns, sent_ns })
    }
}

fn hex(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// The value of eight lower-case hexadecimal digits, and something other than 0 if they are none. All eight are taken at once, because
/// a receiver reads millions of stamps a second.
#[inline]
fn unhex(digits: [u8; 8]) -> (u32, u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_le_bytes(digits);
    // `0`-`9` are 0x30 and up, `a`-`f` 0x61 and up: bit 6 tells them apart.
    let values = (text & (ONES * 0x0f)) + (text >> 6 & ONES) * 9;
    let letters = (values + ONES * 6) >> 4 & ONES;
    // Written again they must be the same text, and each must be below 16.
    let again = values + ONES * 0x30 + letters * 39;
    let bad = (again ^ text) | values & (ONES * 0xf0);
    let bytes = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let words = (bytes << 8 | bytes >> 16) & 0x0000_ffff_0000_ffff;
    ((words << 16 | words >> 32) as u32, bad)
}

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

        /// A digit is one of the sixteen, and nothing else is.
        #[test]
        fn only_digits_are_digits(bytes: [u8; 8], hexadecimal in "[0-9a-f]{8}", at in 0usize..8) {
            let mut digits: [u8; 8] = hexadecimal.as_bytes().try_into().expect("has eight");
            prop_assert_eq!(unhex(digits), (u32::from_str_radix(&hexadecimal, 16).expect("is hexadecimal"), 0));
            digits[at] = bytes[0];
            let is_digit = bytes[0].is_ascii_digit() || (b'a'..=b'f').contains(&bytes[0]);
            prop_assert_eq!(unhex(digits).1 == 0, is_digit);
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
