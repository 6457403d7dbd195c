//! What all topics of typed events share: the JSON envelope with its version, the refusal of an
//! event that cannot follow, and the state record that lets a topic be trimmed.
//!
//! A state record is too large for one record when there is much state, so it is written as parts
//! that stand in one journal entry: all of them or none are found again. Replay starts at the log
//! start, and a topic is trimmed exactly to the first part, so nothing before it is ever missed.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of an event's JSON, its member `v`, but for those of a topic that says otherwise.
pub const EVENT_VERSION: u16 = 1;

/// Most bytes of one part of a state record: the record's own header and type are included.
/// Only a single row larger than that makes a larger part.
pub const MAX_PART_BYTES: usize = 256 * 1024;

/// Room left in a part for what is not rows: braces, version, numbers, the record's header.
const PART_OVERHEAD_BYTES: usize = 256;

/// Why a record of a topic is not an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Written by a newer broker in a form this one does not know. Not damage.
    #[error("unsupported version {found} of event `{event}`, this broker knows {supported}")]
    UnsupportedVersion {
        /// Type of the record.
        event: String,
        /// Version the event claims.
        found: u64,
        /// The newest version known here.
        supported: u16,
    },
    /// The record's type and the type inside its payload differ.
    #[error("a record of type `{record}` holds an event of type `{event}`")]
    TypeMismatch {
        /// Type of the record.
        record: String,
        /// The member `type` of the payload.
        event: String,
    },
    /// The payload is not the JSON of that event.
    #[error("the payload of `{event}` cannot be read")]
    Json {
        /// Type of the record.
        event: String,
        /// What the reader met.
        source: serde_json::Error,
    },
}

/// An event that cannot follow in the present state, which is left unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{event}` for {subject} refused: {rule}")]
pub struct IllegalEvent {
    /// Type of the event.
    pub event: String,
    /// Whom the event is about.
    pub subject: String,
    /// What it breaks.
    pub rule: &'static str,
}

/// One part of a topic's folded state. The parts of one state record are numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded<Row> {
    /// Number of this part: 1, 2, … `parts`.
    pub part: u32,
    /// Number of parts of the state record, at least 1.
    pub parts: u32,
    /// The rows of this part.
    pub rows: Vec<Row>,
}

/// A part as it stands in its record, in topics whose records say their type and version themselves.
/// `Rows` is borrowed to be written, and owned to be read.
#[derive(Serialize, Deserialize)]
pub(crate) struct WrittenPart<Rows, Kind> {
    part: u32,
    parts: u32,
    rows: Rows,
    #[serde(rename = "type")]
    kind: Kind,
    v: u64,
}

impl<'a, Row, Kind> WrittenPart<&'a [Row], Kind> {
    /// What is written of a part.
    pub fn of(folded: &'a Folded<Row>, kind: Kind, v: u64) -> Self {
        Self {
            part: folded.part,
            parts: folded.parts,
            rows: &folded.rows,
            kind,
            v,
        }
    }
}

impl<Row, Kind> WrittenPart<Vec<Row>, Kind> {
    /// The part that was read, with the type and the version of its record.
    pub fn into_parts(self) -> (Folded<Row>, Kind, u64) {
        let folded = Folded {
            part: self.part,
            parts: self.parts,
            rows: self.rows,
        };
        (folded, self.kind, self.v)
    }
}

#[derive(Serialize)]
struct Envelope<'a, E> {
    v: u16,
    #[serde(flatten)]
    event: &'a E,
}

#[derive(Deserialize)]
struct Head<'a> {
    v: u64,
    #[serde(borrow, rename = "type")]
    event: Cow<'a, str>,
}

/// The JSON of an event that serde tags with `type`, with the version added.
pub(crate) fn encode<E: Serialize>(v: u16, event: &E) -> Vec<u8> {
    serde_json::to_vec(&Envelope { v, event })
        .expect("events have string keys and no fallible values")
}

/// The event in a payload, when its record's type is one that the caller knows.
///
/// - `newest`: the newest version that the caller knows.
pub(crate) fn decode<E: DeserializeOwned>(
    newest: u16,
    record_type: &str,
    payload: &[u8],
) -> Result<E, EventError> {
    let json = |source| EventError::Json {
        event: record_type.to_owned(),
        source,
    };
    check_head(newest, record_type, payload)?;
    serde_json::from_slice(payload).map_err(json)
}

/// Whether a payload claims to be of that type, in a version that the caller knows.
pub(crate) fn check_head(newest: u16, record_type: &str, payload: &[u8]) -> Result<(), EventError> {
    let head = serde_json::from_slice::<Head<'_>>(payload);
    let head = head.map_err(|source| EventError::Json {
        event: record_type.to_owned(),
        source,
    })?;
    if head.event != record_type {
        return Err(EventError::TypeMismatch {
            record: record_type.to_owned(),
            event: head.event.into_owned(),
        });
    }
    if head.v == 0 || head.v > u64::from(newest) {
        return Err(EventError::UnsupportedVersion {
            event: record_type.to_owned(),
            found: head.v,
            supported: newest,
        });
    }
    Ok(())
}

/// Rows as parts of at most `max_bytes` each; one empty part when there are no rows.
pub(crate) fn split<Row: Serialize>(
    rows: impl Iterator<Item = Row>,
    max_bytes: usize,
) -> Vec<Folded<Row>> {
    let room = max_bytes.saturating_sub(PART_OVERHEAD_BYTES);
    let mut chunks = vec![Vec::new()];
    let mut used = 0;
    for row in rows {
        // One more byte: the comma.
        let bytes = 1 + serde_json::to_vec(&row)
            .expect("rows have string keys and no fallible values")
            .len();
        let chunk = chunks.last_mut().expect("starts with one chunk");
        if used + bytes > room && !chunk.is_empty() {
            chunks.push(vec![row]);
            used = bytes;
        } else {
            chunk.push(row);
            used += bytes;
        }
    }
    let parts = u32::try_from(chunks.len()).expect("fewer than 2^32 parts fit into memory");
    (1..=parts)
        .zip(chunks)
        .map(|(part, rows)| Folded { part, parts, rows })
        .collect()
}

/// Parts of a state record seen so far, while its last one is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assembly<Row> {
    seen: u32,
    parts: u32,
    rows: Vec<Row>,
}

/// Adds a part to the parts before it. The last one gives what `build` makes of all rows.
///
/// On refusal, by the part's number or by `build`, `before` is as it was.
pub(crate) fn join<Row: Clone, State>(
    before: &mut Option<Assembly<Row>>,
    part: &Folded<Row>,
    build: impl FnOnce(&mut dyn Iterator<Item = &Row>) -> Result<State, &'static str>,
) -> Result<Option<State>, &'static str> {
    let (seen, parts, rows) = before.as_ref().map_or((0, part.parts, [].as_slice()), |a| {
        (a.seen, a.parts, a.rows.as_slice())
    });
    if parts != part.parts {
        return Err("the parts before it belong to another state record");
    }
    if part.part == 0 || part.part > part.parts {
        return Err("the part's number is outside 1..=parts");
    }
    if part.part - 1 != seen {
        return Err("it is not the next part of its state record");
    }
    if part.part == part.parts {
        let state = build(&mut rows.iter().chain(&part.rows))?;
        *before = None;
        return Ok(Some(state));
    }
    let assembly = before.get_or_insert_with(|| Assembly {
        seen,
        parts,
        rows: Vec::new(),
    });
    assembly.seen = part.part;
    assembly.rows.extend(part.rows.iter().cloned());
    Ok(None)
}

/// Rule broken by any other event between the parts of a state record.
pub(crate) const BETWEEN_PARTS: &str = "a state record has begun and its last part is to come";

/// Gives the events of a topic their record types, and their way to a record and back. The names
/// are those that serde tags the variants with. The event has a variant `Unknown { record_type,
/// payload }`, and a method `version`, where not every event has the same.
macro_rules! topic_event {
    ($event:ident, versions up to $newest:path { $($kind:ident = $name:literal,)* }) => {
        impl $event {
            /// Type of the record that holds this event.
            #[must_use]
            pub fn record_type(&self) -> &str {
                match self {
                    $(Self::$kind(_) => $name,)*
                    Self::Unknown { record_type, .. } => record_type,
                }
            }

            /// Payload of the record that holds this event.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    Self::Unknown { payload, .. } => payload.clone(),
                    known => $crate::folding::encode(known.version(), known),
                }
            }

            /// The event that a record of the topic holds. A type this broker does not know gives
            /// `Unknown`; members it does not know are passed over.
            ///
            /// # Errors
            /// [`EventError`](crate::folding::EventError) when the payload is not that event's
            /// JSON, or has a newer version.
            pub fn decode(
                record_type: &str,
                payload: &[u8],
            ) -> Result<Self, $crate::folding::EventError> {
                match record_type {
                    $($name)|* => $crate::folding::decode($newest, record_type, payload),
                    _ => Ok(Self::Unknown {
                        record_type: record_type.to_owned(),
                        payload: payload.to_owned(),
                    }),
                }
            }
        }
    };
    ($event:ident { $($rows:tt)* }) => {
        impl $event {
            fn version(&self) -> u16 {
                $crate::folding::EVENT_VERSION
            }
        }
        $crate::folding::topic_event! {
            $event, versions up to $crate::folding::EVENT_VERSION { $($rows)* }
        }
    };
}
pub(crate) use topic_event;
