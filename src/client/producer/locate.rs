//! Finds the offsets of a batch that is known to be in the log, by its producer and sequence.

use super::error::PublishError;
use crate::client::error::RequestError;
use crate::client::handle::Client;
use crate::format::{BatchHeader, check_stored};
use crate::protocol::{ErrorCode, FetchFrom, FetchRequest, PublishResponse, WireError};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, ProducerId};

/// The batch that is looked for.
pub(super) struct Wanted<'a> {
    pub(super) channel: &'a ChannelName,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) producer: ProducerId,
    pub(super) epoch: u32,
    pub(super) sequence: u64,
}

/// Reads from `from`, or from the log start, to the high watermark until the batch is found.
pub(super) async fn locate(
    client: &Client,
    wanted: &Wanted<'_>,
    from: Option<Offset>,
) -> Result<PublishResponse, PublishError> {
    let lost = |error| PublishError::Lost(Box::new(error));
    let level = client
        .channel_info(wanted.channel)
        .await
        .map_err(lost)?
        .config
        .durability;
    let mut from = from.map_or(FetchFrom::Start, FetchFrom::Offset);
    loop {
        let request = FetchRequest {
            channel: wanted.channel.clone(),
            incarnation: wanted.incarnation,
            from,
            last_epoch: LogEpoch(0),
            max_bytes: 4 << 20,
            min_bytes: 0,
            max_wait_ms: 0,
        };
        let answer = client.fetch(request).await.map_err(lost)?;
        let mut batches = answer.batches;
        if batches.is_empty() {
            let text = "the broker reported it as appended, but the channel does not hold it";
            let error = WireError::new(ErrorCode::SequenceTooOld, text);
            return Err(lost(RequestError::Server(Box::new(error))));
        }
        while !batches.is_empty() {
            let header = BatchHeader::peek(&batches).map_err(PublishError::Damaged)?;
            let batch = batches.split_to(header.len().min(batches.len()));
            check_stored(&batch).map_err(PublishError::Damaged)?;
            if header.producer_id() == wanted.producer
                && header.producer_epoch() == wanted.epoch
                && header.base_sequence() == wanted.sequence
            {
                return Ok(PublishResponse {
                    first_offset: header.base_offset(),
                    last_offset: Offset(header.end_offset().0 - 1),
                    append_time: header.append_time(),
                    log_epoch: header.log_epoch(),
                    incarnation: header.incarnation(),
                    level,
                    duplicate: true,
                });
            }
            from = FetchFrom::Offset(header.end_offset());
        }
    }
}
