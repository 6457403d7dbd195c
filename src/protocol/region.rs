//! Requests between regions, and about them: a link's own, which one broker sends another, and those
//! of operators. `docs/regions.md`, "Frames between regions".

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use super::aside::{
    AcknowledgedRange, AsideLook, AsidePart, AsideTold, LinkSaw, LinkSeen, MAX_ASIDE_BYTES,
    RegionAcknowledge, RegionAcknowledged, RegionAside,
};
use super::control::{ChannelConfig, ChannelCreated};
pub use super::directory::{
    ChannelNamed, ChannelPlace, ConsentList, ConsentSet, Consents, CrossingRow, DirectoryMove,
    DirectoryTold, DirectoryUnname, DirectoryUnnamed, LinkCreate, LinkDirectory, MAX_NAMES,
    RegionLeave, RegionLeft, RegionPeer, ResidencyRow,
};
use super::error_code::WireError;
use super::json_kinds::json_kinds;
pub use super::link_find::{Actor, LinkFind, LinkFound};
use super::logs::{ChannelLogs, LogRow, RegionLogs};
use super::primitive::{BodyError, Reader, put_blob, put_name, put_optional_offset};
pub use super::region_moves::{
    AsideRow, HomeDecline, HomeDeclined, HomeFence, HomeFenced, HomeTake, MissingRange, MovedRow,
    RegionMove, RegionMoved, RegionRetried, RegionRetry,
};
use crate::region::ChannelPattern;
use crate::region::copies::BatchMark;
use crate::region::interest::Since;
use crate::types::{
    ChannelName, ConsumerName, Incarnation, LogEpoch, Offset, OrgName, RegionName, Timestamp,
};

json_kinds! {
    /// A request between regions, or about them, with a JSON body.
    RegionRequest;
    /// An answer to one.
    RegionResponse;

    /// Makes a connection a link.
    LinkOpen(LinkOpen) -> LinkOpened;
    /// Lists the logs that the peer may be pulled from.
    LinkLogs(LinkLogs) -> LinkLogsPage;
    /// Follows logs.
    LinkFollow(LinkFollow) -> LinkFollowed;
    /// Follows logs no longer.
    LinkUnfollow(LinkUnfollow) -> LinkUnfollowed;
    /// Digests of a range.
    LinkDigest(LinkDigest) -> RangeDigest;
    /// Asks a home to stop writing.
    HomeFence(HomeFence) -> HomeFenced;
    /// Asks the target of a move to give it up.
    HomeDecline(HomeDecline) -> HomeDeclined;
    /// Asks another region to become home.
    HomeTake(HomeTake) -> RegionMoved;
    /// Lists regions.
    RegionList(RegionList) -> Regions;
    /// Tells how links and copies are.
    RegionStatus(RegionStatus) -> RegionTold;
    /// Compares a copy with its home.
    RegionVerify(RegionVerify) -> Verified;
    /// Moves a home.
    RegionMove(RegionMove) -> RegionMoved;
    /// Removes a copy.
    RegionPurge(RegionPurge) -> RegionPurged;
    /// Follows a stopped copy again.
    RegionRetry(RegionRetry) -> RegionRetried;
    /// Adds or removes a peer.
    RegionPeer(RegionPeer) -> Regions;
    /// Tells which logs a channel has.
    RegionLogs(RegionLogs) -> ChannelLogs;
    /// Declares interest.
    InterestAdd(InterestAdd) -> InterestRow;
    /// Lists what the region wants.
    InterestList(InterestList) -> InterestRows;
    /// Withdraws interest.
    InterestRemove(InterestRemove) -> InterestRemoved;
    /// Asks something of the directory of all regions.
    LinkDirectory(LinkDirectory) -> DirectoryTold;
    /// Makes a channel for another region.
    LinkCreate(LinkCreate) -> ChannelCreated;
    /// Asks whether something that follows from a session is there.
    LinkFind(LinkFind) -> LinkFound;
    /// Says who may hold what.
    ConsentSet(ConsentSet) -> Consents;
    /// Lists who may hold what.
    ConsentList(ConsentList) -> Consents;
    /// Looks at what was set aside.
    RegionAside(RegionAside) -> AsideTold;
    /// Takes what a forced move may have lost off the list.
    RegionAcknowledge(RegionAcknowledge) -> RegionAcknowledged;
    /// What a region has heard of a log's home.
    LinkSeen(LinkSeen) -> LinkSaw;
    /// Moves the directory of all regions.
    DirectoryMove(DirectoryMove) -> RegionMoved;
    /// Takes a region out of the directory.
    RegionLeave(RegionLeave) -> RegionLeft;
    /// Takes a name out of the directory that its region can't give back.
    DirectoryUnname(DirectoryUnname) -> DirectoryUnnamed;
}

/// Most logs in one page of [`LinkLogsPage`], and in one [`LinkFollow`].
pub const MAX_LOGS: usize = 1000;

/// Makes a connection a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkOpen {
    /// Who pulls.
    pub region: RegionName,
    /// Whom it means to reach.
    pub expect: RegionName,
    /// The data directory of who pulls.
    pub directory_id: Incarnation,
    /// Whether batches that came uncompressed may be sent as packed items.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pack: bool,
}

/// Who answers a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkOpened {
    /// Its name.
    pub region: RegionName,
    /// Its data directory.
    pub directory_id: Incarnation,
    /// The epoch of its start.
    pub epoch: LogEpoch,
    /// Its clock.
    pub now: Timestamp,
    /// Most logs that this link may follow.
    pub max_followed: u32,
}

/// Asks which logs a peer has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkLogs {
    /// The channels wanted.
    pub patterns: Vec<ChannelPattern>,
    /// The internal topics wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<ChannelName>,
    /// `version` of the answer before: where nothing has changed since, the answer waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Longest wait, at most 60,000.
    #[serde(default)]
    pub wait_ms: u32,
    /// `next` of the answer before, to go on with a long list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One page of a peer's logs, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkLogsPage {
    /// Changes whenever a channel is created, deleted or changed.
    pub version: u64,
    /// The logs.
    pub logs: Vec<LinkLog>,
    /// Where there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A log as its peer has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkLog {
    /// Its name.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// The region that appends to it.
    pub home: RegionName,
    /// Epoch of its last batch.
    pub epoch: LogEpoch,
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// Everything below survives power loss there.
    pub flushed: Offset,
    /// Whether the peer has all of it that there is, and so may serve others; its home has.
    pub whole: bool,
    /// Its configuration.
    pub config: ChannelConfig,
}

/// Follows logs: what is new in them comes with the answers to link.fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkFollow {
    /// At most [`MAX_LOGS`].
    pub logs: Vec<FollowLog>,
}

/// One log to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FollowLog {
    /// What it is called on this link from now on.
    pub handle: u32,
    /// Its name.
    pub name: ChannelName,
    /// The identity that it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// Where to begin.
    pub from: FollowFrom,
    /// The batch before that, where the copy has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<BatchMark>,
    /// The epoch that the copy ends with, where it ends with a gap of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_epoch: Option<LogEpoch>,
    /// The first offset that the copy was to have; a new one has what follows `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_at: Option<Offset>,
    /// Record types wanted; `None` is all. Batches without any of them cross as skips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
    /// The organisations that ask for it; none where who runs the broker does, or the log lived in the
    /// region that asks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub orgs: BTreeSet<OrgName>,
}

/// Where following a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FollowFrom {
    /// At this record.
    Offset(Offset),
    /// At a place for which a new copy asks.
    Since(Since),
}

/// What became of each log, in the order asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkFollowed {
    /// One for each.
    pub logs: Vec<FollowedLog>,
}

/// What became of one log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FollowedLog {
    /// It is followed.
    Followed {
        /// What it is called on this link.
        handle: u32,
        /// Its identity.
        incarnation: Incarnation,
        /// Where the first batch begins that will come.
        from: Offset,
    },
    /// It is not.
    Refused {
        /// What it would have been called.
        handle: u32,
        /// Why not.
        error: WireError,
    },
}

/// Follows logs no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkUnfollow {
    /// Which.
    pub handles: Vec<u32>,
}

/// They are not followed any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkUnfollowed {}

/// Asks for the digest of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkDigest {
    /// The log.
    pub name: ChannelName,
    /// The identity that it must have.
    pub incarnation: Incarnation,
    /// First offset.
    pub from: Offset,
    /// Offset after the last.
    pub to: Offset,
}

/// The digest of what is readable of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RangeDigest {
    /// First offset that is in it: that of a batch.
    pub from: Offset,
    /// Offset after the last that is in it.
    pub to: Offset,
    /// Batches in it.
    pub batches: u64,
    /// SHA-256 over base offset, offset span, log epoch, append time and body checksum of each
    /// batch, 8 + 4 + 8 + 8 + 4 bytes, in hexadecimal.
    pub sha256: String,
}

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
    /// The outboxes in which something waits, by the name of the channel.
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
    /// What lies in `lost+found` of logs that another region has taken over, the oldest first.
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

/// Why a copy has less than is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WiderStatus {
    /// What went wrong.
    pub error: String,
    /// How often in a row it was given up.
    pub times: u32,
    /// Milliseconds until it is tried again; left out where that waits for what the error names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_ms: Option<u64>,
}

/// Compares a copy with its home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionVerify {
    /// The channel.
    pub name: ChannelName,
}

/// What the comparison showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The channel.
    pub name: ChannelName,
    /// The region that it was compared with.
    pub home: RegionName,
    /// First offset compared.
    pub from: Offset,
    /// Offset after the last one compared.
    pub to: Offset,
    /// Batches compared.
    pub batches: u64,
    /// Whether all of it is the same.
    pub equal: bool,
    /// The first range that differs, as offsets; `None` where all is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<(Offset, Offset)>,
}

/// Removes a copy of a channel that lives elsewhere, with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionPurge {
    /// The channel.
    pub name: ChannelName,
}

/// The copy that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionPurged {
    /// The channel.
    pub name: ChannelName,
    /// The identity of its log.
    pub incarnation: Incarnation,
}

/// Declares interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InterestAdd {
    /// Which channels.
    pub pattern: ChannelPattern,
    /// Record types wanted, 1 to 100; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
    /// From where, in copies that are yet to be begun.
    #[serde(default = "from_the_end")]
    pub from: Since,
    /// Days for which the copies are kept; as long as at home where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u64>,
}

fn from_the_end() -> Since {
    Since::End
}

/// One interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterestRow {
    /// Which channels.
    pub pattern: ChannelPattern,
    /// Record types wanted; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
    /// From where.
    pub from: Since,
    /// Days for which the copies are kept; `None` is as long as at home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u64>,
    /// Whether it follows from somebody's reading, and is not declared.
    pub automatic: bool,
    /// When it was declared; `None` for an automatic one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_at: Option<Timestamp>,
    /// When an automatic one ends; `None` while somebody reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Asks what the region wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterestList {}

/// What the region wants, the declared first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterestRows {
    /// The rows.
    pub interests: Vec<InterestRow>,
}

/// Withdraws interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InterestRemove {
    /// As it was declared.
    pub pattern: ChannelPattern,
}

/// It is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterestRemoved {
    /// As it was declared.
    pub pattern: ChannelPattern,
}

impl RegionRequest {
    /// Whether it belongs to a link, and is answered with what the link knows.
    #[must_use]
    pub fn is_of_link(&self) -> bool {
        matches!(
            self,
            Self::LinkOpen(_)
                | Self::LinkLogs(_)
                | Self::LinkFollow(_)
                | Self::LinkUnfollow(_)
                | Self::LinkDigest(_)
                | Self::HomeFence(_)
                | Self::HomeDecline(_)
                | Self::HomeTake(_)
                | Self::LinkDirectory(_)
                | Self::LinkCreate(_)
                | Self::LinkSeen(_)
                | Self::LinkFind(_)
        )
    }
}

/// Asks for whatever is new in the logs followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFetchRequest {
    /// Bytes of items at most; the first batch comes however large.
    pub max_bytes: u32,
    /// Longest wait when nothing is new, at most 60,000.
    pub max_wait_ms: u32,
    /// Of each log the handle, and the offset below which the copy holds everything synced; only
    /// what has changed since it was last said. At most [`MAX_HELD`].
    pub held: Vec<(u32, Offset)>,
}

/// Most logs of which one [`LinkFetchRequest`] says what the copy holds.
pub const MAX_HELD: usize = 10_000;

/// What is new.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFetchResponse {
    /// 0, 1, 2, … on a link: answers go on from each other.
    pub number: u64,
    /// Clock of the source.
    pub now: Timestamp,
    /// Of each log in offset order, without gaps between them.
    pub items: Vec<LinkItem>,
}

/// Something new of one log.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkItem {
    /// Whole stored batches, end to end.
    Batches {
        /// The log.
        handle: u32,
        /// The source has synced everything below.
        flushed: Offset,
        /// They.
        batches: Bytes,
    },
    /// Whole stored batches, packed for the way.
    Packed {
        /// The log.
        handle: u32,
        /// The source has synced everything below.
        flushed: Offset,
        /// Bytes of the batches, at most [`MAX_UNPACKED`].
        unpacked: u32,
        /// One zstd frame of them, end to end.
        frame: Bytes,
    },
    /// Batches that hold no record of the types asked for.
    Skip {
        /// The log.
        handle: u32,
        /// First offset passed over.
        from: Offset,
        /// Offset after the last.
        to: Offset,
        /// Epoch of the last batch passed over.
        epoch: LogEpoch,
        /// Append time of the last batch passed over.
        append_time: Timestamp,
        /// The source has synced everything below.
        flushed: Offset,
    },
    /// Where a consumer stands.
    Position {
        /// The log.
        handle: u32,
        /// The consumer.
        consumer: ConsumerName,
        /// Next offset that it reads; `None` where it was forgotten.
        offset: Option<Offset>,
        /// Log epoch of the records before it; 0 is unknown.
        epoch: LogEpoch,
        /// When it came to be there.
        at: Timestamp,
        /// The consumer's own words.
        metadata: String,
    },
    /// Retention has removed records before they crossed.
    Gap {
        /// The log.
        handle: u32,
        /// First offset that is gone.
        from: Offset,
        /// Lowest offset still readable.
        to: Offset,
    },
    /// How far the source is.
    Head {
        /// The log.
        handle: u32,
        /// Lowest offset still readable there.
        log_start: Offset,
        /// Everything below is synced there.
        flushed: Offset,
        /// Epoch of the last batch.
        epoch: LogEpoch,
    },
    /// The log is not followed any more, and the handle is free.
    Stop {
        /// The log.
        handle: u32,
        /// Why.
        error: WireError,
    },
}

/// Numbers of the items.
mod tag {
    pub const BATCHES: u8 = 1;
    pub const PACKED: u8 = 2;
    pub const SKIP: u8 = 3;
    pub const GAP: u8 = 4;
    pub const HEAD: u8 = 5;
    pub const POSITION: u8 = 6;
    pub const STOP: u8 = 7;
}

/// What a gap item gives as its reason: removed by retention before it crossed.
const TRIMMED: u8 = 1;

/// Most bytes of batches in one packed item.
pub const MAX_UNPACKED: u32 = 64 << 20;

impl LinkFetchRequest {
    pub(super) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let (max_bytes, max_wait_ms) = (from.u32("max_bytes")?, from.u32("max_wait_ms")?);
        let count = from.u32("held_count")? as usize;
        if count > MAX_HELD {
            return Err(BodyError::Limit {
                field: "held_count",
                found: count,
                limit: MAX_HELD,
            });
        }
        let mut held = Vec::new();
        for _ in 0..count {
            held.push((from.u32("handle")?, Offset(from.u64("held")?)));
        }
        from.end()?;
        Ok(Self {
            max_bytes,
            max_wait_ms,
            held,
        })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        dst.put_u32_le(self.max_bytes);
        dst.put_u32_le(self.max_wait_ms);
        dst.put_u32_le(u32::try_from(self.held.len()).expect("at most MAX_HELD"));
        for (handle, offset) in &self.held {
            dst.put_u32_le(*handle);
            dst.put_u64_le(offset.0);
        }
    }
}

impl LinkFetchResponse {
    pub(super) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let (number, now) = (from.u64("number")?, Timestamp(from.i64("now")?));
        let count = from.u32("item_count")?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(LinkItem::decode(&mut from)?);
        }
        from.end()?;
        Ok(Self { number, now, items })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        dst.put_u64_le(self.number);
        dst.put_i64_le(self.now.0);
        dst.put_u32_le(u32::try_from(self.items.len()).expect("an answer is far smaller"));
        for item in &self.items {
            item.encode(dst);
        }
    }
}

impl LinkItem {
    /// The log that it is of.
    #[must_use]
    pub fn handle(&self) -> u32 {
        match self {
            Self::Batches { handle, .. }
            | Self::Packed { handle, .. }
            | Self::Skip { handle, .. }
            | Self::Position { handle, .. }
            | Self::Gap { handle, .. }
            | Self::Head { handle, .. }
            | Self::Stop { handle, .. } => *handle,
        }
    }

    fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        let tag = from.u8("tag")?;
        let handle = from.u32("handle")?;
        let offset = |from: &mut Reader, field| from.u64(field).map(Offset);
        Ok(match tag {
            tag::BATCHES => Self::Batches {
                handle,
                flushed: offset(from, "flushed")?,
                batches: from.blob("batches")?.freeze(),
            },
            tag::PACKED => {
                let flushed = offset(from, "flushed")?;
                let unpacked = from.u32("unpacked")?;
                if unpacked > MAX_UNPACKED {
                    return Err(BodyError::Limit {
                        field: "unpacked",
                        found: unpacked as usize,
                        limit: MAX_UNPACKED as usize,
                    });
                }
                Self::Packed {
                    handle,
                    flushed,
                    unpacked,
                    frame: from.blob("zstd")?.freeze(),
                }
            }
            tag::SKIP => Self::Skip {
                handle,
                from: offset(from, "from")?,
                to: offset(from, "to")?,
                epoch: LogEpoch(from.u64("epoch")?),
                append_time: Timestamp(from.i64("append_time")?),
                flushed: offset(from, "flushed")?,
            },
            tag::POSITION => Self::Position {
                handle,
                consumer: from.consumer()?,
                offset: from.optional_offset("offset")?,
                epoch: LogEpoch(from.u64("epoch")?),
                at: Timestamp(from.i64("at")?),
                metadata: String::from_utf8(from.blob("metadata")?.to_vec())
                    .map_err(|_| BodyError::NotUtf8 { field: "metadata" })?,
            },
            tag::GAP => {
                let item = Self::Gap {
                    handle,
                    from: offset(from, "from")?,
                    to: offset(from, "to")?,
                };
                match from.u8("reason")? {
                    TRIMMED => item,
                    found => {
                        return Err(BodyError::Field {
                            field: "reason",
                            found: found.into(),
                            allowed: "1 (trimmed)",
                        });
                    }
                }
            }
            tag::HEAD => Self::Head {
                handle,
                log_start: offset(from, "log_start")?,
                flushed: offset(from, "flushed")?,
                epoch: LogEpoch(from.u64("epoch")?),
            },
            tag::STOP => Self::Stop {
                handle,
                error: json(&from.blob("error")?)?,
            },
            found => {
                return Err(BodyError::Field {
                    field: "tag",
                    found: found.into(),
                    allowed: "1 (batches), 2 (packed), 3 (skip), 4 (gap), 5 (head), 6 (position) or \
                              7 (stop)",
                });
            }
        })
    }

    fn encode(&self, dst: &mut BytesMut) {
        match self {
            Self::Batches {
                handle,
                flushed,
                batches,
            } => {
                dst.put_u8(tag::BATCHES);
                dst.put_u32_le(*handle);
                dst.put_u64_le(flushed.0);
                put_blob(batches, dst);
            }
            Self::Packed {
                handle,
                flushed,
                unpacked,
                frame,
            } => {
                dst.put_u8(tag::PACKED);
                dst.put_u32_le(*handle);
                dst.put_u64_le(flushed.0);
                dst.put_u32_le(*unpacked);
                put_blob(frame, dst);
            }
            Self::Skip {
                handle,
                from,
                to,
                epoch,
                append_time,
                flushed,
            } => {
                dst.put_u8(tag::SKIP);
                dst.put_u32_le(*handle);
                dst.put_u64_le(from.0);
                dst.put_u64_le(to.0);
                dst.put_u64_le(epoch.0);
                dst.put_i64_le(append_time.0);
                dst.put_u64_le(flushed.0);
            }
            Self::Position {
                handle,
                consumer,
                offset,
                epoch,
                at,
                metadata,
            } => {
                dst.put_u8(tag::POSITION);
                dst.put_u32_le(*handle);
                put_name(consumer.as_str(), dst);
                put_optional_offset(*offset, dst);
                dst.put_u64_le(epoch.0);
                dst.put_i64_le(at.0);
                put_blob(metadata.as_bytes(), dst);
            }
            Self::Gap { handle, from, to } => {
                dst.put_u8(tag::GAP);
                dst.put_u32_le(*handle);
                dst.put_u64_le(from.0);
                dst.put_u64_le(to.0);
                dst.put_u8(TRIMMED);
            }
            Self::Head {
                handle,
                log_start,
                flushed,
                epoch,
            } => {
                dst.put_u8(tag::HEAD);
                dst.put_u32_le(*handle);
                dst.put_u64_le(log_start.0);
                dst.put_u64_le(flushed.0);
                dst.put_u64_le(epoch.0);
            }
            Self::Stop { handle, error } => {
                dst.put_u8(tag::STOP);
                dst.put_u32_le(*handle);
                let text = serde_json::to_vec(error).expect("an error has string keys");
                put_blob(&text, dst);
            }
        }
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    serde_json::from_slice(body).map_err(|error| BodyError::Json(error.to_string()))
}
