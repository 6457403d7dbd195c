//! One processor: checksums and copies.

use std::hint::black_box;
use std::time::Duration;

use crate::clock;
use crate::measured::{Counting, Measured};

/// Bytes that are gone through again and again: more than the nearest cache, as a large batch is.
const BLOCK_BYTES: usize = 1 << 20;

/// The checksum of stored bytes, for `time`.
pub fn crc32(time: Duration) -> Measured {
    let block = vec![7; BLOCK_BYTES];
    let mut counting = Counting::new();
    let began = clock();
    while began.elapsed() < time {
        let at = clock();
        black_box(crc32fast::hash(black_box(&block)));
        counting.book(at.elapsed(), 0, block.len() as u64);
    }
    counting.over("processor: CRC-32 of 1 MiB", began.elapsed())
}

/// A copy from one place in memory to another, for `time`.
pub fn copy(time: Duration) -> Measured {
    let (block, mut other) = (vec![7_u8; BLOCK_BYTES], vec![0_u8; BLOCK_BYTES]);
    let mut counting = Counting::new();
    let began = clock();
    while began.elapsed() < time {
        let at = clock();
        black_box(&mut other).copy_from_slice(black_box(&block));
        counting.book(at.elapsed(), 0, block.len() as u64);
    }
    counting.over("memory: 1 MiB copied", began.elapsed())
}
