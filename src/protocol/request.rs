//! What a client asks for. `docs/wire-protocol.md`, "Requests".

mod commit;
mod fetch;
mod publish;

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::commit::{CommitRequest, ExpectedPosition};
pub use self::fetch::{FetchBeyondRequest, FetchFrom, FetchRequest, Lacking, MAX_FETCH_TYPES};
pub use self::publish::{
    AtomicCommit, AtomicPart, MAX_ATOMIC_PARTS, PublishAtomicRequest, PublishRequest, PublishTarget,
};
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
use super::frame::{Frame, FrameHeader, encode_frame};
use super::primitive::{BodyError, Reader, writable};
use super::region::{LinkFetchRequest, RegionRequest};
use crate::types::{ChannelName, ConsumerName};

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
    super::json_body::read(body)
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
