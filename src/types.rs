//! Newtypes shared by every room.
