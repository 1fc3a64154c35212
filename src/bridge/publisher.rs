//! The way in for what publishes from inside the process: a pair of sockets, of which a reactor serves the other end as it serves any publisher. So
//! there is one way of publishing, with its checks, its answers and its bounds.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::entries::fate;

pub use super::entries::{Fate, Refused};

/// How long the daemon may take to answer lines.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Gives one end of a pair of sockets, the other end of which is a publisher of this daemon.
pub type Publish = Box<dyn Fn() -> io::Result<UnixStream> + Send>;

/// The way in, while it is good: after an error another one is wanted.
pub struct Publisher {
    lines: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Publisher {
    /// One that uses a new pair.
    pub fn new(publish: &Publish) -> io::Result<Publisher> {
        let lines = publish()?;
        lines.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        lines.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Publisher { answers: BufReader::new(lines.try_clone()?), lines })
    }

    /// Writes the lines, fewer than the daemon's credit allows, each with its end; reads as many answers.
    pub fn publish<'l>(&mut self, lines: impl Iterator<Item = &'l [u8]>) -> io::Result<Vec<Fate>> {
        let mut written = 0;
        for line in lines {
            self.lines.write_all(line)?;
            written += 1;
        }
        let (mut answer, mut fates) = (Vec::new(), Vec::with_capacity(written));
        for _ in 0..written {
            answer.clear();
            self.answers.read_until(b'\n', &mut answer)?;
            fates.push(fate(&answer).ok_or_else(|| io::Error::other("the daemon itself ended the connection"))?);
        }
        Ok(fates)
    }
}
