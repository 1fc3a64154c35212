//! Where the demo keeps its files: a fresh private directory with a key, a token and the publish socket, removed at the end.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::auth::{MintClaims, Scope, SigningKey, mint};
use crate::cli::token::random_text;

/// Longer than anybody watches a demo.
const TOKEN_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
const SECRET_BYTES: usize = 32;
const NAME_BYTES: usize = 4;

/// The directory.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    token: String,
}

impl Place {
    /// Makes the directory (mode 0700) under `parent`, a key and tokens in it (mode 0600).
    pub(super) fn make(parent: &Path, now_s: u64) -> Result<Place, String> {
        let dir = parent.join(format!("tickerd-demo-{}", random_text::<NAME_BYTES>()?));
        let cannot = |error: io::Error| format!("cannot make the demo's directory {}: {error}; set TMPDIR to another place", dir.display());
        DirBuilder::new().mode(0o700).create(&dir).map_err(cannot)?;
        let mut place = Place { dir: dir.clone(), token: String::new() };
        let secret = random_text::<SECRET_BYTES>()?;
        place.token = token(&secret, now_s)?;
        let header = format!("Authorization: Bearer {}\n", place.token);
        for (path, text) in [(place.key_path(), &secret), (place.token_path(), &place.token), (place.header_path(), &header)] {
            write_private(&path, text).map_err(cannot)?;
        }
        Ok(place)
    }

    /// Where all of it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A token that reads all rooms of the desk, publishes, and opens the operator's view.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The daemon's key.
    pub(super) fn key_path(&self) -> PathBuf {
        self.dir.join("key")
    }

    /// A file with the token.
    pub(super) fn token_path(&self) -> PathBuf {
        self.dir.join("token")
    }

    /// A file with the token as an HTTP header, for `curl -H @FILE`: so that it shows in no list of processes.
    pub(super) fn header_path(&self) -> PathBuf {
        self.dir.join("header")
    }

    /// Where the daemon listens for the demo's publisher.
    pub(super) fn socket_path(&self) -> PathBuf {
        self.dir.join("publish.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("tickerd: cannot remove {}: {error}", self.dir.display());
        }
    }
}

fn token(secret: &str, now_s: u64) -> Result<String, String> {
    let key = SigningKey::read("the demo's key", secret.as_bytes()).map_err(|error| error.to_string())?;
    let claims = MintClaims {
        sub: "desk".to_owned(),
        rooms: ["challenge:*", "account:*", "market:*"].map(str::to_owned).to_vec(),
        scopes: vec![Scope::Publish, Scope::Admin],
        issued_at_s: now_s,
        expires_at_s: now_s + TOKEN_TTL.as_secs(),
        ..MintClaims::default()
    };
    mint(&key, &claims).map_err(|error| error.to_string())
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::auth::{KeySet, Verifier, VerifyOptions};

    #[test]
    fn the_files_are_private_and_go_away() {
        let place = Place::make(&std::env::temp_dir(), 1_000).unwrap();
        let dir = place.dir.clone();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!([place.key_path(), place.token_path(), place.header_path()].map(|path| mode(&path)), [0o600; 3]);
        drop(place);
        assert!(!dir.exists());
    }

    #[test]
    fn the_token_is_one_that_the_daemon_takes() {
        let place = Place::make(&std::env::temp_dir(), 1_000).unwrap();
        let mut keys = KeySet::default();
        keys.add("key", &fs::read(place.key_path()).unwrap()).unwrap();
        let verifier = Verifier::new(keys, VerifyOptions::default());
        let grants = verifier.verify(&fs::read_to_string(place.token_path()).unwrap(), 1_000_000).unwrap();
        assert!(grants.may_read("challenge:c01") && grants.may_read("market:WTI") && grants.may_publish("challenge:c01"));
        assert!(!grants.may_read("user:somebody"));
    }

    #[test]
    fn a_parent_that_is_not_there_is_named() {
        let error = Place::make(Path::new("/nonexistent/parent"), 0).unwrap_err();
        assert!(error.contains("/nonexistent/parent") && error.contains("TMPDIR"), "{error}");
    }
}
