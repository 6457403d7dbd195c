//! What a read costs: 1 MiB of whole batches from a segment, as slices of its mapping.
//!
//! The log holds 64 MiB and lies in the page cache, so this is the engine's own cost, without
//! checking or copying: the bytes would go to a socket as they are. Run with
//! `cargo bench --bench replay`.

mod store;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use npayload::types::{Durability, Offset};

const LOG_BYTES: u32 = 64 << 20;
const READ_BYTES: u64 = 1 << 20;

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay/1 MiB reads");
    for records in [1u32, 100, 1000] {
        let bytes = store::batch(records);
        let mut store = store::Store::open(Durability::Written);
        for _ in 0..LOG_BYTES / 1024 / records / 64 {
            store.append(64, &bytes, records);
        }
        let mut from = Offset(0);
        group.throughput(Throughput::Bytes(READ_BYTES));
        let id = BenchmarkId::from_parameter(format!("batches of {records}"));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let slices = store.read(from, READ_BYTES);
                from = if slices.next < store.end() {
                    slices.next
                } else {
                    Offset(0)
                };
                slices.bytes
            });
        });
    }
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
