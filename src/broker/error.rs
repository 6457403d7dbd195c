//! Why the broker refuses a command.

use std::ops::Range;
use std::sync::Arc;

use super::config::InvalidConfig;
use super::directory::{ChangeError, CreateError};
use super::org_limits::OrgLimit;
use super::producers::{Fenced, ProducerError};
use super::secret::SecretFileError;
use super::topic::TopicError;
use crate::access::AccessError;
use crate::consumer::{CommitError as PositionError, DeleteError, ResetError};
use crate::keys::Locked;
use crate::region::directory::NameError;
use crate::region::interest::DeclareError;
use crate::region::{EpochOverflow, RegionNumber};
use crate::storage::{IoFailure, OpenError, ReadError, StageError};
use crate::types::{ConsumerName, DisputeId, Incarnation, Offset, RegionName};

/// Why a command was refused. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// No live channel has this name.
    #[error("channel `{name}` does not exist")]
    NoSuchChannel {
        /// The name.
        name: String,
    },
    /// The name belongs to another channel now.
    #[error("the channel was deleted and created again: expected {expected}, it is {actual}")]
    Recreated {
        /// The identity that the client knows.
        expected: Incarnation,
        /// The identity of the channel that has the name now.
        actual: Incarnation,
    },
    /// An open dispute points to records of the channel.
    #[error("dispute {dispute} is open and points to offsets {}..{} of channel `{channel}`", .range.start, .range.end)]
    Held {
        /// The channel.
        channel: String,
        /// The records.
        range: Range<Offset>,
        /// The dispute.
        dispute: DisputeId,
    },
    /// Only the broker writes to internal topics.
    #[error("`{name}` is an internal topic: only the broker writes to it")]
    Internal {
        /// The topic.
        name: String,
    },
    /// The channel lives in another region, which alone appends to it.
    #[error("channel `{channel}` lives in region `{home}`, and this region holds a copy of it")]
    LivesElsewhere {
        /// The channel.
        channel: String,
        /// The region.
        home: RegionName,
    },
    /// A file of records that were set aside can't be read, or is none.
    #[error("file `{file}` {what}")]
    Aside {
        /// Its name in `lost+found`.
        file: String,
        /// What is wrong, to follow the name.
        what: String,
    },
    /// The channel has a log for each region, of which one has to be named.
    #[error(
        "channel `{channel}` has a log for each region: name one, as `{channel}@REGION`, or read \
         them merged"
    )]
    EachRegion {
        /// The channel.
        channel: String,
    },
    /// The home of the channel is being moved: it takes writes again in a moment, there or here.
    #[error("the home of channel `{channel}` is being moved to region `{to}`")]
    HomeMoving {
        /// The channel.
        channel: String,
        /// The region that takes it over.
        to: RegionName,
    },
    /// What another region says of homes is damaged here, so nobody knows whether it has taken the
    /// channel over.
    #[error(
        "channel `{channel}` takes no writes: what region `{region}` says of homes is not known \
         here, and it may have taken the channel over: {why}"
    )]
    HomesUnknown {
        /// The channel.
        channel: String,
        /// The region.
        region: RegionName,
        /// Where it is damaged.
        why: String,
    },
    /// A step of a move can't be taken.
    #[error("the home of channel `{channel}` is not moved: {reason}")]
    MoveRefused {
        /// The channel.
        channel: String,
        /// Why.
        reason: String,
    },
    /// A copy can't be followed again.
    #[error("the copy of channel `{channel}` {what}")]
    NotStopped {
        /// The channel.
        channel: String,
        /// Why.
        what: &'static str,
    },
    /// The broker has no name as a region.
    #[error("this broker is no region: it has no name, see `npayload serve --region`")]
    NotARegion,
    /// A peer can't be added or removed.
    #[error("{what}")]
    InvalidPeer {
        /// Why.
        what: String,
    },
    /// The directory of all regions, which names channels, is elsewhere and has not named this one.
    #[error("channel `{channel}` is not named yet by region `{directory}`, which names channels")]
    Unnamed {
        /// The channel.
        channel: String,
        /// The home of the directory.
        directory: RegionName,
    },
    /// The directory of all regions does not name the channel.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The region may not hold the channel's bytes.
    #[error("region `{region}` may not hold channel `{channel}`")]
    NoConsent {
        /// The channel.
        channel: String,
        /// The region.
        region: RegionName,
    },
    /// Interest breaks a limit.
    #[error(transparent)]
    Interest(#[from] DeclareError),
    /// No such interest is declared.
    #[error("no interest in `{pattern}` is declared")]
    NoSuchInterest {
        /// The pattern.
        pattern: String,
    },
    /// What is to be removed as a copy is none, or is still wanted.
    #[error("channel `{channel}` {what}")]
    NotPurged {
        /// The channel.
        channel: String,
        /// Why.
        what: &'static str,
    },
    /// A batch from a channel's home can't be taken into the copy.
    #[error("a batch for the copy of channel `{channel}` {what}")]
    NotCopied {
        /// The channel.
        channel: String,
        /// What is wrong with it.
        what: String,
    },
    /// The copy that is here lacks what is read, and nobody is to be asked for it.
    #[error("the copy of channel `{channel}` begins at offset {from}{}, and its home is not to be asked", of_types(.types))]
    CopyPartial {
        /// The channel.
        channel: String,
        /// The copy's first offset.
        from: Offset,
        /// Record types that it is of; `None` is all.
        types: Option<Vec<String>>,
    },
    /// A former life of a channel can't be kept beside the one that there is now.
    #[error("channel `{channel}` {what}")]
    NotBeside {
        /// The channel.
        channel: String,
        /// Why not.
        what: String,
    },
    /// There are as many channels as there may be.
    #[error("{found} channels would be more than the limit of {limit}")]
    TooManyChannels {
        /// How many there would be.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The channel can't be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The channel can't be changed or deleted.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A configuration value breaks its rule.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The entry was not taken.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The batch is neither new nor a known retry.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The batch carries a fence below the highest.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The commit does not fit.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// The reset does not fit.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// The consumer can't be deleted.
    #[error(transparent)]
    Delete(#[from] DeleteError),
    /// Organisations, keys or grants can't be changed so.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The channel is more than its organisation may have.
    #[error(transparent)]
    OrgLimit(#[from] OrgLimit),
    /// A command about agents is refused.
    #[error(transparent)]
    Asp(Box<super::asp::AspError>),
    /// The secret file is to be made first: see [`super::Broker::plan_secret`].
    #[error("this data directory has no npayload.secret yet, under which keys are hashed")]
    NoSecret,
    /// The consumer has no position.
    #[error("consumer `{consumer}` has no position on channel `{channel}`")]
    NoSuchConsumer {
        /// The channel.
        channel: String,
        /// The consumer.
        consumer: ConsumerName,
    },
    /// The topic of positions is damaged: where consumers stand is not known.
    #[error("where consumers stand is not known until the topic is repaired: {0}")]
    UnknownPositions(Arc<TopicError>),
    /// The read failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// The channel is encrypted, and its key can't be used.
    #[error("key {key_id} of channel `{channel}` can't be used: {reason}")]
    KeyUnavailable {
        /// The channel.
        channel: String,
        /// The data key.
        key_id: u32,
        /// Why.
        reason: Locked,
    },
    /// A channel can't be given a key.
    #[error("channel `{channel}` can't be encrypted: {}", .trouble.as_deref().unwrap_or("the broker has no master key"))]
    NoMasterKey {
        /// The channel.
        channel: String,
        /// Why there is no master key, where there should be one.
        trouble: Option<Arc<str>>,
    },
    /// A channel without encryption has no key to rotate.
    #[error("channel `{channel}` is not encrypted")]
    NotEncrypted {
        /// The channel.
        channel: String,
    },
    /// Stored bytes match their checksums, and are not what the broker encrypted.
    #[error(
        "offset {offset} of channel `{channel}`: the stored batch matches its checksums, but has \
         no authentication tag that is right under key {key_id}: it was changed on purpose"
    )]
    NotAuthentic {
        /// The channel.
        channel: String,
        /// First offset of the batch.
        offset: Offset,
        /// The offset after its last.
        next: Offset,
        /// The data key.
        key_id: u32,
    },
    /// The position a client holds is of a part of the log that was cut off.
    #[error(
        "the position {offset} was read at log epoch {seen}, the log was cut and is at {log_end} now"
    )]
    Diverged {
        /// The position.
        offset: Offset,
        /// The epoch the client saw.
        seen: u64,
        /// Where the log ends.
        log_end: Offset,
    },
    /// Parts of an atomic request that exclude each other.
    #[error("{rule}")]
    Atomic {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// A batch can't wait in an outbox.
    #[error("a batch for channel `{channel}` can't wait in an outbox: {why}")]
    NoOutbox {
        /// The channel.
        channel: String,
        /// Why.
        why: String,
    },
    /// The broker's own state refused an event: a bug, and nothing was changed.
    #[error("{0}")]
    Bug(Arc<str>),
}

/// Why a broker did not open its data directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerOpenError {
    /// The storage did not open.
    #[error(transparent)]
    Storage(Box<OpenError>),
    /// What an internal topic records can't be known.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// Nobody's API key could be recognised.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The data directory was used under another name, or now without one.
    #[error("{}; the region of this data directory has number {number}, which its epochs carry: start it under the name it had", .name.as_ref().map_or_else(|| "no region is named".to_owned(), |name| format!("region `{name}` is another one")))]
    OtherRegion {
        /// The name that it was opened under.
        name: Option<RegionName>,
        /// The number of the region that it belongs to.
        number: RegionNumber,
    },
    /// The starts of the broker are more than an epoch holds.
    #[error(transparent)]
    Epoch(#[from] EpochOverflow),
    /// The broker's own events were refused.
    #[error(transparent)]
    Own(Box<BrokerError>),
}

impl BrokerOpenError {
    /// Whether the disk has no space for what a start writes, and the same may be tried again once
    /// there is some. A failed sync is none of that: nobody knows what it has left behind.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Storage(error) => match &**error {
                OpenError::Io(failure) => failure.is_out_of_space(),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the operating system refused a file or a directory.
    #[must_use]
    pub fn is_from_system(&self) -> bool {
        matches!(self, Self::Storage(error) if matches!(**error, OpenError::Io(_)))
    }

    /// Whether a new data directory was to lie where there is not one byte free.
    #[must_use]
    pub fn is_without_room(&self) -> bool {
        matches!(self, Self::Storage(error) if matches!(**error, OpenError::TooSmall { free: 0, .. }))
    }
}

impl From<OpenError> for BrokerOpenError {
    fn from(error: OpenError) -> Self {
        Self::Storage(Box::new(error))
    }
}

impl From<BrokerError> for BrokerOpenError {
    fn from(error: BrokerError) -> Self {
        Self::Own(Box::new(error))
    }
}

fn of_types(types: &Option<Vec<String>>) -> String {
    match types {
        Some(types) => format!(" and is of these record types only: {}", types.join(", ")),
        None => String::new(),
    }
}
