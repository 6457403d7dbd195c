//! npayload: a durable append-only log broker.
//!
//! The rooms, bottom to top; `ARCHITECTURE.md` says what each may use, and follows a record
//! through all of them. To use a broker, start with [`client`]; to run one inside another
//! program, with [`server::start`].

pub mod access;
pub mod asp;
pub mod broker;
pub mod cli;
pub mod client;
pub mod consumer;
pub mod folding;
pub mod format;
pub mod keys;
pub mod protocol;
pub mod region;
pub mod server;
pub mod storage;
pub mod tls;
pub mod types;

/// The examples of the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
