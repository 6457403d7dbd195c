//! What is published, as given on the command line.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use npayload::format::{BATCH_HEADER_BYTES, RECORD_HEADER_BYTES};
use npayload::types::{ChannelName, Durability};

/// Bytes of the type that every record has.
const TYPE_BYTES: usize = "bench".len();

/// What sends the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// Frames that were built once, over bare connections: measures the broker
    Frames,
    /// The client's `Producer` or `Consumer`, one for each connection: measures what a program gets
    Client,
}

/// What is published.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Channel, created if need be; several are numbered behind this name
    #[arg(long, default_value = "bench")]
    pub channel: String,
    /// Channels that each connection writes to in turn
    #[arg(long, default_value_t = 1)]
    pub channels: usize,
    /// Connections that publish
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Bytes of each payload
    #[arg(long, default_value_t = 1024)]
    pub record_bytes: usize,
    /// Records in each batch
    #[arg(long, default_value_t = 1)]
    pub batch_records: u32,
    /// Bytes of each batch, instead of its records: as many as fit, at least one
    #[arg(long, conflicts_with = "batch_records")]
    pub batch_bytes: Option<usize>,
    /// Batches of one connection that wait for their acknowledgement at once
    #[arg(long, default_value_t = 32)]
    pub in_flight: usize,
    /// Bytes of records that a Rust client has unacknowledged at once, what waits to be sent among
    /// them; as many as are its default without it
    #[arg(long)]
    pub unacked_bytes: Option<usize>,
    /// Durability of the channels that are created
    #[arg(long, default_value = "synced")]
    pub durability: Durability,
    /// Bytes that the channels which are created keep; all of them without it
    #[arg(long)]
    pub retention_bytes: Option<u64>,
    /// Open loop: batches a second over all connections; times count from the intended send
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seconds that count
    #[arg(long, default_value_t = 5.0)]
    pub duration_s: f64,
    /// Seconds before them that do not
    #[arg(long, default_value_t = 1.0)]
    pub warm_up_s: f64,
    /// Records to publish, whatever time it takes; all of them count
    #[arg(long)]
    pub records: Option<u64>,
    /// What sends the load
    #[arg(long, value_enum, default_value = "frames")]
    pub via: Via,
}

impl Load {
    /// One connection, one record of 1 KiB a batch, one batch under way.
    pub fn one(durability: Durability) -> Self {
        Self {
            channel: "bench".to_owned(),
            channels: 1,
            connections: 1,
            record_bytes: 1024,
            batch_records: 1,
            batch_bytes: None,
            in_flight: 1,
            unacked_bytes: None,
            durability,
            retention_bytes: None,
            rate: None,
            duration_s: 5.0,
            warm_up_s: 1.0,
            records: None,
            via: Via::Frames,
        }
    }

    /// The part of the run that counts.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration_s)
    }

    /// The part before it.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up_s)
    }

    /// Records in each batch.
    pub fn records_in_batch(&self) -> u32 {
        let record = RECORD_HEADER_BYTES + TYPE_BYTES + self.record_bytes;
        match self.batch_bytes {
            Some(bytes) => {
                let records = bytes.saturating_sub(BATCH_HEADER_BYTES) / record;
                u32::try_from(records.max(1)).unwrap_or(u32::MAX)
            }
            None => self.batch_records.max(1),
        }
    }

    /// The name of a channel.
    pub fn channel_name(&self, n: usize) -> Result<ChannelName> {
        Ok(match self.channels {
            0 | 1 => ChannelName::parse(&self.channel)?,
            _ => ChannelName::parse(&format!("{}.{n}", self.channel))?,
        })
    }

    /// The load in words, behind what is done with it.
    pub fn name(&self, what: &str) -> String {
        let plural = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            _ => format!("{count} {word}s"),
        };
        let mut name = format!(
            "{what}: {} × {} B, {}, {} in flight",
            self.records_in_batch(),
            self.record_bytes,
            plural(self.connections, "connection"),
            self.in_flight,
        );
        if self.channels > 1 {
            name.push_str(&format!(", {}", plural(self.channels, "channel")));
        }
        if let Some(rate) = self.rate {
            name.push_str(&format!(", {rate} batches/s"));
        }
        if self.via == Via::Client {
            name.push_str(", Rust client");
        }
        name
    }
}
