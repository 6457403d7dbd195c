//! What all structures share: reading a layout, its checks, and the list of all layouts.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::DecodeError;

/// Bytes of a block: file headers fill one, groups and fresh runs of a segment start on one.
pub const BLOCK_BYTES: usize = 4096;

/// A structure of the format as `storage-format.md` tabulates it.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Title of its section in `storage-format.md`.
    pub section: &'static str,
    /// Name and offset of each field, in order.
    pub fields: &'static [(&'static str, usize)],
    /// Bytes of the whole structure.
    pub bytes: usize,
}

/// Every structure of the format.
pub const LAYOUTS: &[Layout] = &[
    super::batch::LAYOUT,
    super::record::LAYOUT,
    super::record::HEADER_LAYOUT,
    super::seal::LAYOUT,
    super::marker::LAYOUT,
    super::secret_file::LAYOUT,
    super::snapshot::LAYOUT,
    super::recovery_point::LAYOUT,
    super::journal::FILE_LAYOUT,
    super::journal::GROUP_LAYOUT,
    super::journal::ITEM_LAYOUT,
    super::segment_header::LAYOUT,
    super::index_entry::HEADER_LAYOUT,
    super::index_entry::OFFSET_LAYOUT,
    super::index_entry::TIME_LAYOUT,
    super::checkpoint::HEADER_LAYOUT,
    super::checkpoint::LOG_LAYOUT,
    super::checkpoint::PRODUCER_LAYOUT,
    super::checkpoint::DAMAGE_LAYOUT,
];

/// The [`Layout`] of a struct: `fields!("Section": Struct, size; field, field, …)`. Does not compile
/// when the struct has another size.
macro_rules! fields {
    ($section:literal: $layout:ty, $bytes:expr; $($field:ident),+ $(,)?) => {{
        const _: () = assert!(size_of::<$layout>() == $bytes, $section);
        $crate::format::Layout {
            section: $section,
            fields: &[$((stringify!($field), std::mem::offset_of!($layout, $field))),+],
            bytes: $bytes,
        }
    }};
}
pub(super) use fields;

/// The structure at the start of `bytes`.
pub(super) fn read<T: FromBytes>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    match T::read_from_prefix(bytes) {
        Ok((layout, _)) => Ok(layout),
        Err(_) => Err(DecodeError::Short {
            what,
            needed: size_of::<T>() as u64,
            found: bytes.len() as u64,
        }),
    }
}

/// The layout as an array, and zeros up to the end of the array.
pub(super) fn to_array<T: IntoBytes + Immutable, const N: usize>(layout: &T) -> [u8; N] {
    const { assert!(size_of::<T>() <= N) };
    let mut bytes = [0; N];
    bytes[..size_of::<T>()].copy_from_slice(layout.as_bytes());
    bytes
}

pub(super) fn check_len(
    what: &'static str,
    bytes: &[u8],
    needed: usize,
) -> Result<(), DecodeError> {
    if bytes.len() < needed {
        return Err(DecodeError::Short {
            what,
            needed: needed as u64,
            found: bytes.len() as u64,
        });
    }
    Ok(())
}

pub(super) fn check_magic(
    what: &'static str,
    found: &[u8],
    magic: &[u8],
) -> Result<(), DecodeError> {
    if found != magic {
        return Err(DecodeError::Magic {
            what,
            found: found.to_vec(),
        });
    }
    Ok(())
}

pub(super) fn check_crc(what: &'static str, stored: u32, computed: u32) -> Result<(), DecodeError> {
    if stored != computed {
        return Err(DecodeError::Checksum {
            what,
            stored,
            computed,
        });
    }
    Ok(())
}

pub(super) fn check_version(
    what: &'static str,
    found: u16,
    supported: u16,
) -> Result<(), DecodeError> {
    if found == 0 {
        return Err(DecodeError::Field {
            what,
            value: 0,
            rule: "and no version has the number zero",
        });
    }
    if found > supported {
        return Err(DecodeError::UnsupportedVersion {
            what,
            found,
            supported,
        });
    }
    Ok(())
}

/// Refuses the first byte of `bytes` that is not zero; they lie at `at` in the structure.
pub(super) fn check_zero(what: &'static str, bytes: &[u8], at: usize) -> Result<(), DecodeError> {
    match bytes.iter().position(|&byte| byte != 0) {
        Some(found) => Err(DecodeError::Reserved {
            what,
            position: (at + found) as u64,
        }),
        None => Ok(()),
    }
}

/// Refuses these fields of a layout unless all their bytes are zero.
macro_rules! check_zero_fields {
    ($what:expr, $layout:ident: $type:ty; $($field:ident),+ $(,)?) => {
        $($crate::format::layout::check_zero(
            $what,
            zerocopy::IntoBytes::as_bytes(&$layout.$field),
            std::mem::offset_of!($type, $field),
        )?;)+
    };
}
pub(super) use check_zero_fields;

/// `u64::MAX` stands for "none" where zero is a value.
pub(super) const NONE: u64 = u64::MAX;
