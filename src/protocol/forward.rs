//! A request that one region carries out for another. `docs/regions.md`, "link.forward".

use bytes::{BufMut, Bytes, BytesMut};

use super::api::Kind;
use super::error_code::WireError;
use super::frame::{Frame, FrameHeader};
use super::primitive::{BodyError, Reader, put_name};
use super::request::Request;
use super::response::{Response, ResponseError};
use crate::types::{KeyId, OrgName, RegionName};

/// A request that is to be carried out where what it is about lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkForwardRequest {
    /// Who asks, as the region that was asked knows them.
    pub principal: u32,
    /// The key they showed.
    pub key: Option<KeyId>,
    /// Their organisation.
    pub org: OrgName,
    /// The region that was asked. A forwarded request is not forwarded again.
    pub forwarded_by: RegionName,
    /// Number of its kind.
    pub kind: u16,
    /// Version of its kind.
    pub version: u16,
    /// Its body, with channels as the broker keeps them.
    pub body: BytesMut,
}

/// What its home has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkForwardResponse {
    /// The region that has carried it out.
    pub region: RegionName,
    /// How many regions hold what was published synced; 0 where that does not apply.
    pub held: u32,
    /// The body of its answer, in the version of the request.
    pub body: Bytes,
}

impl LinkForwardRequest {
    /// A request that is to be carried out for somebody.
    ///
    /// - `principal`, `key`, `org`: who asks.
    /// - `forwarded_by`: the region that was asked.
    #[must_use]
    pub fn new(
        principal: u32,
        key: Option<KeyId>,
        org: OrgName,
        forwarded_by: RegionName,
        request: &Request,
    ) -> Self {
        let mut body = BytesMut::new();
        request.encode_body(&mut body);
        Self {
            principal,
            key,
            org,
            forwarded_by,
            kind: request.kind().number(),
            version: request.version(),
            body,
        }
    }

    /// The request that is to be carried out.
    ///
    /// # Errors
    /// What to answer instead, as [`Request::decode`] says.
    pub fn request(&mut self) -> Result<Request, WireError> {
        Request::decode(Frame {
            header: FrameHeader {
                kind: self.kind,
                version: self.version,
                correlation: 0,
            },
            body: self.body.split(),
        })
    }

    pub(super) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        Ok(Self {
            principal: from.u32("principal")?,
            key: from.optional_key("key")?,
            org: from.org("org")?,
            forwarded_by: from.region("forwarded_by")?,
            kind: from.u16("kind")?,
            version: from.u16("version")?,
            body: from.rest(),
        })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        dst.put_u32_le(self.principal);
        let key = self.key.map(|key| key.to_string());
        put_name(key.as_deref().unwrap_or(""), dst);
        put_name(self.org.as_str(), dst);
        put_name(self.forwarded_by.as_str(), dst);
        dst.put_u16_le(self.kind);
        dst.put_u16_le(self.version);
        dst.put_slice(&self.body);
    }
}

impl LinkForwardResponse {
    /// The answer of `region` to a request that it has carried out.
    #[must_use]
    pub fn of(region: RegionName, response: &Response) -> Self {
        let held = match response {
            Response::PublishAt(_, at) | Response::PublishAtomicAt(_, at) => at.held,
            _ => 0,
        };
        let mut body = BytesMut::new();
        response.encode_body(&mut body);
        Self {
            region,
            held,
            body: body.freeze(),
        }
    }

    /// The answer as whoever asked is to have it.
    ///
    /// - `kind`, `version`: of the request.
    ///
    /// # Errors
    /// [`ResponseError`] where the body is none of these.
    pub fn response(&self, kind: Kind, version: u16) -> Result<Response, ResponseError> {
        let header = FrameHeader::of_version(kind, version, 0).response();
        let body = BytesMut::from(&self.body[..]);
        Response::decode(Frame { header, body })
    }

    pub(super) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        Ok(Self {
            region: from.region("region")?,
            held: from.u32("held")?,
            body: from.rest().freeze(),
        })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        put_name(self.region.as_str(), dst);
        dst.put_u32_le(self.held);
        dst.put_slice(&self.body);
    }
}
