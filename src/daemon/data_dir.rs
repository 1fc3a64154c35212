//! The directory of `--data-dir`, one daemon's at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};

/// Of what is made in it: nobody else's business.
const FILE_MODE: u32 = 0o600;

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
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(path.join("lock")).map_err(told)?;
        lock.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(told)?; // a former version let others read it
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match io::Error::from(error) {
            error if error.kind() == io::ErrorKind::WouldBlock => {
                format!("the data directory {} is another tickerd's: stop that one, or give another --data-dir", path.display())
            }
            error => told(error),
        })?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// Whether it could be opened, without making or locking it: for `check`.
    pub(super) fn check(path: &Path) -> Result<(), String> {
        // The nearest directory that is there is where the rest would be made.
        let Some(there) = path.ancestors().find(|path| path.as_os_str().is_empty() || path.exists()) else { return Ok(()) };
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        access(there, Access::READ_OK | Access::EXEC_OK).map_err(io::Error::from).and_then(|()| probe(there)).map_err(|error| {
            let (path, there) = (path.display(), there.display());
            format!("cannot use the data directory {path}: nothing can be made in {there}: {error}; give --data-dir one that this user may write")
        })
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Makes a file, and removes it. Permissions alone do not tell: a file system may be read-only, or not for files at all.
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join(format!(".tickerd-check-{}", std::process::id()));
    OpenOptions::new().create_new(true).write(true).mode(FILE_MODE).open(&path)?;
    fs::remove_file(&path)
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
        let scratch = ScratchDir::new();
        let path = scratch.path().join("a/b");
        let held = DataDir::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(path.join("lock").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(DataDir::open(&path).unwrap_err().contains("another tickerd's"));
        drop(held);
        assert!(DataDir::open(&path).is_ok());
        std::fs::write(scratch.path().join("file"), "").unwrap();
        assert!(DataDir::open(&scratch.path().join("file")).unwrap_err().contains("--data-dir"));
    }

    /// OPS-05: also root may make nothing in `/proc`, whatever its permissions say.
    #[test]
    fn a_directory_is_checked_by_making_something_in_it() {
        let scratch = ScratchDir::new();
        DataDir::check(&scratch.path().join("a/b")).unwrap();
        assert_eq!(scratch.path().read_dir().unwrap().count(), 0, "nothing is left of it");
        let told = DataDir::check(Path::new("/proc/x/y")).unwrap_err();
        assert!(told.contains("/proc/x/y") && told.contains("nothing can be made in /proc:"), "{told}");
        std::fs::write(scratch.path().join("file"), "").unwrap();
        assert!(DataDir::check(&scratch.path().join("file")).is_err());
    }
}
