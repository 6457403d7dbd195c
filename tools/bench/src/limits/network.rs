//! Loopback TCP, by the runtime that the broker uses.

use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::clock;
use crate::measured::{Counting, Measured};

/// Bytes of one write of a stream.
const WRITE_BYTES: usize = 256 << 10;

/// Bytes of a request and of its answer where many are under way: a small record's, about.
const REQUEST_BYTES: usize = 128;

/// Requests that are written at once, where many are under way; twice as many are.
const BURST: usize = 32;

/// Bytes in one direction for `time`, over as many connections.
pub async fn stream(connections: usize, time: Duration) -> Result<Measured> {
    let mut tasks = Vec::new();
    let began = clock();
    for _ in 0..connections {
        let (mut near, mut far) = pair().await?;
        let sink = tokio::spawn(async move {
            let mut buffer = vec![0; WRITE_BYTES];
            while far.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
        tasks.push(tokio::spawn(async move {
            let block = vec![7; WRITE_BYTES];
            let mut counting = Counting::new();
            while began.elapsed() < time {
                let at = clock();
                near.write_all(&block).await?;
                counting.book(at.elapsed(), 0, block.len() as u64);
            }
            drop(near);
            sink.await?;
            anyhow::Ok(counting)
        }));
    }
    let mut all = Counting::new();
    for task in tasks {
        all.add(&task.await??);
    }
    let name = match connections {
        1 => "loopback: one stream, writes of 256 KiB".to_owned(),
        _ => format!("loopback: {connections} streams, writes of 256 KiB"),
    };
    Ok(all.over(name, began.elapsed()))
}

/// One byte there and back for `time`, one at a time.
pub async fn round_trip(time: Duration) -> Result<Measured> {
    let (mut near, mut far) = pair().await?;
    let echo = tokio::spawn(async move {
        let mut byte = [0];
        while far.read_exact(&mut byte).await.is_ok() && far.write_all(&byte).await.is_ok() {}
    });
    let mut counting = Counting::new();
    let began = clock();
    let mut byte = [1];
    while began.elapsed() < time {
        let at = clock();
        near.write_all(&byte).await?;
        near.read_exact(&mut byte).await?;
        counting.book(at.elapsed(), 0, 1);
    }
    let measured = counting.over("loopback: 1 byte there and back", began.elapsed());
    drop(near);
    echo.await?;
    Ok(measured)
}

/// Small requests there and as small answers back for `time`, many of them under way; the times are
/// those of whole bursts.
pub async fn round_trips(time: Duration) -> Result<Measured> {
    let (mut near, mut far) = pair().await?;
    let echo = tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = far.read(&mut buffer).await {
            if far.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    });
    let mut counting = Counting::new();
    let mut burst = vec![7; BURST * REQUEST_BYTES];
    let began = clock();
    near.write_all(&burst).await?;
    let mut sent = began;
    while began.elapsed() < time {
        let next = clock();
        near.write_all(&burst).await?;
        near.read_exact(&mut burst).await?;
        let took = sent.elapsed();
        for _ in 0..BURST {
            counting.book(took, 0, REQUEST_BYTES as u64);
        }
        sent = next;
    }
    let name = format!(
        "loopback: {REQUEST_BYTES} bytes there and back, {} under way",
        2 * BURST
    );
    let measured = counting.over(name, began.elapsed());
    drop(near);
    echo.await?;
    Ok(measured)
}

async fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    let (far, _) = listener.accept().await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}
