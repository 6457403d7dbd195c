//! Commitments that are no longer held, and their disputes: found again in the records that file
//! them.

use std::sync::Arc;

use super::reader::Reader;
use crate::asp::commitment::{Closed, CommitmentRecord, CommitmentsFiled};
use crate::broker::BrokerError;
use crate::types::Offset;

/// The record at an offset.
pub(super) fn record(
    reader: &mut Reader<'_>,
    offset: Offset,
) -> Result<CommitmentRecord, BrokerError> {
    let record = reader.record(offset)?;
    let payload = record.payload.clone().unwrap_or_default();
    let read = CommitmentRecord::decode(record.record_type.as_str(), &payload);
    read.map_err(|error| reader.damaged(offset, &error.to_string()))
}

/// The record that closed a commitment.
pub(super) fn closed_at(
    reader: &mut Reader<'_>,
    offset: Offset,
) -> Result<Arc<Closed>, BrokerError> {
    match record(reader, offset)? {
        CommitmentRecord::Closed(closed) => Ok(closed),
        _ => Err(reader.damaged(offset, "no commitment is closed there")),
    }
}

/// What is wanted of the first of these records that files it.
pub(super) fn find<T>(
    reader: &mut Reader<'_>,
    files: &[Offset],
    wanted: impl Fn(&CommitmentsFiled) -> Option<T>,
) -> Result<Option<T>, BrokerError> {
    for file in files {
        let CommitmentRecord::Filed(filed) = record(reader, *file)? else {
            return Err(reader.damaged(*file, "the record files nothing"));
        };
        if let Some(found) = wanted(&filed) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The commitment that is filed in one of these records, and the offset of the record that closed
/// it.
pub(super) fn closed(
    reader: &mut Reader<'_>,
    files: &[Offset],
    wanted: impl Fn(&CommitmentsFiled) -> Option<Offset>,
) -> Result<Option<(Arc<Closed>, Offset)>, BrokerError> {
    match find(reader, files, wanted)? {
        Some(at) => Ok(Some((closed_at(reader, at)?, at))),
        None => Ok(None),
    }
}
