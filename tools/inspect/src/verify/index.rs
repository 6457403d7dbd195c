//! The offset index and the time index of one segment, checked against themselves and against the segment's batches.

use std::io;
use std::path::Path;

use npayload::format::{IndexHeader, IndexKind, OffsetEntry, TimeEntry};
use npayload::types::{Incarnation, Offset};

use crate::report::{FileReport, Kind};
use crate::source::Source;
use crate::verify::walk::{FIRST_BATCH, Found};

/// An index is read whole: a run covers 16 KiB, so that the index of the largest segment has 1 MiB.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// A run of whole batches, as one entry of the offset index has it.
#[derive(Clone, Copy, Debug)]
struct Run {
    offset_delta: u32,
    from: u64,
    to: u64,
}

/// Where an entry stands in its file.
fn entry_range(at: usize) -> (u64, u64) {
    let from = (IndexHeader::BYTES + at * OffsetEntry::BYTES) as u64;
    (from, from + OffsetEntry::BYTES as u64)
}

/// The indexes of one segment, while its batches are walked.
pub struct IndexCheck {
    base_offset: u64,
    /// Batches that end at or below this position are promised, and so are the entries that cover them.
    promised: u64,
    offsets: Option<FileReport>,
    times: Option<FileReport>,
    /// One for each entry of the offset index; none where the entry is damaged.
    runs: Vec<Option<Run>>,
    entry_times: Vec<Option<(i64, u32)>>,
    /// For each entry, and for one behind the last, where the last intact run before it ends.
    ends_before: Vec<u64>,
    next: usize,
    /// End of the run that the walk is in.
    covered_to: u64,
    /// Below this position nothing is known about the batches.
    unknown_to: u64,
    /// A damaged entry was passed: the batches up to the next entry have none.
    passed_damage: bool,
}

impl IndexCheck {
    /// Reads both indexes of the segment with `base_offset`, where they exist.
    pub fn open(
        offset_path: &Path,
        time_path: &Path,
        identity: (Incarnation, Offset),
        promised: u64,
        sealed: bool,
    ) -> io::Result<Self> {
        let mut check = Self {
            base_offset: identity.1.0,
            promised,
            offsets: None,
            times: None,
            runs: Vec::new(),
            entry_times: Vec::new(),
            ends_before: vec![FIRST_BATCH],
            next: 0,
            covered_to: FIRST_BATCH,
            unknown_to: 0,
            passed_damage: false,
        };
        if let Some((mut report, entries)) = read(offset_path, IndexKind::Offset, identity, sealed)?
        {
            check.runs = entries
                .iter()
                .map(|bytes| {
                    let entry = OffsetEntry::decode(bytes, identity.0, identity.1).ok()?;
                    let from = u64::from(entry.position);
                    Some(Run {
                        offset_delta: entry.offset_delta,
                        from,
                        to: from + u64::from(entry.length),
                    })
                })
                .collect();
            let mut end = FIRST_BATCH;
            check.ends_before.extend(check.runs.iter().map(|run| {
                end = run.map_or(end, |run| run.to);
                end
            }));
            check.judge_entries(&mut report, |check, at| check.runs[at].is_some());
            check.offsets = Some(report);
        }
        if let Some((mut report, entries)) = read(time_path, IndexKind::Time, identity, sealed)? {
            check.entry_times = entries
                .iter()
                .map(|bytes| {
                    let entry = TimeEntry::decode(bytes, identity.0, identity.1).ok()?;
                    Some((entry.append_time.0, entry.offset_delta))
                })
                .collect();
            let count = check.entry_times.len();
            check.judge_entries(&mut report, |check, at| check.entry_times[at].is_some());
            if check.offsets.is_some() && sealed && count != check.runs.len() {
                report.note(format!("{count} entries for {} runs", check.runs.len()));
            }
            check.times = Some(report);
        }
        Ok(check)
    }

    /// Whether the segment has this index.
    pub fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::TimeIndex => self.times.is_some(),
            _ => self.offsets.is_some(),
        }
    }

    /// Books the promised entries of a file as checked, and as damaged those that fail their own checksum.
    fn judge_entries(&self, report: &mut FileReport, intact: impl Fn(&Self, usize) -> bool) {
        let count = match report.kind {
            Kind::TimeIndex => self.entry_times.len(),
            _ => self.runs.len(),
        };
        let mut at = 0;
        while at < count {
            // A file full of garbage is one finding, not one for each of millions of entries.
            let (is_promised, is_intact) = (self.is_promised(at), intact(self, at));
            let alike = (at..count).take_while(|at| {
                (self.is_promised(*at), intact(self, *at)) == (is_promised, is_intact)
            });
            let alike = alike.count();
            let (from, to) = (entry_range(at).0, entry_range(at + alike - 1).1);
            at += alike;
            if is_promised {
                report.checked(from, to);
            }
            match (is_promised, is_intact) {
                (_, true) => {}
                (true, false) if alike == 1 => {
                    report.damaged(from, to, "checksum of the entry does not match");
                }
                (true, false) => {
                    let what = format!("checksums of {alike} entries do not match");
                    report.damaged(from, to, what);
                }
                (false, false) => report.note(format!(
                    "bytes {from}..{to}: damaged entries that nothing vouches for: {alike}"
                )),
            }
        }
    }

    /// An entry is promised when the runs before it end below the promised position.
    fn is_promised(&self, at: usize) -> bool {
        self.ends_before[at.min(self.runs.len())] < self.promised
    }

    /// Takes the next intact batch of the segment.
    pub fn batch(&mut self, batch: &Found) {
        let to = batch.position + batch.length;
        if batch.position < self.covered_to {
            if to > self.covered_to && batch.position >= self.unknown_to {
                self.contradict(
                    self.next - 1,
                    format!("the run ends inside the batch at {}", batch.position),
                );
            }
            return;
        }
        while let Some(run) = self.runs.get(self.next).copied() {
            let at = self.next;
            let Some(run) = run else {
                self.passed_damage = true;
                self.next += 1;
                continue;
            };
            if run.from > batch.position {
                if !self.passed_damage && batch.position >= self.unknown_to {
                    self.contradict(at, format!("no run covers the batch at {}", batch.position));
                    self.passed_damage = true;
                }
                return;
            }
            self.next += 1;
            self.passed_damage = false;
            self.covered_to = self.covered_to.max(run.to);
            if run.from == batch.position {
                self.start_run(at, run, batch);
                if to > run.to {
                    self.contradict(at, format!("the run ends inside the batch at {}", run.from));
                }
                return;
            }
            if run.from >= self.unknown_to {
                self.contradict(at, format!("no batch starts at {}", run.from));
            }
            if batch.position < run.to {
                return;
            }
        }
    }

    /// Takes note that `from..to` of the segment is damaged: what the indexes say of it can't be judged.
    pub fn damaged(&mut self, to: u64) {
        self.unknown_to = to;
    }

    fn start_run(&mut self, at: usize, run: Run, batch: &Found) {
        let offset = self.base_offset.saturating_add(u64::from(run.offset_delta));
        if offset != batch.base_offset {
            let what = format!(
                "offset {offset} for a batch that starts at {}",
                batch.base_offset
            );
            self.contradict(at, what);
        }
        let expected = (batch.append_time, run.offset_delta);
        if let Some(Some(found)) = self.entry_times.get(at)
            && *found != expected
            && self.is_promised(at)
            && let Some(report) = &mut self.times
        {
            let (from, to) = entry_range(at);
            let what = format!(
                "time {} and distance {} where the batch has {} and {}",
                found.0, found.1, expected.0, expected.1
            );
            report.damaged(from, to, what);
        }
    }

    /// Books that an entry of the offset index does not fit the segment.
    fn contradict(&mut self, at: usize, what: String) {
        let promised = self.is_promised(at);
        let Some(report) = &mut self.offsets else {
            return;
        };
        let (from, to) = entry_range(at);
        if promised {
            report.damaged(from, to, what);
        } else {
            report.note(format!("bytes {from}..{to}: {what}"));
        }
    }

    /// Ends the check at byte `end` of the segment; `sealed` says that nothing may be missing.
    pub fn finish(mut self, end: u64, sealed: bool) -> impl Iterator<Item = FileReport> {
        if sealed && self.unknown_to < end {
            while let Some(run) = self.runs.get(self.next).copied() {
                if let Some(run) = run {
                    self.contradict(self.next, format!("no batch starts at {}", run.from));
                    self.covered_to = end;
                } else {
                    self.passed_damage = true;
                }
                self.next += 1;
            }
            if !self.passed_damage
                && self.covered_to < end
                && let Some(report) = &mut self.offsets
            {
                // A start that replays the journal leaves it so, and completes it when it is needed.
                report.note(format!("no run covers {}..{end} yet", self.covered_to));
            }
        }
        self.offsets.into_iter().chain(self.times)
    }
}

/// The report and the whole entries of an index file; none when there is no such file.
fn read(
    path: &Path,
    kind: IndexKind,
    identity: (Incarnation, Offset),
    sealed: bool,
) -> io::Result<Option<(FileReport, Vec<[u8; OffsetEntry::BYTES]>)>> {
    let source = match Source::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        source => source?,
    };
    let mut report = FileReport::new(
        path,
        match kind {
            IndexKind::Offset => Kind::OffsetIndex,
            IndexKind::Time => Kind::TimeIndex,
        },
    );
    let bytes = source.read(0, MAX_INDEX_BYTES)?;
    if source.len() > MAX_INDEX_BYTES {
        report.damaged(
            MAX_INDEX_BYTES,
            source.len(),
            "more entries than any segment needs",
        );
    }
    let (head, body) = bytes.split_at(bytes.len().min(IndexHeader::BYTES));
    if !sealed && head.iter().all(|byte| *byte == 0) {
        report.note("not written yet");
        return Ok(Some((report, Vec::new())));
    }
    report.checked(0, IndexHeader::BYTES as u64);
    match IndexHeader::decode(head, kind) {
        Err(error) => report.damaged(0, IndexHeader::BYTES as u64, error),
        Ok(header) if (header.incarnation, header.base_offset) != identity => {
            let (log, base) = (header.incarnation, header.base_offset.0);
            let what = format!("belongs to segment {base:020} of log {log}");
            report.damaged(0, IndexHeader::BYTES as u64, what);
        }
        Ok(_) => {}
    }
    // Zeros at the end are entries not yet written: no entry is all zero.
    let written = body
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let (entries, rest) = body[..written.next_multiple_of(OffsetEntry::BYTES).min(body.len())]
        .as_chunks::<{ OffsetEntry::BYTES }>();
    if !rest.is_empty() {
        let from = (bytes.len() - rest.len()) as u64;
        if sealed {
            report.damaged(from, bytes.len() as u64, "ends inside an entry");
        } else {
            report.note(format!("ends inside an entry, at byte {}", bytes.len()));
        }
    }
    Ok(Some((report, entries.to_vec())))
}

/// Checks an index without its segment: only what the entries say of themselves.
pub fn alone(path: &Path, kind: IndexKind) -> io::Result<Vec<FileReport>> {
    let head = Source::open(path)?.read(0, IndexHeader::BYTES as u64)?;
    let header = match IndexHeader::decode(&head, kind) {
        Ok(header) => header,
        Err(error) => {
            let mut report = FileReport::new(
                path,
                match kind {
                    IndexKind::Offset => Kind::OffsetIndex,
                    IndexKind::Time => Kind::TimeIndex,
                },
            );
            report.checked(0, IndexHeader::BYTES as u64);
            report.damaged(0, IndexHeader::BYTES as u64, error);
            return Ok(vec![report]);
        }
    };
    let identity = (header.incarnation, header.base_offset);
    let nowhere = Path::new("");
    let (offset_path, time_path) = match kind {
        IndexKind::Offset => (path, nowhere),
        IndexKind::Time => (nowhere, path),
    };
    let check = IndexCheck::open(offset_path, time_path, identity, u64::MAX, true)?;
    Ok(check.offsets.into_iter().chain(check.times).collect())
}
