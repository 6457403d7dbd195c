//! The file that holds the key under which API keys are hashed.

use std::fmt;

use zerocopy::little_endian::{U16, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zeroize::{Zeroize, Zeroizing};

use super::layout::{
    check_crc, check_magic, check_version, check_zero_fields, fields, read, to_array,
};
use super::{DecodeError, Layout};
use crate::types::Incarnation;

const MAGIC: &[u8; 4] = b"NPSK";
const WHAT: &str = "secret file";
// The checksum covers what follows it.
const CHECKED: std::ops::Range<usize> = 8..SecretFile::BYTES;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SecretLayout {
    magic: [u8; 4],
    crc: U32,
    version: U16,
    reserved: [u8; 6],
    directory_id: U128,
    secret: [u8; SecretFile::SECRET_BYTES],
}

pub(super) const LAYOUT: Layout = fields!("Secret file": SecretLayout, SecretFile::BYTES;
    magic, crc, version, reserved, directory_id, secret);

/// Contents of `npayload.secret`: the key under which a data directory hashes its API keys. Wiped
/// from memory when dropped; shows nothing of the key in debug output. Specified by
/// `storage-format.md`, "Secret file".
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The data directory that it belongs to.
    pub directory_id: Incarnation,
    /// The key.
    pub secret: Zeroizing<[u8; SecretFile::SECRET_BYTES]>,
}

impl SecretFile {
    /// Bytes of the file.
    pub const BYTES: usize = 64;
    /// Version this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;
    /// Bytes of the key.
    pub const SECRET_BYTES: usize = 32;

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<[u8; Self::BYTES]> {
        let mut layout = SecretLayout {
            magic: *MAGIC,
            crc: 0.into(),
            version: Self::VERSION.into(),
            reserved: [0; 6],
            directory_id: self.directory_id.0.into(),
            secret: *self.secret,
        };
        layout.crc = crc32fast::hash(&layout.as_bytes()[CHECKED]).into();
        let bytes = Zeroizing::new(to_array(&layout));
        layout.secret.zeroize();
        bytes
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// Bytes that are not a secret file, damaged, of a newer version, or not exactly
    /// [`Self::BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut layout: SecretLayout = read(WHAT, bytes)?;
        let secret = Zeroizing::new(layout.secret);
        layout.secret.zeroize();
        check_magic(WHAT, &layout.magic, MAGIC)?;
        check_crc(WHAT, layout.crc.get(), crc32fast::hash(&bytes[CHECKED]))?;
        check_version(WHAT, layout.version.get(), Self::VERSION)?;
        check_zero_fields!(WHAT, layout: SecretLayout; reserved);
        if bytes.len() > Self::BYTES {
            return Err(DecodeError::length(
                WHAT,
                bytes.len() as u64,
                Self::BYTES as u64,
            ));
        }
        Ok(Self {
            directory_id: Incarnation(layout.directory_id.get()),
            secret,
        })
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile")
            .field("directory_id", &self.directory_id)
            .finish_non_exhaustive()
    }
}
