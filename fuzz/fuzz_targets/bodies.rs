//! The bodies of the fuzz targets, free of the fuzzer: the test suite includes this file too and runs
//! them over the corpora.
//!
//! None of them may panic, and what decodes must encode to the bytes it came from.

#![allow(dead_code, reason = "each target uses one of them")]

use bytes::{Bytes, BytesMut};
use npayload::format::{
    BATCH_HEADER_BYTES, BatchHeader, Checkpoint, DoorLimits, GroupHeader, GroupItem, IndexHeader,
    IndexKind, JournalFileHeader, Marker, OffsetEntry, RecoveryPoint, SegmentHeader, Stamp,
    TimeEntry, check_produced, check_stored, items_crc, records, stamp,
};
use npayload::protocol::frame::{MAX_FRAME_BYTES, decode_one};
use npayload::protocol::{FrameDecoder, Request, Response};
use npayload::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// Any bytes as a batch from a producer and as one from a disk. The checksum is put right as well, so
/// that a fuzzer gets behind it.
pub fn batch(bytes: &[u8]) {
    batch_as_it_is(bytes);
    let mut mended = bytes.to_vec();
    if mended.len() > BATCH_HEADER_BYTES {
        mended.resize(mended.len().next_multiple_of(8), 0);
        let length = u32::try_from(mended.len()).expect("a fuzzer's input is short");
        mended[..4].copy_from_slice(&length.to_le_bytes());
        mended[4..8].fill(0);
        mended[8..12].copy_from_slice(&[1, 0, 0, 0]);
        mended[16..72].fill(0);
        let crc = crc32(&mended[72..]);
        mended[12..16].copy_from_slice(&crc.to_le_bytes());
        batch_as_it_is(&mended);
    }
}

fn batch_as_it_is(bytes: &[u8]) {
    let limits = DoorLimits {
        max_record_bytes: 1 << 20,
        lz4: true,
        zstd: true,
    };
    let _ = BatchHeader::peek(bytes);
    let _ = check_stored(bytes);
    let shared = Bytes::copy_from_slice(bytes);
    if let Ok(walk) = records(&shared) {
        let most = walk.clone().count();
        assert!(most <= bytes.len().max(1 << 20), "an iterator that goes on");
    }
    let Ok(header) = check_produced(bytes, &limits) else {
        return;
    };
    // What passes the door can be stamped, stored and read.
    let mut stored = bytes.to_vec();
    let stamped = stamp(
        &mut stored,
        &Stamp {
            incarnation: Incarnation(1),
            base_offset: Offset(2),
            append_time: Timestamp(3),
            log_epoch: LogEpoch(4),
            principal: 5,
        },
    );
    assert_eq!(check_stored(&stored), Ok(stamped));
    assert!(check_produced(&stored, &limits).is_err(), "stamped twice");
    let read: Vec<_> = records(&Bytes::from(stored))
        .expect("the header was checked")
        .collect::<Result<_, _>>()
        .expect("the records were checked");
    assert_eq!(read.len(), header.record_count() as usize);
    assert_eq!(stamped.end_offset(), Offset(2 + read.len() as u64));
}

/// Any bytes as a journal file header, and as a group: its header and its items.
pub fn journal(bytes: &[u8]) {
    with_mended_crc(bytes, 8..128, |bytes| {
        if let Ok(header) = JournalFileHeader::decode(bytes) {
            assert_eq!(header.encode()[..], bytes[..JournalFileHeader::BYTES]);
        }
    });
    with_mended_crc(bytes, 8..GroupHeader::BYTES, |bytes| {
        if let Ok(header) = GroupHeader::decode(bytes) {
            assert_eq!(header.encode()[..], bytes[..GroupHeader::BYTES]);
            assert!(header.total_len() >= GroupHeader::BYTES as u64);
        }
    });
    for item in bytes
        .get(GroupHeader::BYTES..)
        .unwrap_or_default()
        .chunks(GroupItem::BYTES)
    {
        if let Ok(decoded) = GroupItem::decode(item) {
            assert_eq!(decoded.encode()[..], *item);
        }
    }
    let _ = items_crc(1, 2, bytes);
}

/// Any bytes as each of the structures that stand alone in a file.
pub fn disk_structures(bytes: &[u8]) {
    if let Ok(marker) = Marker::decode(bytes) {
        assert_eq!(marker.encode()[..], *bytes);
    }
    with_mended_crc(bytes, 8..RecoveryPoint::BYTES, |bytes| {
        if let Ok(point) = RecoveryPoint::decode(bytes) {
            assert_eq!(point.encode()[..], bytes[..RecoveryPoint::BYTES]);
            let other = if point.sequence % 2 == 0 {
                RecoveryPoint::newest(bytes, b"")
            } else {
                RecoveryPoint::newest(b"", bytes)
            };
            assert_eq!(other, Ok(point));
        }
    });
    with_mended_crc(bytes, 8..128, |bytes| {
        if let Ok(header) = SegmentHeader::decode(bytes) {
            assert_eq!(header.encode()[..], bytes[..SegmentHeader::BYTES]);
        }
    });
    with_mended_crc(bytes, 8..IndexHeader::BYTES, |bytes| {
        for kind in [IndexKind::Offset, IndexKind::Time] {
            let Ok(header) = IndexHeader::decode(bytes, kind) else {
                continue;
            };
            let (log, base) = (header.incarnation, header.base_offset);
            assert_eq!(header.encode()[..], bytes[..IndexHeader::BYTES]);
            for entry in bytes[IndexHeader::BYTES..].chunks(16) {
                if let Ok(decoded) = OffsetEntry::decode(entry, log, base) {
                    assert_eq!(decoded.encode(log, base)[..], *entry);
                }
                if let Ok(decoded) = TimeEntry::decode(entry, log, base) {
                    assert_eq!(decoded.encode(log, base)[..], *entry);
                }
            }
        }
    });
    let mut bytes = bytes.to_vec();
    if let Some(body) = bytes.len().checked_sub(Checkpoint::HEADER_BYTES) {
        let body_len = u32::try_from(body).expect("a fuzzer's input is short");
        let body_crc = crc32(&bytes[Checkpoint::HEADER_BYTES..]);
        bytes[68..72].copy_from_slice(&body_len.to_le_bytes());
        bytes[72..76].copy_from_slice(&body_crc.to_le_bytes());
    }
    with_mended_crc(&bytes, 8..Checkpoint::HEADER_BYTES, |bytes| {
        if let Ok(checkpoint) = Checkpoint::decode(bytes) {
            assert_eq!(checkpoint.encode(), bytes);
        }
    });
}

/// Runs `check` on the bytes as they are, and again with the checksum at 4 made that of `range`.
fn with_mended_crc(bytes: &[u8], range: std::ops::Range<usize>, check: impl Fn(&[u8])) {
    check(bytes);
    let mut mended = bytes.to_vec();
    if let Some(covered) = mended.get(range) {
        let crc = crc32(covered);
        mended[4..8].copy_from_slice(&crc.to_le_bytes());
        check(&mended);
    }
}

/// CRC-32 as the specification words it, bit by bit: a second opinion on the library's.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// Frames, requests and answers; what is understood can be said again and is understood the same.
pub fn frames(bytes: &[u8]) {
    for decoder in [
        FrameDecoder::requests(),
        FrameDecoder::responses(MAX_FRAME_BYTES),
    ] {
        let mut rest = Bytes::copy_from_slice(bytes);
        while let Ok(Some(total)) = decoder.peek(&rest)
            && total <= rest.len()
        {
            let frame = decode_one(decoder.clone(), &rest.split_to(total))
                .expect("a frame within its limits, and nothing behind it");
            if let Ok(request) = Request::decode(frame.clone()) {
                let mut again = BytesMut::new();
                request.encode(frame.header.correlation, &mut again);
                if let Ok(frame) = decode_one(FrameDecoder::requests(), &again.freeze()) {
                    assert_eq!(Request::decode(frame), Ok(request));
                }
            }
            if let Ok(response) = Response::decode(frame.clone()) {
                let mut again = BytesMut::new();
                response.encode(frame.header.correlation, &mut again);
                let decoder = FrameDecoder::responses(MAX_FRAME_BYTES);
                if let Ok(frame) = decode_one(decoder, &again.freeze()) {
                    assert_eq!(Response::decode(frame), Ok(response));
                }
            }
        }
    }
}
