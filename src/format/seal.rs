//! The encrypted batch: what lies on the disk of a broker that encrypts a channel.
//!
//! ```text
//! header   as it was, with another length, version, key and checksums
//! seal     nonce, tag, and the producer's checksum, encrypted
//! records  encrypted
//! zeros    up to a multiple of 8
//! ```
//! Everything that a log is kept by stays readable, and is bound to the tag. Deliberately not here:
//! where keys come from (`keys/`), and when to encrypt (`storage/`, `broker/`).

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::batch::{
    BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BODY_AT, BODY_CRC_AT, BatchHeader, HEADER_CRC_AT,
    INCARNATION_AT, SEALED_VERSION, STAMPED_AT, VERSION, check_whole, header_crc_of,
};
use super::layout::{check_len, fields, read};
use super::{DecodeError, Layout};

/// What encryption adds to the length of a batch.
pub const SEAL_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;

/// Where the ciphertext begins: the last field of the seal is a part of it.
const CIPHERTEXT_AT: usize = BATCH_HEADER_BYTES + std::mem::offset_of!(SealLayout, body_crc);
/// The header but for its two checksums.
const BOUND_BYTES: usize = BATCH_HEADER_BYTES - 8;

/// Specified by `storage-format.md`, "Seal".
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SealLayout {
    nonce: [u8; NONCE_BYTES],
    tag: [u8; TAG_BYTES],
    body_crc: U32,
}

pub(super) const LAYOUT: Layout = fields!("Seal": SealLayout, SEAL_BYTES; nonce, tag, body_crc);

/// A key of AES-256-GCM, ready for use. Shows nothing of itself in debug output.
pub struct DataKey(LessSafeKey);

impl DataKey {
    /// Bytes of a key.
    pub const BYTES: usize = 32;

    /// The key of these bytes, which must be random. The caller wipes them.
    #[must_use]
    pub fn new(bytes: &[u8; Self::BYTES]) -> Self {
        Self(expanded(bytes))
    }

    /// Encrypts `text` where it lies, and gives the tag over it and over what it is `bound` to.
    ///
    /// The nonce must never be used with the key again.
    ///
    /// # Panics
    /// When the text is longer than the cipher allows, which is 64 GiB.
    #[must_use]
    pub fn encrypt(
        &self,
        nonce: [u8; NONCE_BYTES],
        bound: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(bound), text);
        let tag = tag.expect("what is encrypted is far below the cipher's limit");
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Decrypts `text` where it lies; false, and bytes of no use, when the tag is not right.
    #[must_use]
    pub fn decrypt(
        &self,
        nonce: [u8; NONCE_BYTES],
        bound: &[u8],
        tag: [u8; TAG_BYTES],
        text: &mut [u8],
    ) -> bool {
        let (nonce, tag) = (Nonce::assume_unique_for_key(nonce), Tag::from(tag));
        let key = &self.0;
        key.open_in_place_separate_tag(nonce, Aad::from(bound), tag, text, 0..)
            .is_ok()
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        // The expanded key is not wiped by the library: another one takes its place.
        self.0 = expanded(&[0; Self::BYTES]);
        std::hint::black_box(&mut self.0);
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

fn expanded(bytes: &[u8; DataKey::BYTES]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the key's length is a constant");
    LessSafeKey::new(key)
}

/// How one batch is to be encrypted.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// The key.
    pub key: Arc<DataKey>,
    /// Its number in the log, from 1 on.
    pub key_id: u32,
    /// Bytes that were never used with the key before: random ones.
    pub nonce: [u8; NONCE_BYTES],
}

/// The encrypted form of a stamped batch, [`SEAL_BYTES`] longer, and its header.
///
/// # Panics
/// When `batch` is not a stamped batch of version 1 and nothing else.
#[must_use]
pub fn seal(batch: &[u8], with: &Sealing) -> (BytesMut, BatchHeader) {
    let mut header: BatchHeader = read("batch header", batch).expect("a stamped batch");
    let is_plain = header.version.get() == VERSION && header.len() == batch.len();
    assert!(is_plain && with.key_id != 0, "not a batch to encrypt");
    let length = batch.len() + SEAL_BYTES;
    let mut bytes = BytesMut::zeroed(length);
    let records = &batch[BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + header.records_len()];
    let records_at = BATCH_HEADER_BYTES + SEAL_BYTES;
    let end = records_at + records.len();
    bytes[CIPHERTEXT_AT..records_at].copy_from_slice(header.body_crc.as_bytes());
    bytes[records_at..end].copy_from_slice(records);
    header.length = u32::try_from(length)
        .expect("a batch's length is 32 bits")
        .into();
    header.version = SEALED_VERSION.into();
    header.key_id = with.key_id.into();
    let (bound, text) = (bound(header.as_bytes()), &mut bytes[CIPHERTEXT_AT..end]);
    let tag = with.key.encrypt(with.nonce, &bound, text);
    bytes[BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + NONCE_BYTES].copy_from_slice(&with.nonce);
    bytes[BATCH_HEADER_BYTES + NONCE_BYTES..CIPHERTEXT_AT].copy_from_slice(&tag);
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
    header.body_crc = crc32fast::hash(&bytes[BODY_AT..]).into();
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
    header.header_crc = header_crc_of(&bytes).into();
    bytes[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
    (bytes, header)
}

/// Appends to `into` what an encrypted batch was made of: the stamped batch of version 1 with the
/// bytes and the checksum of its producer. Returns its header.
///
/// - `batch`: an encrypted batch and nothing else. Its own checksum of the body need not be
///   checked before: the tag covers more.
///
/// # Errors
/// [`DecodeError::NotAuthentic`] when the tag is not right, be it for other bytes or another key,
/// and what [`BatchHeader::peek`] refuses. `into` is then as it was.
///
/// # Panics
/// When the batch is not encrypted.
pub fn unseal(
    batch: &[u8],
    key: &DataKey,
    into: &mut BytesMut,
) -> Result<BatchHeader, DecodeError> {
    let mut header = BatchHeader::peek(batch)?;
    assert!(header.is_sealed(), "a batch that is not encrypted");
    check_whole(&header, batch)?;
    let ciphertext_len = CIPHERTEXT_AT + size_of::<U32>() + header.records_len();
    check_len("batch", batch, ciphertext_len)?;
    let seal: SealLayout = read("seal of a batch", &batch[BATCH_HEADER_BYTES..])?;
    // The ciphertext is 4 bytes longer than the records: those lie where the header's end will be.
    let start = into.len();
    let end = start + BATCH_HEADER_BYTES + header.records_len();
    into.resize(start + BATCH_HEADER_BYTES - size_of::<U32>(), 0);
    into.extend_from_slice(&batch[CIPHERTEXT_AT..ciphertext_len]);
    let text_at = start + BATCH_HEADER_BYTES - size_of::<U32>();
    let text = &mut into[text_at..end];
    if !key.decrypt(seal.nonce, &bound(batch), seal.tag, text) {
        into.truncate(start);
        let (what, key_id) = ("batch", header.key_id());
        return Err(DecodeError::NotAuthentic { what, key_id });
    }
    header.body_crc = read("checksum in a seal", &into[text_at..])?;
    let length = header.len() - SEAL_BYTES;
    header.length = u32::try_from(length)
        .expect("shorter than the batch it was")
        .into();
    header.version = VERSION.into();
    header.key_id = 0.into();
    header.header_crc = header_crc_of(header.as_bytes()).into();
    into[start..start + BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
    into.resize(start + length, 0);
    debug_assert!(length.is_multiple_of(BATCH_ALIGNMENT));
    Ok(header)
}

/// What the tag covers beside the ciphertext: the header but for its checksums.
fn bound(header: &[u8]) -> [u8; BOUND_BYTES] {
    const LENGTH_BYTES: usize = HEADER_CRC_AT;
    const FLAGS_END: usize = LENGTH_BYTES + (BODY_CRC_AT - STAMPED_AT);
    let mut bytes = [0; BOUND_BYTES];
    bytes[..LENGTH_BYTES].copy_from_slice(&header[..HEADER_CRC_AT]);
    bytes[LENGTH_BYTES..FLAGS_END].copy_from_slice(&header[STAMPED_AT..BODY_CRC_AT]);
    bytes[FLAGS_END..].copy_from_slice(&header[INCARNATION_AT..BATCH_HEADER_BYTES]);
    bytes
}
