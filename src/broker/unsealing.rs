//! Decrypting what a fetch found: a job without the lock, as it may read from the disk first.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::error::BrokerError;
use crate::format::{BatchHeader, DecodeError, check_stored, unseal};
use crate::keys::Keyring;
use crate::storage::{ReadError, ReadJob, Slices};
use crate::types::{ChannelName, Offset};

/// Where encrypted batches are.
#[derive(Debug)]
pub(super) enum Sealed {
    /// In memory.
    Tail(Slices),
    /// In a segment.
    Segment(ReadJob),
}

/// Reads batches, if need be, and decrypts those that are encrypted.
#[derive(Debug)]
pub struct UnsealJob {
    pub(super) sealed: Sealed,
    pub(super) keyring: Arc<Keyring>,
    pub(super) channel: ChannelName,
    pub(super) from: Offset,
    /// From here on nothing was written that is not encrypted: a plain batch is a forged one.
    pub(super) sealed_from: Option<Offset>,
}

/// A batch that is not served, and where it is.
struct Failed {
    offset: Offset,
    /// The offset after it, where that is known.
    next: Option<Offset>,
    error: DecodeError,
}

impl UnsealJob {
    /// The batches as consumers get them, up to the first that can't be served.
    ///
    /// # Errors
    /// Why the first one can't be served: [`BrokerError::KeyUnavailable`],
    /// [`BrokerError::NotAuthentic`], or a [`ReadError`] as for a plain read.
    pub(super) fn run(&self) -> Result<Slices, BrokerError> {
        let read;
        let found = match &self.sealed {
            Sealed::Tail(slices) => slices,
            // The bytes are looked at here, so they must not be a map.
            Sealed::Segment(job) => {
                read = job.run_copied()?;
                &read
            }
        };
        let mut plain = Slices {
            next: self.from,
            ..Slices::default()
        };
        for part in &found.parts {
            let mut rest = part.clone();
            let mut bytes = BytesMut::with_capacity(part.len());
            let mut failed = None;
            while !rest.is_empty() && failed.is_none() {
                match self.one(&mut rest, plain.next, &mut bytes) {
                    Ok(next) => plain.next = next,
                    Err(error) => failed = Some(error),
                }
            }
            if !bytes.is_empty() {
                plain.bytes += bytes.len() as u64;
                plain.parts.push(bytes.freeze());
            }
            match failed {
                Some(error) if plain.parts.is_empty() => return Err(error),
                Some(_) => return Ok(plain),
                None => {}
            }
        }
        Ok(plain)
    }

    /// Appends the next batch in plain; returns the offset after it.
    fn one(
        &self,
        rest: &mut Bytes,
        offset: Offset,
        into: &mut BytesMut,
    ) -> Result<Offset, BrokerError> {
        let damaged = |next, error| {
            self.damaged(&Failed {
                offset,
                next,
                error,
            })
        };
        let header = BatchHeader::peek(rest).map_err(|error| damaged(None, error))?;
        let next = header.end_offset();
        if rest.len() < header.len() {
            let (needed, found) = (header.len() as u64, rest.len() as u64);
            let what = "batch";
            let short = DecodeError::Short {
                what,
                needed,
                found,
            };
            return Err(damaged(None, short));
        }
        let batch = rest.split_to(header.len());
        // How many offsets a damaged batch takes is told by the one behind it, not by itself.
        let behind = BatchHeader::peek(rest).ok();
        let behind = behind.map(|header| header.base_offset());
        if !header.is_sealed() {
            let base = header.base_offset();
            // What says that records are lost shows none.
            if !header.is_gap() && self.sealed_from.is_some_and(|from| base >= from) {
                check_stored(&batch).map_err(|error| damaged(behind, error))?;
                return Err(BrokerError::NotAuthentic {
                    channel: self.channel.to_string(),
                    offset: base,
                    next,
                    key_id: self.keyring.newest().unwrap_or(0),
                });
            }
            into.extend_from_slice(&batch);
            return Ok(next);
        }
        let key_id = header.key_id();
        let key = match self.keyring.key(key_id) {
            Ok(key) => key,
            Err(reason) => {
                // What is damaged is called so, with or without its key.
                check_stored(&batch).map_err(|error| damaged(behind, error))?;
                return Err(BrokerError::KeyUnavailable {
                    channel: self.channel.to_string(),
                    key_id,
                    reason,
                });
            }
        };
        match unseal(&batch, key, into) {
            Ok(_) => Ok(next),
            Err(error) => {
                let checked = check_stored(&batch);
                let is_forged =
                    checked.is_ok() && matches!(error, DecodeError::NotAuthentic { .. });
                if is_forged {
                    return Err(BrokerError::NotAuthentic {
                        channel: self.channel.to_string(),
                        offset: header.base_offset(),
                        next,
                        key_id,
                    });
                }
                Err(damaged(behind, checked.err().unwrap_or(error)))
            }
        }
    }

    fn damaged(&self, failed: &Failed) -> BrokerError {
        let what: Arc<str> = failed.error.to_string().into();
        match &self.sealed {
            Sealed::Segment(job) => job.damaged_at(failed.offset, failed.next, what).into(),
            Sealed::Tail(_) => ReadError::Damaged {
                segment: "the broker's memory".into(),
                position: 0,
                offset: failed.offset,
                next: failed.next,
                what,
            }
            .into(),
        }
    }
}
