//! Bytes that a socket did not take yet, and how bytes are written.

use std::io::{self, Write};

use crate::Writes;
use crate::lines::frame_len;

/// Buffers kept for the next connection that cannot take everything: the warmest first, none longer than this.
const SPARES_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 256 * 1024;
/// Bytes already written are moved out of a buffer once they are so many, and half of it.
const COMPACT_BYTES: usize = 16 * 1024;

/// What waits for one connection. Without heap when nothing does.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    /// So many of them are written.
    at: usize,
    /// So many of those that are not belong together with what is written, or are not frames: they leave in one write.
    started: usize,
}

/// Buffers without an owner.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Pending {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends whole frames; `started` of the bytes are the rest of one, if nothing waits.
    pub(crate) fn append(&mut self, bytes: &[u8], started: usize, spares: &mut Spares) {
        if self.is_empty() {
            self.started = started;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = spares.0.pop().unwrap_or_default();
        } else if self.at >= COMPACT_BYTES && self.at * 2 >= self.bytes.len() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes as much as the stream takes; how much that was.
    pub(crate) fn write(&mut self, stream: impl Write, writes: Writes, spares: &mut Spares) -> io::Result<usize> {
        let written = put(stream, &self.bytes[self.at..], writes, &mut self.started)?;
        self.at += written;
        if self.is_empty() {
            spares.keep(std::mem::take(self).bytes);
        }
        Ok(written)
    }
}

impl Spares {
    fn keep(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARES_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// Writes `bytes`, at once or frame by frame, until the stream takes no more; how much it took. The first `started` bytes are no whole
/// frame, and leave in one write; after it `started` says the same of what is left.
pub(crate) fn put(mut stream: impl Write, bytes: &[u8], writes: Writes, started: &mut usize) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        let rest = &bytes[written..];
        let piece = match writes {
            Writes::All => rest.len(),
            Writes::Each if *started > 0 => *started,
            Writes::Each => frame_len(rest),
        };
        match stream.write(&rest[..piece]) {
            Ok(taken) => {
                written += taken;
                *started = if writes == Writes::Each { piece - taken } else { 0 };
                if taken < piece {
                    break; // it is full: an edge will tell when it is not
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lines::{TEXT, push_frame};

    /// Takes so many bytes in all, in one write or in many.
    struct Taker<'a> {
        left: usize,
        taken: &'a mut Vec<u8>,
        calls: usize,
    }

    impl Write for Taker<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.left == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(self.left);
            self.taken.extend_from_slice(&bytes[..n]);
            self.left -= n;
            self.calls += 1;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frames(lens: &[usize]) -> Vec<u8> {
        let mut run = Vec::new();
        for len in lens {
            push_frame(&mut run, TEXT, &vec![b'x'; *len]);
        }
        run
    }

    #[test]
    fn each_frame_is_a_write_of_its_own_or_all_are_one() {
        let run = frames(&[5, 0, 300]);
        for (writes, calls) in [(Writes::Each, 3), (Writes::All, 1)] {
            let mut taken = Vec::new();
            let mut taker = Taker { left: usize::MAX, taken: &mut taken, calls: 0 };
            assert_eq!(put(&mut taker, &run, writes, &mut 0).unwrap(), run.len());
            assert_eq!(taker.calls, calls);
            assert_eq!(taken, run);
        }
    }

    proptest! {
        /// However little the stream takes at a time, and however much comes between: every byte leaves once, in order.
        #[test]
        fn nothing_is_lost_doubled_or_moved(
            steps in prop::collection::vec((prop::collection::vec(0usize..400, 0..4), 0usize..1_000), 1..40), each: bool,
        ) {
            let writes = if each { Writes::Each } else { Writes::All };
            let (mut pending, mut spares) = (Pending::default(), Spares::default());
            let (mut given, mut taken) = (Vec::new(), Vec::new());
            for (lens, left) in steps {
                let run = frames(&lens);
                given.extend_from_slice(&run);
                pending.append(&run, 0, &mut spares);
                let before = taken.len();
                let wrote = pending.write(Taker { left, taken: &mut taken, calls: 0 }, writes, &mut spares).unwrap();
                prop_assert_eq!(taken.len() - before, wrote);
                prop_assert_eq!(pending.len(), given.len() - taken.len());
            }
            pending.write(Taker { left: usize::MAX, taken: &mut taken, calls: 0 }, writes, &mut spares).unwrap();
            prop_assert_eq!(taken, given);
        }
    }
}
