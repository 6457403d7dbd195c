//! The text of an API key, and the hash that is kept of it.
//!
//! ```text
//! npk_live_ 9f…e1          3c0a77d2
//! kind      64 hex digits  8 hex digits: CRC-32 of all before them
//! ```
//! The secret is shown once, at its creation, and never stored: the broker keeps HMAC-SHA-256 of
//! the whole text under a key of its own, which lies beside the data and not in any record.
//! Guessing is out of reach at 256 random bits, so no slow hash is needed.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of randomness in a key, and of the key of the hash.
pub const SECRET_BYTES: usize = 32;

/// The key of the hash that other regions know a key by, which is no secret.
const TRAVELS: [u8; SECRET_BYTES] = *b"npayload: a key in other regions";

const HEX_DIGITS: usize = 2 * SECRET_BYTES;
const CHECK_DIGITS: usize = 8;

/// What a key is for: nothing but its text and its listing differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Production: `npk_live_…`.
    Live,
    /// Development and tests: `npk_test_…`.
    Test,
}

impl KeyKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Live => "npk_live_",
            Self::Test => "npk_test_",
        }
    }
}

/// An API key's text. Wiped from memory when dropped; shows nothing of itself in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Makes a key of random bytes.
    #[must_use]
    pub fn new(kind: KeyKind, random: &[u8; SECRET_BYTES]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(9 + HEX_DIGITS + CHECK_DIGITS));
        text.push_str(kind.prefix());
        for byte in random {
            push_hex(&mut text, u32::from(*byte), 2);
        }
        let check = crc32fast::hash(text.as_bytes());
        push_hex(&mut text, check, CHECK_DIGITS);
        Self(text)
    }

    /// The text, to be shown once to its owner or sent to a broker. Never to be logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The kind, from the prefix.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        if self.0.starts_with(KeyKind::Test.prefix()) {
            KeyKind::Test
        } else {
            KeyKind::Live
        }
    }

    /// What may be shown of it to tell keys apart: the last four digits of the checksum.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("…{}", &self.0[self.0.len() - 4..])
    }
}

fn push_hex(text: &mut String, value: u32, digits: usize) {
    for at in (0..digits).rev() {
        let digit = value >> (4 * at) & 0xf;
        text.push(char::from_digit(digit, 16).expect("four bits are a digit"));
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.hint())
    }
}

/// Why a text is not an API key. The text itself is never part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// It begins otherwise.
    #[error("an API key begins with `npk_live_` or `npk_test_`")]
    Prefix,
    /// It is too short or too long.
    #[error("an API key has {expected} characters, this one {found}")]
    Length {
        /// Characters of a key.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// It holds something else than lower-case hexadecimal digits.
    #[error("an API key holds lower-case hexadecimal digits after its prefix")]
    Digits,
    /// The checksum is not that of the rest.
    #[error("the API key's checksum does not match: a character is wrong or missing")]
    Checksum,
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let kinds = [KeyKind::Live, KeyKind::Test];
        let prefix = kinds.map(KeyKind::prefix);
        let rest = prefix.iter().find_map(|prefix| text.strip_prefix(prefix));
        let rest = rest.ok_or(InvalidSecret::Prefix)?;
        if rest.len() != HEX_DIGITS + CHECK_DIGITS {
            return Err(InvalidSecret::Length {
                expected: prefix[0].len() + HEX_DIGITS + CHECK_DIGITS,
                found: text.len(),
            });
        }
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !rest.bytes().all(is_hex) {
            return Err(InvalidSecret::Digits);
        }
        let (body, check) = text.split_at(text.len() - CHECK_DIGITS);
        if u32::from_str_radix(check, 16) != Ok(crc32fast::hash(body.as_bytes())) {
            return Err(InvalidSecret::Checksum);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// What is kept of a key: HMAC-SHA-256 of its text. Compared in constant time.
#[derive(Clone, Copy, Debug, Eq)]
pub struct KeyHash([u8; 32]);

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl KeyHash {
    /// The first bytes, to look it up by. Nobody without the hash's key can choose them, so the
    /// time that a look-up takes tells nothing of other keys.
    #[must_use]
    pub fn slot(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(first)
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            push_hex(&mut text, u32::from(byte), 2);
        }
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        let wrong = || serde::de::Error::custom("a key's hash is 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// Hashes keys under a key of the data directory's own.
pub struct KeyHasher(Zeroizing<[u8; SECRET_BYTES]>);

impl KeyHasher {
    /// A hasher with this key.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; SECRET_BYTES]>) -> Self {
        Self(key)
    }

    /// The hash of a key. Takes the same time for every key.
    #[must_use]
    pub fn hash(&self, secret: &Secret) -> KeyHash {
        let mac = Hmac::<Sha256>::new_from_slice(&*self.0);
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(secret.expose().as_bytes());
        KeyHash(mac.finalize().into_bytes().into())
    }
}

impl KeyHasher {
    /// What other regions know a key by: a hash that needs nothing of the data directory's own. Nobody
    /// finds 256 random bits by trying, so it tells nothing of the key.
    #[must_use]
    pub fn travelling(secret: &Secret) -> KeyHash {
        Self::new(TRAVELS.into()).hash(secret)
    }

    /// A secret of the data directory's own, for another use: nobody who lacks the key can tell it.
    ///
    /// - `label`: which; uses are told apart by their first bytes.
    #[must_use]
    pub fn derive(&self, label: &[u8]) -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(&*self.0);
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(label);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher(byte: u8) -> KeyHasher {
        KeyHasher::new(Zeroizing::new([byte; SECRET_BYTES]))
    }

    #[test]
    fn a_key_reads_back_and_any_changed_character_is_noticed() {
        for kind in [KeyKind::Live, KeyKind::Test] {
            let secret = Secret::new(kind, &[0xa7; SECRET_BYTES]);
            let text = secret.expose();
            assert_eq!(text.len(), 81);
            assert_eq!(secret.kind(), kind);
            assert_eq!(text.parse::<Secret>().unwrap(), secret);
            for at in 0..text.len() {
                let mut wrong = text.to_owned().into_bytes();
                wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
                let wrong = String::from_utf8(wrong).unwrap();
                assert!(wrong.parse::<Secret>().is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_without_repeating_it() {
        let cases = [
            ("", InvalidSecret::Prefix),
            ("sk_live_00", InvalidSecret::Prefix),
            (
                "npk_live_00",
                InvalidSecret::Length {
                    expected: 81,
                    found: 11,
                },
            ),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Secret>().unwrap_err(), error);
        }
        let upper = Secret::new(KeyKind::Live, &[0xab; 32])
            .expose()
            .replace('a', "A");
        assert_eq!(upper.parse::<Secret>().unwrap_err(), InvalidSecret::Digits);
    }

    #[test]
    fn debug_output_shows_nothing_of_a_secret() {
        let secret = Secret::new(KeyKind::Live, &[0x5c; SECRET_BYTES]);
        let shown = format!("{secret:?} {:?}", hasher(1));
        assert!(!shown.contains("5c5c"), "{shown}");
    }

    #[test]
    fn a_hash_depends_on_the_key_and_on_the_hashers_own() {
        let one = Secret::new(KeyKind::Live, &[1; SECRET_BYTES]);
        let two = Secret::new(KeyKind::Live, &[2; SECRET_BYTES]);
        let hash = hasher(7).hash(&one);
        assert_eq!(hash, hasher(7).hash(&one));
        assert_ne!(hash, hasher(7).hash(&two));
        assert_ne!(hash, hasher(8).hash(&one));
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<KeyHash>(&json).unwrap(), hash);
        assert!(serde_json::from_str::<KeyHash>("\"00\"").is_err());
    }
}
