//! What is measured, and what it is held against.

use serde::Serialize;

/// One measurement; some show several figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// 1 MiB batches into a channel whose retention removes segments meanwhile.
    Batches,
    /// 1 MiB batches over many GiB.
    Long,
    /// The same in 64 KiB batches of 16 producers.
    Producers,
    /// Records of 1 KiB, alone, of 64 clients: what of them reaches the disk.
    Records,
    /// One record at a time, 1 client.
    OneClient,
    /// The same from 64 clients, and the tail at half of their rate.
    ManyClients,
    /// One small record a frame, pipelined.
    Frames,
    /// Small records, batched by the client.
    Client,
    /// Replay from the page cache.
    Replay,
    /// The same load over many channels.
    Channels,
    /// Starts after a stop and after a kill.
    Start,
    /// Anonymous memory.
    Memory,
}

/// Which way a figure is to lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// The ratio to the limit of the same round, or more.
    RatioAtLeast(f64),
    /// The ratio to the limit of the same round, or less.
    RatioAtMost(f64),
    /// The figure itself, or more.
    AtLeast(f64),
    /// The figure itself, or less.
    AtMost(f64),
}

impl Bound {
    /// Whether the medians of a figure and of its ratio reach it.
    pub fn is_reached(self, figure: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::RatioAtLeast(bound) => ratio.is_some_and(|ratio| ratio >= bound),
            Self::RatioAtMost(bound) => ratio.is_some_and(|ratio| ratio <= bound),
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }

    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::RatioAtLeast(bound) => format!("ratio ≥ {bound}"),
            Self::RatioAtMost(bound) => format!("ratio ≤ {bound}"),
            Self::AtLeast(bound) => format!("≥ {bound}"),
            Self::AtMost(bound) => format!("≤ {bound}"),
        }
    }
}

/// One figure that is to be reached.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Goal {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// What an acknowledgement promises meanwhile; none where nothing is written.
    pub durability: Option<&'static str>,
    /// What the ratio is to; none where there is none.
    pub limit: Option<&'static str>,
    /// What is to be reached.
    pub bound: Bound,
}

const DISK_OR_LOOPBACK: Option<&str> = Some("the lower of 1 MiB syncs and loopback");
const SYNCED: Option<&str> = Some("synced");
const WRITTEN: Option<&str> = Some("written");

/// A goal in one line.
const fn goal(
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    durability: Option<&'static str>,
    limit: Option<&'static str>,
    bound: Bound,
) -> Goal {
    Goal {
        name,
        what,
        unit,
        durability,
        limit,
        bound,
    }
}

impl Run {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 12] = [
        Self::OneClient,
        Self::ManyClients,
        Self::Batches,
        Self::Producers,
        Self::Records,
        Self::Frames,
        Self::Client,
        Self::Replay,
        Self::Channels,
        Self::Start,
        Self::Memory,
        Self::Long,
    ];

    /// The figures that it shows, in the order in which it gives them.
    #[rustfmt::skip]
    pub const fn goals(self) -> &'static [Goal] {
        use Bound::{AtLeast, AtMost, RatioAtLeast, RatioAtMost};
        match self {
            Self::Batches => const { &[
                goal("batches", "publish, 1 producer, 1 KiB records in 1 MiB batches, retention of 1 GiB reached before", "MB/s", SYNCED, DISK_OR_LOOPBACK, RatioAtLeast(0.6)),
            ] },
            Self::Long => const { &[
                goal("long", "publish, 1 producer, 1 KiB records in 1 MiB batches, 20 GiB", "MB/s", SYNCED, DISK_OR_LOOPBACK, RatioAtLeast(0.3)),
                goal("long-end", "the same: the last quarter against the first", "MB/s", SYNCED, Some("the first quarter"), RatioAtLeast(0.9)),
                goal("disk-bytes-batches", "the same: bytes written to disk for each byte of batches acknowledged", "", SYNCED, None, AtMost(1.1)),
            ] },
            Self::Producers => const { &[
                goal("producers", "publish, 16 producers, 64 KiB batches, one channel, retention of 1 GiB reached before", "MB/s", SYNCED, DISK_OR_LOOPBACK, RatioAtLeast(0.5)),
            ] },
            Self::Records => const { &[
                goal("disk-bytes-records", "publish, records of 1 KiB alone, 64 clients: bytes written to disk for each byte of batches acknowledged", "", SYNCED, None, AtMost(2.3)),
            ] },
            Self::OneClient => const { &[
                goal("one-client", "publish, one record of 1 KiB at a time, 1 client: p50", "µs", SYNCED, Some("p50 of a 4 KiB sync and of a round trip"), RatioAtMost(1.5)),
            ] },
            Self::ManyClients => const { &[
                goal("many-clients", "publish, one record of 1 KiB at a time, 64 clients", "acks/s", SYNCED, Some("1 client"), RatioAtLeast(20.0)),
                goal("tail", "publish to tail, open loop at half of that rate: p99", "µs", SYNCED, Some("p99 of a 4 KiB sync"), RatioAtMost(3.0)),
            ] },
            Self::Frames => const { &[
                goal("frames", "publish, one 100 B record a frame, pipelined, 1 connection", "records/s", WRITTEN, Some("round trips of 128 B, 64 under way"), AtLeast(400_000.0)),
            ] },
            Self::Client => const { &[
                goal("client", "publish, 100 B records, in batches of 1 MiB by the Rust client, 1 producer", "records/s", WRITTEN, Some("loopback, in such records"), AtLeast(8_000_000.0)),
                goal("client-4", "the same, 4 producers", "records/s", WRITTEN, Some("loopback, in such records"), AtLeast(12_000_000.0)),
            ] },
            Self::Replay => const { &[
                goal("replay", "replay from cache, 1 KiB records, raw", "MB/s", None, Some("loopback"), RatioAtLeast(0.7)),
                goal("replay-client", "replay from cache, 100 B records, decoded by the Rust client", "records/s", None, Some("loopback, in such records"), AtLeast(5_000_000.0)),
            ] },
            Self::Channels => const { &[
                goal("channels-1000", "publish, 1,000 channels in turn, 64 clients", "acks/s", SYNCED, Some("one channel"), RatioAtLeast(0.8)),
                goal("channels-10000", "publish, 10,000 channels in turn, 64 clients", "acks/s", SYNCED, Some("one channel"), RatioAtLeast(0.5)),
            ] },
            Self::Start => const { &[
                goal("start", "start, 1,000 channels, 10 GiB, after a stop", "s", None, None, AtMost(0.5)),
                goal("start-killed", "start, 1,000 channels, 10 GiB, after kill -9", "s", None, None, AtMost(1.5)),
            ] },
            Self::Memory => const { &[
                goal("memory", "anonymous memory: ingest and replay of 10 GiB", "MiB", SYNCED, None, AtMost(160.0)),
                goal("memory-idle", "anonymous memory: 10,000 idle connections", "MiB", None, None, AtMost(200.0)),
                goal("memory-channels", "anonymous memory: 10,000 channels, each written", "MiB", SYNCED, None, AtMost(300.0)),
            ] },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_has_a_name_of_its_own() {
        let mut names: Vec<_> = Run::ALL
            .iter()
            .flat_map(|run| run.goals())
            .map(|goal| goal.name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "two goals of one name");
    }

    #[test]
    fn a_bound_on_a_ratio_is_not_reached_without_one() {
        assert!(Bound::RatioAtLeast(0.5).is_reached(1.0, Some(0.5)));
        assert!(!Bound::RatioAtLeast(0.5).is_reached(1.0, None));
        assert!(!Bound::RatioAtMost(1.5).is_reached(1.0, Some(1.6)));
        assert!(Bound::AtMost(2.0).is_reached(2.0, None));
        assert!(!Bound::AtLeast(2.0).is_reached(1.9, Some(7.0)));
    }
}
