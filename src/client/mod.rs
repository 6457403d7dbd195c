//! The async client: a connection that heals itself, a producer that loses and repeats nothing, a
//! consumer that passes nothing over.
//!
//! - [`Client`]: connects, and has a method for every control request.
//! - [`Producer`]: batches records, keeps their order, resolves a [`Ticket`] for each.
//! - [`Consumer`]: a stream of records, fetched ahead, each batch checked.
//! - [`Merged`]: the same over the logs of all regions, where a channel has one for each.
//! - [`Agents`], [`Sessions`], [`Tools`]: agents, what they say to each other, and what they call.
//! - [`Commitments`], [`Disputes`], [`Trust`], [`Escrow`]: what they promise, and what becomes of it.
//! - [`Market`]: what organisations list of them, and who subscribes to it.
//! - [`AtomicBuilder`]: several channels and consumer positions, all or nothing.
//!
//! Over TLS with `npayload+tls://` or [`ClientBuilder::tls`].
//!
//! Everything goes through the `protocol` room; what a batch looks like is the `format` room's. Not
//! here: decoding of payloads, and any policy about what to do with a record.

mod access;
mod asp;
mod atomic;
mod backoff;
mod connection;
mod consumer;
mod control;
mod error;
mod gather;
mod handle;
mod link;
mod merged;
mod producer;
mod region;
mod republish;
mod stream;
mod url;

#[cfg(test)]
mod tests;

pub use asp::{
    Agents, Commitments, Copies, Disputes, Escrow, FinishError, Inbox, Market, NewCall, NewMessage,
    Paged, Pages, Sessions, Tail, TailError, ToolCall, Tools, Trust,
};
pub use atomic::{AtomicAck, AtomicBuilder, AtomicError};
pub use backoff::Backoff;
pub use backoff::BackoffLimits;
pub use consumer::{
    ConsumeError, Consumer, ConsumerBuilder, Gaps, Item, LostRecords, Position, RawBatch,
};
pub use error::{ConnectError, LostError, RequestError};
pub use handle::{Client, ClientBuilder, ConnectionState};
pub use link::{Link, LinkCall};
pub use merged::{
    DeleteEverywhereError, DeletedEverywhere, DeletedLog, Merged, MergedBuilder, MergedError,
    MergedItem, MergedRecord,
};
pub use producer::{Ack, BatchAck, OnFull, Producer, ProducerBuilder, PublishError, Ticket};
pub use republish::{Republish, RepublishDone, RepublishError};
pub use url::{BrokerUrl, DEFAULT_PORT, InvalidUrl};
