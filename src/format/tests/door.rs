//! Batches: from the builder through the door to the reader, and what the door refuses.

use bytes::Bytes;

use super::*;
use crate::types::{Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

const STAMP: Stamp = Stamp {
    incarnation: Incarnation(5),
    base_offset: Offset(1000),
    append_time: Timestamp(77),
    log_epoch: LogEpoch(3),
    principal: 4,
};

#[test]
fn what_a_producer_builds_passes_the_door_and_reads_back() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new(compression);
        builder.producer(ProducerId(7), 2, 40).fence(9);
        for n in 0..100 {
            builder
                .push(&NewRecord {
                    record_type: "test.made",
                    key: (n % 2 == 0).then_some(b"key"),
                    headers: &[("name", b"value"), ("", b"")],
                    payload: (n % 3 != 0).then_some(b"payload payload payload"),
                    event_time: (n % 5 == 0).then_some(Timestamp(-n)),
                })
                .unwrap();
        }
        let mut batch = builder.build().unwrap();
        let header = check_produced(&batch, &ANY).unwrap();
        assert_eq!(header.compression(), Some(compression));
        let stamped = stamp(&mut batch, &STAMP);
        let batch: Bytes = batch.freeze();
        assert_eq!(check_stored(&batch), Ok(stamped));
        assert_eq!(BatchHeader::peek(&batch), Ok(stamped));
        assert_eq!(stamped.incarnation(), STAMP.incarnation);
        assert_eq!(stamped.log_epoch(), STAMP.log_epoch);
        assert_eq!(stamped.principal(), STAMP.principal);
        assert_eq!(stamped.end_offset(), Offset(1100));
        assert_eq!(stamped.producer_id(), ProducerId(7));
        assert_eq!((stamped.base_sequence(), stamped.fence()), (40, 9));
        let records: Vec<_> = records(&batch).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 100);
        for (record, n) in records.iter().zip(0..) {
            assert_eq!(record.offset, Offset(1000 + n));
            assert_eq!(record.append_time, Timestamp(77));
            assert_eq!(record.record_type, "test.made");
            assert_eq!(record.key.is_some(), n % 2 == 0);
            assert_eq!(record.headers.len(), 2);
            assert_eq!(record.headers[0].0, "name");
            assert_eq!(record.payload.is_some(), n % 3 != 0);
            assert_eq!(record.event_time.is_some(), n % 5 == 0);
        }
    }
}

#[test]
fn records_of_an_uncompressed_batch_are_slices_of_it() {
    let batch = Bytes::from(batch_of(Compression::None, &[b"hello"]));
    let record = records(&batch).unwrap().next().unwrap().unwrap();
    let within = batch.as_ptr_range();
    assert!(within.contains(&record.payload.unwrap().as_ptr()));
}

#[test]
fn a_batch_that_does_not_shrink_is_stored_as_it_is() {
    let mut state: u32 = 1;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    })
    .take(1000)
    .collect();
    for compression in [Compression::Lz4, Compression::Zstd] {
        let batch = batch_of(compression, &[&noise]);
        let header = check_produced(&batch, &ANY).unwrap();
        assert_eq!(header.compression(), Some(Compression::None));
    }
}

#[test]
fn every_rule_of_a_batch_is_checked_at_the_door() {
    let batch = batch_of(Compression::None, &[b"hello", b"world"]);
    // Header of the first record, and of the second: 24 bytes and 5 of payload each.
    let (first, second) = (128, 128 + 29);
    let cases: &[(usize, &[u8], &str)] = &[
        (0, &[0; 4], "length of a batch is 0"),
        (0, &[187], "length of a batch is 187"),
        (0, &[0xff; 4], "length of a batch: 4294967295"),
        (0, &[184], "bytes given for a batch: 192 where 184"),
        (0, &[200], "batch: needs 200 bytes, found 192"),
        (4, &[1], "byte 4 must be zero"),
        (8, &[0], "no version has the number zero"),
        (8, &[2], "unsupported version 2"),
        (10, &[1], "byte 10 must be zero"),
        (16, &[1], "byte 16 must be zero"),
        (39, &[1], "byte 39 must be zero"),
        (40, &[1], "byte 40 must be zero"),
        (48, &[1], "byte 48 must be zero"),
        (56, &[1], "byte 56 must be zero"),
        (60, &[1], "byte 60 must be zero"),
        (64, &[1], "byte 64 must be zero"),
        (71, &[1], "byte 71 must be zero"),
        (72, &[0], "compression of a batch is 0"),
        (72, &[4], "compression of a batch is 4"),
        (73, &[1], "flags of a batch is 1"),
        (75, &[1], "byte 75 must be zero"),
        (76, &[0], "record_count of a batch is 0"),
        (76, &[1], "offset_span of a batch is 2"),
        (
            76,
            &[0x41, 0x42, 0x0f],
            "record_count of a batch: 1000001 where 1000000",
        ),
        (80, &[1], "offset_span of a batch is 1"),
        (80, &[3], "offset_span of a batch is 3"),
        (84, &[59], "uncompressed_len of a batch is 59"),
        (
            84,
            &[47],
            "uncompressed_len of a batch is 47, which is too few",
        ),
        (84, &[0xff; 4], "uncompressed_len of a batch: 4294967295"),
        (108, &[56], "records_len of a batch is 56"),
        (108, &[0xff; 4], "records_len of a batch is 4294967295"),
        (191, &[1], "byte 191 must be zero"),
        (first, &[0; 4], "length of a record is 0"),
        (first, &[23], "length of a record is 23"),
        (
            first,
            &[0xff; 4],
            "length of a record: 4294967295 where 1048576",
        ),
        (first, &[59], "record: needs 59 bytes, found 58"),
        (first, &[28], "record: needs 7535 bytes, found 30"),
        (first + 4, &[1], "offset_delta of a record is 1"),
        (second + 4, &[0], "offset_delta of a record is 0"),
        (second + 4, &[2], "offset_delta of a record is 2"),
        (
            first + 8,
            &[1],
            "event_time of a record is 1, without its flag",
        ),
        (first + 16, &[1], "key_len of a record is 1, without"),
        (first + 20, &[6], "type of a record: needs 6 bytes, found 5"),
        (first + 20, &[1, 1], "type_len of a record: 257 where 256"),
        (
            first + 22,
            &[1],
            "header of a record: needs 6 bytes, found 5",
        ),
        (first + 23, &[0x0a], "flags of a record is 10"),
        (first + 23, &[0], "which leaves bytes for a payload"),
    ];
    assert_eq!(batch.len(), 192);
    check_produced(&batch, &ANY).unwrap();
    for (at, bytes, message) in cases {
        let error = check_produced(&with(&batch, *at, bytes), &ANY).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(message), "{at}: {text:?} without {message:?}");
    }
    let mut damaged = batch.clone();
    damaged[130] ^= 1;
    assert!(matches!(
        check_produced(&damaged, &ANY),
        Err(DecodeError::Checksum { .. })
    ));
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .push(&NewRecord {
            record_type: "type",
            headers: &[("name", b"\xff")],
            ..NewRecord::default()
        })
        .unwrap();
    let batch = builder.build().unwrap();
    check_produced(&batch, &ANY).unwrap();
    let type_at = 128 + 24;
    let name_at = type_at + 4 + 6;
    for (at, what) in [
        (type_at, "type of a record: not UTF-8 after 1 of 4 bytes"),
        (name_at, "name of a record's header: not UTF-8 after 1 of 4"),
    ] {
        let error = check_produced(&with(&batch, at + 1, &[0xff]), &ANY).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn the_limits_of_the_channel_hold_at_the_door() {
    let small = DoorLimits {
        max_record_bytes: 24 + 5,
        lz4: false,
        zstd: false,
    };
    check_produced(&batch_of(Compression::None, &[b"12345"]), &small).unwrap();
    let text = [b'a'; 1000];
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        assert!(check_produced(&batch_of(compression, &[&text]), &small).is_err());
        assert!(check_produced(&batch_of(compression, &[&text]), &ANY).is_ok());
    }
    // A long record hides behind a short one: the sum is within the limits, the record is not.
    let batch = batch_of(Compression::None, &[b"1", b"123456"]);
    assert!(matches!(
        check_produced(&batch, &small),
        Err(DecodeError::Length {
            found: 30,
            limit: 29,
            ..
        })
    ));
}

/// The batch with another records part, said to be `raw_len` bytes when decompressed.
fn with_records(batch: &[u8], records: &[u8], raw_len: u32) -> Vec<u8> {
    let mut batch = batch[..128].to_vec();
    batch.extend_from_slice(records);
    batch.resize(batch.len().next_multiple_of(8), 0);
    let length = u32::try_from(batch.len()).unwrap();
    let records_len = u32::try_from(records.len()).unwrap();
    batch[..4].copy_from_slice(&length.to_le_bytes());
    batch[84..88].copy_from_slice(&raw_len.to_le_bytes());
    batch[108..112].copy_from_slice(&records_len.to_le_bytes());
    mend(&mut batch);
    batch
}

#[test]
fn a_compression_bomb_is_refused_by_what_it_claims() {
    let zeros = vec![0; 32 << 20];
    for compression in [Compression::Lz4, Compression::Zstd] {
        let batch = batch_of(compression, &[&[b'a'; 1000]]);
        let bomb = compression::compress(&zeros, compression).unwrap();
        // It claims 1 KiB: decompression stops there.
        let error = check_produced(&with_records(&batch, &bomb, 1024), &ANY).unwrap_err();
        assert!(matches!(error, DecodeError::Compression { .. }), "{error}");
        // It claims what it is: more than its one record may have.
        let honest = u32::try_from(zeros.len()).unwrap();
        let error = check_produced(&with_records(&batch, &bomb, honest), &ANY).unwrap_err();
        assert!(matches!(error, DecodeError::Length { .. }), "{error}");
        // It claims more than it is.
        let error = check_produced(&with_records(&batch, &batch[128..], 1025), &ANY).unwrap_err();
        assert!(matches!(error, DecodeError::Compression { .. }), "{error}");
    }
}

#[test]
fn a_records_part_is_exactly_one_frame() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let batch = batch_of(compression, &[&[b'a'; 1000]]);
        let header = check_produced(&batch, &ANY).unwrap();
        let frame = &batch[128..128 + header.records_len()];
        let raw = u32::try_from(header.uncompressed_len()).unwrap();
        check_produced(&with_records(&batch, frame, raw), &ANY).unwrap();
        let empty = match compression {
            Compression::Lz4 => {
                let encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.finish().unwrap()
            }
            _ => zstd::bulk::compress(b"", 3).unwrap(),
        };
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        for wrong in [
            [frame, &empty].concat(),
            [frame, b"x"].concat(),
            [frame, &skippable].concat(),
            [&skippable, frame].concat(),
            frame[..frame.len() - 1].to_vec(),
            // Without LZ4's end mark.
            frame[..frame.len() - 4].to_vec(),
            Vec::new(),
        ] {
            let error = check_produced(&with_records(&batch, &wrong, raw), &ANY).unwrap_err();
            assert!(matches!(error, DecodeError::Compression { .. }), "{error}");
        }
    }
}

#[test]
fn a_reader_stops_at_a_record_that_breaks_a_rule() {
    let batch = batch_of(Compression::None, &[b"hello", b"world", b"again"]);
    let broken = Bytes::from(with(&batch, 128 + 29 + 4, &[9]));
    let mut walk = records(&broken).unwrap();
    assert!(walk.next().unwrap().is_ok());
    assert!(walk.next().unwrap().is_err());
    assert!(walk.next().is_none());
}

#[test]
fn a_sparse_batch_keeps_the_offsets_of_its_records() {
    let mut batch = batch_of(Compression::None, &[b"hello", b"world"]);
    // As compaction leaves it: five offsets, of which 1 and 4 have records.
    for (at, value) in [(80, 5), (128 + 4, 1), (128 + 29 + 4, 4)] {
        batch[at] = value;
    }
    mend(&mut batch);
    assert!(check_produced(&batch, &ANY).is_err(), "not from a producer");
    batch[10] = 1;
    let header = stamp(&mut batch, &STAMP);
    assert!(header.is_sparse());
    assert_eq!(check_stored(&batch), Ok(header));
    assert_eq!(header.end_offset(), Offset(1005));
    let offsets = |batch: Vec<u8>| -> Result<Vec<u64>, DecodeError> {
        let walk = records(&Bytes::from(batch))?;
        walk.map(|record| Ok(record?.offset.0)).collect()
    };
    assert_eq!(offsets(batch.clone()), Ok(vec![1001, 1004]));
    batch[128 + 29 + 4] = 5;
    assert!(offsets(batch.clone()).is_err(), "outside of the span");
    batch[128 + 29 + 4] = 1;
    assert!(offsets(batch).is_err(), "twice the same");
}

#[test]
fn a_stored_batch_with_fields_of_no_version_is_refused() {
    let mut batch = batch_of(Compression::None, &[b"hello"]);
    stamp(&mut batch, &STAMP);
    for (at, message) in [
        (8, "unsupported version 3"),
        (10, "stamped_flags of a batch is 4"),
        (60, "key_id of a batch is 2, and a batch of version 1"),
        (64, "origin_region of a batch is 2"),
        (66, "byte 66 must be zero"),
    ] {
        let mut newer = batch.clone();
        newer[at] |= if at == 10 { 4 } else { 2 };
        let damaged = check_stored(&newer).unwrap_err();
        assert!(matches!(damaged, DecodeError::Checksum { .. }), "{damaged}");
        stamp(&mut newer, &STAMP);
        let error = check_stored(&newer).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    // Offsets that run over the end of all offsets.
    let base_offset = Offset(u64::MAX);
    stamp(
        &mut batch,
        &Stamp {
            base_offset,
            ..STAMP
        },
    );
    assert!(check_stored(&batch).is_err());
}

#[test]
fn the_builder_refuses_what_the_format_cannot_say() {
    let mut builder = BatchBuilder::new(Compression::None);
    assert_eq!(builder.clone().build(), Err(BuildError::Empty));
    let long = "x".repeat(65_536);
    let many = vec![("n", &b"v"[..]); 256];
    let huge = vec![0; MAX_RECORD_BYTES - 23];
    for record in [
        NewRecord {
            record_type: &long[..257],
            ..NewRecord::default()
        },
        NewRecord {
            headers: &many,
            ..NewRecord::default()
        },
        NewRecord {
            headers: &[(&long, b"")],
            ..NewRecord::default()
        },
        NewRecord {
            payload: Some(&huge),
            ..NewRecord::default()
        },
    ] {
        assert!(matches!(
            builder.push(&record),
            Err(BuildError::TooLong { .. })
        ));
    }
    assert!(builder.is_empty(), "a refused record leaves no trace");
    let largest = NewRecord {
        payload: Some(&huge[1..]),
        ..NewRecord::default()
    };
    builder.push(&largest).unwrap();
    assert!(matches!(
        builder.push(&largest),
        Err(BuildError::Full { records: 1, .. })
    ));
    let limits = DoorLimits {
        max_record_bytes: 64 << 20,
        ..ANY
    };
    let batch = builder.build().unwrap();
    assert_eq!(check_produced(&batch, &limits).unwrap().record_count(), 1);
}
