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

impl Matter {
    /// The last 16 bits of its id. Clients choose ids that end as that of the session does, and so
    /// with the number of the region where both live; of an id that somebody else chose they are
    /// whatever they are.
    #[must_use]
    pub fn last_bits(self) -> u16 {
        let id = match self {
            Self::Commitment(id) => id.0,
            Self::Dispute(id) => id.0,
            Self::Call(id) => id.0,
        };
        u16::try_from(id & u128::from(u16::MAX)).expect("16 bits")
    }
}
