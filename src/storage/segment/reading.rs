//! Batches out of a segment: mapped for sockets, or copied for who looks at them.

use std::sync::Arc;

use bytes::Bytes;

use super::choosing::{Chosen, Wanted, choose, damaged};
use super::{FIRST_BATCH, Open, Segment};
use crate::storage::disk::{Disk, DiskFile, read_exact_at};
use crate::storage::error::{IoFailure, ReadError, While, is_no_file};
use crate::storage::index::Index;
use crate::storage::open_files::OpenFiles;
use crate::storage::walk::{Step, WINDOW_BYTES, Walker};
use crate::types::{LogEpoch, Offset, Timestamp};

/// Stored bytes of whole batches, in order.
#[derive(Debug, Default)]
pub struct Slices {
    /// The bytes; each part holds whole batches, without padding.
    pub parts: Vec<Bytes>,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Offset after the last batch.
    pub next: Offset,
}

/// Most bytes that are looked at in memory behind those that as many bytes of batches take without
/// padding between them.
const MOST_REST: u64 = 16 * 1024 * 1024;

/// A map of a segment's file, which tells the segment how long it lives.
struct Map {
    bytes: Bytes,
    _of: Arc<()>,
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Segment {
    /// Whole batches from the one that holds `from`, at least one, as far as they are wanted.
    pub(in crate::storage) fn read(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        from: Offset,
        wanted: Wanted,
    ) -> Result<Slices, ReadError> {
        let mut guard = match self.opened(disk, open_files) {
            Err(failure) if is_no_file(&failure.source) => {
                return Err(damaged(
                    &self.id,
                    0,
                    from,
                    None,
                    "the file is missing".into(),
                ));
            }
            opened => opened?,
        };
        let open = guard.as_mut().expect("opened above");
        let mut chosen = choose(open, &self.id, from, wanted, self.length());
        if open.index.is_from_files() && matches!(chosen, Err(ReadError::Damaged { .. })) {
            // An index is no evidence: the batches have the last word.
            open.index = Index::rebuild(&self.id, &*open.file, self.length())?;
            chosen = choose(open, &self.id, from, wanted, self.length());
        }
        let chosen = chosen?;
        let file = open.file.clone();
        if wanted.is_copied {
            // Not under its lock: who books a round waits for that with the broker's.
            drop(guard);
            return Ok(copied(&*file, chosen).or_while("reading", &self.id.path)?);
        }
        let ranges = chosen.ranges.clone();
        let slices = self.sliced(open, chosen)?;
        drop(guard);
        for (from, to) in ranges {
            file.warm(from..to);
        }
        Ok(slices)
    }

    /// As [`Segment::read`], where nobody would wait for the disk: the segment is open, nobody else is
    /// about it, and what would be read is in memory. `None` where it is not so, or nothing good is found.
    pub(in crate::storage) fn read_warm(&self, from: Offset, wanted: Wanted) -> Option<Slices> {
        let mut guard = self.open.try_lock().ok()?;
        let open = guard.as_mut()?;
        let seen = self.warm_to(open, from, wanted.max_bytes)?;
        let wanted = Wanted {
            is_now: true,
            ..wanted
        };
        let chosen = choose(open, &self.id, from, wanted, self.length()).ok()?;
        let end = chosen.end();
        // To map it anew may take a while.
        (end <= open.map.len() as u64).then_some(())?;
        // Small batches, each on a block of its own, lie over many times the bytes that they have.
        let is_seen = end <= seen || end - seen <= MOST_REST && open.file.is_warm(seen..end);
        is_seen.then_some(())?;
        self.sliced(open, chosen).ok()
    }

    /// Up to which byte the file is in memory: the batch that holds `offset`, and what follows it in
    /// about so many bytes. `None` where not all of that is.
    fn warm_to(&self, open: &Open, offset: Offset, bytes: u64) -> Option<u64> {
        let index = &open.index;
        let run = index.runs().get(index.run_of(offset))?;
        let start = u64::from(run.position);
        // Who looks for the last of them reads on as far.
        let len = bytes
            .max(run.length.into())
            .saturating_add(WINDOW_BYTES as u64);
        let end = start.saturating_add(len).min(self.length());
        // A cut may have taken them away.
        (start < end && open.file.is_warm(start..end)).then_some(end)
    }

    /// What was chosen, as slices of the map.
    fn sliced(&self, open: &mut Open, chosen: Chosen) -> Result<Slices, IoFailure> {
        let needed = chosen.end();
        if (open.map.len() as u64) < needed {
            // A damaged end may be missing from the file.
            let path = &self.id.path;
            let file_len = open.file.len().or_while("reading the length of", path)?;
            let len = self.length().min(file_len).max(needed);
            match open.file.map(0..len) {
                Ok(bytes) => {
                    let _of = self.maps.clone();
                    open.map = Bytes::from_owner(Map { bytes, _of });
                }
                // A file system that has turned read-only by itself maps nothing any more, and a
                // process has only so many maps; both are still read.
                Err(error) => {
                    tracing::debug!(%error, segment = %path.display(), "read without a map");
                    return copied(&*open.file, chosen).or_while("reading", path);
                }
            }
        }
        let at = |position: u64| usize::try_from(position).expect("mapped, so it fits");
        let map = &open.map;
        let parts = chosen
            .ranges
            .iter()
            .map(|(from, to)| map.slice(at(*from)..at(*to)))
            .collect();
        Ok(Slices {
            parts,
            bytes: chosen.bytes,
            next: chosen.next,
        })
    }

    /// The first offset whose append time is at or after `time`, if the segment has one.
    pub(in crate::storage) fn offset_at(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        time: Timestamp,
    ) -> Result<Option<Offset>, IoFailure> {
        let mut guard = self.opened(disk, open_files)?;
        let open = guard.as_mut().expect("opened above");
        let first = open.index.run_before(time);
        let Some(run) = open.index.runs().get(first) else {
            return Ok(None);
        };
        let limit = self.length();
        let mut walker = Walker::new(&*open.file, &self.id, run.position.into(), limit, run.first);
        while let Some(step) = walker.step()? {
            if let Step::Batch(batch) = step
                && batch.append_time >= time
            {
                return Ok(Some(batch.offsets.start));
            }
        }
        Ok(None)
    }

    /// Epoch and append time of the batch that holds `offset`; `None` where it is damaged, or a gap
    /// that knows nothing of the batches it stands for.
    pub(in crate::storage) fn batch_at(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        offset: Offset,
    ) -> Result<Option<(LogEpoch, Timestamp)>, IoFailure> {
        let mut guard = self.opened(disk, open_files)?;
        let open = guard.as_mut().expect("opened above");
        self.batch_in(open, offset, false)
    }

    /// The same where nobody would wait for the disk, as in [`Segment::read_warm`].
    pub(in crate::storage) fn batch_at_warm(
        &self,
        offset: Offset,
    ) -> Option<Option<(LogEpoch, Timestamp)>> {
        let guard = self.open.try_lock().ok()?;
        let open = guard.as_ref()?;
        self.warm_to(open, offset, 0)?;
        self.batch_in(open, offset, true).ok()
    }

    fn batch_in(
        &self,
        open: &Open,
        offset: Offset,
        is_now: bool,
    ) -> Result<Option<(LogEpoch, Timestamp)>, IoFailure> {
        let Some(run) = open.index.runs().get(open.index.run_of(offset)) else {
            return Ok(None);
        };
        let (start, limit) = (run.position.into(), self.length());
        let walker = Walker::new(&*open.file, &self.id, start, limit, run.first);
        let mut walker = walker.now(is_now);
        while let Some(step) = walker.step()? {
            if let Step::Batch(batch) = step
                && offset < batch.offsets.end
            {
                // Where it begins behind the record, that one's batch is damaged.
                if batch.header.is_gap() || offset < batch.offsets.start {
                    return Ok(None);
                }
                return Ok(Some((batch.header.log_epoch(), batch.append_time)));
            }
        }
        Ok(None)
    }

    /// What a reader of the batch that begins at `offset` is told of it: it failed its checks.
    pub(in crate::storage) fn damaged_at(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        offset: Offset,
        what: Arc<str>,
    ) -> Result<ReadError, IoFailure> {
        let mut guard = self.opened(disk, open_files)?;
        let open = guard.as_mut().expect("opened above");
        let runs = open.index.runs();
        let run = runs.get(open.index.run_of(offset));
        let (mut position, from) = run.map_or((FIRST_BATCH, self.id.base), |run| {
            (run.position.into(), run.first)
        });
        let mut walker = Walker::new(&*open.file, &self.id, position, self.length(), from);
        while let Some(step) = walker.step()? {
            let (start, end) = match step {
                Step::Batch(batch) => (batch.range.start.into(), Some(batch.offsets.end)),
                Step::Gap(gap) => (gap.position, gap.next),
            };
            if end.is_none_or(|end| offset < end) {
                position = start;
                break;
            }
        }
        Ok(damaged(&self.id, position, offset, None, what))
    }
}

/// Reads what was chosen into memory.
fn copied(file: &dyn DiskFile, chosen: Chosen) -> std::io::Result<Slices> {
    let mut parts = Vec::with_capacity(chosen.ranges.len());
    for (from, to) in chosen.ranges {
        let mut bytes = vec![0; usize::try_from(to - from).expect("read at once, so it fits")];
        read_exact_at(file, from, &mut bytes)?;
        parts.push(Bytes::from(bytes));
    }
    Ok(Slices {
        parts,
        bytes: chosen.bytes,
        next: chosen.next,
    })
}
