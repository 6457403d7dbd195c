//! Where everything lies in a data directory, found by decoding it.

use std::ops::Range;

use npayload::format::{
    BatchHeader, Checkpoint, GroupHeader, GroupItem, ItemKind, Marker, RecoveryPoint,
};
use npayload::types::Incarnation;

use super::image::Image;
use super::patient::Known;

pub const BLOCK: usize = 4096;

/// A stretch of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub range: Range<usize>,
}

impl Place {
    fn new(file: &str, range: Range<usize>) -> Self {
        let file = file.to_owned();
        Self { file, range }
    }

    /// Whether the two have a byte in common.
    pub fn meets(&self, other: &Self) -> bool {
        self.file == other.file
            && self.range.start < other.range.end
            && other.range.start < self.range.end
    }
}

/// A group of the journal that a replay needs.
#[derive(Clone, Debug)]
pub struct Group {
    /// Header and items.
    pub head: Place,
    pub whole: Place,
    pub is_promised: bool,
    /// Each with the place of its bytes in the journal, where they are there.
    pub items: Vec<(GroupItem, Option<Place>)>,
}

/// A segment file.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    pub name: String,
    pub log: Incarnation,
    pub is_sealed: bool,
    /// The checkpoint vouches for the bytes below.
    pub vouched: usize,
    pub batches: Vec<(Range<usize>, BatchHeader)>,
    pub padding: Vec<Range<usize>>,
}

/// All copies of a batch.
#[derive(Clone, Debug)]
pub struct Stored {
    pub log: Incarnation,
    pub first: u64,
    pub end: u64,
    /// In a segment, vouched for by a checkpoint or, with the head of the group, by a reference.
    pub segment: Option<(Place, Option<Place>)>,
    /// In the journal: head of the group, and bytes.
    pub journal: Option<(Place, Place)>,
    pub is_promised: bool,
}

impl Stored {
    /// Whether damage to these places leaves no copy that is vouched for.
    pub fn is_lost(&self, touched: &[Place]) -> bool {
        let is_hit = |place: &Place| touched.iter().any(|hit| hit.meets(place));
        let in_segment = self.segment.as_ref().is_some_and(|(place, head)| {
            !is_hit(place) && head.as_ref().is_none_or(|head| !is_hit(head))
        });
        let in_journal = self
            .journal
            .as_ref()
            .is_some_and(|(head, bytes)| !is_hit(head) && !is_hit(bytes));
        !in_segment && !in_journal
    }
}

/// An image, decoded.
#[derive(Clone, Debug)]
pub struct Map {
    pub directory_id: Incarnation,
    pub consumers: Incarnation,
    pub access: Incarnation,
    /// Slot that counts: 0 or 1.
    pub slot: usize,
    pub checkpoint: Checkpoint,
    pub checkpoint_file: String,
    pub copy_file: String,
    pub journal_files: Vec<String>,
    pub groups: Vec<Group>,
    pub segments: Vec<SegmentFile>,
    pub stored: Vec<Stored>,
}

impl Map {
    /// Decodes an intact image.
    pub fn of(image: &Image, known: &Known) -> Self {
        let marker = Marker::decode(image.file("npayload.marker")).unwrap();
        let slots = image.file("recovery-point");
        let (a, b) = slots.split_at(RecoveryPoint::SLOT_BYTES);
        let point = RecoveryPoint::newest(a, b).unwrap();
        let name = |ending: &str| format!("checkpoints/{:020}.{ending}", point.checkpoint);
        let checkpoint = Checkpoint::decode(image.file(&name("checkpoint"))).unwrap();
        let mut map = Self {
            directory_id: marker.directory_id,
            consumers: known.consumers,
            access: known.access,
            slot: (point.sequence % 2) as usize,
            checkpoint,
            checkpoint_file: name("checkpoint"),
            copy_file: name("copy"),
            journal_files: image.names("journal/", ".journal"),
            groups: Vec::new(),
            segments: Vec::new(),
            stored: Vec::new(),
        };
        map.find_groups(image, &point);
        map.find_segments(image);
        map.find_stored();
        map
    }

    fn find_groups(&mut self, image: &Image, point: &RecoveryPoint) {
        for file in &self.journal_files {
            let bytes = image.file(file);
            let mut at = BLOCK;
            while at + BLOCK <= bytes.len() {
                let header = GroupHeader::decode(&bytes[at..]);
                let live = header.ok().filter(|header| {
                    header.epoch == point.epoch && header.group >= self.checkpoint.journal_group
                });
                let Some(header) = live else {
                    at += BLOCK;
                    continue;
                };
                let items_at = at + GroupHeader::BYTES;
                let mut data = items_at + GroupItem::BYTES * header.item_count as usize;
                let head = Place::new(file, at..data);
                let end = data + header.data_len as usize;
                let rows = bytes[items_at..data].chunks_exact(GroupItem::BYTES);
                let items = rows.map(|row| {
                    let item = GroupItem::decode(row).unwrap();
                    let place = (item.kind == ItemKind::Batch).then(|| {
                        let range = data..data + item.length as usize;
                        data = range.end;
                        Place::new(file, range)
                    });
                    (item, place)
                });
                let items = items.collect();
                self.groups.push(Group {
                    head,
                    whole: Place::new(file, at..end),
                    is_promised: header.group <= point.flushed_group,
                    items,
                });
                at = end.next_multiple_of(BLOCK);
            }
        }
    }

    fn find_segments(&mut self, image: &Image) {
        let names = image.names("channels/", ".log");
        for (at, name) in names.iter().enumerate() {
            let parts: Vec<&str> = name.split('/').collect();
            let log: Incarnation = parts[1].parse().unwrap();
            let base: u64 = parts[2].trim_end_matches(".log").parse().unwrap();
            let next = names.get(at + 1);
            let is_sealed = next.is_some_and(|next| next.starts_with(&name[..name.len() - 24]));
            let bytes = image.file(name);
            let rows = &self.checkpoint.logs;
            let row = rows.iter().find(|row| row.incarnation == log);
            let vouched = match row {
                Some(row) if row.segment_base.0 > base => bytes.len(),
                Some(row) if row.segment_base.0 == base => row.position as usize,
                _ => 0,
            };
            let (mut batches, mut padding, mut at) = (Vec::new(), Vec::new(), BLOCK);
            while at < bytes.len() {
                match BatchHeader::peek(&bytes[at..]) {
                    Ok(header) => {
                        batches.push((at..at + header.len(), header));
                        at += header.len();
                    }
                    Err(_) => {
                        let end = (at + 1).next_multiple_of(BLOCK);
                        padding.push(at..end.min(bytes.len()));
                        at = end;
                    }
                }
            }
            self.segments.push(SegmentFile {
                name: name.clone(),
                log,
                is_sealed,
                vouched,
                batches,
                padding,
            });
        }
    }

    fn find_stored(&mut self) {
        for segment in &self.segments {
            for (range, header) in &segment.batches {
                let vouched = range.end <= segment.vouched;
                let place = Place::new(&segment.name, range.clone());
                self.stored.push(Stored {
                    log: segment.log,
                    first: header.base_offset().0,
                    end: header.end_offset().0,
                    segment: vouched.then_some((place, None)),
                    journal: None,
                    is_promised: true,
                });
            }
        }
        for group in &self.groups {
            for (item, place) in &group.items {
                let name = format!(
                    "channels/{}/{:020}.log",
                    item.incarnation, item.segment_base.0
                );
                let position = item.position as usize;
                let run = Place::new(&name, position..position + item.length as usize);
                let (first, end) = (item.base_offset.0, item.end_offset.0);
                let is_of = |one: &&mut Stored| {
                    one.log == item.incarnation && one.first >= first && one.end <= end
                };
                let mut found = false;
                for one in self.stored.iter_mut().filter(is_of) {
                    found = true;
                    one.is_promised = group.is_promised;
                    match place {
                        Some(place) => one.journal = Some((group.head.clone(), place.clone())),
                        None => one.segment = Some((run.clone(), Some(group.head.clone()))),
                    }
                }
                if !found {
                    self.stored.push(Stored {
                        log: item.incarnation,
                        first,
                        end,
                        segment: None,
                        journal: place.clone().map(|place| (group.head.clone(), place)),
                        is_promised: group.is_promised,
                    });
                }
            }
        }
    }

    fn is_internal(&self, log: Incarnation) -> bool {
        [self.directory_id, self.consumers, self.access].contains(&log)
    }

    /// The places of a row of the table of bytes.
    pub fn places(&self, image: &Image, row: &str) -> Vec<Place> {
        let whole = |file: &str| vec![Place::new(file, 0..image.file(file).len())];
        let slot = |slot: usize| {
            vec![Place::new(
                "recovery-point",
                slot * BLOCK..(slot + 1) * BLOCK,
            )]
        };
        let segments = |is_sealed| {
            let all = self.segments.iter();
            all.filter(move |it| it.is_sealed == is_sealed && !self.is_internal(it.log))
        };
        let headers = |is_sealed| {
            let all = self.segments.iter().filter(|it| it.is_sealed == is_sealed);
            all.map(|it| Place::new(&it.name, 0..BLOCK)).collect()
        };
        let batches = |segment: &SegmentFile, from: usize, to: usize| -> Vec<Place> {
            let all = segment.batches.iter();
            all.filter(|(range, _)| range.start >= from && range.end <= to)
                .map(|(range, _)| Place::new(&segment.name, range.clone()))
                .collect()
        };
        let own = |log: Incarnation| {
            let all = self.segments.iter().filter(move |it| it.log == log);
            all.flat_map(|it| batches(it, 0, it.vouched)).collect()
        };
        let index = |ending: &str| {
            let names = image.names("channels/", ending).into_iter();
            names.flat_map(|name| whole(&name)).collect()
        };
        match row {
            "marker" => whole("npayload.marker"),
            "lock" => whole("lock"),
            "recovery point, newer slot" => slot(self.slot),
            "recovery point, older slot" => slot(1 - self.slot),
            "checkpoint" => whole(&self.checkpoint_file),
            "checkpoint copy" => whole(&self.copy_file),
            "journal, file header" => {
                let files = self.journal_files.iter();
                files.map(|file| Place::new(file, 0..BLOCK)).collect()
            }
            "journal, head of a promised group" => {
                let groups = self.groups.iter().filter(|group| group.is_promised);
                groups.map(|group| group.head.clone()).collect()
            }
            "journal, batch of a promised group" => {
                let groups = self.groups.iter().filter(|group| group.is_promised);
                let items = groups.flat_map(|group| &group.items);
                items.filter_map(|(_, place)| place.clone()).collect()
            }
            "journal, zeros behind a promised group" => {
                let groups = self.groups.iter().filter(|group| group.is_promised);
                groups.filter_map(behind).collect()
            }
            "journal, last group" => {
                let groups = self.groups.iter().filter(|group| !group.is_promised);
                groups.map(|group| group.whole.clone()).collect()
            }
            "journal, not in use" => self.unused(image),
            "sealed segment, header" => headers(true),
            "sealed segment, batch" => segments(true)
                .flat_map(|it| batches(it, 0, usize::MAX))
                .collect(),
            "segment, padding" => {
                let all = self.segments.iter();
                let places = all.flat_map(|it| {
                    let ranges = it.padding.iter();
                    ranges.map(|range| Place::new(&it.name, range.clone()))
                });
                places.collect()
            }
            "active segment, header" => headers(false),
            "active segment, batch" => segments(false)
                .flat_map(|it| batches(it, 0, it.vouched))
                .collect(),
            "active segment, batch that the journal has" => {
                let items = self.groups.iter().flat_map(|group| &group.items);
                let runs = items.filter(|(_, place)| place.is_some()).map(|(item, _)| {
                    let name = format!(
                        "channels/{}/{:020}.log",
                        item.incarnation, item.segment_base.0
                    );
                    let at = item.position as usize;
                    Place::new(&name, at..at + item.length as usize)
                });
                runs.filter(|run| {
                    let file = image.files.get(&run.file);
                    file.is_some_and(|file| file.len() >= run.range.end)
                })
                .collect()
            }
            "bytes of a reference" => self
                .stored
                .iter()
                .filter_map(|one| match &one.segment {
                    Some((place, Some(_))) => Some(place.clone()),
                    _ => None,
                })
                .collect(),
            "offset index" => index(".index"),
            "time index" => index(".timeindex"),
            "`__channels` segment" => own(self.directory_id),
            "`__consumers` segment" => own(self.consumers),
            "secret file" => whole("npayload.secret"),
            "`__access` segment" => own(self.access),
            other => panic!("no such row: {other}"),
        }
    }

    /// The row, of these, that a byte belongs to.
    pub fn row_of<'a>(&self, image: &Image, rows: &[&'a str], file: &str, at: usize) -> &'a str {
        let byte = Place::new(file, at..at + 1);
        let is_in = |row: &&&str| self.places(image, row).iter().any(|it| it.meets(&byte));
        let row = rows.iter().find(is_in);
        row.unwrap_or_else(|| panic!("byte {at} of {file} is in no row"))
    }

    /// The parts of the journal that hold no live group and no header.
    fn unused(&self, image: &Image) -> Vec<Place> {
        let last = self.groups.iter().filter(|group| !group.is_promised);
        let mut unused: Vec<Place> = last.filter_map(behind).collect();
        for file in &self.journal_files {
            let len = image.file(file).len();
            for at in (BLOCK..len).step_by(BLOCK) {
                let block = Place::new(file, at..(at + BLOCK).min(len));
                let is_live = |group: &Group| {
                    // With the zeros behind it.
                    let mut whole = group.whole.clone();
                    whole.range.end = whole.range.end.next_multiple_of(BLOCK);
                    whole.meets(&block)
                };
                if !self.groups.iter().any(is_live) {
                    unused.push(block);
                }
            }
        }
        unused
    }

    /// The files of a row of the table of files.
    pub fn files(&self, image: &Image, row: &str) -> Vec<String> {
        let segments = |is_wanted: &dyn Fn(&SegmentFile) -> bool| {
            let all = self.segments.iter().filter(|it| is_wanted(it));
            all.map(|it| it.name.clone()).collect()
        };
        let is_live = |file: &String| self.groups.iter().any(|group| group.whole.file == **file);
        let journal = |wanted: bool| {
            let all = self.journal_files.iter();
            all.filter(|file| is_live(file) == wanted)
                .cloned()
                .collect()
        };
        match row {
            "marker" => vec!["npayload.marker".to_owned()],
            "lock" => vec!["lock".to_owned()],
            "recovery point" => vec!["recovery-point".to_owned()],
            "checkpoint" => vec![self.checkpoint_file.clone()],
            "checkpoint copy" => vec![self.copy_file.clone()],
            "journal file in use" => journal(true),
            "journal file not in use" => journal(false),
            "sealed segment" => segments(&|it| it.is_sealed && !self.is_internal(it.log)),
            "active segment" => segments(&|it| !it.is_sealed && !self.is_internal(it.log)),
            "offset index" => image.names("channels/", ".index"),
            "time index" => image.names("channels/", ".timeindex"),
            "`__channels` segment" => segments(&|it| it.log == self.directory_id),
            "`__consumers` segment" => segments(&|it| it.log == self.consumers),
            "secret file" => vec!["npayload.secret".to_owned()],
            "`__access` segment" => segments(&|it| it.log == self.access),
            other => panic!("no such row: {other}"),
        }
    }
}

/// The zeros between a group and the next block.
fn behind(group: &Group) -> Option<Place> {
    let end = group.whole.range.end;
    let place = Place::new(&group.whole.file, end..end.next_multiple_of(BLOCK));
    (!place.range.is_empty()).then_some(place)
}
