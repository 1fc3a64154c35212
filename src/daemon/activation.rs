//! Sockets that a service manager has opened for us (`sd_listen_fds(3)`), so that a restart refuses no connection. Each stands in for binding the
//! address, or path, of the configuration that it is bound to; one that the configuration does not have is an error.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Socket, Type};

use crate::net::sys;

/// Sockets that were passed and not taken yet.
#[derive(Debug, Default)]
pub(super) struct Passed {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<(PathBuf, UnixListener)>,
}

impl Passed {
    /// Those that the environment of this process tells of: `LISTEN_FDS`, `LISTEN_PID`.
    pub(super) fn of_process() -> Result<Passed, String> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        let is_for_us = number("LISTEN_PID") == Some(std::process::id());
        let count = number("LISTEN_FDS").filter(|_| is_for_us).unwrap_or(0);
        let mut passed = Passed::default();
        for (index, descriptor) in sys::passed_descriptors(count).into_iter().enumerate() {
            passed.add(descriptor).map_err(|what| format!("socket {} of {count} that systemd passed: {what}", index + 1))?;
        }
        Ok(passed)
    }

    fn add(&mut self, descriptor: OwnedFd) -> Result<(), String> {
        let socket = Socket::from(descriptor);
        let told = |error: std::io::Error| format!("it cannot be used: {error}");
        if socket.r#type().map_err(told)? != Type::STREAM || !socket.is_listener().map_err(told)? {
            return Err("it does not listen for streams: use ListenStream= and Accept=no".to_owned());
        }
        socket.set_nonblocking(true).map_err(told)?;
        let address = socket.local_addr().map_err(told)?;
        if let Some(address) = address.as_socket() {
            self.tcp.push((address, socket.into()));
        } else if let Some(path) = address.as_pathname() {
            self.unix.push((path.to_owned(), socket.into()));
        } else {
            return Err("it is bound to neither an IP address nor a path".to_owned());
        }
        Ok(())
    }

    /// Those that are bound to that address; several with `ReusePort=yes`.
    pub(super) fn take_tcp(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let (taken, left) = std::mem::take(&mut self.tcp).into_iter().partition(|(bound, _)| *bound == address);
        self.tcp = left;
        let taken: Vec<(SocketAddr, TcpListener)> = taken;
        taken.into_iter().map(|(_, listener)| listener).collect()
    }

    /// The one that is bound to that path.
    pub(super) fn take_unix(&mut self, path: &Path) -> Option<UnixListener> {
        let at = self.unix.iter().position(|(bound, _)| bound == path)?;
        Some(self.unix.swap_remove(at).1)
    }

    /// Nothing may be left: its clients would wait for ever.
    pub(super) fn finish(self) -> Result<(), String> {
        let tcp = self.tcp.iter().map(|(address, _)| address.to_string());
        let left: Vec<String> = tcp.chain(self.unix.iter().map(|(path, _)| path.display().to_string())).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(format!(
            "systemd passed sockets that the configuration does not have: {}; give each to --listen, --admin-listen or --publish-socket, or take it out of the socket unit",
            left.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::ScratchDir;
    use super::*;

    #[test]
    fn sockets_are_told_apart_by_what_they_are_bound_to() {
        let scratch = ScratchDir::new();
        let path = scratch.path().join("socket");
        let unix = UnixListener::bind(&path).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = tcp.local_addr().unwrap();
        let mut passed = Passed::default();
        for descriptor in [OwnedFd::from(tcp.try_clone().unwrap()), tcp.into(), unix.into()] {
            passed.add(descriptor).unwrap();
        }
        assert!(passed.take_tcp(SocketAddr::from(([127, 0, 0, 1], 1))).is_empty() && passed.take_unix(Path::new("/other")).is_none());
        assert_eq!(passed.take_tcp(addr).len(), 2);
        assert!(passed.take_tcp(addr).is_empty(), "they are taken");
        assert!(Passed::default().finish().is_ok());
        let listener = passed.take_unix(&path).unwrap();
        passed.add(listener.into()).unwrap();
        assert!(passed.finish().unwrap_err().contains(path.to_str().unwrap()));
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut passed = Passed::default();
        assert!(passed.add(datagrams.into()).unwrap_err().contains("ListenStream="));
        assert!(passed.add(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }
}
