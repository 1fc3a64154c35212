//! The alerts that fire, on disk: what the last run has told as firing is not, perhaps, when the daemon starts again, and who reads `system:alerts` is to hear that.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::ops::alerts::{ALERTS, Definition};

use super::data_dir::sync_parent;

/// A list of names, one a line; nothing without a data directory.
#[derive(Debug, Default)]
pub(super) struct FiringFile {
    path: Option<PathBuf>,
    /// What is in it.
    names: Vec<&'static str>,
    /// The disk did not take the last change, which was told.
    is_failing: bool,
}

impl FiringFile {
    /// Opens it, and says what it has. Names that this version does not know, and a file that cannot be read, count for nothing: no more than a word is lost.
    pub(super) fn open(path: Option<PathBuf>) -> (FiringFile, Vec<&'static Definition>) {
        let text = path.as_deref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let firing: Vec<_> = ALERTS.iter().filter(|definition| text.lines().any(|line| line == definition.name)).collect();
        (FiringFile { path, names: firing.iter().map(|definition| definition.name).collect(), is_failing: false }, firing)
    }

    /// Keeps these, if they are others. What is wrong is said once; the next call tries again.
    pub(super) fn keep(&mut self, names: Vec<&'static str>) -> io::Result<()> {
        let kept = self.path.as_deref().filter(|_| self.names != names).map_or(Ok(()), |path| write(path, &names));
        let was_failing = std::mem::replace(&mut self.is_failing, kept.is_err());
        match kept {
            Ok(()) => self.names = names,
            Err(error) if !was_failing => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }
}

/// Writes another file, which takes this one's place: a crash leaves either of them whole.
fn write(path: &Path, names: &[&str]) -> io::Result<()> {
    let other = path.with_extension("new");
    let text = names.iter().flat_map(|name| [*name, "\n"]).collect::<String>();
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&other)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&other, path)?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::super::testing::ScratchDir;
    use super::*;

    #[test]
    fn what_fires_is_known_to_the_next_start() {
        let scratch = ScratchDir::new();
        let path = scratch.path().join("alerts");
        let (mut file, firing) = FiringFile::open(Some(path.clone()));
        assert!(firing.is_empty() && !path.exists());
        file.keep(Vec::new()).unwrap();
        assert!(!path.exists(), "nothing is written for nothing");
        file.keep(vec!["disk_filling", "audit_lost"]).unwrap();
        let names = |path: &Path| FiringFile::open(Some(path.to_owned())).1.iter().map(|definition| definition.name).collect::<Vec<_>>();
        assert_eq!(names(&path), ["disk_filling", "audit_lost"], "in the order of the table");
        fs::write(&path, "audit_lost\nof_a_later_version\n").unwrap();
        assert_eq!(names(&path), ["audit_lost"]);
        fs::write(&path, b"audit_lost\n\xff").unwrap();
        assert!(names(&path).is_empty());
        file.keep(Vec::new()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        let (mut gone, _) = FiringFile::open(Some(scratch.path().join("no/such")));
        assert!(gone.keep(vec!["audit_lost"]).is_err() && gone.keep(vec!["audit_lost"]).is_ok(), "said once");
        let (mut nowhere, _) = FiringFile::open(None);
        nowhere.keep(vec!["audit_lost"]).unwrap();
    }
}
