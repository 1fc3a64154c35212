//! Messages compressed and inflated as permessage-deflate has them (RFC 7692), each on its own: no context is taken over, so one
//! compressed frame serves all who read it, and one inflater serves a whole reactor.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Compressed messages have a window of 32 KiB at most.
pub const WINDOW_BITS_MAX: u8 = 15;
/// Whether an inflater with such a window can read a compressed message that is so long: with the largest any, for we use no larger one; with
/// a smaller one those that it holds, for no message refers to what was before it.
pub const fn is_window_enough(bits: u8, message_bytes: usize) -> bool {
    bits >= WINDOW_BITS_MAX || message_bytes <= 1 << bits
}

/// What a sync flush ends with; it is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// The tail and an empty last block: a whole message and these end a stream exactly, a truncated one and these do not.
const TAIL_AND_END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
/// Where the inflater's buffer begins.
const INFLATED_BYTES_MIN: usize = 4 * 1024;
/// A buffer that a long message has made larger than this is given back.
const INFLATED_BYTES_KEPT: usize = 64 * 1024;

/// Compresses messages.
#[derive(Debug)]
pub struct Deflater {
    raw: Compress,
    out: Vec<u8>,
    bytes_min: usize,
}

impl Deflater {
    /// At that level, 1 to 9; messages shorter than `bytes_min` are not worth it.
    pub fn new(level: u32, bytes_min: usize) -> Deflater {
        Deflater { raw: Compress::new(Compression::new(level), false), out: Vec::new(), bytes_min }
    }

    /// The message compressed, if that makes it shorter.
    pub fn message(&mut self, message: &[u8]) -> Option<&[u8]> {
        if message.len() < self.bytes_min || message.is_empty() {
            return None;
        }
        self.raw.reset();
        // With no more room than this, what does not become shorter does not fit.
        self.out.resize(message.len() + TAIL.len(), 0);
        self.raw.compress(message, &mut self.out, FlushCompress::Sync).ok()?;
        let bytes = self.raw.total_out() as usize;
        // A full buffer may lack the end of the flush.
        if self.raw.total_in() as usize != message.len() || bytes == self.out.len() {
            return None;
        }
        self.out[..bytes].strip_suffix(&TAIL)
    }
}

/// Why a message is not inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It becomes longer than allowed.
    TooLong,
    /// It is damaged, truncated, or was compressed with the context of former messages.
    Damaged,
}

/// Inflates messages. Costs no memory before the first.
#[derive(Debug, Default)]
pub struct Inflater {
    raw: Option<Box<Decompress>>,
    out: Vec<u8>,
    /// So many bytes of `out` are the message's.
    len: usize,
}

/// What came of one part of the input.
#[derive(PartialEq, Eq)]
enum Fed {
    /// All of it is taken.
    All,
    /// All of it is taken, and it ended the stream.
    Ended,
}

impl Inflater {
    /// The message inflated. It takes no more work and memory than `bytes_max` bytes do, whatever it would become.
    pub fn message(&mut self, compressed: &[u8], bytes_max: usize) -> Result<&[u8], InflateError> {
        if self.out.len() > INFLATED_BYTES_KEPT {
            self.out = Vec::new();
        }
        self.len = 0;
        self.raw().reset(false);
        // Some peers end each message's stream instead of flushing it (section 7.2.3.5); the next block begins a new one.
        if self.feed(compressed, bytes_max)? != Fed::Ended && self.feed(&TAIL_AND_END, bytes_max)? != Fed::Ended {
            return Err(InflateError::Damaged);
        }
        Ok(&self.out[..self.len])
    }

    fn feed(&mut self, mut input: &[u8], bytes_max: usize) -> Result<Fed, InflateError> {
        loop {
            self.make_room(bytes_max);
            let at = self.len;
            let raw = self.raw.get_or_insert_with(new_raw);
            let before = (raw.total_in(), raw.total_out());
            let status = raw.decompress(input, &mut self.out[at..], FlushDecompress::Sync).map_err(|_| InflateError::Damaged)?;
            let taken = (raw.total_in() - before.0) as usize;
            let made = (raw.total_out() - before.1) as usize;
            input = &input[taken..];
            self.len += made;
            if self.len > bytes_max {
                return Err(InflateError::TooLong);
            }
            let has_room = self.len < self.out.len();
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(Fed::Ended),
                Status::StreamEnd => raw.reset(false),
                Status::Ok | Status::BufError if input.is_empty() && has_room => return Ok(Fed::All),
                Status::BufError if has_room && taken == 0 && made == 0 => return Err(InflateError::Damaged),
                Status::Ok | Status::BufError => {}
            }
        }
    }

    /// Room for at least one byte: one beyond the limit is enough to see that it is exceeded.
    fn make_room(&mut self, bytes_max: usize) {
        if self.len == self.out.len() {
            let doubled = (self.out.len() * 2).max(INFLATED_BYTES_MIN);
            self.out.resize(doubled.min(bytes_max + 1).max(self.len + 1), 0);
        }
    }

    fn raw(&mut self) -> &mut Decompress {
        self.raw.get_or_insert_with(new_raw)
    }
}

fn new_raw() -> Box<Decompress> {
    Box::new(Decompress::new(false))
}

#[cfg(test)]
mod tests;
