//! A small, valid data directory, made with the encoders, for the tests.
//!
//! ```text
//! log A  segment 0 (sealed) | segment 20 (sealed) | segment 40 (active; checkpointed to offset 50)
//! log B  segment 0 (active; checkpointed to offset 4; a synced reference to offsets 10..16)
//! journal 0000  groups 1, 2 (before the checkpoint) | 3 | 4
//! journal 0001  5 (vouched for by 7 alone) | 6 (the same) | 7 (the last one, nothing vouches for it)
//! recovery point: flushed up to 4
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use npayload::format::{
    BatchBuilder, BatchHeader, Checkpoint, Compression, GroupHeader, GroupItem, IndexHeader,
    IndexKind, ItemKind, JournalFileHeader, LogRow, Marker, NewRecord, OffsetEntry, ProducerRow,
    RecoveryPoint, SegmentHeader, Stamp, TimeEntry, items_crc, stamp,
};
use npayload::types::{Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

pub const ID: Incarnation = Incarnation(0x1d);
pub const LOG_A: Incarnation = Incarnation(0xaaaa_0000_1111_2222_3333_4444_5555_6666);
pub const LOG_B: Incarnation = Incarnation(0xbbbb);
const EPOCH: u64 = 7;
const SALT: u64 = 0x5a17_5a17_0000_0001;
const JOURNAL_BYTES: usize = 64 << 10;
const RUN_BYTES: usize = 600;

/// A stamped batch of `count` records.
pub fn batch(log: Incarnation, base_offset: u64, count: u64, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for number in 0..count {
        let payload = format!("{{\"n\":{}}}", base_offset + number);
        let record = NewRecord {
            record_type: "test.number",
            key: number.is_multiple_of(2).then_some(b"key"),
            headers: &[("trace", b"\x01\xff")],
            payload: Some(payload.as_bytes()),
            event_time: Some(Timestamp(5)),
        };
        builder.push(&record).unwrap();
    }
    let mut bytes = builder.build().unwrap().to_vec();
    let stamped = Stamp {
        incarnation: log,
        base_offset: Offset(base_offset),
        append_time: Timestamp(1_000 + i64::try_from(base_offset).unwrap()),
        log_epoch: LogEpoch(EPOCH),
        principal: 0,
    };
    stamp(&mut bytes, &stamped);
    bytes
}

/// A segment file and its indexes while they are written.
struct Segment {
    log: Incarnation,
    base_offset: u64,
    next_offset: u64,
    bytes: Vec<u8>,
    runs: Vec<(OffsetEntry, TimeEntry)>,
}

impl Segment {
    fn new(log: Incarnation, base_offset: u64, previous: Option<&Segment>) -> Self {
        let header = SegmentHeader {
            incarnation: log,
            base_offset: Offset(base_offset),
            previous_base: previous.map(|segment| Offset(segment.base_offset)),
            previous_length: previous.map_or(0, |segment| segment.bytes.len() as u64),
            previous_last_time: previous.map_or_else(Timestamp::default, Segment::last_time),
            created_at: Timestamp(1),
            epoch: EPOCH,
        };
        Self {
            log,
            base_offset,
            next_offset: base_offset,
            bytes: header.encode().to_vec(),
            runs: Vec::new(),
        }
    }

    fn last_time(&self) -> Timestamp {
        let mut at = 4096;
        let mut last = Timestamp::default();
        while at < self.bytes.len() {
            match BatchHeader::peek(&self.bytes[at..]) {
                Ok(header) => {
                    last = header.append_time();
                    at += header.len();
                }
                Err(_) => at = (at + 1).next_multiple_of(4096),
            }
        }
        last
    }

    /// Adds a batch of `count` records, on a fresh block when asked; where it was put.
    fn append(&mut self, count: u64, on_fresh_block: bool) -> (u64, Vec<u8>) {
        if on_fresh_block {
            self.bytes
                .resize(self.bytes.len().next_multiple_of(4096), 0);
        }
        let compression = if self.next_offset.is_multiple_of(3) {
            Compression::Lz4
        } else {
            Compression::None
        };
        let bytes = batch(self.log, self.next_offset, count, compression);
        let position = self.bytes.len();
        let delta = u32::try_from(self.next_offset - self.base_offset).unwrap();
        let length = u32::try_from(bytes.len()).unwrap();
        let follows = |run: &OffsetEntry| {
            (run.position + run.length) as usize == position && (run.length as usize) < RUN_BYTES
        };
        match self.runs.last_mut() {
            Some((run, _)) if follows(run) => run.length += length,
            _ => self.runs.push((
                OffsetEntry {
                    offset_delta: delta,
                    position: u32::try_from(position).unwrap(),
                    length,
                },
                TimeEntry {
                    append_time: BatchHeader::peek(&bytes).unwrap().append_time(),
                    offset_delta: delta,
                },
            )),
        }
        self.bytes.extend_from_slice(&bytes);
        self.next_offset += count;
        (position as u64, bytes)
    }

    fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(format!("{:020}.log", self.base_offset));
        fs::write(&path, &self.bytes).unwrap();
        let (log, base_offset) = (self.log, Offset(self.base_offset));
        let header = |kind| {
            IndexHeader {
                kind,
                incarnation: log,
                base_offset,
            }
            .encode()
            .to_vec()
        };
        let (mut offsets, mut times) = (header(IndexKind::Offset), header(IndexKind::Time));
        for (run, time) in &self.runs {
            offsets.extend(run.encode(log, base_offset));
            times.extend(time.encode(log, base_offset));
        }
        fs::write(path.with_extension("index"), offsets).unwrap();
        fs::write(path.with_extension("timeindex"), times).unwrap();
    }
}

fn item(log: &Segment, kind: ItemKind, position: u64, bytes: &[u8], entry: u32) -> GroupItem {
    let mut at = 0;
    let mut batch_count = 0;
    let mut end_offset = Offset(0);
    while at < bytes.len() {
        let header = BatchHeader::peek(&bytes[at..]).unwrap();
        at += header.len();
        batch_count += 1;
        end_offset = header.end_offset();
    }
    let first = BatchHeader::peek(bytes).unwrap();
    GroupItem {
        kind,
        is_last_of_entry: true,
        was_synced_before: kind == ItemKind::Reference,
        is_copied: false,
        entry,
        incarnation: log.log,
        base_offset: first.base_offset(),
        end_offset,
        segment_base: Offset(log.base_offset),
        position,
        length: bytes.len() as u64,
        checksum: match kind {
            ItemKind::Batch => first.header_crc(),
            ItemKind::Reference => crc32fast::hash(bytes),
        },
        batch_count,
        previous_base: None,
    }
}

fn group(number: u64, synced_group: u64, items: &[(GroupItem, Vec<u8>)]) -> Vec<u8> {
    let rows: Vec<u8> = items.iter().flat_map(|(item, _)| item.encode()).collect();
    let data: Vec<u8> = items
        .iter()
        .filter(|(item, _)| item.kind == ItemKind::Batch)
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    let header = GroupHeader {
        item_count: u32::try_from(items.len()).unwrap(),
        items_crc: items_crc(SALT, number, &rows),
        data_len: u32::try_from(data.len()).unwrap(),
        group: number,
        epoch: EPOCH,
        synced_group,
        written_at: Timestamp(2_000),
    };
    [header.encode().to_vec(), rows, data].concat()
}

/// One file of the journal, zero-filled.
struct Journal {
    bytes: Vec<u8>,
    at: usize,
}

impl Journal {
    fn new(number: u32) -> Self {
        let header = JournalFileHeader {
            directory_id: ID,
            number,
            file_bytes: JOURNAL_BYTES as u64,
        };
        let mut bytes = header.encode().to_vec();
        bytes.resize(JOURNAL_BYTES, 0);
        Self { bytes, at: 4096 }
    }

    /// Adds a group; the byte after it.
    fn append(&mut self, group: &[u8]) -> u32 {
        let end = self.at + group.len();
        self.bytes[self.at..end].copy_from_slice(group);
        self.at = end.next_multiple_of(4096);
        u32::try_from(end).unwrap()
    }
}

/// Makes the directory.
pub fn write(directory: &Path) {
    let row = |segment: &Segment, position, end_offset, previous: Option<&Segment>| LogRow {
        incarnation: segment.log,
        log_start: Offset(0),
        end_offset: Offset(end_offset),
        segment_base: Offset(segment.base_offset),
        position,
        segment_start_time: Timestamp(1_000),
        last_append_time: segment.last_time(),
        fence: 0,
        last_epoch: LogEpoch(EPOCH),
        previous_base: previous.map(|it| Offset(it.base_offset)),
        previous_length: previous.map_or(0, |it| it.bytes.len() as u64),
        refuses_writes: false,
        producers: Vec::new(),
        damage: Vec::new(),
    };

    let mut first = Segment::new(LOG_A, 0, None);
    for fresh in [false, false, true, false] {
        first.append(5, fresh);
    }
    let mut second = Segment::new(LOG_A, 20, Some(&first));
    second.append(20, false);
    let mut active = Segment::new(LOG_A, 40, Some(&second));
    active.append(2, false);
    active.append(8, false);
    let mut row_a = row(&active, active.bytes.len() as u64, 50, Some(&second));
    row_a.producers.push(ProducerRow {
        producer_id: ProducerId(9),
        epoch: 1,
        base_sequence: 10,
        next_sequence: 12,
        base_offset: Offset(48),
        last_append_time: Timestamp(1_048),
    });

    let mut other = Segment::new(LOG_B, 0, None);
    other.append(4, false);
    let row_b = row(&other, other.bytes.len() as u64, 4, None);

    let mut journals = [Journal::new(0), Journal::new(1)];
    let batch_item = |segment: &mut Segment, count, fresh, entry| {
        let (position, bytes) = segment.append(count, fresh);
        (
            item(segment, ItemKind::Batch, position, &bytes, entry),
            bytes,
        )
    };
    let mut old = Segment::new(LOG_B, 0, None);
    for number in [1, 2] {
        journals[0].append(&group(
            number,
            number - 1,
            &[batch_item(&mut old, 2, false, 0)],
        ));
    }
    let journal_position = u32::try_from(journals[0].at).unwrap();
    let items = [
        batch_item(&mut active, 1, true, 0),
        batch_item(&mut other, 6, true, 1),
    ];
    journals[0].append(&group(3, 2, &items));
    let flushed_end = journals[0].append(&group(4, 3, &[batch_item(&mut active, 3, false, 0)]));
    let (position, mut bytes) = other.append(3, true);
    bytes.extend(other.append(3, false).1);
    let reference = (
        item(&other, ItemKind::Reference, position, &bytes, 0),
        bytes,
    );
    journals[1].append(&group(
        5,
        3,
        &[reference, batch_item(&mut active, 1, false, 1)],
    ));
    journals[1].append(&group(6, 4, &[batch_item(&mut active, 1, false, 0)]));
    journals[1].append(&group(7, 6, &[batch_item(&mut active, 1, false, 0)]));

    let checkpoint = Checkpoint {
        number: 12,
        directory_id: ID,
        epoch: EPOCH,
        journal_group: 3,
        journal_file: 0,
        journal_position,
        logs: vec![row_a, row_b],
    };
    let point = |sequence| RecoveryPoint {
        is_clean: false,
        sequence,
        directory_id: ID,
        epoch: EPOCH,
        salt: SALT,
        checkpoint: 12,
        flushed_group: 4,
        flushed_file: 0,
        flushed_end,
    };
    // The active segment's last bytes have not been written behind yet.
    active.bytes.truncate(active.bytes.len() - 40);

    fs::create_dir_all(directory.join("journal")).unwrap();
    fs::create_dir_all(directory.join("checkpoints")).unwrap();
    let marker = Marker {
        directory_id: ID,
        created_at: Timestamp(3),
    };
    fs::write(directory.join("npayload.marker"), marker.encode()).unwrap();
    let mut slots = vec![0; RecoveryPoint::FILE_BYTES];
    for point in [point(4), point(5)] {
        let at = usize::try_from(point.slot_position()).unwrap();
        slots[at..at + RecoveryPoint::BYTES].copy_from_slice(&point.encode());
    }
    fs::write(directory.join("recovery-point"), slots).unwrap();
    for extension in ["checkpoint", "copy"] {
        let path = directory.join(format!("checkpoints/{:020}.{extension}", 12));
        fs::write(path, checkpoint.encode()).unwrap();
    }
    for (number, journal) in journals.iter().enumerate() {
        fs::write(
            directory.join(format!("journal/{number:04}.journal")),
            &journal.bytes,
        )
        .unwrap();
    }
    for segment in [&first, &second, &active, &other] {
        segment.write(&folder(directory, segment.log));
    }
}

/// Where a log's segments are.
pub fn folder(directory: &Path, log: Incarnation) -> PathBuf {
    directory.join("channels").join(log.to_string())
}
