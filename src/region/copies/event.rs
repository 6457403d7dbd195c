//! What is recorded on the topic `__copies`.

use serde::{Deserialize, Serialize};

use super::cursor::GapReason;
use super::state::CopyRow;
use crate::folding::{self, Folded};
use crate::region::LogName;
use crate::types::{ChannelName, Incarnation, Offset, RegionName, Timestamp};

/// Version of what says that batches of an outbox were refused, so that a broker which does not know
/// of that refuses it and does not pass over what lies in `lost+found`.
const REFUSED_VERSION: u16 = 2;

/// A fact about the copies of this region, stored as one JSON record of the topic `__copies`. The
/// record's type is the member `type`; the member `v` is the version: 1, or 2 where batches of an
/// outbox were refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum CopyEvent {
    /// A copy is kept from now on.
    #[serde(rename = "copy.begun")]
    Begun(Begun),
    /// The copy will never have some records.
    #[serde(rename = "copy.gap")]
    Gap(Gapped),
    /// The copy is not followed any more.
    #[serde(rename = "copy.stopped")]
    Stopped(Stopped),
    /// It is followed again, from its end.
    #[serde(rename = "copy.resumed")]
    Resumed(Resumed),
    /// What it held lies elsewhere.
    #[serde(rename = "copy.setAside")]
    SetAside(SetAside),
    /// One with more is begun beside it.
    #[serde(rename = "copy.widening")]
    Widening(Widening),
    /// That one has taken its name.
    #[serde(rename = "copy.widened")]
    Widened(Widening),
    /// Records that lie elsewhere were published again, or some of them.
    #[serde(rename = "copy.republished")]
    Republished(Republication),
    /// What the home of the log was heard to have synced.
    #[serde(rename = "copy.seen")]
    Seen(Seen),
    /// Nobody knows here what it says: it is brought anew from its beginning.
    #[serde(rename = "copy.anew")]
    Anew(Anew),
    /// All of it is here again.
    #[serde(rename = "copy.whole")]
    Whole(Whole),
    /// Its bytes are removed.
    #[serde(rename = "copy.purged")]
    Purged(Purged),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "copies.folded")]
    Folded(Folded<CopyRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`CopyEvent::Begun`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// Which log.
    pub incarnation: Incarnation,
    /// Its name.
    pub log: LogName,
    /// From where it is pulled.
    pub source: RegionName,
    /// Its first offset.
    pub from: Offset,
    /// Record types that it is of; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// When.
    pub at: Timestamp,
}

/// See [`CopyEvent::Gap`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gapped {
    /// Which log.
    pub incarnation: Incarnation,
    /// First offset that is missing.
    pub from: Offset,
    /// Offset after the last one.
    pub to: Offset,
    /// Why.
    pub reason: GapReason,
    /// When.
    pub at: Timestamp,
}

/// See [`CopyEvent::Stopped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// Which log.
    pub incarnation: Incarnation,
    /// Name of the error, `DIVERGED` for example.
    pub code: String,
    /// What was wrong, for a person.
    pub message: String,
    /// The copy's end.
    pub offset: Offset,
    /// When.
    pub at: Timestamp,
}

/// See [`CopyEvent::Resumed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// Which log.
    pub incarnation: Incarnation,
    /// From where it is pulled.
    pub source: RegionName,
    /// When.
    pub at: Timestamp,
}

/// Why records of a copy lie elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AsideReason {
    /// The channel was deleted and made again at its home.
    Recreated,
    /// Another region has taken the home over, and these records are not in its log.
    Overtaken,
    /// The home holds other records at these offsets.
    Diverged,
    /// They are no copy's, but waited in an outbox, and their home has refused them for good.
    Refused,
}

/// See [`CopyEvent::SetAside`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// Which log.
    pub incarnation: Incarnation,
    /// Why.
    pub reason: AsideReason,
    /// First offset that lies elsewhere.
    pub from: Offset,
    /// Offset after the last one.
    pub end: Offset,
    /// Where, relative to the data directory.
    pub place: String,
    /// When.
    pub at: Timestamp,
    /// Where they were published again; nowhere when they are set aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub republished: Vec<Republished>,
    /// What was refused, and why, where that is the reason. The log is then that of the outbox, and so
    /// are the offsets; between them lie batches that were not refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedRecords>,
}

/// What a home has refused of an outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedRecords {
    /// The channel that they were for.
    pub channel: ChannelName,
    /// Name of the error, `UNKNOWN_PRODUCER` for example.
    pub code: String,
    /// What the home said last, for a person.
    pub message: String,
    /// How many records.
    pub records: u64,
}

/// That records which were set aside are in a channel again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Republished {
    /// The channel.
    pub to: ChannelName,
    /// Its identity.
    pub target: Incarnation,
    /// Its end when it was begun: none of them is below.
    pub begun_at: Offset,
    /// How many of them are there.
    pub records: u64,
    /// Whether those are all.
    pub done: bool,
    /// When that was noted.
    pub at: Timestamp,
}

/// See [`CopyEvent::Republished`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Republication {
    /// The log that they were taken from.
    pub incarnation: Incarnation,
    /// Where they lie, as it was recorded.
    pub place: String,
    /// What became of them.
    #[serde(flatten)]
    pub republished: Republished,
}

/// What a home was heard to have synced; also [`CopyEvent::Seen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Which log.
    pub incarnation: Incarnation,
    /// The home.
    pub home: RegionName,
    /// In which term.
    pub term: u32,
    /// Offset after the last record that it had synced.
    pub flushed: Offset,
    /// When.
    pub at: Timestamp,
}

/// See [`CopyEvent::Widening`] and [`CopyEvent::Widened`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Widening {
    /// Which log.
    pub incarnation: Incarnation,
    /// First offset of the one with more.
    pub from: Offset,
    /// Record types that it is of; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// When.
    pub at: Timestamp,
}

/// That a copy is brought anew; also [`CopyEvent::Anew`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anew {
    /// Which log.
    pub incarnation: Incarnation,
    /// Why nobody knows what the one before said.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// See [`CopyEvent::Whole`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Whole {
    /// Which log.
    pub incarnation: Incarnation,
    /// When.
    pub at: Timestamp,
}

/// See [`CopyEvent::Purged`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purged {
    /// Which log.
    pub incarnation: Incarnation,
    /// When.
    pub at: Timestamp,
}

impl CopyEvent {
    /// The log that it is about.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        match self {
            Self::Begun(event) => Some(event.incarnation),
            Self::Gap(event) => Some(event.incarnation),
            Self::Stopped(event) => Some(event.incarnation),
            Self::Resumed(event) => Some(event.incarnation),
            Self::SetAside(event) => Some(event.incarnation),
            Self::Widening(event) | Self::Widened(event) => Some(event.incarnation),
            Self::Republished(event) => Some(event.incarnation),
            Self::Seen(event) => Some(event.incarnation),
            Self::Anew(event) => Some(event.incarnation),
            Self::Whole(event) => Some(event.incarnation),
            Self::Purged(event) => Some(event.incarnation),
            Self::Folded(_) | Self::Unknown { .. } => None,
        }
    }
}

impl CopyEvent {
    /// The version of its JSON.
    fn version(&self) -> u16 {
        let is_refused = |aside: &SetAside| aside.reason == AsideReason::Refused;
        let is_newer = match self {
            Self::SetAside(event) => is_refused(event),
            Self::Folded(part) => {
                let mut rows = part.rows.iter();
                rows.any(|row| matches!(row, CopyRow::Aside(aside) if is_refused(aside)))
            }
            _ => false,
        };
        match is_newer {
            true => REFUSED_VERSION,
            false => folding::EVENT_VERSION,
        }
    }
}

folding::topic_event! {
    CopyEvent, versions up to REFUSED_VERSION {
        Begun = "copy.begun",
        Gap = "copy.gap",
        Stopped = "copy.stopped",
        Resumed = "copy.resumed",
        SetAside = "copy.setAside",
        Widening = "copy.widening",
        Widened = "copy.widened",
        Republished = "copy.republished",
        Seen = "copy.seen",
        Anew = "copy.anew",
        Whole = "copy.whole",
        Purged = "copy.purged",
        Folded = "copies.folded",
    }
}
