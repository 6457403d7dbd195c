//! What `npayload-inspect` is made of: the checks, the dump and the repair of a data directory, for the command and for tests.
//!
//! [`verify()`] and [`dump()`] open every file read-only and take no lock, so they work on a stopped broker's directory, on a copy, and
//! beside a running broker. [`repair()`] and [`undo()`] take the lock that a broker holds; what they change is kept and can be put back.

mod directory;
mod dump;
#[cfg(test)]
mod fixture;
mod layout;
mod repair;
mod report;
mod source;
mod verify;

pub use dump::{DumpArgs, OffsetRange, run as dump};
pub use repair::command::{RepairArgs, UndoArgs, repair, undo};
pub use report::{Damage, FileReport, Kind, Report};
pub use verify::run as verify;
