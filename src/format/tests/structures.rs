//! The fixed structures: newer versions, reserved fields, and values that contradict each other.

use super::*;
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

type Decode = fn(&[u8]) -> Result<(), DecodeError>;

/// Each structure with a checksum at 4 and its version at 8: bytes, checksummed range, decoder.
fn structures() -> Vec<(Vec<u8>, std::ops::Range<usize>, Decode)> {
    let index = |kind| IndexHeader {
        kind,
        incarnation: Incarnation(1),
        base_offset: Offset(2),
    };
    let checkpoint = Checkpoint {
        number: 1,
        directory_id: Incarnation(1),
        epoch: 2,
        journal_group: 3,
        journal_file: 0,
        journal_position: 4096,
        logs: Vec::new(),
    };
    let secret = SecretFile {
        directory_id: Incarnation(1),
        secret: [7; 32].into(),
    };
    let snapshot = SnapshotHeader {
        log: Incarnation(1),
        next_offset: Offset(2),
        log_epoch: LogEpoch(3),
        body_len: 4,
        parts: 5,
        body_crc: 6,
    };
    vec![
        (recovery_point(4).encode().to_vec(), 8..128, |bytes| {
            RecoveryPoint::decode(bytes).map(drop)
        }),
        (journal_file().encode().to_vec(), 8..128, |bytes| {
            JournalFileHeader::decode(bytes).map(drop)
        }),
        (group().encode().to_vec(), 8..64, |bytes| {
            GroupHeader::decode(bytes).map(drop)
        }),
        (segment().encode().to_vec(), 8..128, |bytes| {
            SegmentHeader::decode(bytes).map(drop)
        }),
        (index(IndexKind::Offset).encode().to_vec(), 8..64, |bytes| {
            IndexHeader::decode(bytes, IndexKind::Offset).map(drop)
        }),
        (index(IndexKind::Time).encode().to_vec(), 8..64, |bytes| {
            IndexHeader::decode(bytes, IndexKind::Time).map(drop)
        }),
        (checkpoint.encode(), 8..96, |bytes| {
            Checkpoint::decode(bytes).map(drop)
        }),
        (secret.encode().to_vec(), 8..64, |bytes| {
            SecretFile::decode(bytes).map(drop)
        }),
        (snapshot.encode().to_vec(), 8..64, |bytes| {
            SnapshotHeader::decode(bytes).map(drop)
        }),
    ]
}

fn mended(bytes: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let crc = crc32fast::hash(&bytes[range]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn an_intact_newer_version_is_named_and_a_damaged_one_is_damage() {
    for (mut bytes, range, decode) in structures() {
        decode(&bytes).unwrap();
        bytes[8] = 2;
        assert!(matches!(decode(&bytes), Err(DecodeError::Checksum { .. })));
        let error = decode(&mended(&bytes, range.clone())).unwrap_err();
        assert!(
            matches!(error, DecodeError::UnsupportedVersion { found: 2, .. }),
            "{error}"
        );
        bytes[8] = 0;
        let error = decode(&mended(&bytes, range)).unwrap_err();
        assert!(matches!(error, DecodeError::Field { value: 0, .. }));
    }
    let mut marker = Marker {
        directory_id: Incarnation(1),
        created_at: Timestamp(2),
    }
    .encode();
    marker[8] = 2;
    assert!(matches!(
        Marker::decode(&marker),
        Err(DecodeError::UnsupportedVersion { found: 2, .. })
    ));
}

#[test]
fn unwritten_space_is_no_structure() {
    let zeros = [0; BLOCK_BYTES];
    for (_, _, decode) in structures() {
        assert!(matches!(decode(&zeros), Err(DecodeError::Magic { .. })));
    }
    assert!(Marker::decode(&zeros[..64]).is_err());
    assert!(BatchHeader::peek(&zeros).is_err());
    assert!(GroupItem::decode(&zeros).is_err());
    assert!(OffsetEntry::decode(&zeros, Incarnation(0), Offset(0)).is_err());
    assert!(TimeEntry::decode(&zeros, Incarnation(0), Offset(0)).is_err());
}

#[test]
fn reserved_bytes_are_zero_or_the_structure_is_refused() {
    let reserved: [&[usize]; 9] = [
        &[12, 15, 80, 127],
        &[10, 15, 36, 39, 48, 127, 128, 4095],
        &[10, 11, 56, 63],
        &[10, 15, 80, 127, 128, 4095],
        &[12, 15, 40, 63],
        &[12, 15, 40, 63],
        &[10, 15, 76, 95],
        &[10, 15],
        &[10, 15],
    ];
    for ((bytes, range, decode), places) in structures().into_iter().zip(reserved) {
        for &at in places {
            let mut bytes = bytes.clone();
            bytes[at] = 1;
            assert_eq!(
                decode(&mended(&bytes, range.clone())).map_err(|error| match error {
                    DecodeError::Reserved { position, .. } => position,
                    other => panic!("{other}"),
                }),
                Err(at as u64)
            );
        }
    }
}

#[test]
fn the_newest_intact_slot_is_the_recovery_point() {
    let slot = |sequence| recovery_point(sequence).encode();
    let newest = |a: &[u8], b: &[u8]| RecoveryPoint::newest(a, b).map(|point| point.sequence);
    assert_eq!(newest(&slot(4), &slot(5)), Ok(5));
    assert_eq!(newest(&slot(6), &slot(5)), Ok(6));
    assert_eq!(newest(&slot(4), &[0; 4096]), Ok(4));
    let mut torn = slot(6);
    torn[90] = 1;
    assert_eq!(newest(&torn, &slot(5)), Ok(5));
    assert!(matches!(
        newest(&torn, &[]),
        Err(NoRecoveryPoint::Damaged { .. })
    ));
    assert_eq!(newest(&slot(7), &slot(5)), Ok(5), "7 is in the wrong slot");

    let mut newer = slot(6).to_vec();
    newer[8] = 2;
    assert_eq!(
        newest(&newer, &slot(5)),
        Ok(5),
        "damaged, so it says nothing"
    );
    let newer = mended(&newer, 8..128);
    for (a, b) in [(&newer[..], &slot(5)[..]), (&newer, b""), (b"", &newer)] {
        assert!(matches!(newest(a, b), Err(NoRecoveryPoint::Newer(_))));
    }
}

#[test]
fn an_index_entry_of_another_segment_is_refused() {
    let (log, base) = (Incarnation(1), Offset(2));
    let entry = OffsetEntry {
        offset_delta: 3,
        position: 4096,
        length: 256,
    };
    let bytes = entry.encode(log, base);
    assert_eq!(OffsetEntry::decode(&bytes, log, base), Ok(entry));
    assert!(OffsetEntry::decode(&bytes, Incarnation(2), base).is_err());
    assert!(OffsetEntry::decode(&bytes, log, Offset(3)).is_err());
}

#[test]
fn the_items_of_a_group_are_bound_to_its_start_and_number() {
    let crc = items_crc(1, 2, b"items");
    assert_ne!(crc, items_crc(2, 2, b"items"));
    assert_ne!(crc, items_crc(1, 3, b"items"));
    assert_ne!(crc, items_crc(1, 2, b"other"));
}

#[test]
fn a_journal_item_that_contradicts_itself_is_refused() {
    let item = GroupItem {
        kind: ItemKind::Batch,
        is_last_of_entry: true,
        was_synced_before: false,
        is_copied: false,
        entry: 0,
        incarnation: Incarnation(1),
        base_offset: Offset(10),
        end_offset: Offset(20),
        segment_base: Offset(10),
        position: 4096,
        length: 256,
        checksum: 0,
        batch_count: 1,
        previous_base: Some(Offset(9)),
    };
    let reference = GroupItem {
        kind: ItemKind::Reference,
        was_synced_before: true,
        batch_count: 7,
        length: 1 << 40,
        ..item
    };
    for item in [item, reference] {
        assert_eq!(GroupItem::decode(&item.encode()), Ok(item));
    }
    for item in [
        GroupItem {
            end_offset: Offset(10),
            ..item
        },
        GroupItem {
            segment_base: Offset(11),
            ..item
        },
        GroupItem {
            previous_base: Some(Offset(10)),
            ..item
        },
        GroupItem {
            position: 4088,
            ..item
        },
        GroupItem {
            position: 4100,
            ..item
        },
        GroupItem {
            length: 120,
            ..item
        },
        GroupItem {
            length: 257,
            ..item
        },
        GroupItem {
            length: MAX_STORED_BATCH_BYTES as u64 + 8,
            ..item
        },
        GroupItem {
            batch_count: 2,
            ..item
        },
        GroupItem {
            batch_count: 0,
            ..reference
        },
        GroupItem {
            was_synced_before: true,
            ..item
        },
        GroupItem {
            position: u64::MAX - 7,
            ..reference
        },
    ] {
        assert!(GroupItem::decode(&item.encode()).is_err(), "{item:?}");
    }
    let mut unknown = item.encode();
    unknown[2] |= 8;
    assert!(GroupItem::decode(&unknown).is_err());
}

#[test]
fn a_group_is_above_the_one_it_says_was_synced() {
    for (number, synced_group) in [(0, 0), (5, 5), (5, 6)] {
        let group = GroupHeader {
            group: number,
            synced_group,
            ..group()
        };
        assert!(GroupHeader::decode(&group.encode()).is_err());
    }
}

#[test]
fn a_checkpoint_with_absurd_counts_is_refused() {
    let log = LogRow {
        incarnation: Incarnation(1),
        log_start: Offset(0),
        end_offset: Offset(0),
        segment_base: Offset(0),
        position: 4096,
        segment_start_time: Timestamp(0),
        last_append_time: Timestamp(0),
        fence: 0,
        last_epoch: crate::types::LogEpoch(0),
        previous_base: None,
        previous_length: 0,
        refuses_writes: false,
        producers: Vec::new(),
        damage: Vec::new(),
    };
    let checkpoint = Checkpoint {
        number: 1,
        directory_id: Incarnation(1),
        epoch: 1,
        journal_group: 1,
        journal_file: 0,
        journal_position: 4096,
        logs: vec![log],
    };
    let bytes = checkpoint.encode();
    // Log rows in the header; producer and damage rows in the log row.
    for at in [64, 96 + 100, 96 + 104] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].fill(0xff);
        let body_crc = crc32fast::hash(&bytes[96..]);
        bytes[72..76].copy_from_slice(&body_crc.to_le_bytes());
        assert!(matches!(
            Checkpoint::decode(&mended(&bytes, 8..96)),
            Err(DecodeError::Short { .. })
        ));
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Checkpoint::decode(&longer).is_err());
}

fn recovery_point(sequence: u64) -> RecoveryPoint {
    RecoveryPoint {
        is_clean: true,
        sequence,
        directory_id: Incarnation(1),
        epoch: 2,
        salt: 3,
        checkpoint: 4,
        flushed_group: 5,
        flushed_file: 6,
        flushed_end: 7,
    }
}

fn journal_file() -> JournalFileHeader {
    JournalFileHeader {
        directory_id: Incarnation(1),
        number: 2,
        file_bytes: 3,
    }
}

fn group() -> GroupHeader {
    GroupHeader {
        item_count: 1,
        items_crc: 2,
        data_len: 3,
        group: 4,
        epoch: 5,
        synced_group: 3,
        written_at: Timestamp(6),
    }
}

fn segment() -> SegmentHeader {
    SegmentHeader {
        incarnation: Incarnation(1),
        base_offset: Offset(2),
        previous_base: None,
        previous_length: 0,
        previous_last_time: Timestamp(0),
        created_at: Timestamp(3),
        epoch: 4,
    }
}
