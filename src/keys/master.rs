//! Master keys: how they are written, what they are called, and which of them the broker knows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::format::DataKey;

/// Most master keys that are known at once.
const MOST_KEYS: usize = 16;

/// What the hash that names a key begins with.
const ID_CONTEXT: &[u8] = b"npayload master key";

/// What a master key is called: the first bytes of a hash over it, in 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterKeyId([u8; 8]);

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeyId({self})")
    }
}

impl FromStr for MasterKeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 8];
        match from_hex(text, &mut bytes) {
            true => Ok(Self(bytes)),
            false => Err("the name of a master key is 16 hexadecimal digits"),
        }
    }
}

impl Serialize for MasterKeyId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MasterKeyId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A master key. Shows nothing but its name in debug output.
pub struct MasterKey {
    id: MasterKeyId,
    pub(super) key: DataKey,
}

impl MasterKey {
    fn new(bytes: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(ID_CONTEXT);
        hash.update(bytes);
        let hash = hash.finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self {
            id: MasterKeyId(id),
            key: DataKey::new(bytes),
        }
    }

    /// What it is called.
    #[must_use]
    pub fn id(&self) -> MasterKeyId {
        self.id
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// Why a text holds no master keys. The text itself is never part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMasterKey {
    /// There is no key in it.
    #[error(
        "there is no master key in it: a line with 64 hexadecimal digits, or 32 bytes in base64"
    )]
    None,
    /// A line is not a key.
    #[error(
        "line {line} has {found} characters and is not a master key: 64 hexadecimal digits, or 32 \
         bytes in base64"
    )]
    Line {
        /// Number of the line, from 1 on.
        line: usize,
        /// Its characters.
        found: usize,
    },
    /// A key is there twice.
    #[error("line {line} has the master key {id}, as a line before it")]
    Repeated {
        /// Number of the line, from 1 on.
        line: usize,
        /// What the key is called.
        id: MasterKeyId,
    },
    /// There are too many.
    #[error("there are more than {limit} master keys in it")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
}

/// The master keys that the broker was told: the first wraps, all of them unwrap.
#[derive(Clone, Debug, Default)]
pub struct MasterKeys {
    keys: Arc<[MasterKey]>,
    trouble: Option<Arc<str>>,
}

impl MasterKeys {
    /// The keys of a text: one a line, 64 hexadecimal digits or 32 bytes in base64; the first wraps.
    /// Empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`InvalidMasterKey`], without anything of the text.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKey> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let (line, at) = (line.trim(), at + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let found = line.chars().count();
            let bytes = decoded(line).ok_or(InvalidMasterKey::Line { line: at, found })?;
            let key = MasterKey::new(&bytes);
            if keys.iter().any(|known| known.id == key.id) {
                let id = key.id;
                return Err(InvalidMasterKey::Repeated { line: at, id });
            }
            if keys.len() == MOST_KEYS {
                return Err(InvalidMasterKey::TooMany { limit: MOST_KEYS });
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(InvalidMasterKey::None);
        }
        Ok(Self {
            keys: keys.into(),
            trouble: None,
        })
    }

    /// No key, because where it should come from gave none.
    #[must_use]
    pub fn unavailable(why: impl Into<Arc<str>>) -> Self {
        Self {
            keys: Arc::default(),
            trouble: Some(why.into()),
        }
    }

    /// Why there is none, where there should be one.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The key that wraps.
    #[must_use]
    pub fn first(&self) -> Option<&MasterKey> {
        self.keys.first()
    }

    /// The key of that name.
    #[must_use]
    pub fn named(&self, id: MasterKeyId) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// All of them, the one that wraps first.
    pub fn iter(&self) -> impl Iterator<Item = &MasterKey> {
        self.keys.iter()
    }
}

fn decoded(line: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if from_hex(line, &mut *bytes) {
        return Some(bytes);
    }
    // Room for what 44 characters may hold at most.
    let mut room = Zeroizing::new([0; 33]);
    if line.len() != 44 || STANDARD.decode_slice(line, &mut *room) != Ok(32) {
        return None;
    }
    bytes.copy_from_slice(&room[..32]);
    Some(bytes)
}

/// Whether the text is exactly the hexadecimal digits that fill `into`.
fn from_hex(text: &str, into: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != 2 * into.len() {
        return false;
    }
    for (byte, pair) in into.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return false;
        };
        *byte = u8::try_from(high << 4 | low).expect("two digits of four bits");
    }
    true
}
