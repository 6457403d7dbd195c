//! What is recorded on the topic `__regions`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::state::RegionRow;
use crate::folding::{self, Folded};
use crate::types::{ChannelName, Incarnation, OrgName, RegionName, Timestamp};

/// A fact about regions and channels that holds for all of them, stored as one JSON record of the
/// topic `__regions`. The record's type is the member `type`; the member `v` is the version, now 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum RegionEvent {
    /// A region belongs to the deployment.
    #[serde(rename = "region.joined")]
    Joined(Joined),
    /// It does not any more.
    #[serde(rename = "region.left")]
    Left(Left),
    /// A log exists, made in a region.
    #[serde(rename = "channel.named")]
    Named(Named),
    /// That life of it is over.
    #[serde(rename = "channel.unnamed")]
    Unnamed(Unnamed),
    /// Which regions may hold the bytes of a channel or of an organisation.
    #[serde(rename = "consent.set")]
    Consent(Consent),
    /// One side's word on what one organisation's bytes may do in another's hands.
    #[serde(rename = "grant.residency")]
    Crossing(Crossing),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "regions.folded")]
    Folded(Folded<RegionRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`RegionEvent::Joined`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// Its name; no other region has its number.
    pub region: RegionName,
    /// When.
    pub at: Timestamp,
}

/// See [`RegionEvent::Left`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// Its name.
    pub region: RegionName,
    /// When.
    pub at: Timestamp,
}

/// Whether a channel is one log, or one for each region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Spread {
    /// One log with one home.
    #[default]
    One,
    /// Every region writes a log of its own.
    Each,
}

impl Spread {
    /// Whether it is one log.
    #[must_use]
    pub fn is_one(&self) -> bool {
        *self == Self::One
    }

    /// The name used in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Each => "each",
        }
    }
}

/// See [`RegionEvent::Named`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// The channel.
    pub channel: ChannelName,
    /// Identity of the log.
    pub incarnation: Incarnation,
    /// Whether it is the channel's only one.
    pub regions: Spread,
    /// Where it was made.
    pub home: RegionName,
    /// Regions that may hold the channel's bytes; `None` is all. The same for all its logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<BTreeSet<RegionName>>,
    /// Regions that have to hold a record before it is acknowledged, the home included. The same
    /// for all its logs.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ack_regions: u32,
    /// When.
    pub at: Timestamp,
}

fn one() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// See [`RegionEvent::Unnamed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unnamed {
    /// The channel.
    pub channel: ChannelName,
    /// Which log of it.
    pub incarnation: Incarnation,
    /// When.
    pub at: Timestamp,
}

/// Whose bytes a consent is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Those of a channel.
    Channel(ChannelName),
    /// Those of all channels of an organisation.
    Org(OrgName),
}

/// See [`RegionEvent::Consent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// Whose bytes.
    pub scope: Scope,
    /// Who may hold them; `None` is all regions.
    pub residency: Option<BTreeSet<RegionName>>,
    /// When.
    pub at: Timestamp,
}

/// A side of a grant between organisations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// Who has the channels.
    Owner,
    /// Who is let in.
    Guest,
}

/// See [`RegionEvent::Crossing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Crossing {
    /// Whose bytes.
    pub owner: OrgName,
    /// Who asks for them in another region.
    pub guest: OrgName,
    /// Whose word it is.
    pub side: Side,
    /// Whether they may cross.
    pub allowed: bool,
    /// When.
    pub at: Timestamp,
}

folding::topic_event! {
    RegionEvent {
        Joined = "region.joined",
        Left = "region.left",
        Named = "channel.named",
        Unnamed = "channel.unnamed",
        Consent = "consent.set",
        Crossing = "grant.residency",
        Folded = "regions.folded",
    }
}
