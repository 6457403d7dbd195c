//! Batches of some record types: those with none of them cross as a range of offsets.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::Followed;
use crate::broker::is_of_copy;
use crate::format::{BatchHeader, Gap, records};
use crate::protocol::LinkItem;
use crate::server::clock;
use crate::types::{LogEpoch, Offset, Timestamp};

/// How long what was passed over waits for more of it, so that many batches cross as one range.
const LINGER: Duration = Duration::from_millis(250);

/// Batches that were passed over, and not told yet.
#[derive(Debug)]
pub(super) struct Skipped {
    from: Offset,
    to: Offset,
    epoch: LogEpoch,
    append_time: Timestamp,
    due: Instant,
}

impl Skipped {
    /// When it is to be told.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// First offset that was passed over.
    pub fn from(&self) -> Offset {
        self.from
    }

    pub fn is_due(&self) -> bool {
        Instant::from_std(clock::instant()) >= self.due
    }
}

/// Tells what was passed over, if anything was.
pub(super) fn tell(
    handle: u32,
    followed: &mut Followed,
    flushed: Offset,
    items: &mut Vec<LinkItem>,
) {
    if let Some(skipped) = followed.skipped.take() {
        items.push(LinkItem::Skip {
            handle,
            from: skipped.from,
            to: skipped.to,
            epoch: skipped.epoch,
            append_time: skipped.append_time,
            flushed,
        });
    }
}

/// Sends of whole batches, end to end, those that have a record of the types wanted; the bytes of
/// them.
pub(super) fn send(
    handle: u32,
    followed: &mut Followed,
    batches: &Bytes,
    flushed: Offset,
    items: &mut Vec<LinkItem>,
) -> u64 {
    let Some(types) = followed.types.clone() else {
        return 0;
    };
    let mut sent = 0;
    let mut run = BytesMut::new();
    let mut end_run = |run: &mut BytesMut, items: &mut Vec<LinkItem>| {
        if !run.is_empty() {
            sent += run.len() as u64;
            items.push(LinkItem::Batches {
                handle,
                flushed,
                batches: run.split().freeze(),
            });
        }
    };
    for (header, batch) in each(batches) {
        if has_any(&header, &batch, &types) {
            tell(handle, followed, flushed, items);
            run.extend_from_slice(&batch);
            continue;
        }
        end_run(&mut run, items);
        let skipped = followed.skipped.get_or_insert_with(|| Skipped {
            from: header.base_offset(),
            to: header.base_offset(),
            epoch: header.log_epoch(),
            append_time: header.append_time(),
            due: Instant::from_std(clock::instant()) + LINGER,
        });
        skipped.to = header.end_offset();
        skipped.epoch = header.log_epoch();
        skipped.append_time = header.append_time();
    }
    end_run(&mut run, items);
    sent
}

/// The first range among whole batches that a copy put there itself, in place of what it lacks.
pub(super) fn own_gap(batches: &Bytes) -> Option<Range<Offset>> {
    each(batches).find_map(|(header, batch)| {
        let gap = header.is_gap().then(|| Gap::of(&batch).ok().flatten());
        let is_own = gap.flatten().is_some_and(|gap| is_of_copy(&gap));
        is_own.then(|| header.base_offset()..header.end_offset())
    })
}

/// Whether a batch has a record of one of the types. One that can't be read has: whoever takes it
/// sees for himself. What was lost is told to everybody.
fn has_any(header: &BatchHeader, batch: &Bytes, types: &BTreeSet<String>) -> bool {
    let Ok(mut records) = records(batch) else {
        return true;
    };
    header.is_gap()
        || records.any(|record| match record {
            Ok(record) => types.contains(record.record_type.as_str()),
            Err(_) => true,
        })
}

fn each(batches: &Bytes) -> impl Iterator<Item = (BatchHeader, Bytes)> {
    let mut rest = batches.clone();
    std::iter::from_fn(move || {
        let header = BatchHeader::peek(&rest).ok()?;
        (header.len() <= rest.len()).then(|| (header, rest.split_to(header.len())))
    })
}
