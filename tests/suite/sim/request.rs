//! What clients ask and what they are told, as values: the wire has tests of its own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use npayload::broker::config::ConfigChange;
use npayload::broker::{
    AtomicPublished, BrokerError, CommitRequest, CreateOutcome, FetchFrom, FetchHead, Published,
    Target,
};
use npayload::consumer::Position;
use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::storage::CommitError;
use npayload::types::{ChannelName, ConsumerName, Incarnation, LogEpoch, Offset, ProducerId};

use super::chance::Chance;

/// Where the broker's own part of a stored batch ends; what follows is the producer's.
pub const BODY_AT: usize = 72;

/// A batch as its producer built it. A retry sends the same again.
#[derive(Debug)]
pub struct Batch {
    /// No other batch of the run has it.
    pub uid: u64,
    pub producer: ProducerId,
    pub epoch: u32,
    pub sequence: u64,
    pub count: u32,
    pub fence: u64,
    /// Whether its producer ever sends it twice.
    pub bytes: BytesMut,
}

impl Batch {
    pub fn body(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bytes[BODY_AT..])
    }
}

/// Who sends a batch, for its header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender {
    pub producer: ProducerId,
    pub epoch: u32,
    pub sequence: u64,
    pub fence: u64,
}

/// A batch with records that no other batch of the run has.
pub fn new_batch(chance: &mut Chance, uid: u64, from: Sender) -> Arc<Batch> {
    let count = u32::try_from(chance.within(1..5)).unwrap();
    // Mostly small; some go straight to the segment, and some must.
    let bytes = match chance.below(40) {
        0 => chance.within(8_500..11_000),
        1..=4 => chance.within(3_000..6_000),
        5..=14 => chance.within(500..2_000),
        _ => chance.within(10..400),
    };
    let compression = match chance.below(10) {
        0 => Compression::Lz4,
        1 => Compression::Zstd,
        _ => Compression::None,
    };
    let mut builder = BatchBuilder::new(compression);
    for n in 0..count {
        let mut payload = uid.to_le_bytes().to_vec();
        let mut filler = Chance::new(uid * 8 + u64::from(n));
        while payload.len() < usize::try_from(bytes / u64::from(count)).unwrap() {
            payload.extend_from_slice(&filler.draw().to_le_bytes());
        }
        let record = NewRecord {
            payload: Some(&payload),
            ..NewRecord::default()
        };
        builder.push(&record).unwrap();
    }
    if !from.producer.is_none() {
        builder.producer(from.producer, from.epoch, from.sequence);
    }
    if from.fence > 0 {
        builder.fence(from.fence);
    }
    Arc::new(Batch {
        uid,
        producer: from.producer,
        epoch: from.epoch,
        sequence: from.sequence,
        count,
        fence: from.fence,
        bytes: builder.build().unwrap(),
    })
}

#[derive(Clone, Debug)]
pub struct FetchAsk {
    pub channel: ChannelName,
    pub incarnation: Option<Incarnation>,
    pub from: FetchFrom,
    pub last_epoch: LogEpoch,
    pub max_bytes: u64,
    /// Steps of the run that it may wait for records.
    pub max_wait: u64,
    /// The record before `from`, as the reader has seen it: uid of its batch.
    pub seen: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum Request {
    Publish(Target, Arc<Batch>),
    Atomic(Vec<(Target, Arc<Batch>)>, Vec<CommitRequest>),
    Commit(CommitRequest),
    Fetch(FetchAsk),
    Create(ChannelName, ConfigChange),
    Update(ChannelName, ConfigChange),
    Delete(ChannelName, Option<Incarnation>),
    Info(ChannelName),
    Position(ChannelName, ConsumerName),
    Reset(ChannelName, ConsumerName, Offset),
    Forget(ChannelName, ConsumerName),
}

impl Request {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Publish(..) => "publish",
            Self::Atomic(..) => "atomic",
            Self::Commit(_) => "commit",
            Self::Fetch(_) => "fetch",
            Self::Create(..) => "create",
            Self::Update(..) => "update",
            Self::Delete(..) => "delete",
            Self::Info(_) => "info",
            Self::Position(..) => "position",
            Self::Reset(..) => "reset",
            Self::Forget(..) => "forget",
        }
    }
}

/// A batch as a reader got it.
#[derive(Clone, Debug)]
pub struct GotBatch {
    pub uid: u64,
    pub end: u64,
    pub epoch: LogEpoch,
}

#[derive(Clone, Debug)]
pub enum Reply {
    Published(Published),
    Atomic(AtomicPublished),
    Committed(Offset),
    Fetched(FetchHead, Vec<GotBatch>),
    Created(CreateOutcome),
    Deleted,
    Info,
    Position(Position, Incarnation),
    Done,
    Refused(BrokerError),
    NeverAcknowledged(CommitError),
    Overloaded,
    ShuttingDown,
}

impl Reply {
    pub fn name(&self) -> String {
        let text = match self {
            Self::Published(published) if published.is_duplicate => "duplicate",
            Self::Published(_) => "published",
            Self::Atomic(atomic) if atomic.published.iter().any(|one| one.is_duplicate) => {
                "atomic duplicate"
            }
            Self::Atomic(_) => "atomic",
            Self::Committed(_) => "committed",
            Self::Fetched(_, batches) if batches.is_empty() => "fetched nothing",
            Self::Fetched(..) => "fetched",
            Self::Created(CreateOutcome::Created) => "created",
            Self::Created(CreateOutcome::Existed) => "existed",
            Self::Deleted => "deleted",
            Self::Info => "info",
            Self::Position(..) => "position",
            Self::Done => "done",
            Self::Refused(error) => return format!("refused: {}", class(error)),
            Self::NeverAcknowledged(CommitError::Journal(_)) => "never acknowledged: journal",
            Self::NeverAcknowledged(CommitError::Deleted(_)) => "never acknowledged: deleted",
            Self::NeverAcknowledged(_) => "never acknowledged: segment",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting down",
        };
        text.to_owned()
    }
}

/// The kind of a refusal, for the table.
pub fn class(error: &BrokerError) -> &'static str {
    use npayload::broker::producers::ProducerError;
    use npayload::storage::{ReadError, StageError};
    match error {
        BrokerError::NoSuchChannel { .. } => "no such channel",
        BrokerError::Recreated { .. } => "recreated",
        BrokerError::Internal { .. } => "internal",
        BrokerError::Create(_) => "create",
        BrokerError::Change(_) => "change",
        BrokerError::Config(_) => "config",
        BrokerError::Stage(StageError::WrongOffset { .. }) => "wrong offset",
        BrokerError::Stage(StageError::Busy) => "busy",
        BrokerError::Stage(StageError::DiskFull(_)) => "disk full",
        BrokerError::Stage(StageError::TooLarge { .. }) => "too large",
        BrokerError::Stage(StageError::Refused { .. }) => "channel failed",
        BrokerError::Stage(StageError::JournalFailed(_)) => "journal failed",
        BrokerError::Stage(_) => "stage",
        BrokerError::Producer(ProducerError::Unknown { .. }) => "producer unknown",
        BrokerError::Producer(ProducerError::Gap { .. }) => "sequence gap",
        BrokerError::Producer(ProducerError::Fenced { .. }) => "producer fenced",
        BrokerError::Producer(ProducerError::TooOld { .. }) => "sequence too old",
        BrokerError::Producer(_) => "sequence overlap",
        BrokerError::Fenced(_) => "fenced",
        BrokerError::Position(_) => "position",
        BrokerError::Reset(_) => "reset",
        BrokerError::Delete(_) => "forget",
        BrokerError::NoSuchConsumer { .. } => "no such consumer",
        BrokerError::Read(ReadError::OutOfRange { .. }) => "out of range",
        BrokerError::Read(ReadError::Diverged { .. }) | BrokerError::Diverged { .. } => "diverged",
        BrokerError::Read(ReadError::Io(_)) | BrokerError::Io(_) => "read failed",
        BrokerError::Read(ReadError::Damaged { .. }) => "damaged",
        BrokerError::Read(_) => "read",
        BrokerError::Atomic { .. } => "atomic rule",
        _ => "bug",
    }
}
