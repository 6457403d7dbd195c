//! The client against a small broker in memory that speaks the protocol over loopback and can be
//! told to fail.

mod connecting;
mod consuming;
mod fake;
mod publishing;
