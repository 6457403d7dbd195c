//! The card of an agent: what A2A 1.0 calls an AgentCard, with what this registry knows besides.
//! docs/asp.md, "Agent card".

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::agents::Agent;
use super::profile::{Availability, PublicKey};
use crate::asp::TrustScore;
use crate::types::{AgentId, OrgName};

/// Version of the A2A protocol whose card this is, and that an interface without another speaks.
pub const A2A_VERSION: &str = "1.0";

/// Endpoints by this name are A2A interfaces: `a2a` or `a2a.` and the binding, in small letters.
const A2A: &str = "a2a";

/// What an agent takes and gives, as media types: messages here are JSON.
const MODES: [&str; 1] = ["application/json"];

/// The card of an agent, to be written as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentCard<'a> {
    /// Its name, unique within the organisation.
    pub name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// Version of its software.
    pub version: &'a str,
    /// Where it can be reached over A2A itself.
    pub supported_interfaces: Vec<Interface<'a>>,
    /// Its organisation.
    pub provider: Provider<'a>,
    /// Parts of A2A that it has; none is known here.
    pub capabilities: Capabilities,
    /// What it takes.
    pub default_input_modes: [&'static str; 1],
    /// What it gives.
    pub default_output_modes: [&'static str; 1],
    /// What it can do.
    pub skills: Vec<Skill<'a>>,
    /// Its identity.
    pub agent_id: AgentId,
    /// Its organisation.
    pub organization: &'a str,
    /// Protocols that it speaks.
    pub protocols: &'a [String],
    /// Schemas that it understands.
    pub schemas: &'a [String],
    /// What it may decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority_level: Option<&'a str>,
    /// The largest deal that it may make, in the smallest unit of the currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_transaction_value: Option<u64>,
    /// The currency of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<&'a str>,
    /// How far it is trusted, 0 to 1.
    pub trust_score: TrustScore,
    /// Whether it is there.
    pub availability: &'a Availability,
    /// Where it can be reached, by name.
    pub endpoints: &'a BTreeMap<String, String>,
    /// The key that checks its signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Jwk>,
}

/// Where an agent can be reached over A2A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface<'a> {
    /// The address.
    pub url: &'a str,
    /// `JSONRPC`, `GRPC`, `HTTP+JSON`, or another.
    pub protocol_binding: String,
    /// Version of A2A.
    pub protocol_version: &'static str,
}

/// Whose agent it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Provider<'a> {
    /// The organisation's name.
    pub organization: &'a str,
    /// Its address among agents.
    pub url: String,
}

/// Parts of A2A that need not be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Whether it streams over A2A.
    pub streaming: bool,
    /// Whether it calls back over A2A.
    pub push_notifications: bool,
}

/// Something that an agent can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skill<'a> {
    /// The capability.
    pub id: &'a str,
    /// The same: capabilities have no other name.
    pub name: &'a str,
    /// The same.
    pub description: &'a str,
    /// The words of the capability, between its dots.
    pub tags: Vec<&'a str>,
}

/// An Ed25519 public key as JSON Web Key (RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// The curve.
    pub crv: &'static str,
    /// The type of key.
    pub kty: &'static str,
    /// The 32 bytes in base64url, without padding.
    pub x: String,
}

impl From<&PublicKey> for Jwk {
    fn from(key: &PublicKey) -> Self {
        Self {
            crv: "Ed25519",
            kty: "OKP",
            x: URL_SAFE_NO_PAD.encode(key.0),
        }
    }
}

impl Agent {
    /// The agent's card.
    ///
    /// - `org`: the organisation whose agent it is.
    /// - `trust_score`: its score now.
    #[must_use]
    pub fn card<'a>(&'a self, org: &'a OrgName, trust_score: TrustScore) -> AgentCard<'a> {
        let profile = &self.profile;
        let interfaces = profile.endpoints.iter().filter_map(|(name, url)| {
            let binding = match name.strip_prefix(A2A)? {
                "" => "JSONRPC",
                binding => binding.strip_prefix('.')?,
            };
            Some(Interface {
                url,
                protocol_binding: binding.to_uppercase(),
                protocol_version: A2A_VERSION,
            })
        });
        let skills = profile.capabilities.iter().map(|capability| Skill {
            id: capability.as_str(),
            name: capability.as_str(),
            description: capability.as_str(),
            tags: capability.as_str().split('.').collect(),
        });
        AgentCard {
            name: self.name.as_str(),
            description: &profile.description,
            version: &profile.version,
            supported_interfaces: interfaces.collect(),
            provider: Provider {
                organization: org.as_str(),
                url: format!("agent://{org}"),
            },
            capabilities: Capabilities::default(),
            default_input_modes: MODES,
            default_output_modes: MODES,
            skills: skills.collect(),
            agent_id: self.agent,
            organization: org.as_str(),
            protocols: &profile.protocols,
            schemas: &profile.schemas,
            authority_level: profile.authority_level.as_deref(),
            max_transaction_value: profile.max_transaction.as_ref().map(|most| most.value),
            currency: (profile.max_transaction.as_ref()).map(|most| most.currency.as_str()),
            trust_score,
            availability: &profile.availability,
            endpoints: &profile.endpoints,
            public_key: self.key.as_ref().map(Jwk::from),
        }
    }
}
