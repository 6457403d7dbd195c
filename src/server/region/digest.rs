//! Reading a log batch by batch: the header of one, the digest of a range.

use sha2::{Digest, Sha256};

use crate::broker::{BrokerError, Fetch, Place};
use crate::format::BatchHeader;
use crate::protocol::region::RangeDigest;
use crate::region::copies::BatchMark;
use crate::server::fetching;
use crate::server::shared::Shared;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset};

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// What tells a batch from another.
pub(super) fn mark_of(header: &BatchHeader) -> BatchMark {
    BatchMark {
        base: header.base_offset(),
        end: header.end_offset(),
        epoch: header.log_epoch(),
        append_time: header.append_time(),
        body_crc: header.body_crc(),
    }
}

/// The batch that holds an offset; none at the end of what may be read.
pub(super) async fn batch_at(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
    offset: Offset,
) -> Result<Option<BatchMark>, BrokerError> {
    let place = Place::Offset(offset);
    let mut fetch = Fetch::new(name.clone(), Some(id), place, LogEpoch(0), 1);
    let fetched = fetching::run(shared, &mut fetch).await?;
    let first = fetched.slices.parts.first();
    Ok(first
        .and_then(|part| BatchHeader::peek(part).ok())
        .map(|header| mark_of(&header)))
}

/// The digest of the whole batches of a range, up to the first gap behind one of them.
pub(super) async fn digest(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
    range: std::ops::Range<Offset>,
) -> Result<RangeDigest, BrokerError> {
    let mut sha = Sha256::new();
    let mut first = None;
    let log_start = {
        let broker = shared.broker();
        broker.channel_is(name, id)?;
        broker
            .storage()
            .log(id)
            .map_or(range.start, |log| log.log_start())
    };
    let mut at = range.start.max(log_start);
    let mut batches = 0;
    'all: while at < range.end {
        let place = Place::Offset(at);
        let mut fetch = Fetch::new(name.clone(), Some(id), place, LogEpoch(0), READ_BYTES);
        let fetched = fetching::run(shared, &mut fetch).await?;
        if fetched.slices.parts.is_empty() {
            break;
        }
        for part in &fetched.slices.parts {
            let mut rest = &part[..];
            while let Ok(header) = BatchHeader::peek(rest) {
                rest = rest.get(header.len()..).unwrap_or_default();
                if header.base_offset() < range.start {
                    continue;
                }
                if header.end_offset() > range.end {
                    break 'all;
                }
                // What was lost here may be there, and was reported when it was lost: a digest
                // reaches up to it.
                if header.is_gap() && batches > 0 {
                    break 'all;
                }
                at = header.end_offset();
                if header.is_gap() {
                    continue;
                }
                first.get_or_insert(header.base_offset());
                batches += 1;
                sha.update(header.base_offset().0.to_le_bytes());
                sha.update(header.offset_span().to_le_bytes());
                sha.update(header.log_epoch().0.to_le_bytes());
                sha.update(header.append_time().0.to_le_bytes());
                sha.update(header.body_crc().to_le_bytes());
            }
        }
        at = at.max(fetched.slices.next);
    }
    let from = first.unwrap_or(range.start.max(log_start));
    let to = if batches == 0 {
        from
    } else {
        at.min(range.end)
    };
    let sha256 = sha.finalize();
    Ok(RangeDigest {
        from,
        to,
        batches,
        sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}
