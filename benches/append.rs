//! What an append costs: staged, one round of the journal or straight to the segment, upkeep.
//!
//! Records of 1 KiB on the disk under the current directory. `synced` includes one fdatasync for
//! each round, `written` one every 200 ms. Run with `cargo bench --bench append`.

mod store;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use npayload::types::Durability;

fn append(criterion: &mut Criterion) {
    for durability in [Durability::Synced, Durability::Written] {
        let mut group = criterion.benchmark_group(format!("append/{durability}"));
        group.sample_size(10);
        for (batches, records) in [(1, 1), (64, 1), (1, 100), (1, 1000)] {
            let bytes = store::batch(records);
            let mut store = store::Store::open(durability);
            group.throughput(Throughput::Bytes(
                batches as u64 * u64::from(records) * 1024,
            ));
            let id = BenchmarkId::from_parameter(format!("{batches} batches of {records}"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| store.append(batches, &bytes, records));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
