//! A session judged from the raw records of its topic: whether each is what was written, and
//! follows from those before it. docs/asp.md, "What verify checks".

use serde_json::{Map, Value};

use super::event::{MessageSent, SessionEvent};
use super::record::SessionRecord;
use super::sessions::Sessions;
use super::table::State;
use crate::asp::chain::{
    Digest, ForgedSignature, link_hash, message_digest, payload_digest, verify_signature,
};
use crate::asp::{Canonical, Knot, Links, NotCanonical, Thread};
use crate::types::{MessageId, Offset, SessionId};

/// Judges the records of one session, in their order, from its first.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    sessions: Sessions,
    session: Option<SessionId>,
    thread: Thread,
    hash: Digest,
    messages: u64,
    signed: u64,
    erased: Vec<u64>,
}

/// The first record of a session that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {sequence} of the session does not fit: {what}")]
pub struct ChainFault {
    /// Its number in the session, counted and not taken from the record.
    pub sequence: u64,
    /// The message, where the record still names one.
    pub message: Option<MessageId>,
    /// What does not fit.
    pub what: Box<Misfit>,
}

/// What does not fit in a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It is JSON without a canonical form.
    #[error("it cannot be read: {0}")]
    NotCanonical(#[from] NotCanonical),
    /// It is another spelling of what was written.
    #[error("its bytes are not its canonical form")]
    Spelling,
    /// It is of another session.
    #[error("it is of session {found}")]
    Session {
        /// The session that it names.
        found: SessionId,
    },
    /// It has another number.
    #[error("it has the number {found}")]
    Sequence {
        /// The number that it has.
        found: u64,
    },
    /// It names other records before it than there are.
    #[error("it names other records before it than there are")]
    Links,
    /// Its hash is of another record, or of another before it.
    #[error("its hash is {found}, and {computed} was computed")]
    Hash {
        /// The hash that it has.
        found: Digest,
        /// The hash of what it holds.
        computed: Digest,
    },
    /// Its digest is of another message.
    #[error("the digest of its message is {found}, and {computed} was computed")]
    Digest {
        /// The digest that it has.
        found: Digest,
        /// The digest of what it holds.
        computed: Digest,
    },
    /// Its payload is another than was sent.
    #[error("the digest of its payload is {found}, and {computed} was computed")]
    Payload {
        /// The digest that it has.
        found: Digest,
        /// The digest of what it holds.
        computed: Digest,
    },
    /// It has a payload that nothing vouches for.
    #[error("it has a payload, and no message")]
    StrayPayload,
    /// It has a signature or a key without the other.
    #[error("it has a signature or a key, and not the other")]
    HalfSigned,
    /// Its signature is another's.
    #[error(transparent)]
    Signature(#[from] ForgedSignature),
    /// It cannot follow in the state before it.
    #[error("it cannot follow: {0}")]
    State(&'static str),
}

impl Verifier {
    /// Judges the next record.
    ///
    /// - `offset`: that of the record on its topic, where it is known; then the records that later
    ///   ones name are judged by their offsets too, and not by their numbers alone.
    /// - `record_type`, `bytes`: type and payload of the record.
    ///
    /// # Errors
    /// [`ChainFault`] when it does not fit. Nothing is known of what comes behind it.
    pub fn record(
        &mut self,
        offset: Option<Offset>,
        record_type: &str,
        bytes: &[u8],
    ) -> Result<(), ChainFault> {
        let mut message = None;
        self.judge(offset, record_type, bytes, &mut message)
            .map_err(|what| ChainFault {
                sequence: self.records(),
                message,
                what: Box::new(what),
            })
    }

    /// Records judged so far, all of which fit.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.thread.len()
    }

    /// Messages among them.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Messages among them that are signed, each by the key that its record names.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed
    }

    /// Numbers of the records whose payload was erased. The chain holds without them.
    #[must_use]
    pub fn erased(&self) -> &[u64] {
        &self.erased
    }

    /// Hash of the last one, which stands for all of them.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The session, once its first record is judged.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Where the session stands.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        let session = self.sessions.session(self.session?)?;
        Some(session.state)
    }

    fn judge(
        &mut self,
        offset: Option<Offset>,
        record_type: &str,
        bytes: &[u8],
        message: &mut Option<MessageId>,
    ) -> Result<(), Misfit> {
        let unreadable = |error: &dyn std::fmt::Display| Misfit::Unreadable(error.to_string());
        let text = std::str::from_utf8(bytes).map_err(|error| unreadable(&error))?;
        let value = crate::asp::canonical::parse(text)?;
        *message = named(&value);
        if Canonical::of(&value)?.as_str() != text {
            return Err(Misfit::Spelling);
        }
        let record = SessionRecord::decode(record_type, bytes).map_err(|error| {
            let source = std::error::Error::source(&error);
            source.map_or_else(|| unreadable(&error), |source| unreadable(&source))
        })?;
        let place = record
            .place
            .ok_or_else(|| unreadable(&"it has no place in a session"))?;
        let session = record.session();
        if let Some(found) = session.filter(|found| self.session.is_some_and(|own| own != *found)) {
            return Err(Misfit::Session { found });
        }
        let found = place.links.number();
        if found != self.records() {
            return Err(Misfit::Sequence { found });
        }
        if !self.has_named(&place.links) {
            return Err(Misfit::Links);
        }
        let Value::Object(mut members) = value else {
            return Err(unreadable(&"it is no object"));
        };
        let payload = members.remove("payload");
        self.judge_hash(&mut members, place.hash)?;
        let is_erased = match &record.event {
            SessionEvent::MessageSent(sent) => judge_message(sent, &members, payload.as_ref())?,
            SessionEvent::Unknown { .. } => false,
            _ if payload.is_some() => return Err(Misfit::StrayPayload),
            _ => false,
        };
        let at = offset.unwrap_or(UNKNOWN);
        self.sessions
            .step(&record.event, place.hash, at)
            .map_err(Misfit::State)?;
        if let SessionEvent::MessageSent(sent) = &record.event {
            self.messages += 1;
            self.signed += u64::from(sent.signature.is_some());
        }
        if is_erased {
            self.erased.push(self.records());
        }
        self.session = session;
        self.thread.push(at);
        self.hash = place.hash;
        Ok(())
    }

    fn has_named(&self, links: &Links) -> bool {
        let is_same = |found: Option<Knot>, wanted: Option<Knot>| match (found, wanted) {
            (Some(found), Some(wanted)) if wanted.offset == UNKNOWN => {
                found.number == wanted.number
            }
            _ => found == wanted,
        };
        let wanted = self.thread.links();
        is_same(links.back, wanted.back) && is_same(links.jump, wanted.jump)
    }

    fn judge_hash(&self, members: &mut Map<String, Value>, found: Digest) -> Result<(), Misfit> {
        members.remove("hash");
        let text = canonical(members)?;
        let computed = link_hash(&self.hash, text.as_bytes());
        if computed == found {
            return Ok(());
        }
        Err(Misfit::Hash { found, computed })
    }
}

/// A message that is judged by its record alone: what was said, and its payload where that was not
/// erased.
///
/// - `bytes`: payload of the record.
///
/// # Errors
/// [`Misfit`] when it is no record of a message as it is written, or its digests or its signature
/// are those of something else. Its hash is over the record before it too, and is not judged.
pub(in crate::asp) fn judge_alone(
    bytes: &[u8],
) -> Result<(MessageSent, Option<Canonical>), Misfit> {
    let unreadable = |error: &dyn std::fmt::Display| Misfit::Unreadable(error.to_string());
    let text = std::str::from_utf8(bytes).map_err(|error| unreadable(&error))?;
    let value = crate::asp::canonical::parse(text)?;
    if text != Canonical::of(&value)?.as_str() {
        return Err(Misfit::Spelling);
    }
    let record = SessionRecord::decode("session.messageSent", bytes);
    let record = record.map_err(|error| unreadable(&error))?;
    let (SessionEvent::MessageSent(sent), Value::Object(mut members)) = (record.event, value)
    else {
        return Err(unreadable(&"it is no message"));
    };
    let payload = members.remove("payload");
    judge_message(&sent, &members, payload.as_ref())?;
    let payload = payload.as_ref().map(Canonical::of).transpose()?;
    Ok((*sent, payload))
}

/// The offset of a record of which it is not known.
const UNKNOWN: Offset = Offset(u64::MAX);

fn named(record: &Value) -> Option<MessageId> {
    record.get("message")?.get("id")?.as_str()?.parse().ok()
}

fn canonical(value: &impl serde::Serialize) -> Result<String, Misfit> {
    serde_jcs::to_string(value).map_err(|error| Misfit::Unreadable(error.to_string()))
}

/// Whether the payload of a message that fits was erased.
fn judge_message(
    sent: &MessageSent,
    members: &Map<String, Value>,
    payload: Option<&Value>,
) -> Result<bool, Misfit> {
    let (found, text) = (sent.digest, canonical(&members.get("message"))?);
    let computed = message_digest(text.as_bytes());
    if found != computed {
        return Err(Misfit::Digest { found, computed });
    }
    let found = sent.message.payload;
    if let Some(payload) = payload {
        let computed = payload_digest(Some(&Canonical::of(payload)?));
        if found != computed {
            return Err(Misfit::Payload { found, computed });
        }
        if payload.is_null() {
            return Err(Misfit::Spelling);
        }
    }
    match (&sent.key, &sent.signature) {
        (None, None) => {}
        (Some(key), Some(signature)) => verify_signature(key, &sent.digest, signature)?,
        _ => return Err(Misfit::HalfSigned),
    }
    Ok(payload.is_none() && found != payload_digest(None))
}
