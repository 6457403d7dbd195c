//! The repair of one log: its chain of segments is made whole, and lost records become gaps in their place.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use npayload::format::{
    DamageKind, Gap, LogRow, MIN_GAP_BYTES, SegmentHeader, Stamp, check_stored,
};
use npayload::storage::Layout;
use npayload::storage::disk::{Disk, DiskFile, OpenMode};
use npayload::types::{Incarnation, LogEpoch, Offset, Timestamp};

use super::plan::{Action, Left, Plan, Step};
use super::scan::{Hole, Intact, Scanned, Wanted, intact_batches, read, scan};
use crate::verify::walk::FIRST_BATCH;

/// A long gap is shared out over batches of about this many bytes, as far as it has offsets enough.
const PIECE_BYTES: u64 = 1 << 20;
/// Bytes of a gap where the size is free: room for all that it has to say.
const FREE_GAP_BYTES: u64 = 512;

/// What the repair of every log is told.
pub struct Repair<'a> {
    pub disk: &'a dyn Disk,
    pub layout: &'a Layout,
    pub now: Timestamp,
    pub tool: &'a str,
    pub progress: &'a dyn Fn(u64),
}

/// One log and what is known of it.
pub struct LogRepair<'a> {
    pub all: &'a Repair<'a>,
    pub incarnation: Incarnation,
    /// Name of its channel.
    pub name: &'a str,
    /// Lowest offset still readable.
    pub log_start: u64,
    /// What is lost of it must not become a gap: there are API keys, and these records say which are revoked.
    pub is_irreplaceable: bool,
    /// Acknowledged groups of the journal were lost, and nobody knows whether they held records of it.
    pub is_end_uncertain: bool,
    /// Segments whose indexes are damaged, by base offset.
    pub damaged_indexes: &'a [u64],
    pub plan: &'a mut Plan,
}

/// A segment that the log needs.
struct Link {
    base: u64,
    is_there: bool,
    header: Option<SegmentHeader>,
    /// The byte after its last batch, where it is known.
    length: Option<u64>,
}

/// Where a segment ends, as the next one's header tells.
#[derive(Clone, Copy)]
struct End {
    base: u64,
    length: u64,
    last_time: Timestamp,
    last_epoch: LogEpoch,
}

impl LogRepair<'_> {
    /// Repairs the log and brings its row up to date; false when something is left as it is.
    pub fn run(mut self, row: &mut LogRow) -> Result<bool> {
        let damage = row.damage.clone();
        let known = self.plan.left.len();
        if row.position >= FIRST_BATCH && row.end_offset.0 > self.log_start {
            self.repair_chain(row)?;
        }
        if self.plan.left.len() > known {
            return Ok(false);
        }
        if self.is_end_uncertain && self.is_irreplaceable {
            let path = self.path(row.segment_base.0);
            self.leave_access(&path);
            return Ok(false);
        }
        if self.is_end_uncertain {
            self.mark_end(row)?;
        }
        if row.refuses_writes || !row.damage.is_empty() {
            let what = format!(
                "{} known damages are settled{}",
                damage.len(),
                if row.refuses_writes {
                    "; it takes writes again"
                } else {
                    ""
                }
            );
            let step = Step::new(Action::Reopen, "checkpoints", 0..0, what);
            self.plan.steps.push(step.of_channel(self.name));
        }
        row.refuses_writes = false;
        row.damage.clear();
        Ok(true)
    }

    fn repair_chain(&mut self, row: &mut LogRow) -> Result<()> {
        let present = self.present()?;
        let links = self.chain(&present, row)?;
        let first = links.first().map_or(0, |link| link.base);
        for base in present {
            let is_linked = links.iter().any(|link| link.base == base);
            if base > first && base < row.segment_base.0 && !is_linked {
                self.move_aside(base, "is not in the chain of segments")?;
            }
        }
        let mut before: Option<End> = None;
        for (at, link) in links.iter().enumerate() {
            let next = links.get(at + 1);
            let end_offset = next.map_or(row.end_offset.0, |next| next.base);
            let tail = match next {
                None => Some(row.last_append_time),
                Some(next) => next
                    .header
                    .filter(|header| header.previous_base == Some(Offset(link.base)))
                    .map(|header| header.previous_last_time),
            };
            let epoch = match next {
                None => row.last_epoch,
                Some(next) => next
                    .header
                    .map_or(LogEpoch(0), |header| LogEpoch(header.epoch)),
            };
            let one = One {
                link,
                offsets: link.base..end_offset,
                tail,
                epoch,
                before,
                is_active: next.is_none(),
            };
            let Some(end) = self.repair_segment(&one, row)? else {
                return Ok(());
            };
            if next.is_none() {
                row.position = end.length;
                row.last_append_time = row.last_append_time.max(end.last_time);
                row.last_epoch = row.last_epoch.max(end.last_epoch);
                if let Some(before) = before {
                    row.previous_base = Some(Offset(before.base));
                    row.previous_length = before.length;
                }
            }
            before = Some(end);
        }
        Ok(())
    }

    /// A gap in the topic of keys would open the door to whoever was locked out in what is lost; the broker starts on none.
    fn leave_access(&mut self, path: &Path) {
        self.plan.left.push(Left {
            file: self.relative(path),
            channel: Some(self.name.to_owned()),
            what:
                "records of who may come in are lost, and with them perhaps which keys were revoked"
                    .to_owned(),
            instead: "restore the data directory from a backup".to_owned(),
        });
    }

    fn path(&self, base: u64) -> PathBuf {
        self.all.layout.segment(self.incarnation, Offset(base))
    }

    fn relative(&self, path: &Path) -> PathBuf {
        let root = self.all.layout.root();
        path.strip_prefix(root).unwrap_or(path).to_owned()
    }

    fn step(&mut self, action: Action, base: u64, bytes: Range<u64>, what: impl Into<String>) {
        self.lost_step(action, base, bytes, &(0..0), what);
    }

    fn lost_step(
        &mut self,
        action: Action,
        base: u64,
        bytes: Range<u64>,
        offsets: &Range<u64>,
        what: impl Into<String>,
    ) {
        let file = self.relative(&self.path(base));
        let step = Step::new(action, file, bytes, what);
        self.plan
            .steps
            .push(step.of_channel(self.name).losing(offsets));
    }

    /// The base offsets of the segment files there are, ascending.
    fn present(&self) -> Result<Vec<u64>> {
        let dir = self.all.layout.log_dir(self.incarnation);
        let entries = match self.all.disk.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries.with_context(|| format!("list {}", dir.display()))?,
        };
        let base_of = |name: &str| name.strip_suffix(".log")?.parse::<u64>().ok();
        let mut bases: Vec<u64> = entries
            .iter()
            .filter(|entry| !entry.is_dir)
            .filter_map(|entry| base_of(&entry.name))
            .collect();
        bases.sort_unstable();
        Ok(bases)
    }

    /// The segments from the log start to the active one, whether their files are there or not.
    fn chain(&self, present: &[u64], row: &LogRow) -> Result<Vec<Link>> {
        let before = |base: u64| present.iter().rev().find(|one| **one < base).copied();
        let mut links = Vec::new();
        let mut at = (row.segment_base.0, Some(row.position));
        loop {
            let (base, length) = at;
            let is_there = present.contains(&base);
            let header = if is_there { self.header(base)? } else { None };
            let named = match header {
                Some(header) => header
                    .previous_base
                    .map(|base| (base.0, Some(header.previous_length))),
                None if base == row.segment_base.0 => row
                    .previous_base
                    .map(|base| (base.0, Some(row.previous_length))),
                None => None,
            };
            links.push(Link {
                base,
                is_there,
                header,
                length,
            });
            if base <= self.log_start {
                break;
            }
            // Without a word for it, the segment before is the last one that is there; and where none is, all since the log start
            // is missing.
            at = named
                .or(before(base).map(|base| (base, None)))
                .unwrap_or((self.log_start, None));
        }
        links.reverse();
        Ok(links)
    }

    fn header(&self, base: u64) -> Result<Option<SegmentHeader>> {
        let path = self.path(base);
        let file = self
            .all
            .disk
            .open(&path, OpenMode::Read)
            .with_context(|| format!("open {}", path.display()))?;
        let block = read(&*file, 0, FIRST_BATCH)?;
        let header = SegmentHeader::decode(&block).ok();
        Ok(header.filter(|header| {
            header.incarnation == self.incarnation && header.base_offset.0 == base
        }))
    }

    fn move_aside(&mut self, base: u64, why: &str) -> Result<()> {
        let path = self.path(base);
        let lost = self.all.layout.lost_and_found();
        let flat = self.relative(&path).to_string_lossy().replace('/', "-");
        let target = lost.join(&flat);
        let disk = self.all.disk;
        disk.create_dir(&lost)?;
        let reason = lost.join(format!("{flat}.why"));
        let text = format!("{}: {why}\n", self.relative(&path).display());
        let file = disk.open(&reason, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_at(0, &[IoSlice::new(text.as_bytes())])?;
        file.sync_data()?;
        disk.rename(&path, &target)
            .with_context(|| format!("move {}", path.display()))?;
        disk.sync_dir(&lost)?;
        disk.sync_dir(&disk_dir(&path))?;
        self.remove_indexes(base)?;
        self.step(Action::Move, base, 0..0, why);
        Ok(())
    }

    fn remove_indexes(&mut self, base: u64) -> Result<bool> {
        let path = self.path(base);
        let mut removed = false;
        for extension in ["index", "timeindex"] {
            let path = path.with_extension(extension);
            if self.all.disk.exists(&path)? {
                self.all.disk.remove_file(&path)?;
                removed = true;
            }
        }
        if removed {
            self.all.disk.sync_dir(&disk_dir(&path))?;
        }
        Ok(removed)
    }

    /// Repairs one segment; where it ends then, or nothing when it can't be repaired.
    fn repair_segment(&mut self, one: &One<'_>, row: &LogRow) -> Result<Option<End>> {
        let base = one.link.base;
        let path = self.path(base);
        let shown = path.display().to_string();
        let (mut wanted, scanned) = if one.link.is_there {
            let file = self.open(&path, OpenMode::Read)?;
            let (wanted, scanned) = self.scan_segment(&*file, one)?;
            (self.all.progress)(file.len()?);
            (wanted, scanned)
        } else {
            let length = one.link.length.unwrap_or(FIRST_BATCH);
            let wanted = self.wanted(one, length.max(FIRST_BATCH));
            let whole = Hole {
                bytes: wanted.bytes.clone(),
                offsets: wanted.offsets.clone(),
                before: None,
                behind: None,
            };
            let scanned = Scanned {
                has_no_room: (1..MIN_GAP_BYTES as u64)
                    .contains(&(wanted.bytes.end - wanted.bytes.start)),
                holes: vec![whole],
                batches: Vec::new(),
            };
            (wanted, scanned)
        };
        let loses = |hole: &Hole| !hole.offsets.is_empty();
        if self.is_irreplaceable && scanned.holes.iter().any(loses) {
            self.leave_access(&path);
            return Ok(None);
        }
        let spans = one.offsets.end - one.offsets.start;
        if scanned.has_no_room || (spans > u64::from(u32::MAX) && !scanned.holes.is_empty()) {
            self.plan.left.push(Left {
                file: self.relative(&path),
                channel: Some(self.name.to_owned()),
                what: "its damage leaves no place for what is lost".to_owned(),
                instead: "the broker serves what is intact before and behind it".to_owned(),
            });
            return Ok(None);
        }
        let mut last = scanned.batches.last().copied();
        let is_changed = !scanned.holes.is_empty();
        let is_new = !one.link.is_there;
        if is_new {
            let dir = disk_dir(&path);
            self.all.disk.create_dir(&dir)?;
            self.step(
                Action::Segment,
                base,
                0..wanted.bytes.end,
                "the file is missing and is made again",
            );
        }
        let header_is_wrong = self.header_is_wrong(one);
        if is_changed || is_new || header_is_wrong {
            let file = self.open(&path, OpenMode::Create)?;
            // The batches first: a header in front of nothing would look like a segment.
            for hole in &scanned.holes {
                let end = self
                    .fill(&*file, hole, one, row)
                    .with_context(|| format!("repair {shown}"))?;
                if let Some(end) = end {
                    wanted.bytes.end = wanted.bytes.end.max(end.end());
                    if hole.behind.is_none() {
                        last = Some(end);
                    }
                }
            }
            if is_new || header_is_wrong {
                let first = scanned.batches.first();
                let header = self.new_header(one, first, row);
                file.write_at(0, &[IoSlice::new(&header.encode())])
                    .with_context(|| format!("write {shown}"))?;
                if !is_new {
                    self.step(
                        Action::Header,
                        base,
                        0..FIRST_BATCH,
                        "the header is written again",
                    );
                }
            }
            file.sync_data().with_context(|| format!("sync {shown}"))?;
            if is_new {
                let dir = disk_dir(&path);
                self.all.disk.sync_dir(&dir)?;
                self.all.disk.sync_dir(&disk_dir(&dir))?;
            }
        }
        let is_index_stale = is_changed || self.damaged_indexes.contains(&base);
        if is_index_stale && self.remove_indexes(base)? {
            let file = self.relative(&path.with_extension("index"));
            let what = "removed with the time index; the broker rebuilds them";
            let step = Step::new(Action::Index, file, 0..0, what);
            self.plan.steps.push(step.of_channel(self.name));
        }
        let (last_time, last_epoch) = match last {
            Some(last) => (last.append_time, last.epoch),
            None => (one.tail.unwrap_or_default(), one.epoch),
        };
        Ok(Some(End {
            base,
            length: wanted.bytes.end,
            last_time,
            last_epoch,
        }))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<std::sync::Arc<dyn DiskFile>> {
        let file = self.all.disk.open(path, mode);
        file.with_context(|| format!("open {}", path.display()))
    }

    fn wanted(&self, one: &One<'_>, end: u64) -> Wanted {
        Wanted {
            incarnation: self.incarnation,
            bytes: FIRST_BATCH..end,
            offsets: one.offsets.clone(),
        }
    }

    /// Scans a segment up to its end, or further when records are missing there and lie behind it: an end that recovery gave it,
    /// because the journal's word for them was lost, takes back nothing that is on the disk.
    fn scan_segment(&self, file: &dyn DiskFile, one: &One<'_>) -> Result<(Wanted, Scanned)> {
        let path = self.path(one.link.base);
        let failed = || format!("read {}", path.display());
        let whole = file.len().with_context(failed)? / 8 * 8;
        let wanted = match one.link.length {
            Some(length) => self.wanted(one, length.max(FIRST_BATCH)),
            None => {
                let all = self.wanted(one, whole);
                self.wanted(one, end_of_batches(file, &all).with_context(failed)?)
            }
        };
        let scanned = scan(file, &wanted).with_context(failed)?;
        let is_short = scanned.holes.last().is_some_and(|hole| {
            hole.behind.is_none() && hole.bytes.is_empty() && !hole.offsets.is_empty()
        });
        if one.is_active || !is_short || whole <= wanted.bytes.end {
            return Ok((wanted, scanned));
        }
        let further = scan(file, &self.wanted(one, whole)).with_context(failed)?;
        match further.batches.last() {
            Some(last) if further.batches.len() > scanned.batches.len() => {
                let wanted = self.wanted(one, last.end());
                let scanned = scan(file, &wanted).with_context(failed)?;
                Ok((wanted, scanned))
            }
            _ => Ok((wanted, scanned)),
        }
    }

    fn header_is_wrong(&self, one: &One<'_>) -> bool {
        let Some(header) = one.link.header else {
            return one.link.is_there;
        };
        one.before.is_some_and(|before| {
            header.previous_base != Some(Offset(before.base))
                || header.previous_length != before.length
                || header.previous_last_time < before.last_time
        })
    }

    fn new_header(&self, one: &One<'_>, first: Option<&Intact>, row: &LogRow) -> SegmentHeader {
        let known = one.link.header;
        let (created_at, epoch) = match (known, first) {
            (Some(header), _) => (header.created_at, header.epoch),
            (None, Some(first)) => (first.append_time, first.epoch.0),
            (None, None) => (self.all.now, one.epoch.0),
        };
        let row_knows = one.is_active && one.before.is_none();
        SegmentHeader {
            incarnation: self.incarnation,
            base_offset: Offset(one.link.base),
            previous_base: match one.before {
                Some(before) => Some(Offset(before.base)),
                None if row_knows => row.previous_base,
                None => None,
            },
            previous_length: match one.before {
                Some(before) => before.length,
                None if row_knows => row.previous_length,
                None => 0,
            },
            previous_last_time: match one.before {
                Some(before) => before.last_time,
                None if row_knows && row.previous_base.is_some() => row.segment_start_time,
                None => Timestamp::default(),
            },
            created_at,
            epoch,
        }
    }

    /// Fills a hole; the batch that ends it, where one does.
    fn fill(
        &mut self,
        file: &dyn DiskFile,
        hole: &Hole,
        one: &One<'_>,
        row: &LogRow,
    ) -> Result<Option<Intact>> {
        let base = one.link.base;
        let bytes = hole.bytes.clone();
        if hole.offsets.is_empty() {
            let zeros = vec![0; usize::try_from(bytes.end - bytes.start)?];
            file.write_at(bytes.start, &[IoSlice::new(&zeros)])?;
            self.step(
                Action::Zero,
                base,
                bytes,
                "bytes between batches that are not zero",
            );
            return Ok(None);
        }
        let (reason, what) = self.why(file, hole, one, row)?;
        let is_appended = bytes.is_empty();
        let bytes = if is_appended {
            let pieces = (hole.offsets.end - hole.offsets.start).div_ceil(u64::from(u32::MAX));
            bytes.start..bytes.start + pieces * FREE_GAP_BYTES
        } else {
            bytes
        };
        let gap = Gap {
            reason,
            what,
            file: self.relative(&self.path(base)).display().to_string(),
            position: hole.bytes.start,
            length: hole.bytes.end - hole.bytes.start,
            repaired_at: self.all.now,
            tool: self.all.tool.to_owned(),
            ..Gap::default()
        };
        let last = self.write_gaps(file, &gap, &bytes, &hole.offsets, self.time_of(hole, one))?;
        self.lost_step(Action::Gap, base, bytes, &hole.offsets, gap.what);
        Ok(Some(last))
    }

    /// Writes as many gaps as it takes.
    fn write_gaps(
        &self,
        file: &dyn DiskFile,
        gap: &Gap,
        bytes: &Range<u64>,
        offsets: &Range<u64>,
        (append_time, epoch): (Timestamp, LogEpoch),
    ) -> Result<Intact> {
        let (len, span) = (bytes.end - bytes.start, offsets.end - offsets.start);
        let pieces = len
            .div_ceil(PIECE_BYTES)
            .min(span)
            .max(span.div_ceil(u64::from(u32::MAX)))
            .max(1);
        let share = |total: u64, step: u64, piece: u64| {
            let units = u128::from(total / step) * u128::from(piece) / u128::from(pieces);
            u64::try_from(units).unwrap_or(total) * step
        };
        let mut last = None;
        for piece in 0..pieces {
            let part = |total, step| share(total, step, piece)..share(total, step, piece + 1);
            let (at, own) = (part(len, 8), part(span, 1));
            let (from, to) = (bytes.start + at.start, bytes.start + at.end);
            let length = usize::try_from(to - from)?;
            anyhow::ensure!(
                (MIN_GAP_BYTES..=Gap::MAX_BYTES).contains(&length),
                "bytes {from}..{to} can't hold a gap"
            );
            let stamp = Stamp {
                incarnation: self.incarnation,
                base_offset: Offset(offsets.start + own.start),
                append_time,
                log_epoch: epoch,
                principal: 0,
            };
            let span = u32::try_from(own.end - own.start)?;
            let batch = gap.encode(&stamp, span, length);
            file.write_at(from, &[IoSlice::new(&batch)])?;
            (self.all.progress)(to - from);
            last = Some(Intact {
                position: from,
                length: to - from,
                base_offset: stamp.base_offset.0,
                end_offset: offsets.start + own.end,
                append_time,
                epoch,
            });
        }
        last.context("a gap has at least one piece")
    }

    /// Append time and epoch of a gap: the time of what follows, so that a lookup by time finds the gap first; and the epoch of what
    /// is before.
    fn time_of(&self, hole: &Hole, one: &One<'_>) -> (Timestamp, LogEpoch) {
        let before = hole.before.map(|batch| batch.append_time);
        let before = before.or(one.before.map(|before| before.last_time));
        let behind = hole.behind.map(|batch| batch.append_time).or(one.tail);
        let time = behind
            .or(before)
            .unwrap_or_default()
            .max(before.unwrap_or(Timestamp(i64::MIN)));
        let epoch = hole
            .before
            .map(|batch| batch.epoch)
            .or(one.before.map(|before| before.last_epoch))
            .or(hole.behind.map(|batch| batch.epoch))
            .unwrap_or(one.epoch);
        (time, epoch)
    }

    /// Why records are lost, in one word and in a sentence.
    fn why(
        &self,
        file: &dyn DiskFile,
        hole: &Hole,
        one: &One<'_>,
        row: &LogRow,
    ) -> Result<(String, String)> {
        let known = row.damage.iter().find(|damage| {
            damage.what == DamageKind::JournalGroup
                && damage.first_offset.0 < hole.offsets.end
                && hole.offsets.start < damage.end_offset.0
        });
        if known.is_some() {
            let what = "acknowledged groups of the journal were lost";
            return Ok(("journal".to_owned(), what.to_owned()));
        }
        if !one.link.is_there {
            return Ok(("missing".to_owned(), "the file is missing".to_owned()));
        }
        if hole.bytes.is_empty() {
            let what = "what came behind these bytes is missing";
            return Ok(("missing".to_owned(), what.to_owned()));
        }
        let head = read(
            file,
            hole.bytes.start,
            npayload::format::BATCH_HEADER_BYTES as u64,
        )?;
        let length = npayload::format::BatchHeader::peek(&head).map(|header| header.len() as u64);
        let what = match length {
            Err(error) => error.to_string(),
            Ok(length) => match check_stored(&read(file, hole.bytes.start, length)?) {
                Err(error) => error.to_string(),
                Ok(header) => format!(
                    "a batch with offset {} is not in its place",
                    header.base_offset()
                ),
            },
        };
        Ok(("damaged".to_owned(), what))
    }

    /// Says at the log's end that records may be missing there.
    fn mark_end(&mut self, row: &mut LogRow) -> Result<()> {
        let offsets = row.end_offset.0..row.end_offset.0 + 1;
        let gap = Gap {
            reason: "uncertain".to_owned(),
            what: "acknowledged groups of the journal were lost with their list of entries: records may be missing here".to_owned(),
            repaired_at: self.all.now,
            tool: self.all.tool.to_owned(),
            ..Gap::default()
        };
        let is_new = row.position < FIRST_BATCH;
        let from = if is_new { FIRST_BATCH } else { row.position };
        if is_new {
            row.segment_base = row.end_offset;
        }
        let base = row.segment_base.0;
        let path = self.path(base);
        if is_new {
            self.all.disk.create_dir(&disk_dir(&path))?;
        }
        let file = self.open(&path, OpenMode::Create)?;
        let bytes = from..from + FREE_GAP_BYTES;
        let time = if row.last_append_time.0 == i64::MIN {
            self.all.now
        } else {
            row.last_append_time
        };
        let last = self.write_gaps(&*file, &gap, &bytes, &offsets, (time, row.last_epoch))?;
        if is_new {
            let header = SegmentHeader {
                incarnation: self.incarnation,
                base_offset: row.segment_base,
                previous_base: None,
                previous_length: 0,
                previous_last_time: Timestamp::default(),
                created_at: self.all.now,
                epoch: row.last_epoch.0,
            };
            file.write_at(0, &[IoSlice::new(&header.encode())])?;
            row.segment_start_time = time;
        }
        file.sync_data()?;
        if is_new {
            let dir = disk_dir(&path);
            self.all.disk.sync_dir(&dir)?;
            self.all.disk.sync_dir(&disk_dir(&dir))?;
        }
        row.position = bytes.end;
        row.end_offset = Offset(offsets.end);
        row.last_append_time = last.append_time;
        self.lost_step(Action::Gap, base, bytes, &offsets, gap.what);
        Ok(())
    }
}

/// A segment under repair.
struct One<'a> {
    link: &'a Link,
    /// What it should hold.
    offsets: Range<u64>,
    /// Append time of its last batch, where it is known.
    tail: Option<Timestamp>,
    /// An epoch that none of its batches is above.
    epoch: LogEpoch,
    before: Option<End>,
    is_active: bool,
}

fn disk_dir(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Where the batches of a segment end that nothing else tells of: behind its last batch, and behind whatever else was written
/// there when records are missing.
fn end_of_batches(file: &dyn DiskFile, wanted: &Wanted) -> io::Result<u64> {
    let last = intact_batches(file, wanted)?.last().copied();
    let (end, next) = last.map_or((FIRST_BATCH, wanted.offsets.start), |last| {
        (last.end(), last.end_offset)
    });
    if next == wanted.offsets.end {
        return Ok(end);
    }
    let mut to = wanted.bytes.end;
    while to > end {
        let from = to.saturating_sub(PIECE_BYTES).max(end);
        let block = read(file, from, to - from)?;
        if let Some(at) = block.iter().rposition(|byte| *byte != 0) {
            let used = (from + at as u64 + 1).next_multiple_of(8);
            return Ok(used.max(end + MIN_GAP_BYTES as u64));
        }
        to = from;
    }
    Ok(end)
}
