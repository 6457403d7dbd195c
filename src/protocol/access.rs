//! Requests about organisations, keys and grants, and their answers: one list of kinds, JSON
//! bodies. `docs/wire-protocol.md`, "Access".

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::json_kinds::json_kinds;
use super::primitive::BodyError;
use crate::access::{KeyKind, Limits, Operation, Pattern, Scope, Secret};
use crate::types::{GrantId, KeyId, OrgName, PrincipalId, Timestamp};

json_kinds! {
    /// A request about organisations, keys and grants.
    AccessRequest;
    /// An answer about organisations, keys and grants.
    AccessResponse;

    /// Creates an organisation.
    OrgCreate(OrgCreate) -> OrgRow;
    /// Lists organisations: all in the default one, elsewhere one's own.
    OrgList(OrgList) -> Orgs;
    /// Sets what an organisation may use.
    OrgLimit(OrgLimit) -> OrgRow;
    /// Makes a key.
    KeyCreate(KeyCreate) -> KeyMade;
    /// Lists the keys of an organisation.
    KeyList(KeyList) -> Keys;
    /// Replaces a key by another that may do the same.
    KeyRotate(KeyRotate) -> KeyMade;
    /// Ends a key at once.
    KeyRevoke(KeyRevoke) -> KeyRow;
    /// Proposes that one organisation uses channels of another.
    GrantPropose(GrantPropose) -> GrantRow;
    /// Lists the grants that an organisation has a side in.
    GrantList(GrantList) -> Grants;
    /// Agrees to what the other side proposed.
    GrantAccept(GrantAccept) -> GrantRow;
    /// Ends a grant, or declines one.
    GrantRevoke(GrantRevoke) -> GrantRow;
}

/// Asks for a new organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrgCreate {
    /// Its name.
    pub name: OrgName,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
}

/// Asks for the organisations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrgList {}

/// Sets all limits of an organisation; those left out do not bind it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrgLimit {
    /// Which.
    pub name: OrgName,
    /// What it may use.
    pub limits: Limits,
}

/// One organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrgRow {
    /// Its name.
    pub name: OrgName,
    /// What it may use.
    pub limits: Limits,
    /// When it was created; 0 for the default one, which was always there.
    pub created_at: Timestamp,
}

/// Organisations, in the order of their creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orgs {
    /// The rows.
    pub orgs: Vec<OrgRow>,
}

/// Asks for a new key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyCreate {
    /// The organisation that it is to belong to; one's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
    /// What its owner calls it: 1 to 256 bytes without control characters.
    pub name: String,
    /// What it is for.
    #[serde(default = "live")]
    pub kind: KeyKind,
    /// What it may do; at least one scope.
    pub scopes: Vec<Scope>,
    /// What it may use, within its organisation's limits.
    #[serde(default)]
    pub limits: Limits,
    /// When it ends by itself; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Name of the client certificates that stand for it; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

fn live() -> KeyKind {
    KeyKind::Live
}

/// A key that was made, with its text: shown this once, and kept nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyMade {
    /// The key.
    pub key: KeyRow,
    /// Its text.
    pub secret: ShownSecret,
}

/// A key's text as it stands in JSON, in the one answer and the one request that carry it. Shows
/// nothing of itself in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownSecret(pub Secret);

impl fmt::Debug for ShownSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ShownSecret {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for ShownSecret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(from)?);
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Asks for the keys of an organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyList {
    /// Which; one's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
}

/// One key, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRow {
    /// Its identity.
    pub id: KeyId,
    /// The organisation that it belongs to.
    pub org: OrgName,
    /// Whom it stands for; a key that replaces another stands for the same.
    pub principal: PrincipalId,
    /// What its owner calls it.
    pub name: String,
    /// What it is for.
    pub kind: KeyKind,
    /// The last characters of its text, to tell keys apart.
    pub hint: String,
    /// Name of the client certificates that stand for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// What it may use.
    pub limits: Limits,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends, or ended, by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The key that it took over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyId>,
}

/// Keys, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// The rows.
    pub keys: Vec<KeyRow>,
}

/// Replaces a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRotate {
    /// Which.
    pub key: KeyId,
    /// How long the old one works beside the new one, in milliseconds; a day when left out.
    #[serde(default = "a_day")]
    pub overlap_ms: u32,
}

fn a_day() -> u32 {
    24 * 60 * 60 * 1000
}

/// Ends a key at once, on open connections too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRevoke {
    /// Which.
    pub key: KeyId,
}

/// Proposes a grant: the other side has to accept it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantPropose {
    /// Whose channels they are; one's own organisation when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OrgName>,
    /// Who is to use them; one's own organisation when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<OrgName>,
    /// The channels, as their owner names them.
    pub channels: Pattern,
    /// `publish` or `consume`.
    pub operation: Operation,
    /// When it ends by itself; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Asks for the grants of one's own organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantList {
    /// Those of another organisation, for who runs the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
}

/// Where a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantState {
    /// One side has agreed.
    Proposed,
    /// It holds.
    Active,
    /// Its time is over.
    Expired,
    /// Either side ended it.
    Revoked,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRow {
    /// Its identity.
    pub id: GrantId,
    /// Where it stands.
    pub state: GrantState,
    /// Whose channels they are.
    pub owner: OrgName,
    /// Who uses them.
    pub guest: OrgName,
    /// Which of the two proposed it.
    pub proposer: OrgName,
    /// The channels, as their owner names them.
    pub channels: Pattern,
    /// `publish` or `consume`.
    pub operation: Operation,
    /// When it was proposed.
    pub proposed_at: Timestamp,
    /// When the other side agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// When it ends, or ended, by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When either side ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// Grants, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grants {
    /// The rows.
    pub grants: Vec<GrantRow>,
}

/// Agrees to a grant that the other side proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantAccept {
    /// Which.
    pub grant: GrantId,
}

/// Ends a grant, or declines one that was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantRevoke {
    /// Which.
    pub grant: GrantId,
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    super::json_body::read(body)
}
