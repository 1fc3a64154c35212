//! `tickerd check`: would `serve` start with this, and with what values?

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::{self, Loaded, ServeArgs, Surroundings};
use crate::daemon;
use crate::net::tls::{self, Identity};

use super::{Failure, complain, emit};

/// No key file is longer; a JWKS of a large issuer has a few kilobytes.
const KEY_BYTES_MAX: u64 = 1 << 20;

/// Prints the effective configuration to stdout and what is doubtful to stderr.
pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let loaded = config::load(args, &Surroundings::of_process())?;
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    let keys = key_lines(&loaded)?;
    let read = daemon::load(&loaded.config)?;
    for note in read.notes() {
        complain(&format!("warning: {note}"));
    }
    let tls = tls_lines(&loaded, read.certificates());
    emit(&mut io::stdout(), format!("{}\n{keys}{tls}", loaded.show()).as_bytes())
}

/// NET-02: what is offered to clients, and with which certificates.
fn tls_lines(loaded: &Loaded, certificates: &[Identity]) -> String {
    if certificates.is_empty() {
        return "# tls: none, plaintext is served\n".to_owned();
    }
    let mut lines = Vec::new();
    for version in ["TLS 1.3", "TLS 1.2"] {
        let suites = tls::offered().filter(|(of, _)| *of == version).map(|(_, suite)| suite).collect::<Vec<_>>();
        lines.push(format!("# tls: {version}, the preferred suite first: {}\n", suites.join(", ")));
    }
    for (identity, files) in certificates.iter().zip(&loaded.config.tls) {
        let (file, names) = (files.certificate.display(), identity.names.join(", "));
        lines.push(format!("# certificate {file}: {}; for {names}; expires {}\n", identity.subject, identity.not_after));
    }
    lines.concat()
}

/// One comment line for each key file; all that cannot be read are told at once.
fn key_lines(loaded: &Loaded) -> Result<String, Failure> {
    let config = &loaded.config;
    let paths = config.jwt_keys.iter().chain(config.issuers.iter().flat_map(|issuer| &issuer.keys));
    let (good, bad): (Vec<_>, Vec<_>) = paths.map(|path| key_line(path)).partition(Result::is_ok);
    if bad.is_empty() {
        return Ok(good.into_iter().flatten().collect());
    }
    Err(Failure::Usage(bad.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("\n")))
}

fn key_line(path: &Path) -> Result<String, String> {
    let name = path.display();
    let unreadable = |e: io::Error| format!("jwt_key: cannot read {name}: {e}");
    let file = fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    let mut bytes = Vec::new();
    let length = file.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if length == 0 || length as u64 > KEY_BYTES_MAX {
        return Err(format!("jwt_key: {name} has {length} bytes or more: a key file has 1 to {KEY_BYTES_MAX}"));
    }
    let note = if mode & 0o004 == 0 { "" } else { "; every user may read it: right for a public key, wrong for a secret" };
    Ok(format!("# key {name}: {length} bytes, mode {mode:04o}{note}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_told_by_size_and_mode_and_never_by_content() {
        let path = std::env::temp_dir().join(format!("tickerd-check-key-{}", std::process::id()));
        fs::write(&path, "hush-hush").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let line = key_line(&path).unwrap();
        assert!(line.contains("9 bytes, mode 0644; every user may read it") && !line.contains("hush"), "{line}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!key_line(&path).unwrap().contains("every user"));
        fs::write(&path, "").unwrap();
        assert!(key_line(&path).unwrap_err().contains(path.to_str().unwrap()));
        fs::remove_file(&path).unwrap();
        assert!(key_line(&path).unwrap_err().contains("cannot read"));
    }
}
