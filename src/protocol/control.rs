//! The JSON bodies of control requests and their answers. `docs/wire-protocol.md`, "Control".
//!
//! Requests refuse fields they do not know, so that a misspelt one is noticed. Answers are read
//! with unknown fields ignored, so that a newer broker may tell more.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use crate::format::Compression;
use crate::region::directory::Spread;
use crate::types::{
    ChannelName, ConsumerName, Durability, Incarnation, KeyId, LogEpoch, Offset, OrgName,
    PrincipalId, RegionName, Timestamp,
};

/// Opens a connection. Debug output shows nothing of the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HelloRequest {
    /// What the client calls itself; for logs and listings.
    pub client: String,
    /// Version of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The API key of who connects; needed where the broker asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// Oldest protocol version the client speaks.
    pub min_version: u16,
    /// Newest protocol version the client speaks, inclusive.
    pub max_version: u16,
}

impl std::fmt::Debug for HelloRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HelloRequest")
            .field("client", &self.client)
            .field("version", &self.version)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("versions", &(self.min_version..=self.max_version))
            .finish()
    }
}

/// What the broker says of itself on a new connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloResponse {
    /// Name of the software.
    pub broker: String,
    /// Its version.
    pub version: String,
    /// The protocol versions it speaks, inclusive; the newest common one is spoken.
    pub protocol: VersionRange,
    /// The request kinds it knows.
    pub kinds: Vec<KindRow>,
    /// What it takes at most.
    pub limits: Limits,
    /// Identity of its data directory.
    pub directory_id: Incarnation,
    /// Its log epoch: raised at every start.
    pub epoch: LogEpoch,
    /// Who the broker takes the client for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalRow>,
}

/// Who acts on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrincipalRow {
    /// The number that is stamped on what they publish.
    pub id: PrincipalId,
    /// The organisation they act in.
    pub org: OrgName,
    /// The key they showed; none where the broker asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
}

/// Versions from one to another, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

/// One request kind that the broker knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindRow {
    /// Its number.
    pub kind: u16,
    /// Its name.
    pub name: String,
    /// Oldest version of the request.
    pub min: u16,
    /// Newest version of the request, inclusive.
    pub max: u16,
}

/// What the broker takes at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Length field of a publish and of any answer.
    pub frame_bytes: u32,
    /// Length field of every other request.
    pub control_frame_bytes: u32,
    /// One batch, stored or uncompressed.
    pub batch_bytes: u32,
    /// One record, whatever a channel allows.
    pub record_bytes: u32,
    /// Requests of one connection that are not answered yet.
    pub in_flight_bytes: u64,
}

/// The rows of a hello for the kinds that this code knows.
#[must_use]
pub fn kind_rows() -> Vec<KindRow> {
    super::api::APIS
        .iter()
        .map(|api| KindRow {
            kind: api.kind.number(),
            name: api.name.to_owned(),
            min: api.min_version,
            max: api.max_version,
        })
        .collect()
}

/// How the records part of a batch is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionName {
    /// Not at all.
    None,
    /// One LZ4 frame.
    Lz4,
    /// One zstd frame.
    Zstd,
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::None => Self::None,
            CompressionName::Lz4 => Self::Lz4,
            CompressionName::Zstd => Self::Zstd,
        }
    }
}

impl From<Compression> for CompressionName {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

/// Whether records are encrypted on the broker's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// They are stored as they came.
    #[default]
    Off,
    /// They are encrypted with a key of the channel's own.
    On,
}

/// A channel's whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelConfig {
    /// Days after which segments are dropped; `None` keeps them for ever.
    pub retention_days: Option<u32>,
    /// Bytes above which the oldest segments are dropped; `None` keeps them all.
    pub retention_bytes: Option<u64>,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Longest time between syncs of a `written` channel.
    pub sync_interval_ms: u64,
    /// Size at which a segment is sealed.
    pub segment_bytes: u64,
    /// Largest record.
    pub max_record_bytes: u32,
    /// Compressions that producers may use.
    pub compression: Vec<CompressionName>,
    /// Whether records are encrypted at rest; off from a broker that does not know it.
    #[serde(default)]
    pub encryption: Encryption,
    /// Whether it is one log, the default, or one for each region.
    #[serde(default, skip_serializing_if = "Spread::is_one")]
    pub regions: Spread,
    /// How many regions hold a batch synced before it is acknowledged; left out where it is 1, the home
    /// alone.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ack_regions: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_one(regions: &u32) -> bool {
    *regions == 1
}

/// Fields of a configuration to set; those left out keep their value, or take the default when a
/// channel is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigChange {
    /// Days; `Some(None)`, null in JSON, for ever.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub retention_days: Option<Option<u32>>,
    /// Bytes; `Some(None)`, null in JSON, all.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub retention_bytes: Option<Option<u64>>,
    /// What an acknowledgement promises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Longest time between syncs of a `written` channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_interval_ms: Option<u64>,
    /// Size at which a segment is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// Largest record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_record_bytes: Option<u32>,
    /// Compressions that producers may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Vec<CompressionName>>,
    /// Whether records are encrypted at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Whether it is one log, or one for each region; set when it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Spread>,
    /// How many regions hold a batch synced before it is acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_regions: Option<u32>,
}

/// Tells a field that is null from one that is left out.
fn present<'de, D, T>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(from).map(Some)
}

/// Creates a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelCreate {
    /// Its name.
    pub name: ChannelName,
    /// Its configuration, where it is not the default.
    #[serde(default)]
    pub config: ConfigChange,
    /// Whether an existing channel of the name is as good; its configuration is left alone.
    #[serde(default)]
    pub if_not_exists: bool,
    /// The region where it is to live; the one that is asked where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<RegionName>,
    /// Regions that may hold its bytes; all where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<BTreeSet<RegionName>>,
}

/// The channel that was created, or was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelCreated {
    /// Whether this request created it.
    pub created: bool,
    /// The channel.
    pub channel: ChannelInfo,
}

/// Names one channel, as `name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedChannel {
    /// The channel.
    pub name: ChannelName,
}

/// Names one channel, as `channel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OneChannel {
    /// The channel.
    pub channel: ChannelName,
}

/// One channel, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelInfo {
    /// Its name.
    pub name: ChannelName,
    /// Its identity; the same as `incarnation`.
    pub id: Incarnation,
    /// Its identity: another one after it was deleted and created again.
    pub incarnation: Incarnation,
    /// Lowest offset that may still be read.
    pub log_start: Offset,
    /// Everything below survives a power cut.
    pub flushed: Offset,
    /// Everything below may be read.
    pub high_watermark: Offset,
    /// Offset that the next record will get.
    pub log_end: Offset,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Number of its segments.
    pub segments: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// The log epoch that its next batch will be stamped with.
    pub log_epoch: LogEpoch,
    /// Stored bytes that no longer match their checksum.
    pub damage: Vec<DamageRow>,
    /// Why it takes no more records; `None` when it does.
    pub writes_refused: Option<String>,
    /// Error number of the operating system, where one is the reason.
    #[serde(default)]
    pub errno: Option<i32>,
    /// Its configuration.
    pub config: ChannelConfig,
    /// The region where it lives; `None` where the broker is no region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<RegionName>,
    /// Regions that alone may hold its bytes, as far as somebody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<BTreeSet<RegionName>>,
    /// The newest key that encrypts it at rest, or did; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<EncryptionKey>,
}

/// The key that encrypts a channel at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionKey {
    /// Its number, from 1 on.
    pub id: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Offset of the next record when it was made.
    pub from: Offset,
    /// How many keys of the channel readable records may need.
    pub keys: u64,
    /// Why some of them can't be used; `None` when all can.
    pub locked: Option<String>,
}

/// A place in a channel whose stored bytes no longer match their checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DamageRow {
    /// First offset that is lost.
    pub first_offset: Offset,
    /// The offset after the last that is lost.
    pub end_offset: Offset,
    /// The file, below the data directory.
    pub file: String,
    /// Byte in the file at which the damage begins.
    pub position: u64,
    /// Bytes that are damaged.
    pub length: u64,
    /// What is wrong, in words.
    pub what: String,
}

/// Lists channels in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelList {
    /// Only names that start with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether to list the broker's own topics as well.
    #[serde(default)]
    pub internal: bool,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most channels to answer with; the broker may answer with fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Some of the channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelPage {
    /// Channels in the order of their names.
    pub channels: Vec<ChannelInfo>,
    /// What to ask for the next page with; `None` when this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Changes a channel's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelUpdate {
    /// The channel.
    pub name: ChannelName,
    /// The fields to change.
    pub config: ConfigChange,
}

/// Deletes a channel, its records and its consumers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelDelete {
    /// The channel.
    pub name: ChannelName,
    /// The incarnation it must have; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
}

/// The channel that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelDeleted {
    /// Its name.
    pub name: ChannelName,
    /// The identity it had.
    pub incarnation: Incarnation,
}

/// A place in a channel. In JSON an object with exactly one of the fields `offset`, `start`,
/// `end`, `time` and `back`; `start` and `end` are `true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlaceFields", into = "PlaceFields")]
pub enum Place {
    /// This offset.
    Offset(Offset),
    /// The log start.
    Start,
    /// The high watermark.
    End,
    /// The first record whose append time is this or later.
    Time(Timestamp),
    /// This many records before the high watermark, but not before the log start.
    Back(u64),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlaceFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<Offset>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    back: Option<u64>,
}

impl From<Place> for PlaceFields {
    fn from(place: Place) -> Self {
        let mut fields = Self::default();
        match place {
            Place::Offset(offset) => fields.offset = Some(offset),
            Place::Start => fields.start = Some(true),
            Place::End => fields.end = Some(true),
            Place::Time(time) => fields.time = Some(time),
            Place::Back(records) => fields.back = Some(records),
        }
        fields
    }
}

impl TryFrom<PlaceFields> for Place {
    type Error = &'static str;

    fn try_from(fields: PlaceFields) -> Result<Self, Self::Error> {
        match fields {
            PlaceFields {
                offset: Some(offset),
                start: None,
                end: None,
                time: None,
                back: None,
            } => Ok(Self::Offset(offset)),
            PlaceFields {
                offset: None,
                start: Some(true),
                end: None,
                time: None,
                back: None,
            } => Ok(Self::Start),
            PlaceFields {
                offset: None,
                start: None,
                end: Some(true),
                time: None,
                back: None,
            } => Ok(Self::End),
            PlaceFields {
                offset: None,
                start: None,
                end: None,
                time: Some(time),
                back: None,
            } => Ok(Self::Time(time)),
            PlaceFields {
                offset: None,
                start: None,
                end: None,
                time: None,
                back: Some(records),
            } => Ok(Self::Back(records)),
            _ => Err(
                "a place has exactly one of `offset`, `start`: true, `end`: true, `time` and `back`",
            ),
        }
    }
}

/// Turns a place into an offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelResolve {
    /// The channel.
    pub channel: ChannelName,
    /// The place.
    pub at: Place,
}

/// What a place stands for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The offset.
    pub offset: Offset,
    /// Lowest offset that may still be read.
    pub log_start: Offset,
    /// Everything below may be read.
    pub high_watermark: Offset,
    /// Offset that the next record will get.
    pub log_end: Offset,
    /// The log epoch now.
    pub log_epoch: LogEpoch,
    /// The channel's identity.
    pub incarnation: Incarnation,
}

/// Names one consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerTarget {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
}

/// Moves a consumer, or creates it at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerReset {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
    /// Where to.
    pub to: Place,
}

/// Asks for the lag of consumers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LagRequest {
    /// Only of this channel; of all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelName>,
}

/// One consumer of a channel and how far it is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerLagRow {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
    /// The next offset it will read.
    pub offset: Offset,
    /// What it stored with its position; empty when nothing.
    pub metadata: String,
    /// High watermark less `offset`.
    pub lag_records: u64,
    /// Bytes of the segments from `offset` to the high watermark; whole runs of batches, so it may
    /// be a little more than what a fetch would bring.
    pub lag_bytes: u64,
    /// Age of the record at `offset`; 0 when there is none.
    pub lag_ms: u64,
    /// When the position was stored.
    pub committed_at: Timestamp,
    /// Whether recovery moved the position back to the log end, because the log had lost what was
    /// beyond it. Cleared by the next commit or reset.
    pub repositioned: bool,
}

/// Consumers, in the order of channel and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumers {
    /// The consumers.
    pub consumers: Vec<ConsumerLagRow>,
}

/// The consumer that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerDeleted {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
}

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
