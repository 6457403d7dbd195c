//! The records part of a batch, compressed and back.

use std::io::{Read, Write};

use super::DecodeError;

/// How the records part of a batch is stored. The producer chooses; the broker never recompresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 1,
    /// One LZ4 frame.
    Lz4 = 2,
    /// One zstd frame.
    Zstd = 3,
}

impl Compression {
    /// The kind with this number in the batch header, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::None),
            2 => Some(Self::Lz4),
            3 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Number in the batch header.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name used in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Compression {
    type Err = crate::types::InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            _ => Err(crate::types::InvalidName {
                what: "compression",
                name: text.chars().take(64).flat_map(char::escape_debug).collect(),
                rule: "must be `none`, `lz4` or `zstd`",
            }),
        }
    }
}

/// zstd's own default; higher levels cost a producer more than they save.
const ZSTD_LEVEL: i32 = 3;

/// The compressed form of `raw`, or none when that would not be smaller.
pub(super) fn compress(raw: &[u8], compression: Compression) -> Option<Vec<u8>> {
    let stored = match compression {
        Compression::None => return None,
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(raw).ok()?;
            encoder.finish().ok()?
        }
        Compression::Zstd => zstd::bulk::compress(raw, ZSTD_LEVEL).ok()?,
    };
    (stored.len() < raw.len()).then_some(stored)
}

/// The `raw_len` bytes that `stored` stands for.
///
/// The output buffer has room for `raw_len` and no more, so what claims to be small stays small; the
/// caller has checked `raw_len` against its limit.
pub(super) fn decompress(
    stored: &[u8],
    compression: Compression,
    raw_len: usize,
) -> Result<Vec<u8>, DecodeError> {
    let raw = match compression {
        Compression::None => stored.to_vec(),
        Compression::Lz4 => decompress_lz4(stored, raw_len)?,
        Compression::Zstd => decompress_zstd(stored, raw_len)?,
    };
    if raw.len() != raw_len {
        return Err(failure(format!(
            "{} bytes come out, the header says {raw_len}",
            raw.len()
        )));
    }
    Ok(raw)
}

fn decompress_zstd(stored: &[u8], raw_len: usize) -> Result<Vec<u8>, DecodeError> {
    // zstd reads frame after frame; a batch has exactly one, so that all readers see the same.
    let frame = zstd::zstd_safe::find_frame_compressed_size(stored)
        .map_err(|code| failure(zstd::zstd_safe::get_error_name(code).to_owned()))?;
    if frame != stored.len() {
        return Err(failure(format!(
            "the zstd frame ends at byte {frame} of {}",
            stored.len()
        )));
    }
    let mut raw = Vec::with_capacity(raw_len);
    zstd::bulk::Decompressor::new()
        .and_then(|mut zstd| zstd.decompress_to_buffer(stored, &mut raw))
        .map_err(|error| failure(error.to_string()))?;
    Ok(raw)
}

fn decompress_lz4(stored: &[u8], raw_len: usize) -> Result<Vec<u8>, DecodeError> {
    let frame = lz4_frame_len(stored)?;
    if frame != stored.len() {
        return Err(failure(format!(
            "the LZ4 frame ends at byte {frame} of {}",
            stored.len()
        )));
    }
    let mut raw = vec![0; raw_len];
    let mut decoder = lz4_flex::frame::FrameDecoder::new(stored);
    decoder
        .read_exact(&mut raw)
        .map_err(|error| failure(error.to_string()))?;
    // Reads the end mark, and with it the checksum of the contents.
    match decoder.read(&mut [0]) {
        Ok(0) => Ok(raw),
        Ok(_) => Err(failure(format!(
            "more bytes come out than the {raw_len} the header says"
        ))),
        Err(error) => Err(failure(error.to_string())),
    }
}

/// Bytes of the LZ4 frame that `stored` begins with: its header, its blocks, its end mark.
///
/// The decoder takes a missing end mark for the end and does not look beyond it, so the frame is
/// walked first. LZ4 Frame Format 1.6.4, "General Structure of LZ4 Frame format".
fn lz4_frame_len(stored: &[u8]) -> Result<usize, DecodeError> {
    const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
    const BLOCK_CHECKSUM: u8 = 1 << 4;
    const CONTENT_SIZE: u8 = 1 << 3;
    const CONTENT_CHECKSUM: u8 = 1 << 2;
    let cut = || failure("the LZ4 frame has no end mark".to_owned());
    let Some((magic, flags)) = stored.split_first_chunk().zip(stored.get(4).copied()) else {
        return Err(cut());
    };
    if *magic.0 != MAGIC {
        return Err(failure("not an LZ4 frame".to_owned()));
    }
    let set = |flag, bytes| if flags & flag == 0 { 0 } else { bytes };
    let mut at = 7 + set(CONTENT_SIZE, 8);
    loop {
        let word = stored
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .ok_or_else(cut)?;
        at += 4;
        // The highest bit marks a block that is stored as it is.
        match u32::from_le_bytes(*word) & (u32::MAX >> 1) {
            0 => break,
            block => at = at.saturating_add(block as usize + set(BLOCK_CHECKSUM, 4)),
        }
    }
    Ok(at + set(CONTENT_CHECKSUM, 4))
}

fn failure(what: String) -> DecodeError {
    DecodeError::Compression { what }
}
