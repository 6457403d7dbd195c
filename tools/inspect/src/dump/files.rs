//! The files of each kind, taken apart.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use npayload::format::{
    BATCH_HEADER_BYTES, BatchHeader, Checkpoint, GroupHeader, GroupItem, IndexHeader, IndexKind,
    ItemKind, JournalFileHeader, LogRow, Marker, OffsetEntry, Record, RecoveryPoint, SecretFile,
    SegmentHeader, TimeEntry, check_stored, read_snapshot, records,
};
use npayload::types::{Incarnation, Offset};

use super::row::Row;
use super::{Dump, asp};
use crate::report::Kind;
use crate::source::{Source, block_end};

/// Entries of an index read at once.
const ENTRIES_AT_ONCE: usize = 4096;

impl Dump<'_> {
    pub(super) fn marker(&mut self, path: &Path) -> Result<()> {
        let source = Source::open(path)?;
        match Marker::decode(&source.read(0, source.len().min(4096))?) {
            Ok(marker) => self.out.row(
                "marker",
                &Row::default()
                    .with("directoryId", marker.directory_id)
                    .with("createdAt", marker.created_at),
            ),
            Err(error) => self.out.error("marker", error),
        }
    }

    /// Whose it is; the key itself is nobody's to see.
    pub(super) fn secret(&mut self, path: &Path) -> Result<()> {
        let source = Source::open(path)?;
        match SecretFile::decode(&source.read(0, SecretFile::BYTES as u64 + 1)?) {
            Ok(file) => self.out.row(
                "secret",
                &Row::default().with("directoryId", file.directory_id),
            ),
            Err(error) => self.out.error("secret", error),
        }
    }

    /// What a topic folds to: how far, and in how many parts.
    pub(super) fn snapshot(&mut self, path: &Path) -> Result<()> {
        let source = Source::open(path)?;
        match read_snapshot(&source.read(0, source.len())?.to_vec().into()) {
            Ok((header, parts)) => {
                self.out.row(
                    "snapshot",
                    &Row::default()
                        .with("log", header.log)
                        .with("nextOffset", header.next_offset)
                        .with("logEpoch", header.log_epoch.0)
                        .with("bodyBytes", header.body_len)
                        .with("parts", header.parts),
                )?;
                for part in parts.iter().filter(|_| self.records) {
                    let part = String::from_utf8_lossy(part);
                    self.out.row("part", &Row::default().with("state", part))?;
                }
                Ok(())
            }
            Err(error) => self.out.error("snapshot", error),
        }
    }

    pub(super) fn recovery_point(&mut self, path: &Path) -> Result<()> {
        let source = Source::open(path)?;
        let bytes = source.read(0, RecoveryPoint::FILE_BYTES as u64)?;
        for (number, slot) in bytes.chunks(RecoveryPoint::SLOT_BYTES).enumerate() {
            let row = Row::default().with("slot", number);
            let row = match RecoveryPoint::decode(slot) {
                _ if slot.iter().all(|byte| *byte == 0) => row.with("empty", true),
                Err(error) => row.with("error", error.to_string()),
                Ok(point) => row
                    .with("isClean", point.is_clean)
                    .with("sequence", point.sequence)
                    .with("directoryId", point.directory_id)
                    .with("epoch", point.epoch)
                    .with("salt", format!("{:016x}", point.salt))
                    .with("checkpoint", point.checkpoint)
                    .with("flushedGroup", point.flushed_group)
                    .with("flushedFile", point.flushed_file)
                    .with("flushedEnd", point.flushed_end),
            };
            self.out.row("recoveryPoint", &row)?;
        }
        Ok(())
    }

    pub(super) fn checkpoint(&mut self, path: &Path) -> Result<()> {
        let source = Source::open(path)?;
        let checkpoint = match Checkpoint::decode(&source.read(0, source.len())?) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return self.out.error("checkpoint", error),
        };
        self.out.row(
            "checkpoint",
            &Row::default()
                .with("number", checkpoint.number)
                .with("directoryId", checkpoint.directory_id)
                .with("epoch", checkpoint.epoch)
                .with("journalGroup", checkpoint.journal_group)
                .with("journalFile", checkpoint.journal_file)
                .with("journalPosition", checkpoint.journal_position)
                .with("logs", checkpoint.logs.len()),
        )?;
        for log in &checkpoint.logs {
            self.checkpoint_log(log)?;
        }
        Ok(())
    }

    fn checkpoint_log(&mut self, log: &LogRow) -> Result<()> {
        self.out.row(
            "log",
            &Row::default()
                .with("incarnation", log.incarnation)
                .with("logStart", log.log_start)
                .with("endOffset", log.end_offset)
                .with("segmentBase", log.segment_base)
                .with("position", log.position)
                .with("segmentStartTime", log.segment_start_time)
                .with("lastAppendTime", log.last_append_time)
                .with("fence", log.fence)
                .with("lastEpoch", log.last_epoch)
                .with("previousBase", log.previous_base)
                .with("previousLength", log.previous_length)
                .with("refusesWrites", log.refuses_writes),
        )?;
        for producer in &log.producers {
            self.out.row(
                "producer",
                &Row::default()
                    .with("producerId", producer.producer_id.to_string())
                    .with("epoch", producer.epoch)
                    .with("baseSequence", producer.base_sequence)
                    .with("nextSequence", producer.next_sequence)
                    .with("baseOffset", producer.base_offset)
                    .with("lastAppendTime", producer.last_append_time),
            )?;
        }
        for damage in &log.damage {
            self.out.row(
                "damage",
                &Row::default()
                    .with("firstOffset", damage.first_offset)
                    .with("endOffset", damage.end_offset)
                    .with("segmentBase", damage.segment_base)
                    .with("position", damage.position)
                    .with("length", damage.length)
                    .with("what", format!("{:?}", damage.what)),
            )?;
        }
        Ok(())
    }

    /// Every group with an intact header, those before the checkpoint too, until recycling overwrites them.
    pub(super) fn journal(&mut self, path: &Path) -> Result<()> {
        let source = Source::open(path)?;
        match JournalFileHeader::decode(&source.read(0, JournalFileHeader::BYTES as u64)?) {
            Ok(header) => self.out.row(
                "journalFile",
                &Row::default()
                    .with("directoryId", header.directory_id)
                    .with("number", header.number)
                    .with("fileBytes", header.file_bytes),
            )?,
            Err(error) => self.out.error("journalFile", error)?,
        }
        let mut at = JournalFileHeader::BYTES as u64;
        while at < source.len() && !self.out.is_full() {
            let header = GroupHeader::decode(&source.read(at, GroupHeader::BYTES as u64)?)
                .ok()
                .filter(|header| at + header.total_len() <= source.len());
            let Some(header) = header else {
                at += JournalFileHeader::BYTES as u64;
                continue;
            };
            self.group(&source, at, &header)?;
            at = block_end(at + header.total_len());
        }
        Ok(())
    }

    fn group(&mut self, source: &Source, at: u64, header: &GroupHeader) -> Result<()> {
        let items_at = at + GroupHeader::BYTES as u64;
        let bytes = source.read(items_at, header.items_len())?;
        let items: Vec<_> = bytes
            .as_chunks::<{ GroupItem::BYTES }>()
            .0
            .iter()
            .map(|item| GroupItem::decode(item))
            .collect();
        let range = self.range;
        let is_wanted = |item: &GroupItem| range.overlaps(item.base_offset.0, item.end_offset.0);
        if range != super::OffsetRange::ALL && !items.iter().flatten().any(is_wanted) {
            return Ok(());
        }
        self.out.row(
            "group",
            &Row::default()
                .with("position", at)
                .with("group", header.group)
                .with("epoch", header.epoch)
                .with("syncedGroup", header.synced_group)
                .with("writtenAt", header.written_at)
                .with("items", header.item_count)
                .with_hex("itemsCrc", header.items_crc)
                .with("dataLen", header.data_len),
        )?;
        let mut data_at = items_at + header.items_len();
        for item in items {
            let item = match item {
                Ok(item) => item,
                // Where the data of the next one starts is not known.
                Err(error) => return self.out.error("item", error),
            };
            let position = (item.kind == ItemKind::Batch).then_some(data_at);
            if let Some(position) = position {
                data_at = position.saturating_add(item.length);
            }
            if !is_wanted(&item) {
                continue;
            }
            self.item(&item)?;
            if let Some(position) = position {
                self.batch(source, position)?;
            }
        }
        Ok(())
    }

    fn item(&mut self, item: &GroupItem) -> Result<()> {
        let kind = match item.kind {
            ItemKind::Batch => "batch",
            ItemKind::Reference => "reference",
        };
        self.out.row(
            "item",
            &Row::default()
                .with("kind", kind)
                .with("entry", item.entry)
                .with("isLastOfEntry", item.is_last_of_entry)
                .with("wasSyncedBefore", item.was_synced_before)
                .with("isCopied", item.is_copied)
                .with("incarnation", item.incarnation)
                .with("baseOffset", item.base_offset)
                .with("endOffset", item.end_offset)
                .with("segmentBase", item.segment_base)
                .with("segmentPosition", item.position)
                .with("length", item.length)
                .with_hex("checksum", item.checksum)
                .with("batchCount", item.batch_count)
                .with("previousBase", item.previous_base),
        )
    }

    pub(super) fn segment(&mut self, path: &Path) -> Result<()> {
        let source = Source::open(path)?;
        match SegmentHeader::decode(&source.read(0, SegmentHeader::BYTES as u64)?) {
            Ok(header) => self.out.row(
                "segment",
                &Row::default()
                    .with("incarnation", header.incarnation)
                    .with("baseOffset", header.base_offset)
                    .with("previousBase", header.previous_base)
                    .with("previousLength", header.previous_length)
                    .with("previousLastTime", header.previous_last_time)
                    .with("createdAt", header.created_at)
                    .with("epoch", header.epoch),
            )?,
            Err(error) => self.out.error("segment", error)?,
        }
        self.batches_from(&source, SegmentHeader::BYTES as u64)
    }

    /// Batches end to end, which were taken out of a log.
    pub(super) fn batches(&mut self, path: &Path) -> Result<()> {
        self.batches_from(&Source::open(path)?, 0)
    }

    fn batches_from(&mut self, source: &Source, from: u64) -> Result<()> {
        let mut at = from;
        while at < source.len() && !self.out.is_full() {
            let head = source.read(at, BATCH_HEADER_BYTES as u64)?;
            match BatchHeader::peek(&head) {
                Ok(header) => {
                    if self
                        .range
                        .overlaps(header.base_offset().0, header.end_offset().0)
                    {
                        self.batch(source, at)?;
                    }
                    at += header.len() as u64;
                }
                Err(error) => {
                    // Zeros are padding or unwritten space; anything else is shown, and passed over by the block.
                    let next = block_end(at + 1);
                    if source.first_set(at, next)?.is_some() {
                        let row = Row::default()
                            .with("position", at)
                            .with("error", error.to_string());
                        self.out.row("batch", &row)?;
                    }
                    at = next;
                }
            }
        }
        Ok(())
    }

    /// The batch at `position` of a segment or of a group's data.
    fn batch(&mut self, source: &Source, position: u64) -> Result<()> {
        let head = source.read(position, BATCH_HEADER_BYTES as u64)?;
        let header = match BatchHeader::peek(&head) {
            Ok(header) => header,
            Err(error) => {
                let row = Row::default()
                    .with("position", position)
                    .with("error", error.to_string());
                return self.out.row("batch", &row);
            }
        };
        let bytes = Bytes::from(source.read(position, header.len() as u64)?);
        let body = check_stored(&bytes);
        let mut row = Row::default()
            .with("position", position)
            .with("length", header.len())
            .with_hex("headerCrc", header.header_crc())
            .with_hex("bodyCrc", header.body_crc())
            .with("isSparse", header.is_sparse())
            .with("isGap", header.is_gap())
            .with("isEncrypted", header.is_sealed())
            .with("incarnation", header.incarnation())
            .with("baseOffset", header.base_offset())
            .with("endOffset", header.end_offset())
            .with("appendTime", header.append_time())
            .with("logEpoch", header.log_epoch())
            .with("principal", header.principal())
            .with("keyId", header.key_id())
            .with("originRegion", header.origin_region())
            .with(
                "compression",
                header.compression().map(|compression| compression.name()),
            )
            .with("recordCount", header.record_count())
            .with("offsetSpan", header.offset_span())
            .with("uncompressedLen", header.uncompressed_len())
            .with("recordsLen", header.records_len())
            .with("producerId", header.producer_id().to_string())
            .with("producerEpoch", header.producer_epoch())
            .with("baseSequence", header.base_sequence())
            .with("fence", header.fence());
        if let Err(error) = &body {
            row = row.with("error", error.to_string());
        }
        self.out.row("batch", &row)?;
        if !self.records || body.is_err() {
            return Ok(());
        }
        let plain = match self.keys.open(&bytes, &header) {
            Ok(plain) => plain,
            Err(why) => return self.out.row("encrypted", &encrypted_row(&header, &why)),
        };
        match records(&plain) {
            Ok(records) => records.into_iter().try_for_each(|record| match record {
                Ok(record)
                    if self
                        .range
                        .overlaps(record.offset.0, record.offset.0.saturating_add(1)) =>
                {
                    self.out.row("record", &record_row(&record))
                }
                Ok(_) => Ok(()),
                Err(error) => self.out.error("record", error),
            }),
            Err(error) => self.out.error("records", error),
        }
    }

    pub(super) fn index(&mut self, path: &Path, kind: Kind) -> Result<()> {
        let source = Source::open(path)?;
        let kind = match kind {
            Kind::TimeIndex => IndexKind::Time,
            _ => IndexKind::Offset,
        };
        let identity = match IndexHeader::decode(&source.read(0, IndexHeader::BYTES as u64)?, kind)
        {
            Ok(header) => {
                let row = Row::default()
                    .with(
                        "kind",
                        if kind == IndexKind::Time {
                            "time"
                        } else {
                            "offset"
                        },
                    )
                    .with("incarnation", header.incarnation)
                    .with("baseOffset", header.base_offset);
                self.out.row("index", &row)?;
                (header.incarnation, header.base_offset)
            }
            // The checksums of the entries cover what only the header says.
            Err(error) => return self.out.error("index", error),
        };
        let mut at = IndexHeader::BYTES as u64;
        while at < source.len() && !self.out.is_full() {
            let bytes = source.read(at, (ENTRIES_AT_ONCE * OffsetEntry::BYTES) as u64)?;
            let entries = bytes.as_chunks::<{ OffsetEntry::BYTES }>().0;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                self.entry(kind, entry, identity, at)?;
                at += OffsetEntry::BYTES as u64;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        kind: IndexKind,
        bytes: &[u8],
        (incarnation, base): (Incarnation, Offset),
        at: u64,
    ) -> Result<()> {
        let row = Row::default().with("position", at);
        let (delta, row) = match kind {
            IndexKind::Offset => match OffsetEntry::decode(bytes, incarnation, base) {
                Ok(entry) => (
                    entry.offset_delta,
                    row.with(
                        "offset",
                        base.0.saturating_add(u64::from(entry.offset_delta)),
                    )
                    .with("segmentPosition", entry.position)
                    .with("length", entry.length),
                ),
                Err(error) => return self.out.row("entry", &row.with("error", error.to_string())),
            },
            IndexKind::Time => match TimeEntry::decode(bytes, incarnation, base) {
                Ok(entry) => (
                    entry.offset_delta,
                    row.with(
                        "offset",
                        base.0.saturating_add(u64::from(entry.offset_delta)),
                    )
                    .with("appendTime", entry.append_time),
                ),
                Err(error) => return self.out.row("entry", &row.with("error", error.to_string())),
            },
        };
        let offset = base.0.saturating_add(u64::from(delta));
        if self.range.overlaps(offset, offset.saturating_add(1)) {
            self.out.row("entry", &row)?;
        }
        Ok(())
    }
}

/// What there is to say of records that can't be shown.
fn encrypted_row(header: &BatchHeader, why: &str) -> Row {
    Row::default()
        .with("baseOffset", header.base_offset())
        .with("endOffset", header.end_offset())
        .with("keyId", header.key_id())
        .with("why", why)
}

fn record_row(record: &Record) -> Row {
    let mut row = Row::default()
        .with("offset", record.offset)
        .with("appendTime", record.append_time)
        .with("eventTime", record.event_time)
        .with("type", record.record_type.as_str());
    row = match &record.key {
        Some(key) => row.with_text("key", "keyBase64", key),
        None => row.with("key", ()),
    };
    let headers: Vec<[String; 2]> = record
        .headers
        .iter()
        .map(|(name, value)| [name.as_str().to_owned(), value.escape_ascii().to_string()])
        .collect();
    row = row.with("headers", headers);
    match &record.payload {
        Some(payload) => {
            let row = match asp::says(&record.record_type, payload) {
                Some(Ok(says)) => row.with("says", says),
                Some(Err(error)) => row.with("error", error),
                None => row,
            };
            row.with_bytes(["payload", "payloadText", "payloadBase64"], payload)
        }
        None => row.with("payload", ()),
    }
}
