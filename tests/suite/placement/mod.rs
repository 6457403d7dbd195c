//! Where batches lie in their segments, and what goes when.

#![expect(clippy::unwrap_used, reason = "the helpers of tests")]

mod blocks;
mod checkpoints;
mod entries;
mod reading;
mod removals;

use std::path::Path;
use std::sync::Arc;

use npayload::storage::disk::{Disk, MemoryDisk};

use crate::storage_harness::{Harness, Model, ROOT};

fn start(disk: &dyn Disk, open: impl FnOnce() -> Harness) -> Harness {
    let mut harness = open();
    (0..3).for_each(|n| harness.create(n));
    harness.flush();
    assert!(disk.exists(Path::new(ROOT)).unwrap());
    harness
}

fn new() -> (MemoryDisk, Harness) {
    let disk = MemoryDisk::new();
    let open = || Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    let harness = start(&disk, open);
    (disk, harness)
}
