//! Channels that are encrypted at rest: what shows on the disk, what comes back, and without a key.

mod desk;
mod disk;
mod end_to_end;
mod keys;
