//! What somebody points to in the broker's own record.

use serde::{Deserialize, Serialize};

use crate::asp::chain::Digest;
use crate::types::{ChannelName, Offset, SessionId};

/// A place in the broker's own record, which whoever names it can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a place in evidence is an object of `sessionId`, `sequence` and perhaps `digest`, or of `channel`, `start`, `end` and perhaps `digest`"
)]
pub enum EvidencePlace {
    /// A record of a session, which stands for all before it.
    Session(SessionPlace),
    /// Records of a channel.
    Channel(ChannelPlace),
}

/// See [`EvidencePlace::Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionPlace {
    /// The session.
    pub session_id: SessionId,
    /// Number of the record in it.
    pub sequence: u64,
    /// Hash of the record. The broker adds it; where it is given it has to be so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// See [`EvidencePlace::Channel`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelPlace {
    /// The channel.
    pub channel: ChannelName,
    /// Offset of the first record.
    pub start: Offset,
    /// Offset behind the last record; at most 10,000 above `start`.
    pub end: Offset,
    /// SHA-256 of the records. The broker adds what they have; another one that is given is what
    /// they are said to have had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}
