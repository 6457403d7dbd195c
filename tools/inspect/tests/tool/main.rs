//! The tests of the tool from outside: as a process beside a broker's, and on whatever a disk may hold.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test ends where it is surprised, and its numbers are small"
)]

mod broker; // the real broker as a process
mod command_line; // verify, repair and undo as a person calls them, around the real broker
mod fuzz_corpus; // the body of the fuzz target, over its corpus and over random changes
