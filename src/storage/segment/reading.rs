//! Batches out of a segment: mapped for sockets, or copied for who looks at them.

use std::sync::Arc;

use bytes::Bytes;

use super::choosing::{Chosen, Wanted, choose, damaged};
use super::{FIRST_BATCH, Segment};
use crate::storage::disk::{Disk, DiskFile, read_exact_at};
use crate::storage::error::{IoFailure, ReadError, While, is_no_file};
use crate::storage::index::Index;
use crate::storage::open_files::OpenFiles;
use crate::storage::walk::{Step, Walker};
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
        if wanted.is_copied {
            let path = &self.id.path;
            return Ok(copied(&*open.file, chosen).or_while("reading", path)?);
        }
        let needed = chosen.ranges.last().map_or(0, |range| range.1);
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
                    return Ok(copied(&*open.file, chosen).or_while("reading", path)?);
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
        let file = open.file.clone();
        drop(guard);
        for (from, to) in chosen.ranges {
            file.warm(from..to);
        }
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
        let Some(run) = open.index.runs().get(open.index.run_of(offset)) else {
            return Ok(None);
        };
        let limit = self.length();
        let mut walker = Walker::new(&*open.file, &self.id, run.position.into(), limit, run.first);
        while let Some(step) = walker.step()? {
            if let Step::Batch(batch) = step
                && offset < batch.offsets.end
            {
                if batch.header.is_gap() {
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
