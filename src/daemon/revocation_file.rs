//! Revocations on disk: one JSON object a line, appended and synced before it is said that they are kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::auth::{Revocation, Revocations};
use crate::base::limits::REVOCATIONS_MAX;

use super::data_dir::sync_parent;

/// More than as many revocations as there may be can fill.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Lines that may be there beyond those that hold before the file is written anew.
const STALE_LINES_MAX: usize = 1024;

/// A file of revocations, open for more.
#[derive(Debug)]
pub(super) struct RevocationFile {
    path: PathBuf,
    file: File,
    lines: usize,
    /// An append has failed: what the end of the file is like is not known, and something may be missing.
    broken: bool,
}

/// What a file has.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The revocations that hold.
    pub(super) list: Revocations,
    lines: usize,
    /// Bytes behind the last whole line: an append that was cut off by a crash, and was never said to be kept.
    pub(super) torn_bytes: usize,
}

/// Reads a file, which need not be there. A line that cannot be read refuses it: a revocation that is lost is a token that is good again.
pub(super) fn read(path: &Path, now_s: u64) -> Result<Content, String> {
    let told = |why: &dyn std::fmt::Display| format!("cannot read the revocations in {}: {why}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        opened => opened.map_err(|error| told(&error))?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| told(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(told(&format!("it is longer than {FILE_BYTES_MAX} bytes, so it is no file of ours")));
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut content = Content { torn_bytes: bytes.len() - whole, ..Content::default() };
    for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
        content.lines += 1;
        let problem = |why: &str| format!("{}:{}: {why}; mend the line or take it out", path.display(), content.lines);
        let revocation = Revocation::parse(line, now_s).map_err(|why| problem(&why))?;
        // Those that have ended may be more than there may be.
        content.list.insert(&revocation, now_s, REVOCATIONS_MAX).map_err(|_| problem("there are more revocations than there may be"))?;
    }
    content.list.forget_ended(now_s);
    Ok(content)
}

impl RevocationFile {
    /// Opens the file of which `content` was read, and writes it anew if it has more than what holds.
    pub(super) fn open(path: PathBuf, content: &Content) -> Result<RevocationFile, String> {
        let told = |error: io::Error| format!("cannot write the revocations to {}: {error}", path.display());
        let file = if content.torn_bytes > 0 || content.lines != content.list.len() {
            rewrite(&path, &content.list).map_err(told)?
        } else {
            let file = open(&path).map_err(told)?;
            sync_parent(&path).map_err(told)?;
            file
        };
        Ok(RevocationFile { path, file, lines: content.list.len(), broken: false })
    }

    /// Adds one, which `list` has already. When this returns without an error it survives a crash.
    pub(super) fn append(&mut self, revocation: &Revocation, list: &Revocations) -> io::Result<()> {
        if self.broken || self.lines > list.len() + STALE_LINES_MAX {
            self.broken = true;
            self.file = rewrite(&self.path, list)?;
            (self.lines, self.broken) = (list.len(), false);
            return Ok(());
        }
        self.broken = true;
        self.file.write_all(format!("{}\n", revocation.to_json()).as_bytes())?;
        self.file.sync_data()?;
        (self.lines, self.broken) = (self.lines + 1, false);
        Ok(())
    }

    /// Whether the last append failed, so that the next call must be made even for what is known.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Writes all that holds to another file, which then takes this one's place: a crash leaves either of them whole.
fn rewrite(path: &Path, list: &Revocations) -> io::Result<File> {
    let other = path.with_extension("ndjson.new");
    let text: String = list.iter().map(|revocation| revocation.to_json() + "\n").collect();
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&other)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&other, path)?;
    sync_parent(path)?;
    open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::ScratchDir;
    use super::*;
    use crate::auth::Whom;

    const NOW_S: u64 = 1_800_000_000;
    const MONTH_S: u64 = 30 * 24 * 3600;

    fn token(id: &str, until_s: Option<u64>) -> Revocation {
        Revocation { whom: Whom::Token(id.into()), until_s }
    }

    /// A daemon's start with that file.
    fn start(path: &Path, now_s: u64) -> (Revocations, RevocationFile) {
        let content = read(path, now_s).unwrap();
        let file = RevocationFile::open(path.to_owned(), &content).unwrap();
        (content.list, file)
    }

    fn add(list: &mut Revocations, file: &mut RevocationFile, revocation: &Revocation) {
        list.insert(revocation, NOW_S, 1_000_000).unwrap();
        file.append(revocation, list).unwrap();
    }

    fn texts(list: &Revocations) -> Vec<String> {
        let mut texts: Vec<_> = list.iter().map(|revocation| revocation.to_json()).collect();
        texts.sort();
        texts
    }

    /// AUT-07: what was kept is there after the next start, and the one after that.
    #[test]
    fn what_is_appended_is_there_after_a_restart() {
        let scratch = ScratchDir::new();
        let path = scratch.path().join("revocations.ndjson");
        let (mut list, mut file) = start(&path, NOW_S);
        assert!(list.is_empty());
        add(&mut list, &mut file, &token("t1", None));
        add(&mut list, &mut file, &Revocation { whom: Whom::User { name: "é\n".into(), issued_before_s: 7 }, until_s: Some(NOW_S) });
        for _ in 0..2 {
            let (again, mut file) = start(&path, NOW_S);
            assert_eq!(texts(&again), texts(&list));
            add(&mut list, &mut file, &token("t2", None));
        }
    }

    /// A crash in the middle of an append, at whatever byte, costs that line alone, and what follows is whole again.
    #[test]
    fn a_torn_tail_is_left_out_wherever_it_is_torn() {
        let scratch = ScratchDir::new();
        let path = scratch.path().join("revocations.ndjson");
        let line = |id: &str| token(id, None).to_json() + "\n";
        let torn = line("t2");
        for cut in 0..torn.len() {
            fs::write(&path, line("t1") + &torn[..cut]).unwrap();
            let content = read(&path, NOW_S).unwrap();
            assert_eq!((texts(&content.list).len(), content.torn_bytes), (1, cut));
            let (mut list, mut file) = start(&path, NOW_S);
            add(&mut list, &mut file, &token("t3", None));
            let mut kept: Vec<_> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
            kept.sort();
            assert_eq!(kept, texts(&list));
            assert_eq!(kept.len(), 2);
        }
    }

    /// A line in the middle that cannot be read is not passed over: the token that it names would be good again.
    #[test]
    fn a_damaged_line_is_told_with_its_number() {
        let scratch = ScratchDir::new();
        let path = scratch.path().join("revocations.ndjson");
        for damaged in ["{\"jti\":\"t", "", "\0\0\0", "{\"jit\":\"t2\"}", "\u{fffd}"] {
            fs::write(&path, format!("{{\"jti\":\"t1\"}}\n{damaged}\n{{\"jti\":\"t3\"}}\n")).unwrap();
            assert!(read(&path, NOW_S).unwrap_err().contains("revocations.ndjson:2: "), "{damaged}");
        }
    }

    #[test]
    fn what_has_ended_or_is_said_twice_goes_at_the_start() {
        let scratch = ScratchDir::new();
        let path = scratch.path().join("revocations.ndjson");
        let (mut list, mut file) = start(&path, NOW_S);
        add(&mut list, &mut file, &token("ends", Some(NOW_S)));
        add(&mut list, &mut file, &token("holds", Some(NOW_S + 2 * MONTH_S)));
        add(&mut list, &mut file, &token("holds", None));
        drop(start(&path, NOW_S + MONTH_S));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"jti\":\"holds\"}\n");
    }

    /// A file that says the same again and again does not grow for ever, also while the daemon runs.
    #[test]
    fn the_file_is_written_anew_when_most_of_it_is_stale() {
        let scratch = ScratchDir::new();
        let path = scratch.path().join("revocations.ndjson");
        let (mut list, mut file) = start(&path, NOW_S);
        for before_s in 1..=(STALE_LINES_MAX as u32 + 10) {
            add(&mut list, &mut file, &Revocation { whom: Whom::User { name: "u1".into(), issued_before_s: before_s }, until_s: None });
        }
        assert!(fs::read_to_string(&path).unwrap().lines().count() < 20);
        assert_eq!(texts(&read(&path, NOW_S).unwrap().list), texts(&list));
    }

    /// After a failed append the next one writes everything anew, so that nothing is missing and no line is joined to half of another.
    #[test]
    fn what_failed_to_be_written_is_written_with_the_next() {
        let scratch = ScratchDir::new();
        let path = scratch.path().join("revocations.ndjson");
        let (mut list, mut file) = start(&path, NOW_S);
        add(&mut list, &mut file, &token("t1", None));
        file.file = File::open(&path).unwrap(); // not for writing
        list.insert(&token("t2", None), NOW_S, 10).unwrap();
        file.append(&token("t2", None), &list).unwrap_err();
        assert!(file.is_broken());
        add(&mut list, &mut file, &token("t3", None));
        assert!(!file.is_broken());
        assert_eq!(texts(&read(&path, NOW_S).unwrap().list), texts(&list));
        assert_eq!(list.len(), 3);
    }
}
