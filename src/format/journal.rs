//! The journal: file header, group header, items.
//!
//! ```text
//! file   = header block | group | zeros to the next block | group | …
//! group  = group header (64) | items (80 each) | data: the batches of its `Batch` items
//! ```

use zerocopy::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::batch::{BATCH_ALIGNMENT, BATCH_HEADER_BYTES, MAX_STORED_BATCH_BYTES};
use super::layout::{
    NONE, check_crc, check_len, check_magic, check_version, check_zero, check_zero_fields, fields,
    read, to_array,
};
use super::{BLOCK_BYTES, DecodeError, Layout};
use crate::types::{Incarnation, Offset, Timestamp};

/// A group starts at a multiple of it, so no acknowledged byte is ever rewritten.
pub const GROUP_ALIGNMENT: usize = BLOCK_BYTES;

const FILE_MAGIC: &[u8; 4] = b"NPJF";
const FILE: &str = "journal file header";
const FILE_USED: usize = 128;
const GROUP_MAGIC: &[u8; 4] = b"NPJG";
const GROUP: &str = "journal group header";
const ITEM: &str = "journal item";

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FileLayout {
    magic: [u8; 4],
    crc: U32,
    version: U16,
    reserved: [u8; 6],
    directory_id: U128,
    number: U32,
    reserved_2: U32,
    file_bytes: U64,
    reserved_3: [u8; 80],
}

pub(super) const FILE_LAYOUT: Layout = fields!("Journal file header": FileLayout, FILE_USED;
    magic, crc, version, reserved, directory_id, number, reserved_2, file_bytes, reserved_3);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct GroupLayout {
    magic: [u8; 4],
    header_crc: U32,
    version: U16,
    reserved: U16,
    item_count: U32,
    items_crc: U32,
    data_len: U32,
    group: U64,
    epoch: U64,
    synced_group: U64,
    written_at: I64,
    reserved_2: [u8; 8],
}

pub(super) const GROUP_LAYOUT: Layout = fields!("Journal group header": GroupLayout,
    GroupHeader::BYTES;
    magic, header_crc, version, reserved, item_count, items_crc, data_len, group, epoch,
    synced_group, written_at, reserved_2);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ItemLayout {
    kind: U16,
    flags: U16,
    entry: U32,
    incarnation: U128,
    base_offset: U64,
    end_offset: U64,
    segment_base: U64,
    position: U64,
    length: U64,
    checksum: U32,
    batch_count: U32,
    previous_base: U64,
}

pub(super) const ITEM_LAYOUT: Layout = fields!("Journal item": ItemLayout, GroupItem::BYTES;
    kind, flags, entry, incarnation, base_offset, end_offset, segment_base, position, length,
    checksum, batch_count, previous_base);

/// First block of a journal file. Specified by `storage-format.md`, "Journal file header".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFileHeader {
    /// The directory the file belongs to.
    pub directory_id: Incarnation,
    /// Number of the file: its name.
    pub number: u32,
    /// Bytes of the file, fixed when it was made.
    pub file_bytes: u64,
}

impl JournalFileHeader {
    /// Bytes of the header in the file: one block. The first group follows it.
    pub const BYTES: usize = BLOCK_BYTES;
    /// Version this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;

    /// The first block of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut layout = FileLayout {
            magic: *FILE_MAGIC,
            crc: 0.into(),
            version: Self::VERSION.into(),
            reserved: [0; 6],
            directory_id: self.directory_id.0.into(),
            number: self.number.into(),
            reserved_2: 0.into(),
            file_bytes: self.file_bytes.into(),
            reserved_3: [0; 80],
        };
        layout.crc = crc32fast::hash(&layout.as_bytes()[8..]).into();
        to_array(&layout)
    }

    /// Reads the first block of a file; bytes beyond the block are not looked at.
    ///
    /// # Errors
    /// Fewer bytes than a block, or a block that is not an intact header of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_len(FILE, bytes, Self::BYTES)?;
        let layout: FileLayout = read(FILE, bytes)?;
        check_magic(FILE, &layout.magic, FILE_MAGIC)?;
        check_crc(
            FILE,
            layout.crc.get(),
            crc32fast::hash(&bytes[8..FILE_USED]),
        )?;
        check_version(FILE, layout.version.get(), Self::VERSION)?;
        check_zero_fields!(FILE, layout: FileLayout; reserved, reserved_2, reserved_3);
        check_zero(FILE, &bytes[FILE_USED..Self::BYTES], FILE_USED)?;
        Ok(Self {
            directory_id: Incarnation(layout.directory_id.get()),
            number: layout.number.get(),
            file_bytes: layout.file_bytes.get(),
        })
    }
}

/// Header of a group: what one sync covers. Specified by `storage-format.md`, "Journal group
/// header".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// Items that follow the header.
    pub item_count: u32,
    /// [`items_crc`] of them.
    pub items_crc: u32,
    /// Bytes of data that follow the items.
    pub data_len: u32,
    /// Number of the group: 1, 2, 3, … over all starts, never used again.
    pub group: u64,
    /// Epoch of the start that wrote it.
    pub epoch: u64,
    /// Last group whose sync had returned when this one was written; 0 before the first.
    pub synced_group: u64,
    /// When it was written.
    pub written_at: Timestamp,
}

impl GroupHeader {
    /// Bytes of the header; items follow it.
    pub const BYTES: usize = 64;
    /// Version this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;

    /// Bytes of all its items.
    #[must_use]
    pub fn items_len(&self) -> u64 {
        u64::from(self.item_count) * GroupItem::BYTES as u64
    }

    /// Bytes of the whole group, header included; zeros follow it up to the next multiple of
    /// [`GROUP_ALIGNMENT`].
    #[must_use]
    pub fn total_len(&self) -> u64 {
        Self::BYTES as u64 + self.items_len() + u64::from(self.data_len)
    }

    /// The bytes of the header.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut layout = GroupLayout {
            magic: *GROUP_MAGIC,
            header_crc: 0.into(),
            version: Self::VERSION.into(),
            reserved: 0.into(),
            item_count: self.item_count.into(),
            items_crc: self.items_crc.into(),
            data_len: self.data_len.into(),
            group: self.group.into(),
            epoch: self.epoch.into(),
            synced_group: self.synced_group.into(),
            written_at: self.written_at.0.into(),
            reserved_2: [0; 8],
        };
        layout.header_crc = crc32fast::hash(&layout.as_bytes()[8..]).into();
        to_array(&layout)
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// Lengths are intact but not yet compared with anything: the caller knows where the file ends.
    ///
    /// # Errors
    /// Bytes that are not an intact header of a known version; a group number of zero, or one not
    /// above the group it says was synced.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let layout: GroupLayout = read(GROUP, bytes)?;
        check_magic(GROUP, &layout.magic, GROUP_MAGIC)?;
        check_crc(
            GROUP,
            layout.header_crc.get(),
            crc32fast::hash(&bytes[8..Self::BYTES]),
        )?;
        check_version(GROUP, layout.version.get(), Self::VERSION)?;
        check_zero_fields!(GROUP, layout: GroupLayout; reserved, reserved_2);
        // Holds for group 0 too, which is not above any.
        if layout.group.get() <= layout.synced_group.get() {
            return Err(DecodeError::field(
                "group of a journal group",
                layout.group.get(),
                "which is not above the group it says was synced",
            ));
        }
        Ok(Self {
            item_count: layout.item_count.get(),
            items_crc: layout.items_crc.get(),
            data_len: layout.data_len.get(),
            group: layout.group.get(),
            epoch: layout.epoch.get(),
            synced_group: layout.synced_group.get(),
            written_at: Timestamp(layout.written_at.get()),
        })
    }
}

/// Checksum of a group's items, as its header carries it: over the salt of the start, the group's
/// number, and the bytes of all items. The salt keeps a payload from passing for a group.
#[must_use]
pub fn items_crc(salt: u64, group: u64, items: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&group.to_le_bytes());
    crc.update(items);
    crc.finalize()
}

/// What an item stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ItemKind {
    /// One batch in the group's data.
    Batch = 1,
    /// A run of batches that lies in a segment.
    Reference = 2,
}

const LAST: u16 = 1 << 0;
const SYNCED_BEFORE: u16 = 1 << 1;
const COPIED: u16 = 1 << 2;

/// One append to one log. Specified by `storage-format.md`, "Journal item".
///
/// The items of one entry are all or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupItem {
    /// Where the bytes are.
    pub kind: ItemKind,
    /// Whether it is the last item of its entry.
    pub is_last_of_entry: bool,
    /// Whether the bytes of a reference were synced before the group was written.
    pub was_synced_before: bool,
    /// Whether it was copied from an older group, so that that one may be recycled.
    pub is_copied: bool,
    /// Entry within the group, from 0.
    pub entry: u32,
    /// The log.
    pub incarnation: Incarnation,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset after the last one, exclusive.
    pub end_offset: Offset,
    /// Base offset of the segment the bytes belong to.
    pub segment_base: Offset,
    /// Where they belong in its file.
    pub position: u64,
    /// Bytes: of the one batch, or of the whole run.
    pub length: u64,
    /// The batch's header checksum, which covers its body's; for a reference the CRC-32 of the run.
    pub checksum: u32,
    /// Batches in the run; 1 for a batch.
    pub batch_count: u32,
    /// Base offset of the segment before; none in the first of a log.
    pub previous_base: Option<Offset>,
}

impl GroupItem {
    /// Bytes of an item.
    pub const BYTES: usize = 80;

    /// The bytes of the item.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(self.is_last_of_entry, LAST)
            | flag(self.was_synced_before, SYNCED_BEFORE)
            | flag(self.is_copied, COPIED);
        to_array(&ItemLayout {
            kind: (self.kind as u16).into(),
            flags: flags.into(),
            entry: self.entry.into(),
            incarnation: self.incarnation.0.into(),
            base_offset: self.base_offset.0.into(),
            end_offset: self.end_offset.0.into(),
            segment_base: self.segment_base.0.into(),
            position: self.position.into(),
            length: self.length.into(),
            checksum: self.checksum.into(),
            batch_count: self.batch_count.into(),
            previous_base: self.previous_base.map_or(NONE, |base| base.0).into(),
        })
    }

    /// Reads the item at the start of `bytes`, which [`items_crc`] has vouched for.
    ///
    /// # Errors
    /// An unknown kind or flag; offsets, position or length that contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let layout: ItemLayout = read(ITEM, bytes)?;
        let kind = match layout.kind.get() {
            1 => ItemKind::Batch,
            2 => ItemKind::Reference,
            other => {
                return Err(DecodeError::field(
                    "kind of a journal item",
                    other,
                    "which is neither a batch (1) nor a reference (2)",
                ));
            }
        };
        let flags = layout.flags.get();
        let known = match kind {
            ItemKind::Batch => LAST | COPIED,
            ItemKind::Reference => LAST | SYNCED_BEFORE | COPIED,
        };
        if flags & !known != 0 {
            return Err(DecodeError::field(
                "flags of a journal item",
                flags,
                "with a bit that its kind does not have",
            ));
        }
        let item = Self {
            kind,
            is_last_of_entry: flags & LAST != 0,
            was_synced_before: flags & SYNCED_BEFORE != 0,
            is_copied: flags & COPIED != 0,
            entry: layout.entry.get(),
            incarnation: Incarnation(layout.incarnation.get()),
            base_offset: Offset(layout.base_offset.get()),
            end_offset: Offset(layout.end_offset.get()),
            segment_base: Offset(layout.segment_base.get()),
            position: layout.position.get(),
            length: layout.length.get(),
            checksum: layout.checksum.get(),
            batch_count: layout.batch_count.get(),
            previous_base: match layout.previous_base.get() {
                NONE => None,
                base => Some(Offset(base)),
            },
        };
        item.check()?;
        Ok(item)
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.end_offset <= self.base_offset {
            return Err(DecodeError::field(
                "end_offset of a journal item",
                self.end_offset.0,
                "which is not above its base_offset",
            ));
        }
        if self.segment_base > self.base_offset {
            return Err(DecodeError::field(
                "segment_base of a journal item",
                self.segment_base.0,
                "which is above its base_offset",
            ));
        }
        if self.previous_base.is_some_and(|it| it >= self.segment_base) {
            return Err(DecodeError::field(
                "previous_base of a journal item",
                self.previous_base.map_or(NONE, |base| base.0),
                "which is not below its segment_base",
            ));
        }
        if self.length < BATCH_HEADER_BYTES as u64 || !is_aligned(self.length) {
            return Err(DecodeError::field(
                "length of a journal item",
                self.length,
                "which is not that of whole batches",
            ));
        }
        if self.position < BLOCK_BYTES as u64 || !is_aligned(self.position) {
            return Err(DecodeError::field(
                "position of a journal item",
                self.position,
                "where no batch can begin",
            ));
        }
        if self.position.checked_add(self.length).is_none() {
            return Err(DecodeError::length(
                "length of a journal item",
                self.length,
                u64::MAX - self.position,
            ));
        }
        if self.batch_count == 0 || (self.kind == ItemKind::Batch && self.batch_count != 1) {
            return Err(DecodeError::field(
                "batch_count of a journal item",
                self.batch_count,
                "which its kind does not allow",
            ));
        }
        if self.kind == ItemKind::Batch && self.length > MAX_STORED_BATCH_BYTES as u64 {
            return Err(DecodeError::length(
                "length of a journal item",
                self.length,
                MAX_STORED_BATCH_BYTES as u64,
            ));
        }
        Ok(())
    }
}

fn is_aligned(bytes: u64) -> bool {
    bytes.is_multiple_of(BATCH_ALIGNMENT as u64)
}
