//! What a read that may not wait takes from memory, what it leaves to who may, and whom that one keeps
//! waiting.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::format::testing::stored;
use crate::format::{Compression, NewRecord, Stamp};
use crate::storage::disk::{MemoryDisk, Watch, Watched};
use crate::storage::layout::Layout;
use crate::types::Incarnation;

const BLOCK: u64 = 4096;

/// Which bytes of a file are in memory. Counts who waits for the medium.
#[derive(Debug, Clone)]
struct Cached {
    /// Said to be there, below this one.
    said: u64,
    /// There, below this one.
    at_hand: u64,
    waits: Arc<AtomicU64>,
}

impl Cached {
    fn below(said: u64, at_hand: u64) -> Self {
        let waits = Arc::default();
        Self {
            said,
            at_hand,
            waits,
        }
    }
}

impl Watch for Cached {
    fn before_read(&self, _: Range<u64>) -> io::Result<()> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn is_warm(&self, bytes: Range<u64>) -> bool {
        bytes.end <= self.said
    }

    fn is_at_hand(&self, bytes: Range<u64>) -> bool {
        bytes.end <= self.at_hand
    }
}

/// A segment with batches of one record at these places, each of the epoch beside it, which is open,
/// indexed and mapped. The file may be changed before.
fn opened(
    places: &[(u64, u64)],
    watch: impl Watch + 'static,
    change: impl FnOnce(&dyn DiskFile),
) -> Arc<Segment> {
    let file = MemoryDisk::new().open(Path::new("a"), OpenMode::Create);
    let file = file.unwrap();
    let layout = Layout::new(Path::new("/data"));
    let id = SegmentId::new(&layout, Incarnation(1), Offset(0));
    let mut length = FIRST_BATCH;
    for (base, (position, epoch)) in (0..).zip(places) {
        let stamp = Stamp {
            incarnation: Incarnation(1),
            base_offset: Offset(base),
            append_time: Timestamp(1),
            log_epoch: LogEpoch(*epoch),
            principal: 0,
        };
        let batch = stored(Compression::None, &[NewRecord::default()], &stamp);
        file.write_at(*position, &[IoSlice::new(&batch)]).unwrap();
        length = position + batch.len() as u64;
    }
    change(&*file);
    let index = Index::rebuild(&id, &*file, length).unwrap();
    let map = file.map(0..length).unwrap();
    let segment = Arc::new(Segment::existing(id, None, length));
    let inner = file;
    *segment.lock() = Some(Open {
        file: Arc::new(Watched { inner, watch }),
        index,
        map,
    });
    segment
}

/// A batch on each of so many blocks.
fn sparse(blocks: u64) -> Vec<(u64, u64)> {
    (0..blocks)
        .map(|block| (FIRST_BATCH + block * BLOCK, 1))
        .collect()
}

/// A batch that waits for a checkpoint before and behind it has a block of its own: so many bytes of
/// such batches lie over many times as many of the file, and not only what was looked at is sent.
#[test]
fn what_is_sent_at_once_was_looked_at_however_far_apart_it_lies() {
    let cold = opened(&sparse(3), Cached::below(0, u64::MAX), |_| {});
    let found = cold.read_warm(Offset(0), Wanted::bytes(500));
    assert!(found.is_none(), "{found:?}");
    let places = sparse(200);
    let wanted = Wanted::bytes(64 * 1024);
    let cached = Cached::below(100 * BLOCK, u64::MAX);
    let segment = opened(&places, cached, |_| {});
    let found = segment.read_warm(Offset(0), wanted);
    assert!(found.is_none(), "up to {:?}", found.map(|found| found.next));
    let all = Cached::below(u64::MAX, u64::MAX);
    let segment = opened(&places, all, |_| {});
    let found = segment.read_warm(Offset(0), wanted);
    assert_eq!(found.map(|found| found.next), Some(Offset(200)));
}

/// What is in memory may be let go of right behind the look.
#[test]
fn who_reads_at_once_never_waits_for_the_medium() {
    let said = Cached::below(u64::MAX, 0);
    let segment = opened(&sparse(3), said.clone(), |_| {});
    assert!(segment.batch_at_warm(Offset(1)).is_none());
    let found = segment.read_warm(Offset(1), Wanted::bytes(500));
    assert!(found.is_none(), "{found:?}");
    assert_eq!(said.waits.load(Ordering::Relaxed), 0);
}

/// How far damage goes takes a search through all that is left of the segment.
#[test]
fn damage_is_looked_into_by_who_may_wait() {
    let places = [(FIRST_BATCH, 1), (2 * BLOCK, 1), (3 * BLOCK, 2)];
    let cached = Cached::below(u64::MAX, u64::MAX);
    let segment = opened(&places, cached.clone(), |_| {});
    // It comes later than the index.
    let file = segment.lock().as_ref().unwrap().file.clone();
    file.write_at(2 * BLOCK, &[IoSlice::new(&[0xFF; 60])])
        .unwrap();
    assert!(segment.batch_at_warm(Offset(1)).is_none());
    assert!(
        segment
            .read_warm(Offset(1), Wanted::bytes(1 << 20))
            .is_none()
    );
    assert_eq!(cached.waits.load(Ordering::Relaxed), 0);
    assert_eq!(
        segment.batch_at_warm(Offset(0)),
        Some(Some((LogEpoch(1), Timestamp(1))))
    );
}

#[test]
fn a_record_whose_batch_is_damaged_is_not_given_the_epoch_of_the_batch_behind_it() {
    let places = [(FIRST_BATCH, 1), (2 * BLOCK, 1), (3 * BLOCK, 2)];
    let cached = Cached::below(u64::MAX, u64::MAX);
    let segment = opened(&places, cached, |file| {
        file.write_at(2 * BLOCK, &[IoSlice::new(&[0xFF; 60])])
            .unwrap();
    });
    let (disk, files) = (MemoryDisk::new(), OpenFiles::new(4));
    let epoch_of = |offset| segment.batch_at(&disk, &files, Offset(offset)).unwrap();
    assert_eq!(epoch_of(0), Some((LogEpoch(1), Timestamp(1))));
    assert_eq!(epoch_of(1), None);
    assert_eq!(epoch_of(2), Some((LogEpoch(2), Timestamp(1))));
}

/// For each read, whether the segment was held meanwhile.
#[derive(Debug, Clone, Default)]
struct Held {
    segment: Arc<OnceLock<Weak<Segment>>>,
    reads: Arc<Mutex<Vec<bool>>>,
}

impl Watch for Held {
    fn before_read(&self, _: Range<u64>) -> io::Result<()> {
        let segment = self.segment.get().and_then(Weak::upgrade);
        let is_held = segment.is_some_and(|segment| segment.open.try_lock().is_err());
        self.reads.lock().unwrap().push(is_held);
        Ok(())
    }
}

/// Who books a round waits for the segment with the broker's lock, and everybody for that.
#[test]
fn nobody_waits_for_a_segment_while_its_batches_are_read_into_memory() {
    let watch = Held::default();
    let segment = opened(&sparse(3), watch.clone(), |_| {});
    watch.segment.set(Arc::downgrade(&segment)).unwrap();
    let wanted = Wanted {
        is_copied: true,
        ..Wanted::bytes(1 << 20)
    };
    let (disk, files) = (MemoryDisk::new(), OpenFiles::new(4));
    let found = segment.read(&disk, &files, Offset(0), wanted).unwrap();
    assert_eq!((found.next, found.parts.len()), (Offset(3), 3));
    let reads = watch.reads.lock().unwrap();
    // Behind those of headers.
    let of_batches = &reads[reads.len() - found.parts.len()..];
    assert_eq!(of_batches, [false; 3]);
}
