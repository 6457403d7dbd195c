//! The files of `tests/golden`: what this code writes, byte for byte.
//!
//! `UPDATE_GOLDEN=1 cargo test golden` writes them anew. Do that for a new file only: a changed one is
//! a changed format, which raises a version and keeps the old file.
#![expect(clippy::unwrap_used, reason = "the helpers of tests")]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use npayload::format::{
    BLOCK_BYTES, BatchBuilder, BatchHeader, Checkpoint, Compression, DamageKind, DamageRow,
    DataKey, DecodeError, DoorLimits, Gap, GroupHeader, GroupItem, IndexHeader, IndexKind,
    ItemKind, JournalFileHeader, LogRow, Marker, NewRecord, OffsetEntry, ProducerRow, Record,
    RecoveryPoint, Sealing, SecretFile, SegmentHeader, SnapshotHeader, Stamp, TimeEntry,
    check_produced, check_stored, items_crc, read_snapshot, records, seal, stamp, unseal,
};
use npayload::types::{Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

const DIRECTORY: Incarnation = Incarnation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
const LOG: Incarnation = Incarnation(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);
/// 2025-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp(1_735_689_600_000);
const SALT: u64 = 0x5a17_5a17_5a17_5a17;
const STAMP: Stamp = Stamp {
    incarnation: LOG,
    base_offset: Offset(41),
    append_time: NOW,
    log_epoch: LogEpoch(7),
    principal: 12,
};
const LIMITS: DoorLimits = DoorLimits {
    max_record_bytes: 1 << 20,
    lz4: true,
    zstd: true,
};

/// A golden file: its name, the bytes this code writes, and the check that reads them.
struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
    check: fn(&[u8]) -> Result<(), DecodeError>,
    /// Whether the bytes are ours alone. Those of a compressor may change with its version; what
    /// they decompress to may not.
    is_byte_stable: bool,
}

fn goldens() -> Vec<Golden> {
    let golden = |name, bytes: Vec<u8>, check| Golden {
        name,
        bytes,
        check,
        is_byte_stable: true,
    };
    let compressed = |name, compression| Golden {
        is_byte_stable: false,
        ..golden(name, stamped(many_records(compression)), stored)
    };
    vec![
        golden("batch_two_records.bin", two_records(), produced),
        golden(
            "batch_two_records_stamped.bin",
            stamped(two_records()),
            stored,
        ),
        golden("batch_all_fields.bin", all_fields(), produced),
        golden(
            "batch_all_fields_stamped.bin",
            stamped(all_fields()),
            stored,
        ),
        golden("batch_gap.bin", gap(), stored),
        golden("batch_encrypted.bin", encrypted(), |bytes| {
            check_stored(bytes)?;
            let mut plain = BytesMut::new();
            unseal(bytes, &DATA_KEY.0, &mut plain)?;
            assert!(plain[..] == stamped(two_records()), "the same in plain");
            Ok(())
        }),
        compressed("batch_lz4_stamped.bin", Compression::Lz4),
        compressed("batch_zstd_stamped.bin", Compression::Zstd),
        golden("marker.bin", marker().encode().to_vec(), |bytes| {
            Marker::decode(bytes).map(drop)
        }),
        golden(
            "secret_file.bin",
            secret_file().encode().to_vec(),
            |bytes| SecretFile::decode(bytes).map(drop),
        ),
        golden("snapshot.bin", snapshot(), |bytes| {
            read_snapshot(&Bytes::copy_from_slice(bytes)).map(drop)
        }),
        golden("recovery_point.bin", recovery_point_file(), |bytes| {
            RecoveryPoint::decode(at(bytes, 0, RecoveryPoint::SLOT_BYTES)?)?;
            let second = at(bytes, RecoveryPoint::SLOT_BYTES, RecoveryPoint::SLOT_BYTES)?;
            RecoveryPoint::decode(second).map(drop)
        }),
        golden("journal_file_header.bin", journal_file_header(), |bytes| {
            JournalFileHeader::decode(bytes).map(drop)
        }),
        golden("journal_group.bin", journal_group(), check_group),
        golden("segment_header.bin", segment_header(), |bytes| {
            SegmentHeader::decode(bytes).map(drop)
        }),
        golden("offset_index.bin", offset_index(), check_offset_index),
        golden("time_index.bin", time_index(), check_time_index),
        golden("checkpoint.bin", checkpoint().encode(), |bytes| {
            Checkpoint::decode(bytes).map(drop)
        }),
    ]
}

#[test]
fn every_structure_is_byte_stable() {
    for golden in goldens() {
        let path = directory().join(golden.name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(directory()).unwrap();
            std::fs::write(&path, &golden.bytes).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        (golden.check)(&found).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        if golden.is_byte_stable {
            assert!(
                golden.bytes == found,
                "{}: format change: raise the version and add a decision record",
                golden.name
            );
        } else {
            assert_eq!(read_all(&found), read_all(&golden.bytes), "{}", golden.name);
        }
    }
}

#[test]
fn every_golden_file_is_claimed() {
    let claimed = goldens();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let entry = entry.unwrap();
        // A room with files of its own keeps them in its own directory.
        if entry.file_type().unwrap().is_file() {
            let name = entry.file_name();
            assert!(
                claimed.iter().any(|golden| name == golden.name),
                "nobody claims {name:?}"
            );
        }
    }
}

#[test]
fn a_flip_of_any_bit_is_an_error() {
    for golden in goldens() {
        let mut bytes = std::fs::read(directory().join(golden.name)).unwrap();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                (golden.check)(&bytes).is_err(),
                "{}: bit {} of byte {} is not covered",
                golden.name,
                bit % 8,
                bit / 8
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_cut_at_any_byte_is_an_error() {
    for golden in goldens() {
        let bytes = std::fs::read(directory().join(golden.name)).unwrap();
        for len in 0..bytes.len() {
            // Index entries have no count: a cut between them shows against the segment only.
            let between_entries = golden.name.ends_with("index.bin") && len >= 64 && len % 16 == 0;
            assert!(
                between_entries || (golden.check)(&bytes[..len]).is_err(),
                "{}: cut at {len}",
                golden.name
            );
        }
    }
}

#[test]
fn the_golden_batches_hold_the_records_they_are_named_for() {
    let read = |name| read_all(&std::fs::read(directory().join(name)).unwrap());
    let two = read("batch_two_records_stamped.bin");
    assert_eq!(two.len(), 2);
    assert_eq!(two[0].payload.as_deref(), Some(&b"hello"[..]));
    assert_eq!(two[1].payload.as_deref(), Some(&b""[..]));
    assert_eq!((two[0].offset, two[1].offset), (Offset(41), Offset(42)));
    let all = read("batch_all_fields_stamped.bin");
    assert_eq!(all[0].record_type, "inference.feedback");
    assert_eq!(all[0].event_time, Some(Timestamp(-1)));
    assert_eq!(all[0].headers[1].0, "größe");
    assert_eq!(all[1].key.as_deref(), Some(&b"user-1"[..]));
    assert_eq!(all[1].payload, None, "a tombstone");
    assert_eq!(all[2].key.as_deref(), Some(&b""[..]), "empty, not absent");
    let gap = Bytes::from(std::fs::read(directory().join("batch_gap.bin")).unwrap());
    assert_eq!(BatchHeader::peek(&gap).unwrap().end_offset(), Offset(46));
    assert_eq!(Gap::of(&gap), Ok(Some(why_lost())));
    for (name, compression) in [
        ("batch_lz4_stamped.bin", Compression::Lz4),
        ("batch_zstd_stamped.bin", Compression::Zstd),
    ] {
        let bytes = std::fs::read(directory().join(name)).unwrap();
        let header = BatchHeader::peek(&bytes).unwrap();
        assert_eq!(header.compression(), Some(compression));
        assert_eq!(read_all(&bytes).len(), 100);
    }
}

#[test]
fn the_golden_structures_hold_the_values_they_were_made_of() {
    let read = |name| std::fs::read(directory().join(name)).unwrap();
    assert_eq!(Marker::decode(&read("marker.bin")), Ok(marker()));
    assert_eq!(
        SecretFile::decode(&read("secret_file.bin")),
        Ok(secret_file())
    );
    assert_eq!(
        Checkpoint::decode(&read("checkpoint.bin")),
        Ok(checkpoint())
    );
    let slots = read("recovery_point.bin");
    let (a, b) = slots.split_at(RecoveryPoint::SLOT_BYTES);
    assert_eq!(RecoveryPoint::newest(a, b), Ok(recovery_points()[1]));
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn read_all(batch: &[u8]) -> Vec<Record> {
    let batch = Bytes::copy_from_slice(batch);
    records(&batch).unwrap().collect::<Result<_, _>>().unwrap()
}

fn produced(bytes: &[u8]) -> Result<(), DecodeError> {
    check_produced(bytes, &LIMITS).map(drop)
}

fn stored(bytes: &[u8]) -> Result<(), DecodeError> {
    check_stored(bytes).map(drop)
}

fn at(bytes: &[u8], from: usize, len: usize) -> Result<&[u8], DecodeError> {
    bytes.get(from..from + len).ok_or(DecodeError::Short {
        what: "golden file",
        needed: (from + len) as u64,
        found: bytes.len() as u64,
    })
}

/// Bytes 0, 1, 2, … 31, as storage-format.md says of the file.
static DATA_KEY: LazyLock<(Arc<DataKey>, [u8; 12])> = LazyLock::new(|| {
    let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    (Arc::new(DataKey::new(&key)), *b"golden nonce")
});

fn encrypted() -> Vec<u8> {
    let sealing = Sealing {
        key: DATA_KEY.0.clone(),
        key_id: 1,
        nonce: DATA_KEY.1,
    };
    seal(&stamped(two_records()), &sealing).0.to_vec()
}

fn two_records() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for payload in [&b"hello"[..], b""] {
        builder
            .push(&NewRecord {
                payload: Some(payload),
                ..NewRecord::default()
            })
            .unwrap();
    }
    builder.build().unwrap().to_vec()
}

fn all_fields() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .producer(ProducerId(0xfeed << 100), 3, 1000)
        .fence(7);
    builder
        .push(&NewRecord {
            record_type: "inference.feedback",
            key: Some(b"user-1"),
            headers: &[("trace", b"\x00\xff"), ("größe", b"")],
            payload: Some(br#"{"score":0.5}"#),
            event_time: Some(Timestamp(-1)),
        })
        .unwrap();
    builder
        .push(&NewRecord {
            key: Some(b"user-1"),
            ..NewRecord::default()
        })
        .unwrap();
    builder
        .push(&NewRecord {
            key: Some(b""),
            payload: Some(b"x"),
            event_time: Some(Timestamp(0)),
            ..NewRecord::default()
        })
        .unwrap();
    builder.build().unwrap().to_vec()
}

fn many_records(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for n in 0..100 {
        builder
            .push(&NewRecord {
                record_type: "text.line",
                payload: Some(format!("line {n} of a text that compresses well").as_bytes()),
                ..NewRecord::default()
            })
            .unwrap();
    }
    builder.build().unwrap().to_vec()
}

fn stamped(mut batch: Vec<u8>) -> Vec<u8> {
    stamp(&mut batch, &STAMP);
    batch
}

fn why_lost() -> Gap {
    Gap {
        reason: "damaged".to_owned(),
        types: Vec::new(),
        what: "batch body: checksum 00000001, computed 00000002".to_owned(),
        file: format!("channels/{LOG}/00000000000000000000.log"),
        position: 4096,
        length: 512,
        repaired_at: NOW,
        tool: "npayload-inspect 0.1.0".to_owned(),
    }
}

/// Five lost records in 512 bytes.
fn gap() -> Vec<u8> {
    let stamp = Stamp {
        principal: 0,
        ..STAMP
    };
    why_lost().encode(&stamp, 5, 512)
}

fn marker() -> Marker {
    Marker {
        directory_id: DIRECTORY,
        created_at: NOW,
    }
}

fn snapshot() -> Vec<u8> {
    let mut body = Vec::new();
    for part in [&b"{\"part\":1}"[..], b"", b"{\"part\":3}"] {
        body.extend_from_slice(&(part.len() as u32).to_le_bytes());
        body.extend_from_slice(part);
    }
    let header = SnapshotHeader {
        log: DIRECTORY,
        next_offset: Offset(41),
        log_epoch: LogEpoch(7),
        body_len: body.len() as u64,
        parts: 3,
        body_crc: crc32fast::hash(&body),
    };
    let mut bytes = header.encode().to_vec();
    bytes.append(&mut body);
    bytes
}

fn secret_file() -> SecretFile {
    SecretFile {
        directory_id: DIRECTORY,
        secret: std::array::from_fn::<u8, 32, _>(|at| at as u8).into(),
    }
}

fn recovery_points() -> [RecoveryPoint; 2] {
    let first = RecoveryPoint {
        is_clean: false,
        sequence: 8,
        directory_id: DIRECTORY,
        epoch: 7,
        salt: SALT,
        checkpoint: 3,
        flushed_group: 99,
        flushed_file: 1,
        flushed_end: 8704,
    };
    let second = RecoveryPoint {
        is_clean: true,
        sequence: 9,
        flushed_group: 100,
        ..first
    };
    [first, second]
}

fn recovery_point_file() -> Vec<u8> {
    let mut file = vec![0; RecoveryPoint::FILE_BYTES];
    for point in recovery_points() {
        let from = usize::try_from(point.slot_position()).unwrap();
        file[from..from + RecoveryPoint::BYTES].copy_from_slice(&point.encode());
    }
    file
}

fn journal_file_header() -> Vec<u8> {
    let header = JournalFileHeader {
        directory_id: DIRECTORY,
        number: 1,
        file_bytes: 64 << 20,
    };
    header.encode().to_vec()
}

/// One entry over two items: a batch, and a reference to bytes in a segment.
fn journal_group() -> Vec<u8> {
    let batch = stamped(two_records());
    let header = BatchHeader::peek(&batch).unwrap();
    let item = GroupItem {
        kind: ItemKind::Batch,
        is_last_of_entry: false,
        was_synced_before: false,
        is_copied: false,
        entry: 0,
        incarnation: LOG,
        base_offset: header.base_offset(),
        end_offset: header.end_offset(),
        segment_base: Offset(40),
        position: 4096 + 512,
        length: batch.len() as u64,
        checksum: header.header_crc(),
        batch_count: 1,
        previous_base: Some(Offset(0)),
    };
    let reference = GroupItem {
        kind: ItemKind::Reference,
        is_last_of_entry: true,
        was_synced_before: true,
        is_copied: true,
        incarnation: Incarnation(LOG.0 + 1),
        base_offset: Offset(0),
        end_offset: Offset(5000),
        segment_base: Offset(0),
        position: 4096,
        length: 1 << 20,
        checksum: 0x0bad_f00d,
        batch_count: 5,
        previous_base: None,
        ..item
    };
    let items = [item.encode(), reference.encode()].concat();
    let header = GroupHeader {
        item_count: 2,
        items_crc: items_crc(SALT, 100, &items),
        data_len: u32::try_from(batch.len()).unwrap(),
        group: 100,
        epoch: 7,
        synced_group: 99,
        written_at: NOW,
    };
    let mut group = [&header.encode()[..], &items, &batch].concat();
    group.resize(group.len().next_multiple_of(BLOCK_BYTES), 0);
    group
}

/// What `storage-format.md`, "The journal", demands of an intact group.
fn check_group(bytes: &[u8]) -> Result<(), DecodeError> {
    let header = GroupHeader::decode(bytes)?;
    let items_len = usize::try_from(header.items_len()).unwrap();
    let items = at(bytes, GroupHeader::BYTES, items_len)?;
    let refused = |value: u64| DecodeError::Field {
        what: "golden group",
        value,
        rule: "which the test refuses",
    };
    if items_crc(SALT, header.group, items) != header.items_crc {
        return Err(refused(header.items_crc.into()));
    }
    let mut position = GroupHeader::BYTES + items_len;
    for item in items.chunks(GroupItem::BYTES) {
        let item = GroupItem::decode(item)?;
        if item.kind == ItemKind::Batch {
            let batch = at(bytes, position, usize::try_from(item.length).unwrap())?;
            if check_stored(batch)?.header_crc() != item.checksum {
                return Err(refused(item.checksum.into()));
            }
            position += batch.len();
        }
    }
    let rest = at(bytes, position, BLOCK_BYTES - position)?;
    match rest.iter().position(|&byte| byte != 0) {
        Some(at) => Err(refused(at as u64)),
        None => Ok(()),
    }
}

fn segment_header() -> Vec<u8> {
    let header = SegmentHeader {
        incarnation: LOG,
        base_offset: Offset(40),
        previous_base: Some(Offset(0)),
        previous_length: 128 << 20,
        previous_last_time: Timestamp(NOW.0 - 1),
        created_at: NOW,
        epoch: 7,
    };
    header.encode().to_vec()
}

fn index_header(kind: IndexKind) -> IndexHeader {
    IndexHeader {
        kind,
        incarnation: LOG,
        base_offset: Offset(40),
    }
}

fn offset_index() -> Vec<u8> {
    let mut bytes = index_header(IndexKind::Offset).encode().to_vec();
    for (offset_delta, position, length) in [(0, 4096, 16_384), (17, 20_480, 200)] {
        let entry = OffsetEntry {
            offset_delta,
            position,
            length,
        };
        bytes.extend(entry.encode(LOG, Offset(40)));
    }
    bytes
}

fn check_offset_index(bytes: &[u8]) -> Result<(), DecodeError> {
    let header = IndexHeader::decode(bytes, IndexKind::Offset)?;
    for entry in bytes[IndexHeader::BYTES..].chunks(OffsetEntry::BYTES) {
        OffsetEntry::decode(entry, LOG, header.base_offset)?;
    }
    Ok(())
}

fn time_index() -> Vec<u8> {
    let mut bytes = index_header(IndexKind::Time).encode().to_vec();
    for offset_delta in [0, 17] {
        let entry = TimeEntry {
            append_time: NOW.saturating_add_ms(offset_delta.into()),
            offset_delta,
        };
        bytes.extend(entry.encode(LOG, Offset(40)));
    }
    bytes
}

fn check_time_index(bytes: &[u8]) -> Result<(), DecodeError> {
    let header = IndexHeader::decode(bytes, IndexKind::Time)?;
    for entry in bytes[IndexHeader::BYTES..].chunks(TimeEntry::BYTES) {
        TimeEntry::decode(entry, LOG, header.base_offset)?;
    }
    Ok(())
}

fn checkpoint() -> Checkpoint {
    let log = LogRow {
        incarnation: DIRECTORY,
        log_start: Offset(0),
        end_offset: Offset(3),
        segment_base: Offset(0),
        position: 4096 + 800,
        segment_start_time: Timestamp(NOW.0 - 5),
        last_append_time: NOW,
        fence: 0,
        last_epoch: LogEpoch(7),
        previous_base: None,
        previous_length: 0,
        refuses_writes: false,
        producers: Vec::new(),
        damage: Vec::new(),
    };
    let damaged = LogRow {
        incarnation: LOG,
        log_start: Offset(10),
        end_offset: Offset(43),
        segment_base: Offset(40),
        fence: 7,
        previous_base: Some(Offset(0)),
        previous_length: 128 << 20,
        refuses_writes: true,
        producers: vec![ProducerRow {
            producer_id: ProducerId(0xfeed << 100),
            epoch: 3,
            base_sequence: 1000,
            next_sequence: 1003,
            base_offset: Offset(40),
            last_append_time: NOW,
        }],
        damage: vec![DamageRow {
            first_offset: Offset(20),
            end_offset: Offset(30),
            segment_base: Offset(0),
            position: 8192,
            length: 640,
            what: DamageKind::SegmentBatch,
        }],
        ..log.clone()
    };
    Checkpoint {
        number: 3,
        directory_id: DIRECTORY,
        epoch: 7,
        journal_group: 98,
        journal_file: 1,
        journal_position: 4096,
        logs: vec![log, damaged],
    }
}
