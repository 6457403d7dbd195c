//! Copies of logs that live in other regions: what a copy accepts, where it may go on, and what
//! becomes of it, folded from the topic `__copies`.

mod cursor;
mod event;
mod follow;
mod state;
#[cfg(test)]
mod tests;

pub use cursor::{BatchMark, Cursor, GapReason, Item, RefusedItem, Step};
pub use event::{
    Anew, AsideReason, Begun, CopyEvent, Gapped, Purged, RefusedRecords, Republication,
    Republished, Resumed, Seen, SetAside, Stopped, Whole, Widening,
};
pub use follow::{Before, FollowRefusal, Source, Wanted, check_follow};
pub use state::{Copies, Copy, CopyGap, CopyRow, Stop};
