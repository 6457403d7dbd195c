//! Why a consumer cannot go on.

use super::LostRecords;
use crate::client::error::RequestError;
use crate::format::DecodeError;
use crate::protocol::{ErrorCode, WireError};
use crate::types::{Incarnation, Offset};

/// Why a consumer cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The record was removed by retention.
    #[error("the records below offset {first} are gone; the channel holds {first} to {end}")]
    Trimmed {
        /// Lowest offset that can be read.
        first: Offset,
        /// Offset after the last.
        end: Offset,
    },
    /// The offset is above the end of the channel.
    #[error("the offset is outside of {start}..{end}, which is what the channel holds")]
    OutOfRange {
        /// Lowest offset that can be read.
        start: Offset,
        /// Offset after the last.
        end: Offset,
    },
    /// The log was cut and has grown again: what was read before is not what it holds.
    #[error("the log was cut and has grown again since it was read")]
    Diverged(#[source] Box<WireError>),
    /// The channel was deleted and created again.
    #[error("the channel was deleted and created again")]
    Recreated(#[source] Box<WireError>),
    /// Stored records are damaged and not served.
    #[error("stored records are damaged; {}", match .next {
        Some(next) => format!("the next intact one has offset {next}"),
        None => "none behind them is known to be intact".to_owned(),
    })]
    Damaged {
        /// The next offset that can be read.
        next: Option<Offset>,
        /// What the broker said.
        source: Box<WireError>,
    },
    /// The broker's disk lost these records, and a repair has recorded it in the channel. Go on from
    /// their end, or have the consumer do it with [`Gaps::Yield`](super::Gaps::Yield).
    #[error("{_0}")]
    Lost(Box<LostRecords>),
    /// A batch does not follow the one before.
    #[error("expected offset {expected}, but the batch begins at {found}")]
    Gap {
        /// The offset that had to come.
        expected: Offset,
        /// The offset the batch begins at.
        found: Offset,
    },
    /// A batch is of another channel, or of another life of it.
    #[error("the batch at offset {offset} belongs to {found}, not to {expected}")]
    Foreign {
        /// Where the batch claims to be.
        offset: Offset,
        /// The channel's identity.
        expected: Incarnation,
        /// The batch's.
        found: Incarnation,
    },
    /// A batch does not match its checksum, or breaks a rule of its format.
    #[error("the batch at offset {offset} cannot be read")]
    Corrupt {
        /// The offset that had to come.
        offset: Offset,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The broker refused for another reason.
    #[error(transparent)]
    Server(Box<WireError>),
    /// The broker could not be asked, for longer than the consumer tries.
    #[error(transparent)]
    Request(RequestError),
}

impl ConsumeError {
    /// What a refusal of a fetch means.
    pub(super) fn from_request(error: RequestError) -> Self {
        let RequestError::Server(source) = error else {
            return Self::Request(error);
        };
        let detail = |name| source.detail_u64(name).map(Offset);
        match source.known() {
            Some(ErrorCode::OffsetTrimmed) => match (detail("first"), detail("end")) {
                (Some(first), Some(end)) => Self::Trimmed { first, end },
                _ => Self::Server(source),
            },
            Some(ErrorCode::OffsetOutOfRange) => match (detail("start"), detail("end")) {
                (Some(start), Some(end)) => Self::OutOfRange { start, end },
                _ => Self::Server(source),
            },
            Some(ErrorCode::Diverged) => Self::Diverged(source),
            Some(ErrorCode::ChannelRecreated) => Self::Recreated(source),
            Some(ErrorCode::Damaged) => Self::Damaged {
                next: detail("next"),
                source,
            },
            _ => Self::Server(source),
        }
    }

    /// What the broker said, when it was the broker who refused.
    #[must_use]
    pub fn server(&self) -> Option<&WireError> {
        match self {
            Self::Diverged(error)
            | Self::Recreated(error)
            | Self::Server(error)
            | Self::Damaged { source: error, .. } => Some(error),
            Self::Request(error) => error.server(),
            _ => None,
        }
    }
}
