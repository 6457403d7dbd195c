//! What is recorded on the topic `__asp.registry`.

use serde::{Deserialize, Serialize};

use super::agents::AgentRow;
use super::profile::{Availability, Profile, PublicKey};
use crate::folding::{self, EventError, Folded};
use crate::types::{AgentId, AgentName, PrincipalId, Timestamp};

/// A fact about an agent, one JSON record of the topic `__asp.registry`. The record's type is the
/// member `type`; the member `v` is the version, now 1.
#[expect(
    clippy::large_enum_variant,
    reason = "events are made, written and dropped one at a time"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum AgentEvent {
    /// A name was used that nobody had registered.
    #[serde(rename = "agent.placeheld")]
    Placeheld(Placeheld),
    /// An agent was registered, for the first time or again.
    #[serde(rename = "agent.registered")]
    Registered(Registered),
    /// An agent left the registry; its identity stays.
    #[serde(rename = "agent.deregistered")]
    Deregistered(Fact),
    /// An agent said whether it is there.
    #[serde(rename = "agent.availabilityChanged")]
    AvailabilityChanged(AvailabilityChanged),
    /// An agent got its first public key, or one after a revocation.
    #[serde(rename = "agent.keyEnrolled")]
    KeyEnrolled(KeyFact),
    /// An agent's public key was replaced.
    #[serde(rename = "agent.keyRotated")]
    KeyRotated(KeyFact),
    /// An agent's public key was taken away.
    #[serde(rename = "agent.keyRevoked")]
    KeyRevoked(Fact),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "agents.folded")]
    Folded(Folded<AgentRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`AgentEvent::Placeheld`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placeheld {
    /// The identity that the name has from now on.
    pub agent: AgentId,
    /// The name.
    pub name: AgentName,
    /// Who used it.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// See [`AgentEvent::Registered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The agent: the one that has the name, or a new one.
    pub agent: AgentId,
    /// The name.
    pub name: AgentName,
    /// All that it says of itself.
    pub profile: Profile,
    /// Who registered it.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// Something happened to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// The agent.
    pub agent: AgentId,
    /// Who did it.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// See [`AgentEvent::AvailabilityChanged`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityChanged {
    /// The agent.
    pub agent: AgentId,
    /// How it is now.
    pub availability: Availability,
    /// Who said so.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// Something happened to an agent's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyFact {
    /// The agent.
    pub agent: AgentId,
    /// Its key from now on.
    pub key: PublicKey,
    /// Who did it.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

impl AgentEvent {
    /// Type of the record that holds this event.
    #[must_use]
    pub fn record_type(&self) -> &str {
        match self {
            Self::Placeheld(_) => "agent.placeheld",
            Self::Registered(_) => "agent.registered",
            Self::Deregistered(_) => "agent.deregistered",
            Self::AvailabilityChanged(_) => "agent.availabilityChanged",
            Self::KeyEnrolled(_) => "agent.keyEnrolled",
            Self::KeyRotated(_) => "agent.keyRotated",
            Self::KeyRevoked(_) => "agent.keyRevoked",
            Self::Folded(_) => "agents.folded",
            Self::Unknown { record_type, .. } => record_type,
        }
    }

    /// Payload of the record that holds this event.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Unknown { payload, .. } => payload.clone(),
            known => folding::encode(known),
        }
    }

    /// The event that a record of the topic holds. A type this broker does not know gives
    /// [`AgentEvent::Unknown`]; members it does not know are passed over.
    ///
    /// # Errors
    /// [`EventError`] when the payload is not that event's JSON, or has a newer version.
    pub fn decode(record_type: &str, payload: &[u8]) -> Result<Self, EventError> {
        match record_type {
            "agent.placeheld"
            | "agent.registered"
            | "agent.deregistered"
            | "agent.availabilityChanged"
            | "agent.keyEnrolled"
            | "agent.keyRotated"
            | "agent.keyRevoked"
            | "agents.folded" => folding::decode(record_type, payload),
            _ => Ok(Self::Unknown {
                record_type: record_type.to_owned(),
                payload: payload.to_owned(),
            }),
        }
    }
}
