//! Checks the batches of an answer: nothing is handed out that is damaged, foreign or out of order.

use bytes::Bytes;

use super::{ConsumeError, RawBatch};
use crate::format::{BatchHeader, Gap, check_stored};
use crate::types::{Incarnation, Offset};

/// What must come next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) incarnation: Incarnation,
    /// The next offset that is wanted.
    pub(super) offset: Offset,
    /// Whether the first batch may begin below it.
    pub(super) may_begin_below: bool,
    /// Nothing from here on is wanted.
    pub(super) to: Option<Offset>,
}

/// Splits an answer into its batches, each checked. Ends early at the first that is not wanted.
pub(super) fn check(mut bytes: Bytes, expected: Expected) -> Result<Vec<RawBatch>, ConsumeError> {
    let mut batches = Vec::new();
    let mut next = expected.offset;
    let mut may_begin_below = expected.may_begin_below;
    while !bytes.is_empty() && expected.to.is_none_or(|to| next < to) {
        let corrupt = |source| ConsumeError::Corrupt {
            offset: next,
            source,
        };
        let length = BatchHeader::peek(&bytes).map_err(corrupt)?.len();
        let batch = bytes.split_to(length.min(bytes.len()));
        let header = check_stored(&batch).map_err(corrupt)?;
        let (base, end) = (header.base_offset(), header.end_offset());
        if header.incarnation() != expected.incarnation {
            return Err(ConsumeError::Foreign {
                offset: base,
                expected: expected.incarnation,
                found: header.incarnation(),
            });
        }
        let follows = base == next || (may_begin_below && base < next && end > next);
        if !follows {
            return Err(ConsumeError::Gap {
                expected: next,
                found: base,
            });
        }
        let gap = Gap::of(&batch).map_err(corrupt)?.map(Box::new);
        batches.push(RawBatch {
            bytes: batch,
            gap,
            first: next,
            end: expected.to.map_or(end, |to| to.min(end)),
            base_offset: base,
            record_count: header.record_count(),
            append_time: header.append_time(),
            log_epoch: header.log_epoch(),
            incarnation: header.incarnation(),
        });
        next = end;
        may_begin_below = false;
    }
    Ok(batches)
}
