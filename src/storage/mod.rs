//! The `storage` room.
pub mod disk;
mod mmap;
