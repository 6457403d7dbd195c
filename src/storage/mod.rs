//! The journal and the logs behind it.
//!
//! Writers stage entries; a round puts all that were staged behind one sync of the journal;
//! upkeep writes them to the segments of their logs afterwards. [`Storage`] holds the state and
//! does no I/O: work is planned under the broker's lock, run without it, and booked under it.
//! An acknowledged record is in a synced journal group or in a synced segment at any time.
//!
//! Deliberately not here: channels, names and consumers (`broker/`), and any knowledge of what
//! a record means.

mod beside;
mod checkpoint;
mod copy_forward;
mod cutting;
pub mod disk;
mod error;
mod index;
#[cfg(test)]
mod interrupted;
mod journal;
mod layout;
mod load;
mod log;
mod mmap;
mod names;
mod open_files;
mod points;
mod preparing;
mod progress;
mod read;
mod recent;
mod recovery;
mod removing;
mod replacing;
mod retention;
mod round;
mod scrub;
mod segment;
mod space;
mod spares;
mod store;
mod upkeep;
mod walk;

pub use beside::{BesideError, BesideLog};
pub use checkpoint::ProducerRows;
pub use cutting::{CutEnd, CutJob, FoldHeaders};
pub(crate) use error::While;
pub use error::{
    Closed, CommitError, CutError, IoFailure, OpenError, ReadError, Shortage, StageError,
};
pub use layout::Layout;
pub use load::{LoadTask, Loaded};
pub use log::{History, Log, LogOptions, LogPoint};
pub use progress::Progress;
pub use read::{BatchAt, BatchJob, Read, ReadJob, TimeJob};
pub use recovery::{Damage, FoldProducers, LiveLog, RecoveryReport, Replayed, Unrecovered, open};
pub use replacing::{ReplaceEnd, ReplaceJob};
pub use round::{Finished, PointJob, Round, RoundEnd};
pub use scrub::{FaultyFile, LastPass, ScrubEnd, ScrubJob, ScrubStatus};
pub use segment::Slices;
pub use space::{Need, SpaceInfo};
pub use store::{Copied, EntryId, NewBatch, Outcome, Staged, StagedBatch, Storage, StorageConfig};
pub use upkeep::{Upkeep, UpkeepEnd};
