//! Rules that no golden file shows: what the door refuses, what a decoder refuses, what comes back.

mod door;
mod gap;
mod round_trip;
mod seal;
mod structures;

use super::*;

const ANY: DoorLimits = DoorLimits {
    max_record_bytes: 1 << 20,
    lz4: true,
    zstd: true,
};

/// A batch of these payloads.
fn batch_of(compression: Compression, payloads: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for payload in payloads {
        builder
            .push(&NewRecord {
                payload: Some(payload),
                ..NewRecord::default()
            })
            .expect("a test's batch is small");
    }
    builder.build().expect("it has records").to_vec()
}

/// The batch with `bytes` written at `at` and the body's checksum made right again.
fn with(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    mend(&mut batch);
    batch
}

fn mend(batch: &mut [u8]) {
    let crc = crc32fast::hash(&batch[72..]);
    batch[12..16].copy_from_slice(&crc.to_le_bytes());
}
