//! What a call is given and what it gives back: JSON, or only its digest; and how far it is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::asp::chain::Digest;

/// Most bytes of a call's arguments, and of its result, as JSON.
pub const MAX_CONTENT_BYTES: usize = 256 * 1024;

/// Arguments or a result, known by the SHA-256 of its canonical form (RFC 8785).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The digest. Two contents are the same where their digests are.
    pub digest: Digest,
    /// The content itself; none where it is sensitive, so that only the digest is kept.
    pub plain: Option<Plain>,
}

impl Content {
    /// What is not sensitive.
    ///
    /// - `json`: in canonical form, of which `digest` is the SHA-256; the caller made both.
    #[must_use]
    pub fn plain(digest: Digest, json: Box<RawValue>) -> Self {
        Self {
            digest,
            plain: Some(Plain(json.into())),
        }
    }

    /// What is sensitive.
    #[must_use]
    pub fn sensitive(digest: Digest) -> Self {
        Self {
            digest,
            plain: None,
        }
    }
}

/// JSON that is kept as text and never read here. A clone shares the text.
#[derive(Clone, Debug)]
pub struct Plain(Arc<RawValue>);

impl Plain {
    /// The JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Bytes of the JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.as_str().len()
    }
}

impl From<Box<RawValue>> for Plain {
    fn from(json: Box<RawValue>) -> Self {
        Self(json.into())
    }
}

impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Plain {}

impl Serialize for Plain {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(Self::from)
    }
}

/// How far a call is, in thousandths, 0 to 1,000; in JSON a number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "f64")]
pub struct Progress(u16);

/// A number that is no progress.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("progress {0} is outside 0..=1")]
pub struct InvalidProgress(pub f64);

impl Progress {
    /// The progress in thousandths, 0 to 1,000.
    #[must_use]
    pub fn thousandths(self) -> u16 {
        self.0
    }
}

impl TryFrom<f64> for Progress {
    type Error = InvalidProgress;

    /// # Errors
    /// [`InvalidProgress`] outside of 0 to 1, and for what is not a number.
    fn try_from(progress: f64) -> Result<Self, InvalidProgress> {
        if !(0.0..=1.0).contains(&progress) {
            return Err(InvalidProgress(progress));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1,000"
        )]
        Ok(Self((progress * 1000.0).round() as u16))
    }
}

impl Serialize for Progress {
    /// As the canonical form has it: whole numbers without a point.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => to.serialize_u64(0),
            1000 => to.serialize_u64(1),
            thousandths => to.serialize_f64(f64::from(thousandths) / 1000.0),
        }
    }
}
