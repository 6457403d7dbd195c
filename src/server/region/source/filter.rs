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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BatchBuilder, Compression, NewRecord, Stamp, stamp};
    use crate::server::shared::TaskWake;
    use crate::types::{ChannelName, Incarnation};

    const LOG: Incarnation = Incarnation(7);

    fn stamp_at(base: u64) -> Stamp {
        Stamp {
            incarnation: LOG,
            base_offset: Offset(base),
            append_time: Timestamp(100 + i64::try_from(base).unwrap()),
            log_epoch: LogEpoch(base + 1),
            principal: 0,
        }
    }

    fn batch(base: u64, types: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::Zstd);
        for record_type in types {
            let record = NewRecord {
                record_type,
                payload: Some(b"payload"),
                ..NewRecord::default()
            };
            builder.push(&record).unwrap();
        }
        let mut bytes = builder.build().unwrap().to_vec();
        stamp(&mut bytes, &stamp_at(base));
        bytes
    }

    fn gap(base: u64, reason: &str) -> Vec<u8> {
        let gap = Gap {
            reason: reason.to_owned(),
            ..Gap::default()
        };
        gap.encode(&stamp_at(base), 1, 512)
    }

    fn followed(types: &[&str]) -> Followed {
        Followed {
            name: ChannelName::parse("orders").unwrap(),
            id: LOG,
            begins_at: Offset(0),
            next: Offset(0),
            said: None,
            waker: TaskWake::new(),
            is_home: true,
            types: Some(types.iter().map(|name| (*name).to_owned()).collect()),
            orgs: BTreeSet::new(),
            skipped: None,
        }
    }

    fn sent(followed: &mut Followed, batches: &[Vec<u8>]) -> Vec<LinkItem> {
        let mut items = Vec::new();
        let batches = Bytes::from(batches.concat());
        let bytes = send(1, followed, &batches, Offset(100), &mut items);
        let crossed = items.iter().map(|item| match item {
            LinkItem::Batches { batches, .. } => batches.len() as u64,
            _ => 0,
        });
        assert_eq!(crossed.sum::<u64>(), bytes);
        items
    }

    fn batches_of(batches: &[Vec<u8>]) -> LinkItem {
        LinkItem::Batches {
            handle: 1,
            flushed: Offset(100),
            batches: batches.concat().into(),
        }
    }

    fn skip(from: u64, to: u64, last: u64) -> LinkItem {
        let stamp = stamp_at(last);
        LinkItem::Skip {
            handle: 1,
            from: Offset(from),
            to: Offset(to),
            epoch: stamp.log_epoch,
            append_time: stamp.append_time,
            flushed: Offset(100),
        }
    }

    #[test]
    fn batches_with_none_of_the_types_become_one_range_between_the_others() {
        let mut link = followed(&["a"]);
        let [first, last] = [batch(0, &["b", "a"]), batch(7, &["a"])];
        let between = [
            batch(2, &["b"]),
            batch(3, &["b", "c", ""]),
            batch(6, &["A"]),
        ];
        let mut all = vec![first.clone()];
        all.extend(between.clone());
        all.push(last.clone());
        let items = sent(&mut link, &all);
        assert_eq!(
            items,
            [batches_of(&[first]), skip(2, 7, 6), batches_of(&[last])]
        );
        // What stands last waits for more of it, over several answers.
        let mut link = followed(&["z", "y"]);
        for one in &between {
            assert_eq!(sent(&mut link, std::slice::from_ref(one)), []);
        }
        assert_eq!(link.sent(), Offset(2));
        assert!(link.skipped.is_some());
        let mut items = Vec::new();
        tell(1, &mut link, Offset(100), &mut items);
        assert_eq!(items, [skip(2, 7, 6)]);
        tell(1, &mut link, Offset(100), &mut items);
        assert_eq!(items.len(), 1, "once");
    }

    #[test]
    fn what_was_lost_at_home_is_told_to_everybody_and_what_a_copy_lacks_is_found() {
        let lost = gap(1, "damaged");
        let mut link = followed(&["a"]);
        let items = sent(&mut link, &[batch(0, &["b"]), lost.clone()]);
        assert_eq!(
            items,
            [skip(0, 1, 0), batches_of(std::slice::from_ref(&lost))]
        );
        let all = |batches: &[Vec<u8>]| own_gap(&Bytes::from(batches.concat()));
        assert_eq!(all(&[batch(0, &["b"]), lost.clone()]), None);
        for reason in ["trimmed", "filtered"] {
            let found = all(&[lost.clone(), gap(2, reason)]);
            assert_eq!(found, Some(Offset(2)..Offset(3)));
        }
    }
}
