//! What is recorded on the topic `__asp.registry`.

use serde::{Deserialize, Serialize};

use super::agents::AgentRow;
use super::profile::{Availability, Profile, PublicKey};
use crate::folding::{self, Folded};
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

folding::topic_event! {
    AgentEvent {
        Placeheld = "agent.placeheld",
        Registered = "agent.registered",
        Deregistered = "agent.deregistered",
        AvailabilityChanged = "agent.availabilityChanged",
        KeyEnrolled = "agent.keyEnrolled",
        KeyRotated = "agent.keyRotated",
        KeyRevoked = "agent.keyRevoked",
        Folded = "agents.folded",
    }
}
