//! Writes past the page cache, of whole blocks: `O_DIRECT`.
//!
//! A journal is written once, synced, and read by nobody. Through the page cache each of its groups
//! marks memory dirty, of which the sync then looks for what is to be written; with large folios that
//! is a hundred times what the group has.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// Blocks of the file system begin at multiples of this, in the file and in memory.
const BLOCK_BYTES: usize = 4096;

/// Most bytes that are gathered for one call.
const PIECE_BYTES: usize = 1024 * 1024;

/// A file's second handle, and memory at a block's boundary.
#[derive(Debug, Default)]
pub(super) struct Direct(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Untried,
    Open(File, Vec<u8>),
    /// The file system has no such writes.
    Refused,
}

impl Direct {
    /// Writes all of `parts`; `None` when nothing was written because this can't be done here.
    pub fn write(
        &self,
        file: &File,
        position: u64,
        parts: &[IoSlice<'_>],
    ) -> Option<io::Result<()>> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len == 0 || !is_whole(len as u64) || !is_whole(position) {
            return None;
        }
        // A panic of another holder leaves at worst other bytes in the buffer.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Untried) {
            *state = match reopen(file) {
                Ok(file) => State::Open(file, Vec::new()),
                Err(_) => State::Refused,
            };
        }
        let State::Open(direct, buffer) = &mut *state else {
            return None;
        };
        match write(direct, buffer, position, parts, len) {
            Err(error) if is_refused(&error) => {
                *state = State::Refused;
                None
            }
            written => Some(written),
        }
    }
}

fn is_whole(bytes: u64) -> bool {
    bytes.is_multiple_of(BLOCK_BYTES as u64)
}

/// Whether a call failed because of what is asked of it, and not for the bytes.
fn is_refused(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::OPNOTSUPP))
}

/// The same file again, whatever its name is by now.
fn reopen(file: &File) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let direct = rustix::fs::OFlags::DIRECT.bits();
    options.write(true).custom_flags(direct.cast_signed());
    options.open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn write(
    file: &File,
    buffer: &mut Vec<u8>,
    mut position: u64,
    parts: &[IoSlice<'_>],
    mut left: usize,
) -> io::Result<()> {
    let needed = left.min(PIECE_BYTES) + BLOCK_BYTES;
    if buffer.len() < needed {
        buffer.resize(needed, 0);
    }
    let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
    let mut parts = parts.iter().map(|part| &part[..]);
    let mut part: &[u8] = &[];
    while left > 0 {
        let piece = &mut buffer[start..start + left.min(PIECE_BYTES)];
        let mut filled = 0;
        while filled < piece.len() {
            if part.is_empty() {
                part = parts.next().unwrap_or_default();
                continue;
            }
            let taken = part.len().min(piece.len() - filled);
            piece[filled..filled + taken].copy_from_slice(&part[..taken]);
            part = &part[taken..];
            filled += taken;
        }
        write_piece(file, piece, position)?;
        position += piece.len() as u64;
        left -= piece.len();
    }
    Ok(())
}

fn write_piece(file: &File, mut piece: &[u8], mut position: u64) -> io::Result<()> {
    while !piece.is_empty() {
        let written = match rustix::io::pwrite(file, piece, position) {
            Ok(written) => written,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        // What is left begins at a block again.
        let whole = written - written % BLOCK_BYTES;
        if whole == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        piece = &piece[whole..];
        position += whole as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn blocks_from_many_parts_arrive_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blocks");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        let direct = Direct::default();
        // More than one piece, from parts that end anywhere.
        let len = 2 * PIECE_BYTES + 3 * BLOCK_BYTES;
        let bytes: Vec<u8> = (0..=250_u8).cycle().take(len).collect();
        let parts: Vec<IoSlice<'_>> = bytes.chunks(70_001).map(IoSlice::new).collect();
        file.set_len(4 * 4096 + len as u64).unwrap();
        for position in [4096, 4 * 4096] {
            match direct.write(&file, position, &parts) {
                Some(written) => written.unwrap(),
                // A file system without such writes: whoever asks writes in another way.
                None => return,
            }
        }
        let mut found = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut found).unwrap();
        assert_eq!(found.len(), 4 * 4096 + len);
        assert!(found[..4096].iter().all(|byte| *byte == 0));
        assert_eq!(found[4096..4 * 4096], bytes[..3 * 4096]);
        assert!(found[4 * 4096..] == bytes);
    }

    #[test]
    fn what_is_no_whole_block_is_left_to_others() {
        let file = tempfile::tempfile().unwrap();
        let direct = Direct::default();
        let part = [7; BLOCK_BYTES + 1];
        for (position, len) in [(0, 100), (0, BLOCK_BYTES + 1), (512, BLOCK_BYTES), (0, 0)] {
            let written = direct.write(&file, position, &[IoSlice::new(&part[..len])]);
            assert!(written.is_none(), "{len} bytes at {position}");
        }
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
