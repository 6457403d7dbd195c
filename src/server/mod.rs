//! The server: tokio at the edge of a sync broker.
//!
//! A connection's loop takes every complete frame from its buffer, hands the requests to the
//! broker under one lock, and writes all answers that are due at once. Three threads do the
//! disk's work: the committer, which puts whatever was staged behind one sync, the keeper, which
//! writes tails behind, takes checkpoints and applies retention, and the scrubber, which checks what
//! is stored.
//!
//! Wire types end in `dispatch.rs` and `answer.rs`; the broker never sees them.

mod answer;
mod clock;
mod commit;
mod connection;
mod desk;
mod dispatch;
mod fetching;
mod http;
mod http_listener;
mod keeper;
mod listener;
mod master_key;
mod metrics;
mod options;
mod outbox;
mod room;
mod scrubber;
mod shared;
mod shutdown;
mod waiting;

pub use desk::Desk;
pub use listener::{Running, StartError, start, start_on};
pub use master_key::{MasterKeyError, MasterKeySource, MasterKeyText};
pub use options::{InvalidOptions, ServeOptions};
pub use shutdown::run;
