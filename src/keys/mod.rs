//! The keys of encryption at rest: each channel has data keys, which a master key wraps.
//!
//! ```text
//! master key ──wraps──▶ data keys of each channel ──encrypt──▶ batches
//! (told at the start)    (wrapped in `__channels`)              (their key id)
//! ```
//! Pure: keys and random bytes are passed in. What was wrapped is in the records of the directory of
//! channels; what is open is only in memory, and is wiped when it is let go.
//!
//! Deliberately not here: reading a master key from a file or a command (`server/master_key.rs`),
//! when a channel gets a key (`broker/encryption.rs`), and the bytes of an encrypted batch
//! (`format/seal.rs`).

mod keyring;
mod master;
mod wrapped;

#[cfg(test)]
mod tests;

pub use keyring::Keyring;
pub use master::{InvalidMasterKey, MasterKey, MasterKeyId, MasterKeys};
pub use wrapped::{Locked, RawKey, Wrapped, WrappedKey};
