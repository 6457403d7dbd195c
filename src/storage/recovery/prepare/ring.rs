//! The files of the journal's ring, as they are found.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::files::belongs;
use crate::format::JournalFileHeader;
use crate::storage::disk::{Disk, DiskFile, OpenMode};
use crate::storage::error::{IoFailure, OpenError, While};
use crate::storage::journal::FIRST_GROUP;
use crate::storage::layout::Layout;
use crate::storage::recovery::{Damage, RecoveryReport, room};
use crate::types::Incarnation;

/// A ring is never longer; a file of a higher number is none of it.
const MAX_FILES: u32 = 10_000;

/// The files of the ring.
pub(super) struct OpenedJournal {
    pub files: Vec<Arc<dyn DiskFile>>,
    /// Numbers of those to be prepared anew.
    pub unprepared: Vec<usize>,
    /// Numbers of those with damage.
    pub damaged: Vec<usize>,
}

/// Opens the ring: all files that are there, and at least those up to `needed`.
pub(super) fn open(
    disk: &dyn Disk,
    layout: &Layout,
    directory_id: Incarnation,
    needed: u32,
    report: &mut RecoveryReport,
) -> Result<OpenedJournal, OpenError> {
    let mut opened = OpenedJournal {
        files: Vec::new(),
        unprepared: Vec::new(),
        damaged: Vec::new(),
    };
    let dir = layout.journal_dir();
    let entries = disk.list(&dir).or_while("listing", &dir)?;
    let numbers = entries
        .iter()
        .filter_map(|entry| journal_number(&entry.name));
    let last = numbers.max().unwrap_or(0).max(needed);
    for number in 0..=last {
        let path = layout.journal_file(number);
        let mut damaged = |from: u64, to: u64, what: String| {
            report.damage.push(Damage {
                path: path.clone(),
                from,
                to,
                log: None,
                offsets: None,
                what: format!("{what}; its groups are judged one by one"),
            });
            opened.damaged.push(number as usize);
        };
        let file = match disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                damaged(0, 0, "the file is missing".to_owned());
                opened.unprepared.push(number as usize);
                opened.files.push(Arc::new(NoFile));
                continue;
            }
            Err(error) => return Err(IoFailure::new("opening", &path, error).into()),
        };
        let len = file.len().or_while("reading the length of", &path)?;
        let mut block = vec![0; JournalFileHeader::BYTES];
        let read = file.read_at(0, &mut block).or_while("reading", &path)?;
        match JournalFileHeader::decode(&block[..read]) {
            Ok(header) => {
                belongs(&path, header.directory_id, directory_id)?;
                if header.number != number {
                    let what = format!("it is file {} of the ring", header.number);
                    damaged(0, JournalFileHeader::BYTES as u64, what);
                    opened.unprepared.push(number as usize);
                } else if header.file_bytes != len {
                    let what = format!("{len} bytes, its header says {}", header.file_bytes);
                    let (from, to) = (header.file_bytes.min(len), header.file_bytes.max(len));
                    damaged(from, to, what);
                    opened.unprepared.push(number as usize);
                }
            }
            Err(error) => {
                opened.unprepared.push(number as usize);
                // The header comes last: a file without one was never used.
                if block[..read].iter().any(|byte| *byte != 0) || is_used(&*file, &path)? {
                    damaged(0, JournalFileHeader::BYTES as u64, error.to_string());
                }
            }
        }
        opened.files.push(file);
    }
    room::give_back(&opened.files, &opened.unprepared, needed);
    Ok(opened)
}

/// Whether a group could stand at the beginning of a journal file.
fn is_used(file: &dyn DiskFile, path: &Path) -> Result<bool, IoFailure> {
    let mut block = vec![0; JournalFileHeader::BYTES];
    let read = file.read_at(FIRST_GROUP, &mut block);
    let read = read.or_while("reading", path)?;
    Ok(block[..read].iter().any(|byte| *byte != 0))
}

/// The number of a journal file, if `name` is that of one.
fn journal_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".journal")?;
    let number = digits.parse().ok().filter(|_| digits.len() >= 4)?;
    (format!("{number:04}") == digits && number < MAX_FILES).then_some(number)
}

/// A file of the ring that is missing: nothing can be read from it.
#[derive(Debug)]
struct NoFile;

impl DiskFile for NoFile {
    fn write_at(&self, _: u64, _: &[IoSlice<'_>]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(0)
    }

    fn set_len(&self, _: u64) -> std::io::Result<()> {
        Ok(())
    }

    fn map(&self, _: std::ops::Range<u64>) -> std::io::Result<bytes::Bytes> {
        Err(std::io::ErrorKind::InvalidInput.into())
    }
}
