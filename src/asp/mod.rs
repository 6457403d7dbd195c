//! Agents, their sessions, what they promise each other and what becomes of it, their calls of
//! tools, how far they are trusted, and the market on which organisations offer them: the Agent
//! Session Protocol, as pure state machines folded from typed records. Specified by docs/asp.md.
//!
//! Invariant: each state is a function of its events alone. The same `apply` checks an event
//! before it is appended and replays it afterwards; folding a state into records and reading those
//! back gives the identical state. Nothing here reads a clock or draws a random number.
//!
//! Not here: who may speak for an agent (the access room judges that), where records lie, and
//! identities and times, which the broker stamps. No request uses this room yet.
mod canonical;
pub mod chain;
pub mod commitment;
pub mod dispute;
pub mod escrow;
mod filed;
mod hex;
pub mod market;
mod matter;
pub mod registry;
pub mod session;
mod shared;
mod thread;
pub mod tool;
pub mod trust;
mod trust_score;
mod write;

pub use canonical::{Canonical, MAX_INTEGER, NotCanonical};
pub use filed::{File, Files};
pub use matter::Matter;
pub use thread::{InvalidThread, Knot, Links, Thread};
pub use trust_score::{InvalidTrustScore, NeutralTrust, Trust, TrustScore};
