//! What an agent says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::types::AgentName;

/// All that a registration says; it replaces what the one before said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// What the agent is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Version of the agent's software.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// What it can do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<AgentName>,
    /// Protocols that it speaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
    /// Schemas that it understands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// What it may decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority_level: Option<String>,
    /// The largest deal that it may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_transaction: Option<Amount>,
    /// Whether it is there.
    pub availability: Availability,
    /// Where it can be reached otherwise, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, String>,
    /// The application's own words.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// In the smallest unit of the currency.
    pub value: u64,
    /// Three capital letters.
    pub currency: String,
}

/// Whether an agent is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Availability {
    /// In one word.
    pub status: Status,
    /// Its time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Time that it takes to answer, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time_ms: Option<u64>,
}

/// Whether an agent is there, the best first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It answers.
    #[default]
    Online,
    /// It answers, later.
    Busy,
    /// It may come back.
    Away,
    /// It does not answer.
    Offline,
}

/// An Ed25519 public key, shown as `ed25519:` and 64 hexadecimal digits in lower case. Whether it
/// is a point of the curve is not known here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// Text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is `ed25519:` and 64 hexadecimal digits in lower case")]
pub struct InvalidPublicKey;

/// A profile that breaks a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProfile {
    /// Something is too large, or there is too much of it.
    #[error("{member} has {found} {unit}, and at most {limit} are allowed")]
    TooLarge {
        /// Name of the member, as in JSON.
        member: &'static str,
        /// What is counted: bytes or entries.
        unit: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The currency is not one.
    #[error("currency `{0}` is not three capital letters")]
    Currency(String),
}

impl Profile {
    /// Checks what somebody wants to register.
    ///
    /// # Errors
    /// [`InvalidProfile`] for the first member that breaks a limit.
    pub fn check(&self) -> Result<(), InvalidProfile> {
        bytes("description", &self.description, 4096)?;
        bytes("version", &self.version, 64)?;
        entries("capabilities", self.capabilities.len(), 256)?;
        for (member, texts) in [("protocols", &self.protocols), ("schemas", &self.schemas)] {
            entries(member, texts.len(), 64)?;
            texts.iter().try_for_each(|text| bytes(member, text, 256))?;
        }
        if let Some(level) = &self.authority_level {
            bytes("authorityLevel", level, 64)?;
        }
        if let Some(Amount { currency, .. }) = &self.max_transaction
            && (currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()))
        {
            return Err(InvalidProfile::Currency(
                currency.chars().take(16).collect(),
            ));
        }
        self.availability.check()?;
        entries("endpoints", self.endpoints.len(), 16)?;
        for (name, url) in &self.endpoints {
            bytes("endpoints", name, 256)?;
            bytes("endpoints", url, 2048)?;
        }
        let metadata = serde_json::to_vec(&self.metadata).map_or(usize::MAX, |json| json.len());
        within("metadata", "bytes", metadata, 16 * 1024)
    }
}

impl Availability {
    /// Checks a heartbeat.
    ///
    /// # Errors
    /// [`InvalidProfile`] when the time zone is too long.
    pub fn check(&self) -> Result<(), InvalidProfile> {
        let timezone = self.timezone.as_deref().unwrap_or_default();
        bytes("availability.timezone", timezone, 64)
    }
}

fn bytes(member: &'static str, text: &str, limit: usize) -> Result<(), InvalidProfile> {
    within(member, "bytes", text.len(), limit)
}

fn entries(member: &'static str, found: usize, limit: usize) -> Result<(), InvalidProfile> {
    within(member, "entries", found, limit)
}

fn within(
    member: &'static str,
    unit: &'static str,
    found: usize,
    limit: usize,
) -> Result<(), InvalidProfile> {
    if found <= limit {
        return Ok(());
    }
    Err(InvalidProfile::TooLarge {
        member,
        unit,
        found,
        limit,
    })
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ed25519:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let digits = text.strip_prefix("ed25519:").ok_or(InvalidPublicKey)?;
        crate::asp::hex::decode(digits)
            .map(Self)
            .ok_or(InvalidPublicKey)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::types::from_text(from)
    }
}
