//! The hello of a connection.

use serde::{Deserialize, Serialize};

use crate::types::{Incarnation, KeyId, LogEpoch, OrgName, PrincipalId};

/// Opens a connection. Debug output shows nothing of the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HelloRequest {
    /// What the client calls itself; for logs and listings.
    pub client: String,
    /// Version of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The API key of who connects; needed where the broker asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// Oldest protocol version the client speaks.
    pub min_version: u16,
    /// Newest protocol version the client speaks, inclusive.
    pub max_version: u16,
}

impl std::fmt::Debug for HelloRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HelloRequest")
            .field("client", &self.client)
            .field("version", &self.version)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("versions", &(self.min_version..=self.max_version))
            .finish()
    }
}

/// What the broker says of itself on a new connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloResponse {
    /// Name of the software.
    pub broker: String,
    /// Its version.
    pub version: String,
    /// The protocol versions it speaks, inclusive; the newest common one is spoken.
    pub protocol: VersionRange,
    /// The request kinds it knows.
    pub kinds: Vec<KindRow>,
    /// What it takes at most.
    pub limits: Limits,
    /// Identity of its data directory.
    pub directory_id: Incarnation,
    /// Its log epoch: raised at every start.
    pub epoch: LogEpoch,
    /// Who the broker takes the client for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalRow>,
}

/// Who acts on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrincipalRow {
    /// The number that is stamped on what they publish.
    pub id: PrincipalId,
    /// The organisation they act in.
    pub org: OrgName,
    /// The key they showed; none where the broker asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
}

/// Versions from one to another, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

/// One request kind that the broker knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindRow {
    /// Its number.
    pub kind: u16,
    /// Its name.
    pub name: String,
    /// Oldest version of the request.
    pub min: u16,
    /// Newest version of the request, inclusive.
    pub max: u16,
}

/// What the broker takes at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Length field of a publish and of any answer.
    pub frame_bytes: u32,
    /// Length field of every other request.
    pub control_frame_bytes: u32,
    /// One batch, stored or uncompressed.
    pub batch_bytes: u32,
    /// One record, whatever a channel allows.
    pub record_bytes: u32,
    /// Requests of one connection that are not answered yet.
    pub in_flight_bytes: u64,
}

/// The rows of a hello for the kinds that this code knows.
#[must_use]
pub fn kind_rows() -> Vec<KindRow> {
    crate::protocol::api::APIS
        .iter()
        .map(|api| KindRow {
            kind: api.kind.number(),
            name: api.name.to_owned(),
            min: api.min_version,
            max: api.max_version,
        })
        .collect()
}
