//! Records of the topic `__asp.sessions`, and their way to bytes and back. Every record of a
//! session is numbered, names earlier ones, and has a hash over itself and all before it.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::event::Expired;
use super::event::{
    Constraints, EndedParticipant, EndedStanding, Filed, InvitationLapsed, Invitee, Limits,
    Message, MessageSent, ParticipantLeft, ResponseOverdue, Resumed, SessionEvent,
};
use super::fold::FoldRow;
use crate::asp::chain::{self, Digest, Signature};
use crate::asp::registry::PublicKey;
use crate::asp::write::{Object, Write, array};
use crate::asp::{Knot, Links};
use crate::folding::{self, EVENT_VERSION, EventError, Folded};
use crate::types::{CommitmentId, PrincipalId, SessionId, Timestamp};

/// One record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// What it says.
    pub event: SessionEvent,
    /// Its place in its session; none where it is about all sessions.
    pub place: Option<Place>,
}

/// The place of a record in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The records of the session before it.
    pub links: Links,
    /// Hash of the record and all before it.
    pub hash: Digest,
}

impl SessionRecord {
    /// The record of an event behind those of its session.
    pub(super) fn chain(event: SessionEvent, links: Links, before: &Digest) -> Self {
        let mut bytes = Vec::with_capacity(512);
        write(&event, Some(&links), None, false, &mut bytes);
        let hash = chain::link_hash(before, &bytes);
        let place = Some(Place { links, hash });
        Self { event, place }
    }

    /// A record that is about all sessions.
    pub(super) fn of_all(event: SessionEvent) -> Self {
        Self { event, place: None }
    }

    /// Type of the record.
    #[must_use]
    pub fn record_type(&self) -> &str {
        self.event.record_type()
    }

    /// The session that it is about; none where it is about all, or unknown.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.event.session()
    }

    /// When; none where it is about all, or unknown.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.event.at()
    }

    /// What it names of the records of its session before it.
    #[must_use]
    pub fn links(&self) -> Option<Links> {
        self.place.map(|place| place.links)
    }

    /// Its number in its session, from 0.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.place.map(|place| place.links.number())
    }

    /// Hash of the record and all before it in its session.
    #[must_use]
    pub fn hash(&self) -> Option<Digest> {
        self.place.map(|place| place.hash)
    }

    /// Payload of the record: its canonical form. A message that was read has no payload any
    /// more, as if it were erased.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        let (links, hash) = match &self.place {
            Some(place) => (Some(&place.links), Some(&place.hash)),
            None => (None, None),
        };
        write(&self.event, links, hash, true, &mut bytes);
        bytes
    }

    /// The record that a record of the topic holds. A type this broker does not know gives
    /// [`SessionEvent::Unknown`]; members it does not know are passed over. The payload of a
    /// message is left out.
    ///
    /// # Errors
    /// [`EventError`] when the payload is not that record's JSON, or has a newer version.
    pub fn decode(record_type: &str, payload: &[u8]) -> Result<Self, EventError> {
        match record_type {
            "session.messageSent" => decode_sent(payload),
            "session.created" => chained(record_type, payload, |event| {
                SessionEvent::Created(Box::new(event))
            }),
            "session.participantLeft" => {
                chained(record_type, payload, SessionEvent::ParticipantLeft)
            }
            "session.invitationLapsed" => {
                chained(record_type, payload, SessionEvent::InvitationLapsed)
            }
            "session.responseOverdue" => {
                chained(record_type, payload, SessionEvent::ResponseOverdue)
            }
            "session.resumed" => chained(record_type, payload, SessionEvent::Resumed),
            "session.expired" => chained(record_type, payload, SessionEvent::Expired),
            "session.ended" => chained(record_type, payload, |event| {
                SessionEvent::Ended(Box::new(event))
            }),
            "sessions.filed" => {
                let filed = folding::decode::<Filed>(EVENT_VERSION, record_type, payload)?;
                Ok(Self::of_all(SessionEvent::Filed(filed)))
            }
            "sessions.folded" => {
                let read: FoldedRecord<'_> = read(record_type, payload)?;
                if read.record_type != record_type || read.v != u64::from(EVENT_VERSION) {
                    folding::check_head(EVENT_VERSION, record_type, payload)?;
                }
                Ok(Self::of_all(SessionEvent::Folded(read.part())))
            }
            _ => Ok(unknown(record_type, payload)),
        }
    }
}

/// What all records of sessions have.
#[derive(Deserialize)]
struct Stamp<'a> {
    #[serde(borrow, rename = "type")]
    record_type: Cow<'a, str>,
    v: u64,
    session: SessionId,
    sequence: u64,
    #[serde(default)]
    back: Option<Knot>,
    #[serde(default)]
    jump: Option<Knot>,
    hash: Digest,
}

/// `session.messageSent` in one reading, as a replay reads millions of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentRecord<'a> {
    at: Timestamp,
    #[serde(default)]
    back: Option<Knot>,
    #[serde(default)]
    brings: Option<Invitee>,
    by: PrincipalId,
    #[serde(default)]
    commitment: Option<CommitmentId>,
    digest: Digest,
    hash: Digest,
    #[serde(default)]
    jump: Option<Knot>,
    #[serde(default)]
    key: Option<PublicKey>,
    message: Message,
    sender_sequence: u64,
    sequence: u64,
    session: SessionId,
    #[serde(default)]
    signature: Option<Signature>,
    #[serde(borrow, rename = "type")]
    record_type: Cow<'a, str>,
    v: u64,
}

/// `sessions.folded` in one reading.
#[derive(Deserialize)]
struct FoldedRecord<'a> {
    part: u32,
    parts: u32,
    rows: Vec<FoldRow>,
    #[serde(borrow, rename = "type")]
    record_type: Cow<'a, str>,
    v: u64,
}

impl FoldedRecord<'_> {
    fn part(self) -> Folded<FoldRow> {
        Folded {
            part: self.part,
            parts: self.parts,
            rows: self.rows,
        }
    }
}

fn decode_sent(payload: &[u8]) -> Result<SessionRecord, EventError> {
    const TYPE: &str = "session.messageSent";
    let read: SentRecord<'_> = read(TYPE, payload)?;
    let stamp = Stamp {
        record_type: read.record_type,
        v: read.v,
        session: read.session,
        sequence: read.sequence,
        back: read.back,
        jump: read.jump,
        hash: read.hash,
    };
    let place = stamp.place(TYPE, payload)?;
    if read.message.session != read.session {
        return Err(wrong(
            TYPE,
            "the message is of another session than its record",
        ));
    }
    let sent = MessageSent {
        message: read.message,
        digest: read.digest,
        signature: read.signature,
        key: read.key,
        payload: None,
        sender_sequence: read.sender_sequence,
        brings: read.brings,
        commitment: read.commitment,
        by: read.by,
        at: read.at,
    };
    let event = SessionEvent::MessageSent(Box::new(sent));
    let place = Some(place);
    Ok(SessionRecord { event, place })
}

fn chained<E: DeserializeOwned>(
    record_type: &str,
    payload: &[u8],
    event: impl FnOnce(E) -> SessionEvent,
) -> Result<SessionRecord, EventError> {
    let stamp: Stamp<'_> = read(record_type, payload)?;
    let place = Some(stamp.place(record_type, payload)?);
    let event = event(read(record_type, payload)?);
    Ok(SessionRecord { event, place })
}

/// Reads a record, and says what is wrong about its version before anything else.
fn read<'a, T: Deserialize<'a>>(record_type: &str, payload: &'a [u8]) -> Result<T, EventError> {
    serde_json::from_slice(payload).or_else(|source| {
        folding::check_head(EVENT_VERSION, record_type, payload)?;
        Err(EventError::Json {
            event: record_type.to_owned(),
            source,
        })
    })
}

fn wrong(record_type: &str, what: &str) -> EventError {
    EventError::Json {
        event: record_type.to_owned(),
        source: serde::de::Error::custom(what),
    }
}

impl Stamp<'_> {
    fn place(&self, record_type: &str, payload: &[u8]) -> Result<Place, EventError> {
        if self.record_type != record_type || self.v != u64::from(EVENT_VERSION) {
            folding::check_head(EVENT_VERSION, record_type, payload)?;
        }
        let links = Links {
            back: self.back,
            jump: self.jump,
        };
        let number = links
            .back
            .map_or(Some(0), |back| back.number.checked_add(1));
        if number != Some(self.sequence) {
            return Err(wrong(record_type, "`sequence` does not follow `back`"));
        }
        let hash = self.hash;
        Ok(Place { links, hash })
    }
}

/// What a newer broker wrote about a session keeps its place, so that what follows is linked.
fn unknown(record_type: &str, payload: &[u8]) -> SessionRecord {
    let stamp = serde_json::from_slice::<Stamp<'_>>(payload).ok();
    let place = stamp.as_ref().and_then(|stamp| {
        let links = Links {
            back: stamp.back,
            jump: stamp.jump,
        };
        let hash = stamp.hash;
        (links.number() == stamp.sequence).then_some(Place { links, hash })
    });
    let event = SessionEvent::Unknown {
        record_type: record_type.to_owned(),
        session: stamp.filter(|_| place.is_some()).map(|stamp| stamp.session),
        payload: payload.to_owned(),
    };
    SessionRecord { event, place }
}

/// Writes a record in canonical form.
///
/// - `hash`: none for the bytes that are hashed.
/// - `whole`: with the payload of a message.
fn write(
    event: &SessionEvent,
    links: Option<&Links>,
    hash: Option<&Digest>,
    whole: bool,
    to: &mut Vec<u8>,
) {
    let (back, jump, sequence) = match links {
        Some(links) => (links.back, links.jump, links.number()),
        None => (None, None, 0),
    };
    let (back, jump) = (back.as_ref(), jump.as_ref());
    let record_type = event.record_type();
    let mut object = match event {
        SessionEvent::Unknown { payload, .. } => return to.extend_from_slice(payload),
        SessionEvent::Folded(part) => return write_folded(part, to),
        _ => Object::begin(to),
    };
    match event {
        SessionEvent::Created(event) => {
            object
                .put("at", &event.at)
                .maybe("back", back)
                .put("by", &event.by)
                .maybe("hash", hash)
                .put("invitationMs", &event.invitation_ms)
                .maybe("jump", jump)
                .maybe("limits", some(&event.limits, Limits::is_empty));
            metadata(&event.metadata, &mut object);
            object.put("org", &event.org);
            array(event.participants.iter(), object.member("participants"));
            object
                .put("sequence", &sequence)
                .put("session", &event.session)
                .put("topic", &event.topic)
                .put("ttlMs", &event.ttl_ms);
        }
        SessionEvent::MessageSent(event) => {
            object
                .put("at", &event.at)
                .maybe("back", back)
                .maybe("brings", event.brings.as_ref())
                .put("by", &event.by)
                .maybe("commitment", event.commitment.as_ref())
                .put("digest", &event.digest)
                .maybe("hash", hash)
                .maybe("jump", jump)
                .maybe("key", event.key.as_ref())
                .put("message", &event.message)
                .maybe("payload", event.payload.as_ref().filter(|_| whole))
                .put("senderSequence", &event.sender_sequence)
                .put("sequence", &sequence)
                .put("session", &event.message.session)
                .maybe("signature", event.signature.as_ref());
        }
        SessionEvent::ParticipantLeft(ParticipantLeft {
            session,
            agent,
            by,
            at,
        }) => {
            object
                .put("agent", agent)
                .put("at", at)
                .maybe("back", back)
                .put("by", by)
                .maybe("hash", hash)
                .maybe("jump", jump)
                .put("sequence", &sequence)
                .put("session", session);
        }
        SessionEvent::InvitationLapsed(InvitationLapsed { session, agent, at }) => {
            object
                .put("agent", agent)
                .put("at", at)
                .maybe("back", back)
                .maybe("hash", hash)
                .maybe("jump", jump)
                .put("sequence", &sequence)
                .put("session", session);
        }
        SessionEvent::ResponseOverdue(ResponseOverdue {
            session,
            message,
            at,
        }) => {
            object
                .put("at", at)
                .maybe("back", back)
                .maybe("hash", hash)
                .maybe("jump", jump)
                .put("message", message)
                .put("sequence", &sequence)
                .put("session", session);
        }
        SessionEvent::Resumed(Resumed { session, by, at }) => {
            object
                .put("at", at)
                .maybe("back", back)
                .put("by", by)
                .maybe("hash", hash)
                .maybe("jump", jump)
                .put("sequence", &sequence)
                .put("session", session);
        }
        SessionEvent::Expired(Expired { session, at }) => {
            object
                .put("at", at)
                .maybe("back", back)
                .maybe("hash", hash)
                .maybe("jump", jump)
                .put("sequence", &sequence)
                .put("session", session);
        }
        SessionEvent::Ended(event) => {
            object
                .put("accepted", &event.accepted)
                .put("all", &event.all)
                .put("at", &event.at)
                .maybe("back", back)
                .put("by", &event.by)
                .put("createdAt", &event.created_at)
                .put("expiresAt", &event.expires_at)
                .maybe("hash", hash)
                .maybe("jump", jump)
                .maybe("limits", some(&event.limits, Limits::is_empty));
            metadata(&event.metadata, &mut object);
            object.put("org", &event.org);
            array(event.participants.iter(), object.member("participants"));
            object
                .put("sequence", &sequence)
                .put("session", &event.session)
                .put("state", &event.state)
                .put("topic", &event.topic);
        }
        SessionEvent::Filed(filed) => {
            array(filed.rows.iter(), object.member("rows"));
        }
        SessionEvent::Folded(_) | SessionEvent::Unknown { .. } => {}
    }
    object.put("type", record_type).put("v", &EVENT_VERSION);
    object.end();
}

fn write_folded(part: &Folded<FoldRow>, to: &mut Vec<u8>) {
    let mut object = Object::begin(to);
    object
        .put("part", &u64::from(part.part))
        .put("parts", &u64::from(part.parts));
    serde_json::to_writer(object.member("rows"), &part.rows).expect("memory takes it");
    object
        .put("type", "sessions.folded")
        .put("v", &EVENT_VERSION);
    object.end();
}

fn some<T>(value: &T, is_empty: fn(&T) -> bool) -> Option<&T> {
    Some(value).filter(|value| !is_empty(value))
}

fn metadata(metadata: &serde_json::Map<String, serde_json::Value>, object: &mut Object<'_>) {
    if !metadata.is_empty() {
        let text = serde_jcs::to_string(metadata).expect("was checked when it was taken");
        object.member("metadata").extend_from_slice(text.as_bytes());
    }
}

impl Message {
    /// The canonical form that the digest covers.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        self.write(&mut bytes);
        bytes
    }
}

impl Write for Message {
    fn write(&self, to: &mut Vec<u8>) {
        let mut object = Object::begin(to);
        object
            .maybe(
                "constraints",
                some(&self.constraints, Constraints::is_empty),
            )
            .put("id", &self.id)
            .maybe("inReplyTo", self.in_reply_to.as_ref())
            .put("payload", &self.payload)
            .put("performative", &self.performative)
            .maybe("recipient", self.recipient.as_ref())
            .put("sender", &self.sender)
            .put("session", &self.session)
            .maybe("type", self.message_type.as_ref());
        object.end();
    }
}

impl Write for Constraints {
    fn write(&self, to: &mut Vec<u8>) {
        let mut object = Object::begin(to);
        if !self.allowed_performatives.is_empty() {
            let allowed = self.allowed_performatives.iter();
            array(allowed, object.member("allowedPerformatives"));
        }
        object
            .maybe("maxResponseTimeMs", self.max_response_time_ms.as_ref())
            .maybe("requiredTrust", self.required_trust.as_ref());
        object.end();
    }
}

impl Write for Limits {
    fn write(&self, to: &mut Vec<u8>) {
        let mut object = Object::begin(to);
        object
            .maybe("maxMessages", self.max_messages.as_ref())
            .maybe("maxParticipants", self.max_participants.as_ref())
            .maybe("maxPayloadBytes", self.max_payload_bytes.as_ref());
        object.end();
    }
}

impl Write for Invitee {
    fn write(&self, to: &mut Vec<u8>) {
        let mut object = Object::begin(to);
        object
            .put("agent", &self.agent)
            .put("org", &self.org)
            .put("role", &self.role);
        object.end();
    }
}

impl Write for Links {
    fn write(&self, to: &mut Vec<u8>) {
        let mut object = Object::begin(to);
        object
            .maybe("back", self.back.as_ref())
            .maybe("jump", self.jump.as_ref());
        object.end();
    }
}

impl Write for EndedStanding {
    fn write(&self, to: &mut Vec<u8>) {
        serde_json::to_writer(to, self).expect("memory takes it");
    }
}

impl Write for EndedParticipant {
    fn write(&self, to: &mut Vec<u8>) {
        let mut object = Object::begin(to);
        object
            .put("agent", &self.agent)
            .maybe("back", self.links.back.as_ref())
            .maybe("jump", self.links.jump.as_ref())
            .put("messages", &self.messages)
            .put("org", &self.org)
            .put("role", &self.role)
            .put("standing", &self.standing);
        object.end();
    }
}

impl Write for (SessionId, crate::types::Offset) {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(b'[');
        self.0.write(to);
        to.push(b',');
        self.1.write(to);
        to.push(b']');
    }
}
