//! What the figures were measured on.

use std::fmt;
use std::path::Path;

use serde::Serialize;

/// The machine, as the operating system describes it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Its processor.
    pub cpu: String,
    /// Hardware threads that may be used.
    pub cores: usize,
    /// Memory, rounded down.
    pub memory_gib: u64,
    /// Operating system and its release.
    pub kernel: String,
    /// Type of the file system that the data lies on.
    pub file_system: String,
}

impl Machine {
    /// Reads what `/proc` tells; what it does not tell is `unknown`.
    pub fn read(data_dir: &Path) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib: u64 = field(&meminfo, "MemTotal")
            .and_then(|value| value.split(' ').next().and_then(|kib| kib.parse().ok()))
            .unwrap_or(0);
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib / (1024 * 1024),
            kernel: format!("{} {}", std::env::consts::OS, release.trim()),
            file_system: file_system(data_dir).unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, {} GiB, {}, {}",
            self.cpu, self.cores, self.memory_gib, self.kernel, self.file_system
        )
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// How many threads ran or waited for a processor or the disk, on average over the last minute:
/// what else the machine has to do when nothing was started here yet.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// The type of the file system that holds a directory: that of the longest mount point above it.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
            dir.starts_with(point)
                .then(|| (point.len(), kind.to_owned()))
        })
        .max()
        .map(|(_, kind)| kind)
}
