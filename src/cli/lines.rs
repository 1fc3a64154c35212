//! Lines from a stream, each within a limit, however long the input makes them.

use std::io::{self, BufRead, BufReader, Read};

/// What [`Lines::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Whole,
    /// A line beyond the limit; its rest was skipped.
    TooLong,
    /// No more lines.
    End,
}

/// A reader of lines.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    bytes_max: usize,
    /// Lines read so far, blank and too long ones included.
    pub(super) number: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R, bytes_max: usize) -> Lines<R> {
        Lines { input: BufReader::with_capacity(64 * 1024, input), bytes_max, number: 0 }
    }

    /// Reads the next line that is not blank into `line`, replacing what it held.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        loop {
            let found = self.any(line)?;
            if found != Line::Whole || !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(found);
            }
        }
    }

    /// Whether another line can be had without waiting for the input.
    pub(super) fn ready(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    fn any(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        let mut seen = 0;
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() && seen == 0 {
                return Ok(Line::End);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(chunk.len());
            let room = (self.bytes_max + 1).saturating_sub(line.len());
            line.extend_from_slice(&chunk[..taken.min(room)]);
            // A last line may lack its end.
            let done = end.is_some() || chunk.is_empty();
            let used = taken + usize::from(end.is_some());
            self.input.consume(used);
            seen += used;
            if done {
                self.number += 1;
                return Ok(if line.len() > self.bytes_max { Line::TooLong } else { Line::Whole });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], bytes_max: usize) -> Vec<Option<String>> {
        let mut lines = Lines::new(text, bytes_max);
        let mut line = Vec::new();
        let mut all = Vec::new();
        loop {
            match lines.next(&mut line).unwrap() {
                Line::Whole => all.push(Some(String::from_utf8(line.clone()).unwrap())),
                Line::TooLong => all.push(None),
                Line::End => return all,
            }
        }
    }

    fn whole(lines: &[&str]) -> Vec<Option<String>> {
        lines.iter().map(|line| Some((*line).to_owned())).collect()
    }

    #[test]
    fn lines_come_without_their_ends_and_blank_ones_not_at_all() {
        assert_eq!(read(b"a\n\n  \r\nb\nlast", 10), whole(&["a", "b", "last"]));
        assert_eq!(read(b"", 10), whole(&[]));
        assert_eq!(read(b"\n", 10), whole(&[]));
    }

    /// LIM-04: whatever the input's length, memory stays within the limit, and the next line is found again.
    #[test]
    fn a_line_beyond_the_limit_is_skipped_whole() {
        assert_eq!(read(b"1234\n12345\n1\n", 4), [Some("1234".to_owned()), None, Some("1".to_owned())]);
        let mut long = vec![b'x'; 300 * 1024];
        long.extend_from_slice(b"\nshort\n");
        assert_eq!(read(&long, 64), [None, Some("short".to_owned())]);
        let mut line = Vec::new();
        Lines::new(long.as_slice(), 64).next(&mut line).unwrap();
        assert!(line.len() <= 65);
    }

    #[test]
    fn ready_means_that_no_waiting_is_needed() {
        let mut lines = Lines::new(b"a\nb\nc".as_slice(), 10);
        let mut line = Vec::new();
        assert!(!lines.ready());
        lines.next(&mut line).unwrap();
        assert!(lines.ready());
        lines.next(&mut line).unwrap();
        assert!(!lines.ready());
        assert_eq!(lines.number, 2);
    }
}
