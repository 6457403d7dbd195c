//! Why a step of a call is refused.

use super::record::Outcome;
use crate::types::{CallId, Timestamp, ToolName};

/// Why a step of a call is refused. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// There is no such call.
    #[error("there is no tool call {0}")]
    UnknownCall(CallId),
    /// The id is no UUID of version 7.
    #[error("call id {0} is not a UUID of version 7")]
    CallIdVersion(CallId),
    /// The id was used for a call that differs from this one.
    #[error("call id {call} was used for a call with other `{member}`")]
    CallIdTaken {
        /// The id.
        call: CallId,
        /// The first member that differs, as in JSON.
        member: &'static str,
    },
    /// The call has ended, and not so.
    #[error("call {call} ended as `{}` at {} and not so", .outcome.name(), .at.0)]
    Ended {
        /// The call.
        call: CallId,
        /// How it ended.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
    /// A call cannot be its own parent.
    #[error("call {0} names itself as its parent")]
    OwnParent(CallId),
    /// As many calls are open as may be, or their arguments are as large as they may be.
    #[error("the organisation has {found} {what}, and at most {limit} are allowed")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there would be.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The organisation has called as many different tools as it may.
    #[error(
        "tool `{tool}` would be the {found}th of the organisation, and at most {limit} are allowed"
    )]
    TooManyTools {
        /// The new one.
        tool: ToolName,
        /// How many there would be.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Something is larger than allowed, or smaller.
    #[error("{what} of {value} is outside {least}..={most}")]
    OutOfLimit {
        /// Name and unit of what is limited.
        what: &'static str,
        /// What was asked for.
        value: u64,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
    },
    /// The call's time is over, which must be recorded first.
    #[error("the call's deadline of {due:?} has passed and comes first")]
    DeadlineFirst {
        /// When it was.
        due: Timestamp,
    },
}
