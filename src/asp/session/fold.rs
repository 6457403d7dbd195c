//! The whole state as rows, for a snapshot, and back. docs/asp.md, "Snapshots of sessions".

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::SessionEvent;
use super::one::Session;
use super::record::SessionRecord;
use super::sessions::Sessions;
use crate::asp::{File, Thread};
use crate::folding::{self, MAX_PART_BYTES};
use crate::types::{AgentId, SessionId};

/// One row of a folded state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FoldRow {
    /// The end of the thread of the sessions that ended: of an agent's, or of all.
    Ended {
        /// The agent; none for the thread of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// The thread.
        thread: Thread,
    },
    /// A record that files sessions.
    Filed(File<SessionId>),
    /// A session that is held.
    #[serde(with = "shared")]
    Session(Arc<Session>),
}

impl Sessions {
    /// The whole state as records for a snapshot. Applied in order, to any state that stands
    /// between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<SessionRecord> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<SessionRecord> {
        folding::split(self.rows(), max_part_bytes)
            .into_iter()
            .map(|part| SessionRecord::of_all(SessionEvent::Folded(part)))
            .collect()
    }
}

/// What is shared in memory stands in JSON as if it were not.
mod shared {
    use super::{Arc, Deserialize, Serialize, Session};

    pub(super) fn serialize<S: serde::Serializer>(
        session: &Arc<Session>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        (**session).serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Arc<Session>, D::Error> {
        Session::deserialize(from).map(Arc::new)
    }
}

/// The messages that are held of a sender, as one text: there may be a million of them in all. In
/// base64 97 bytes for each, little-endian: id 16, digest 32, hash 32, at 8, sequence 8, state 1
/// ([`State::ALL`](super::State::ALL), from 1). Before them, 8 bytes: the first one's number among its sender's.
pub(super) mod held {
    use std::collections::VecDeque;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::de::{Error, Visitor};

    use super::super::one::Taken;
    use super::super::table::State;
    use crate::asp::chain::Digest;
    use crate::types::{MessageId, Timestamp};

    const TAKEN_BYTES: usize = 97;

    pub(in super::super) fn serialize<S: serde::Serializer>(
        held: &VecDeque<Taken>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(8 + held.len() * TAKEN_BYTES);
        if let Some(first) = held.front() {
            bytes.extend(first.sender_sequence.to_le_bytes());
        }
        for taken in held {
            bytes.extend(taken.id.0.to_le_bytes());
            bytes.extend(taken.digest.0);
            bytes.extend(taken.hash.0);
            bytes.extend(taken.at.0.to_le_bytes());
            bytes.extend(taken.sequence.to_le_bytes());
            bytes.push(taken.state.number());
        }
        to.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<VecDeque<Taken>, D::Error> {
        from.deserialize_str(Text)
    }

    struct Text;

    impl Visitor<'_> for Text {
        type Value = VecDeque<Taken>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the messages held of a sender")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<VecDeque<Taken>, E> {
            let bytes = STANDARD_NO_PAD.decode(text).map_err(E::custom)?;
            read(&bytes).ok_or_else(|| E::custom("the messages held of a sender cannot be read"))
        }
    }

    fn read(bytes: &[u8]) -> Option<VecDeque<Taken>> {
        let Some((first, rows)) = bytes.split_first_chunk() else {
            return bytes.is_empty().then(VecDeque::new);
        };
        let first = u64::from_le_bytes(*first);
        let (rows, rest) = rows.as_chunks::<TAKEN_BYTES>();
        let mut held = VecDeque::with_capacity(rows.len());
        for (sender_sequence, row) in (first..).zip(rows) {
            let (id, row) = row.split_first_chunk()?;
            let (digest, row) = row.split_first_chunk()?;
            let (hash, row) = row.split_first_chunk()?;
            let (at, row) = row.split_first_chunk()?;
            let (sequence, row) = row.split_first_chunk()?;
            let state = usize::from(row.first()?.checked_sub(1)?);
            held.push_back(Taken {
                id: MessageId(u128::from_le_bytes(*id)),
                digest: Digest(*digest),
                hash: Digest(*hash),
                sequence: u64::from_le_bytes(*sequence),
                sender_sequence,
                state: *State::ALL.get(state)?,
                at: Timestamp(i64::from_le_bytes(*at)),
            });
        }
        rest.is_empty().then_some(held)
    }
}
