//! The data keys of a data directory, as far as the master keys open them.
//!
//! They are taken from every event of the log of channels that can be read, in segments and journal, without asking which of them
//! still holds: a key is tried, and a wrong one opens nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use npayload::broker::directory::DirectoryEvent;
use npayload::format::{
    BATCH_HEADER_BYTES, BatchHeader, DataKey, DecodeError, GroupHeader, GroupItem, ItemKind,
    JournalFileHeader, Marker, SegmentHeader, check_stored, records, unseal,
};
use npayload::keys::{Locked, MasterKeys, Wrapped};
use npayload::types::Incarnation;

use crate::layout::{self, MARKER};
use crate::source::{Source, block_end};

/// The keys of the logs, by log and number.
#[derive(Default)]
pub struct Keys {
    open: BTreeMap<(Incarnation, u32), DataKey>,
    locked: BTreeMap<(Incarnation, u32), Locked>,
}

impl Keys {
    /// Opens what can be opened of the directory that `path` is or lies in.
    pub fn read(path: &Path, masters: &MasterKeys) -> io::Result<Self> {
        let mut keys = Self::default();
        let path = std::path::absolute(path)?;
        let Some(directory) = layout::data_directory_of(&path) else {
            return Ok(keys);
        };
        for batch in directory_batches(&directory)? {
            let Ok(records) = records(&batch) else {
                continue;
            };
            for record in records.flatten() {
                let payload = record.payload.unwrap_or_default();
                match DirectoryEvent::decode(&record.record_type, &payload) {
                    Ok(DirectoryEvent::KeyAdded(event)) => {
                        let (log, key) = (event.incarnation, &event.key);
                        keys.add(masters, log, key.id, &key.wrapped);
                    }
                    Ok(DirectoryEvent::KeyRewrapped(event)) => {
                        keys.add(masters, event.incarnation, event.key_id, &event.wrapped);
                    }
                    Ok(DirectoryEvent::Folded(part)) => {
                        for row in &part.rows {
                            for key in &row.channel.keys {
                                keys.add(masters, row.incarnation, key.id, &key.wrapped);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(keys)
    }

    fn add(&mut self, masters: &MasterKeys, log: Incarnation, id: u32, wrapped: &Wrapped) {
        match wrapped.open(masters, log, id) {
            Ok(raw) => {
                self.open.insert((log, id), DataKey::new(&raw));
            }
            Err(locked) => {
                self.locked.insert((log, id), locked);
            }
        }
    }

    /// The batch in plain.
    ///
    /// # Errors
    /// Why it can't be shown.
    pub fn open(&self, batch: &Bytes, header: &BatchHeader) -> Result<Bytes, String> {
        if !header.is_sealed() {
            return Ok(batch.clone());
        }
        let of = (header.incarnation(), header.key_id());
        let Some(key) = self.open.get(&of) else {
            let encrypted = DecodeError::Encrypted { key_id: of.1 };
            return Err(match self.locked.get(&of) {
                Some(locked) => format!("{encrypted}: {locked}"),
                None => format!("{encrypted}, which was not found in the log of channels"),
            });
        };
        let mut plain = BytesMut::new();
        unseal(batch, key, &mut plain).map_err(|error| error.to_string())?;
        Ok(plain.freeze())
    }
}

/// All intact batches of the log of channels, wherever they are, in no order.
fn directory_batches(directory: &Path) -> io::Result<Vec<Bytes>> {
    let mut found = Vec::new();
    let marker = Source::open(&directory.join(MARKER))?;
    let Ok(marker) = Marker::decode(&marker.read(0, marker.len().min(4096))?) else {
        return Ok(found);
    };
    let own = marker.directory_id;
    let folder = directory.join("channels").join(own.to_string());
    for segment in layout::numbered(&folder, &["log"], &mut Vec::new())? {
        let source = Source::open(&segment.path)?;
        let mut at = SegmentHeader::BYTES as u64;
        while at < source.len() {
            at = match take(&source, at, own, &mut found)? {
                Some(len) => at + len,
                None => block_end(at + 1),
            };
        }
    }
    let folder = directory.join("journal");
    for file in layout::numbered(&folder, &["journal"], &mut Vec::new())? {
        let source = Source::open(&file.path)?;
        let mut at = JournalFileHeader::BYTES as u64;
        while at < source.len() {
            let header = GroupHeader::decode(&source.read(at, GroupHeader::BYTES as u64)?).ok();
            let header = header.filter(|header| at + header.total_len() <= source.len());
            let Some(header) = header else {
                at += JournalFileHeader::BYTES as u64;
                continue;
            };
            let items_at = at + GroupHeader::BYTES as u64;
            let items = source.read(items_at, header.items_len())?;
            let mut data_at = items_at + header.items_len();
            for item in items.as_chunks::<{ GroupItem::BYTES }>().0 {
                let Ok(item) = GroupItem::decode(item) else {
                    break;
                };
                if item.kind == ItemKind::Batch {
                    take(&source, data_at, own, &mut found)?;
                    data_at = data_at.saturating_add(item.length);
                }
            }
            at = block_end(at + header.total_len());
        }
    }
    Ok(found)
}

/// Takes the batch at a position if it is an intact one of the log; its length where a batch is there.
fn take(
    source: &Source,
    at: u64,
    own: Incarnation,
    found: &mut Vec<Bytes>,
) -> io::Result<Option<u64>> {
    let head = source.read(at, BATCH_HEADER_BYTES as u64)?;
    let Ok(header) = BatchHeader::peek(&head) else {
        return Ok(None);
    };
    let len = header.len() as u64;
    if header.incarnation() == own {
        let bytes = Bytes::from(source.read(at, len)?);
        if check_stored(&bytes).is_ok() {
            found.push(bytes);
        }
    }
    Ok(Some(len))
}
