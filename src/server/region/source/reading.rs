//! What one log has behind what was sent of it.

use bytes::{Bytes, BytesMut};

use super::filter::Skipped;
use super::{Followed, filter};
use crate::broker::{BrokerError, Fetch, Place, Travelling};
use crate::format::BatchHeader;
use crate::protocol::{ErrorCode, LinkItem, WireError};
use crate::server::shared::Shared;
use crate::server::{answer, fetching};
use crate::storage::ReadError;
use crate::types::{LogEpoch, Offset};

/// What was read of a log.
pub(super) struct Read {
    pub(super) sent: u64,
    /// With what does not cross.
    pub(super) read: u64,
    pub(super) rest: Rest,
}

/// What is left of a log.
pub(super) enum Rest {
    /// There is more to send.
    More,
    /// There is more to read, which is not synced yet.
    Unsynced,
    /// It waits until it grows.
    Nothing,
}

/// Reads what a log has behind what was sent: only what is synced here.
pub(super) async fn read(
    shared: &Shared,
    handle: u32,
    followed: &mut Followed,
    max_bytes: u64,
    items: &mut Vec<LinkItem>,
) -> Result<Read, WireError> {
    let refused = |error: BrokerError| answer::refused(&error);
    let gone = || BrokerError::NoSuchChannel {
        name: followed.name.to_string(),
    };
    let (log_start, flushed, high_watermark, epoch) = {
        let mut broker = shared.broker();
        let is_it = broker.channel_is(&followed.name, followed.id);
        is_it.map_err(refused)?;
        // What is another's here is to be taken out first; then this region is a source again.
        let home = broker.home_of(followed.id).map(|home| home.region);
        let is_home = home.as_ref() == broker.region();
        let regions = shared.regions.as_ref();
        let is_settled = regions.is_none_or(|it| it.is_settled(&broker, followed.id));
        if let Some(home) = home.filter(|_| is_home != followed.is_home || !is_settled) {
            let channel = followed.name.to_string();
            return Err(refused(BrokerError::LivesElsewhere { channel, home }));
        }
        // Known before it is looked at, so that nothing that comes meanwhile is missed.
        broker.forget_waiter(followed.id, &followed.waker);
        broker.wake_on_append(followed.id, followed.waker.clone());
        let log = broker
            .storage()
            .log(followed.id)
            .ok_or_else(|| refused(gone()))?;
        let end = log.high_watermark();
        (
            log.log_start(),
            log.flushed().min(end),
            end,
            log.last_epoch(),
        )
    };
    if followed.said != Some((log_start, epoch)) {
        followed.said = Some((log_start, epoch));
        items.push(LinkItem::Head {
            handle,
            log_start,
            flushed,
            epoch,
        });
    }
    if followed.next < log_start {
        // Its home may still have what is gone here, but of a topic, which begins with its whole state.
        if !followed.is_home && Travelling::of(&followed.name).is_none() {
            return Err(lacks(followed.next..log_start));
        }
        filter::tell(handle, followed, flushed, items);
        items.push(LinkItem::Gap {
            handle,
            from: followed.next,
            to: log_start,
        });
        followed.next = log_start;
    }
    if followed.skipped.as_ref().is_some_and(Skipped::is_due) {
        filter::tell(handle, followed, flushed, items);
    }
    if followed.next >= flushed {
        let rest = match high_watermark > flushed {
            true => Rest::Unsynced,
            false => Rest::Nothing,
        };
        return Ok(Read {
            sent: 0,
            read: 0,
            rest,
        });
    }
    let place = Place::Offset(followed.next);
    let (name, id) = (followed.name.clone(), Some(followed.id));
    let mut fetch = Fetch::new(name, id, place, LogEpoch(0), max_bytes);
    let fetched = match fetching::run(shared, &mut fetch).await {
        Ok(fetched) => fetched,
        // Retention was faster: the next look sees where it begins now.
        Err(BrokerError::Read(ReadError::OutOfRange { available, .. }))
            if available.start > followed.next =>
        {
            return Ok(Read {
                sent: 0,
                read: 0,
                rest: Rest::More,
            });
        }
        Err(error) => return Err(refused(error)),
    };
    let (batches, next) = below(&fetched.slices.parts, followed.next, flushed);
    if !followed.is_home
        && let Some(gap) = filter::own_gap(&batches)
    {
        return Err(lacks(gap));
    }
    followed.next = next;
    let read = batches.len() as u64;
    let sent = match &followed.types {
        Some(_) => filter::send(handle, followed, &batches, flushed, items),
        None if batches.is_empty() => 0,
        None => {
            let sent = batches.len() as u64;
            items.push(LinkItem::Batches {
                handle,
                flushed,
                batches,
            });
            sent
        }
    };
    let rest = match next < flushed {
        true => Rest::More,
        false if high_watermark > flushed => Rest::Unsynced,
        false => Rest::Nothing,
    };
    Ok(Read { sent, read, rest })
}

/// The whole batches from `next` on that end at or below `flushed`, and the offset after them.
fn below(parts: &[Bytes], mut next: Offset, flushed: Offset) -> (Bytes, Offset) {
    let mut batches = BytesMut::new();
    for part in parts {
        let mut rest = &part[..];
        while let Ok(header) = BatchHeader::peek(rest) {
            let Some((batch, after)) = rest.split_at_checked(header.len()) else {
                break;
            };
            if header.end_offset() > flushed {
                return (batches.freeze(), next);
            }
            if header.base_offset() >= next {
                batches.extend_from_slice(batch);
                next = header.end_offset();
            }
            rest = after;
        }
    }
    (batches.freeze(), next)
}

/// What a copy that serves for its home answers where it lacks what others may have.
pub(super) fn lacks(range: std::ops::Range<Offset>) -> WireError {
    let text = format!(
        "this copy does not have offsets {}..{}",
        range.start, range.end
    );
    WireError::new(ErrorCode::SourceBehind, text).with("end", range.start.0)
}
