//! The broker's own topics as it reads them at a start, and why one can't be read whole.

use bytes::Bytes;

use crate::folding::{EventError, IllegalEvent};
use crate::format::{BatchHeader, DecodeError, Record, check_stored, records};
use crate::storage::{Closed, IoFailure, Read, ReadError, Storage};
use crate::types::{Incarnation, Offset};

/// Why what an internal topic records can't be known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// A batch can't be decoded.
    #[error("internal topic {topic}: {source}")]
    Batch {
        /// The topic.
        topic: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
    /// A record can't be decoded.
    #[error("internal topic {topic}, offset {offset}: {source}")]
    Record {
        /// The topic.
        topic: &'static str,
        /// The record.
        offset: Offset,
        /// What is wrong.
        source: EventError,
    },
    /// A record cannot follow those before it.
    #[error("internal topic {topic}, offset {offset}: {source}")]
    Event {
        /// The topic.
        topic: &'static str,
        /// The record.
        offset: Offset,
        /// What is wrong.
        source: IllegalEvent,
    },
    /// The topic can't be read.
    #[error("internal topic {topic}: {source}")]
    Read {
        /// The topic.
        topic: &'static str,
        /// What is wrong.
        source: Box<ReadError>,
    },
    /// Records are lost where the topic does not tell: at its end.
    #[error("internal topic {topic}, perhaps at its end {end}: {reason}")]
    Closed {
        /// The topic.
        topic: &'static str,
        /// Where the topic ends, as far as is known.
        end: Offset,
        /// Why it takes no writes.
        reason: Closed,
    },
}

impl TopicError {
    /// Whether a start would be wrong: the topic is intact, and a newer broker can read it, or
    /// the next try.
    pub(super) fn refuses_start(&self) -> bool {
        match self {
            Self::Batch { source, .. } => matches!(source, DecodeError::UnsupportedVersion { .. }),
            Self::Record { source, .. } => matches!(source, EventError::UnsupportedVersion { .. }),
            Self::Read { source, .. } => {
                matches!(&**source, ReadError::Io(failure) if failure.is_passing())
            }
            Self::Event { .. } | Self::Closed { .. } => false,
        }
    }
}

/// What a batch of a topic holds.
pub(super) enum Content {
    /// Records of events.
    Records(Vec<Record>),
    /// A repair has recorded that these offsets are lost.
    Gap(std::ops::Range<Offset>),
}

/// What consecutive batches hold.
pub(super) fn decoded(topic: &'static str, bytes: &Bytes) -> Result<Vec<Content>, TopicError> {
    let damaged = |source| TopicError::Batch { topic, source };
    let mut all = Vec::new();
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let header = BatchHeader::peek(&rest).map_err(damaged)?;
        if rest.len() < header.len() {
            return Err(damaged(DecodeError::Short {
                what: "batch",
                needed: header.len() as u64,
                found: rest.len() as u64,
            }));
        }
        let batch = rest.split_to(header.len());
        check_stored(&batch).map_err(damaged)?;
        all.push(if header.is_gap() {
            Content::Gap(header.base_offset()..header.end_offset())
        } else {
            let records: Result<Vec<Record>, _> = records(&batch).map_err(damaged)?.collect();
            Content::Records(records.map_err(damaged)?)
        });
    }
    Ok(all)
}

/// All batches of an internal topic, read before anybody else may.
pub(super) fn read_topic(
    storage: &mut Storage,
    topic: &'static str,
    id: Incarnation,
) -> Result<Vec<Bytes>, TopicError> {
    let failed = |source: ReadError| TopicError::Read {
        topic,
        source: Box::new(source),
    };
    let Some(log) = storage.log(id) else {
        return Ok(Vec::new());
    };
    let (mut from, end): (Offset, Offset) = (log.log_start(), log.high_watermark());
    let mut batches = Vec::new();
    while from < end {
        let slices = match storage.plan_read(id, from, 1 << 20).map_err(failed)? {
            Read::Ready(slices) => slices,
            Read::Segment(job) => job.run_checked().map_err(failed)?,
            Read::Load(task) => {
                let loaded = task.run();
                storage
                    .finish_load(loaded)
                    .map_err(|failure: IoFailure| failed(failure.into()))?;
                continue;
            }
        };
        from = slices.next;
        batches.extend(slices.parts);
    }
    // What is there may not be all: reads alone don't tell what is lost at the end.
    let log = storage.log(id).filter(|log| log.refused().is_some());
    match log.and_then(|log| Some((log.end(), log.refused()?.clone()))) {
        Some((end, reason)) => Err(TopicError::Closed { topic, end, reason }),
        None => Ok(batches),
    }
}
