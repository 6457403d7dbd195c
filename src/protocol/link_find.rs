//! Where something is that follows from a session, as one region asks another.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::asp::Matter;
use crate::types::{AgentName, OrgName};

/// Asks whether something that follows from a session is in the region that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkFind {
    /// What.
    pub about: Matter,
}

/// Whether it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkFound {
    /// Whether it is.
    pub found: bool,
    /// Who promised, or made the call; none where it is filed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Actor>,
    /// Who did, where several organisations have one of the id there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Actor>,
    /// Who filed it, where it is a dispute: who chose its id, as of all else who acts in it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filers: Vec<Actor>,
    /// The organisations that have a part in it; none where it is filed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orgs: Option<BTreeSet<OrgName>>,
}

/// An agent, as other regions can judge keys by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// Its organisation.
    pub org: OrgName,
    /// Its name.
    pub name: AgentName,
}
