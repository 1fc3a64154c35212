//! System calls that have no better place. All but one have safe functions in rustix and socket2.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::fcntl_getfd;
use rustix::ioctl::{Getter, Opcode, ioctl};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, ascending.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Binds the calling thread to one of the cores that this process may use, these being counted round.
pub fn pin_to_core(index: usize) -> io::Result<()> {
    let cores = cores()?;
    let mut set = CpuSet::new();
    set.set(cores[index % cores.len()]);
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the limit of open descriptors as far as this process may. What the limit is then; nothing if there is none.
pub fn raise_descriptors() -> io::Result<Option<u64>> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum)
}

/// The first descriptor that a service manager passes (`sd_listen_fds(3)`).
const PASSED_FIRST: c_int = 3;

/// So many descriptors from the third on, those that are open: a service manager has opened them for this process. They can be had once.
#[expect(unsafe_code, reason = "a number in the environment is all that is known of them")]
pub fn passed_descriptors(count: u32) -> Vec<OwnedFd> {
    static ARE_TAKEN: AtomicBool = AtomicBool::new(false);
    if count == 0 || ARE_TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let numbers = (PASSED_FIRST..).take(count as usize);
    // SAFETY: the descriptor is borrowed for this one call, which says whether it is open and does nothing else.
    let open = numbers.filter(|number| fcntl_getfd(unsafe { BorrowedFd::borrow_raw(*number) }).is_ok());
    // SAFETY: it is open, and nobody else's: this process was started with it, for us to take, and this function gives it out once.
    open.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()
}

/// `SIOCOUTQ` of tcp(7), which has the number of `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes in a TCP socket's send queue that the peer has not acknowledged.
#[expect(unsafe_code, reason = "rustix has no function for this request")]
pub fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    // SAFETY: `SIOCOUTQ` writes one `int` to where its argument points, which is what a `Getter` of a `c_int` is for.
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_says_what_a_reader_that_does_not_read_leaves_to_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _reader = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        assert_eq!(unacknowledged(&sender).unwrap(), 0);
        let mut written = 0;
        while let Ok(n) = sender.write(&vec![b'x'; 65_536]) {
            written += n;
        }
        assert!((1..=written).contains(&unacknowledged(&sender).unwrap()));
        assert!(unacknowledged(std::fs::File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn a_pinned_thread_may_use_its_core_alone() {
        let pinned = std::thread::spawn(|| {
            let all = cores().unwrap();
            pin_to_core(all.len()).unwrap();
            (all, cores().unwrap())
        });
        let (all, pinned) = pinned.join().unwrap();
        assert_eq!(pinned, all[..1], "counted round");
    }
}
