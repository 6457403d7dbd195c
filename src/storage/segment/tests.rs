//! What a sync makes durable, and for whom.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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
    segment.write(disk, &open_files, &batches, true).unwrap();
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
    segment.owing().unwrap().book(Ok(())).unwrap();
    assert!(is_there(&disk, &segment));
    let calls = disk.calls();
    segment.sync(&disk).unwrap();
    assert_eq!(disk.calls(), calls);
}

/// The operating system tells of a failed sync once: who syncs the folder of all logs behind that is told
/// that all is well.
#[test]
fn what_a_failed_sync_of_the_folder_of_all_logs_was_for_is_not_taken_for_durable_by_a_later_one() {
    let disk = CrashingDisk::new();
    let segment = new(&disk);
    segment.sync_in_log(&disk).unwrap();
    let owing = segment.owing().unwrap();
    let (sender, receiver) = mpsc::channel();
    let syncing = thread::spawn({
        let (disk, segment) = (disk.clone(), segment.clone());
        move || sender.send(segment.sync(&disk)).unwrap()
    });
    // The other comes in between, if it may.
    let between = receiver.recv_timeout(Duration::from_millis(200));
    assert!(between.is_err(), "{between:?}");
    let path = Path::new("/data/channels");
    let failure = IoFailure::new("syncing", path, std::io::Error::from_raw_os_error(5));
    owing.book(Err(failure)).unwrap_err();
    syncing.join().unwrap();
    receiver.recv().unwrap().unwrap_err();
}
