//! What single values may be: text to value, or a message that says what to write instead.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::base::ident::is_identifier;
use crate::base::units::{format_duration, format_size, parse_duration, parse_size};

use super::MEMORY_BUDGET_LEAST;

/// What fits into the kernel's `sun_path` with its terminating zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address: write an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`"))
}

pub(super) fn loopback_address(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!("`{text}` is not on loopback: this listener asks for no token, so write `127.0.0.1:PORT` or `[::1]:PORT`"))
}

pub(super) fn socket_path(text: &str) -> Result<PathBuf, String> {
    match text.len() {
        0 => Err("the path is empty: write a file name, or leave the key out".to_owned()),
        n if n > SOCKET_PATH_BYTES_MAX => {
            Err(format!("`{text}` is longer than the {SOCKET_PATH_BYTES_MAX} bytes of a socket's path: shorten it"))
        }
        _ => Ok(PathBuf::from(text)),
    }
}

/// An http or https URL without a user's name or password: those are secrets, which come from files.
/// `secret_flag` names such a file.
pub(super) fn url(secret_flag: &'static str) -> impl Fn(&str) -> Result<String, String> {
    move |text| url_without_secrets(text, secret_flag)
}

fn url_without_secrets(text: &str, secret_flag: &str) -> Result<String, String> {
    let bad = || {
        format!(
            "`{}` is no URL: write http:// or https://, a host and a path, such as `http://127.0.0.1:9000/path`",
            without_userinfo(text)
        )
    };
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or_else(bad)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(format!("`{}` has a user's name or password: give the secret by {secret_flag}", without_userinfo(text)));
    }
    let host_ok = !authority.is_empty()
        && !authority.starts_with(':')
        && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b));
    if host_ok && text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains('#') { Ok(text.to_owned()) } else { Err(bad()) }
}

/// The URL of a Redis server, or of sentinels. A password has no place in it, because others can read our command line.
pub(super) fn redis_url(text: &str) -> Result<String, String> {
    let bad = || {
        format!(
            "`{}` is no URL of Redis: write redis://HOST:PORT/DB, or redis+sentinel://HOST:PORT,HOST:PORT/MASTER for the master that these sentinels know, or redis+cluster://HOST:PORT,HOST:PORT for a cluster with these servers; with TLS, rediss",
            without_userinfo(text)
        )
    };
    let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b));
    let is_host = |text: &str| !text.is_empty() && !text.starts_with(':') && is_name(text);
    let is_db = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') {
        return Err(format!("`{}` has a password: give it by --redis-password-file", without_userinfo(text)));
    }
    let is_sound = match scheme {
        "redis" | "rediss" => is_host(hosts) && is_name(user) && is_db(path),
        "redis+sentinel" | "rediss+sentinel" => {
            let (master, db) = path.split_once('/').unwrap_or((path, ""));
            user.is_empty() && hosts.split(',').all(is_host) && !master.is_empty() && is_name(master) && is_db(db)
        }
        "redis+cluster" | "rediss+cluster" => user.is_empty() && hosts.split(',').all(is_host) && path.is_empty(),
        _ => false,
    };
    if is_sound { Ok(text.to_owned()) } else { Err(bad()) }
}

/// The name of a stream: a part of the `event_id` that its entries get.
pub(super) fn stream(text: &str) -> Result<String, String> {
    const BYTES_MAX: usize = 100;
    if text.len() <= BYTES_MAX && is_identifier(text) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` cannot be the name of a stream here: write 1 to {BYTES_MAX} of A-Z a-z 0-9 _ . : % -"))
}

/// What may stand in a message: all but what stands before `@`.
fn without_userinfo(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => text.to_owned(),
    }
}

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a file name is empty: write a path, or leave the key out".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the path is empty: write a directory, or leave the key out".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn file_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777 && !digits.starts_with('+'));
    mode.ok_or_else(|| format!("`{text}` is no file mode: write octal digits up to 0777, such as `0660`"))
}

/// Where a relative name of a key file is sought beside the working directory.
#[derive(Clone, Copy, Default)]
pub(super) struct Places<'a> {
    /// The credentials that systemd passes; before anything else.
    pub credentials: Option<&'a Path>,
    /// The configuration file's directory; after all else: `tickerd check` finds there what is a credential to the service.
    pub configuration: Option<&'a Path>,
}

/// Looks a key file up.
pub(super) fn key_file(text: &str, places: Places<'_>) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a file name is empty: write the path of a key file".to_owned());
    }
    let given = PathBuf::from(text);
    if given.is_absolute() {
        return Ok(given);
    }
    let among = |dir: Option<&Path>| dir.map(|dir| dir.join(&given));
    let mut found = [among(places.credentials), Some(given.clone()), among(places.configuration)].into_iter().flatten();
    Ok(found.find(|path| path.is_file()).unwrap_or(given))
}

pub(super) fn nonempty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("the value is empty: write one, or leave the key out".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads an origin as browsers send it: lower case, no path, no default port.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let bad = || format!("`{text}` is no origin: write scheme, host and port as browsers send them, such as `https://desk.example`");
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or_else(bad)?;
    let authority = match scheme {
        "https" => authority.strip_suffix(":443").unwrap_or(authority),
        "http" => authority.strip_suffix(":80").unwrap_or(authority),
        _ => authority,
    };
    let scheme_ok =
        scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let host_ok = !authority.is_empty() && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b));
    if scheme_ok && host_ok { Ok(format!("{scheme}://{authority}")) } else { Err(bad()) }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("`{text}` is no switch: write `true` or `false`")),
    }
}

/// An integer within bounds.
pub(super) fn number<N>(bounds: RangeInclusive<N>) -> impl Fn(&str) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    move |text| {
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| format!("`{text}` does not fit: write an integer from {} to {}", bounds.start(), bounds.end()))
    }
}

/// A size within bounds.
pub(super) fn size(bounds: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> {
    move |text| {
        let size = parse_size(text)?;
        if bounds.contains(&size) {
            return Ok(size);
        }
        Err(format!("`{text}` does not fit: write a size from {} to {}", format_size(*bounds.start()), format_size(*bounds.end())))
    }
}

/// None, or a size that is not too small to work with.
pub(super) fn memory_budget(text: &str) -> Result<usize, String> {
    let budget = size(0..=1 << 40)(text)?;
    if budget == 0 || budget >= MEMORY_BUDGET_LEAST {
        return Ok(budget);
    }
    Err(format!("`{text}` does not fit: write 0 for no budget, or at least {}", format_size(MEMORY_BUDGET_LEAST)))
}

/// A duration within bounds.
pub(super) fn duration(bounds: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let duration = parse_duration(text)?;
        if bounds.contains(&duration) {
            return Ok(duration);
        }
        Err(format!(
            "`{text}` does not fit: write a duration from {} to {}",
            format_duration(*bounds.start()),
            format_duration(*bounds.end())
        ))
    }
}

/// One of a few names.
pub(super) fn name<T: Copy, const N: usize>(all: [T; N], name_of: fn(T) -> &'static str) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let found = all.into_iter().find(|item| name_of(*item) == text);
        found.ok_or_else(|| format!("`{text}` does not fit: write one of {}", all.map(name_of).join(", ")))
    }
}
