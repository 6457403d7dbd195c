//! What is done to all logs of a channel that has one for each region: moving a consumer in all of
//! them at once, deleting all of them.

use serde::Serialize;

use crate::client::error::RequestError;
use crate::client::handle::Client;
use crate::protocol::control::Place;
use crate::protocol::logs::{ChannelLogs, LogRow, RegionLogs};
use crate::protocol::{ErrorCode, WireError};
use crate::region::Vector;
use crate::region::interest::Since;
use crate::types::{ChannelName, ConsumerName, Incarnation, RegionName};

/// What became of the logs of a channel that was deleted everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedEverywhere {
    /// The logs, each deleted in its home; those that somebody else was faster with are among them.
    pub deleted: Vec<DeletedLog>,
    /// Copies of them in the region that was asked, which are gone too.
    pub purged: Vec<ChannelName>,
    /// Copies of them there which stay, and why: an interest wants them.
    pub kept: Vec<(ChannelName, String)>,
}

/// A log that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedLog {
    /// Its name.
    pub name: ChannelName,
    /// Its home.
    pub home: RegionName,
    /// Its identity.
    pub incarnation: Incarnation,
}

/// Why a channel was not deleted everywhere.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteEverywhereError {
    /// Nothing was deleted: which logs there are can't be told, or not all of their homes be reached.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// One log was not deleted. Deleting again goes on with it.
    #[error("the log `{log}` was not deleted; before it, {} of {of} were", .deleted.len())]
    Stopped {
        /// The log.
        log: ChannelName,
        /// Those that were deleted before it.
        deleted: Vec<DeletedLog>,
        /// How many there were to delete.
        of: usize,
        /// Why.
        source: Box<RequestError>,
    },
}

impl Client {
    async fn logs_of(&self, channel: &ChannelName) -> Result<ChannelLogs, RequestError> {
        self.channel_logs(RegionLogs {
            channel: channel.clone(),
            read: false,
            from: Since::Start,
            after: None,
            wait_ms: 0,
        })
        .await
    }

    /// Moves a consumer to a place in every log of a channel that has one for each region, of those
    /// that the region which is asked has: in all of them or in none. Gives where it stands then.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `CHANNEL_NOT_FOUND` and those of a commit;
    /// `EACH_REGION` for an offset, which is a place in one log.
    pub async fn reset_merged(
        &self,
        channel: &ChannelName,
        consumer: &ConsumerName,
        place: Place,
    ) -> Result<Vector, RequestError> {
        if matches!(place, Place::Offset(_)) {
            let text = "an offset is a place in one region's log: name that, as CHANNEL@REGION";
            let error = WireError::new(ErrorCode::EachRegion, text);
            let error = error.with("channel", channel.as_str());
            return Err(RequestError::Server(Box::new(error)));
        }
        let told = self.logs_of(channel).await?;
        let mut position = Vec::new();
        for log in told.logs.iter().filter(|log| log.held) {
            let at = self.resolve(&log.name, place).await?;
            position.push((log.region.clone(), at.offset));
        }
        let position: Vector = position.into_iter().collect();
        self.commit_merged(channel, consumer, &position, "").await?;
        Ok(position)
    }

    /// Deletes every log of a channel that has one for each region, each in its home, and the copies
    /// of them in the region that is asked. Nothing is deleted while one of the homes, or a region
    /// that may have one more log, can't be reached. Copies in other regions stop, and stay there
    /// until they are purged.
    ///
    /// # Errors
    /// [`DeleteEverywhereError`]; of the broker's, `REGION_UNREACHABLE` and `CHANNEL_NOT_FOUND`.
    pub async fn delete_everywhere(
        &self,
        channel: &ChannelName,
    ) -> Result<DeletedEverywhere, DeleteEverywhereError> {
        let me = self.regions().await?.region;
        let told = self.logs_of(channel).await?;
        if let Some(away) = told.unreachable.first() {
            let text =
                format!("region `{away}` can't be reached, and may have a log of `{channel}`");
            let error = WireError::new(ErrorCode::RegionUnreachable, text);
            let error = error.with("region", away.as_str());
            return Err(RequestError::Server(Box::new(error)).into());
        }
        // The region's own comes last: while it is there, deleting again finds the others.
        let mut logs: Vec<&LogRow> = told.logs.iter().collect();
        logs.sort_by_key(|log| log.home == me);
        let mut done = DeletedEverywhere::default();
        for log in &logs {
            match self.delete_channel(&log.name).await {
                Ok(_) => {}
                Err(RequestError::Server(error)) if error.is(ErrorCode::ChannelNotFound) => {}
                Err(source) => {
                    return Err(DeleteEverywhereError::Stopped {
                        log: log.name.clone(),
                        deleted: done.deleted,
                        of: logs.len(),
                        source: Box::new(source),
                    });
                }
            }
            done.deleted.push(DeletedLog {
                name: log.name.clone(),
                home: log.home.clone(),
                incarnation: log.incarnation,
            });
        }
        for log in logs.iter().filter(|log| log.held && log.home != me) {
            match self.purge_copy(&log.name).await {
                Ok(_) => done.purged.push(log.name.clone()),
                Err(RequestError::Server(error)) if error.is(ErrorCode::ChannelNotFound) => {}
                Err(error) => done.kept.push((log.name.clone(), error.to_string())),
            }
        }
        Ok(done)
    }
}
