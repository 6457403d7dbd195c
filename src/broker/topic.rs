//! The broker's own topics as it reads them at a start, and why one can't be read whole.

use std::ops::Range;
use std::sync::mpsc;

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
    /// A repair has recorded that records are lost.
    #[error(
        "internal topic {topic}: the records {}..{} are lost; restore the data directory from a backup", .lost.start, .lost.end
    )]
    Lost {
        /// The topic.
        topic: &'static str,
        /// Their offsets.
        lost: Range<Offset>,
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
            Self::Event { .. } | Self::Closed { .. } | Self::Lost { .. } => false,
        }
    }
}

/// State that is folded from the events of a topic.
pub(super) trait Fold {
    /// What the topic holds.
    type Event;
    /// The topic.
    const TOPIC: &'static str;

    /// The event of a record.
    fn decode(record_type: &str, payload: &[u8]) -> Result<Self::Event, EventError>;

    /// Takes the next event, that of the record at `offset`.
    fn event(&mut self, offset: Offset, event: Self::Event) -> Result<(), IllegalEvent>;

    /// Goes on behind records that a repair has recorded as lost, or refuses to.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError>;
}

/// Folds consecutive batches of a topic; returns how many events they held.
pub(super) fn fold_topic<F: Fold>(state: &mut F, batches: &Bytes) -> Result<u64, TopicError> {
    apply(state, steps::<F>(batches)?)
}

/// What a topic says next.
enum Step<Event> {
    /// An event, in the record at this offset.
    Event(Offset, Event),
    /// A repair has recorded that these offsets are lost.
    Gap(Range<Offset>),
}

/// What consecutive batches of a topic say.
fn steps<F: Fold>(batches: &Bytes) -> Result<Vec<Step<F::Event>>, TopicError> {
    let topic = F::TOPIC;
    let mut steps = Vec::new();
    for content in decoded(topic, batches)? {
        let records = match content {
            Content::Records(records) => records,
            Content::Gap(lost) => {
                steps.push(Step::Gap(lost));
                continue;
            }
        };
        for record in records {
            let payload = record.payload.clone().unwrap_or_default();
            let offset = record.offset;
            let event = F::decode(record.record_type.as_str(), &payload);
            let event = event.map_err(|source| TopicError::Record {
                topic,
                offset,
                source,
            })?;
            steps.push(Step::Event(offset, event));
        }
    }
    Ok(steps)
}

/// Takes what a topic says into a state; returns how many events there were.
fn apply<F: Fold>(state: &mut F, steps: Vec<Step<F::Event>>) -> Result<u64, TopicError> {
    let topic = F::TOPIC;
    let mut events = 0;
    for step in steps {
        match step {
            Step::Gap(lost) => state.gap(lost)?,
            Step::Event(offset, event) => {
                let applied = state.event(offset, event);
                applied.map_err(|source| TopicError::Event {
                    topic,
                    offset,
                    source,
                })?;
                events += 1;
            }
        }
    }
    Ok(events)
}

/// Fewer records than these are folded by one thread.
const WORTH_THREADS: u64 = 10_000;

/// Folds a topic from `from` on into a state: read by this thread, decoded by another and applied
/// by a third. Returns how many events there were, and why they may not be all.
pub(super) fn fold_long_topic<F>(
    storage: &mut Storage,
    id: Incarnation,
    from: Offset,
    state: &mut F,
) -> Result<(u64, Option<TopicError>), TopicError>
where
    F: Fold + Send,
    F::Event: Send,
{
    let end = storage.log(id).map_or(from, |log| log.high_watermark());
    if end.0.saturating_sub(from.0) < WORTH_THREADS {
        let mut events = 0;
        let closed = each_of_topic(storage, F::TOPIC, id, from, |batches| {
            events += fold_topic(state, &batches)?;
            Ok(true)
        })?;
        return Ok((events, closed));
    }
    std::thread::scope(|scope| {
        let (to_decode, undecoded) = mpsc::sync_channel::<Bytes>(4);
        let (to_apply, unapplied) = mpsc::sync_channel(4);
        scope.spawn(move || {
            for batches in undecoded {
                let steps = steps::<F>(&batches);
                let is_over = steps.is_err();
                if to_apply.send(steps).is_err() || is_over {
                    return;
                }
            }
        });
        let applying = scope.spawn(move || {
            let mut events = 0;
            for steps in unapplied {
                events += apply(state, steps?)?;
            }
            Ok(events)
        });
        // Whoever refuses what was read says why.
        let read = each_of_topic(storage, F::TOPIC, id, from, |batches| {
            Ok(to_decode.send(batches).is_ok())
        });
        drop(to_decode);
        let applied = applying.join();
        let events = applied.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((events, read?))
    })
}

/// What a batch of a topic holds.
enum Content {
    /// Records of events.
    Records(Vec<Record>),
    /// A repair has recorded that these offsets are lost.
    Gap(Range<Offset>),
}

/// What consecutive batches hold.
fn decoded(topic: &'static str, bytes: &Bytes) -> Result<Vec<Content>, TopicError> {
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

/// The batches of an internal topic from `from` on, or from its log start where that is higher, read before anybody else may; and why they may not be all:
/// reads alone don't tell what is lost at the end.
pub(super) fn read_topic(
    storage: &mut Storage,
    topic: &'static str,
    id: Incarnation,
    from: Offset,
) -> Result<(Vec<Bytes>, Option<TopicError>), TopicError> {
    let mut batches = Vec::new();
    let closed = each_of_topic(storage, topic, id, from, |part| {
        batches.push(part);
        Ok(true)
    })?;
    Ok((batches, closed))
}

/// As [`read_topic`], handing consecutive batches over as they are read, as long as they are taken.
fn each_of_topic(
    storage: &mut Storage,
    topic: &'static str,
    id: Incarnation,
    from: Offset,
    mut take: impl FnMut(Bytes) -> Result<bool, TopicError>,
) -> Result<Option<TopicError>, TopicError> {
    let failed = |source: ReadError| TopicError::Read {
        topic,
        source: Box::new(source),
    };
    let Some(log) = storage.log(id) else {
        return Ok(None);
    };
    let (mut from, end): (Offset, Offset) = (from.max(log.log_start()), log.high_watermark());
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
        for part in slices.parts {
            if !take(part)? {
                return Ok(None);
            }
        }
    }
    let log = storage.log(id);
    Ok(log.and_then(|log| {
        let (end, reason) = (log.end(), log.refused()?.clone());
        Some(TopicError::Closed { topic, end, reason })
    }))
}
