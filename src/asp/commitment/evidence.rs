//! What somebody points to: places in the broker's own record, and words of their own.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::OutOfLimit;
use super::promise::{wide, within};
use crate::asp::MAX_INTEGER;
use crate::asp::chain::Digest;
use crate::asp::tool::Plain;
use crate::types::{ChannelName, Offset, SessionId};

/// Most places that one piece of evidence names.
pub const MAX_REFERENCES: usize = 32;
/// Most records of one place.
pub const MAX_REFERENCED_RECORDS: u64 = 10_000;
/// Most bytes of the records of all places together.
pub const MAX_REFERENCED_BYTES: u64 = 64 * 1024 * 1024;
/// Most bytes of the words, in canonical form.
pub const MAX_WORDS_BYTES: usize = 64 * 1024;

/// A place in the broker's own record. The caller has seen to it that whoever names it can read
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reference {
    /// Records of a channel.
    Channel {
        /// Bytes of those records.
        bytes: u64,
        /// The channel.
        channel: ChannelName,
        /// Digest of those records ([`super::RecordsDigest`]), as they were when this was said.
        digest: Digest,
        /// Offset behind the last of them.
        end: Offset,
        /// Offset of the first of them.
        start: Offset,
    },
    /// A record of a session.
    Session {
        /// Its hash, which stands for all records of the session before it.
        digest: Digest,
        /// Its number in the session.
        sequence: u64,
        /// The session.
        session: SessionId,
    },
}

/// What somebody points to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Places in the broker's own record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Words of their own: JSON in canonical form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Plain>,
}

impl Reference {
    /// Whether it points to the same place, whatever is there.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Channel {
                    channel,
                    start,
                    end,
                    ..
                },
                Self::Channel {
                    channel: at,
                    start: from,
                    end: to,
                    ..
                },
            ) => (channel, start, end) == (at, from, to),
            (
                Self::Session {
                    sequence, session, ..
                },
                Self::Session {
                    sequence: number,
                    session: at,
                    ..
                },
            ) => (sequence, session) == (number, at),
            _ => false,
        }
    }

    /// The digest of what is there.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Channel { digest, .. } | Self::Session { digest, .. } => *digest,
        }
    }
}

impl Evidence {
    /// Checks what somebody points to.
    ///
    /// # Errors
    /// [`OutOfLimit`] for the first member that breaks a limit.
    pub fn check(&self) -> Result<(), OutOfLimit> {
        within(
            "evidence.references",
            wide(self.references.len()),
            0,
            wide(MAX_REFERENCES),
        )?;
        let mut all = 0_u64;
        for reference in &self.references {
            match reference {
                Reference::Channel {
                    bytes, start, end, ..
                } => {
                    within(
                        "evidence.references.end",
                        end.0,
                        start.0.saturating_add(1),
                        MAX_INTEGER,
                    )?;
                    let records = end.0 - start.0;
                    within(
                        "evidence.references records",
                        records,
                        1,
                        MAX_REFERENCED_RECORDS,
                    )?;
                    all = all.saturating_add(*bytes);
                }
                Reference::Session { sequence, .. } => {
                    within("evidence.references.sequence", *sequence, 0, MAX_INTEGER)?;
                }
            }
        }
        within("evidence.references bytes", all, 0, MAX_REFERENCED_BYTES)?;
        let words = self.words.as_ref().map_or(0, Plain::bytes);
        within("evidence bytes", wide(words), 0, wide(MAX_WORDS_BYTES))
    }

    /// Hash of it.
    ///
    /// # Panics
    /// Never: its members are plain.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let json = serde_json::to_vec(self).expect("evidence has string keys only");
        let mut hasher = Sha256::new();
        hasher.update(b"npayload/asp/evidence/1\n");
        hasher.update(json);
        Digest(hasher.finalize().into())
    }
}
