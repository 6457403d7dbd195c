//! The data directories under test, and the ways to damage them. Only the public API is used, so
//! the inspect tool's tests have the same cases.

pub mod damage;
pub mod image;
pub mod patient;
pub mod places;
pub mod table;
