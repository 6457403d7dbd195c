//! Why a record was not published.

use std::sync::Arc;
use std::time::Duration;

use crate::client::error::{ConnectError, RequestError};
use crate::format::{BuildError, DecodeError};
use crate::protocol::{ErrorCode, WireError};
use crate::types::Offset;

/// Why a record was not published, or why it is not known whether it was.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The record breaks a limit of the format. Nothing was sent; other records are not affected.
    #[error(transparent)]
    Invalid(#[from] BuildError),
    /// Too many bytes are not acknowledged yet. The record was not taken; others are not affected.
    #[error("{limit} bytes are not acknowledged yet, which is the limit")]
    Full {
        /// The limit of unacknowledged bytes.
        limit: usize,
    },
    /// The broker refused the batch.
    #[error(transparent)]
    Server(Box<WireError>),
    /// There is no connection, and trying again would not help.
    #[error(transparent)]
    Connect(ConnectError),
    /// The batch was not acknowledged in time. It may have been appended.
    #[error("not acknowledged within {after:?}; the record may have been appended")]
    Timeout {
        /// The delivery timeout.
        after: Duration,
        /// What went wrong last, if anything did.
        #[source]
        last: Option<Box<RequestError>>,
    },
    /// The broker answered what the protocol does not allow.
    #[error("the broker's answer is not understood")]
    Answer(#[source] Box<RequestError>),
    /// The answer covers other offsets than the batch has records.
    #[error("the broker acknowledged offsets {first} to {last} for {records} records")]
    Count {
        /// First offset acknowledged.
        first: Offset,
        /// Last offset acknowledged.
        last: Offset,
        /// Records in the batch.
        records: u32,
    },
    /// The batch was appended, but its offsets could not be found out.
    #[error("the record was appended, but its offset could not be found out")]
    Lost(#[source] Box<RequestError>),
    /// The batch was appended, but stored bytes met while looking for its offsets are damaged.
    #[error("the record was appended, but looking for its offset met a damaged batch")]
    Damaged(#[source] DecodeError),
    /// A batch before this record failed, so this one was not sent, or refused for its sequence;
    /// only behind a batch whose answer was not understood may it have been appended. Call
    /// [`Producer::resume`](super::Producer::resume) to go on.
    #[error("a batch before this record failed")]
    Poisoned(#[source] Arc<PublishError>),
}

impl PublishError {
    /// What the broker said, when it was the broker who refused, this batch or one before it.
    #[must_use]
    pub fn server(&self) -> Option<&WireError> {
        match self {
            Self::Server(error) => Some(error),
            Self::Connect(ConnectError::Refused { source, .. }) => Some(source),
            Self::Timeout {
                last: Some(error), ..
            } => error.server(),
            Self::Poisoned(error) => error.server(),
            _ => None,
        }
    }

    /// Whether the broker refused with this code.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.server().is_some_and(|error| error.is(code))
    }
}
