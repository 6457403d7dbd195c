//! Why the logs of a channel can't be read together.

use crate::client::{ConsumeError, RequestError};
use crate::protocol::WireError;
use crate::region::MergeError;
use crate::types::{ChannelName, Offset, RegionName};

/// Why the logs of a channel can't be read together.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergedError {
    /// The channel is one log, which a [`Consumer`](crate::client::Consumer) reads.
    #[error("channel `{channel}` is one log, and there is nothing to merge")]
    OneLog {
        /// The channel.
        channel: ChannelName,
    },
    /// One of the logs can't be read on.
    #[error("the log of region `{region}`: {source}")]
    Log {
        /// Whose log.
        region: RegionName,
        /// Why.
        source: Box<ConsumeError>,
    },
    /// What is asked for has not come from a region's home in time.
    #[error(
        "the log of region `{region}` is here up to offset {at}, and {to} was asked for; nothing \
         came for {waited_ms} ms"
    )]
    Behind {
        /// Whose log.
        region: RegionName,
        /// Where the reader stands in it.
        at: Offset,
        /// How far it was to read.
        to: Offset,
        /// How long it has waited, in milliseconds.
        waited_ms: u64,
    },
    /// A record is not the next of its log.
    #[error(transparent)]
    Order(#[from] MergeError),
    /// The broker could not be asked, or has refused.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl MergedError {
    /// What the broker said, when it was the broker who refused.
    #[must_use]
    pub fn server(&self) -> Option<&WireError> {
        match self {
            Self::Log { source, .. } => source.server(),
            Self::Request(error) => error.server(),
            _ => None,
        }
    }
}
