//! Reading of one file in place: by position, in blocks, without a mapping, so that a bad sector is an error and not a signal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes read at once when a range is only looked through.
const BLOCK_BYTES: usize = 1 << 20;

/// A file under inspection.
pub struct Source {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Source {
    /// Opens a file read-only and keeps the length it has now: what a running broker adds later is not looked at.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in the file when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `at` on, up to `wanted`; fewer only at the end of the file.
    pub fn read(&self, at: u64, wanted: u64) -> io::Result<Vec<u8>> {
        let there = wanted.min(self.len.saturating_sub(at));
        let there = usize::try_from(there).map_err(io::Error::other)?;
        let mut bytes = vec![0; there];
        let mut filled = 0;
        while filled < there {
            match self.file.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Position of the first byte in `from..to` that is not zero; what lies past the end of the file counts as zero.
    pub fn first_set(&self, from: u64, to: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < to {
            let block = self.read(at, (to - at).min(BLOCK_BYTES as u64))?;
            if block.is_empty() {
                return Ok(None);
            }
            if let Some(found) = block.iter().position(|byte| *byte != 0) {
                return Ok(Some(at + found as u64));
            }
            at += block.len() as u64;
        }
        Ok(None)
    }

    /// CRC-32 of `from..to`; of fewer bytes where the file ends before.
    pub fn checksum(&self, from: u64, to: u64) -> io::Result<u32> {
        let mut crc = crc32fast::Hasher::new();
        let mut at = from;
        while at < to {
            let block = self.read(at, (to - at).min(BLOCK_BYTES as u64))?;
            if block.is_empty() {
                break;
            }
            crc.update(&block);
            at += block.len() as u64;
        }
        Ok(crc.finalize())
    }

    /// The lowest position in `from..to`, a multiple of `step` away from `from`, at which `accept` likes the bytes: it is shown
    /// at least `window` of them, fewer only at the end of the file.
    pub fn find(
        &self,
        from: u64,
        to: u64,
        step: usize,
        window: usize,
        mut accept: impl FnMut(u64, &[u8]) -> bool,
    ) -> io::Result<Option<u64>> {
        let to = to.min(self.len);
        let mut at = from;
        while at < to {
            let block = self.read(at, (BLOCK_BYTES + window) as u64)?;
            let starts = block.len().min(BLOCK_BYTES);
            for start in (0..starts).step_by(step) {
                let position = at + start as u64;
                if position >= to {
                    return Ok(None);
                }
                if accept(position, &block[start..block.len().min(start + window)]) {
                    return Ok(Some(position));
                }
            }
            if starts < BLOCK_BYTES {
                return Ok(None);
            }
            at += BLOCK_BYTES as u64;
        }
        Ok(None)
    }
}

/// A file read forward through one block at a time, so that small neighbours cost one system call.
pub struct Window<'a> {
    source: &'a Source,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub fn new(source: &'a Source) -> Self {
        Self {
            source,
            at: 0,
            bytes: Vec::new(),
        }
    }

    /// The bytes from `at` on, up to `wanted`; fewer only at the end of the file.
    pub fn read(&mut self, at: u64, wanted: u64) -> io::Result<&[u8]> {
        let wanted = wanted.min(self.source.len().saturating_sub(at));
        let held = self.at..self.at + self.bytes.len() as u64;
        if !(held.contains(&at) && at + wanted <= held.end) {
            self.bytes = self.source.read(at, wanted.max(BLOCK_BYTES as u64))?;
            self.at = at;
        }
        let from = usize::try_from(at - self.at).map_err(io::Error::other)?;
        let to = usize::try_from(at - self.at + wanted).map_err(io::Error::other)?;
        Ok(&self.bytes[from.min(self.bytes.len())..to.min(self.bytes.len())])
    }
}

/// The next multiple of 4096 at or above `position`.
pub fn block_end(position: u64) -> u64 {
    position.next_multiple_of(4096)
}
