//! The unix socket for publishers on this machine. Its file mode is the gate: no token is asked for.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::net::listener::Listener;

/// Binds it, in the place of one that a daemon left behind without anyone listening.
pub(super) fn bind(path: &Path, mode: u32) -> Result<Listener, String> {
    let complain = |error: io::Error| format!("cannot listen on the publish socket {}: {error}", path.display());
    clear_the_way(path)?;
    // Nobody may connect between the bind and the chmod: the socket is made under a mask that gives nothing away.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = bound.map_err(complain)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(complain)?;
    listener.set_nonblocking(true).map_err(complain)?;
    Ok(Listener::from_unix(listener))
}

/// Removes it at the end.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(event = "publish_socket_left", path = %path.display(), %error);
    }
}

fn clear_the_way(path: &Path) -> Result<(), String> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(format!(
            "cannot listen on the publish socket {}: a file is there that is no socket; remove it or give another path",
            path.display()
        ));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(format!("cannot listen on the publish socket {}: another process does; give another path", path.display())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| format!("cannot remove the stale publish socket {}: {error}", path.display()))
        }
        Err(error) => Err(format!("cannot tell whether the publish socket {} is in use: {error}", path.display())),
    }
}
