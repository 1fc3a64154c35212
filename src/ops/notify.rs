//! What the service manager is told (`sd_notify(3)`): one datagram for each thing. Without one, nothing.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment of this process says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn of_process() -> Notifier {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Notifier::default() };
        let manager = connect(&path);
        if let Err(error) = &manager {
            tracing::warn!(event = "notify_failed", ?path, %error, "the service manager is not told anything: is $NOTIFY_SOCKET right?");
        }
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| *us > 0 && is_for_us).map(Duration::from_micros);
        Notifier { manager: manager.ok(), watchdog }
    }

    /// How long the service manager waits for a sign of life, if it does.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it something, such as `READY=1`. It is not waited for.
    pub fn tell(&self, what: &str) {
        let Some((socket, manager)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(what.as_bytes(), manager) {
            tracing::warn!(event = "notify_failed", what, %error, "the service manager was not told");
        }
    }

    /// A sign of life, if it waits for one.
    pub fn feed(&self) {
        if self.watchdog.is_some() {
            self.tell("WATCHDOG=1");
        }
    }
}

/// A name that begins with `@` is one in the abstract namespace.
fn connect(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_manager_tells_nobody() {
        let notifier = Notifier::default();
        notifier.tell("READY=1");
        assert_eq!(notifier.watchdog(), None);
    }

    #[test]
    fn a_datagram_goes_to_an_abstract_name_too() {
        let name = format!("tickerd/notify/{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notifier =
            Notifier { manager: Some(connect(OsStr::new(&format!("@{name}"))).unwrap()), watchdog: Some(Duration::from_secs(3)) };
        notifier.tell("READY=1");
        notifier.feed();
        let mut buffer = [0; 64];
        let mut heard = || {
            let len = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..len].to_vec()).unwrap()
        };
        assert_eq!((heard(), heard()), ("READY=1".to_owned(), "WATCHDOG=1".to_owned()));
    }
}
