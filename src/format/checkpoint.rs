//! The checkpoint: up to where segments are synced, so that the journal before it may be recycled.

use zerocopy::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{
    NONE, check_crc, check_len, check_magic, check_version, check_zero_fields, fields, read,
};
use super::{DecodeError, Layout};
use crate::types::{Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

const MAGIC: &[u8; 4] = b"NPCP";
const WHAT: &str = "checkpoint header";
const LOG: &str = "checkpoint log row";
const PRODUCER: &str = "checkpoint producer row";
const DAMAGE: &str = "checkpoint damage row";
const REFUSES_WRITES: u16 = 1 << 0;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderLayout {
    magic: [u8; 4],
    crc: U32,
    version: U16,
    reserved: [u8; 6],
    number: U64,
    directory_id: U128,
    epoch: U64,
    journal_group: U64,
    journal_file: U32,
    journal_position: U32,
    log_count: U32,
    body_len: U32,
    body_crc: U32,
    reserved_2: [u8; 20],
}

pub(super) const HEADER_LAYOUT: Layout = fields!("Checkpoint header": HeaderLayout,
    Checkpoint::HEADER_BYTES;
    magic, crc, version, reserved, number, directory_id, epoch, journal_group, journal_file,
    journal_position, log_count, body_len, body_crc, reserved_2);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LogLayout {
    incarnation: U128,
    log_start: U64,
    end_offset: U64,
    segment_base: U64,
    position: U64,
    segment_start_time: I64,
    last_append_time: I64,
    fence: U64,
    last_epoch: U64,
    previous_base: U64,
    previous_length: U64,
    flags: U16,
    reserved: U16,
    producer_count: U32,
    damage_count: U32,
    reserved_2: [u8; 20],
}

pub(super) const LOG_LAYOUT: Layout = fields!("Checkpoint log row": LogLayout, LogRow::BYTES;
    incarnation, log_start, end_offset, segment_base, position, segment_start_time,
    last_append_time, fence, last_epoch, previous_base, previous_length, flags, reserved,
    producer_count, damage_count, reserved_2);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ProducerLayout {
    producer_id: U128,
    epoch: U32,
    reserved: U32,
    base_sequence: U64,
    next_sequence: U64,
    base_offset: U64,
    last_append_time: I64,
    reserved_2: [u8; 8],
}

pub(super) const PRODUCER_LAYOUT: Layout = fields!("Checkpoint producer row": ProducerLayout,
    ProducerRow::BYTES;
    producer_id, epoch, reserved, base_sequence, next_sequence, base_offset, last_append_time,
    reserved_2);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DamageLayout {
    first_offset: U64,
    end_offset: U64,
    segment_base: U64,
    position: U64,
    length: U64,
    what: U32,
    reserved: U32,
}

pub(super) const DAMAGE_LAYOUT: Layout = fields!("Checkpoint damage row": DamageLayout,
    DamageRow::BYTES;
    first_offset, end_offset, segment_base, position, length, what, reserved);

/// Contents of a checkpoint file. Specified by `storage-format.md`, "Checkpoint header".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of the checkpoint: the name of its file, and what the recovery point refers to.
    pub number: u64,
    /// The directory it belongs to.
    pub directory_id: Incarnation,
    /// Epoch of the start that wrote it.
    pub epoch: u64,
    /// First group to replay on top of it.
    pub journal_group: u64,
    /// Number of the journal file where that group is, or will be.
    pub journal_file: u32,
    /// Position of that group in that file.
    pub journal_position: u32,
    /// One row for each log.
    pub logs: Vec<LogRow>,
}

/// What a checkpoint knows of one log. Specified by `storage-format.md`, "Checkpoint log row".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// The log.
    pub incarnation: Incarnation,
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// Offset after the last record below `position`.
    pub end_offset: Offset,
    /// Base offset of the active segment.
    pub segment_base: Offset,
    /// Everything below this position of the active segment is synced, and so are all segments
    /// before it.
    pub position: u64,
    /// Append time of the active segment's first batch.
    pub segment_start_time: Timestamp,
    /// Append time of the last batch.
    pub last_append_time: Timestamp,
    /// Highest fencing token seen; 0 is none.
    pub fence: u64,
    /// Log epoch of the last batch.
    pub last_epoch: LogEpoch,
    /// Base offset of the segment before the active one.
    pub previous_base: Option<Offset>,
    /// Bytes of the segment before the active one, up to the end of its last batch.
    pub previous_length: u64,
    /// Whether the log refuses writes because of damage.
    pub refuses_writes: bool,
    /// Idempotent producers that the log remembers.
    pub producers: Vec<ProducerRow>,
    /// Damage known.
    pub damage: Vec<DamageRow>,
}

/// The last batch of an idempotent producer in a log. Specified by `storage-format.md`, "Checkpoint
/// producer row".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerRow {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: u32,
    /// First sequence of its last batch.
    pub base_sequence: u64,
    /// The sequence its next batch must begin with.
    pub next_sequence: u64,
    /// Offset of the first record of its last batch.
    pub base_offset: Offset,
    /// When that batch was appended.
    pub last_append_time: Timestamp,
}

/// A range of a log that cannot be read. Specified by `storage-format.md`, "Checkpoint damage row".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamageRow {
    /// First offset that may be lost.
    pub first_offset: Offset,
    /// Offset after the last one, exclusive.
    pub end_offset: Offset,
    /// Base offset of the segment with the damaged bytes.
    pub segment_base: Offset,
    /// Where they begin in its file.
    pub position: u64,
    /// How many there are; 0 when nobody knows.
    pub length: u64,
    /// What was found.
    pub what: DamageKind,
}

/// What was found where acknowledged bytes should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DamageKind {
    /// A group of the journal whose contents had reached no segment.
    JournalGroup = 1,
    /// A batch in a segment.
    SegmentBatch = 2,
    /// The bytes of a reference.
    Reference = 3,
    /// A segment file that is missing, or whose header is unreadable.
    SegmentFile = 4,
    /// Bytes between batches that should be zero.
    Padding = 5,
}

impl DamageKind {
    /// The kind with this number in a damage row, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::JournalGroup),
            2 => Some(Self::SegmentBatch),
            3 => Some(Self::Reference),
            4 => Some(Self::SegmentFile),
            5 => Some(Self::Padding),
            _ => None,
        }
    }
}

impl Checkpoint {
    /// Bytes in front of the rows.
    pub const HEADER_BYTES: usize = 96;
    /// Version this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;

    /// The bytes of the file.
    ///
    /// # Panics
    /// When the rows take 4 GiB or more, which is 16 million logs.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let rows = |log: &LogRow| {
            LogRow::BYTES
                + log.producers.len() * ProducerRow::BYTES
                + log.damage.len() * DamageRow::BYTES
        };
        let body_len: usize = self.logs.iter().map(rows).sum();
        let mut bytes = Vec::with_capacity(Self::HEADER_BYTES + body_len);
        bytes.resize(Self::HEADER_BYTES, 0);
        for log in &self.logs {
            log.encode(&mut bytes);
        }
        let mut header = HeaderLayout {
            magic: *MAGIC,
            crc: 0.into(),
            version: Self::VERSION.into(),
            reserved: [0; 6],
            number: self.number.into(),
            directory_id: self.directory_id.0.into(),
            epoch: self.epoch.into(),
            journal_group: self.journal_group.into(),
            journal_file: self.journal_file.into(),
            journal_position: self.journal_position.into(),
            log_count: narrow(self.logs.len()).into(),
            body_len: narrow(body_len).into(),
            body_crc: crc32fast::hash(&bytes[Self::HEADER_BYTES..]).into(),
            reserved_2: [0; 20],
        };
        header.crc = crc32fast::hash(&header.as_bytes()[8..]).into();
        bytes[..Self::HEADER_BYTES].copy_from_slice(header.as_bytes());
        bytes
    }

    /// Reads the bytes of the file, all of them.
    ///
    /// # Errors
    /// Bytes that are not an intact checkpoint of a known version, and rows that break a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: HeaderLayout = read(WHAT, bytes)?;
        check_magic(WHAT, &header.magic, MAGIC)?;
        check_crc(
            WHAT,
            header.crc.get(),
            crc32fast::hash(&bytes[8..Self::HEADER_BYTES]),
        )?;
        check_version(WHAT, header.version.get(), Self::VERSION)?;
        check_zero_fields!(WHAT, header: HeaderLayout; reserved, reserved_2);
        let mut body = &bytes[Self::HEADER_BYTES..];
        let body_len = header.body_len.get() as usize;
        check_len("checkpoint body", body, body_len)?;
        if body.len() > body_len {
            return Err(DecodeError::length(
                "checkpoint body",
                body.len() as u64,
                body_len as u64,
            ));
        }
        check_crc(
            "checkpoint body",
            header.body_crc.get(),
            crc32fast::hash(body),
        )?;
        let log_count = header.log_count.get();
        check_count(LOG, log_count, LogRow::BYTES, body)?;
        let mut logs = Vec::with_capacity(log_count as usize);
        for _ in 0..log_count {
            logs.push(LogRow::decode(&mut body)?);
        }
        if !body.is_empty() {
            return Err(DecodeError::length(
                "bytes after the last checkpoint row",
                body.len() as u64,
                0,
            ));
        }
        Ok(Self {
            number: header.number.get(),
            directory_id: Incarnation(header.directory_id.get()),
            epoch: header.epoch.get(),
            journal_group: header.journal_group.get(),
            journal_file: header.journal_file.get(),
            journal_position: header.journal_position.get(),
            logs,
        })
    }
}

impl LogRow {
    /// Bytes of the row, without the producer and damage rows that follow it.
    pub const BYTES: usize = 128;

    fn encode(&self, to: &mut Vec<u8>) {
        let row = LogLayout {
            incarnation: self.incarnation.0.into(),
            log_start: self.log_start.0.into(),
            end_offset: self.end_offset.0.into(),
            segment_base: self.segment_base.0.into(),
            position: self.position.into(),
            segment_start_time: self.segment_start_time.0.into(),
            last_append_time: self.last_append_time.0.into(),
            fence: self.fence.into(),
            last_epoch: self.last_epoch.0.into(),
            previous_base: self.previous_base.map_or(NONE, |base| base.0).into(),
            previous_length: self.previous_length.into(),
            flags: if self.refuses_writes {
                REFUSES_WRITES
            } else {
                0
            }
            .into(),
            reserved: 0.into(),
            producer_count: narrow(self.producers.len()).into(),
            damage_count: narrow(self.damage.len()).into(),
            reserved_2: [0; 20],
        };
        to.extend_from_slice(row.as_bytes());
        for producer in &self.producers {
            producer.encode(to);
        }
        for damage in &self.damage {
            damage.encode(to);
        }
    }

    fn decode(body: &mut &[u8]) -> Result<Self, DecodeError> {
        let row: LogLayout = take(LOG, body)?;
        if row.flags.get() & !REFUSES_WRITES != 0 {
            return Err(DecodeError::field(
                "flags of a checkpoint log row",
                row.flags.get(),
                "with a bit that no version knows",
            ));
        }
        check_zero_fields!(LOG, row: LogLayout; reserved, reserved_2);
        if row.log_start.get() > row.end_offset.get() {
            return Err(DecodeError::field(
                "log_start of a checkpoint log row",
                row.log_start.get(),
                "which is above its end_offset",
            ));
        }
        let (producer_count, damage_count) = (row.producer_count.get(), row.damage_count.get());
        check_count(PRODUCER, producer_count, ProducerRow::BYTES, body)?;
        let mut producers = Vec::with_capacity(producer_count as usize);
        for _ in 0..producer_count {
            producers.push(ProducerRow::decode(body)?);
        }
        check_count(DAMAGE, damage_count, DamageRow::BYTES, body)?;
        let mut damage = Vec::with_capacity(damage_count as usize);
        for _ in 0..damage_count {
            damage.push(DamageRow::decode(body)?);
        }
        Ok(Self {
            incarnation: Incarnation(row.incarnation.get()),
            log_start: Offset(row.log_start.get()),
            end_offset: Offset(row.end_offset.get()),
            segment_base: Offset(row.segment_base.get()),
            position: row.position.get(),
            segment_start_time: Timestamp(row.segment_start_time.get()),
            last_append_time: Timestamp(row.last_append_time.get()),
            fence: row.fence.get(),
            last_epoch: LogEpoch(row.last_epoch.get()),
            previous_base: match row.previous_base.get() {
                NONE => None,
                base => Some(Offset(base)),
            },
            previous_length: row.previous_length.get(),
            refuses_writes: row.flags.get() & REFUSES_WRITES != 0,
            producers,
            damage,
        })
    }
}

impl ProducerRow {
    /// Bytes of the row.
    pub const BYTES: usize = 64;

    fn encode(&self, to: &mut Vec<u8>) {
        let row = ProducerLayout {
            producer_id: self.producer_id.0.into(),
            epoch: self.epoch.into(),
            reserved: 0.into(),
            base_sequence: self.base_sequence.into(),
            next_sequence: self.next_sequence.into(),
            base_offset: self.base_offset.0.into(),
            last_append_time: self.last_append_time.0.into(),
            reserved_2: [0; 8],
        };
        to.extend_from_slice(row.as_bytes());
    }

    fn decode(body: &mut &[u8]) -> Result<Self, DecodeError> {
        let row: ProducerLayout = take(PRODUCER, body)?;
        check_zero_fields!(PRODUCER, row: ProducerLayout; reserved, reserved_2);
        Ok(Self {
            producer_id: ProducerId(row.producer_id.get()),
            epoch: row.epoch.get(),
            base_sequence: row.base_sequence.get(),
            next_sequence: row.next_sequence.get(),
            base_offset: Offset(row.base_offset.get()),
            last_append_time: Timestamp(row.last_append_time.get()),
        })
    }
}

impl DamageRow {
    /// Bytes of the row.
    pub const BYTES: usize = 48;

    fn encode(&self, to: &mut Vec<u8>) {
        let row = DamageLayout {
            first_offset: self.first_offset.0.into(),
            end_offset: self.end_offset.0.into(),
            segment_base: self.segment_base.0.into(),
            position: self.position.into(),
            length: self.length.into(),
            what: (self.what as u32).into(),
            reserved: 0.into(),
        };
        to.extend_from_slice(row.as_bytes());
    }

    fn decode(body: &mut &[u8]) -> Result<Self, DecodeError> {
        let row: DamageLayout = take(DAMAGE, body)?;
        check_zero_fields!(DAMAGE, row: DamageLayout; reserved);
        let Some(what) = DamageKind::from_number(row.what.get()) else {
            return Err(DecodeError::field(
                "what of a checkpoint damage row",
                row.what.get(),
                "which no version knows",
            ));
        };
        Ok(Self {
            first_offset: Offset(row.first_offset.get()),
            end_offset: Offset(row.end_offset.get()),
            segment_base: Offset(row.segment_base.get()),
            position: row.position.get(),
            length: row.length.get(),
            what,
        })
    }
}

/// The row at the front of `body`, which then begins behind it.
fn take<T: FromBytes>(what: &'static str, body: &mut &[u8]) -> Result<T, DecodeError> {
    let row = read(what, body)?;
    *body = &body[size_of::<T>()..];
    Ok(row)
}

/// Refuses a count of rows for which there are not enough bytes, before room is made for them.
fn check_count(
    what: &'static str,
    count: u32,
    row_bytes: usize,
    body: &[u8],
) -> Result<(), DecodeError> {
    let needed = u64::from(count) * row_bytes as u64;
    if needed > body.len() as u64 {
        return Err(DecodeError::Short {
            what,
            needed,
            found: body.len() as u64,
        });
    }
    Ok(())
}

fn narrow(len: usize) -> u32 {
    u32::try_from(len).expect("a checkpoint's rows take less than 4 GiB")
}
