//! What a client asks for. `docs/wire-protocol.md`, "Requests".

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::AccessRequest;
use super::api::Kind;
use super::asking::PublishAsks;
use super::asp::AspRequest;
use super::control::{
    BrokerInfoRequest, BrokerScrubRequest, ChannelCreate, ChannelDelete, ChannelList,
    ChannelResolve, ChannelUpdate, ConsumerReset, ConsumerTarget, HelloRequest, LagRequest,
    NamedChannel, OneChannel,
};
use super::error_code::{ErrorCode, WireError};
use super::forward::LinkForwardRequest;
use super::frame::{Frame, FrameHeader, encode_frame, encode_frame_before};
use super::primitive::{
    BodyError, NONE, Reader, put_blob, put_incarnation, put_name, put_optional_offset, writable,
};
use super::region::{LinkFetchRequest, RegionRequest};
use crate::types::{ChannelName, ConsumerName, Incarnation, LogEpoch, Offset, Timestamp};

/// Largest metadata of a commit, in bytes.
pub const MAX_METADATA_BYTES: usize = 4096;

/// Most parts of an atomic publish.
pub const MAX_ATOMIC_PARTS: usize = 1024;

/// Stands for "the consumer must have no position yet" in `expected_previous`.
const NO_POSITION: u64 = u64::MAX - 1;

/// One request of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Opens a connection.
    Hello(HelloRequest),
    /// Asks for nothing but an answer.
    Ping,
    /// Appends one batch.
    Publish(PublishRequest),
    /// Appends and commits, all or nothing.
    PublishAtomic(PublishAtomicRequest),
    /// Reads whole batches.
    Fetch(FetchRequest),
    /// Fetches what a copy may not have.
    FetchBeyond(Box<FetchBeyondRequest>),
    /// Stores a consumer's position.
    Commit(CommitRequest),
    /// Creates a channel.
    ChannelCreate(ChannelCreate),
    /// Lists channels.
    ChannelList(ChannelList),
    /// Describes a channel.
    ChannelInfo(NamedChannel),
    /// Changes a channel's configuration.
    ChannelUpdate(ChannelUpdate),
    /// Gives an encrypted channel a new key.
    ChannelRotateKey(NamedChannel),
    /// Deletes a channel.
    ChannelDelete(ChannelDelete),
    /// Turns a place into an offset.
    ChannelResolve(ChannelResolve),
    /// Lists the consumers of a channel.
    ConsumerList(OneChannel),
    /// Tells a consumer's position.
    ConsumerPosition(ConsumerTarget),
    /// Moves a consumer.
    ConsumerReset(ConsumerReset),
    /// Lists the lag of consumers.
    ConsumerLag(LagRequest),
    /// Forgets a consumer.
    ConsumerDelete(ConsumerTarget),
    /// Describes the broker.
    BrokerInfo(BrokerInfoRequest),
    /// Has all that is stored checked now.
    BrokerScrub(BrokerScrubRequest),
    /// Asks about organisations, keys and grants, or changes them.
    Access(AccessRequest),
    /// Asks about agents, sessions and tool calls, or changes them.
    Asp(Box<AspRequest>),
    /// Between regions, or about them.
    Region(Box<RegionRequest>),
    /// Reads what is new in the logs that a link follows.
    LinkFetch(LinkFetchRequest),
    /// Carries a request out for another region.
    LinkForward(Box<LinkForwardRequest>),
}

/// Where a batch is to be appended, and under which condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTarget {
    /// The channel.
    pub channel: ChannelName,
    /// The incarnation it must have; `None` takes any, and creates the channel if need be.
    pub incarnation: Option<Incarnation>,
    /// The offset that the first record must get; `None` takes any.
    pub expected_offset: Option<Offset>,
}

/// Body of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// Where to append.
    pub target: PublishTarget,
    /// One produced batch, not looked at yet: `storage-format.md`, "Batch header".
    pub batch: BytesMut,
    /// What version 2 asks for; `None` is version 1, as it is in a part of an atomic publish.
    pub asks: Option<PublishAsks>,
}

/// Body of an atomic publish: at most [`MAX_ATOMIC_PARTS`] parts, applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishAtomicRequest {
    /// The parts.
    pub parts: Vec<AtomicPart>,
    /// What version 2 asks for; `None` is version 1.
    pub asks: Option<PublishAsks>,
}

/// One part of an atomic publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtomicPart {
    /// Appends a batch.
    Publish(PublishRequest),
    /// Stores a consumer's position.
    Commit(AtomicCommit),
}

/// A commit within an atomic publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomicCommit {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
    /// The next offset it will read.
    pub offset: Offset,
    /// The position it must have had.
    pub expected_previous: ExpectedPosition,
    /// Anything the consumer wants to find again, at most [`MAX_METADATA_BYTES`] bytes.
    pub metadata: String,
}

/// Where a fetch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFrom {
    /// At this record.
    Offset(Offset),
    /// At the log start.
    Start,
    /// At the high watermark: only what comes later.
    End,
    /// At the first record whose append time is this or later.
    Time(Timestamp),
}

/// Body of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The channel.
    pub channel: ChannelName,
    /// The incarnation it must have; `None` takes any.
    pub incarnation: Option<Incarnation>,
    /// Where to begin.
    pub from: FetchFrom,
    /// The log epoch of the last batch read, so that a log that was cut and has grown again is
    /// noticed; 0 when nothing was read yet.
    pub last_epoch: LogEpoch,
    /// Bytes of batches to answer with at most; one whole batch always fits.
    pub max_bytes: u32,
    /// Bytes of batches to wait for.
    pub min_bytes: u32,
    /// Longest wait for `min_bytes`.
    pub max_wait_ms: u32,
}

/// What becomes of a read of what a copy does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lacking {
    /// The channel's home is asked.
    #[default]
    ReadHome,
    /// The reader is told.
    Refuse,
}

/// Body of a fetch of what a copy may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchBeyondRequest {
    /// What becomes of what it does not have.
    pub lacking: Lacking,
    /// The record types that the reader wants; none is all.
    pub types: Vec<String>,
    /// What is read.
    pub fetch: FetchRequest,
}

/// Most record types that a fetch names.
pub const MAX_FETCH_TYPES: usize = 100;

/// The position that a consumer must have for a commit to be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpectedPosition {
    /// Any or none.
    #[default]
    Any,
    /// None yet.
    Absent,
    /// Exactly this one.
    At(Offset),
}

/// Body of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    /// The channel.
    pub channel: ChannelName,
    /// The incarnation it must have; `None` takes any.
    pub incarnation: Option<Incarnation>,
    /// The consumer.
    pub consumer: ConsumerName,
    /// The next offset it will read.
    pub offset: Offset,
    /// The log epoch of the last batch read; 0 when unknown.
    pub log_epoch: LogEpoch,
    /// The position it must have had.
    pub expected_previous: ExpectedPosition,
    /// Anything the consumer wants to find again, at most [`MAX_METADATA_BYTES`] bytes.
    pub metadata: String,
}

impl Request {
    /// Reads the request in a frame. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// The [`WireError`] to answer with: an unknown kind or version, or a body that breaks a rule.
    /// The connection stays usable.
    pub fn decode(frame: Frame) -> Result<Self, WireError> {
        let FrameHeader { kind, version, .. } = frame.header;
        let Some(kind) = Kind::from_number(kind) else {
            let text = format!("{kind} is no request kind");
            return Err(WireError::new(ErrorCode::UnknownKind, text).with("kind", kind));
        };
        let api = kind.api();
        if !(api.min_version..=api.max_version).contains(&version) {
            let text = format!(
                "{} version {version} is not among {}..={}",
                api.name, api.min_version, api.max_version
            );
            return Err(WireError::new(ErrorCode::UnsupportedVersion, text)
                .with("kind", kind.number())
                .with("version", version)
                .with("min", api.min_version)
                .with("max", api.max_version));
        }
        Self::decode_body(kind, version, frame.body).map_err(|error| error.to_wire(api.name))
    }

    fn decode_body(kind: Kind, version: u16, body: BytesMut) -> Result<Self, BodyError> {
        Ok(match kind {
            Kind::Hello => Self::Hello(json(&body)?),
            Kind::Ping => {
                Reader::new(body).end()?;
                Self::Ping
            }
            Kind::Publish => Self::Publish(PublishRequest::decode(version, body)?),
            Kind::PublishAtomic => {
                Self::PublishAtomic(PublishAtomicRequest::decode(version, body)?)
            }
            Kind::Fetch => Self::Fetch(FetchRequest::decode(body)?),
            Kind::FetchBeyond => Self::FetchBeyond(Box::new(FetchBeyondRequest::decode(body)?)),
            Kind::Commit => Self::Commit(CommitRequest::decode(body)?),
            Kind::ChannelCreate => {
                let request: ChannelCreate = json(&body)?;
                writable(request.name.clone())?;
                Self::ChannelCreate(request)
            }
            Kind::ChannelList => Self::ChannelList(json(&body)?),
            Kind::ChannelInfo => Self::ChannelInfo(json(&body)?),
            Kind::ChannelUpdate => {
                let request: ChannelUpdate = json(&body)?;
                writable(request.name.clone())?;
                Self::ChannelUpdate(request)
            }
            Kind::ChannelDelete => {
                let request: ChannelDelete = json(&body)?;
                writable(request.name.clone())?;
                Self::ChannelDelete(request)
            }
            Kind::ChannelResolve => Self::ChannelResolve(json(&body)?),
            Kind::ConsumerList => Self::ConsumerList(json(&body)?),
            Kind::ConsumerPosition => Self::ConsumerPosition(json(&body)?),
            Kind::ConsumerReset => Self::ConsumerReset(json(&body)?),
            Kind::ConsumerLag => Self::ConsumerLag(json(&body)?),
            Kind::ConsumerDelete => Self::ConsumerDelete(json(&body)?),
            Kind::BrokerInfo => Self::BrokerInfo(json(&body)?),
            Kind::BrokerScrub => Self::BrokerScrub(json(&body)?),
            Kind::ChannelRotateKey => {
                let request: NamedChannel = json(&body)?;
                writable(request.name.clone())?;
                Self::ChannelRotateKey(request)
            }
            Kind::LinkFetch => Self::LinkFetch(LinkFetchRequest::decode(body)?),
            Kind::LinkForward => Self::LinkForward(Box::new(LinkForwardRequest::decode(body)?)),
            kind => {
                if let Some(request) = AccessRequest::decode(kind, &body) {
                    Self::Access(request?)
                } else if let Some(request) = AspRequest::decode(kind, &body) {
                    Self::Asp(Box::new(request?))
                } else if let Some(request) = RegionRequest::decode(kind, &body) {
                    Self::Region(Box::new(request?))
                } else {
                    return Err(BodyError::Json("no body is known for this kind".to_owned()));
                }
            }
        })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Ping => Kind::Ping,
            Self::Publish(_) => Kind::Publish,
            Self::PublishAtomic(_) => Kind::PublishAtomic,
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
            Self::Access(request) => request.kind(),
            Self::Asp(request) => request.kind(),
            Self::Region(request) => request.kind(),
            Self::LinkFetch(_) => Kind::LinkFetch,
            Self::LinkForward(_) => Kind::LinkForward,
        }
    }

    /// The version of its kind that it is written in.
    #[must_use]
    pub fn version(&self) -> u16 {
        match self {
            Self::Publish(request) => PublishAsks::version(request.asks),
            Self::PublishAtomic(request) => PublishAsks::version(request.asks),
            _ => 1,
        }
    }

    /// Appends the whole frame of the request to `dst`.
    ///
    /// # Panics
    /// When the body has 4 GiB or more; the broker refuses far smaller ones.
    pub fn encode(&self, correlation: u64, dst: &mut BytesMut) {
        let header = FrameHeader::of_version(self.kind(), self.version(), correlation);
        encode_frame(header, dst, |dst| self.encode_body(dst));
    }

    pub(super) fn encode_body(&self, dst: &mut BytesMut) {
        match self {
            Self::Ping => {}
            Self::Publish(request) => request.encode(dst),
            Self::PublishAtomic(request) => request.encode(dst),
            Self::Fetch(request) => request.encode(dst),
            Self::FetchBeyond(request) => request.encode(dst),
            Self::Commit(request) => request.encode(dst),
            Self::Hello(request) => put_json(request, dst),
            Self::ChannelCreate(request) => put_json(request, dst),
            Self::ChannelList(request) => put_json(request, dst),
            Self::ChannelInfo(request) => put_json(request, dst),
            Self::ChannelUpdate(request) => put_json(request, dst),
            Self::ChannelDelete(request) => put_json(request, dst),
            Self::ChannelResolve(request) => put_json(request, dst),
            Self::ConsumerList(request) => put_json(request, dst),
            Self::ConsumerPosition(request) => put_json(request, dst),
            Self::ConsumerReset(request) => put_json(request, dst),
            Self::ConsumerLag(request) => put_json(request, dst),
            Self::ConsumerDelete(request) => put_json(request, dst),
            Self::BrokerInfo(request) => put_json(request, dst),
            Self::BrokerScrub(request) => put_json(request, dst),
            Self::ChannelRotateKey(request) => put_json(request, dst),
            Self::Access(request) => request.encode(dst),
            Self::Asp(request) => request.encode(dst),
            Self::Region(request) => request.encode(dst),
            Self::LinkFetch(request) => request.encode(dst),
            Self::LinkForward(request) => request.encode(dst),
        }
    }
}

impl PublishTarget {
    /// Any incarnation of the channel, at whatever offset comes next.
    #[must_use]
    pub fn any(channel: ChannelName) -> Self {
        Self {
            channel,
            incarnation: None,
            expected_offset: None,
        }
    }

    fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        Ok(Self {
            channel: from.writable_channel()?,
            incarnation: from.optional_incarnation("incarnation")?,
            expected_offset: from.optional_offset("expected_offset")?,
        })
    }

    fn encode(&self, dst: &mut BytesMut) {
        put_name(self.channel.as_str(), dst);
        put_incarnation(self.incarnation, dst);
        put_optional_offset(self.expected_offset, dst);
    }

    fn encode_publish(&self, asks: Option<PublishAsks>, dst: &mut BytesMut) {
        self.encode(dst);
        match asks {
            None => dst.put_u8(0),
            Some(asks) => asks.encode(dst),
        }
    }

    /// Appends the frame of a publish up to its batch; the sender lets the batch follow from where
    /// it lies.
    ///
    /// - `asks`: what version 2 asks for; without it the frame is one of version 1.
    pub fn encode_before(
        &self,
        asks: Option<PublishAsks>,
        correlation: u64,
        batch_bytes: usize,
        dst: &mut BytesMut,
    ) {
        let version = PublishAsks::version(asks);
        let header = FrameHeader::of_version(Kind::Publish, version, correlation);
        encode_frame_before(header, batch_bytes, dst, |dst| {
            self.encode_publish(asks, dst);
        });
    }
}

impl PublishRequest {
    fn encode(&self, dst: &mut BytesMut) {
        self.target.encode_publish(self.asks, dst);
        dst.put_slice(&self.batch);
    }

    fn decode(version: u16, body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let target = PublishTarget::decode(&mut from)?;
        let asks = match version {
            1 => {
                let flags = from.u8("flags")?;
                if flags != 0 {
                    return Err(BodyError::Field {
                        field: "flags",
                        found: u64::from(flags),
                        allowed: "0",
                    });
                }
                None
            }
            _ => Some(PublishAsks::decode(&mut from)?),
        };
        Ok(Self {
            target,
            batch: from.rest(),
            asks,
        })
    }
}

impl PublishAtomicRequest {
    fn decode(version: u16, body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let asks = match version {
            1 => None,
            _ => Some(PublishAsks::decode_atomic(&mut from)?),
        };
        let count = from.u32("part_count")?;
        let count = usize::try_from(count).expect("usize has at least 32 bits");
        if count == 0 {
            return Err(BodyError::Field {
                field: "part_count",
                found: 0,
                allowed: "1 or more",
            });
        }
        if count > MAX_ATOMIC_PARTS {
            return Err(BodyError::Limit {
                field: "part_count",
                found: count,
                limit: MAX_ATOMIC_PARTS,
            });
        }
        let mut parts = Vec::with_capacity(count);
        for part in 0..count {
            let decoded = AtomicPart::decode(&mut from).map_err(Box::new);
            parts.push(decoded.map_err(|source| BodyError::Part { part, source })?);
        }
        from.end()?;
        Ok(Self { parts, asks })
    }

    fn encode(&self, dst: &mut BytesMut) {
        if let Some(asks) = self.asks {
            asks.encode(dst);
        }
        dst.put_u32_le(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        for part in &self.parts {
            match part {
                AtomicPart::Publish(PublishRequest { target, batch, .. }) => {
                    dst.put_u8(1);
                    target.encode(dst);
                    put_blob(batch, dst);
                }
                AtomicPart::Commit(commit) => {
                    dst.put_u8(2);
                    put_name(commit.channel.as_str(), dst);
                    put_name(commit.consumer.as_str(), dst);
                    dst.put_u64_le(commit.offset.0);
                    dst.put_u64_le(commit.expected_previous.number());
                    put_blob(commit.metadata.as_bytes(), dst);
                }
            }
        }
    }
}

impl AtomicPart {
    fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        match from.u8("tag")? {
            1 => Ok(Self::Publish(PublishRequest {
                target: PublishTarget::decode(from)?,
                batch: from.blob("batch")?,
                asks: None,
            })),
            2 => Ok(Self::Commit(AtomicCommit {
                channel: from.channel()?,
                consumer: from.consumer()?,
                offset: Offset(from.u64("offset")?),
                expected_previous: ExpectedPosition::from_number(from.u64("expected_previous")?),
                metadata: metadata(from)?,
            })),
            tag => Err(BodyError::Field {
                field: "tag",
                found: u64::from(tag),
                allowed: "1 (publish) or 2 (commit)",
            }),
        }
    }
}

impl FetchFrom {
    fn decode(kind: u8, value: u64) -> Result<Self, BodyError> {
        match kind {
            1 => Ok(Self::Offset(Offset(value))),
            2 => Ok(Self::Start),
            3 => Ok(Self::End),
            4 => Ok(Self::Time(Timestamp(value.cast_signed()))),
            _ => Err(BodyError::Field {
                field: "from_kind",
                found: u64::from(kind),
                allowed: "1 (offset), 2 (start), 3 (end) or 4 (time)",
            }),
        }
    }

    fn encode(self, dst: &mut BytesMut) {
        let (kind, value) = match self {
            Self::Offset(offset) => (1, offset.0),
            Self::Start => (2, 0),
            Self::End => (3, 0),
            Self::Time(time) => (4, time.0.cast_unsigned()),
        };
        dst.put_u8(kind);
        dst.put_u64_le(value);
    }
}

impl FetchBeyondRequest {
    fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let lacking = match from.u8("lacking")? {
            1 => Lacking::ReadHome,
            2 => Lacking::Refuse,
            found => {
                return Err(BodyError::Field {
                    field: "lacking",
                    found: u64::from(found),
                    allowed: "1 or 2",
                });
            }
        };
        let count = usize::from(from.u16("type_count")?);
        if count > MAX_FETCH_TYPES {
            return Err(BodyError::Limit {
                field: "type_count",
                found: count,
                limit: MAX_FETCH_TYPES,
            });
        }
        let mut types = Vec::with_capacity(count);
        for _ in 0..count {
            types.push(from.text("type")?);
        }
        Ok(Self {
            lacking,
            types,
            fetch: FetchRequest::decode(from.rest())?,
        })
    }

    fn encode(&self, dst: &mut BytesMut) {
        dst.put_u8(match self.lacking {
            Lacking::ReadHome => 1,
            Lacking::Refuse => 2,
        });
        dst.put_u16_le(u16::try_from(self.types.len()).unwrap_or(u16::MAX));
        for one in &self.types {
            put_name(one, dst);
        }
        self.fetch.encode(dst);
    }
}

impl FetchRequest {
    fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let request = Self {
            channel: from.channel()?,
            incarnation: from.optional_incarnation("incarnation")?,
            from: FetchFrom::decode(from.u8("from_kind")?, from.u64("from")?)?,
            last_epoch: LogEpoch(from.u64("last_epoch")?),
            max_bytes: from.u32("max_bytes")?,
            min_bytes: from.u32("min_bytes")?,
            max_wait_ms: from.u32("max_wait_ms")?,
        };
        from.end()?;
        Ok(request)
    }

    fn encode(&self, dst: &mut BytesMut) {
        put_name(self.channel.as_str(), dst);
        put_incarnation(self.incarnation, dst);
        self.from.encode(dst);
        dst.put_u64_le(self.last_epoch.0);
        dst.put_u32_le(self.max_bytes);
        dst.put_u32_le(self.min_bytes);
        dst.put_u32_le(self.max_wait_ms);
    }
}

impl ExpectedPosition {
    fn from_number(number: u64) -> Self {
        match number {
            NONE => Self::Any,
            NO_POSITION => Self::Absent,
            offset => Self::At(Offset(offset)),
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Any => NONE,
            Self::Absent => NO_POSITION,
            Self::At(offset) => offset.0,
        }
    }
}

impl CommitRequest {
    fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let request = Self {
            channel: from.channel()?,
            incarnation: from.optional_incarnation("incarnation")?,
            consumer: from.consumer()?,
            offset: Offset(from.u64("offset")?),
            log_epoch: LogEpoch(from.u64("log_epoch")?),
            expected_previous: ExpectedPosition::from_number(from.u64("expected_previous")?),
            metadata: metadata(&mut from)?,
        };
        from.end()?;
        Ok(request)
    }

    fn encode(&self, dst: &mut BytesMut) {
        put_name(self.channel.as_str(), dst);
        put_incarnation(self.incarnation, dst);
        put_name(self.consumer.as_str(), dst);
        dst.put_u64_le(self.offset.0);
        dst.put_u64_le(self.log_epoch.0);
        dst.put_u64_le(self.expected_previous.number());
        put_blob(self.metadata.as_bytes(), dst);
    }
}

fn metadata(from: &mut Reader) -> Result<String, BodyError> {
    let bytes = from.blob("metadata")?;
    if bytes.len() > MAX_METADATA_BYTES {
        return Err(BodyError::Limit {
            field: "metadata",
            found: bytes.len(),
            limit: MAX_METADATA_BYTES,
        });
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(BodyError::NotUtf8 { field: "metadata" }),
    }
}

/// A JSON body. Names are checked first, so that a bad one gets its own error code.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    /// The names that any control request may hold.
    #[derive(serde::Deserialize)]
    struct Names {
        name: Option<String>,
        channel: Option<String>,
        consumer: Option<String>,
    }
    if let Ok(names) = serde_json::from_slice::<Names>(body) {
        for channel in [names.name, names.channel].into_iter().flatten() {
            ChannelName::parse_any(&channel)?;
        }
        if let Some(consumer) = names.consumer {
            ConsumerName::parse(&consumer)?;
        }
    }
    serde_json::from_slice(body).map_err(|error| BodyError::Json(error.to_string()))
}

pub(in crate::protocol) fn put_json(body: &impl Serialize, dst: &mut BytesMut) {
    serde_json::to_writer(dst.writer(), body).expect("bodies have string keys and memory grows");
}

impl BodyError {
    /// The answer to a request of this kind whose body broke a rule.
    #[must_use]
    pub fn to_wire(&self, kind: &str) -> WireError {
        if let Self::Part { part, source } = self {
            let error = source.to_wire(&format!("{kind}: part {part}"));
            return error.with("part", *part as u64);
        }
        let code = match self {
            Self::Name(_) => ErrorCode::InvalidName,
            Self::Internal { .. } => ErrorCode::InternalTopic,
            Self::Agent(_) => ErrorCode::InvalidAgentReference,
            Self::Limit {
                field: "metadata", ..
            } => ErrorCode::MetadataTooLarge,
            Self::Limit {
                field: "part_count",
                ..
            } => ErrorCode::AtomicTooLarge,
            _ => ErrorCode::InvalidRequest,
        };
        let error = WireError::new(code, format!("{kind}: {self}"));
        match self {
            Self::Name(name) | Self::Agent(name) => error.with("name", name.name.as_str()),
            Self::Internal { name } => error.with("name", name.as_str()),
            Self::Limit {
                field,
                found,
                limit,
            } => error
                .with("field", *field)
                .with("found", Value::from(*found))
                .with("limit", Value::from(*limit)),
            Self::Short { field, .. } | Self::NotUtf8 { field } => error.with("field", *field),
            Self::Field { field, found, .. } => error.with("field", *field).with("found", *found),
            Self::Part { .. } | Self::Trailing { .. } | Self::Json(_) => error,
        }
    }
}

/// A batch as a request carries it; one copy, for callers that hold [`Bytes`].
impl From<(PublishTarget, Bytes)> for PublishRequest {
    fn from((target, batch): (PublishTarget, Bytes)) -> Self {
        Self {
            target,
            batch: BytesMut::from(batch),
            asks: None,
        }
    }
}
