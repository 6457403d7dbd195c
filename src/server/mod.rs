//! The server: tokio at the edge of a sync broker.
//!
//! A connection's loop takes every complete frame from its buffer, hands the requests to the
//! broker under one lock, and writes all answers that are due at once. Three threads do the
//! disk's work: the committer, which puts whatever was staged behind one sync, the keeper, which
//! writes tails behind, takes checkpoints and applies retention, and the scrubber, which checks what
//! is stored.
//!
//! Every request passes `admission.rs`, which knows who asks. Wire types end in `dispatch.rs`,
//! `access.rs` and `answer.rs`; the broker never sees them.

mod access;
mod admission;
mod admitted;
mod answer;
mod asp;
mod auditing;
mod ballast;
mod buffers;
mod clock;
mod commit;
mod connection;
mod desk;
mod dispatch;
mod doorstep;
mod entrance;
mod fetching;
mod first_key;
mod http;
mod http_listener;
mod keeper;
mod key_watch;
mod listener;
mod master_key;
mod metrics;
mod options;
mod outbox;
mod quota;
mod ranks;
mod region;
mod renewal;
mod room;
mod scrubber;
mod shared;
mod shutdown;
mod socket;
mod waiting;

pub use desk::Desk;
pub use first_key::FirstKeyError;
pub use listener::{Running, StartError, start, start_on};
pub use master_key::{MasterKeyError, MasterKeySource, MasterKeyText};
pub use options::{InvalidOptions, ServeOptions};
pub use region::{PeerOptions, RegionOptions};
pub use shutdown::run;
