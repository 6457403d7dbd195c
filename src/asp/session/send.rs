//! A message to be sent, with all that can be judged without the state.

use super::body::check_body;
use super::error::SendError;
use super::event::{Invitee, Message, SessionEvent};
use super::one::Taken;
use super::table::Performative;
use crate::asp::Canonical;
use crate::asp::chain::{Digest, Signature, message_digest, payload_digest, verify_signature};
use crate::asp::commitment::Offered;
use crate::asp::registry::PublicKey;
use crate::types::{CommitmentId, PrincipalId};

/// A message to be sent. Its digests and its signature are judged before the state is asked, as
/// they take longer than all the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    pub(super) message: Message,
    pub(super) payload: Option<Canonical>,
    pub(super) digest: Digest,
    pub(super) signature: Option<Signature>,
    pub(super) key: Option<PublicKey>,
    pub(super) brings: Option<Invitee>,
    pub(super) offered: Option<Offered>,
    pub(super) commitment: Option<CommitmentId>,
    pub(super) by: PrincipalId,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// To be recorded.
    New(SessionEvent),
    /// It was taken before, and nothing is to be recorded.
    Before(Taken),
}

impl Send {
    /// A message that is not signed.
    ///
    /// - `message`: its digest of the payload is set here.
    /// - `payload`: `null` is no payload.
    /// - `by`: the principal that sends it.
    ///
    /// # Errors
    /// [`SendError::Body`] when the message has no application type and its payload is not the
    /// body of its performative; [`SendError::Offer`] when it describes a commitment wrongly.
    pub fn new(
        mut message: Message,
        payload: Option<Canonical>,
        by: PrincipalId,
    ) -> Result<Self, SendError> {
        let payload = payload.filter(|payload| !payload.is_null());
        let mut offered = None;
        if message.message_type.is_none() {
            check_body(message.performative, payload.as_ref())?;
            if let (Performative::Commit, Some(payload)) = (message.performative, &payload) {
                offered = Offered::of(payload)?;
            }
        }
        let commitment = offered.as_ref();
        let commitment = commitment.map(|offered| offered.id(message.session, message.id));
        message.payload = payload_digest(payload.as_ref());
        let digest = message_digest(&message.canonical());
        Ok(Self {
            message,
            payload,
            digest,
            signature: None,
            key: None,
            brings: None,
            offered,
            commitment,
            by,
        })
    }

    /// The same, of a DELEGATE, with the agent that it brings in.
    #[must_use]
    pub fn bringing(mut self, invitee: Invitee) -> Self {
        self.brings = Some(invitee);
        self
    }

    /// The same with its signature judged: an agent that has a key signs all it sends.
    ///
    /// - `key`: the public key of the sender, as long as the message is not recorded.
    ///
    /// # Errors
    /// [`SendError::Unsigned`], [`SendError::SignedWithoutKey`], [`SendError::ForgedSignature`].
    pub fn signed(
        mut self,
        signature: Option<Signature>,
        key: Option<PublicKey>,
    ) -> Result<Self, SendError> {
        let agent = self.message.sender;
        match (&signature, &key) {
            (None, None) => {}
            (None, Some(key)) => return Err(SendError::Unsigned { agent, key: *key }),
            (Some(_), None) => return Err(SendError::SignedWithoutKey { agent }),
            (Some(signature), Some(key)) => verify_signature(key, &self.digest, signature)?,
        }
        (self.signature, self.key) = (signature, key);
        Ok(self)
    }

    /// What the sender supplies.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The commitment that it offers.
    #[must_use]
    pub fn offered(&self) -> Option<&Offered> {
        self.offered.as_ref()
    }

    /// The id of the commitment that it offers.
    #[must_use]
    pub fn commitment(&self) -> Option<CommitmentId> {
        self.commitment
    }

    /// SHA-256 over what the sender supplies.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The key that its signature was checked with. Whoever records the message makes sure that it
    /// is still the sender's.
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        self.key
    }
}
