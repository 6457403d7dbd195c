//! Read-only memory maps of files, handed out as [`Bytes`]. The only `unsafe` of the tree.
//!
//! A map is for reading: what is written goes through `pwrite`, so that a full disk is an error
//! and not a signal.

use std::fs::File;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use memmap2::MmapOptions;

/// Maps the bytes `range` of `file` for reading. The map lives until the last slice of the
/// returned bytes is dropped. `range.start` need not lie on a page boundary.
///
/// # Errors
/// `InvalidInput` when the range is not inside the file, else what the operating system says.
pub(super) fn map_read_only(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let file_len = file.metadata()?.len();
    if range.start > range.end || range.end > file_len {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "bytes {}..{} of a file of {file_len}",
                range.start, range.end
            ),
        ));
    }
    if range.is_empty() {
        return Ok(Bytes::new()); // a map of no bytes is an error on some systems
    }
    let len = usize::try_from(range.end - range.start)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut options = MmapOptions::new();
    options.offset(range.start).len(len);
    #[expect(
        unsafe_code,
        reason = "mapping a file is unsafe: another writer could change it"
    )]
    // SAFETY: the range lies inside the file (checked above), and its bytes stay as they are while
    // the map lives: files are private to this broker (mode 0600, in a directory it has locked),
    // storage maps only what it will not write again while the map lives (it writes over the file of
    // a removed segment once every map of it is gone), and never shortens a mapped file below what
    // is mapped (`DiskFile::map`). An unlinked file keeps its pages until it is unmapped.
    let map = unsafe { options.map(file) }?;
    Ok(Bytes::from_owner(map))
}
