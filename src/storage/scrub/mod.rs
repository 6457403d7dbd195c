//! The scrubber: reads what is stored while the broker runs, at a bounded rate, so that damage is
//! found before somebody needs the records.
//!
//! ```text
//!   plan (locked)                    run (no lock)                          finish (locked)
//!   the next piece of a segment  ──▶ read, check checksums, offsets,   ──▶ damage rows of the log,
//!   of the next log, when due        padding; indexes of sealed ones        numbers, what is due next
//! ```
//! It has a thread of its own: a disk that takes seconds for a read must not hold up checkpoints.
//! It opens its own handles and reads plainly, so no reader waits for it, and it checks only what a
//! checkpoint vouches for, which nobody writes any more. What it finds is marked as recovery marks
//! damage. Nothing is repaired but indexes, which are caches.
//!
//! A pass begins anew after a restart.

mod booking;
mod check;
mod job;
mod own_files;
mod pass;

pub(super) use self::job::RebuiltIndex;
pub use self::job::{ScrubEnd, ScrubJob};
pub use self::own_files::FaultyFile;
pub(super) use self::pass::Scrub;
pub use self::pass::{LastPass, ScrubStatus};
