//! What the machine itself can do: the disk's sync and the loopback, without a broker.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use npayload::storage::disk::{Disk, OpenMode, RealDisk, zero_fill};
use serde::Serialize;

use crate::clock;
use crate::measured::{Counting, Measured};

/// Bytes of the prepared file that is written round and round.
const FILE_BYTES: u64 = 256 << 20;

/// What no broker on this machine can beat, one way at a time.
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
    pub fn measure(dir: &Path, time: Duration) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("npayload-limits-")
            .tempdir_in(dir)
            .with_context(|| format!("making a directory in {}", dir.display()))?;
        let limits = Self {
            sync_4k: disk(dir.path(), 4 << 10, time)?,
            sync_64k: disk(dir.path(), 64 << 10, time)?,
            sync_1m: disk(dir.path(), 1 << 20, time)?,
            round_trips: round_trips(time)?,
            stream: stream(time)?,
        };
        dir.close()?;
        Ok(limits)
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

/// Writes of one size, each followed by a sync, one after the other, into a prepared file.
fn disk(dir: &Path, write_bytes: usize, time: Duration) -> Result<Measured> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let path = dir.join("limit");
    let file = disk
        .open(&path, OpenMode::Create)
        .context("creating a file")?;
    zero_fill(&*file, FILE_BYTES).context("filling a file")?;
    let block = vec![7; write_bytes];
    let mut counting = Counting::new();
    let (began, mut position) = (clock(), 0);
    while began.elapsed() < time {
        let at = clock();
        file.write_at(position, &[IoSlice::new(&block)])?;
        file.sync_data()?;
        counting.book(at.elapsed(), 0, write_bytes as u64);
        position = (position + write_bytes as u64) % (FILE_BYTES - write_bytes as u64 + 1);
        position -= position % 4096;
    }
    let measured = counting.over(
        format!("disk: {} KiB written and synced", write_bytes / 1024),
        began.elapsed(),
    );
    disk.remove_file(&path)?;
    Ok(measured)
}

/// One byte there and back over loopback TCP, one at a time.
fn round_trips(time: Duration) -> Result<Measured> {
    let (mut near, mut far) = pair()?;
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let mut counting = Counting::new();
    let began = clock();
    let mut byte = [1];
    while began.elapsed() < time {
        let at = clock();
        near.write_all(&byte)?;
        near.read_exact(&mut byte)?;
        counting.book(at.elapsed(), 0, 1);
    }
    let measured = counting.over("loopback: 1 byte there and back", began.elapsed());
    drop(near);
    echo.join().ok();
    Ok(measured)
}

/// Bytes in one direction over loopback TCP, in writes of 1 MiB.
fn stream(time: Duration) -> Result<Measured> {
    let (mut near, mut far) = pair()?;
    let sink = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while far.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    let block = vec![7; 1 << 20];
    let mut counting = Counting::new();
    let began = clock();
    while began.elapsed() < time {
        let at = clock();
        near.write_all(&block)?;
        counting.book(at.elapsed(), 0, block.len() as u64);
    }
    let measured = counting.over("loopback: one stream, writes of 1 MiB", began.elapsed());
    drop(near);
    sink.join().ok();
    Ok(measured)
}

fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}
