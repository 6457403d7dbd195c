//! A file of tests, which does something of their own in front of the calls that it hands on.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::DiskFile;

/// What comes in front of calls.
pub(in crate::storage) trait Watch: Debug + Send + Sync {
    /// Something is about to be written.
    fn before_write(&self) {}

    /// These bytes are about to be read.
    ///
    /// # Errors
    /// What is answered in place of them.
    fn before_read(&self, _bytes: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    /// Whether these bytes are said to be in memory.
    fn is_warm(&self, _bytes: Range<u64>) -> bool {
        false
    }

    /// Whether who reads these bytes would wait for nothing.
    fn is_at_hand(&self, _bytes: Range<u64>) -> bool {
        false
    }
}

/// A file that hands all calls on.
#[derive(Debug)]
pub(in crate::storage) struct Watched<W> {
    pub inner: Arc<dyn DiskFile>,
    pub watch: W,
}

impl<W: Watch> DiskFile for Watched<W> {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.watch.before_write();
        self.inner.write_at(position, parts)
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.watch
            .before_read(position..position + buf.len() as u64)?;
        self.inner.read_at(position, buf)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn map(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.inner.map(range)
    }

    fn is_warm(&self, range: Range<u64>) -> bool {
        self.watch.is_warm(range)
    }

    fn read_now(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let is_at_hand = self.watch.is_at_hand(position..position + buf.len() as u64);
        match is_at_hand {
            true => self.inner.read_at(position, buf),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
