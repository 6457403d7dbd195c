//! Batches that break a rule at the door, and bombs.

use npayload::format::{Compression, MAX_BATCH_BYTES};
use serde_json::json;

use super::Watched;
use crate::raw::*;

#[test]
fn batches_that_break_a_rule_are_refused_at_the_door() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let good = batch(&[b"hello", b"", b"world"]);
    let mut refused = |name: &str, bytes: &[u8]| raw.publish("kept", bytes).error(name);
    for at in 72..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        refused("BATCH_CHECKSUM", &flipped);
    }
    for cut in 0..good.len() {
        refused("INVALID_BATCH", &good[..cut]);
    }
    refused("INVALID_BATCH", &[&good[..], &good[..]].concat());
    refused("INVALID_BATCH", &[&good[..], &[0; 8]].concat());
    // What the broker stamps must be zero; each byte of it, alone.
    for at in (4..8).chain(10..12).chain(16..72) {
        let mut stamped = good.clone();
        stamped[at] = 1;
        refused("INVALID_BATCH", &stamped);
    }
    let set = |at: usize, value: u32| {
        forged(good.clone(), |batch| {
            batch[at..at + 4].copy_from_slice(&value.to_le_bytes());
        })
    };
    for count in [0, 1, 2, 4, 1_000_001, u32::MAX] {
        let forged = forged(set(76, count), |batch| {
            batch[80..84].copy_from_slice(&count.to_le_bytes());
        });
        let name = if count > 1_000_000 {
            "BATCH_TOO_LARGE"
        } else {
            "INVALID_BATCH"
        };
        refused(name, &forged);
    }
    refused("INVALID_BATCH", &set(80, 4));
    for length in [0, 1, u32::MAX] {
        refused("INVALID_BATCH", &set(108, length));
    }
    for length in [0, 1, u32::MAX] {
        let name = if length == u32::MAX {
            "BATCH_TOO_LARGE"
        } else {
            "INVALID_BATCH"
        };
        refused(name, &set(84, length));
    }
    for compression in [0u8, 4, 255] {
        refused(
            "INVALID_BATCH",
            &forged(good.clone(), |b| b[72] = compression),
        );
    }
    // The first record: its length, delta, key and header counts, flags.
    refused("RECORD_TOO_LARGE", &set(128, u32::MAX));
    for (at, value) in [(128, 0), (128, 23), (132, 1), (144, u32::MAX)] {
        refused("INVALID_BATCH", &set(at, value));
    }
    for (at, value) in [(150, 255u8), (151, 0x80), (148, 255), (149, 255)] {
        refused("INVALID_BATCH", &forged(good.clone(), |b| b[at] = value));
    }
    watched.is_untouched();
}

#[test]
fn compression_bombs_and_oversized_records_are_bounded() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let zeros = vec![0; 1 << 20];
    for compression in [Compression::Lz4, Compression::Zstd] {
        let packed = batch_of(From::default(), compression, &[&zeros[..900_000]; 8]);
        assert!(packed.len() < 100_000);
        // It claims less than it holds, and more.
        let claim = |value: u32| {
            forged(packed.clone(), |batch| {
                batch[84..88].copy_from_slice(&value.to_le_bytes());
            })
        };
        for claimed in [0, 1, 900_000, 8 << 20] {
            raw.publish("kept", &claim(claimed)).error("INVALID_BATCH");
        }
        // Eight records of the channel's largest size do not make that much.
        raw.publish("kept", &claim(64 << 20))
            .error("RECORD_TOO_LARGE");
        let details = raw
            .publish("kept", &claim(u32::MAX))
            .error("BATCH_TOO_LARGE");
        assert_eq!(details["limit"], MAX_BATCH_BYTES - 128);
        // Garbage where a compressed frame should be, with a right checksum.
        let garbage = forged(packed.clone(), |batch| batch[128..].fill(0xA5));
        raw.publish("kept", &garbage).error("INVALID_BATCH");
        let wrong = if compression == Compression::Lz4 {
            3
        } else {
            2
        };
        let wrong = forged(packed.clone(), |batch| batch[72] = wrong);
        raw.publish("kept", &wrong).error("INVALID_BATCH");
        let large = batch_of(From::default(), compression, &[&zeros[..]]);
        let details = raw.publish("kept", &large).error("RECORD_TOO_LARGE");
        assert_eq!(details, json!({"found": (1 << 20) + 24, "limit": 1 << 20}));
    }
    let large = batch(&[b"small", &zeros]);
    let details = raw.publish("kept", &large).error("RECORD_TOO_LARGE");
    assert_eq!(details["limit"], 1 << 20);
    raw.json(
        CREATE,
        &json!({"name": "plain", "config": {"compression": ["none"]}}),
    )
    .of(CREATE);
    let packed = batch_of(From::default(), Compression::Zstd, &[b"x"]);
    raw.publish("plain", &packed)
        .error("COMPRESSION_NOT_ALLOWED");
    watched.is_untouched();
}

#[test]
fn compressed_frames_within_frames_and_frames_that_want_all_memory_are_refused() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let zeros = vec![0; 900_000];
    let packed = batch_of(From::default(), Compression::Zstd, &[&zeros]);
    // The records of a batch, replaced by other bytes that claim to be as much as before.
    let with_records = |records: &[u8]| {
        let mut batch = packed[..128].to_vec();
        batch.extend(records);
        let records_len = u32::try_from(records.len()).expect("short").to_le_bytes();
        batch[108..112].copy_from_slice(&records_len);
        batch.resize(batch.len().next_multiple_of(8), 0);
        let length = u32::try_from(batch.len()).expect("short").to_le_bytes();
        batch[..4].copy_from_slice(&length);
        forged(batch, |_| {})
    };
    let records_len = u32::from_le_bytes(packed[108..112].try_into().expect("4 bytes"));
    let frame = &packed[128..128 + records_len as usize];
    raw.publish("kept.not", &with_records(frame)).published();
    let again = zstd::bulk::compress(frame, 3).expect("compressed");
    let skippable = [&[0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], frame].concat();
    // A window of 2^41 bytes, which a decoder would have to keep; one block of one repeated byte.
    let window = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8, 0x03, 0xFF, 0x7F, 0x00];
    // It says that 2^63 bytes will come out.
    let size = [
        0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x03, 0xFF, 0x7F, 0x00,
    ];
    for records in [
        &again[..],
        &[frame, frame].concat(),
        &skippable,
        &window,
        &size,
        &frame[..frame.len() - 1],
        &[0x28, 0xB5, 0x2F, 0xFD],
    ] {
        raw.publish("kept", &with_records(records))
            .error("INVALID_BATCH");
    }
    watched.is_untouched();
}
