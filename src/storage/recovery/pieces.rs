//! Files read in large pieces: what is looked at a few bytes at a time is asked for once.

use std::io;
use std::ops::Range;

use super::super::disk::DiskFile;

/// Bytes that are asked for at once. What is larger is read whole.
pub(super) const PIECE_BYTES: u64 = 1024 * 1024;

/// The piece that was read last.
#[derive(Debug, Default)]
pub(in crate::storage) struct Piece {
    /// The number of its file; none where nothing was read.
    of: Option<usize>,
    from: u64,
    bytes: Vec<u8>,
}

impl Piece {
    /// Bytes `range` of a file, fewer where it ends.
    ///
    /// - `number`: tells the file from others. Its bytes must not change while the piece is kept.
    pub fn read(
        &mut self,
        file: &dyn DiskFile,
        number: usize,
        range: Range<u64>,
    ) -> io::Result<&[u8]> {
        let needed = usize::try_from(range.end - range.start).expect("what is needed fits memory");
        let is_held = self.of == Some(number)
            && self.from <= range.start
            && range.end <= self.from + self.bytes.len() as u64;
        if !is_held {
            self.of = None;
            let whole = usize::try_from(PIECE_BYTES).expect("a small constant");
            if self.fill(file, range.start, needed.max(whole)).is_err() {
                // Behind what is needed may be what the medium has lost, and nobody asks for.
                self.fill(file, range.start, needed)?;
            }
            self.of = Some(number);
            self.from = range.start;
        }
        let at = usize::try_from(range.start - self.from).expect("inside the piece");
        Ok(&self.bytes[at..self.bytes.len().min(at + needed)])
    }

    fn fill(&mut self, file: &dyn DiskFile, from: u64, len: usize) -> io::Result<()> {
        self.bytes.resize(len, 0);
        let read = file.read_at(from, &mut self.bytes)?;
        self.bytes.truncate(read);
        Ok(())
    }

    /// Lets go of its bytes.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::storage::disk::{Disk, MemoryDisk, OpenMode, Watch, Watched};

    /// The medium has lost one byte. Counts what is asked for.
    #[derive(Debug)]
    struct Pitted {
        lost: u64,
        asked: AtomicU64,
    }

    impl Watch for Pitted {
        fn before_read(&self, bytes: Range<u64>) -> io::Result<()> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match bytes.contains(&self.lost) {
                true => Err(io::Error::from_raw_os_error(5)),
                false => Ok(()),
            }
        }
    }

    fn pitted(len: usize, lost: u64) -> Watched<Pitted> {
        let inner = MemoryDisk::new();
        let inner = inner.open(Path::new("a"), OpenMode::Create).unwrap();
        let bytes: Vec<u8> = (0..len).map(byte).collect();
        inner.write_at(0, &[IoSlice::new(&bytes)]).unwrap();
        let watch = Pitted {
            lost,
            asked: AtomicU64::new(0),
        };
        Watched { inner, watch }
    }

    fn byte(at: usize) -> u8 {
        u8::try_from(at % 251).unwrap()
    }

    #[test]
    fn what_lies_in_one_piece_is_asked_for_once_and_is_what_the_file_has() {
        let len = 2 * PIECE_BYTES + 100;
        let file = pitted(usize::try_from(len).unwrap(), u64::MAX);
        let mut piece = Piece::default();
        let mut at = 0;
        while at < len {
            let bytes = piece.read(&file, 0, at..at + 700).unwrap();
            let to = len.min(at + 700);
            assert_eq!(bytes.len() as u64, to - at);
            let expected = (at..to).map(|at| byte(usize::try_from(at).unwrap()));
            assert!(bytes.iter().copied().eq(expected), "from byte {at}");
            at += 700;
        }
        assert!(file.watch.asked.load(Ordering::Relaxed) <= 4);
        // The same bytes of another file are its own.
        let other = pitted(10, u64::MAX);
        assert_eq!(piece.read(&other, 1, 0..20).unwrap().len(), 10);
    }

    #[test]
    fn a_byte_that_the_medium_has_lost_fails_those_who_need_it_and_nobody_else() {
        let lost = 5_000;
        let file = pitted(1 << 16, lost);
        let mut piece = Piece::default();
        for at in [0, 1_000, 4_000, lost + 1, lost + 7_000] {
            let bytes = piece.read(&file, 0, at..at + 1_000).unwrap();
            assert_eq!(bytes[0], byte(usize::try_from(at).unwrap()));
        }
        assert!(piece.read(&file, 0, 4_500..5_500).is_err());
    }
}
