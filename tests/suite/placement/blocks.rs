//! Where batches lie in their segments.

use std::sync::Arc;

use npayload::format::BatchHeader;
use npayload::storage::disk::{Disk, OpenMode};
use npayload::types::Offset;

use super::new;
use crate::storage_harness::{CHECKPOINT_MS, Harness, Mercy, batch, log_id, segment_file, small};

const BLOCK: u64 = 4096;

/// First offset and position of every batch in the first segment of a log.
fn places(disk: &dyn Disk, n: u64) -> Vec<(u64, u64)> {
    let file = disk.open(&segment_file(n, 0), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let mut places = Vec::new();
    let mut at = 4096;
    while at < bytes.len() {
        match BatchHeader::peek(&bytes[at..]) {
            Ok(header) => {
                places.push((header.base_offset().0, at as u64));
                at += header.len();
            }
            Err(_) => {
                let next = (at + 1).next_multiple_of(4096).min(bytes.len());
                assert!(bytes[at..next].iter().all(|byte| *byte == 0), "padding");
                at = next;
            }
        }
    }
    places
}

#[test]
fn a_batch_after_a_checkpoint_starts_on_a_fresh_block() {
    let (disk, mut harness) = new();
    harness.append(&[(1, &[100])]).unwrap();
    harness.append(&[(1, &[100])]).unwrap();
    harness.checkpoint();
    let before = places(&disk, 1);
    assert_eq!(before.len(), 2);
    assert!(
        !before[1].1.is_multiple_of(BLOCK),
        "batches follow each other"
    );
    harness.append(&[(1, &[100])]).unwrap();
    harness.checkpoint();
    let after = places(&disk, 1);
    assert_eq!(after[..2], before);
    assert!(after[2].1.is_multiple_of(BLOCK), "{after:?}");
}

#[test]
fn a_direct_run_shares_no_block_with_what_is_written_later() {
    let (disk, mut harness) = new();
    harness.append(&[(1, &[100])]).unwrap();
    harness.round();
    assert_ne!(harness.storage.unwritten_bytes(), 0);
    harness.append(&[(1, &[3_200])]).unwrap();
    harness.round();
    // The tail in front of it shares its first block, so it was written too.
    assert_eq!(places(&disk, 1).len(), 2);
    let records = small().write_behind_bytes;
    assert!(
        harness.storage.unwritten_bytes() < records,
        "only the directory is left"
    );
    harness.append(&[(1, &[20])]).unwrap();
    harness.checkpoint();
    let places = places(&disk, 1);
    assert!(places[2].1.is_multiple_of(BLOCK), "{places:?}");
    harness.check();
}

#[test]
fn a_checkpoint_that_is_cut_within_a_direct_run_finds_what_follows_it() {
    let (disk, mut harness) = new();
    // It fills its block, so that the next one follows it although it begins a fresh one.
    let whole = |size: &usize| batch(0, &[*size]).len() as u64 == BLOCK;
    let whole = (3_000..4_096).find(whole).unwrap();
    harness.append(&[(1, &[whole])]).unwrap();
    harness.now += CHECKPOINT_MS;
    harness.step_upkeep(); // it is cut, and waits for the round
    harness.append(&[(1, &[500])]).unwrap();
    harness.append(&[(1, &[500])]).unwrap();
    let before = harness.storage.checkpoint_number();
    harness.flush();
    assert_eq!(harness.storage.checkpoint_number(), before + 1);
    let places = places(&disk, 1);
    assert_eq!(places[..2], [(0, BLOCK), (1, 2 * BLOCK)]);
    let (now, model) = (harness.now + 1, harness.kill());
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    harness.check_recovered(Mercy::Power);
    assert_eq!(harness.storage.log(log_id(1)).unwrap().end(), Offset(3));
}
