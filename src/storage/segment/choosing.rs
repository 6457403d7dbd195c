//! Which batches of a segment a read brings.

use std::sync::Arc;

use super::Open;
use super::id::SegmentId;
use crate::storage::error::{IoFailure, ReadError};
use crate::storage::index::Run;
use crate::storage::walk::{Step, Walker};
use crate::types::Offset;

/// Where a read ends.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) struct Wanted {
    /// About so many bytes in all.
    pub max_bytes: u64,
    /// No batch from this offset on.
    pub until: Option<Offset>,
    /// The bytes are looked at: a map is for sockets only.
    pub is_copied: bool,
    /// Nobody may wait for the medium.
    pub is_now: bool,
}

impl Wanted {
    /// About so many bytes, whatever they are.
    pub fn bytes(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            until: None,
            is_copied: false,
            is_now: false,
        }
    }
}

pub(super) struct Chosen {
    pub(super) ranges: Vec<(u64, u64)>,
    pub(super) bytes: u64,
    pub(super) next: Offset,
}

impl Chosen {
    /// The byte after the last of them.
    pub(super) fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }
}

/// Chooses the batches to read: from the one that holds `from`, as far as they are wanted.
pub(super) fn choose(
    open: &Open,
    id: &SegmentId,
    from: Offset,
    Wanted {
        max_bytes,
        until,
        is_now,
        ..
    }: Wanted,
    length: u64,
) -> Result<Chosen, ReadError> {
    if let Some(gap) = open.index.gap_at(from) {
        return Err(damaged(id, gap.position, from, gap.next, gap.what.clone()));
    }
    let runs = open.index.runs();
    let mut chosen = Chosen {
        ranges: Vec::new(),
        bytes: 0,
        next: from,
    };
    for (at, run) in runs.iter().enumerate().skip(open.index.run_of(from)) {
        let is_first = chosen.bytes == 0;
        // The offset after a run is the start of the next, where no damage is between.
        let end = match runs.get(at + 1) {
            Some(next) => next.first,
            None => open.index.end().unwrap_or(run.first),
        };
        if !is_first && (open.index.gap_at(chosen.next).is_some() || run.first != chosen.next) {
            break;
        }
        let is_wanted = |end: Offset| until.is_none_or(|until| end <= until);
        let room = max_bytes.saturating_sub(chosen.bytes);
        if !is_first && u64::from(run.length) <= room && is_wanted(end) {
            push_range(
                &mut chosen,
                run.position.into(),
                u64::from(run.position + run.length),
            );
            chosen.next = end;
            if open
                .index
                .gaps()
                .iter()
                .any(|gap| gap.first >= run.first && gap.first < end)
            {
                chosen.next = run_end_by_walking(open, id, run, is_now)?;
                break;
            }
            continue;
        }
        let mut walker = walker_of(open, id, run, is_now);
        while let Some(step) = walker.step()? {
            let batch = match step {
                Step::Batch(batch) => batch,
                // Also where it seems to begin behind `from`: an index may place a run too high.
                Step::Gap(gap) if chosen.bytes == 0 => {
                    // The walk ends with the run; the next run may be intact.
                    let next = gap.next.or(runs.get(at + 1).map(|next| next.first));
                    return Err(damaged(id, gap.position, from, next, gap.what));
                }
                Step::Gap(_) => return Ok(chosen),
            };
            if batch.offsets.end <= from {
                continue;
            }
            if chosen.bytes == 0 && batch.offsets.start > from {
                let what = "the batches in front of this byte are missing";
                let (position, next) = (batch.range.start.into(), Some(batch.offsets.start));
                return Err(damaged(id, position, from, next, what.into()));
            }
            let len = u64::from(batch.range.end - batch.range.start);
            if chosen.bytes > 0 && (chosen.bytes + len > max_bytes || !is_wanted(batch.offsets.end))
            {
                return Ok(chosen);
            }
            push_range(
                &mut chosen,
                batch.range.start.into(),
                batch.range.end.into(),
            );
            chosen.next = batch.offsets.end;
        }
    }
    if chosen.bytes == 0 {
        let end = open.index.end().unwrap_or(id.base);
        let what = format!("the segment ends before offset {end}");
        return Err(damaged(id, length, from, None, what.into()));
    }
    Ok(chosen)
}

fn walker_of<'a>(open: &'a Open, id: &'a SegmentId, run: &Run, is_now: bool) -> Walker<'a> {
    let limit = u64::from(run.position) + u64::from(run.length);
    Walker::new(&*open.file, id, run.position.into(), limit, run.first).now(is_now)
}

fn run_end_by_walking(
    open: &Open,
    id: &SegmentId,
    run: &Run,
    is_now: bool,
) -> Result<Offset, IoFailure> {
    let mut walker = walker_of(open, id, run, is_now);
    let mut end = run.first;
    while let Some(Step::Batch(batch)) = walker.step()? {
        end = batch.offsets.end;
    }
    Ok(end)
}

fn push_range(chosen: &mut Chosen, from: u64, to: u64) {
    chosen.bytes += to - from;
    match chosen.ranges.last_mut() {
        Some(last) if last.1 == from => last.1 = to,
        _ => chosen.ranges.push((from, to)),
    }
}

pub(super) fn damaged(
    id: &SegmentId,
    position: u64,
    offset: Offset,
    next: Option<Offset>,
    what: Arc<str>,
) -> ReadError {
    ReadError::Damaged {
        segment: id.path(),
        position,
        offset,
        next,
        what,
    }
}
