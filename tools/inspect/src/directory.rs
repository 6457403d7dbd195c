//! Which channels a data directory has: folded from its log of channels, as far as that can be read.
//!
//! It gives names to logs, and tells a segment that was removed on purpose from one that is missing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use npayload::access::{AccessEvent, AccessRow};
use npayload::broker::directory::{Directory, DirectoryEvent};
use npayload::format::{LogRow, Record, records};
use npayload::types::{Incarnation, Offset};

use crate::layout;
use crate::source::Source;
use crate::verify::journal::Promised;
use crate::verify::walk::{FIRST_BATCH, Step, Stretch, Walk};

/// Name of the topic of organisations, keys and grants.
pub const ACCESS: &str = "__access";

/// The channels as they were last recorded.
#[derive(Debug, Default)]
pub struct Channels {
    directory: Directory,
    /// Nothing of the log of channels was damaged or missing.
    is_complete: bool,
    /// Some of it is damaged: what it says is true, and more may have happened.
    is_damaged: bool,
    /// The log of channels itself, with its log start.
    own: Option<(Incarnation, Offset)>,
}

impl Channels {
    /// Folds the log `own` in `folder`: what the checkpoint has of it (`row`), then the `newer` batches of the journal.
    pub fn read(
        folder: &Path,
        own: Incarnation,
        row: Option<&LogRow>,
        newer: &Promised,
    ) -> io::Result<Self> {
        let mut events = BTreeMap::new();
        let mut is_intact = newer.is_intact;
        if let Some(row) = row {
            for segment in layout::numbered(folder, &["log"], &mut Vec::new())? {
                let source = Source::open(&segment.path)?;
                let Some(stretch) = vouched(&source, segment.number, row) else {
                    continue;
                };
                let mut walk = Walk::new(&source, own, stretch, None);
                while let Some(step) = walk.step()? {
                    match step {
                        Step::Batch(batch) => {
                            let bytes = source.read(batch.position, batch.length)?;
                            is_intact &= add(&mut events, &bytes.into());
                        }
                        Step::Damage { .. } => is_intact = false,
                    }
                }
            }
        }
        for bytes in &newer.batches {
            is_intact &= add(&mut events, bytes);
        }
        // A state record stands for all before it, which may be gone.
        let folded = events.iter().rev().find_map(|(offset, event)| match event {
            DirectoryEvent::Folded(part) if part.part == 1 => Some(*offset),
            _ => None,
        });
        let log_start = row
            .map_or(0, |row| row.log_start.0)
            .max(folded.unwrap_or(0));
        events.retain(|offset, _| *offset >= log_start);
        let is_whole = events
            .keys()
            .zip(log_start..)
            .all(|(offset, expected)| *offset == expected);
        let mut directory = Directory::default();
        let mut is_legal = true;
        for event in events.values() {
            is_legal &= directory.apply(event).is_ok();
        }
        Ok(Self {
            directory,
            is_complete: is_intact && is_whole && is_legal && !events.is_empty(),
            is_damaged: !is_intact,
            own: Some((own, Offset(log_start))),
        })
    }

    /// The name of a log's channel.
    pub fn name_of(&self, log: Incarnation) -> Option<&str> {
        match self.directory.by_incarnation(log) {
            Some(channel) => Some(channel.name.as_str()),
            None => self.is_own(log).then_some("__channels"),
        }
    }

    /// Lowest readable offset of a log, as far as it is known.
    pub fn log_start(&self, log: Incarnation) -> Offset {
        match self.own {
            Some((own, log_start)) if own == log => log_start,
            _ => self.directory.log_start(log).unwrap_or_default(),
        }
    }

    fn is_own(&self, log: Incarnation) -> bool {
        self.own.is_some_and(|(own, _)| own == log)
    }

    /// Whether files may have been removed on purpose without this knowing.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Whether a log was deleted, so that its files may be gone.
    pub fn is_deleted(&self, log: Incarnation) -> bool {
        match self.directory.by_incarnation(log) {
            Some(channel) => !channel.is_live(),
            None => self.is_complete && !self.is_own(log),
        }
    }
}

/// Whether the log of keys in `folder`, which is `log`, records any as far as the checkpoint has it (`row`).
pub fn has_keys(folder: &Path, log: Incarnation, row: Option<&LogRow>) -> io::Result<bool> {
    let Some(row) = row else {
        return Ok(false);
    };
    for segment in layout::numbered(folder, &["log"], &mut Vec::new())? {
        let source = Source::open(&segment.path)?;
        let Some(stretch) = vouched(&source, segment.number, row) else {
            continue;
        };
        let mut walk = Walk::new(&source, log, stretch, None);
        while let Some(step) = walk.step()? {
            if let Step::Batch(batch) = step
                && records_key(&source.read(batch.position, batch.length)?.into())
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether a batch of the topic of keys records one.
pub fn records_key(bytes: &Bytes) -> bool {
    let is_key = |record: Record| {
        let payload = record.payload.unwrap_or_default();
        match AccessEvent::decode(&record.record_type, &payload) {
            Ok(AccessEvent::KeyCreated(_)) => true,
            Ok(AccessEvent::Folded(part)) => {
                let mut rows = part.rows.iter();
                rows.any(|row| matches!(row, AccessRow::Key(_)))
            }
            _ => false,
        }
    };
    records(bytes).is_ok_and(|records| records.flatten().any(is_key))
}

/// What the checkpoint vouches for in a segment of this base offset.
fn vouched(source: &Source, base: u64, row: &LogRow) -> Option<Stretch> {
    let to = match base.cmp(&row.segment_base.0) {
        std::cmp::Ordering::Less => source.len(),
        std::cmp::Ordering::Equal => row.position,
        std::cmp::Ordering::Greater => return None,
    };
    Some(Stretch {
        from: FIRST_BATCH,
        to,
        first_offset: Some(base),
        end_offset: None,
    })
}

/// Adds the events of a batch; false when one can't be read.
fn add(events: &mut BTreeMap<u64, DirectoryEvent>, bytes: &Bytes) -> bool {
    let Ok(records) = records(bytes) else {
        return false;
    };
    let mut is_intact = true;
    for record in records {
        let event = record.ok().and_then(|record| {
            let payload = record.payload.unwrap_or_default();
            let event = DirectoryEvent::decode(&record.record_type, &payload).ok()?;
            Some((record.offset.0, event))
        });
        is_intact &= event.is_some();
        events.extend(event);
    }
    is_intact
}
