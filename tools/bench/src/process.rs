//! What the operating system tells of a process and of a disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How often a watched process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Left free beside what a run needs: an operating system without space is no machine to measure.
const SPARE_BYTES: u64 = 2 << 30;

/// Anonymous memory of a process in KiB: without mapped files.
fn anonymous_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Bytes that the disk of a directory was given to write, by all processes: nothing else may write there
/// meanwhile. What the system counts for a process is no measure: of a file cached in large folios it counts the
/// whole folio for each page of it that is written.
pub fn written_bytes(dir: &Path) -> Result<u64> {
    const SECTOR_BYTES: u64 = 512;
    let device = rustix::fs::stat(dir)
        .with_context(|| format!("asking {}", dir.display()))?
        .st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = format!("/sys/dev/block/{major}:{minor}/stat");
    let stat = std::fs::read_to_string(&path)
        .with_context(|| format!("{} is on no disk that counts: {path}", dir.display()))?;
    let sectors: u64 = stat
        .split_ascii_whitespace()
        .nth(6)
        .with_context(|| format!("no count of sectors written in {path}"))?
        .parse()?;
    Ok(sectors * SECTOR_BYTES)
}

/// Watches the anonymous memory of a process from now on.
pub struct Watch {
    most_kib: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    /// Begins.
    pub fn start(pid: u32) -> Self {
        let most_kib = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (most, over) = (most_kib.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(anonymous_kib(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self {
            most_kib,
            is_over,
            thread,
        }
    }

    /// Ends; the most that was seen, in MiB.
    pub fn most_mib(self) -> Result<f64> {
        self.is_over.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            bail!("the thread that watches memory panicked");
        }
        match self.most_kib.load(Ordering::Relaxed) {
            0 => bail!("the system does not tell a process's anonymous memory"),
            kib => Ok(crate::measured::float(kib) / 1024.0),
        }
    }
}

/// Refuses where a directory's disk has less room than a run needs.
pub fn check_room(dir: &Path, needed_bytes: u64) -> Result<()> {
    let disk = rustix::fs::statvfs(dir).with_context(|| format!("asking {}", dir.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let wanted = needed_bytes + SPARE_BYTES;
    if free < wanted {
        bail!(
            "{} has {} MiB free, and this run needs {} MiB: give another --dir, or --quick",
            dir.display(),
            free >> 20,
            wanted >> 20
        );
    }
    Ok(())
}

/// Lets this process, and those it starts, have `files` files open.
pub fn allow_open_files(files: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < files) {
        bail!(
            "this run needs {files} open files, and the limit is {}: raise it with `ulimit -Hn`",
            limit.maximum.unwrap_or(0)
        );
    }
    let raised = Rlimit {
        current: Some(files),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raising the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(check_room(dir.path(), 0).is_ok());
        let refused = check_room(dir.path(), 1 << 60).expect_err("an exbibyte");
        assert!(
            refused.to_string().contains("1099511629824 MiB"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_synced_to_a_disk_is_counted() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        // In a container the disk may be one that does not count.
        let Ok(before) = written_bytes(dir.path()) else {
            return;
        };
        let path = dir.path().join("written");
        std::fs::write(&path, vec![7; 1 << 20]).expect("a file");
        let file = std::fs::File::open(&path).expect("the file");
        file.sync_all().expect("synced");
        assert!(written_bytes(dir.path()).expect("a count") >= before + (1 << 20));
    }

    #[test]
    fn memory_that_is_held_is_seen() {
        let watch = Watch::start(std::process::id());
        let held = vec![1_u8; 64 << 20];
        std::thread::sleep(LOOK_EVERY * 5);
        assert!(watch.most_mib().expect("a figure") >= 64.0);
        assert_eq!(std::hint::black_box(&held)[4096], 1);
    }
}
