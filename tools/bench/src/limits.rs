//! What the machine itself can do: the disk's sync and the loopback, without a broker.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use npayload::storage::disk::{Disk, OpenMode, RealDisk, zero_fill};

use crate::clock;
use crate::measured::{Counting, Measured};

/// Bytes of the prepared file that is written round and round.
const FILE_BYTES: u64 = 256 << 20;

/// Writes of one size, each followed by a sync, one after the other, into a prepared file.
pub fn disk(dir: &Path, write_bytes: usize, time: Duration) -> Result<Measured> {
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
        format!("disk: write {write_bytes} B + fdatasync"),
        began.elapsed(),
    );
    disk.remove_file(&path)?;
    Ok(measured)
}

/// One byte there and back over loopback TCP, one at a time.
pub fn round_trips(time: Duration) -> Result<Measured> {
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
    let measured = counting.over("loopback: 1 B there and back", began.elapsed());
    drop(near);
    echo.join().ok();
    Ok(measured)
}

/// Bytes in one direction over loopback TCP, in writes of 1 MiB.
pub fn stream(time: Duration) -> Result<Measured> {
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
    let measured = counting.over("loopback: one stream, 1 MiB writes", began.elapsed());
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
