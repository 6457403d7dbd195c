//! Control requests and single data requests as typed methods of the client.

use std::time::Duration;

use tokio::time::Instant;

use super::error::RequestError;
use super::handle::{Client, Retry};
use crate::protocol::control::{
    BrokerInfo, BrokerInfoRequest, BrokerScrubRequest, ChannelCreate, ChannelCreated,
    ChannelDelete, ChannelDeleted, ChannelInfo, ChannelList, ChannelPage, ChannelResolve,
    ChannelUpdate, ConfigChange, ConsumerDeleted, ConsumerLagRow, ConsumerReset, ConsumerTarget,
    LagRequest, NamedChannel, OneChannel, Place, Resolved, Scrub,
};
use crate::protocol::{
    CommitRequest, ErrorCode, ExpectedPosition, FetchBeyondRequest, FetchRequest, FetchResponse,
    Request, Response,
};
use crate::types::{ChannelName, ConsumerName, Offset};

/// Takes the answer of the right kind out of a response.
macro_rules! answer {
    ($response:expr, $kind:ident) => {
        match $response {
            Response::$kind(answer) => Ok(answer),
            _ => Err(RequestError::Unexpected {
                kind: crate::protocol::Kind::$kind.name(),
            }),
        }
    };
}
pub(super) use answer;

impl Client {
    /// Asks the broker for nothing but an answer, and tells how long that took.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn ping(&self) -> Result<Duration, RequestError> {
        let start = Instant::now();
        match self.call(&Request::Ping, Retry::Safe).await? {
            Response::Pong => Ok(start.elapsed()),
            _ => Err(RequestError::Unexpected { kind: "ping" }),
        }
    }

    /// Describes the broker.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn broker_info(&self) -> Result<BrokerInfo, RequestError> {
        let request = Request::BrokerInfo(BrokerInfoRequest {});
        answer!(self.call(&request, Retry::Safe).await?, BrokerInfo)
    }

    /// Has all that is stored checked now; answers where the scrubber is. What it finds shows in
    /// [`Client::broker_info`] and [`Client::channel_info`].
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn scrub(&self) -> Result<Scrub, RequestError> {
        let request = Request::BrokerScrub(BrokerScrubRequest {});
        answer!(self.call(&request, Retry::Safe).await?, BrokerScrub)
    }

    /// Creates a channel; fields that `config` leaves out take their defaults. With `if_not_exists`
    /// an existing channel is as good, and left as it is.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_EXISTS`, `INVALID_CONFIG` and `INTERNAL_TOPIC`.
    pub async fn create_channel(
        &self,
        name: &ChannelName,
        config: ConfigChange,
        if_not_exists: bool,
    ) -> Result<ChannelCreated, RequestError> {
        let create = ChannelCreate {
            name: name.clone(),
            config,
            if_not_exists,
            home: None,
            residency: None,
        };
        self.create_channel_with(create).await
    }

    /// Creates a channel, with all that may be asked for it: the region where it lives, and those
    /// that may hold it.
    ///
    /// # Errors
    /// As [`Client::create_channel`]; also `UNKNOWN_REGION`, `REGION_UNREACHABLE` and `NO_CONSENT`.
    pub async fn create_channel_with(
        &self,
        create: ChannelCreate,
    ) -> Result<ChannelCreated, RequestError> {
        let retry = match create.if_not_exists {
            true => Retry::Safe,
            false => Retry::Unsafe,
        };
        let request = Request::ChannelCreate(create);
        answer!(self.call(&request, retry).await?, ChannelCreate)
    }

    /// Lists one page of channels.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn list_channels(&self, request: ChannelList) -> Result<ChannelPage, RequestError> {
        let request = Request::ChannelList(request);
        answer!(self.call(&request, Retry::Safe).await?, ChannelList)
    }

    /// All channels whose names start with `prefix`, internal topics left out, in name order.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn channels(&self, prefix: &str) -> Result<Vec<ChannelInfo>, RequestError> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page = self
                .list_channels(ChannelList {
                    prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
                    cursor,
                    ..ChannelList::default()
                })
                .await?;
            all.extend(page.channels);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Describes a channel.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`.
    pub async fn channel_info(&self, name: &ChannelName) -> Result<ChannelInfo, RequestError> {
        let request = Request::ChannelInfo(NamedChannel { name: name.clone() });
        answer!(self.call(&request, Retry::Safe).await?, ChannelInfo)
    }

    /// Changes the fields of a channel's configuration that `config` names.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND` and `INVALID_CONFIG`.
    pub async fn update_channel(
        &self,
        name: &ChannelName,
        config: ConfigChange,
    ) -> Result<ChannelInfo, RequestError> {
        let request = Request::ChannelUpdate(ChannelUpdate {
            name: name.clone(),
            config,
        });
        answer!(self.call(&request, Retry::Safe).await?, ChannelUpdate)
    }

    /// Gives an encrypted channel a new key: what comes is encrypted with it. Not sent again after
    /// a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`, `NOT_ENCRYPTED` and
    /// `KEY_UNAVAILABLE`.
    pub async fn rotate_data_key(&self, name: &ChannelName) -> Result<ChannelInfo, RequestError> {
        let request = Request::ChannelRotateKey(NamedChannel { name: name.clone() });
        answer!(self.call(&request, Retry::Unsafe).await?, ChannelRotateKey)
    }

    /// Deletes a channel, its records and its consumers. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`.
    pub async fn delete_channel(&self, name: &ChannelName) -> Result<ChannelDeleted, RequestError> {
        let request = Request::ChannelDelete(ChannelDelete {
            name: name.clone(),
            incarnation: None,
        });
        answer!(self.call(&request, Retry::Unsafe).await?, ChannelDelete)
    }

    /// Turns a place in a channel into an offset.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`, `OFFSET_OUT_OF_RANGE` and
    /// `OFFSET_TRIMMED`.
    pub async fn resolve(
        &self,
        channel: &ChannelName,
        at: Place,
    ) -> Result<Resolved, RequestError> {
        let request = Request::ChannelResolve(ChannelResolve {
            channel: channel.clone(),
            at,
        });
        answer!(self.call(&request, Retry::Safe).await?, ChannelResolve)
    }

    /// The consumers of a channel, in name order.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`.
    pub async fn consumers(
        &self,
        channel: &ChannelName,
    ) -> Result<Vec<ConsumerLagRow>, RequestError> {
        let request = Request::ConsumerList(OneChannel {
            channel: channel.clone(),
        });
        let answer = answer!(self.call(&request, Retry::Safe).await?, ConsumerList)?;
        Ok(answer.consumers)
    }

    /// A consumer's position and lag.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND` and `CONSUMER_NOT_FOUND`.
    pub async fn consumer_position(
        &self,
        channel: &ChannelName,
        consumer: &ConsumerName,
    ) -> Result<ConsumerLagRow, RequestError> {
        let request = Request::ConsumerPosition(ConsumerTarget {
            channel: channel.clone(),
            consumer: consumer.clone(),
        });
        answer!(self.call(&request, Retry::Safe).await?, ConsumerPosition)
    }

    /// Moves a consumer, creating it if need be.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`, `OFFSET_OUT_OF_RANGE` and
    /// `OFFSET_TRIMMED`.
    pub async fn reset_consumer(
        &self,
        channel: &ChannelName,
        consumer: &ConsumerName,
        to: Place,
    ) -> Result<ConsumerLagRow, RequestError> {
        let request = Request::ConsumerReset(ConsumerReset {
            channel: channel.clone(),
            consumer: consumer.clone(),
            to,
        });
        answer!(self.call(&request, Retry::Unsafe).await?, ConsumerReset)
    }

    /// The lag of the consumers of one channel, or of all.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`.
    pub async fn consumer_lag(
        &self,
        channel: Option<&ChannelName>,
    ) -> Result<Vec<ConsumerLagRow>, RequestError> {
        let request = Request::ConsumerLag(LagRequest {
            channel: channel.cloned(),
        });
        let answer = answer!(self.call(&request, Retry::Safe).await?, ConsumerLag)?;
        Ok(answer.consumers)
    }

    /// Forgets a consumer. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND` and `CONSUMER_NOT_FOUND`.
    pub async fn delete_consumer(
        &self,
        channel: &ChannelName,
        consumer: &ConsumerName,
    ) -> Result<ConsumerDeleted, RequestError> {
        let request = Request::ConsumerDelete(ConsumerTarget {
            channel: channel.clone(),
            consumer: consumer.clone(),
        });
        answer!(self.call(&request, Retry::Unsafe).await?, ConsumerDelete)
    }

    /// Stores a consumer's position, and tells what is stored now.
    ///
    /// After a lost connection the commit is sent again; when it then turns out that the first one
    /// had been carried out, that is success.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `POSITION_MISMATCH` when the position was not
    /// `expected_previous`, `OFFSET_OUT_OF_RANGE`, `OFFSET_TRIMMED`, `DIVERGED`,
    /// `CHANNEL_RECREATED` and `METADATA_TOO_LARGE`.
    pub async fn commit(&self, request: CommitRequest) -> Result<Offset, RequestError> {
        let (offset, expected) = (request.offset, request.expected_previous);
        let request = Request::Commit(request);
        let deadline = self.deadline();
        let start = Instant::now();
        let mut repeated = false;
        loop {
            match self.call_until(&request, Retry::Unsafe, deadline).await {
                Ok((response, _)) => return Ok(answer!(response, Commit)?.offset),
                Err(RequestError::Interrupted(_)) if Instant::now() < deadline => repeated = true,
                Err(RequestError::Server(error))
                    if repeated
                        && expected != ExpectedPosition::Any
                        && error.is(ErrorCode::PositionMismatch)
                        && error.detail_u64("actual") == Some(offset.0) =>
                {
                    return Ok(offset);
                }
                Err(RequestError::Timeout { .. }) => {
                    let after = start.elapsed();
                    return Err(RequestError::Timeout { after });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One fetch: whole stored batches as they came, not checked. Most callers want a
    /// [`Consumer`](super::Consumer).
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`, `OFFSET_OUT_OF_RANGE`,
    /// `OFFSET_TRIMMED`, `DIVERGED`, `DAMAGED` and `CHANNEL_RECREATED`.
    pub async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, RequestError> {
        let wait = Duration::from_millis(u64::from(request.max_wait_ms));
        let deadline = self.deadline() + wait;
        let request = Request::Fetch(request);
        let (response, _) = self.call_until(&request, Retry::Safe, deadline).await?;
        answer!(response, Fetch)
    }

    /// One fetch of what the broker's copy of a channel may not have: its home is asked for that, or the
    /// caller is told.
    ///
    /// # Errors
    /// As for [`Client::fetch`], and `REGION_UNREACHABLE` and `COPY_PARTIAL`.
    pub async fn fetch_beyond(
        &self,
        request: FetchBeyondRequest,
    ) -> Result<FetchResponse, RequestError> {
        let wait = Duration::from_millis(u64::from(request.fetch.max_wait_ms));
        let deadline = self.deadline() + wait;
        let request = Request::FetchBeyond(Box::new(request));
        let (response, _) = self.call_until(&request, Retry::Safe, deadline).await?;
        answer!(response, FetchBeyond)
    }
}
