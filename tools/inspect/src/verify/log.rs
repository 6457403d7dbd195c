//! One log: its segments with their indexes, and the chain that they form.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use npayload::format::{LogRow, SegmentHeader};
use npayload::types::{Incarnation, Offset};

use crate::layout::{self, Numbered};
use crate::report::{FileReport, Kind};
use crate::source::Source;
use crate::verify::index::IndexCheck;
use crate::verify::journal::Reference;
use crate::verify::walk::{FIRST_BATCH, Step, Stretch, Walk};

/// How much of a segment is promised to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// All of it, up to the given byte; without one, up to its last byte that is not zero.
    Sealed(Option<u64>),
    /// What lies below this position.
    Below(u64),
    /// Nothing: the journal has it.
    Nothing,
}

/// A segment to be checked.
pub struct SegmentCheck<'a> {
    pub path: PathBuf,
    pub incarnation: Incarnation,
    pub base_offset: u64,
    pub promise: Promise,
    /// Offset after the last promised record, where it is known.
    pub end_offset: Option<u64>,
    /// Append time of the last promised batch, where it is known.
    pub last_append_time: Option<i64>,
    /// What else is promised, because a synced reference says so; ascending.
    pub references: Vec<&'a Reference>,
}

/// What a check of a log is told about it.
pub struct LogCheck<'a> {
    pub folder: &'a Path,
    pub incarnation: Incarnation,
    /// What the checkpoint has of it.
    pub row: Option<&'a LogRow>,
    /// Lowest offset still readable: segments that end below it may be gone.
    pub log_start: u64,
    /// Whether a segment that is not there may have been removed on purpose.
    pub may_lack: bool,
    /// What the journal promises of its segments.
    pub references: &'a [Reference],
}

impl LogCheck<'_> {
    /// Checks all segments of which `wanted` likes one of the files.
    pub fn run(
        &self,
        wanted: &dyn Fn(&Path) -> bool,
        strangers: &mut Vec<PathBuf>,
        progress: &dyn Fn(u64),
    ) -> io::Result<Vec<FileReport>> {
        let known = ["log", "index", "timeindex", "spare"];
        let mut files = layout::numbered(self.folder, &known, strangers)?;
        // What a later segment will be written over holds nothing.
        files.retain(|file| file.path.extension().is_none_or(|name| name != "spare"));
        let is_segment = |file: &&Numbered| file.path.extension().is_some_and(|name| name == "log");
        let segments: Vec<&Numbered> = files.iter().filter(is_segment).collect();
        for file in &files {
            if !segments.iter().any(|segment| segment.number == file.number) {
                strangers.push(file.path.clone());
            }
        }
        let headers = segments
            .iter()
            .map(|file| header_of(&file.path))
            .collect::<io::Result<Vec<_>>>()?;
        let mut reports = self.missing(&segments, &headers);
        for (at, segment) in segments.iter().enumerate() {
            let next = headers.get(at + 1).copied().flatten();
            let next_base = segments.get(at + 1).map(|next| next.number);
            let mut check = SegmentCheck {
                path: segment.path.clone(),
                incarnation: self.incarnation,
                base_offset: segment.number,
                promise: self.promise(segment.number, next_base, next.as_ref()),
                end_offset: None,
                last_append_time: None,
                references: Vec::new(),
            };
            if let (Promise::Sealed(Some(_)), Some(next)) = (check.promise, &next) {
                check.last_append_time = Some(next.previous_last_time.0);
            }
            check.end_offset = match check.promise {
                Promise::Sealed(_) => next_base,
                Promise::Below(_) => self.row.map(|row| row.end_offset.0),
                Promise::Nothing => None,
            };
            check.references = self.references_of(segment.number);
            if !check.files().iter().any(|path| wanted(path)) {
                continue;
            }
            match check.run() {
                Ok(found) => reports.extend(found),
                // Retention took the segment meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            progress(std::fs::metadata(&segment.path).map_or(0, |file| file.len()));
        }
        reports.retain(|report| wanted(&report.path));
        Ok(reports)
    }

    fn references_of(&self, segment_base: u64) -> Vec<&Reference> {
        let mut found: Vec<&Reference> = self
            .references
            .iter()
            .filter(|it| it.incarnation == self.incarnation && it.segment_base == segment_base)
            .collect();
        found.sort_by_key(|it| it.position);
        found
    }

    fn promise(&self, base: u64, next_base: Option<u64>, next: Option<&SegmentHeader>) -> Promise {
        let Some(row) = self.row else {
            return Promise::Nothing;
        };
        if base == row.segment_base.0 {
            return Promise::Below(row.position);
        }
        if base > row.segment_base.0 {
            return Promise::Nothing;
        }
        if let Some(next) = next.filter(|next| next.previous_base == Some(Offset(base))) {
            return Promise::Sealed(Some(next.previous_length));
        }
        let is_before_active =
            next_base == Some(row.segment_base.0) && row.previous_base == Some(Offset(base));
        Promise::Sealed(is_before_active.then_some(row.previous_length))
    }

    /// Reports segments that the chain names and that are not there.
    fn missing(
        &self,
        segments: &[&Numbered],
        headers: &[Option<SegmentHeader>],
    ) -> Vec<FileReport> {
        let Some(row) = self.row else {
            return Vec::new();
        };
        let mut gaps: BTreeMap<u64, u64> = BTreeMap::new();
        let log_start = self.log_start;
        for (segment, header) in segments.iter().zip(headers) {
            let previous = header
                .and_then(|header| header.previous_base)
                .map(|base| base.0);
            let before = segments
                .iter()
                .rev()
                .find(|it| it.number < segment.number)
                .map(|it| it.number);
            if segment.number > log_start && segment.number <= row.segment_base.0 {
                match (previous, before) {
                    (Some(previous), before) if before.is_none_or(|before| before < previous) => {
                        gaps.insert(previous, segment.number);
                    }
                    (None, None) => {
                        gaps.insert(log_start, segment.number);
                    }
                    _ => {}
                }
            }
        }
        let has_active = segments
            .iter()
            .any(|segment| segment.number == row.segment_base.0);
        if !has_active && row.position > FIRST_BATCH && log_start < row.end_offset.0 {
            gaps.insert(row.segment_base.0, row.end_offset.0);
        }
        gaps.into_iter()
            .map(|(base, end)| {
                let path = self.folder.join(format!("{base:020}.log"));
                let mut report = FileReport::new(&path, Kind::Segment);
                if self.may_lack {
                    report.note(
                        "not there; removed on purpose, or missing: the log of channels is damaged",
                    );
                } else {
                    let offsets = Some((base.max(log_start), end));
                    report.damaged_records(0, 0, offsets, "the file is missing");
                }
                report
            })
            .collect()
    }
}

/// The header of a segment, if it is intact.
fn header_of(path: &Path) -> io::Result<Option<SegmentHeader>> {
    let source = match Source::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        source => source?,
    };
    Ok(SegmentHeader::decode(&source.read(0, FIRST_BATCH)?).ok())
}

impl SegmentCheck<'_> {
    /// The segment and its indexes.
    fn files(&self) -> [PathBuf; 3] {
        ["log", "index", "timeindex"].map(|extension| self.path.with_extension(extension))
    }

    /// Checks the segment, and its indexes against it.
    pub fn run(&self) -> io::Result<Vec<FileReport>> {
        let source = Source::open(&self.path)?;
        let mut report = FileReport::new(&self.path, Kind::Segment);
        let header = self.check_header(&source, &mut report)?;
        let (end, is_sealed) = match self.promise {
            Promise::Sealed(end) => (end, true),
            Promise::Below(end) => (Some(end), false),
            Promise::Nothing => (Some(0), false),
        };
        let [_, offset_path, time_path] = self.files();
        let identity = (self.incarnation, Offset(self.base_offset));
        let index_promise = end.unwrap_or(u64::MAX);
        let mut index =
            IndexCheck::open(&offset_path, &time_path, identity, index_promise, is_sealed)?;
        for kind in [Kind::OffsetIndex, Kind::TimeIndex] {
            if is_sealed && !index.has(kind) {
                report.note(format!("no {kind} yet; it is rebuilt when it is needed"));
            }
        }
        let stretch = Stretch {
            from: FIRST_BATCH,
            to: end.unwrap_or(source.len()),
            first_offset: Some(self.base_offset),
            end_offset: self.end_offset,
        };
        let not_before = header.filter(|header| header.previous_base.is_some());
        let mut walk = Walk::new(
            &source,
            self.incarnation,
            stretch,
            not_before.map(|header| header.previous_last_time.0),
        );
        let mut checked_to = stretch.to;
        while let Some(step) = walk.step()? {
            match step {
                Step::Batch(batch) => index.batch(&batch),
                Step::Damage {
                    from,
                    to,
                    offsets,
                    what,
                } => {
                    if end.is_none() && to == stretch.to && source.first_set(from, to)?.is_none() {
                        checked_to = from;
                        break;
                    }
                    index.damaged(to);
                    report.damaged_records(from, to, offsets, what);
                }
            }
        }
        report.checked(FIRST_BATCH, checked_to);
        if let (Some(expected), Some(found)) = (self.end_offset, walk.next_offset())
            && end.is_some()
            && stretch.to > FIRST_BATCH
            && expected != found
        {
            let what = format!("the records end before offset {found}, not {expected}");
            report.damaged_records(checked_to, checked_to, Some((found, expected)), what);
        }
        if let (Some(expected), Some(found)) = (self.last_append_time, walk.last_append_time())
            && report.damage.is_empty()
            && expected != found
        {
            let what = format!("last append time {found}, the next segment says {expected}");
            report.damaged(checked_to, checked_to, what);
        }
        for reference in &self.references {
            self.check_reference(&source, reference, stretch.to, &mut report)?;
        }
        Ok(std::iter::once(report)
            .chain(index.finish(checked_to, is_sealed))
            .collect())
    }

    /// Checks the header block, and books it where it is promised.
    fn check_header(
        &self,
        source: &Source,
        report: &mut FileReport,
    ) -> io::Result<Option<SegmentHeader>> {
        let is_promised = match self.promise {
            Promise::Sealed(_) => true,
            Promise::Below(position) => position >= FIRST_BATCH,
            Promise::Nothing => !self.references.is_empty(),
        };
        let wrong = match SegmentHeader::decode(&source.read(0, FIRST_BATCH)?) {
            Err(error) => error.to_string(),
            Ok(header) if header.incarnation != self.incarnation => {
                format!("belongs to log {}", header.incarnation)
            }
            Ok(header) if header.base_offset.0 != self.base_offset => {
                format!("header of segment {:020}", header.base_offset.0)
            }
            Ok(header) => {
                if is_promised {
                    report.checked(0, FIRST_BATCH);
                }
                return Ok(Some(header));
            }
        };
        if is_promised {
            report.checked(0, FIRST_BATCH);
            report.damaged(0, FIRST_BATCH, wrong);
        } else {
            report.note(format!("header not written yet: {wrong}"));
        }
        Ok(None)
    }

    /// Checks the bytes of a reference from `done` on; what lies below has been walked.
    fn check_reference(
        &self,
        source: &Source,
        reference: &Reference,
        done: u64,
        report: &mut FileReport,
    ) -> io::Result<()> {
        let end = reference.position.saturating_add(reference.length);
        if end <= done {
            return Ok(());
        }
        let stretch = Stretch {
            from: reference.position,
            to: end,
            first_offset: Some(reference.base_offset),
            end_offset: Some(reference.end_offset),
        };
        let mut walk = Walk::new(source, self.incarnation, stretch, None);
        let known = report.damage.len();
        while let Some(step) = walk.step()? {
            if let Step::Damage {
                from,
                to,
                offsets,
                what,
            } = step
            {
                report.damaged_records(from, to, offsets, what);
            }
        }
        if known == report.damage.len()
            && source.checksum(reference.position, end)? != reference.checksum
        {
            let offsets = Some((reference.base_offset, reference.end_offset));
            let what = "intact batches, but not those that the journal refers to";
            report.damaged_records(reference.position, end, offsets, what);
        }
        report.checked(reference.position, end);
        Ok(())
    }
}
