//! Which epochs a log has, found without reading all of it: within a log they never go down.

use std::ops::Range;

use super::digest::batch_at;
use crate::broker::BrokerError;
use crate::region::homes::Run;
use crate::server::shared::Shared;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset};

/// The runs of epochs in what is readable of a log below `end`, in order.
///
/// # Errors
/// [`BrokerError`] where the log is gone, or a batch can't be read.
pub(super) async fn runs(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
    end: Offset,
) -> Result<Vec<Run>, BrokerError> {
    let start = {
        let broker = shared.broker();
        broker.channel_is(name, id)?;
        broker.storage().log(id).map_or(end, |log| log.log_start())
    };
    let mut runs: Vec<Run> = Vec::new();
    // Ranges that are still to be looked at, the next one last.
    let mut left: Vec<Range<Offset>> = vec![start..end];
    while let Some(range) = left.pop() {
        if range.start >= range.end {
            continue;
        }
        let first = epoch_at(shared, name, id, range.start).await?;
        let last = epoch_at(shared, name, id, Offset(range.end.0 - 1)).await?;
        let (Some((first, first_end)), Some((last, _))) = (first, last) else {
            break; // It was trimmed meanwhile; what is gone can't be judged.
        };
        if first == last {
            push(&mut runs, first, range);
            continue;
        }
        // The first batch is known whole: the halves lie behind it.
        push(&mut runs, first, range.start..first_end);
        let middle = Offset(first_end.0.midpoint(range.end.0)).max(Offset(first_end.0 + 1));
        left.push(middle.min(range.end)..range.end);
        left.push(first_end..middle.min(range.end));
    }
    Ok(runs)
}

fn push(runs: &mut Vec<Run>, epoch: LogEpoch, offsets: Range<Offset>) {
    match runs.last_mut() {
        Some(last) if last.epoch == epoch => last.offsets.end = offsets.end,
        // A half may begin within a batch of the run before it.
        Some(last) if last.offsets.end >= offsets.end => {}
        Some(last) => {
            let offsets = last.offsets.end.max(offsets.start)..offsets.end;
            runs.push(Run { epoch, offsets });
        }
        None => runs.push(Run { epoch, offsets }),
    }
}

async fn epoch_at(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
    at: Offset,
) -> Result<Option<(LogEpoch, Offset)>, BrokerError> {
    let mark = batch_at(shared, name, id, at).await?;
    Ok(mark.map(|mark| (mark.epoch, mark.end)))
}
