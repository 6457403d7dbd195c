//! A fixed set of runs beside the limits, as Markdown tables.

use anyhow::Result;
use npayload::types::Durability;

use crate::broker::Broker;
use crate::limits::Limits;
use crate::load::{Load, Via};
use crate::machine::Machine;
use crate::measured::Measured;
use crate::reading::Replay;
use crate::settle::settle;
use crate::{publish, reading};

/// Seconds of warm-up before each run.
const WARM_UP_S: f64 = 0.5;

/// Bytes that one connection may have in flight in a run of the table.
const IN_FLIGHT_BYTES: usize = 4 << 20;

/// The set, run against one broker.
pub struct Table<'a> {
    broker: &'a Broker,
    limits: &'a Limits,
    seconds: f64,
    runs: usize,
}

/// Runs the set and prints it.
pub async fn print(
    broker: &Broker,
    limits: &Limits,
    machine: &Machine,
    load_before: &str,
    seconds: f64,
) -> Result<()> {
    println!("Machine: {machine}; load average before: {load_before}.  ");
    println!(
        "Command: `npayload-bench table --duration-s {seconds}`; the broker is {}.\n",
        broker.kind
    );
    let mut table = Table {
        broker,
        limits,
        seconds,
        runs: 0,
    };
    table.limits();
    table.published().await?;
    table.read().await
}

impl Table<'_> {
    fn limits(&self) {
        println!("| Limit | MB/s | operations/s | p50 µs | p99 µs | p99.9 µs |");
        println!("| --- | --: | --: | --: | --: | --: |");
        for limit in self.limits.each() {
            println!(
                "| {} | {:.1} | {:.0} | {} | {} | {} |",
                limit.name,
                limit.megabytes_per_second,
                limit.operations_per_second,
                limit.p50_us,
                limit.p99_us,
                limit.p999_us
            );
        }
        println!();
    }

    /// A load of the table, into a channel of its own.
    fn load(&mut self, durability: Durability, records: u32, bytes: usize) -> Load {
        self.runs += 1;
        let batch = bytes * usize::try_from(records).unwrap_or(usize::MAX);
        Load {
            channel: format!("table.{}", self.runs),
            channels: 1,
            connections: 1,
            record_bytes: bytes,
            batch_records: records,
            batch_bytes: None,
            in_flight: (IN_FLIGHT_BYTES / batch).clamp(4, 64),
            unacked_bytes: None,
            durability,
            retention_bytes: None,
            rate: None,
            duration_s: self.seconds,
            warm_up_s: WARM_UP_S,
            records: None,
            via: Via::Frames,
        }
    }

    async fn published(&mut self) -> Result<()> {
        println!(
            "| Published | level | records/s | MB/s | batches/s | p50 µs | p99 µs | p99.9 µs | max µs | broker CPU µs/batch | beside the limits |"
        );
        println!("| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |");
        for durability in [Durability::Synced, Durability::Written] {
            for records in [1, 100, 1000] {
                let mut load = self.load(durability, records, 1024);
                load.in_flight = 1;
                self.row(load).await?;
            }
            for bytes in [100, 1024] {
                for records in [1, 100, 1000] {
                    for connections in [1, 8] {
                        let mut load = self.load(durability, records, bytes);
                        load.connections = connections;
                        self.row(load).await?;
                    }
                }
            }
            let mut many = self.load(durability, 1, 1024);
            (many.connections, many.channels, many.in_flight) = (100, 1000, 8);
            self.row(many).await?;
        }
        println!();
        Ok(())
    }

    async fn row(&self, load: Load) -> Result<()> {
        settle().await;
        let measured = publish::publish(self.broker, &load).await?;
        publish::remove(self.broker, &load).await?;
        let name = load.name("");
        println!(
            "| {} | {} | {:.0} | {:.1} | {:.0} | {} | {} | {} | {} | {} | {} |",
            name.trim_start_matches(": "),
            measured.level.as_deref().unwrap_or(""),
            measured.records_per_second,
            measured.megabytes_per_second,
            measured.operations_per_second,
            measured.p50_us,
            measured.p99_us,
            measured.p999_us,
            measured.max_us,
            cpu(&measured),
            self.limits.beside_disk(&measured)
        );
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        println!(
            "| Read | level | records/s | MB/s | operations/s | p50 µs | p99 µs | p99.9 µs | max µs | broker CPU µs/operation | beside the limit |"
        );
        println!("| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --- |");
        for (records, bytes, count, readers) in [
            (1, 100, 500_000, 1),
            (100, 100, 5_000_000, 1),
            (1000, 1024, 1_000_000, 1),
            (1000, 1024, 1_000_000, 4),
        ] {
            let mut load = self.load(Durability::Written, records, bytes);
            load.records = Some(count);
            publish::publish(self.broker, &load).await?;
            settle().await;
            let mut replay = Replay {
                load,
                readers,
                fetch_bytes: 1 << 20,
                no_publish: false,
            };
            self.reading(&reading::replay(self.broker, &replay).await?, true);
            if readers == 1 && records > 1 {
                replay.load.via = Via::Client;
                self.reading(&reading::replay(self.broker, &replay).await?, true);
            }
            publish::remove(self.broker, &replay.load).await?;
        }
        for durability in [Durability::Synced, Durability::Written] {
            settle().await;
            let mut load = self.load(durability, 1, 1024);
            load.rate = Some(1000.0);
            for measured in &reading::tail(self.broker, &load).await? {
                self.reading(measured, false);
            }
            publish::remove(self.broker, &load).await?;
        }
        println!();
        Ok(())
    }

    fn reading(&self, measured: &Measured, is_bulk: bool) {
        let beside = match (is_bulk, measured.missed) {
            (true, _) => self.limits.beside_network(measured),
            (false, missed) => format!(
                "{} missed; generator late {} µs at p99",
                missed.unwrap_or(0),
                measured.generator_p99_us.unwrap_or(0)
            ),
        };
        println!(
            "| {} | {} | {:.0} | {:.1} | {:.0} | {} | {} | {} | {} | {} | {beside} |",
            measured.name,
            measured.level.as_deref().unwrap_or(""),
            measured.records_per_second,
            measured.megabytes_per_second,
            measured.operations_per_second,
            measured.p50_us,
            measured.p99_us,
            measured.p999_us,
            measured.max_us,
            cpu(measured),
        );
    }
}

fn cpu(measured: &Measured) -> String {
    measured.broker.as_ref().map_or_else(String::new, |spent| {
        format!("{:.1}", spent.cpu_us_each(measured.operations))
    })
}
