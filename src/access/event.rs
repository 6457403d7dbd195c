//! What is recorded on the topic `__access`.

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::scope::{Operation, Pattern, Scope};
use super::secret::{KeyHash, KeyKind};
use crate::folding::{self, Folded};
use crate::types::{
    GrantId, Incarnation, KeyId, OrgId, OrgName, PrincipalId, RegionName, Timestamp,
};

/// A fact about access, stored as one JSON record of the topic `__access`. The record's type is
/// the member `type`; the member `v` is the version, now 1. No secret is ever in it.
#[expect(
    clippy::large_enum_variant,
    reason = "they are made one at a time, on their way to a record or from it"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum AccessEvent {
    /// An organisation came to be.
    #[serde(rename = "org.created")]
    OrgCreated(OrgCreated),
    /// An organisation got other limits.
    #[serde(rename = "org.limited")]
    OrgLimited(OrgLimited),
    /// A key came to be.
    #[serde(rename = "key.created")]
    KeyCreated(KeyCreated),
    /// A key was used, for the first time in a while.
    #[serde(rename = "key.used")]
    KeyUsed(KeyUsed),
    /// A key is to end at another time than was said.
    #[serde(rename = "key.expirySet")]
    KeyExpirySet(KeyExpirySet),
    /// A key ended at once.
    #[serde(rename = "key.revoked")]
    KeyRevoked(KeyRevoked),
    /// What other regions know a key by, of one that was made before there were any.
    #[serde(rename = "key.travels")]
    KeyTravels(KeyTravels),
    /// Somebody who has a key of another region has a number here.
    #[serde(rename = "principal.met")]
    PrincipalMet(PrincipalMet),
    /// One organisation proposed to open channels to another, or asked for it.
    #[serde(rename = "grant.proposed")]
    GrantProposed(GrantProposed),
    /// The other side agreed.
    #[serde(rename = "grant.accepted")]
    GrantAccepted(GrantAccepted),
    /// Either side ended it, or declined.
    #[serde(rename = "grant.revoked")]
    GrantRevoked(GrantRevoked),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "access.folded")]
    Folded(Folded<AccessRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`AccessEvent::OrgCreated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrgCreated {
    /// Its number, the next one.
    pub org: OrgId,
    /// Its name, which no other has.
    pub name: OrgName,
    /// What it may use.
    pub limits: Limits,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: PrincipalId,
}

/// See [`AccessEvent::OrgLimited`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrgLimited {
    /// Which organisation.
    pub org: OrgId,
    /// All of its limits from now on.
    pub limits: Limits,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: PrincipalId,
}

/// See [`AccessEvent::KeyCreated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyCreated {
    /// Its identity.
    pub key: KeyId,
    /// Whom it stands for on batches and records: a number never used before, or, where it
    /// replaces another key, that key's.
    pub principal: PrincipalId,
    /// The organisation that it belongs to.
    pub org: OrgId,
    /// What its owner calls it.
    pub name: String,
    /// Live or test.
    pub kind: KeyKind,
    /// What is kept of its text.
    pub hash: KeyHash,
    /// What other regions know it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub travels: Option<KeyHash>,
    /// The last characters of its text, to tell keys apart.
    pub hint: String,
    /// Name of the client certificates that stand for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// What it may use, within its organisation's limits.
    pub limits: Limits,
    /// When it ends by itself; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The key that it takes over from; both work until that one expires or is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyId>,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: PrincipalId,
}

/// See [`AccessEvent::KeyUsed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyUsed {
    /// Which key.
    pub key: KeyId,
    /// When, to the hour: not every use is recorded.
    pub at: Timestamp,
}

/// See [`AccessEvent::KeyExpirySet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyExpirySet {
    /// Which key.
    pub key: KeyId,
    /// When it ends by itself; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When this was decided.
    pub at: Timestamp,
    /// Who did it.
    pub by: PrincipalId,
}

/// See [`AccessEvent::KeyRevoked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRevoked {
    /// Which key.
    pub key: KeyId,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: PrincipalId,
}

/// See [`AccessEvent::KeyTravels`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyTravels {
    /// Which key.
    pub key: KeyId,
    /// What other regions know it by.
    pub travels: KeyHash,
    /// When.
    pub at: Timestamp,
}

/// See [`AccessEvent::PrincipalMet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrincipalMet {
    /// The region that has made the key.
    pub region: RegionName,
    /// The number there.
    pub theirs: PrincipalId,
    /// The number here, never used before.
    pub principal: PrincipalId,
    /// The topic on which that region says whom the number there means: it has another one once it is
    /// begun anew. None in records of before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Incarnation>,
    /// When.
    pub at: Timestamp,
}

/// See [`AccessEvent::GrantProposed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantProposed {
    /// Its identity.
    pub grant: GrantId,
    /// Whose channels they are.
    pub owner: OrgId,
    /// Who gets to use them.
    pub guest: OrgId,
    /// Which of the two proposed it: the owner offers, the guest asks.
    pub proposer: OrgId,
    /// The channels.
    pub channels: Pattern,
    /// In which direction records flow: [`Operation::Consume`] out of the owner's channels,
    /// [`Operation::Publish`] into them.
    pub operation: Operation,
    /// When it ends by itself; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: PrincipalId,
}

/// See [`AccessEvent::GrantAccepted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantAccepted {
    /// Which grant.
    pub grant: GrantId,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: PrincipalId,
}

/// See [`AccessEvent::GrantRevoked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRevoked {
    /// Which grant.
    pub grant: GrantId,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub by: PrincipalId,
}

/// One thing in a state record.
#[expect(
    clippy::large_enum_variant,
    reason = "they are made one at a time, on their way to a record or from it"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "what")]
pub enum AccessRow {
    /// An organisation, with the number that the next one gets.
    Org(super::Org),
    /// A key.
    Key(super::Key),
    /// A grant.
    Grant(super::Grant),
    /// Somebody of another region.
    Met {
        /// The region.
        region: RegionName,
        /// The number there.
        theirs: PrincipalId,
        /// The number here.
        principal: PrincipalId,
        /// See [`PrincipalMet::life`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        life: Option<Incarnation>,
    },
    /// The numbers that come next, so that none is used twice.
    Next {
        /// Of organisations.
        org: OrgId,
        /// Of principals.
        principal: PrincipalId,
    },
}

folding::topic_event! {
    AccessEvent {
        OrgCreated = "org.created",
        OrgLimited = "org.limited",
        KeyCreated = "key.created",
        KeyUsed = "key.used",
        KeyExpirySet = "key.expirySet",
        KeyRevoked = "key.revoked",
        KeyTravels = "key.travels",
        PrincipalMet = "principal.met",
        GrantProposed = "grant.proposed",
        GrantAccepted = "grant.accepted",
        GrantRevoked = "grant.revoked",
        Folded = "access.folded",
    }
}
