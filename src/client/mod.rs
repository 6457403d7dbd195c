//! The async client.
pub mod backoff;
mod connection;
mod control;
mod error;
mod gather;
mod handle;
mod producer;
mod url;

pub use backoff::BackoffLimits;
pub use error::{ConnectError, LostError, RequestError};
pub use handle::{Client, ClientBuilder, ConnectionState};
pub use producer::{Ack, BatchAck, OnFull, Producer, ProducerBuilder, PublishError, Ticket};
pub use url::{BrokerUrl, DEFAULT_PORT, InvalidUrl};
