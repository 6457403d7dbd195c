//! The broker: owns the logs and the folded state, and turns a command into appends, reads and
//! wake-ups. Sync; the time is passed in.
//!
//! What it folds is in pure state machines: [`directory`] (which channels there are, from the
//! topic `__channels`), [`producers`] (who has appended what, from the batches of each channel),
//! [`crate::consumer`] and [`crate::access`]. A command is checked against them, appended, then applied; replay applies
//! the same events, so a restarted broker stands where the stopped one stood.
//!
//! Every answer that reveals an append comes with a [`Wait`]: it may be sent once
//! [`Broker::outcome`] says that the append is as durable as its channel promises.
//!
//! Not here: sockets, frames and the clock (the server), bytes on disk (storage and format).

mod access;
pub mod asp;
mod audit;
mod beside;
mod channels;
pub mod config;
mod consent;
mod copies;
mod core;
pub mod directory;
mod each;
mod encryption;
mod error;
mod fetch;
mod homes;
mod interest;
mod journal;
mod kept_copies;
mod keys_abroad;
mod lacking;
mod leaving;
mod open;
mod org_limits;
mod outbox;
mod over;
mod peers;
mod positions;
pub mod producers;
mod publish;
mod refused;
mod regions;
mod republishing;
mod secret;
mod setting_aside;
mod topic;
mod travelled;
mod travelling;
mod trimming;
mod unsealing;
mod upkeep;
mod waiters;
mod widening;

pub use beside::lived_before;
pub use channels::{ChannelInfo, ChannelRefusal, CreateOutcome, Place, Sick};
pub use copies::{CopiedBatch, CopyPlace, NewCopy, Residence, is_of_copy, skip_batches};
pub use core::{Accepted, Broker, BrokerConfig, Part, Refusal, RoundResult, Wait, Wake};
pub use directory::CopyOf;
pub use encryption::KeyInfo;
pub use error::{BrokerError, BrokerOpenError};
pub use fetch::{Fetch, FetchFrom, FetchHead, FetchJob, FetchStep, Fetched, JobEnd};
pub use homes::MovedLog;
pub use open::{Recovered, recover};
pub use outbox::{Outbox, OutboxPlace};
pub use positions::{CommitRequest, ConsumerInfo, ConsumersFrom, ConsumersPiece};
pub use publish::{AtomicPublished, CheckedBatch, Published, Target};
pub use refused::RefusedOfOutbox;
pub use regions::{Asked, Seat};
pub use republishing::AsideFile;
pub use secret::{SecretEnd, SecretError, SecretFileError, SecretJob};
pub use topic::TopicError;
pub use travelled::Travelling;
pub use travelling::Placed;
pub use unsealing::UnsealJob;
pub use upkeep::{Looked, Stop};
pub use widening::Wider;
