//! `tickerd check`: would `serve` start with this, with what values, and is this machine ready for it?

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::{self, Loaded, ServeArgs, Surroundings};
use crate::daemon;
use crate::net::clock::Clock;
use crate::net::tls::{self, Identity};

use super::checklist::{Facts, checklist};
use super::{Failure, complain, emit};

/// No key file is longer; a JWKS of a large issuer has a few kilobytes.
const KEY_BYTES_MAX: u64 = 1 << 20;

/// Prints the effective configuration and the checklist to stdout, and what is doubtful to stderr.
pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let surroundings = Surroundings::of_process();
    let loaded = config::load(args, &surroundings)?;
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    let keys = key_lines(&loaded)?;
    let read = daemon::load(&loaded.config)?;
    for note in read.notes() {
        complain(&format!("warning: {note}"));
    }
    let tls = tls_lines(&loaded, read.certificates());
    let facts = facts(&loaded, &surroundings, read.certificates());
    let items = checklist(&loaded.config, &facts).iter().map(|item| format!("# {item}\n")).collect::<Vec<_>>().concat();
    emit(&mut io::stdout(), format!("{}\n{keys}{tls}\n{items}", loaded.show()).as_bytes())
}

/// What the checklist is held against.
fn facts(loaded: &Loaded, surroundings: &Surroundings, certificates: &[Identity]) -> Facts {
    let now_s = Clock::start().now().wall_ms / 1000;
    let expires_s = certificates.iter().map(|identity| identity.not_after_s).min();
    let open = |path: &&PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0) && is_secret(path);
    Facts {
        open_secrets: key_files(loaded).filter(open).map(|path| path.display().to_string()).collect(),
        certificate_days: expires_s.map(|at_s| at_s.saturating_sub(now_s) / (24 * 3600)),
        descriptors_needed: loaded.descriptors_needed,
        descriptors_max: surroundings.descriptors_max,
        somaxconn: fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok()),
        memory_bytes: fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_bytes(&text)),
        cores: surroundings.cores,
        is_root: rustix::process::geteuid().is_root(),
    }
}

/// The first line of `/proc/meminfo`.
fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = meminfo.lines().next()?.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Whether the file is one that must not be read by others: all but public keys and JWKS without secrets.
fn is_secret(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let is_public = text.contains("-----BEGIN PUBLIC KEY-----") || text.contains("-----BEGIN CERTIFICATE-----");
    let is_public_jwks = text.trim_start().starts_with('{') && !text.contains("\"oct\"");
    !is_public && !is_public_jwks
}

fn key_files(loaded: &Loaded) -> impl Iterator<Item = &PathBuf> {
    let config = &loaded.config;
    config.jwt_keys.iter().chain(config.issuers.iter().flat_map(|issuer| &issuer.keys))
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
    let (good, bad): (Vec<_>, Vec<_>) = key_files(loaded).map(|path| key_line(path)).partition(Result::is_ok);
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
    fn the_machines_memory_is_read() {
        assert_eq!(memory_bytes("MemTotal:       24107512 kB\nMemFree: 1 kB\n"), Some(24_107_512 * 1024));
        assert_eq!(memory_bytes("MemFree: 1 kB\n"), None);
    }

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
