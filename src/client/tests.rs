//! The client against a small broker in memory that speaks the protocol over loopback and can be
//! told to fail.

mod agents;
mod connecting;
mod consuming;
mod fake;
mod fake_asp;
mod promises;
mod publishing;
