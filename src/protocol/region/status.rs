//! How regions, links and copies are, for who runs the broker.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::WiderStatus;
use crate::protocol::directory::ResidencyRow;
use crate::protocol::logs::LogRow;
use crate::protocol::region_moves::{AsideRow, MovedRow};
use crate::types::{ChannelName, Incarnation, Offset, RegionName, Timestamp};

/// Asks for the regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionList {}

/// This region, and its peers by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Regions {
    /// This one.
    pub region: RegionName,
    /// Those that it was told of.
    pub peers: Vec<PeerRow>,
    /// The region that names channels for all; `None` where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<RegionName>,
    /// The regions that belong to its directory, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<RegionName>,
    /// Channels and organisations of which not every region may hold the bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residency: Vec<ResidencyRow>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerRow {
    /// Its name.
    pub name: RegionName,
    /// Where it is.
    pub url: String,
    /// How the link to it is.
    pub state: LinkState,
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// It is being opened.
    Dialling,
    /// It is open.
    Open,
    /// It was lost, and is opened again after a while.
    Waiting,
    /// The peer refuses it, and is asked again after a longer while.
    Refused,
}

/// Asks how links and copies are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionStatus {}

/// How the links and copies of this region are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionTold {
    /// This region.
    pub region: RegionName,
    /// The links on which it pulls, by the name of the peer.
    pub links: Vec<LinkRow>,
    /// The copies that it has, by name.
    pub copies: Vec<CopyStatus>,
    /// Bytes of batches that this region has sent to others since its start.
    pub sent_bytes: u64,
    /// The outboxes in which something waits, or of which something was refused, by the name of the
    /// channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outboxes: Vec<OutboxStatus>,
    /// What other regions hold synced of the logs that they pull from here, by name.
    pub held: Vec<HeldStatus>,
    /// The logs here of channels that have one for each region, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogRow>,
    /// The channels here whose home was moved or is being moved, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<MovedRow>,
    /// What lies in `lost+found`: of logs that another region has taken over, and what homes refused of
    /// outboxes; the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<AsideRow>,
    /// Channels that live here under a name that another region's channel has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disputed: Vec<DisputedName>,
}

/// An outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxStatus {
    /// The channel that its batches are for.
    pub channel: ChannelName,
    /// The identity of that channel.
    pub incarnation: Incarnation,
    /// Where the channel lives, as far as this region knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<RegionName>,
    /// Records that wait.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// For how long the oldest has waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// Why they were not carried to the home when that was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What its home has refused for good, where that lies in `lost+found` and was not published again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<OutboxRefused>,
}

/// What the home of a channel has refused of its outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxRefused {
    /// Records in `lost+found` that were not published again.
    pub records: u64,
    /// Name of the error of the last ones.
    pub code: String,
    /// What the home said of them, for a person.
    pub message: String,
    /// Where the last ones lie, relative to the data directory.
    pub place: String,
    /// When those were set aside.
    pub at: Timestamp,
}

/// What other regions hold of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldStatus {
    /// The channel.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// Everything below is synced here.
    pub flushed: Offset,
    /// The others, by name.
    pub regions: Vec<HeldBy>,
}

/// What one region holds of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldBy {
    /// The region.
    pub region: RegionName,
    /// Everything below is synced there, as it last said.
    pub offset: Offset,
}

/// A name that channels of two regions have. Neither is copied to where the other lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisputedName {
    /// The name.
    pub channel: ChannelName,
    /// The region whose channel has it for all.
    pub named_in: RegionName,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkRow {
    /// The peer.
    pub peer: RegionName,
    /// How it is.
    pub state: LinkState,
    /// Since when.
    pub since: Timestamp,
    /// How long the last answer took that did not wait, in microseconds; `None` before one.
    pub round_trip_us: Option<u64>,
    /// Bytes of batches that came on it since the start of this broker.
    pub bytes: u64,
    /// Bytes that they took on the way, where some of them came packed.
    pub wire_bytes: u64,
    /// How often it was opened since then.
    pub opened: u64,
    /// Why it was last lost or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyStatus {
    /// The channel.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// The region where it lives.
    pub home: RegionName,
    /// Whether what is new there comes here now.
    pub followed: bool,
    /// The peer that it is pulled from, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RegionName>,
    /// Whether it has all that its home has, so that others may pull it from here.
    pub whole: bool,
    /// Record types that it is of; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
    /// Offset of the first record of the copy.
    pub begins_at: Offset,
    /// Offset of the record that it needs next.
    pub next: Offset,
    /// What the home had synced when it last said; `None` before.
    pub home_flushed: Option<Offset>,
    /// Records that the home had then and this region does not.
    pub lag_records: Option<u64>,
    /// How old what is missing is at least, in milliseconds; 0 where nothing is.
    pub lag_ms: Option<u64>,
    /// Bytes of batches that came for it since the start of this broker.
    pub bytes: u64,
    /// Records that it will never have, as ranges of offsets, found since the start of this broker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<(Offset, Offset)>,
    /// First offset and end of what is written beside it, where more is wanted of it than it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<(Offset, Offset)>,
    /// Why it has less than is wanted of it, where it could not be made wider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wider: Option<WiderStatus>,
    /// Why it is not followed, if something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
