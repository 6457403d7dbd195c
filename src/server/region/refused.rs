//! Batches of an outbox that its home has refused for good: borne in mind while the others go on, then
//! written to `lost+found/` together, recorded, and only then carried.
//!
//! ```text
//!   refused ──▶ borne in mind ──▶ file synced ──▶ record and log start, one entry ──▶ carried
//! ```
//! Until that entry is durable the outbox has them: a crash before it finds them there, and they are
//! refused and set aside again, in a file of the same name. Behind it the record names the file.

use std::collections::{BTreeMap, HashMap};
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;

use super::asides::write_keys;
use super::courier::Courier;
use super::moving::durable;
use super::stored;
use crate::broker::{BrokerError, Outbox};
use crate::format::BatchHeader;
use crate::protocol::WireError;
use crate::region::copies::{AsideReason, RefusedRecords, SetAside};
use crate::server::shared::Shared;
use crate::server::{answer, clock};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::{ReadJob, While};
use crate::types::{Offset, ProducerId};

/// What is borne in mind before it is set aside: ranges of offsets, producers, and bytes of all that
/// was answered since the first of them. Past any of these a file is written.
const MAX_RANGES: usize = 1 << 16;
const MAX_PRODUCERS: usize = 10_000;
const MAX_BYTES: u64 = 64 << 20;
/// Longest text of a home's that is recorded, in bytes.
const MAX_MESSAGE: usize = 1000;

/// Batches that are to be set aside, by what the first refusal of their producer was about: what
/// follows of it is refused as a gap, and lies in the same file, in order.
#[derive(Debug, Default)]
pub(super) struct Refused {
    groups: BTreeMap<u16, Group>,
    causes: HashMap<(ProducerId, u32), u16>,
    ranges: usize,
    /// Bytes of these, and of what was carried behind the first of them.
    bytes: u64,
}

/// Batches that become one file.
#[derive(Debug, Clone)]
struct Group {
    /// The last of its errors that is not about what is missing before a batch.
    error: WireError,
    /// Their offsets in the outbox, in order; neighbours are one.
    ranges: Vec<Range<Offset>>,
    records: u64,
}

impl Refused {
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.ranges >= MAX_RANGES
            || self.causes.len() >= MAX_PRODUCERS
            || (!self.is_empty() && self.bytes >= MAX_BYTES)
    }

    /// Bears a batch in mind.
    pub fn push(&mut self, header: &BatchHeader, error: WireError) {
        self.pass(header.len() as u64);
        let producer = (header.producer_id(), header.producer_epoch());
        let cause = *self.causes.entry(producer).or_insert(error.code);
        let group = self.groups.entry(cause).or_insert_with(|| Group {
            error: error.clone(),
            ranges: Vec::new(),
            records: 0,
        });
        if error.code == cause {
            group.error = error;
        }
        group.records += u64::from(header.record_count());
        let (from, end) = (header.base_offset(), header.end_offset());
        match group.ranges.last_mut() {
            Some(last) if last.end == from => last.end = end,
            _ => {
                group.ranges.push(from..end);
                self.ranges += 1;
            }
        }
    }

    /// Something was answered: it is freed with what is borne in mind.
    pub fn pass(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Courier {
    /// Sets aside what the home has refused, and brings it on the record, durably, that everything
    /// which is answered is carried.
    ///
    /// # Errors
    /// What stands in the way; nothing is carried then, and it may be tried again.
    pub(super) async fn settle(&mut self) -> Result<(), WireError> {
        let asides = self.write_refused().await?;
        let below = self.answered;
        let wait = {
            let mut broker = self.shared.broker();
            match below > self.recorded {
                true if asides.is_empty() => {
                    let carried = broker.carried(&self.outbox, below, clock::now());
                    carried.map_err(|error| answer::refused(&error))?;
                    broker.directory_wait()
                }
                true => {
                    let (asides, now) = (asides.clone(), clock::now());
                    let recorded = broker.set_aside_refused(&self.outbox, asides, below, now);
                    recorded
                        .map_err(|refusal| answer::refused(&refusal.error))?
                        .wait
                }
                false => broker.directory_wait(),
            }
        };
        durable(&self.shared, wait).await?;
        for aside in asides {
            let Some(refused) = aside.refused else {
                continue;
            };
            tracing::warn!(
                channel = %refused.channel, records = refused.records, code = refused.code,
                error = refused.message, place = aside.place,
                "the home has refused records that waited in the outbox: they are set aside"
            );
        }
        let bytes = std::mem::take(&mut self.refused).bytes;
        self.recorded = below;
        self.carried_to(below, bytes);
        Ok(())
    }

    /// Writes what was refused to files in `lost+found/`, synced.
    async fn write_refused(&self) -> Result<Vec<SetAside>, WireError> {
        if self.refused.is_empty() {
            return Ok(Vec::new());
        }
        let groups: Vec<Group> = self.refused.groups.values().cloned().collect();
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        let work = move || {
            let written = groups.iter().map(|group| write(&shared, &outbox, group));
            written.collect::<Result<Vec<SetAside>, BrokerError>>()
        };
        let written = self.shared.on_disk(work).await;
        written.map_err(|error| answer::refused(&error))
    }
}

/// Writes a file of batches of an outbox, synced; what is to be recorded of it. One of the name that
/// is not on the record is of a try before, and is replaced.
fn write(shared: &Shared, outbox: &Outbox, group: &Group) -> Result<SetAside, BrokerError> {
    let [first, ..] = &group.ranges[..] else {
        return Err(BrokerError::Bug("nothing is to be set aside".into()));
    };
    let from = first.start;
    let end = group.ranges.last().map_or(first.end, |last| last.end);
    let id = outbox.log;
    let (disk, dir, place, file) = {
        let broker = shared.broker();
        let (disk, dir, _) = broker.aside();
        let flat = outbox.name.as_str().replace('/', "-");
        let mut number = 1;
        let (place, file) = loop {
            let suffix = match number {
                1 => String::new(),
                number => format!("-{number}"),
            };
            let file = format!("{flat}-{id}-{from}{suffix}.batches");
            let place = format!("lost+found/{file}");
            if !broker.is_aside(&place) {
                break (place, file);
            }
            number += 1;
        };
        (disk, dir, place, file)
    };
    let (new, path) = (dir.join(format!("{file}.new")), dir.join(&file));
    let records = write_ranges(shared, &*disk, &new, outbox, &group.ranges)?;
    if records != group.records {
        let text = format!(
            "{records} records were written to {}, not {}",
            new.display(),
            group.records
        );
        return Err(BrokerError::Bug(text.into()));
    }
    write_keys(shared, &*disk, &dir, &file, id)?;
    disk.rename(&new, &path).or_while("renaming", &new)?;
    disk.sync_dir(&dir).or_while("syncing", &dir)?;
    let mut message = group.error.message.clone();
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    Ok(SetAside {
        incarnation: id,
        reason: AsideReason::Refused,
        from,
        end,
        place,
        at: clock::now(),
        republished: Vec::new(),
        refused: Some(RefusedRecords {
            channel: outbox.channel.clone(),
            code: group.error.name.to_string(),
            message,
            records,
        }),
    })
}

/// Writes the batches of these offsets as they are stored, synced; how many records they have.
fn write_ranges(
    shared: &Shared,
    disk: &dyn Disk,
    path: &Path,
    outbox: &Outbox,
    ranges: &[Range<Offset>],
) -> Result<u64, BrokerError> {
    let file = disk
        .open(path, OpenMode::Create)
        .or_while("creating", path)?;
    file.set_len(0).or_while("cutting", path)?;
    let (mut position, mut records) = (0, 0);
    let mut left = ranges.iter().peekable();
    let (from, end) = match ranges {
        [first, .., last] => (first.start, last.end),
        [only] => (only.start, only.end),
        [] => return Ok(0),
    };
    stored::each_part(shared, outbox.log, from..end, ReadJob::run_copied, |part| {
        let mut taken = Vec::new();
        let mut rest = &part[..];
        while !rest.is_empty() {
            let header = BatchHeader::peek(rest).ok();
            let split = header.and_then(|header| {
                let (batch, after) = rest.split_at_checked(header.len())?;
                Some((header, batch, after))
            });
            let Some((header, batch, after)) = split else {
                return Err(BrokerError::Bug("a part of an outbox is no batches".into()));
            };
            let at = header.base_offset();
            while left.next_if(|range| range.end <= at).is_some() {}
            if left.peek().is_some_and(|range| range.contains(&at)) {
                taken.extend_from_slice(batch);
                records += u64::from(header.record_count());
            }
            rest = after;
        }
        let written = file.write_at(position, &[IoSlice::new(&taken)]);
        written.or_while("writing", path)?;
        position += taken.len() as u64;
        Ok(())
    })?;
    file.sync_data().or_while("syncing", path)?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BatchBuilder, Compression, NewRecord, Stamp, stamp};
    use crate::protocol::ErrorCode;
    use crate::types::{Incarnation, LogEpoch, Timestamp};

    /// The header of a batch of one record of a producer, at an offset.
    fn header(producer: u128, epoch: u32, offset: u64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.producer(ProducerId(producer), epoch, 9);
        builder.push(&NewRecord::default()).unwrap();
        let mut bytes = builder.build().unwrap().to_vec();
        let at = Stamp {
            incarnation: Incarnation(1),
            base_offset: Offset(offset),
            append_time: Timestamp(1),
            log_epoch: LogEpoch(1),
            principal: 0,
        };
        stamp(&mut bytes, &at);
        BatchHeader::peek(&bytes).unwrap()
    }

    fn error(code: ErrorCode) -> WireError {
        WireError::new(code, code.name())
    }

    #[test]
    fn what_follows_of_a_producer_goes_with_its_first_and_neighbours_are_one_range() {
        let mut refused = Refused::default();
        assert!(refused.is_empty());
        refused.push(&header(1, 1, 0), error(ErrorCode::RecordTooLarge));
        for offset in 1..100_000 {
            refused.push(&header(1, 1, offset), error(ErrorCode::SequenceGap));
        }
        let group = refused.groups[&ErrorCode::RecordTooLarge.number()].clone();
        assert_eq!(group.ranges, [Offset(0)..Offset(100_000)]);
        assert_eq!((group.records, refused.groups.len()), (100_000, 1));
        assert!(group.error.is(ErrorCode::RecordTooLarge));
        // Of another epoch it is judged by itself, as others are; a gap between is another range.
        refused.push(&header(1, 2, 100_000), error(ErrorCode::Forbidden));
        refused.push(&header(2, 1, 100_002), error(ErrorCode::RecordTooLarge));
        let group = &refused.groups[&ErrorCode::RecordTooLarge.number()];
        assert_eq!(group.ranges.len(), 2);
        assert_eq!(refused.groups.len(), 2);
    }

    #[test]
    fn what_is_borne_in_mind_is_bounded() {
        let mut refused = Refused::default();
        for offset in 0..MAX_RANGES as u64 {
            assert!(!refused.is_full(), "{offset}");
            refused.push(&header(1, 1, 2 * offset), error(ErrorCode::SequenceGap));
        }
        assert!(refused.is_full());
        let mut refused = Refused::default();
        for producer in 0..MAX_PRODUCERS as u64 {
            let header = header(u128::from(producer) + 1, 1, producer);
            refused.push(&header, error(ErrorCode::UnknownProducer));
        }
        assert!(refused.is_full());
        let mut refused = Refused::default();
        refused.pass(MAX_BYTES);
        assert!(!refused.is_full(), "nothing was refused");
        refused.push(&header(1, 1, 0), error(ErrorCode::SequenceGap));
        assert!(refused.is_full());
    }
}
