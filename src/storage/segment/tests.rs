//! What a sync makes durable, and for whom.

use std::path::Path;

use super::*;
use crate::storage::disk::{CrashingDisk, FailingDisk, Fault, Loss, Operation};
use crate::storage::layout::Layout;
use crate::types::Incarnation;

fn new(disk: &CrashingDisk) -> Arc<Segment> {
    for dir in ["/data", "/data/channels"] {
        disk.create_dir(Path::new(dir)).unwrap();
        disk.sync_dir(Path::new(dir).parent().unwrap()).unwrap();
    }
    let layout = Layout::new(Path::new("/data"));
    written(disk, &layout, &Log::new(&layout, 1), 0)
}

/// A log's folder and its name.
struct Log(Incarnation, Arc<Folder>, Arc<Name>);

impl Log {
    fn new(layout: &Layout, n: u128) -> Self {
        Self(Incarnation(n), Arc::default(), layout.channels().name())
    }
}

/// A segment that has a batch, which no sync has covered.
fn written(disk: &dyn Disk, layout: &Layout, log: &Log, base: u64) -> Arc<Segment> {
    let id = SegmentId::new(layout, log.0, Offset(base));
    let segment = Segment::create(id, None, Timestamp(1), LogEpoch(1));
    let segment = Arc::new(segment.in_log(&log.1, log.2.clone()));
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
    segment.book_entry(Ok(())).unwrap();
    assert!(is_there(&disk, &segment));
    let calls = disk.calls();
    segment.sync(&disk).unwrap();
    assert_eq!(disk.calls(), calls);
}

/// A disk on which the n-th sync of a folder fails, behind that of the folders that are there.
fn failing(n: u64) -> (FailingDisk, Layout) {
    let disk = CrashingDisk::new();
    new(&disk);
    let failing = FailingDisk::new(Arc::new(disk));
    failing.plan(Fault::new(Fault::IO).on(Operation::SyncDir).nth(n));
    (failing, Layout::new(Path::new("/data")))
}

/// The operating system tells of a failed sync once: who syncs the folder of all logs behind that is told
/// that all is well.
#[test]
fn a_failed_sync_of_the_folder_of_all_logs_is_one_for_every_log_that_is_new_in_it() {
    // The first is of the log's own folder.
    let (disk, layout) = failing(2);
    let logs = [2, 3, 4].map(|n| Log::new(&layout, n));
    let [one, other] = [0, 1].map(|n| written(&disk, &layout, &logs[n], 0));
    one.sync(&disk).unwrap_err();
    assert_eq!(disk.struck(), 1);
    other.sync_in_log(&disk).unwrap();
    assert!(other.owes_entry());
    let synced = layout.channels().sync(&disk, &layout.channels_dir());
    assert!(synced.is_ok(), "{synced:?}");
    other.book_entry(synced).unwrap_err();
    let next = written(&disk, &layout, &logs[1], 1);
    next.sync(&disk).unwrap_err();
    // What is made behind it is lost with no sync.
    written(&disk, &layout, &logs[2], 0).sync(&disk).unwrap();
}

#[test]
fn a_failed_sync_of_a_logs_folder_is_one_for_every_segment_that_is_new_in_it() {
    let (disk, layout) = failing(3);
    let log = Log::new(&layout, 2);
    let before = written(&disk, &layout, &log, 0);
    before.sync(&disk).unwrap();
    let segment = written(&disk, &layout, &log, 1);
    // Where a removal is synced, as any other.
    let removed = log.1.sync(&disk, &layout.log_dir(log.0));
    assert!(removed.is_err(), "{removed:?}");
    segment.sync(&disk).unwrap_err();
    written(&disk, &layout, &log, 2).sync(&disk).unwrap();
    before.set_dirty();
    before.sync(&disk).unwrap();
}
