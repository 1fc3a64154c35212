//! Facts about this host and about the server's process, from `/proc`: nothing is asked of the server itself.

pub mod process;

use std::fs;
use std::thread::available_parallelism;

use crate::record::Machine;

/// The host that this process runs on. What cannot be read is empty or 0: a run is worth having without it.
pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    Machine {
        // Honours the affinity mask and the control group's quota, unlike the count of online processors.
        cpus: available_parallelism().map_or(0, usize::from),
        cpu_model: cpu_model(&read("/proc/cpuinfo")),
        memory_bytes: memory_bytes(&read("/proc/meminfo")),
        kernel: format!("{} {}", read("/proc/sys/kernel/ostype").trim(), read("/proc/sys/kernel/osrelease").trim()).trim().into(),
    }
}

/// The processors that this process may use.
pub fn processors() -> Vec<u32> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    (0..rustix::thread::CpuSet::MAX_CPU as u32).filter(|core| set.is_set(*core as usize)).collect()
}

fn cpu_model(cpuinfo: &str) -> String {
    // Arm kernels name no model; their part number is better than nothing.
    ["model name", "Model", "CPU part"].into_iter().find_map(|name| value_of(cpuinfo, name)).unwrap_or_default().into()
}

fn memory_bytes(meminfo: &str) -> u64 {
    let kib = value_of(meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// The value of the first `name: value` line.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_from_its_files() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(cpu_model(cpuinfo), "Fast CPU @ 3 GHz");
        assert_eq!(cpu_model("processor : 0\nCPU part : 0xd0c\n"), "0xd0c");
        assert_eq!(memory_bytes("MemTotal:       16384 kB\nMemFree: 1 kB\n"), 16_777_216);
        assert_eq!((cpu_model(""), memory_bytes("MemTotal: many\n")), (String::new(), 0));
    }

    #[test]
    fn this_host_has_processors_and_memory() {
        let machine = machine();
        assert!(machine.cpus >= 1 && machine.memory_bytes > 1 << 20 && machine.kernel.starts_with("Linux "), "{machine:?}");
    }
}
