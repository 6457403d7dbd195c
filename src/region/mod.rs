//! Regions: deployments with names, which keep copies of each other's logs where somebody asked
//! for them. Pure state machines, folded from records of internal topics, and the judgements that
//! links make. Specified by `docs/regions.md`.
//!
//! Invariants: a log has at most one home in a tenure; a copy's end never jumps; what crosses is
//! the union of what was asked for.
//!
//! Not here: connections, clocks, storage. Times are arguments, and what has to be done is
//! returned.

mod as_of;
pub mod copies;
pub mod directory;
mod epoch;
pub mod homes;
pub mod interest;
pub mod link;
mod log_name;
mod pattern;
pub mod peers;
pub mod routes;
mod vector;

pub use as_of::{AsOf, UpTo};
pub use epoch::{EpochOverflow, HomeEpoch, MAX_TERM, RegionNumber, Tenure};
pub use log_name::LogName;
pub use pattern::{ChannelPattern, InvalidPattern, PatternTree};
pub use vector::{BackwardStep, Merge, MergeError, MergeStep, Vector};
