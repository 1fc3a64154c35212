//! Certificate files: read, looked after while they are served, and read again.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::config::TlsFiles;
use crate::net::tls::{self, Certificates, Fault, Identity, ServerTls};

/// Certificates that expire sooner than this are warned of.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// Reads all; an error names each file that is bad and what is wrong with it. Beside them, what is doubtful.
pub(super) fn read(files: &[TlsFiles]) -> Result<(Vec<Identity>, Vec<String>), String> {
    let (mut identities, mut notes, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for files in files {
        match read_one(files) {
            Ok(identity) => identities.push(identity),
            Err(fault) => faults.push(fault),
        }
        notes.extend(note_of(&files.key));
    }
    if faults.is_empty() { Ok((identities, notes)) } else { Err(faults.join("\n")) }
}

fn read_one(files: &TlsFiles) -> Result<Identity, String> {
    let chain = read_file("--tls-cert", &files.certificate)?;
    let key = read_file("--tls-key", &files.key)?;
    tls::load(&chain, &key, now_s()).map_err(|fault| match fault {
        Fault::Chain(what) => format!("--tls-cert {}: {what}", files.certificate.display()),
        Fault::Key(what) => format!("--tls-key {}: {what}", files.key.display()),
    })
}

fn read_file(flag: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{flag}: cannot read {}: {error}; give a file that this user may read", path.display()))
}

fn note_of(key: &Path) -> Option<String> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode() & 0o777;
    let all_may = mode & 0o004 != 0;
    all_may.then(|| format!("--tls-key {}: every user of this machine may read it (mode {mode:04o}): chmod 600", key.display()))
}

/// Logs what is doubtful.
pub(super) fn tell(notes: &[String]) {
    for note in notes {
        tracing::warn!(event = "certificate_doubtful", "{note}");
    }
}

fn now_s() -> u64 {
    // A clock before 1970 is one that nobody has set: no certificate is valid then.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The certificates that are served, and where they came from.
pub(super) struct Served {
    /// In the order of the certificates.
    files: Mutex<Vec<TlsFiles>>,
    certificates: Arc<Certificates>,
}

impl Served {
    /// Nothing if there are none: plaintext is served then.
    pub(super) fn new(files: Vec<TlsFiles>, identities: Vec<Identity>) -> Option<Served> {
        (!identities.is_empty()).then(|| Served { files: Mutex::new(files), certificates: Arc::new(Certificates::new(identities)) })
    }

    /// What reactors need to serve them.
    pub(super) fn tls(&self) -> Result<ServerTls, String> {
        ServerTls::new(Arc::clone(&self.certificates)).map_err(|error| format!("cannot set TLS up: {error}"))
    }

    /// Serves these, which came from those files, from the next handshake on.
    pub(super) fn replace(&self, files: Vec<TlsFiles>, identities: Vec<Identity>) {
        *self.files.lock() = files;
        self.certificates.replace(identities);
    }

    /// Until the first of them expires; 0 when it has.
    pub(super) fn expires_in_s(&self) -> u64 {
        self.certificates.expires_at_s().saturating_sub(now_s())
    }

    /// Tells in the log what is served, and what expires soon.
    pub(super) fn warn_of_expiry(&self) {
        for (identity, files) in self.certificates.identities().iter().zip(self.files.lock().iter()) {
            let left_s = identity.not_after_s.saturating_sub(now_s());
            let (file, days) = (files.certificate.display(), left_s / (24 * 3600));
            if left_s < EXPIRY_WARNING.as_secs() {
                tracing::warn!(event = "certificate_expires", %file, days, at = identity.not_after, "renew it, and send SIGHUP");
            } else {
                tracing::info!(event = "certificate", %file, days, subject = identity.subject, names = ?identity.names);
            }
        }
    }
}
