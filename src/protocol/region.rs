//! Requests between regions, and about them: a link's own, which one broker sends another, and those
//! of operators. `docs/regions.md`, "Frames between regions".

mod copies;
mod interest;
mod link;
mod link_fetch;
mod link_item;
mod status;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::copies::{RegionPurge, RegionPurged, RegionVerify, Verified, VerifiedCopy};
pub use self::interest::{
    InterestAdd, InterestList, InterestRemove, InterestRemoved, InterestRow, InterestRows,
};
pub use self::link::{
    FollowFrom, FollowLog, FollowedLog, LinkDigest, LinkFollow, LinkFollowed, LinkLog, LinkLogs,
    LinkLogsPage, LinkOpen, LinkOpened, LinkUnfollow, LinkUnfollowed, MAX_LOGS, RangeDigest,
};
pub use self::link_fetch::{LinkFetchRequest, LinkFetchResponse, MAX_HELD};
pub use self::link_item::{LinkItem, MAX_UNPACKED};
pub use self::status::{
    CopyStatus, DisputedName, HeldBy, HeldStatus, LinkRow, LinkState, OutboxRefused, OutboxStatus,
    PeerRow, RegionList, RegionStatus, RegionTold, Regions,
};
pub use super::aside::{
    AcknowledgedRange, AsideLook, AsidePart, AsideTold, LinkSaw, LinkSeen, MAX_ASIDE_BYTES,
    RegionAcknowledge, RegionAcknowledged, RegionAside,
};
use super::control::ChannelCreated;
pub use super::directory::{
    ChannelNamed, ChannelPlace, ConsentList, ConsentSet, Consents, CrossingRow, DirectoryMove,
    DirectoryTold, DirectoryUnname, DirectoryUnnamed, LinkCreate, LinkDirectory, MAX_NAMES,
    RegionLeave, RegionLeft, RegionPeer, ResidencyRow,
};
use super::json_kinds::json_kinds;
pub use super::link_find::{Actor, LinkFind, LinkFound};
use super::logs::{ChannelLogs, RegionLogs};
use super::primitive::BodyError;
pub use super::region_moves::{
    AsideRow, HomeDecline, HomeDeclined, HomeFence, HomeFenced, HomeTake, MissingRange, MovedRow,
    RegionMove, RegionMoved, RegionRetried, RegionRetry,
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

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    super::json_body::read(body)
}
