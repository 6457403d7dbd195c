//! The broker: owns the logs and the folded state, and turns a command into appends, reads and
//! wake-ups. Sync; the time is passed in.
//!
//! What it folds is in pure state machines: [`directory`] (which channels there are, from the
//! topic `__channels`), [`producers`] (who has appended what, from the batches of each channel) and
//! [`crate::consumer`]. A command is checked against them, appended, then applied; replay applies
//! the same events, so a restarted broker stands where the stopped one stood.
//!
//! Not here: sockets, frames and the clock (the server), bytes on disk (storage and format).
pub mod config;
pub mod directory;
pub mod producers;
