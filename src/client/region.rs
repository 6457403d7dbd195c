//! Requests about regions as typed methods of the client.

use super::error::RequestError;
use super::handle::{Client, Retry};
use crate::protocol::logs::{ChannelLogs, RegionLogs};
use crate::protocol::region::{
    ConsentList, ConsentSet, Consents, DirectoryMove, DirectoryUnname, DirectoryUnnamed,
    InterestAdd, InterestList, InterestRemove, InterestRemoved, InterestRow, InterestRows,
    RegionAcknowledge, RegionAcknowledged, RegionLeave, RegionLeft, RegionList, RegionMove,
    RegionMoved, RegionPeer, RegionPurge, RegionPurged, RegionRetried, RegionRetry, RegionStatus,
    RegionTold, RegionVerify, Regions, Verified,
};
use crate::protocol::{RegionRequest, RegionResponse, Request, Response};
use crate::types::{ChannelName, RegionName};

/// Asks, and takes the answer of the right kind.
macro_rules! ask {
    ($client:expr, $kind:ident, $request:expr, $retry:expr) => {{
        let request = Request::Region(Box::new(RegionRequest::$kind($request)));
        let wrong = RequestError::Unexpected {
            kind: crate::protocol::Kind::$kind.name(),
        };
        match $client.call(&request, $retry).await? {
            Response::Region(answer) => match *answer {
                RegionResponse::$kind(answer) => Ok(answer),
                _ => Err(wrong),
            },
            _ => Err(wrong),
        }
    }};
}

impl Client {
    /// This region, and its peers.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `NOT_A_REGION`.
    pub async fn regions(&self) -> Result<Regions, RequestError> {
        ask!(self, RegionList, RegionList {}, Retry::Safe)
    }

    /// How the links and copies of this region are.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `NOT_A_REGION`.
    pub async fn region_status(&self) -> Result<RegionTold, RequestError> {
        ask!(self, RegionStatus, RegionStatus {}, Retry::Safe)
    }

    /// Compares a copy with its home; asked of the home, all copies of the channel that are known there.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND` and `REGION_UNREACHABLE`.
    pub async fn verify_copy(&self, name: &ChannelName) -> Result<Verified, RequestError> {
        let name = name.clone();
        ask!(self, RegionVerify, RegionVerify { name }, Retry::Safe)
    }

    /// Moves the home of a channel to another region. Both must be there, but for one that is forced:
    /// then the answer names what may be lost.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `MOVE_REFUSED`, `UNKNOWN_REGION` and `REGION_UNREACHABLE`.
    pub async fn move_home(
        &self,
        name: &ChannelName,
        to: RegionName,
        force: bool,
    ) -> Result<RegionMoved, RequestError> {
        let name = name.clone();
        ask!(
            self,
            RegionMove,
            RegionMove { name, to, force },
            Retry::Unsafe
        )
    }

    /// Follows a copy again that was stopped.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`.
    pub async fn retry_copy(&self, name: &ChannelName) -> Result<RegionRetried, RequestError> {
        let name = name.clone();
        ask!(self, RegionRetry, RegionRetry { name }, Retry::Safe)
    }

    /// Takes what forced moves of a channel may have lost off the list; gives what was on it.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`.
    pub async fn acknowledge_missing(
        &self,
        name: &ChannelName,
    ) -> Result<RegionAcknowledged, RequestError> {
        let name = name.clone();
        let asked = RegionAcknowledge { name };
        ask!(self, RegionAcknowledge, asked, Retry::Safe)
    }

    /// Removes a copy, with all that is in it.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND` and `PURGE_REFUSED`.
    pub async fn purge_copy(&self, name: &ChannelName) -> Result<RegionPurged, RequestError> {
        let name = name.clone();
        ask!(self, RegionPurge, RegionPurge { name }, Retry::Unsafe)
    }

    /// Says which regions may hold what; all that was said comes back.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `REGION_UNREACHABLE` where the home of the directory is,
    /// `UNKNOWN_REGION`, `CHANNEL_NOT_FOUND` and `NO_CONSENT`.
    pub async fn set_consent(&self, word: ConsentSet) -> Result<Consents, RequestError> {
        ask!(self, ConsentSet, word, Retry::Safe)
    }

    /// Which regions may hold what, as far as somebody has said.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `NOT_A_REGION`.
    pub async fn consents(&self) -> Result<Consents, RequestError> {
        ask!(self, ConsentList, ConsentList {}, Retry::Safe)
    }

    /// Adds a peer, changes its address, or removes it; the peers then.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `NOT_A_REGION` and `INVALID_REQUEST`.
    pub async fn set_peer(&self, peer: RegionPeer) -> Result<Regions, RequestError> {
        ask!(self, RegionPeer, peer, Retry::Safe)
    }

    /// Moves the directory of all regions to another one. Both must be there, but for a move that is
    /// forced: then the answer names what may be lost.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `MOVE_REFUSED`, `UNKNOWN_REGION` and `REGION_UNREACHABLE`.
    pub async fn move_directory(
        &self,
        to: RegionName,
        force: bool,
    ) -> Result<RegionMoved, RequestError> {
        ask!(
            self,
            DirectoryMove,
            DirectoryMove { to, force },
            Retry::Unsafe
        )
    }

    /// Takes a region out of the directory, which is home of nothing any more; without one, the region
    /// that is asked, which goes on without peers.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `REGION_IN_USE`, `UNKNOWN_REGION` and `REGION_UNREACHABLE`.
    pub async fn leave_directory(
        &self,
        region: Option<RegionName>,
    ) -> Result<RegionLeft, RequestError> {
        ask!(self, RegionLeave, RegionLeave { region }, Retry::Unsafe)
    }

    /// Takes the name of a channel out of the directory, whose region is gone and can't give it back.
    /// Asked of the home of the directory.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND`, `NOT_HOME`, and `NAME_HELD` where the
    /// channel lives in the region that is asked.
    pub async fn unname(&self, channel: &ChannelName) -> Result<DirectoryUnnamed, RequestError> {
        let channel = channel.clone();
        let asked = DirectoryUnname { channel };
        ask!(self, DirectoryUnname, asked, Retry::Unsafe)
    }

    /// Declares interest; what was declared of the same pattern before is replaced.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `NOT_A_REGION`.
    pub async fn add_interest(&self, interest: InterestAdd) -> Result<InterestRow, RequestError> {
        ask!(self, InterestAdd, interest, Retry::Safe)
    }

    /// What the region wants of others.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `NOT_A_REGION`.
    pub async fn interests(&self) -> Result<InterestRows, RequestError> {
        ask!(self, InterestList, InterestList {}, Retry::Safe)
    }

    /// Withdraws interest.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `INTEREST_NOT_FOUND`.
    pub async fn remove_interest(
        &self,
        interest: InterestRemove,
    ) -> Result<InterestRemoved, RequestError> {
        ask!(self, InterestRemove, interest, Retry::Unsafe)
    }

    /// Which logs a channel has, and where they stand here.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND` and `REGION_UNREACHABLE`.
    pub async fn channel_logs(&self, asked: RegionLogs) -> Result<ChannelLogs, RequestError> {
        ask!(self, RegionLogs, asked, Retry::Safe)
    }
}
