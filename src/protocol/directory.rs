//! What regions ask of the home of their directory, and what operators say of consent and of peers.
//! `docs/regions.md`, "Frames between regions".

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::control::ChannelCreate;
use crate::region::directory::{Scope, Side};
use crate::types::{ChannelName, Incarnation, OrgName, RegionName};

/// Asks something of the directory of all regions, of its home or of who may know that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub enum LinkDirectory {
    /// Where it is, and who belongs to it.
    State,
    /// Takes the region that asks in, with the channels that live there.
    Join {
        /// Some of these; at most [`MAX_NAMES`].
        channels: Vec<ChannelNamed>,
        /// Whether there are no more of them: the region belongs to it from then on.
        last: bool,
    },
    /// Where a channel was made.
    Look {
        /// Its name.
        channel: ChannelName,
    },
    /// Gives a name to a channel that the region that asks is to make.
    Name {
        /// The channel.
        channel: ChannelNamed,
    },
    /// Takes the name back from a channel that the region that asks deletes.
    Unname {
        /// Its name.
        channel: ChannelName,
        /// Its identity.
        incarnation: Incarnation,
    },
    /// Records who may hold what.
    Consent {
        /// What was said.
        word: ConsentSet,
    },
    /// Takes a region out that is home of nothing.
    Leave {
        /// The region.
        region: RegionName,
    },
}

/// Most channels in one [`LinkDirectory::Join`].
pub const MAX_NAMES: usize = 1000;

/// A channel that has a name in the directory, or is to have one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelNamed {
    /// Its name.
    pub channel: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// Regions that may hold its bytes; all where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<BTreeSet<RegionName>>,
    /// Regions that have to hold a record before it is acknowledged.
    #[serde(default = "one")]
    pub ack_regions: u32,
}

fn one() -> u32 {
    1
}

/// What the directory says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryTold {
    /// Its home; `None` where none has begun.
    pub home: Option<RegionName>,
    /// The regions that belong to it, by name.
    pub regions: Vec<RegionName>,
    /// Where the channel was made that was asked for, or that has the name; and the identity that a
    /// channel which was given a name has to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<ChannelPlace>,
    /// Of channels of who joins: those whose names others have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<ChannelPlace>,
}

/// Where a channel was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelPlace {
    /// Its name.
    pub channel: ChannelName,
    /// The region.
    pub home: RegionName,
    /// Its identity.
    pub incarnation: Incarnation,
}

/// Makes a channel in the region that is asked, for another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkCreate {
    /// The region that was asked first. What is asked for it is not passed on again.
    pub by: RegionName,
    /// The channel, by the name that the broker keeps.
    pub create: ChannelCreate,
}

/// Says who may hold what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "consent", rename_all = "camelCase")]
pub enum ConsentSet {
    /// Which regions may hold the bytes of a channel or an organisation.
    Residency {
        /// Whose bytes.
        scope: Scope,
        /// The regions; `None` is all.
        residency: Option<BTreeSet<RegionName>>,
    },
    /// One side's word on bytes of one organisation that another asks for in another region.
    Crossing {
        /// Whose bytes.
        owner: OrgName,
        /// Who asks for them.
        guest: OrgName,
        /// Whose word it is.
        side: Side,
        /// Whether they may cross.
        allowed: bool,
    },
}

/// Asks who may hold what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentList {}

/// Who may hold what, as far as somebody has said: all regions hold everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consents {
    /// Channels and organisations, and the regions that may hold them.
    pub residency: Vec<ResidencyRow>,
    /// Pairs of organisations.
    pub crossings: Vec<CrossingRow>,
}

/// The regions that may hold something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResidencyRow {
    /// Whose bytes.
    pub scope: Scope,
    /// The regions.
    pub residency: BTreeSet<RegionName>,
}

/// What two organisations have said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrossingRow {
    /// Whose bytes.
    pub owner: OrgName,
    /// Who asks for them.
    pub guest: OrgName,
    /// The owner's word.
    pub owner_allows: bool,
    /// The guest's word.
    pub guest_allows: bool,
}

/// Adds a peer, changes its address, or removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionPeer {
    /// Its name.
    pub name: RegionName,
    /// Its address; left out where it is a peer no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Moves the directory of all regions to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectoryMove {
    /// The region that is to be its home.
    pub to: RegionName,
    /// Without the home before, which is gone.
    #[serde(default)]
    pub force: bool,
}

/// Takes a region out of the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionLeave {
    /// The region; left out, the one that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
}

/// Takes the name of a channel out of the directory whose region can't give it back any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectoryUnname {
    /// The channel; with a log for each region, one of these.
    pub channel: ChannelName,
}

/// Its name is anybody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryUnnamed {
    /// The channel.
    pub channel: ChannelName,
    /// The identity of the log that had the name.
    pub incarnation: Incarnation,
    /// The region in which it lived.
    pub region: RegionName,
}

/// It does not belong to the directory any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionLeft {
    /// The region.
    pub region: RegionName,
    /// Those that belong to it, by name.
    pub regions: Vec<RegionName>,
}
