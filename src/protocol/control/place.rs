//! Places in a channel, and the offsets that they stand for.

use serde::{Deserialize, Serialize};

use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

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
