//! Whatever a structure holds, it comes back from its bytes as it went in.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::types::{Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

fn log() -> impl Strategy<Value = Incarnation> {
    any::<u128>().prop_map(Incarnation)
}

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

/// A base offset, and the one before it if there is one.
fn bases() -> impl Strategy<Value = (Offset, Option<Offset>)> {
    (1..u64::MAX, any::<Option<u64>>())
        .prop_map(|(base, previous)| (Offset(base), previous.map(|it| Offset(it % base))))
}

fn producer_row() -> impl Strategy<Value = ProducerRow> {
    (
        any::<u128>(),
        any::<[u64; 2]>(),
        any::<u32>(),
        offset(),
        time(),
    )
        .prop_map(
            |(id, [base_sequence, next_sequence], epoch, base_offset, last_append_time)| {
                ProducerRow {
                    producer_id: ProducerId(id),
                    epoch,
                    base_sequence,
                    next_sequence,
                    base_offset,
                    last_append_time,
                }
            },
        )
}

fn damage_row() -> impl Strategy<Value = DamageRow> {
    (any::<[u64; 5]>(), 1..=5_u32).prop_map(|([first, end, base, position, length], what)| {
        DamageRow {
            first_offset: Offset(first),
            end_offset: Offset(end),
            segment_base: Offset(base),
            position,
            length,
            what: DamageKind::from_number(what).unwrap(),
        }
    })
}

fn log_row() -> impl Strategy<Value = LogRow> {
    (
        (log(), bases(), any::<[u64; 6]>(), any::<[i64; 2]>()),
        (
            any::<bool>(),
            vec(producer_row(), 0..4),
            vec(damage_row(), 0..4),
        ),
    )
        .prop_map(|((incarnation, bases, numbers, times), rest)| LogRow {
            incarnation,
            log_start: Offset(numbers[0].min(numbers[1])),
            end_offset: Offset(numbers[0].max(numbers[1])),
            segment_base: bases.0,
            position: numbers[2],
            segment_start_time: Timestamp(times[0]),
            last_append_time: Timestamp(times[1]),
            fence: numbers[3],
            last_epoch: LogEpoch(numbers[4]),
            previous_base: bases.1,
            previous_length: numbers[5],
            refuses_writes: rest.0,
            producers: rest.1,
            damage: rest.2,
        })
}

fn item() -> impl Strategy<Value = GroupItem> {
    (
        (any::<[bool; 4]>(), any::<u32>(), log(), bases()),
        (0..1_000_u64, 1..1_000_u64, 0..1_u64 << 40, 16..1_u64 << 20),
        (any::<u32>(), 1..u32::MAX),
    )
        .prop_map(|(names, places, (checksum, count))| {
            let ([is_batch, is_last_of_entry, is_copied, synced], entry, incarnation, bases) =
                names;
            let base_offset = Offset(bases.0.0.saturating_add(places.0).min(u64::MAX - 1_000));
            GroupItem {
                kind: if is_batch {
                    ItemKind::Batch
                } else {
                    ItemKind::Reference
                },
                is_last_of_entry,
                was_synced_before: synced && !is_batch,
                is_copied,
                entry,
                incarnation,
                base_offset,
                end_offset: Offset(base_offset.0 + places.1),
                segment_base: bases.0.min(base_offset),
                position: 4096 + places.2 * 8,
                length: places.3 * 8,
                checksum,
                batch_count: if is_batch { 1 } else { count },
                previous_base: bases.1.filter(|&it| it < bases.0.min(base_offset)),
            }
        })
}

/// A record that owns its parts: type, key, headers, payload, event time.
type Owned = (
    String,
    Option<Vec<u8>>,
    Vec<(String, Vec<u8>)>,
    Option<Vec<u8>>,
    Option<i64>,
);

fn owned() -> impl Strategy<Value = Owned> {
    let bytes = || vec(any::<u8>(), 0..40);
    (
        ".{0,20}",
        proptest::option::of(bytes()),
        vec((".{0,10}", bytes()), 0..4),
        proptest::option::of(bytes()),
        any::<Option<i64>>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches(
        input in vec(owned(), 1..30),
        compression in prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zstd]),
        (id, epoch, sequence, fence) in any::<(u128, u32, u64, u64)>(),
        base in 0..u64::MAX - 100,
    ) {
        let mut builder = BatchBuilder::new(compression);
        builder.producer(ProducerId(id), epoch, sequence).fence(fence);
        for (record_type, key, headers, payload, event_time) in &input {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), &v[..])).collect();
            builder.push(&NewRecord {
                record_type,
                key: key.as_deref(),
                headers: &headers,
                payload: payload.as_deref(),
                event_time: event_time.map(Timestamp),
            }).unwrap();
        }
        let promised = builder.len();
        let mut batch = builder.build().unwrap();
        prop_assert!(batch.len() <= promised);
        let produced = check_produced(&batch, &ANY).unwrap();
        prop_assert_eq!(produced.producer_id(), ProducerId(id));
        prop_assert_eq!(produced.producer_epoch(), epoch);
        prop_assert_eq!((produced.base_sequence(), produced.fence()), (sequence, fence));
        let before = batch.clone();
        stamp(&mut batch, &Stamp {
            incarnation: Incarnation(id),
            base_offset: Offset(base),
            append_time: Timestamp(-1),
            log_epoch: LogEpoch(fence),
            principal: epoch,
        });
        prop_assert_eq!(&before[72..], &batch[72..]);
        prop_assert!(check_stored(&batch).is_ok());
        let mut taken_back = batch.clone();
        unstamp(&mut taken_back);
        prop_assert_eq!(&before, &taken_back);
        let output: Vec<_> = records(&batch.freeze()).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(output.len(), input.len());
        for ((record, owned), n) in output.into_iter().zip(input).zip(0..) {
            let (record_type, key, headers, payload, event_time) = owned;
            prop_assert_eq!(record.offset, Offset(base + n));
            prop_assert_eq!(record.record_type.as_str(), record_type);
            prop_assert_eq!(record.key, key.map(Bytes::from));
            prop_assert_eq!(record.payload, payload.map(Bytes::from));
            prop_assert_eq!(record.event_time, event_time.map(Timestamp));
            let found: Vec<_> =
                record.headers.iter().map(|(n, v)| (n.to_string(), v.to_vec())).collect();
            prop_assert_eq!(found, headers);
        }
    }

    #[test]
    fn markers(directory_id in log(), created_at in time()) {
        let marker = Marker { directory_id, created_at };
        prop_assert_eq!(Marker::decode(&marker.encode()), Ok(marker));
    }

    #[test]
    fn secret_files(directory_id in log(), secret: [u8; 32]) {
        let file = SecretFile { directory_id, secret: secret.into() };
        prop_assert_eq!(SecretFile::decode(&*file.encode()), Ok(file));
    }

    #[test]
    fn snapshots(log in log(), next: u64, epoch: u64, parts in vec(vec(any::<u8>(), 0..40), 0..6)) {
        let mut body = Vec::new();
        for part in &parts {
            body.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            body.extend_from_slice(part);
        }
        let header = SnapshotHeader {
            log,
            next_offset: Offset(next),
            log_epoch: LogEpoch(epoch),
            body_len: body.len() as u64,
            parts: u32::try_from(parts.len()).unwrap(),
            body_crc: crc32fast::hash(&body),
        };
        let mut bytes = header.encode().to_vec();
        bytes.append(&mut body);
        let (read, read_parts) = read_snapshot(&bytes.into()).unwrap();
        prop_assert_eq!(read, header);
        prop_assert!(read_parts.iter().zip(&parts).all(|(a, b)| a == b) && read_parts.len() == parts.len());
    }

    #[test]
    fn recovery_points(
        is_clean: bool,
        [sequence, epoch, salt, checkpoint, flushed_group] in any::<[u64; 5]>(),
        [flushed_file, flushed_end] in any::<[u32; 2]>(),
        directory_id in log(),
    ) {
        let point = RecoveryPoint {
            is_clean, sequence, directory_id, epoch, salt, checkpoint, flushed_group, flushed_file,
            flushed_end,
        };
        prop_assert_eq!(RecoveryPoint::decode(&point.encode()), Ok(point));
    }

    #[test]
    fn journal_headers(
        directory_id in log(),
        [number, item_count, items_crc, data_len] in any::<[u32; 4]>(),
        [file_bytes, epoch] in any::<[u64; 2]>(),
        (group, synced_group) in (1..=u64::MAX).prop_flat_map(|group| (Just(group), 0..group)),
        written_at in time(),
    ) {
        let file = JournalFileHeader { directory_id, number, file_bytes };
        prop_assert_eq!(JournalFileHeader::decode(&file.encode()), Ok(file));
        let group = GroupHeader {
            item_count, items_crc, data_len, group, epoch, synced_group, written_at,
        };
        prop_assert_eq!(GroupHeader::decode(&group.encode()), Ok(group));
    }

    #[test]
    fn journal_items(item in item()) {
        prop_assert_eq!(GroupItem::decode(&item.encode()), Ok(item));
    }

    #[test]
    fn segment_headers(
        incarnation in log(),
        (base_offset, previous_base) in bases(),
        [previous_length, epoch] in any::<[u64; 2]>(),
        previous_last_time in time(),
        created_at in time(),
    ) {
        let header = SegmentHeader {
            incarnation, base_offset, previous_base, previous_length, previous_last_time,
            created_at, epoch,
        };
        prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn indexes(
        incarnation in log(),
        base_offset in offset(),
        [offset_delta, position, length] in any::<[u32; 3]>(),
        append_time in time(),
    ) {
        for kind in [IndexKind::Offset, IndexKind::Time] {
            let header = IndexHeader { kind, incarnation, base_offset };
            prop_assert_eq!(IndexHeader::decode(&header.encode(), kind), Ok(header));
        }
        let entry = OffsetEntry { offset_delta, position, length };
        let bytes = entry.encode(incarnation, base_offset);
        prop_assert_eq!(OffsetEntry::decode(&bytes, incarnation, base_offset), Ok(entry));
        let entry = TimeEntry { append_time, offset_delta };
        let bytes = entry.encode(incarnation, base_offset);
        prop_assert_eq!(TimeEntry::decode(&bytes, incarnation, base_offset), Ok(entry));
    }

    #[test]
    fn checkpoints(
        directory_id in log(),
        [number, epoch, journal_group] in any::<[u64; 3]>(),
        [journal_file, journal_position] in any::<[u32; 2]>(),
        logs in vec(log_row(), 0..5),
    ) {
        let checkpoint = Checkpoint {
            number, directory_id, epoch, journal_group, journal_file, journal_position, logs,
        };
        prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
    }
}
