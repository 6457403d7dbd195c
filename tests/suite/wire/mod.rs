//! The wire protocol: its document, its golden frames, and what hostile bytes may do to it.
#![expect(clippy::unwrap_used, reason = "the helpers of tests")]

mod asp_fixtures;
mod document;
pub mod fixtures;
mod frames;
mod market_fixtures;
mod promise_fixtures;
mod region_fixtures;
