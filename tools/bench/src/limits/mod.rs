//! What the machine itself can do, without a broker: the disk's sync, the loopback, one processor.
//!
//! Each is the smallest program that does it, and is measured in the run that it is set beside.

mod disk;
mod memory;
mod network;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::measured::Measured;

/// One thing that no broker on this machine can beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many bytes written and synced, one after the other, into one prepared file.
    Sync(usize),
    /// The same into 1,000 prepared files in turn.
    SyncFiles(usize),
    /// A byte there and back over loopback TCP.
    RoundTrip,
    /// Small requests there and back, many of them under way.
    RoundTrips,
    /// Bytes in one direction over so many connections.
    Stream(usize),
    /// A checksum.
    Crc32,
    /// A copy in memory.
    Copy,
}

impl Limit {
    /// All that `npayload-bench limits` shows.
    pub const ALL: [Self; 12] = [
        Self::Sync(4 << 10),
        Self::Sync(64 << 10),
        Self::Sync(1 << 20),
        Self::SyncFiles(4 << 10),
        Self::SyncFiles(64 << 10),
        Self::SyncFiles(1 << 20),
        Self::RoundTrip,
        Self::RoundTrips,
        Self::Stream(1),
        Self::Stream(8),
        Self::Crc32,
        Self::Copy,
    ];

    /// Measures it for `time`; files lie under `dir` meanwhile.
    pub async fn measure(self, dir: &Path, time: Duration) -> Result<Measured> {
        if let Self::Sync(bytes) | Self::SyncFiles(bytes) = self {
            let dir = tempfile::Builder::new()
                .prefix("npayload-limits-")
                .tempdir_in(dir)
                .with_context(|| format!("making a directory in {}", dir.display()))?;
            let is_one = matches!(self, Self::Sync(_));
            let measured = disk::synced(dir.path(), bytes, is_one, time)?;
            dir.close()?;
            return Ok(measured);
        }
        match self {
            Self::RoundTrip => network::round_trip(time).await,
            Self::RoundTrips => network::round_trips(time).await,
            Self::Stream(connections) => network::stream(connections, time).await,
            Self::Crc32 => Ok(memory::crc32(time)),
            Self::Copy | Self::Sync(_) | Self::SyncFiles(_) => Ok(memory::copy(time)),
        }
    }
}

/// What published and fetched bytes are set beside.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// 4 KiB written and synced, one after the other.
    pub sync_4k: Measured,
    /// The same with 64 KiB.
    pub sync_64k: Measured,
    /// The same with 1 MiB.
    pub sync_1m: Measured,
    /// A byte there and back over loopback TCP.
    pub round_trips: Measured,
    /// One stream over loopback TCP.
    pub stream: Measured,
}

impl Limits {
    /// Measures each for `time`; the disk is that of `dir`.
    pub async fn measure(dir: &Path, time: Duration) -> Result<Self> {
        Ok(Self {
            sync_4k: Limit::Sync(4 << 10).measure(dir, time).await?,
            sync_64k: Limit::Sync(64 << 10).measure(dir, time).await?,
            sync_1m: Limit::Sync(1 << 20).measure(dir, time).await?,
            round_trips: Limit::RoundTrip.measure(dir, time).await?,
            stream: Limit::Stream(1).measure(dir, time).await?,
        })
    }

    /// All of them.
    pub fn each(&self) -> [&Measured; 5] {
        [
            &self.sync_4k,
            &self.sync_64k,
            &self.sync_1m,
            &self.round_trips,
            &self.stream,
        ]
    }

    /// How published batches stand beside the disk: acknowledgements for each raw sync of 4 KiB,
    /// and bytes against raw syncs of 1 MiB.
    pub fn beside_disk(&self, measured: &Measured) -> String {
        format!(
            "{:.2} acks/sync, {:.2} of the disk",
            measured.operations_per_second / self.sync_4k.operations_per_second,
            measured.megabytes_per_second / self.sync_1m.megabytes_per_second
        )
    }

    /// How what was read stands beside the network.
    pub fn beside_network(&self, measured: &Measured) -> String {
        format!(
            "{:.2} of the loopback",
            measured.megabytes_per_second / self.stream.megabytes_per_second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_limit_counts_what_it_did() {
        let dir = tempfile::tempdir().expect("a directory");
        for limit in Limit::ALL {
            // 1,000 files of 1 MiB take more time than a test has.
            if limit == Limit::SyncFiles(1 << 20) || limit == Limit::SyncFiles(64 << 10) {
                continue;
            }
            let measured = limit.measure(dir.path(), Duration::from_millis(20)).await;
            let measured = measured.expect("a limit");
            assert!(measured.operations > 0, "{}: nothing done", measured.name);
            assert!(measured.megabytes_per_second > 0.0, "{}", measured.name);
        }
        let left = std::fs::read_dir(dir.path())
            .expect("the directory")
            .count();
        assert_eq!(left, 0, "files of limits are left behind");
    }
}
