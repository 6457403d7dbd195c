//! What lives where its session does, and is named by an id that does not say where that is.

use serde::{Deserialize, Serialize};

use crate::types::{CallId, CommitmentId, DisputeId};

/// What a request is about that follows from a session. Who asks chose the id, so that a session's
/// id says in which region it lives, and this one does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Matter {
    /// A promise.
    Commitment(CommitmentId),
    /// That one was not kept.
    Dispute(DisputeId),
    /// A call of a tool.
    Call(CallId),
}
