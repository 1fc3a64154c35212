//! System calls that have no better place. None of them needs `unsafe`: rustix and socket2 have safe ones.

use std::io;

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

#[cfg(test)]
mod tests {
    use super::*;

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
