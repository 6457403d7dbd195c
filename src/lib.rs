//! npayload: a durable append-only log broker.
pub mod types;
pub mod format;
pub mod storage;
pub mod protocol;
pub mod consumer;
pub mod access;
pub mod broker;
pub mod client;
pub mod server;
pub mod cli;
