//! npayload: a durable append-only log broker.
pub mod access;
pub mod broker;
pub mod cli;
pub mod client;
pub mod consumer;
pub mod format;
pub mod protocol;
pub mod server;
pub mod storage;
pub mod types;
