//! What a sync makes durable, and for whom.

use std::path::Path;

use super::*;
use crate::storage::disk::{CrashingDisk, Loss};
use crate::storage::layout::Layout;
use crate::types::Incarnation;

fn new(disk: &CrashingDisk) -> Arc<Segment> {
    for dir in ["/data", "/data/channels"] {
        disk.create_dir(Path::new(dir)).unwrap();
        disk.sync_dir(Path::new(dir).parent().unwrap()).unwrap();
    }
    let layout = Layout::new(Path::new("/data"));
    let id = SegmentId::new(&layout, Incarnation(1), Offset(0));
    let segment = Arc::new(Segment::create(id, None, Timestamp(1), LogEpoch(1)));
    let batches = [(FIRST_BATCH, Bytes::from_static(b"a batch"))];
    let open_files = OpenFiles::new(4);
    segment.write(disk, &open_files, &batches).unwrap();
    segment
}

fn is_there(disk: &CrashingDisk, segment: &Segment) -> bool {
    let after = disk.after(Loss::All);
    after.exists(&segment.id().path()).unwrap()
}

#[test]
fn who_syncs_a_segment_has_its_logs_entry_too_whoever_has_synced_its_bytes() {
    let disk = CrashingDisk::new();
    let segment = new(&disk);
    segment.sync_in_log(&disk).unwrap();
    assert!(segment.owes_entry());
    assert!(!is_there(&disk, &segment), "the log's entry is not synced");
    segment.sync(&disk).unwrap();
    assert!(!segment.owes_entry());
    assert!(is_there(&disk, &segment));
}

#[test]
fn the_sync_of_the_folder_of_all_logs_is_owed_once() {
    let disk = CrashingDisk::new();
    let segment = new(&disk);
    segment.sync_in_log(&disk).unwrap();
    disk.sync_dir(Path::new("/data/channels")).unwrap();
    segment.book_entry(Ok(())).unwrap();
    assert!(is_there(&disk, &segment));
    let calls = disk.calls();
    segment.sync(&disk).unwrap();
    assert_eq!(disk.calls(), calls);
}
