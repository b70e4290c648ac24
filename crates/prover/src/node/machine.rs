//! What the machine has: memory, and CPU features used and left unused by this build.

use std::{
    collections::HashSet,
    fmt, fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// CPU features that proving gains from: what this build uses, and what the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuBuild {
    /// Used by this build.
    pub used: Vec<&'static str>,
    /// The machine has them, this build does not use them.
    pub unused: Vec<&'static str>,
    /// This build needs them, the machine lacks them: it will crash with an illegal instruction.
    pub lacking: Vec<&'static str>,
}

impl CpuBuild {
    /// This build on this machine. On a system that does not tell its features, `unused` and `lacking` are empty.
    pub fn here() -> Self {
        Self::compare(FEATURES, machine_features().as_ref())
    }

    fn compare(features: &[Feature], machine: Option<&HashSet<String>>) -> Self {
        let names = |wanted: &dyn Fn(&Feature) -> bool| {
            features.iter().filter(|feature| wanted(feature)).map(|feature| feature.name).collect()
        };
        let has = |feature: &Feature| machine.is_none_or(|machine| machine.contains(feature.machine_name));
        Self {
            used: names(&|feature| feature.used),
            unused: names(&|feature| !feature.used && machine.is_some() && has(feature)),
            lacking: names(&|feature| feature.used && !has(feature)),
        }
    }
}

impl fmt::Display for CpuBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.used.is_empty() { f.write_str("portable") } else { write!(f, "native: {}", self.used.join(" ")) }
    }
}

/// Memory that proofs may use, in bytes: what is available on the machine, or what is left of this process's control group
/// where that is less. `None` on a system that does not tell.
pub fn available_memory() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(group_memory().map_or(machine, |group| group.min(machine)))
}

/// This process's peak resident memory since it began or since [`forget_peak_memory`], in bytes; zero on a system that does
/// not tell.
pub fn peak_memory() -> u64 {
    peak_of("self").unwrap_or(0)
}

/// The same, as it was at most a second ago: the system takes longer to tell than a mock proof takes.
pub fn recent_peak_memory() -> u64 {
    static LAST: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match *last {
        Some((at, peak)) if at.elapsed() < Duration::from_secs(1) => peak,
        _ => {
            let peak = peak_memory();
            *last = Some((Instant::now(), peak));
            peak
        }
    }
}

/// Another process's peak resident memory, in bytes; `None` once it has ended, and on a system that does not tell.
pub fn peak_memory_of(process: u32) -> Option<u64> {
    peak_of(&process.to_string())
}

/// Has [`peak_memory`] begin anew. On a system that does not know how, it goes on from where it was.
pub fn forget_peak_memory() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn peak_of(process: &str) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, "VmHWM:")
}

struct Feature {
    name: &'static str,
    /// As Linux calls it.
    machine_name: &'static str,
    used: bool,
}

macro_rules! features {
    ($($name:literal as $machine_name:literal),* $(,)?) => {
        &[$(Feature { name: $name, machine_name: $machine_name, used: cfg!(target_feature = $name) }),*]
    };
}

#[cfg(target_arch = "x86_64")]
const FEATURES: &[Feature] = features![
    "avx2" as "avx2",
    "bmi2" as "bmi2",
    "adx" as "adx",
    "avx512f" as "avx512f",
    "avx512dq" as "avx512dq",
    "avx512bw" as "avx512bw",
    "avx512vl" as "avx512vl",
    "avx512ifma" as "avx512ifma",
    "sha" as "sha_ni",
];

#[cfg(target_arch = "aarch64")]
const FEATURES: &[Feature] = features!["sha2" as "sha2", "sha3" as "sha3", "sve" as "sve", "sve2" as "sve2"];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FEATURES: &[Feature] = &[];

/// Read from the kernel: the standard library's detection answers for features of the build without looking.
fn machine_features() -> Option<HashSet<String>> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"))?;
    Some(line.split_once(':')?.1.split_whitespace().map(str::to_owned).collect())
}

/// A line `name:  1234 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// What is left of the control group's memory; version 2 first.
fn group_memory() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let left = |limit: &str, used: &str| Some(number(limit)?.saturating_sub(number(used)?));
    left("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")
        .or_else(|| left("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_used_unused_and_lacking() {
        let features = &[
            Feature { name: "a", machine_name: "a", used: true },
            Feature { name: "b", machine_name: "b_ni", used: false },
            Feature { name: "c", machine_name: "c", used: true },
        ];
        let machine: HashSet<String> = ["a", "b_ni"].map(str::to_owned).into();
        let build = CpuBuild::compare(features, Some(&machine));
        assert_eq!(build, CpuBuild { used: vec!["a", "c"], unused: vec!["b"], lacking: vec!["c"] });
        assert_eq!(build.to_string(), "native: a c");
        let silent = CpuBuild::compare(features, None);
        assert_eq!(silent, CpuBuild { used: vec!["a", "c"], unused: vec![], lacking: vec![] });
        assert_eq!(CpuBuild::compare(&features[1..2], None).to_string(), "portable");
    }

    #[test]
    fn reads_the_kernels_numbers() {
        assert_eq!(field("VmPeak:\t  9 kB\nVmHWM:\t  2048 kB\n", "VmHWM:"), Some(2 << 20));
        assert_eq!(field("VmHWM:\t lots\n", "VmHWM:"), None);
        assert!(peak_memory() > 1 << 20);
        assert!(available_memory().is_some_and(|memory| memory > 1 << 20));
    }
}
