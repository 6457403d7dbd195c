//! Reading ahead: the journal was written past the operating system's memory, so a start after a
//! kill would wait for the disk at each piece of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::pieces::PIECE_BYTES;
use crate::storage::disk::DiskFile;

/// A thread that brings files to memory in front of who reads them, as long as this lives.
#[derive(Debug)]
pub(super) struct Ahead {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins with file `first`; the others follow as they lie in the ring.
    pub fn begin(files: &[Arc<dyn DiskFile>], first: usize, file_bytes: u64) -> Self {
        let (before, after) = files.split_at(first.min(files.len()));
        let files: Vec<_> = after.iter().chain(before).cloned().collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        let work = move || {
            let pieces = || (0..file_bytes).step_by(usize::try_from(PIECE_BYTES).unwrap_or(1));
            for (file, at) in files
                .iter()
                .flat_map(|file| pieces().map(move |at| (file, at)))
            {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                file.warm(at..file_bytes.min(at + PIECE_BYTES));
            }
        };
        // Only a hint: without it the reader waits for the disk.
        let thread = thread::Builder::new().spawn(work).ok();
        Self { is_over, thread }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
