//! The integration tests.

mod fuzz_corpus; // the bodies of the fuzz targets, over their corpora and over random bytes
mod golden; // the files of tests/golden: format stability, and every bit of them flipped
mod server; // a server in this process, with the Rust client
mod spec; // storage-format.md against the layouts of the format room
mod wire; // docs/wire-protocol.md against the protocol room: tables, golden frames, hostile bytes
