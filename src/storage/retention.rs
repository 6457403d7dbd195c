//! Which records have outlived their channel's retention: always whole segments.

use super::segment::FIRST_BATCH;
use super::store::Storage;
use crate::types::{Incarnation, Offset, Timestamp};

impl Storage {
    /// The log start that retention asks for, if it is higher than the present one.
    ///
    /// - `oldest`: segments whose last batch was appended before this may go.
    /// - `max_bytes`: the oldest segments go while the log holds more than this.
    /// - `needed`: records from here on stay, whatever their age; all may go where it is not given.
    ///
    /// Time counts by the broker's own append times alone. The active segment stays, unless all
    /// its records are too old: then the log start moves to its end, and the next append rolls.
    #[must_use]
    pub fn retention_start(
        &self,
        id: Incarnation,
        oldest: Option<Timestamp>,
        max_bytes: Option<u64>,
        needed: Option<Offset>,
    ) -> Option<Offset> {
        let log = self.logs.get(&id).filter(|log| log.is_loaded)?;
        let mut start = log.log_start;
        let mut bytes: u64 = log
            .segments
            .iter()
            .map(|segment| segment.length().saturating_sub(FIRST_BATCH))
            .sum::<u64>()
            + log.unwritten_bytes;
        let is_needed = |next: Offset| needed.is_some_and(|needed| needed < next);
        for (segment, next) in log.segments.iter().zip(log.segments.iter().skip(1)) {
            // Only what is flushed may go: the record of the trim must not outlive its reason.
            if next.id().base > log.flushed || is_needed(next.id().base) {
                break;
            }
            let last = next.previous().map(|previous| previous.last_time);
            let is_old = matches!((oldest, last), (Some(oldest), Some(last)) if last < oldest);
            let is_over = max_bytes.is_some_and(|limit| bytes > limit);
            if !is_old && !is_over {
                break;
            }
            bytes -= segment.length().saturating_sub(FIRST_BATCH).min(bytes);
            start = start.max(next.id().base);
        }
        let is_whole_log_old = oldest.is_some_and(|oldest| log.last_time < oldest);
        if is_whole_log_old && log.flushed == log.end && !is_needed(log.end) {
            start = log.end;
        }
        (start > log.log_start).then_some(start)
    }
}
