//! The journal from the checkpoint on: every group, its items, its batches, and what it says of the segments.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use npayload::format::{
    DecodeError, GroupHeader, GroupItem, ItemKind, JournalFileHeader, check_stored, items_crc,
};
use npayload::types::Incarnation;

use crate::directory;
use crate::report::{FileReport, Kind};
use crate::source::{Source, block_end};

/// Where the first group of a journal file starts, and the multiple at which every group does.
const BLOCK: u64 = 4096;

/// Bytes in a segment that the journal promises without having them itself.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    pub incarnation: Incarnation,
    pub segment_base: u64,
    pub position: u64,
    pub length: u64,
    pub base_offset: u64,
    pub end_offset: u64,
    pub checksum: u32,
}

/// What the journal is judged by.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// First group to replay, with its file and position.
    pub start: Place,
    /// Last group known to be synced, zero for none, with its file and the byte after it.
    pub flushed: Place,
    /// Epoch of the start that wrote all groups from there on.
    pub epoch: u64,
    /// Salt of that start, if it is known.
    pub salt: Option<u64>,
    /// The log whose batches are handed out.
    pub wanted: Option<Incarnation>,
}

/// What the journal says of other files.
#[derive(Debug, Default)]
pub struct Promised {
    /// Bytes in segments.
    pub references: Vec<Reference>,
    /// The intact batches of the wanted log, in order.
    pub batches: Vec<Bytes>,
    /// The logs that an intact batch records an API key in, if one of them is the topic of keys.
    pub key_logs: BTreeSet<Incarnation>,
    /// All promised groups are there and intact.
    pub is_intact: bool,
}

/// A group and a byte of a journal file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    pub group: u64,
    pub file: u32,
    pub position: u64,
}

/// One file of the journal.
pub struct JournalFile {
    /// Number that its name gives it.
    pub number: Option<u32>,
    pub source: Source,
    pub report: FileReport,
}

impl JournalFile {
    /// Wraps a file and checks its header block.
    pub fn open(
        source: Source,
        number: Option<u32>,
        directory_id: Option<Incarnation>,
    ) -> io::Result<Self> {
        let mut report = FileReport::new(source.path(), Kind::Journal);
        let head = source.read(0, BLOCK)?;
        if head.iter().all(|byte| *byte == 0) {
            report.note("not prepared yet");
        } else {
            report.checked(0, BLOCK);
            match JournalFileHeader::decode(&head) {
                Err(error) => report.damaged(0, BLOCK, error),
                Ok(header) if number.is_some_and(|number| number != header.number) => {
                    report.damaged(0, BLOCK, format!("header of file {}", header.number));
                }
                Ok(header) if directory_id.is_some_and(|id| id != header.directory_id) => {
                    let id = header.directory_id;
                    report.damaged(0, BLOCK, format!("belongs to data directory {id}"));
                }
                Ok(_) => {}
            }
        }
        Ok(Self {
            number,
            source,
            report,
        })
    }

    /// The group that starts at `position`, if its header is intact and its bytes lie in the file.
    pub fn group_at(&self, position: u64) -> io::Result<Option<GroupHeader>> {
        let head = self.source.read(position, GroupHeader::BYTES as u64)?;
        Ok(GroupHeader::decode(&head)
            .ok()
            .filter(|header| group_end(position, header) <= self.source.len()))
    }

    /// The items of a group, if their checksum matches.
    pub fn items(
        &self,
        position: u64,
        header: &GroupHeader,
        salt: u64,
    ) -> io::Result<Result<Vec<GroupItem>, String>> {
        let at = position + GroupHeader::BYTES as u64;
        let bytes = self.source.read(at, header.items_len())?;
        if items_crc(salt, header.group, &bytes) != header.items_crc {
            return Ok(Err("checksum of the items does not match".to_owned()));
        }
        let items = bytes.as_chunks::<{ GroupItem::BYTES }>().0;
        let items = items
            .iter()
            .map(|item| GroupItem::decode(item))
            .collect::<Result<_, DecodeError>>();
        Ok(items.map_err(|error| error.to_string()))
    }
}

/// The byte after a group's data.
pub fn group_end(position: u64, header: &GroupHeader) -> u64 {
    position + header.total_len()
}

/// Where the records of a log end, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct LogEnd {
    pub offset: u64,
    /// Whether the next batch in the journal starts there; else it may also start below.
    pub is_exact: bool,
}

/// A finding about part of the journal that is damage only if that part was promised.
struct Finding {
    group: u64,
    file: usize,
    from: u64,
    to: u64,
    offsets: Option<(u64, u64)>,
    what: String,
}

/// The journal's groups in order, and what was found in them.
pub struct JournalCheck<'a> {
    expected: &'a Expected,
    files: &'a mut [JournalFile],
    /// (group, file, from, to) of each group with an intact header.
    spans: Vec<(u64, usize, u64, u64)>,
    findings: Vec<Finding>,
    /// Last group that a later group vouches for.
    vouched: u64,
    references: Vec<(u64, Reference)>,
    batches: Vec<Bytes>,
    key_logs: BTreeSet<Incarnation>,
    /// What the next batch of each log must follow.
    ends: BTreeMap<Incarnation, LogEnd>,
}

impl<'a> JournalCheck<'a> {
    /// A check that knows the log ends `ends` (at the checkpoint, for each log).
    pub fn new(
        expected: &'a Expected,
        files: &'a mut [JournalFile],
        ends: BTreeMap<Incarnation, LogEnd>,
    ) -> Self {
        Self {
            expected,
            files,
            spans: Vec::new(),
            findings: Vec::new(),
            vouched: 0,
            references: Vec::new(),
            batches: Vec::new(),
            key_logs: BTreeSet::new(),
            ends,
        }
    }

    /// Walks all groups and books what was found into the files' reports.
    pub fn run(mut self) -> io::Result<Promised> {
        let mut place = self.expected.start;
        place.group = place.group.max(1);
        place.position = place.position.max(BLOCK);
        let mut file = self.index_of(place.file);
        let mut position = place.position;
        let mut group = place.group;
        loop {
            if let Some((found_file, found_at, header)) = self.next_group(file, position, group)? {
                self.check_group(found_file, found_at, &header)?;
                file = Some(found_file);
                position = block_end(group_end(found_at, &header));
                group += 1;
                continue;
            }
            match self.later_group(file, position, group)? {
                Some((later_file, at, header)) => {
                    self.lost(file, position, group, later_file, at, header.group);
                    group = header.group;
                    (file, position) = (Some(later_file), at);
                    // What the lost groups held is not known.
                    self.ends.clear();
                }
                None => break,
            }
        }
        self.judge_end(file, position, group)?;
        Ok(self.finish(group))
    }

    fn index_of(&self, number: u32) -> Option<usize> {
        self.files
            .iter()
            .position(|file| file.number == Some(number))
    }

    /// Group `group`, expected at `position` of `file` or at the start of another file.
    fn next_group(
        &self,
        file: Option<usize>,
        position: u64,
        group: u64,
    ) -> io::Result<Option<(usize, u64, GroupHeader)>> {
        let here = file.map(|file| (file, position));
        let others = (0..self.files.len())
            .filter(|other| Some(*other) != file)
            .map(|other| (other, BLOCK));
        for (file, at) in here.into_iter().chain(others) {
            if let Some(header) = self.files[file].group_at(at)?
                && header.group == group
                && header.epoch == self.expected.epoch
            {
                return Ok(Some((file, at, header)));
            }
        }
        Ok(None)
    }

    /// The lowest group after `group` that lies behind `position` of `file` or anywhere in another file.
    fn later_group(
        &self,
        file: Option<usize>,
        position: u64,
        group: u64,
    ) -> io::Result<Option<(usize, u64, GroupHeader)>> {
        let mut best: Option<(usize, u64, GroupHeader)> = None;
        for (number, other) in self.files.iter().enumerate() {
            let mut at = if Some(number) == file {
                position
            } else {
                BLOCK
            };
            while at < other.source.len() {
                let later = other
                    .group_at(at)?
                    .filter(|header| header.group > group && header.epoch == self.expected.epoch);
                if let Some(header) = later
                    && best.is_none_or(|(_, _, best)| header.group < best.group)
                    && let Some(salt) = self.expected.salt
                    && other.items(at, &header, salt)?.is_ok()
                {
                    best = Some((number, at, header));
                    break;
                }
                at += BLOCK;
            }
        }
        Ok(best)
    }

    /// Books that the groups from `first` up to the intact `next` can't be found. Groups follow each other within a file, so the
    /// place of the next one tells where they were.
    fn lost(
        &mut self,
        file: Option<usize>,
        position: u64,
        first: u64,
        next_file: usize,
        next_at: u64,
        next: u64,
    ) {
        let what = if next - first == 1 {
            format!("group {first} is damaged")
        } else {
            format!("groups {first} to {} are damaged", next - 1)
        };
        let mut book = |file, from, to| {
            if from < to {
                let what = what.clone();
                self.findings.push(Finding {
                    group: first,
                    file,
                    from,
                    to,
                    offsets: None,
                    what,
                });
            }
        };
        if file == Some(next_file) {
            book(next_file, position, next_at);
            return;
        }
        let in_next_file = next_at > BLOCK;
        if in_next_file {
            book(next_file, BLOCK, next_at);
        }
        if let Some(file) = file
            && (!in_next_file || next - first > 1)
        {
            let end = self.files[file].source.len();
            book(file, position, end);
        }
    }

    /// Judges what lies where `group` would be: nothing, a torn tail, or promised groups that are gone.
    fn judge_end(&mut self, file: Option<usize>, position: u64, group: u64) -> io::Result<()> {
        let flushed = self.expected.flushed;
        let flushed_file = self.index_of(flushed.file);
        if group <= flushed.group {
            let (at, from) = if flushed_file == file {
                (file, position)
            } else {
                (flushed_file, BLOCK)
            };
            let what = format!("groups {group} to {} are damaged or missing", flushed.group);
            if let Some(at) = at {
                let to = flushed.position.max(from + GroupHeader::BYTES as u64);
                self.findings.push(Finding {
                    group,
                    file: at,
                    from,
                    to,
                    offsets: None,
                    what,
                });
            }
            return Ok(());
        }
        let Some(file) = file else { return Ok(()) };
        let journal = &mut self.files[file];
        let stale = journal
            .group_at(position)?
            .is_some_and(|header| header.group < group || header.epoch < self.expected.epoch);
        if !stale && let Some(at) = journal.source.first_set(position, position + BLOCK)? {
            journal.report.note(format!(
                "torn tail from byte {at}: a group that was never acknowledged"
            ));
        }
        Ok(())
    }

    fn check_group(&mut self, file: usize, position: u64, header: &GroupHeader) -> io::Result<()> {
        let group = header.group;
        let end = group_end(position, header);
        self.spans.push((group, file, position, block_end(end)));
        self.vouched = self.vouched.max(header.synced_group);
        if group == self.expected.flushed.group && end != self.expected.flushed.position {
            let what = format!(
                "group {group} ends at byte {end}, the recovery point says {}",
                self.expected.flushed.position
            );
            self.find(group, file, position, end, None, what);
        }
        if let Some(at) = self.files[file].source.first_set(end, block_end(end))? {
            let what = format!("byte {at} behind group {group} is not zero");
            self.find(group, file, end, block_end(end), None, what);
        }
        let Some(salt) = self.expected.salt else {
            let what = format!(
                "group {group}: items not checked, the salt of epoch {} is not known",
                header.epoch
            );
            self.files[file].report.note(what);
            self.spans.pop();
            return Ok(());
        };
        let items_at = position + GroupHeader::BYTES as u64;
        let data_at = items_at + header.items_len();
        let items = match self.files[file].items(position, header, salt)? {
            Ok(items) => items,
            Err(what) => {
                self.find(
                    group,
                    file,
                    items_at,
                    data_at,
                    None,
                    format!("group {group}: {what}"),
                );
                self.ends.clear();
                return Ok(());
            }
        };
        let mut at = data_at;
        for (number, item) in items.iter().enumerate() {
            let item_at = items_at + (number * GroupItem::BYTES) as u64;
            self.check_order(group, file, item_at, item);
            if item.kind == ItemKind::Batch {
                let to = at.saturating_add(item.length);
                if to > end {
                    let what =
                        format!("item {number} of group {group} reaches over the group's end");
                    self.find(
                        group,
                        file,
                        item_at,
                        item_at + GroupItem::BYTES as u64,
                        None,
                        what,
                    );
                    return Ok(());
                }
                self.check_batch(group, file, at, item)?;
                at = to;
            } else {
                self.references.push((group, reference(item)));
            }
        }
        if at != end {
            let what = format!("{} bytes of group {group} belong to no item", end - at);
            self.find(group, file, at, end, None, what);
        }
        Ok(())
    }

    /// A batch must start where the one before it in its log ended. One copied forward is an older one, and the first after
    /// the checkpoint may be one that the checkpoint already has.
    fn check_order(&mut self, group: u64, file: usize, at: u64, item: &GroupItem) {
        if item.is_copied {
            return;
        }
        let base = item.base_offset.0;
        let next = LogEnd {
            offset: item.end_offset.0,
            is_exact: true,
        };
        let Some(before) = self.ends.insert(item.incarnation, next) else {
            return;
        };
        if base > before.offset || (before.is_exact && base != before.offset) {
            let what = format!(
                "log {} goes on at offset {base} after {}",
                item.incarnation, before.offset
            );
            self.find(group, file, at, at + GroupItem::BYTES as u64, None, what);
        }
    }

    fn check_batch(
        &mut self,
        group: u64,
        file: usize,
        at: u64,
        item: &GroupItem,
    ) -> io::Result<()> {
        let bytes = self.files[file].source.read(at, item.length)?;
        let what = match check_stored(&bytes) {
            Err(error) => error.to_string(),
            Ok(header)
                if header.header_crc() == item.checksum
                    && header.len() as u64 == item.length
                    && header.incarnation() == item.incarnation
                    && (header.base_offset(), header.end_offset())
                        == (item.base_offset, item.end_offset) =>
            {
                if self.expected.wanted == Some(item.incarnation) {
                    self.batches.push(bytes.into());
                } else if directory::records_key(&bytes.into()) {
                    self.key_logs.insert(item.incarnation);
                }
                return Ok(());
            }
            Ok(_) => "not the batch that the item names".to_owned(),
        };
        let what = format!("log {}: {what}", item.incarnation);
        let offsets = Some((item.base_offset.0, item.end_offset.0));
        self.find(group, file, at, at + item.length, offsets, what);
        Ok(())
    }

    fn find(
        &mut self,
        group: u64,
        file: usize,
        from: u64,
        to: u64,
        offsets: Option<(u64, u64)>,
        what: String,
    ) {
        self.findings.push(Finding {
            group,
            file,
            from,
            to,
            offsets,
            what,
        });
    }

    /// Books ranges and findings: those of promised groups count, the others are the torn tail.
    fn finish(self, next_group: u64) -> Promised {
        let promised = self.expected.flushed.group.max(self.vouched);
        for (group, file, from, to) in self.spans {
            if group <= promised {
                self.files[file].report.checked(from, to);
            }
        }
        for finding in self.findings {
            let report = &mut self.files[finding.file].report;
            if finding.group <= promised {
                report.damaged_records(finding.from, finding.to, finding.offsets, finding.what);
            } else {
                let dropped = next_group.saturating_sub(finding.group + 1);
                report.note(format!(
                    "torn tail from byte {}: {}; never acknowledged, {dropped} later groups go with it",
                    finding.from, finding.what
                ));
            }
        }
        let is_intact = self.expected.salt.is_some()
            && self.files.iter().all(|file| file.report.damage.is_empty());
        let promised =
            |(group, reference): (u64, Reference)| (group <= promised).then_some(reference);
        Promised {
            references: self.references.into_iter().filter_map(promised).collect(),
            batches: self.batches,
            key_logs: self.key_logs,
            is_intact,
        }
    }
}

fn reference(item: &GroupItem) -> Reference {
    Reference {
        incarnation: item.incarnation,
        segment_base: item.segment_base.0,
        position: item.position,
        length: item.length,
        base_offset: item.base_offset.0,
        end_offset: item.end_offset.0,
        checksum: item.checksum,
    }
}
