//! A fixed set of runs beside the limits, as a Markdown table.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use npayload::types::Durability;

use crate::broker::Broker;
use crate::machine::Machine;
use crate::measured::Measured;
use crate::{Load, limits, runs};

/// Runs the set and prints it.
pub async fn print(broker: &Broker, dir: &Path, machine: &Machine, time: Duration) -> Result<()> {
    let limits = limits(dir, time)?;
    let sync = limits[0].operations_per_second;
    let disk = limits[2].megabytes_per_second;
    let network = limits[4].megabytes_per_second;
    println!(
        "\n`npayload-bench table --duration-s {}` on {machine}\n",
        time.as_secs()
    );
    println!(
        "| Run | Level | records/s | MB/s | batches/s | p50 µs | p99 µs | p99.9 µs | beside the limit |"
    );
    println!("| --- | --- | --: | --: | --: | --: | --: | --: | --- |");
    for limit in &limits {
        row(limit, "limit");
    }
    let load = |n: usize, record_bytes, batch_records, connections, in_flight, durability| Load {
        channel: format!("table.{n}"),
        channels: 1,
        connections,
        record_bytes,
        batch_records,
        in_flight,
        durability,
        rate: None,
        duration_s: time.as_secs(),
    };
    let mut n = 0;
    for durability in [Durability::Synced, Durability::Written] {
        for (record, batch, connections, in_flight) in [
            (1024, 1, 1, 1),
            (1024, 1, 1, 64),
            (100, 1, 8, 64),
            (1024, 1, 64, 1),
            (100, 100, 1, 32),
            (1024, 100, 1, 32),
            (1024, 1000, 1, 8),
            (1024, 1000, 8, 4),
        ] {
            n += 1;
            let load = load(n, record, batch, connections, in_flight, durability);
            let measured = runs::publish(&broker.address, &load).await?;
            let against = match batch {
                1 => format!(
                    "{:.1} × syncs/s of 4 KiB",
                    measured.operations_per_second / sync
                ),
                _ => format!(
                    "{:.2} × synced 1 MiB writes",
                    measured.megabytes_per_second / disk
                ),
            };
            row(&measured, &against);
        }
    }
    let mut many = load(99, 1024, 1, 64, 8, Durability::Synced);
    many.channels = 1000;
    many.connections = 100;
    let measured = runs::publish(&broker.address, &many).await?;
    row(
        &measured,
        &format!(
            "{:.1} × syncs/s of 4 KiB",
            measured.operations_per_second / sync
        ),
    );
    for (n, record, batch) in [(7, 1024, 1000), (6, 1024, 100), (3, 100, 1)] {
        let measured = runs::replay(
            &broker.address,
            &load(n, record, batch, 1, 1, Durability::Synced),
        )
        .await?;
        row(
            &measured,
            &format!("{:.2} × loopback", measured.megabytes_per_second / network),
        );
    }
    let mut tail = load(100, 1024, 1, 1, 1, Durability::Synced);
    tail.rate = Some(1000.0);
    row(&runs::tail(&broker.address, &tail).await?, "");
    tail.channel = "table.written".to_owned();
    tail.durability = Durability::Written;
    row(&runs::tail(&broker.address, &tail).await?, "");
    Ok(())
}

fn row(measured: &Measured, against: &str) {
    let records = match measured.records {
        0 => String::new(),
        _ => format!("{:.0}", measured.records_per_second),
    };
    println!(
        "| {} | {} | {records} | {:.1} | {:.0} | {} | {} | {} | {against} |",
        measured.name,
        measured.level.as_deref().unwrap_or(""),
        measured.megabytes_per_second,
        measured.operations_per_second,
        measured.p50_us,
        measured.p99_us,
        measured.p999_us,
    );
}
