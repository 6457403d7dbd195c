//! Digests, signatures and the chain of hashes of a session. The exact bytes: docs/asp.md, "The
//! chain".

use std::fmt;
use std::str::FromStr;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::canonical::Canonical;
use super::hex;
use super::registry::PublicKey;
use super::write::Write;

/// Stands before the bytes of a record that are hashed.
pub const LINK_DOMAIN: &[u8] = b"npayload/asp/link/1\n";
/// Stands before the bytes of a message that are hashed.
pub const MESSAGE_DOMAIN: &[u8] = b"npayload/asp/message/1\n";
/// Stands before a digest that is signed.
pub const SIGNATURE_DOMAIN: &[u8] = b"npayload/asp/signature/1\n";

/// A SHA-256, shown as `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `sha256:` and 64 hexadecimal digits in lower case")]
pub struct InvalidDigest;

/// An Ed25519 signature, shown as `ed25519:` and 128 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

/// Text that is no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature is `ed25519:` and 128 hexadecimal digits in lower case")]
pub struct InvalidSignature;

/// A signature that is not of that digest by that key, or a key that is no point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not one of digest {digest} by the key {key}")]
pub struct ForgedSignature {
    /// What should have been signed.
    pub digest: Digest,
    /// The key it was checked with.
    pub key: PublicKey,
}

impl Digest {
    /// What stands before the first record of a session.
    pub const ZERO: Self = Self([0; 32]);
}

fn sha256(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Digest(hasher.finalize().into())
}

/// Digest of a payload; of `null` where there is none.
#[must_use]
pub fn payload_digest(payload: Option<&Canonical>) -> Digest {
    sha256(&[payload.map_or("null", Canonical::as_str).as_bytes()])
}

/// Digest of all that a sender supplies.
///
/// - `message`: its canonical form, the payload by its own digest.
#[must_use]
pub fn message_digest(message: &[u8]) -> Digest {
    sha256(&[MESSAGE_DOMAIN, message])
}

/// Hash of a record.
///
/// - `before`: hash of the session's record before it, [`Digest::ZERO`] for the first.
/// - `record`: its canonical form without the members `hash` and `payload`.
#[must_use]
pub fn link_hash(before: &Digest, record: &[u8]) -> Digest {
    sha256(&[LINK_DOMAIN, &before.0, record])
}

/// Checks who signed a message.
///
/// # Errors
/// [`ForgedSignature`] when it was not that key.
pub fn verify_signature(
    key: &PublicKey,
    digest: &Digest,
    signature: &Signature,
) -> Result<(), ForgedSignature> {
    UnparsedPublicKey::new(&ED25519, key.0)
        .verify(&signed_bytes(digest), &signature.0)
        .map_err(|_| ForgedSignature {
            digest: *digest,
            key: *key,
        })
}

fn signed_bytes(digest: &Digest) -> Vec<u8> {
    [SIGNATURE_DOMAIN, &digest.0].concat()
}

/// The secret half of an agent's key.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key of a seed: 32 secret random bytes, the private key of RFC 8032.
    ///
    /// # Panics
    /// Never: any 32 bytes are a seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed"))
    }

    /// The public half.
    ///
    /// # Panics
    /// Never: it has 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref().try_into();
        PublicKey(bytes.expect("a public key has 32 bytes"))
    }

    /// Signs a message.
    ///
    /// # Panics
    /// Never: a signature has 64 bytes.
    #[must_use]
    pub fn sign(&self, digest: &Digest) -> Signature {
        let signature = self.0.sign(&signed_bytes(digest));
        let bytes = signature.as_ref().try_into();
        Signature(bytes.expect("a signature has 64 bytes"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key())
    }
}

macro_rules! prefixed_bytes {
    ($name:ident, $prefix:literal, $error:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                let digits = text.strip_prefix($prefix).ok_or($error)?;
                hex::decode(digits).map(Self).ok_or($error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::types::from_text(from)
            }
        }
    };
}

prefixed_bytes!(Digest, "sha256:", InvalidDigest);
prefixed_bytes!(Signature, "ed25519:", InvalidSignature);

macro_rules! write_bytes {
    ($name:ty, $prefix:literal) => {
        impl Write for $name {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(concat!("\"", $prefix).as_bytes());
                hex::encode(&self.0, to);
                to.push(b'"');
            }
        }
    };
}

write_bytes!(Digest, "sha256:");
write_bytes!(Signature, "ed25519:");
write_bytes!(PublicKey, "ed25519:");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_key_signed_no_other_key_and_no_other_digest_verifies() {
        // RFC 8032, section 7.1, test 1.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = SigningKey::from_seed(&seed.unwrap());
        assert_eq!(
            key.public_key().to_string(),
            "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        let (digest, other) = (Digest([1; 32]), Digest([2; 32]));
        let signature = key.sign(&digest);
        verify_signature(&key.public_key(), &digest, &signature).unwrap();
        verify_signature(&key.public_key(), &other, &signature).unwrap_err();
        let stranger = SigningKey::from_seed(&[3; 32]).public_key();
        verify_signature(&stranger, &digest, &signature).unwrap_err();
        verify_signature(&PublicKey([255; 32]), &digest, &signature).unwrap_err();
        for bit in 0..512 {
            let mut forged = signature;
            forged.0[bit / 8] ^= 1 << (bit % 8);
            verify_signature(&key.public_key(), &digest, &forged).unwrap_err();
        }
    }

    #[test]
    fn digests_and_signatures_have_one_spelling() {
        let key = SigningKey::from_seed(&[3; 32]);
        let digest = payload_digest(None);
        assert_eq!(
            digest.to_string(),
            "sha256:74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"
        );
        assert_eq!(
            digest,
            payload_digest(Some(&Canonical::parse(" null ").unwrap()))
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let signature = key.sign(&digest);
        assert_eq!(signature.to_string().parse(), Ok(signature));
        for wrong in [
            "sha256:",
            "sha256:00",
            "SHA256:74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
            "sha256:74234E98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
        ] {
            assert_eq!(wrong.parse::<Digest>(), Err(InvalidDigest), "{wrong}");
        }
        assert_eq!(
            digest.to_string().parse::<Signature>(),
            Err(InvalidSignature)
        );
    }

    #[test]
    fn each_domain_gives_digests_of_its_own() {
        let record = b"{}";
        let hashes = [
            message_digest(record),
            link_hash(&Digest::ZERO, record),
            link_hash(&Digest([1; 32]), record),
            payload_digest(Some(&Canonical::parse("{}").unwrap())),
        ];
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash));
        }
    }
}
