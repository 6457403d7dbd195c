//! Batches packed for the way between two regions, where their producers did not compress them.

use bytes::Bytes;

use crate::format::{BatchHeader, Compression};
use crate::protocol::region::MAX_UNPACKED;

/// Less is not worth the work.
const LEAST: usize = 512;
/// The fastest that zstd has: the line is to be filled, not spared at any price.
const LEVEL: i32 = 1;

/// One zstd frame of whole batches, end to end; none where one of them came compressed, or where it
/// saves less than an eighth.
pub(super) fn pack(batches: &[u8]) -> Option<Bytes> {
    if batches.len() < LEAST || batches.len() > MAX_UNPACKED as usize {
        return None;
    }
    let mut rest = batches;
    while !rest.is_empty() {
        let header = BatchHeader::peek(rest).ok()?;
        if header.compression() != Some(Compression::None) {
            return None;
        }
        rest = rest.get(header.len()..)?;
    }
    let frame = zstd::bulk::compress(batches, LEVEL).ok()?;
    (frame.len() <= batches.len() / 8 * 7).then(|| frame.into())
}

/// The batches that a frame holds. No more is unpacked than was said.
///
/// - `unpacked`: bytes of the batches, at most [`MAX_UNPACKED`].
///
/// # Errors
/// What is wrong with the frame, as a text.
pub(super) fn unpack(frame: &[u8], unpacked: u32) -> Result<Bytes, String> {
    if unpacked > MAX_UNPACKED {
        return Err(format!(
            "a packed item of {unpacked} bytes, the limit is {MAX_UNPACKED}"
        ));
    }
    let batches = zstd::bulk::decompress(frame, unpacked as usize);
    let batches = batches.map_err(|error| format!("a packed item: {error}"))?;
    if batches.len() != unpacked as usize {
        let found = batches.len();
        return Err(format!(
            "{found} bytes come out of a packed item, it says {unpacked}"
        ));
    }
    Ok(batches.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::stored;
    use crate::format::{NewRecord, Stamp};
    use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

    const STAMP: Stamp = Stamp {
        incarnation: Incarnation(7),
        base_offset: Offset(0),
        append_time: Timestamp(1),
        log_epoch: LogEpoch(1),
        principal: 0,
    };

    fn batches(compression: Compression) -> Vec<u8> {
        let record = NewRecord {
            payload: Some(&[b'x'; 3000]),
            ..NewRecord::default()
        };
        stored(compression, &[record], &STAMP).repeat(3)
    }

    #[test]
    fn batches_come_out_as_they_went_in_and_smaller_on_the_way() {
        let batches = batches(Compression::None);
        let frame = pack(&batches).unwrap();
        assert!(frame.len() < 1000, "{}", frame.len());
        let len = u32::try_from(batches.len()).unwrap();
        assert_eq!(unpack(&frame, len).unwrap(), batches);
    }

    #[test]
    fn what_came_compressed_or_is_no_smaller_is_sent_as_it_is() {
        assert_eq!(pack(&batches(Compression::Zstd)), None);
        let mut mixed = batches(Compression::None);
        mixed.extend(batches(Compression::Lz4));
        assert_eq!(pack(&mixed), None);
        assert_eq!(pack(b"short"), None);
        assert_eq!(pack(&[7; 4096]), None, "no batches");
    }

    #[test]
    fn a_frame_that_says_something_else_than_it_holds_is_refused() {
        let batches = batches(Compression::None);
        let frame = pack(&batches).unwrap();
        let len = u32::try_from(batches.len()).unwrap();
        for (frame, unpacked) in [
            (&frame[..], len - 1),
            (&frame[..], len + 1),
            (&frame[..], u32::MAX),
            (&frame[..frame.len() - 1], len),
            (&b"no frame"[..], len),
        ] {
            assert!(unpack(frame, unpacked).is_err(), "{unpacked}");
        }
    }
}
