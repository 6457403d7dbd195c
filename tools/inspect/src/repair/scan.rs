//! Which batches of a segment are intact and belong together, and what lies between them.
//!
//! A walk that follows one batch after the other is led astray by a batch that stands in a wrong place. So here all intact batches are
//! collected first, and then the largest set of them is kept that makes a log: in order, and with room for what is missing in between.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use npayload::format::{BATCH_HEADER_BYTES, BatchHeader, MIN_GAP_BYTES, check_stored};
use npayload::storage::disk::DiskFile;
use npayload::types::{Incarnation, LogEpoch, Timestamp};

/// Bytes read at once while looking for the next batch.
const BLOCK_BYTES: usize = 1 << 20;
/// Batches start on a multiple of it after padding.
const ALIGNMENT: u64 = 4096;
/// How many runs back a run may follow another one: damage in more places at once than this is not told apart any better.
const MAX_SKIPPED_RUNS: usize = 2000;

/// An intact batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intact {
    pub position: u64,
    pub length: u64,
    pub base_offset: u64,
    pub end_offset: u64,
    pub append_time: Timestamp,
    pub epoch: LogEpoch,
}

impl Intact {
    pub fn end(&self) -> u64 {
        self.position + self.length
    }
}

/// Bytes that hold no batch, and the offsets that are missing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    pub bytes: Range<u64>,
    pub offsets: Range<u64>,
    /// The last batch before it, and the first behind it.
    pub before: Option<Intact>,
    pub behind: Option<Intact>,
}

/// What is asked of a segment's bytes.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub incarnation: Incarnation,
    /// From the first batch up to the byte after the last.
    pub bytes: Range<u64>,
    /// What these bytes should hold.
    pub offsets: Range<u64>,
}

/// What a segment has.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    pub batches: Vec<Intact>,
    pub holes: Vec<Hole>,
    /// Offsets are missing in a place that has no bytes for them.
    pub has_no_room: bool,
}

/// Finds the batches of a segment.
pub fn scan(file: &dyn DiskFile, wanted: &Wanted) -> io::Result<Scanned> {
    let all = intact_batches(file, wanted)?;
    let runs = runs_of(file, &all)?;
    let chain = best_chain(file, wanted, &all, &runs)?;
    let Some(chain) = chain.or(all.is_empty().then(Vec::new)) else {
        return Ok(Scanned {
            has_no_room: true,
            ..Scanned::default()
        });
    };
    let batches: Vec<Intact> = chain
        .into_iter()
        .flat_map(|run| all[runs[run].clone()].iter().copied())
        .collect();
    let mut scanned = Scanned::default();
    let mut at = (wanted.bytes.start, wanted.offsets.start);
    let mut before = None;
    for batch in batches.iter().copied().map(Some).chain([None]) {
        let to = batch.map_or((wanted.bytes.end, wanted.offsets.end), |batch| {
            (batch.position, batch.base_offset)
        });
        if !follows(file, at, to, batch.is_none())? {
            scanned.holes.push(Hole {
                bytes: at.0..to.0,
                offsets: at.1..to.1,
                before,
                behind: batch,
            });
        }
        if let Some(batch) = batch {
            at = (batch.end(), batch.end_offset);
            before = Some(batch);
        }
    }
    scanned.has_no_room = scanned.holes.iter().any(|hole| {
        let (bytes, offsets) = (
            hole.bytes.end - hole.bytes.start,
            hole.offsets.end - hole.offsets.start,
        );
        let is_end = hole.bytes.end == wanted.bytes.end && hole.behind.is_none();
        !(fits(bytes, offsets) || is_end && bytes == 0)
    });
    scanned.batches = batches;
    Ok(scanned)
}

/// Whether so many bytes may stand for so many lost offsets: padding for none, a gap for some.
fn fits(bytes: u64, offsets: u64) -> bool {
    match offsets {
        0 => bytes < ALIGNMENT,
        _ => bytes >= MIN_GAP_BYTES as u64 && bytes.is_multiple_of(8),
    }
}

/// Whether nothing is missing or wrong between two places: the next batch stands where the last one ended, or behind zeros on the
/// next block.
fn follows(
    file: &dyn DiskFile,
    from: (u64, u64),
    to: (u64, u64),
    is_end: bool,
) -> io::Result<bool> {
    if from.1 != to.1 {
        return Ok(false);
    }
    if from.0 == to.0 {
        return Ok(true);
    }
    let is_padding = !is_end && to.0 == from.0.next_multiple_of(ALIGNMENT) && to.0 > from.0;
    Ok(is_padding && is_zero(file, from.0..to.0)?)
}

fn is_zero(file: &dyn DiskFile, range: Range<u64>) -> io::Result<bool> {
    let bytes = read(file, range.start, range.end - range.start)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

/// The bytes from `at` on, up to `len`; fewer only at the end of the file.
pub fn read(file: &dyn DiskFile, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let there = file.len()?.saturating_sub(at).min(len);
    let mut bytes = vec![0; usize::try_from(there).map_err(io::Error::other)?];
    let read = file.read_at(at, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Every intact batch of the log with offsets that the segment should hold, by position. Where one ends, the next is looked for.
pub fn intact_batches(file: &dyn DiskFile, wanted: &Wanted) -> io::Result<Vec<Intact>> {
    let mark = wanted.incarnation.0.to_le_bytes();
    let mut found = Vec::new();
    let mut at = wanted.bytes.start;
    let mut window = Window::default();
    while at + BATCH_HEADER_BYTES as u64 <= wanted.bytes.end {
        let head = window.read(file, at, BATCH_HEADER_BYTES as u64)?;
        // The cheap test first: in damaged parts this runs at every eighth byte.
        if head.len() < BATCH_HEADER_BYTES {
            break;
        }
        if head[16..32] != mark {
            at += 8;
            continue;
        }
        let Some(header) = BatchHeader::peek(&head).ok() else {
            at += 8;
            continue;
        };
        let length = header.len() as u64;
        if at + length > wanted.bytes.end {
            at += 8;
            continue;
        }
        let bytes = window.read(file, at, length)?;
        let (base, end) = (header.base_offset().0, header.end_offset().0);
        let is_in = wanted.offsets.start <= base && end <= wanted.offsets.end;
        if !is_in || check_stored(&bytes).is_err() {
            at += 8;
            continue;
        }
        found.push(Intact {
            position: at,
            length,
            base_offset: base,
            end_offset: end,
            append_time: header.append_time(),
            epoch: header.log_epoch(),
        });
        at += length;
    }
    Ok(found)
}

/// A file read forward through a block at a time.
#[derive(Default)]
struct Window {
    at: u64,
    bytes: Bytes,
}

impl Window {
    fn read(&mut self, file: &dyn DiskFile, at: u64, len: u64) -> io::Result<Bytes> {
        let held = self.at..self.at + self.bytes.len() as u64;
        if !(held.contains(&at) && at + len <= held.end) {
            self.bytes = read(file, at, len.max(BLOCK_BYTES as u64))?.into();
            self.at = at;
        }
        let from = usize::try_from(at - self.at).map_err(io::Error::other)?;
        let to = usize::try_from(at - self.at + len).map_err(io::Error::other)?;
        Ok(self
            .bytes
            .slice(from.min(self.bytes.len())..to.min(self.bytes.len())))
    }
}

/// The batches that follow each other without anything missing, as ranges of `all`.
fn runs_of(file: &dyn DiskFile, all: &[Intact]) -> io::Result<Vec<Range<usize>>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, batch) in all.iter().enumerate() {
        let joins = match runs.last() {
            Some(run) => {
                let last = &all[run.end - 1];
                let (from, to) = (
                    (last.end(), last.end_offset),
                    (batch.position, batch.base_offset),
                );
                is_ordered(last, batch) && follows(file, from, to, false)?
            }
            None => false,
        };
        match runs.last_mut() {
            Some(run) if joins => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    Ok(runs)
}

fn is_ordered(before: &Intact, behind: &Intact) -> bool {
    before.end_offset <= behind.base_offset
        && before.append_time <= behind.append_time
        && before.epoch <= behind.epoch
}

/// The runs, as numbers, that together keep the most batches; none when no set of them leaves room for what is missing.
fn best_chain(
    file: &dyn DiskFile,
    wanted: &Wanted,
    all: &[Intact],
    runs: &[Range<usize>],
) -> io::Result<Option<Vec<usize>>> {
    let start = (wanted.bytes.start, wanted.offsets.start);
    let end = (wanted.bytes.end, wanted.offsets.end);
    let has_room = |from: (u64, u64), to: (u64, u64), is_end: bool| -> io::Result<bool> {
        if from.0 > to.0 || from.1 > to.1 {
            return Ok(false);
        }
        if follows(file, from, to, is_end)? {
            return Ok(true);
        }
        let (bytes, offsets) = (to.0 - from.0, to.1 - from.1);
        // Nothing was padded in front of the end, and behind it a gap may still be appended.
        Ok(match (is_end, bytes, offsets) {
            (true, _, 0) => false,
            (true, 0, _) => true,
            (false, _, 0) => bytes > 0 && to.0 == from.0.next_multiple_of(ALIGNMENT),
            _ => fits(bytes, offsets),
        })
    };
    let tail = |run: usize| {
        let last = &all[runs[run].end - 1];
        (last.end(), last.end_offset)
    };
    let head = |run: usize| {
        let first = &all[runs[run].start];
        (first.position, first.base_offset)
    };
    // The most batches in a chain that ends with each run, and the run before it.
    let mut best: Vec<Option<(usize, Option<usize>)>> = Vec::with_capacity(runs.len());
    for run in 0..runs.len() {
        let own = runs[run].len();
        let mut chosen = has_room(start, head(run), false)?.then_some((own, None));
        for before in (run.saturating_sub(MAX_SKIPPED_RUNS)..run).rev() {
            let Some((count, _)) = best[before] else {
                continue;
            };
            let is_better = chosen.is_none_or(|(most, _)| count + own > most);
            if is_better
                && is_ordered(&all[runs[before].end - 1], &all[runs[run].start])
                && has_room(tail(before), head(run), false)?
            {
                chosen = Some((count + own, Some(before)));
            }
        }
        best.push(chosen);
    }
    let mut last: Option<(usize, usize)> = None;
    for (run, chain) in best.iter().enumerate() {
        if let Some((count, _)) = *chain
            && last.is_none_or(|(most, _)| count > most)
            && has_room(tail(run), end, true)?
        {
            last = Some((count, run));
        }
    }
    let mut chain = Vec::new();
    let mut at = last.map(|(_, run)| run);
    while let Some(run) = at {
        chain.push(run);
        at = best[run].and_then(|(_, before)| before);
    }
    chain.reverse();
    Ok((!chain.is_empty()).then_some(chain))
}
