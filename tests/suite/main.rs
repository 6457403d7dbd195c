//! The integration tests.

mod wire; // docs/wire-protocol.md against the protocol room: tables, golden frames, hostile bytes
