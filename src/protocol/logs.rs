//! The logs of a channel, as a region knows them: one, or one for each region.

use serde::{Deserialize, Serialize};

use crate::region::directory::Spread;
use crate::region::interest::Since;
use crate::types::{ChannelName, Incarnation, Offset, RegionName};

/// Asks which logs a channel has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionLogs {
    /// The channel.
    pub channel: ChannelName,
    /// Whether all of them are going to be read, so that copies have to come here. The answer waits
    /// a while for them.
    #[serde(default)]
    pub read: bool,
    /// From where, in copies that are yet to be begun.
    #[serde(default = "from_the_start")]
    pub from: Since,
    /// `version` of the answer before: where no log has come or gone here since, the answer waits, and
    /// the other regions are not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Longest wait, at most 60,000.
    #[serde(default)]
    pub wait_ms: u32,
}

fn from_the_start() -> Since {
    Since::Start
}

/// The logs of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelLogs {
    /// The channel.
    pub channel: ChannelName,
    /// Whether it is one log, or one for each region.
    pub regions: Spread,
    /// Changes when a log comes or goes here.
    pub version: u64,
    /// They, by region.
    pub logs: Vec<LogRow>,
    /// Regions that could not be asked, and may have one that is not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<RegionName>,
}

/// One log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRow {
    /// What it is read by: the channel's name, followed by `@` and the region where there is one for
    /// each.
    pub name: ChannelName,
    /// The region whose log it is; its home, where the channel is one log.
    pub region: RegionName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// The region that appends to it.
    pub home: RegionName,
    /// Whether it is here, as a copy or at home. The offsets are those of its home otherwise.
    pub held: bool,
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// Everything below survives power loss.
    pub flushed: Offset,
    /// Everything below may be read.
    pub high_watermark: Offset,
}
