//! The `consumer` room.
