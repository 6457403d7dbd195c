//! Quiet between runs: what one run has left to write must not slow the next.

use std::time::Duration;

use crate::clock;

/// Bytes that may wait to be written when a run starts.
const QUIET_KIB: u64 = 32 << 10;

/// Longest wait for them.
const LONGEST: Duration = Duration::from_secs(5);

/// Waits until the operating system has little left to write, for some seconds at most.
pub async fn settle() {
    let began = clock();
    while began.elapsed() < LONGEST {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if unwritten_kib().is_none_or(|kib| kib < QUIET_KIB) {
            return;
        }
    }
}

fn unwritten_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    Some(field("Dirty:")? + field("Writeback:")?)
}
