//! The broker: how it is, and what its scrubber has found.

use serde::{Deserialize, Serialize};

use crate::types::{Incarnation, LogEpoch, Timestamp};

/// Asks about the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerInfoRequest {}

/// The broker, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerInfo {
    /// Version of the software.
    pub version: String,
    /// Its log epoch: raised at every start.
    pub epoch: LogEpoch,
    /// Identity of its data directory.
    pub directory_id: Incarnation,
    /// When it was started.
    pub started_at: Timestamp,
    /// Number of channels, its own topics not counted.
    pub channels: u64,
    /// Number of connections, this one counted.
    pub connections: u64,
    /// What an operator should know.
    pub health: Health,
}

/// Whether the broker is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Whether everything below is well.
    pub ok: bool,
    /// The addresses that `--insecure` has left open to other machines, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<String>,
    /// Why the broker takes no more writes; `None` when it does.
    pub writes_refused: Option<String>,
    /// Number of channels with damaged records.
    pub damaged_channels: u64,
    /// Number of channels that take no more writes.
    pub refusing_channels: u64,
    /// Number of encrypted channels with keys that can't be used.
    #[serde(default)]
    pub locked_channels: u64,
    /// Why the broker has no master key, where it was told of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_key: Option<String>,
    /// The first of these, with why.
    #[serde(default)]
    pub refusals: Vec<ChannelRefusal>,
    /// Error number of the operating system that the journal failed with.
    #[serde(default)]
    pub errno: Option<i32>,
    /// Bytes free on the disk of the data directory; `None` while that is not known.
    pub disk_free_bytes: Option<u64>,
    /// Producers are turned away before fewer bytes are free.
    #[serde(default)]
    pub disk_limit_bytes: u64,
    /// How far what is stored was checked; `None` from a broker that does not.
    #[serde(default)]
    pub scrub: Option<Box<Scrub>>,
}

/// Asks for a check of all that is stored, now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerScrubRequest {}

/// What the scrubber has done since the broker was started, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scrub {
    /// Whether a pass is under way.
    pub running: bool,
    /// The channel it is at; as text, since it may be an internal topic.
    pub channel: Option<String>,
    /// The file it is at, below the data directory.
    pub file: Option<String>,
    /// The byte of that file.
    pub position: u64,
    /// Bytes of the pass under way.
    pub pass_bytes: u64,
    /// When the last pass that read everything began and ended, and what it read.
    pub last_pass_started_at: Option<Timestamp>,
    /// As above.
    pub last_pass_ended_at: Option<Timestamp>,
    /// As above.
    pub last_pass_bytes: Option<u64>,
    /// How many passes read everything.
    pub passes: u64,
    /// Bytes that were checked.
    pub bytes: u64,
    /// Stretches of damage that were not known before.
    pub damage_found: u64,
    /// Bad indexes that were written anew.
    pub indexes_rebuilt: u64,
    /// Times that the operating system could not read a file.
    pub read_errors: u64,
    /// Files that could not be read and files of the broker's own that are bad: at most 20.
    pub faults: Vec<FileFault>,
}

/// A file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileFault {
    /// The file, below the data directory.
    pub file: String,
    /// What is wrong, in words.
    pub what: String,
    /// Error number of the operating system, where it could not be read.
    pub errno: Option<i32>,
}

/// A channel that takes no more writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelRefusal {
    /// The channel; as text, since it may be an internal topic.
    pub channel: String,
    /// Why, in words.
    pub reason: String,
    /// Error number of the operating system, where one is the reason.
    pub errno: Option<i32>,
}
