//! System calls that have no better place. None of them needs `unsafe`: rustix and socket2 have safe ones.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, ascending.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Binds the calling thread to one core.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_its_core_alone() {
        let pinned = std::thread::spawn(|| {
            let last = *cores().unwrap().last().unwrap();
            pin_to_core(last).unwrap();
            (last, cores().unwrap())
        });
        let (core, cores) = pinned.join().unwrap();
        assert_eq!(cores, [core]);
    }
}
