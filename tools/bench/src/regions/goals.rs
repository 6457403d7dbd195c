//! What regions are held against.

use crate::rows::{Bound, Goal};

/// Time that bytes take there and back, in milliseconds.
pub const ROUND_TRIP_MS: u64 = 100;
/// Bytes that the line lets through in a second, each way: 1 Gbit.
pub const LINE_BYTES_PER_S: u64 = 125_000_000;

/// One measurement; some show several figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// From a publish to a tail in another region, and what reaches a third.
    Tail,
    /// What a link carries of one channel.
    One,
    /// What it carries of 1,000.
    Many,
    /// A live channel beside a backlog.
    Backlog,
    /// A link on which nothing happens.
    Idle,
    /// Channels that nobody has asked for.
    Unwanted,
}

const LINE: Option<&str> = Some("one stream over the line");

impl Run {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 6] = [
        Self::Tail,
        Self::One,
        Self::Many,
        Self::Backlog,
        Self::Idle,
        Self::Unwanted,
    ];

    /// The figures that it shows, in the order in which it gives them.
    #[rustfmt::skip]
    pub const fn goals(self) -> &'static [Goal] {
        use Bound::{AtMost, RatioAtLeast, RatioAtMost};
        const SYNCED: Option<&str> = Some("synced");
        match self {
            Self::Tail => const { &[
                goal("tail", "publish in us-east to a tail in eu-west that asked: p50", "ms", SYNCED, None, AtMost(ROUND_TRIP_MS as f64 + 20.0)),
                goal("tail-third", "the same: bytes of batches that ap-south holds or was sent, which did not ask", "B", None, None, AtMost(0.0)),
            ] },
            Self::One => const { &[
                goal("link-1", "a backlog of one channel over the link", "MB/s", SYNCED, LINE, RatioAtLeast(0.9)),
            ] },
            Self::Many => const { &[
                goal("link-1000", "a backlog of 1,000 channels over the link", "MB/s", SYNCED, LINE, RatioAtLeast(0.9)),
            ] },
            Self::Backlog => const { &[
                goal("live", "publish to tail in eu-west while a backlog of 2 GiB catches up: p50", "ms", SYNCED, Some("without a backlog"), RatioAtMost(2.0)),
            ] },
            Self::Idle => const { &[
                goal("idle", "a link on which nothing is new, both ways", "B/s", None, None, AtMost(200.0)),
            ] },
            Self::Unwanted => const { &[
                goal("unwanted", "1,000 batches/s into 10,000 channels that nobody asked for: bytes on the link", "B/s", SYNCED, Some("into 100 channels"), RatioAtMost(1.1)),
                goal("unwanted-cpu", "the same: processor time of the region that did not ask", "ms/s", SYNCED, Some("into 100 channels"), RatioAtMost(1.1)),
            ] },
        }
    }
}

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
