//! The directory of `--data-dir`, one daemon's at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};

/// The directory, and the lock on it, which the kernel frees when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, for this user alone, and locks it.
    pub(super) fn open(path: &Path) -> Result<DataDir, String> {
        let told = |error: io::Error| {
            format!("cannot use the data directory {}: {error}; give --data-dir one that this user may write", path.display())
        };
        make(path).map_err(told)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).map_err(told)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match io::Error::from(error) {
            error if error.kind() == io::ErrorKind::WouldBlock => {
                format!("the data directory {} is another tickerd's: stop that one, or give another --data-dir", path.display())
            }
            error => told(error),
        })?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// Whether it could be opened, without making or locking anything: for `check`.
    pub(super) fn check(path: &Path) -> Result<(), String> {
        // The nearest directory that is there is where the rest would be made.
        let Some(there) = path.ancestors().find(|path| path.exists()) else { return Ok(()) };
        let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        access(there, needed).map_err(|error| {
            let error = io::Error::from(error);
            format!("cannot use the data directory {}: {error}; give --data-dir one that this user may write", path.display())
        })
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Makes the directory, and those above it, if they are not there; their names last, or all that is in them would be gone with the power.
fn make(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    path.ancestors().take(missing).try_for_each(sync_parent)
}

/// Makes what happened to a directory's names last: a file that was renamed into it.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::testing::ScratchDir;
    use super::*;

    #[test]
    fn a_directory_is_made_for_this_user_and_locked_until_it_is_given_back() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = ScratchDir::new();
        let path = scratch.path().join("a/b");
        let held = DataDir::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(DataDir::open(&path).unwrap_err().contains("another tickerd's"));
        drop(held);
        assert!(DataDir::open(&path).is_ok());
        std::fs::write(scratch.path().join("file"), "").unwrap();
        assert!(DataDir::open(&scratch.path().join("file")).unwrap_err().contains("--data-dir"));
    }
}
