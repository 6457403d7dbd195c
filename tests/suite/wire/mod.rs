//! The wire protocol: its document, its golden frames, and what hostile bytes may do to it.

mod document;
mod fixtures;
mod frames;
