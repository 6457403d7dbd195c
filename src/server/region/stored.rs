//! What a log holds, read as it is stored. It waits for the disk, so it is for threads that may.

use std::ops::Range;

use bytes::Bytes;

use crate::broker::BrokerError;
use crate::server::shared::Shared;
use crate::storage::{Read, ReadError, ReadJob, Slices};
use crate::types::{Incarnation, Offset};

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// Hands over the batches of a range in order, each part of them whole ones end to end.
///
/// - `read`: how a segment is read, as [`ReadJob::run_checked`] or [`ReadJob::run_copied`] do.
///
/// # Errors
/// Where the log can't be read, or ends before the range does; and what `take` refuses.
pub(super) fn each_part(
    shared: &Shared,
    id: Incarnation,
    range: Range<Offset>,
    read: impl Fn(&ReadJob) -> Result<Slices, ReadError>,
    mut take: impl FnMut(Bytes) -> Result<(), BrokerError>,
) -> Result<(), BrokerError> {
    let mut at = range.start;
    while at < range.end {
        let planned = shared.broker().storage().plan_read(id, at, READ_BYTES)?;
        let slices = match planned {
            Read::Ready(slices) => slices,
            Read::Segment(job) => read(&job)?,
            Read::Load(task) => {
                let loaded = task.run();
                shared.broker().finish_load(loaded)?;
                continue;
            }
        };
        if slices.parts.is_empty() {
            return Err(BrokerError::Bug("a log ends before its end".into()));
        }
        at = slices.next;
        slices.parts.into_iter().try_for_each(&mut take)?;
    }
    Ok(())
}
