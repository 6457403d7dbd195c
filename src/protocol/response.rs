//! What the broker answers. `docs/wire-protocol.md`, "Requests".

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;

use super::access::AccessResponse;
use super::api::Kind;
use super::asking::{PublishAsks, Whereabouts};
use super::asp::AspResponse;
use super::control::{
    BrokerInfo, ChannelCreated, ChannelDeleted, ChannelInfo, ChannelPage, ConsumerDeleted,
    ConsumerLagRow, Consumers, HelloResponse, Resolved, Scrub,
};
use super::error_code::WireError;
use super::forward::LinkForwardResponse;
use super::frame::{
    ERROR_KIND, Frame, FrameHeader, RESPONSE_BIT, encode_frame, encode_frame_before,
};
use super::primitive::{BodyError, Reader};
use super::region::{LinkFetchResponse, RegionResponse};
use super::request::put_json;
use crate::types::{Durability, Incarnation, LogEpoch, Offset, Timestamp};

/// One answer of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// Names, versions, limits.
    Hello(HelloResponse),
    /// To a ping.
    Pong,
    /// Offsets of a batch.
    Publish(PublishResponse),
    /// The same, and where it is: version 2.
    PublishAt(PublishResponse, Whereabouts),
    /// Offsets of the parts.
    PublishAtomic(PublishAtomicResponse),
    /// The same, and where they are: version 2.
    PublishAtomicAt(PublishAtomicResponse, Whereabouts),
    /// Whole batches.
    Fetch(FetchResponse),
    /// The same, also from another region.
    FetchBeyond(FetchResponse),
    /// The position stored.
    Commit(CommitResponse),
    /// The channel that was created, or was there.
    ChannelCreate(ChannelCreated),
    /// Channels.
    ChannelList(ChannelPage),
    /// One channel.
    ChannelInfo(ChannelInfo),
    /// The channel as it is now.
    ChannelUpdate(ChannelInfo),
    /// The channel as it is now.
    ChannelRotateKey(ChannelInfo),
    /// The channel that is gone.
    ChannelDelete(ChannelDeleted),
    /// An offset.
    ChannelResolve(Resolved),
    /// Consumers of a channel.
    ConsumerList(Consumers),
    /// One consumer.
    ConsumerPosition(ConsumerLagRow),
    /// The consumer as it is now.
    ConsumerReset(ConsumerLagRow),
    /// Consumers of one channel or of all.
    ConsumerLag(Consumers),
    /// The consumer that is gone.
    ConsumerDelete(ConsumerDeleted),
    /// The broker.
    BrokerInfo(BrokerInfo),
    /// Where the scrubber was when a pass was asked for.
    BrokerScrub(Scrub),
    /// Organisations, keys or grants.
    Access(Box<AccessResponse>),
    /// Agents, sessions or tool calls.
    Asp(Box<AspResponse>),
    /// Regions.
    Region(Box<RegionResponse>),
    /// What is new in the logs that a link follows.
    LinkFetch(LinkFetchResponse),
    /// What the home of a channel, or of a session, has answered.
    LinkForward(Box<LinkForwardResponse>),
    /// The request was refused or failed.
    Error(WireError),
}

/// Where a batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishResponse {
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// When it was appended.
    pub append_time: Timestamp,
    /// The log epoch it was stamped with.
    pub log_epoch: LogEpoch,
    /// The incarnation of the channel.
    pub incarnation: Incarnation,
    /// The durability reached.
    pub level: Durability,
    /// Whether it had been appended before: a retry of a known sequence.
    pub duplicate: bool,
}

/// Where the parts of an atomic publish went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishAtomicResponse {
    /// One for each publish part, in order.
    pub published: Vec<PublishResponse>,
    /// The position of each commit part, in order.
    pub committed: Vec<Offset>,
}

/// Everything in a fetch answer but the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchHead {
    /// The incarnation of the channel.
    pub incarnation: Incarnation,
    /// Lowest offset that may still be read.
    pub log_start: Offset,
    /// Everything below may be read.
    pub high_watermark: Offset,
    /// Offset that the next record will get.
    pub log_end: Offset,
    /// The offset that `from` stood for; records below it in the first batch are not asked for.
    pub from_offset: Offset,
    /// The log epoch now.
    pub log_epoch: LogEpoch,
}

/// Body of a fetch answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse {
    /// What stands before the batches.
    pub head: FetchHead,
    /// Whole stored batches, end to end: `storage-format.md`, "Batch header". Empty when the wait
    /// ended without any.
    pub batches: Bytes,
}

/// Body of a commit answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitResponse {
    /// The position stored.
    pub offset: Offset,
}

/// Why a frame is not an answer that this side understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The kind is that of no known response.
    #[error("{kind:#06x} is no kind of response")]
    UnknownKind {
        /// The number found.
        kind: u16,
    },
    /// The version is not one that was asked for.
    #[error("the response to {kind} has version {version}, which was not asked for")]
    UnsupportedVersion {
        /// Name of the kind.
        kind: &'static str,
        /// The version found.
        version: u16,
    },
    /// The body breaks a rule of its layout.
    #[error("the response to {kind}: {error}")]
    Body {
        /// Name of the kind.
        kind: &'static str,
        /// The rule.
        error: BodyError,
    },
}

impl Response {
    /// Reads the answer in a frame. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`ResponseError`] when the frame is no answer that this side understands.
    pub fn decode(frame: Frame) -> Result<Self, ResponseError> {
        let FrameHeader { kind, version, .. } = frame.header;
        if kind == ERROR_KIND {
            let name = "any request with an error";
            return match (version, serde_json::from_slice(&frame.body)) {
                (1, Ok(error)) => Ok(Self::Error(error)),
                (1, Err(error)) => Err(ResponseError::Body {
                    kind: name,
                    error: BodyError::Json(error.to_string()),
                }),
                _ => Err(ResponseError::UnsupportedVersion {
                    kind: name,
                    version,
                }),
            };
        }
        let request = (kind & RESPONSE_BIT != 0)
            .then(|| Kind::from_number(kind & !RESPONSE_BIT))
            .flatten()
            .ok_or(ResponseError::UnknownKind { kind })?;
        let api = request.api();
        let kind = api.name;
        if !(api.min_version..=api.max_version).contains(&version) {
            return Err(ResponseError::UnsupportedVersion { kind, version });
        }
        let decoded = Self::decode_body(request, version, frame.body);
        decoded.map_err(|error| ResponseError::Body { kind, error })
    }

    fn decode_body(kind: Kind, version: u16, body: BytesMut) -> Result<Self, BodyError> {
        Ok(match kind {
            Kind::Hello => Self::Hello(json(&body)?),
            Kind::Ping => {
                Reader::new(body).end()?;
                Self::Pong
            }
            Kind::Publish => {
                let mut from = Reader::new(body);
                let response = PublishResponse::decode(&mut from)?;
                let at = match version {
                    1 => None,
                    _ => Some(Whereabouts::decode(&mut from)?),
                };
                from.end()?;
                match at {
                    None => Self::Publish(response),
                    Some(at) => Self::PublishAt(response, at),
                }
            }
            Kind::PublishAtomic => {
                let mut from = Reader::new(body);
                let response = PublishAtomicResponse::decode(&mut from)?;
                let at = match version {
                    1 => None,
                    _ => Some(Whereabouts::decode(&mut from)?),
                };
                from.end()?;
                match at {
                    None => Self::PublishAtomic(response),
                    Some(at) => Self::PublishAtomicAt(response, at),
                }
            }
            Kind::Fetch => Self::Fetch(FetchResponse::decode(body)?),
            Kind::FetchBeyond => Self::FetchBeyond(FetchResponse::decode(body)?),
            Kind::Commit => {
                let mut from = Reader::new(body);
                let offset = Offset(from.u64("offset")?);
                from.end()?;
                Self::Commit(CommitResponse { offset })
            }
            Kind::ChannelCreate => Self::ChannelCreate(json(&body)?),
            Kind::ChannelList => Self::ChannelList(json(&body)?),
            Kind::ChannelInfo => Self::ChannelInfo(json(&body)?),
            Kind::ChannelUpdate => Self::ChannelUpdate(json(&body)?),
            Kind::ChannelDelete => Self::ChannelDelete(json(&body)?),
            Kind::ChannelResolve => Self::ChannelResolve(json(&body)?),
            Kind::ConsumerList => Self::ConsumerList(json(&body)?),
            Kind::ConsumerPosition => Self::ConsumerPosition(json(&body)?),
            Kind::ConsumerReset => Self::ConsumerReset(json(&body)?),
            Kind::ConsumerLag => Self::ConsumerLag(json(&body)?),
            Kind::ConsumerDelete => Self::ConsumerDelete(json(&body)?),
            Kind::BrokerInfo => Self::BrokerInfo(json(&body)?),
            Kind::BrokerScrub => Self::BrokerScrub(json(&body)?),
            Kind::ChannelRotateKey => Self::ChannelRotateKey(json(&body)?),
            Kind::LinkFetch => Self::LinkFetch(LinkFetchResponse::decode(body)?),
            Kind::LinkForward => Self::LinkForward(Box::new(LinkForwardResponse::decode(body)?)),
            kind => {
                if let Some(response) = AccessResponse::decode(kind, &body) {
                    Self::Access(Box::new(response?))
                } else if let Some(response) = AspResponse::decode(kind, &body) {
                    Self::Asp(Box::new(response?))
                } else if let Some(response) = RegionResponse::decode(kind, &body) {
                    Self::Region(Box::new(response?))
                } else {
                    return Err(BodyError::Json("no body is known for this kind".to_owned()));
                }
            }
        })
    }

    /// The kind of the request it answers; `None` for an error, which answers any.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Hello(_) => Kind::Hello,
            Self::Pong => Kind::Ping,
            Self::Publish(_) | Self::PublishAt(..) => Kind::Publish,
            Self::PublishAtomic(_) | Self::PublishAtomicAt(..) => Kind::PublishAtomic,
            Self::Fetch(_) => Kind::Fetch,
            Self::FetchBeyond(_) => Kind::FetchBeyond,
            Self::Commit(_) => Kind::Commit,
            Self::ChannelCreate(_) => Kind::ChannelCreate,
            Self::ChannelList(_) => Kind::ChannelList,
            Self::ChannelInfo(_) => Kind::ChannelInfo,
            Self::ChannelUpdate(_) => Kind::ChannelUpdate,
            Self::ChannelDelete(_) => Kind::ChannelDelete,
            Self::ChannelResolve(_) => Kind::ChannelResolve,
            Self::ConsumerList(_) => Kind::ConsumerList,
            Self::ConsumerPosition(_) => Kind::ConsumerPosition,
            Self::ConsumerReset(_) => Kind::ConsumerReset,
            Self::ConsumerLag(_) => Kind::ConsumerLag,
            Self::ConsumerDelete(_) => Kind::ConsumerDelete,
            Self::BrokerInfo(_) => Kind::BrokerInfo,
            Self::BrokerScrub(_) => Kind::BrokerScrub,
            Self::ChannelRotateKey(_) => Kind::ChannelRotateKey,
            Self::Access(response) => response.kind(),
            Self::Asp(response) => response.kind(),
            Self::Region(response) => response.kind(),
            Self::LinkFetch(_) => Kind::LinkFetch,
            Self::LinkForward(_) => Kind::LinkForward,
            Self::Error(_) => return None,
        })
    }

    /// The version of its kind that it is written in: that of its request.
    #[must_use]
    pub fn version(&self) -> u16 {
        match self {
            Self::PublishAt(..) | Self::PublishAtomicAt(..) => {
                PublishAsks::version(Some(PublishAsks::default()))
            }
            _ => 1,
        }
    }

    /// Appends the whole frame of the answer to the request with this correlation id.
    ///
    /// # Panics
    /// When the body has 4 GiB or more; answers are bounded far below.
    pub fn encode(&self, correlation: u64, dst: &mut BytesMut) {
        let header = match self.kind() {
            Some(kind) => FrameHeader::of_version(kind, self.version(), correlation).response(),
            None => FrameHeader::error(correlation),
        };
        encode_frame(header, dst, |dst| self.encode_body(dst));
    }

    pub(super) fn encode_body(&self, dst: &mut BytesMut) {
        match self {
            Self::Pong => {}
            Self::Publish(response) => response.encode(dst),
            Self::PublishAt(response, at) => {
                response.encode(dst);
                at.encode(dst);
            }
            Self::PublishAtomic(response) => response.encode(dst),
            Self::PublishAtomicAt(response, at) => {
                response.encode(dst);
                at.encode(dst);
            }
            Self::Fetch(response) | Self::FetchBeyond(response) => {
                response.head.encode(dst);
                dst.put_slice(&response.batches);
            }
            Self::Commit(response) => dst.put_u64_le(response.offset.0),
            Self::Hello(response) => put_json(response, dst),
            Self::ChannelCreate(response) => put_json(response, dst),
            Self::ChannelList(response) => put_json(response, dst),
            Self::ChannelInfo(response) | Self::ChannelUpdate(response) => put_json(response, dst),
            Self::ChannelDelete(response) => put_json(response, dst),
            Self::ChannelResolve(response) => put_json(response, dst),
            Self::ConsumerList(response) | Self::ConsumerLag(response) => put_json(response, dst),
            Self::ConsumerPosition(response) | Self::ConsumerReset(response) => {
                put_json(response, dst);
            }
            Self::ConsumerDelete(response) => put_json(response, dst),
            Self::BrokerInfo(response) => put_json(response, dst),
            Self::BrokerScrub(response) => put_json(response, dst),
            Self::ChannelRotateKey(response) => put_json(response, dst),
            Self::Access(response) => response.encode(dst),
            Self::Asp(response) => response.encode(dst),
            Self::Region(response) => response.encode(dst),
            Self::LinkFetch(response) => response.encode(dst),
            Self::LinkForward(response) => response.encode(dst),
            Self::Error(error) => put_json(error, dst),
        }
    }
}

impl PublishResponse {
    fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        Ok(Self {
            first_offset: Offset(from.u64("first_offset")?),
            last_offset: Offset(from.u64("last_offset")?),
            append_time: Timestamp(from.i64("append_time")?),
            log_epoch: LogEpoch(from.u64("log_epoch")?),
            incarnation: from.incarnation("incarnation")?,
            level: {
                let level = from.u8("level")?;
                Durability::from_number(level).ok_or(BodyError::Field {
                    field: "level",
                    found: u64::from(level),
                    allowed: "1 (written) or 2 (synced)",
                })?
            },
            duplicate: match from.u8("duplicate")? {
                0 => false,
                1 => true,
                other => {
                    return Err(BodyError::Field {
                        field: "duplicate",
                        found: u64::from(other),
                        allowed: "0 or 1",
                    });
                }
            },
        })
    }

    fn encode(&self, dst: &mut BytesMut) {
        dst.put_u64_le(self.first_offset.0);
        dst.put_u64_le(self.last_offset.0);
        dst.put_i64_le(self.append_time.0);
        dst.put_u64_le(self.log_epoch.0);
        dst.put_u128_le(self.incarnation.0);
        dst.put_u8(self.level as u8);
        dst.put_u8(u8::from(self.duplicate));
    }
}

impl PublishAtomicResponse {
    fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        let mut published = Vec::new();
        for _ in 0..from.u32("publish_count")? {
            published.push(PublishResponse::decode(from)?);
        }
        let mut committed = Vec::new();
        for _ in 0..from.u32("commit_count")? {
            committed.push(Offset(from.u64("offset")?));
        }
        Ok(Self {
            published,
            committed,
        })
    }

    fn encode(&self, dst: &mut BytesMut) {
        let count = |rows: usize| u32::try_from(rows).expect("parts are bounded");
        dst.put_u32_le(count(self.published.len()));
        for row in &self.published {
            row.encode(dst);
        }
        dst.put_u32_le(count(self.committed.len()));
        for offset in &self.committed {
            dst.put_u64_le(offset.0);
        }
    }
}

impl FetchHead {
    fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        Ok(Self {
            incarnation: from.incarnation("incarnation")?,
            log_start: Offset(from.u64("log_start")?),
            high_watermark: Offset(from.u64("high_watermark")?),
            log_end: Offset(from.u64("log_end")?),
            from_offset: Offset(from.u64("from_offset")?),
            log_epoch: LogEpoch(from.u64("log_epoch")?),
        })
    }

    fn encode(&self, dst: &mut BytesMut) {
        dst.put_u128_le(self.incarnation.0);
        dst.put_u64_le(self.log_start.0);
        dst.put_u64_le(self.high_watermark.0);
        dst.put_u64_le(self.log_end.0);
        dst.put_u64_le(self.from_offset.0);
        dst.put_u64_le(self.log_epoch.0);
    }

    /// Appends the frame of a fetch answer up to its batches; the sender lets `batches_bytes` bytes
    /// of them follow from where they lie.
    ///
    /// # Panics
    /// When the batches have 4 GiB or more; a fetch is bounded far below.
    pub fn encode_before(&self, correlation: u64, batches_bytes: usize, dst: &mut BytesMut) {
        let header = FrameHeader::request(Kind::Fetch, correlation).response();
        encode_frame_before(header, batches_bytes, dst, |dst| self.encode(dst));
    }
}

impl FetchResponse {
    fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        Ok(Self {
            head: FetchHead::decode(&mut from)?,
            batches: from.rest().freeze(),
        })
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    super::json_body::read(body)
}
