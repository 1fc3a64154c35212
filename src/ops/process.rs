//! What the kernel knows of this process (proc(5)).

use std::collections::BTreeMap;

/// The process' use of the machine; zero where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub resident_bytes: u64,
    /// User and system CPU time.
    pub cpu_ms: u64,
}

/// The usage now.
pub fn usage() -> Usage {
    Usage {
        resident_bytes: std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| resident_pages(&text)).unwrap_or(0)
            * rustix::param::page_size() as u64,
        cpu_ms: std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_ticks(&text)).unwrap_or(0) * 1_000
            / rustix::param::clock_ticks_per_second(),
    }
}

/// Open file descriptors. Linux 6.2 and later tell their number; with others each is looked at, which takes a millisecond for a thousand.
pub fn descriptors() -> u64 {
    let told = rustix::fs::stat("/proc/self/fd").map_or(0, |stat| stat.st_size as u64);
    if told > 0 { told } else { std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64) }
}

/// The CPU time of each thread in milliseconds, by name; threads of one name together, sorted.
pub fn threads() -> Vec<(String, u64)> {
    let mut sums = BTreeMap::<String, u64>::new();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for stat in tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok()) {
        if let Some((name, ticks)) = command(&stat).zip(cpu_ticks(&stat)) {
            *sums.entry(name.to_owned()).or_default() += ticks * 1_000 / rustix::param::clock_ticks_per_second();
        }
    }
    sums.into_iter().collect()
}

/// The command's name in `/proc/self/task/*/stat`, which of a thread is the thread's; without what a label cannot hold.
fn command(stat: &str) -> Option<&str> {
    let (head, _) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\').then_some(name)
}

/// The second field of `/proc/self/statm`.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Fields 14 and 15 of `/proc/self/stat`, counted behind the command's name, which may hold anything but ends in `)`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_and_blanks_does_not_shift_the_fields() {
        assert_eq!(cpu_ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0"), Some(42));
        assert_eq!(resident_pages("900 37 1 2 3"), Some(37));
        assert_eq!((cpu_ticks(""), resident_pages("1")), (None, None));
    }

    #[test]
    fn threads_are_told_by_name() {
        assert_eq!(command("7 (reactor-0) S 1"), Some("reactor-0"));
        assert_eq!((command("7 (a\"b) S 1"), command("7 (a b) S 1"), command("")), (None, None, None));
        assert!(!threads().is_empty());
    }

    #[test]
    fn this_process_uses_memory_and_descriptors() {
        let usage = usage();
        assert!(usage.resident_bytes > 1 << 16, "{usage:?}");
        let before = descriptors();
        let files: Vec<_> = (0..100).filter_map(|_| std::fs::File::open("/proc/self/stat").ok()).collect();
        assert!((3..).contains(&before) && descriptors() >= files.len() as u64 + 3, "{before}");
    }
}
