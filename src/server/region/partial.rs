//! Reads of what a copy here does not have: below its first record, or of types that it is not of. They
//! are answered by the channel's home, over the link, and nothing of them is kept here.

use super::forward::Forward;
use crate::broker::{BrokerError, Residence};
use crate::protocol::{FetchBeyondRequest, FetchFrom, FetchRequest, Lacking, WireError};
use crate::server::access::Caller;
use crate::server::answer;
use crate::server::shared::Shared;

/// Most bytes of batches that one such read brings; a single larger batch comes whole.
const MAX_BYTES: u32 = 1 << 20;
/// Longest that it waits at the home.
const MAX_WAIT_MS: u32 = 20_000;

/// What becomes of a read that the copy here can't serve; none where it is served here.
///
/// # Errors
/// `COPY_PARTIAL`: the reader does not want the home to be asked.
pub(in crate::server) fn beyond(
    shared: &Shared,
    caller: &Caller,
    request: &FetchBeyondRequest,
) -> Option<Result<Forward, Box<WireError>>> {
    let fetch = &request.fetch;
    if shared.regions.is_none() || fetch.channel.is_internal() {
        return None;
    }
    let broker = shared.broker();
    let Residence::Copy(id, home) = broker.residence(&fetch.channel) else {
        return None;
    };
    // Of another life of the channel the reader is told here.
    if fetch.incarnation.is_some_and(|asked| asked != id) {
        return None;
    }
    let copy = broker.copy_of(id)?;
    let log_start = broker.storage().log(id)?.log_start();
    let lacks_types = copy.types.as_ref().is_some_and(|types| {
        request.types.is_empty() || !request.types.iter().all(|one| types.contains(one))
    });
    // What its own retention has removed may be there as well.
    let is_before = matches!(fetch.from, FetchFrom::Offset(at) if at < log_start);
    if !lacks_types && !is_before {
        return None;
    }
    Some(match request.lacking {
        Lacking::Refuse => {
            let types = copy.types.as_ref();
            let error = BrokerError::CopyPartial {
                channel: fetch.channel.to_string(),
                from: log_start,
                types: types.map(|types| types.iter().cloned().collect()),
            };
            Err(Box::new(answer::refused(&error)))
        }
        Lacking::ReadHome => {
            let read = FetchBeyondRequest {
                fetch: FetchRequest {
                    incarnation: Some(id),
                    max_bytes: fetch.max_bytes.min(MAX_BYTES),
                    max_wait_ms: fetch.max_wait_ms.min(MAX_WAIT_MS),
                    ..fetch.clone()
                },
                ..request.clone()
            };
            Ok(Forward::of_read(home, caller, read))
        }
    })
}
