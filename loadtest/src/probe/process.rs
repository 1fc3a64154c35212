//! The server's process: found by the address that it listens on, or by its id; its memory and processor time.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::{fs, io};

use rustix::param::{clock_ticks_per_second, page_size};

/// The kernel's name of a socket that listens.
const LISTEN: &str = "0A";

/// A server on this host: every process that holds its listening socket. One for most servers; a master and its workers for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The lowest id: the master, where there is one.
    pub pid: u32,
    /// That process's command line's first word.
    pub command: String,
    processes: Vec<Process>,
}

/// A process, told from a later one that got the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    started_ticks: u64,
}

/// What a server has used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Resident bytes. Pages that its processes share count once for each.
    pub rss_bytes: u64,
    /// Processor seconds since it began, in the kernel's steps (10 ms on most).
    pub cpu_s: f64,
}

impl Server {
    /// The server that listens on that address, or on all addresses of that port.
    pub fn listening_on(address: SocketAddr) -> Result<Server, String> {
        let inodes = listeners(address);
        if inodes.is_empty() {
            return Err(format!("nothing on this host listens on {address}"));
        }
        let pids = all_pids().into_iter().filter(|pid| holds(*pid, &inodes)).collect();
        Server::of(pids)
            .ok_or_else(|| format!("the process that listens on {address} is not this user's to look at: give its id, or run as its user"))
    }

    /// The process of that id.
    pub fn of_pid(pid: u32) -> Result<Server, String> {
        Server::of(vec![pid]).ok_or_else(|| format!("there is no process {pid} on this host"))
    }

    /// Why its memory is not that of a server that was just started; empty if nothing says so. `connections`: those that it has.
    pub fn used_before(&self, connections: usize) -> String {
        /// A start takes and gives back as much.
        const GIVEN_BACK_MAX: u64 = 2 << 20;
        if connections > 0 {
            return format!("it had {connections} connections before");
        }
        let given_back = self.processes.iter().filter_map(|process| process.given_back()).sum::<u64>();
        if given_back <= GIVEN_BACK_MAX {
            return String::new();
        }
        format!("it had used {} more before", crate::hist::bytes_text(given_back as f64))
    }

    fn of(mut pids: Vec<u32>) -> Option<Server> {
        pids.sort_unstable();
        let processes: Vec<Process> = pids.into_iter().filter_map(Process::open).collect();
        let pid = processes.first()?.pid;
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
        // It is printed: what a terminal would obey does not belong in it.
        let command = String::from_utf8_lossy(first).replace(char::is_control, " ");
        Some(Server { pid, command, processes })
    }

    /// What it uses now; `None` once one of its processes has ended, because the sum would then go back.
    pub fn usage(&self) -> Option<Usage> {
        let mut sum = Usage { rss_bytes: 0, cpu_s: 0.0 };
        for process in &self.processes {
            let usage = process.usage()?;
            sum.rss_bytes += usage.rss_bytes;
            sum.cpu_s += usage.cpu_s;
        }
        Some(sum)
    }
}

impl Process {
    fn open(pid: u32) -> Option<Process> {
        Some(Process { pid, started_ticks: Stat::read(pid)?.started_ticks })
    }

    /// Resident bytes at its highest, less those now.
    fn given_back(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let kib = |name: &str| super::value_of(&status, name)?.split(' ').next()?.parse::<u64>().ok();
        Some(kib("VmHWM")?.saturating_sub(kib("VmRSS")?).saturating_mul(1024))
    }

    fn usage(self) -> Option<Usage> {
        let stat = Stat::read(self.pid)?;
        if stat.started_ticks != self.started_ticks || stat.has_ended {
            return None;
        }
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid)).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(Usage { rss_bytes: pages * page_size() as u64, cpu_s: stat.cpu_ticks as f64 / clock_ticks_per_second() as f64 })
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// It runs no more, and waits for its parent to notice.
    has_ended: bool,
    cpu_ticks: u64,
    started_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in brackets may hold spaces and brackets: what counts begins after the last one.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let has_ended = matches!(fields.first(), Some(&("Z" | "X")));
        Some(Stat { has_ended, cpu_ticks: number(11)? + number(12)?, started_ticks: number(19)? })
    }
}

/// Connections on this host that a server at that address has.
pub fn connections(address: SocketAddr) -> usize {
    sockets(address, "01").len()
}

/// Inodes of the sockets that listen on that address.
fn listeners(address: SocketAddr) -> BTreeSet<u64> {
    sockets(address, LISTEN)
}

fn sockets(address: SocketAddr, state: &str) -> BTreeSet<u64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let tables = [read("/proc/net/tcp"), read("/proc/net/tcp6")];
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| socket(line, address, state)).collect()
}

/// The inode of a line of `/proc/net/tcp` or `tcp6`, if it is a socket there in that state.
fn socket(line: &str, address: SocketAddr, wanted: &str) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [local, state, inode] = [1, 3, 9].map(|at| fields.get(at).copied());
    let (ip, port) = local?.split_once(':')?;
    let ip = parse_ip(ip)?;
    let is_here = u16::from_str_radix(port, 16).ok()? == address.port() && (ip == address.ip().to_canonical() || ip.is_unspecified());
    (state? == wanted && is_here).then(|| inode?.parse().ok()).flatten()
}

/// The kernel prints addresses as hexadecimal words in the host's byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    if !hex.is_ascii() {
        return None;
    }
    let word = |at: usize| u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes: Vec<u8> = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a process has one of these sockets open. Other users' processes cannot be looked into, and are not.
fn holds(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().any(|entry| socket_inode(fs::read_link(entry.path())).is_some_and(|inode| inodes.contains(&inode)))
}

fn socket_inode(link: io::Result<PathBuf>) -> Option<u64> {
    link.ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::net::TcpListener;
    use std::process;

    use super::*;

    #[test]
    fn finds_this_process_by_its_listeners() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert_eq!(address, "[::1]:0", "only IPv6 may be missing");
                continue;
            };
            let port = listener.local_addr().expect("it is bound").port();
            let reached =
                SocketAddr::new(if address.starts_with('[') { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }, port);
            let server = Server::listening_on(reached).expect("it listens");
            assert_eq!(server.pid, process::id(), "{address}");
            assert!(!server.command.is_empty());
            assert_eq!((connections(reached), server.used_before(3).as_str()), (0, "it had 3 connections before"), "{address}");
            let client = std::net::TcpStream::connect(reached).expect("it listens");
            assert_eq!(connections(reached), 1, "{address}");
            drop((client, listener));
            Server::listening_on(reached).expect_err("it has gone");
        }
    }

    #[test]
    fn memory_and_time_grow_as_they_are_used() {
        const USED: usize = 64 << 20;
        let server = Server::of_pid(process::id()).expect("this process");
        let before = server.usage().expect("it runs");
        let block = black_box(vec![1_u8; USED]);
        let mut work = 0_u64;
        // Bounded by the test's own deadline: the time of this process never stands still while it works.
        while server.usage().expect("it runs").cpu_s < before.cpu_s + 0.02 {
            work = block.iter().fold(work, |sum, byte| sum.wrapping_add(u64::from(*byte)));
            black_box(work);
        }
        let after = server.usage().expect("it runs");
        assert!(after.rss_bytes > before.rss_bytes + USED as u64 / 2, "{before:?} {after:?}");
    }

    #[test]
    fn a_process_that_has_ended_is_none() {
        let mut child = process::Command::new("sleep").arg("60").spawn().expect("`sleep` is on every Linux");
        let server = Server::of_pid(child.id()).expect("it runs");
        assert!(server.usage().is_some());
        child.kill().expect("it is ours");
        // It has ended before its parent hears of it, and is soon seen to have.
        let ends = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while server.usage().is_some() && std::time::Instant::now() < ends {
            std::thread::yield_now();
        }
        assert_eq!(server.usage(), None);
        child.wait().expect("it is ours");
        assert_eq!(server.usage(), None);
        Server::of_pid(child.id()).expect_err("it has ended");
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "42 (a ) b) (c) S 1 42 42 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 1 0 12345 1000 10 18446744073709551615";
        assert_eq!(Stat::parse(text), Some(Stat { has_ended: false, cpu_ticks: 12, started_ticks: 12345 }));
        assert!(Stat::parse(&text.replace(" S ", " Z ")).is_some_and(|stat| stat.has_ended));
        assert_eq!(Stat::parse("42 (a"), None);
        assert_eq!(Stat::parse("42 (a) S 1 2"), None);
    }

    #[test]
    fn only_listeners_of_that_address_match() {
        let line = |local: &str, state: &str| {
            format!("   0: {local}:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 777 1 0 100")
        };
        let at: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
        let loopback = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
        let other = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 2]));
        let mapped = format!("{}{:08X}{loopback}", "0".repeat(16), u32::from_ne_bytes([0, 0, 0xff, 0xff]));
        assert_eq!(socket(&line(&loopback, "0A"), at, LISTEN), Some(777));
        assert_eq!(socket(&line("00000000", "0A"), at, LISTEN), Some(777));
        assert_eq!(socket(&line(&"0".repeat(32), "0A"), at, LISTEN), Some(777));
        assert_eq!(socket(&line(&mapped, "0A"), at, LISTEN), Some(777));
        assert_eq!(socket(&line(&loopback, "01"), at, LISTEN), None, "an established connection");
        assert_eq!(socket(&line(&other, "0A"), at, LISTEN), None);
        assert_eq!(socket("", at, LISTEN), None);
        assert_eq!(socket("a bé:1F90 c 0A e f g h i 1", at, LISTEN), None);
    }
}
