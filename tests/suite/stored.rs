//! What lies in the files of a data directory.

use std::path::Path;

use npayload::format::BatchHeader;
use npayload::storage::disk::{Disk, OpenMode};

/// All bytes of a file.
pub fn read_file(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The batches of a segment, and where they begin.
pub fn batches(segment: &[u8]) -> Vec<(usize, BatchHeader)> {
    let mut batches = Vec::new();
    let mut at = 4096;
    while at < segment.len() {
        match BatchHeader::peek(&segment[at..]) {
            Ok(header) => {
                batches.push((at, header));
                at += header.len();
            }
            Err(_) => at = (at + 1).next_multiple_of(4096),
        }
    }
    batches
}
