//! The `protocol` room.
