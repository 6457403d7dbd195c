//! Data keys as they are kept: encrypted with a master key, bound to their channel and number.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::master::{MasterKey, MasterKeyId, MasterKeys};
use crate::format::{DataKey, NONCE_BYTES, TAG_BYTES};
use crate::types::{Incarnation, Offset, Timestamp};

/// The bytes of a data key, wiped when they are let go.
pub type RawKey = Zeroizing<[u8; DataKey::BYTES]>;

/// What the associated data of a wrapped key begins with.
const CONTEXT: &[u8] = b"npayload data key";

const WRAPPED_BYTES: usize = NONCE_BYTES + DataKey::BYTES + TAG_BYTES;

/// A data key of a channel. Specified by `storage-format.md`, "Seal".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WrappedKey {
    /// Its number within the channel, from 1 on, never used again.
    pub id: u32,
    /// Offset of the next record when it was made.
    pub from: Offset,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its bytes, wrapped.
    #[serde(flatten)]
    pub wrapped: Wrapped,
}

/// The bytes of a data key, encrypted with a master key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wrapped {
    /// The master key that unwraps them.
    pub master_key: MasterKeyId,
    /// Base64 of nonce, encrypted key and tag.
    pub wrapped: String,
}

/// Why a data key can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Locked {
    /// The broker knows no master key.
    #[error("master key {needed} is needed, and {}", .trouble.as_deref().unwrap_or("none was given"))]
    NoMasterKey {
        /// The master key that wraps the data key.
        needed: MasterKeyId,
        /// Why there is none, where there should be one.
        trouble: Option<Arc<str>>,
    },
    /// The broker knows other master keys.
    #[error("master key {needed} is needed, and {known} was given")]
    OtherMasterKey {
        /// The master key that wraps the data key.
        needed: MasterKeyId,
        /// Those that are known, one after the other.
        known: String,
    },
    /// What was wrapped is not what is there.
    #[error("what master key {needed} wraps was changed")]
    Broken {
        /// The master key that wraps the data key.
        needed: MasterKeyId,
    },
    /// The channel has no such key, or has it no more.
    #[error("the channel has no such key")]
    Unknown,
}

impl Wrapped {
    /// Wraps the data key number `id` of a log.
    ///
    /// - `nonce`: random bytes.
    #[must_use]
    pub fn new(
        key: &RawKey,
        master: &MasterKey,
        log: Incarnation,
        id: u32,
        nonce: [u8; NONCE_BYTES],
    ) -> Self {
        let mut text = key.clone();
        let tag = master.key.encrypt(nonce, &bound(log, id), &mut *text);
        let bytes = [&nonce[..], &text[..], &tag[..]].concat();
        Self {
            master_key: master.id(),
            wrapped: STANDARD.encode(bytes),
        }
    }

    /// The data key number `id` of a log.
    ///
    /// # Errors
    /// [`Locked`], which names the master key that is needed.
    pub fn open(&self, masters: &MasterKeys, log: Incarnation, id: u32) -> Result<RawKey, Locked> {
        let needed = self.master_key;
        let Some(master) = masters.named(needed) else {
            let known: Vec<String> = masters.iter().map(|key| key.id().to_string()).collect();
            return Err(match known.is_empty() {
                true => Locked::NoMasterKey {
                    needed,
                    trouble: masters.trouble().map(Arc::from),
                },
                false => Locked::OtherMasterKey {
                    needed,
                    known: known.join(", "),
                },
            });
        };
        let bytes = STANDARD.decode(&self.wrapped).unwrap_or_default();
        let Ok(bytes) = <[u8; WRAPPED_BYTES]>::try_from(bytes) else {
            return Err(Locked::Broken { needed });
        };
        let (mut nonce, mut tag) = ([0; NONCE_BYTES], [0; TAG_BYTES]);
        let mut text = RawKey::new([0; DataKey::BYTES]);
        let key_end = NONCE_BYTES + DataKey::BYTES;
        nonce.copy_from_slice(&bytes[..NONCE_BYTES]);
        text.copy_from_slice(&bytes[NONCE_BYTES..key_end]);
        tag.copy_from_slice(&bytes[key_end..]);
        match master.key.decrypt(nonce, &bound(log, id), tag, &mut *text) {
            true => Ok(text),
            false => Err(Locked::Broken { needed }),
        }
    }
}

/// What a wrapped key is bound to, so that it passes for no other.
fn bound(log: Incarnation, id: u32) -> Vec<u8> {
    [CONTEXT, &log.0.to_le_bytes(), &id.to_le_bytes()].concat()
}
