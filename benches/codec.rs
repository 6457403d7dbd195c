//! What does a batch cost the processor: to build, to check at the door, to check from the disk, to
//! read, to encrypt and to decrypt? No disk and no network.
//!
//! `cargo bench --bench codec`; batches of 1,000 records of 1 KiB of text; bytes per second are of
//! payload before compression. Prints by how much each kind compresses them.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use npayload::format::{
    BatchBuilder, Compression, DataKey, DoorLimits, NewRecord, SEAL_BYTES, Sealing, Stamp,
    check_produced, check_stored, records, seal, stamp, unseal,
};
use npayload::types::{Incarnation, LogEpoch, Offset, Timestamp};

const RECORDS: usize = 1_000;
const RECORD_BYTES: usize = 1_024;

fn codec(criterion: &mut Criterion) {
    let payloads = payloads();
    let limits = DoorLimits {
        max_record_bytes: 1 << 20,
        lz4: true,
        zstd: true,
    };
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let mut group = criterion.benchmark_group(format!("batch_{compression}"));
        group.throughput(Throughput::Bytes((RECORDS * RECORD_BYTES) as u64));
        group.bench_function("build", |bencher| {
            bencher.iter(|| build(black_box(&payloads), compression));
        });
        let mut batch = build(&payloads, compression);
        println!("batch_{compression}: {} bytes", batch.len());
        group.bench_function("check_produced", |bencher| {
            bencher.iter(|| check_produced(black_box(&batch), &limits).is_ok());
        });
        let stamped = Stamp {
            incarnation: Incarnation(1),
            base_offset: Offset(1),
            append_time: Timestamp(1),
            log_epoch: LogEpoch(1),
            principal: 1,
        };
        stamp(&mut batch, &stamped);
        let batch = batch.freeze();
        group.bench_function("check_stored", |bencher| {
            bencher.iter(|| check_stored(black_box(&batch)).is_ok());
        });
        group.bench_function("records", |bencher| {
            bencher.iter(|| records(black_box(&batch)).map_or(0, Iterator::count));
        });
        group.finish();
    }

    let mut group = criterion.benchmark_group("batch_header");
    let mut batch = build(&payloads, Compression::None);
    group.bench_function("stamp", |bencher| {
        bencher.iter(|| {
            stamp(
                black_box(&mut batch),
                &Stamp {
                    incarnation: Incarnation(1),
                    base_offset: Offset(1),
                    append_time: Timestamp(1),
                    log_epoch: LogEpoch(1),
                    principal: 1,
                },
            )
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("crc32");
    let bytes = vec![0x5a; 1 << 20];
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("1_mib", |bencher| {
        bencher.iter(|| crc32fast::hash(black_box(&bytes)));
    });
    group.finish();
}

/// Texts of words drawn by a fixed pseudo-random sequence.
fn payloads() -> Vec<Vec<u8>> {
    const WORDS: [&str; 16] = [
        "the",
        "model",
        "answered",
        "with",
        "a",
        "score",
        "of",
        "feedback",
        "trace",
        "user",
        "session",
        "{\"tokens\":",
        "1024",
        "}",
        "latency",
        "ms",
    ];
    let mut state: u64 = 1;
    let mut word = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        WORDS[usize::try_from(state >> 60).unwrap_or(0)]
    };
    let text = |_| {
        let mut text = Vec::new();
        while text.len() < RECORD_BYTES {
            text.extend_from_slice(word().as_bytes());
            text.push(b' ');
        }
        text.truncate(RECORD_BYTES);
        text
    };
    (0..RECORDS).map(text).collect()
}

fn build(payloads: &[Vec<u8>], compression: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new(compression);
    for payload in payloads {
        let record = NewRecord {
            record_type: "bench.line",
            payload: Some(payload),
            ..NewRecord::default()
        };
        builder.push(&record).expect("the records fit into a batch");
    }
    builder.build().expect("the batch has records")
}

/// Encrypted at rest: batches of one record, from the stamped batch to what is stored and back.
fn encryption(criterion: &mut Criterion) {
    let sealing = Sealing {
        key: Arc::new(DataKey::new(&[7; 32])),
        key_id: 1,
        // The same one each time: what is encrypted here is of no worth.
        nonce: [1; 12],
    };
    for bytes in [1usize << 10, 64 << 10, 1 << 20] {
        let mut group = criterion.benchmark_group(format!("encrypted_{}_kib", bytes >> 10));
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut batch = build(&[vec![b'x'; bytes]], Compression::None);
        let stamped = Stamp {
            incarnation: Incarnation(1),
            base_offset: Offset(1),
            append_time: Timestamp(1),
            log_epoch: LogEpoch(1),
            principal: 1,
        };
        stamp(&mut batch, &stamped);
        group.bench_function("seal", |bencher| {
            bencher.iter(|| seal(black_box(&batch), &sealing));
        });
        let (sealed, _) = seal(&batch, &sealing);
        assert_eq!(sealed.len(), batch.len() + SEAL_BYTES);
        group.bench_function("unseal", |bencher| {
            bencher.iter(|| {
                let mut plain = BytesMut::with_capacity(sealed.len());
                unseal(black_box(&sealed), &sealing.key, &mut plain).map(|_| plain)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec, encryption);
criterion_main!(benches);
