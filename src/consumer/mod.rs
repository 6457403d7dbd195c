//! Named consumers and their committed offsets: a pure state machine folded from the events of the
//! internal topic `__consumers`.
//!
//! Invariant: the state is a function of the events alone. The same [`Consumers::apply`] checks an
//! event before it is appended and replays it afterwards, so the two cannot disagree; folding the
//! state into a record and reading that back gives the identical state.
//!
//! Not here: lag (it needs the logs, the broker computes it), the log bounds that a commit is
//! checked against (passed in), and whether a channel exists (the broker's directory knows).
mod consumers;
mod event;
#[cfg(test)]
mod tests;

pub use consumers::{
    Commit, CommitError, Consumers, DeleteError, Expected, MAX_FORGOTTEN, Position, PositionMark,
    ResetError,
};
pub use event::{
    ChannelDropped, Committed, ConsumerEvent, ConsumerRow, Deleted, Forgotten, RepositionReason,
    Repositioned, Reset,
};
