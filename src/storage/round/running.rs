//! Writes and syncs a round, without any lock.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use super::{DirectRun, Round, RoundEnd};
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::error::{IoFailure, While};
use crate::storage::open_files::OpenFiles;
use crate::storage::segment::Segment;
use crate::storage::store::QueuedEntry;
use crate::types::Incarnation;

/// Bytes of a journal file that are brought to the medium together, where nobody waits for it.
const STRETCH_BYTES: u64 = 256 * 1024;

impl Round {
    /// Writes and syncs. Call it without any lock.
    #[must_use]
    pub fn run(mut self: Box<Self>) -> RoundEnd {
        if !self.is_segment_work_done {
            match self.run_segments() {
                Ok(()) => self.is_segment_work_done = true,
                Err(failure) => return RoundEnd::Full(self, failure),
            }
            // What is in this round may be of channels that nobody would know of any more.
            let directory = self.failed.iter().find(|(id, _)| *id == self.directory);
            if let Some((_, failure)) = directory {
                let failure = failure.clone();
                return RoundEnd::Failed(self, failure);
            }
            self.drop_failed();
        }
        match self.run_journal() {
            Ok(()) => RoundEnd::Done(self),
            Err((failure, true)) if failure.is_passing() => RoundEnd::Full(self, failure),
            Err((failure, _)) => RoundEnd::Failed(self, failure),
        }
    }

    /// Writes the direct runs and syncs what must be synced. What passes, as a full disk, ends the
    /// try.
    fn run_segments(&mut self) -> Result<(), IoFailure> {
        for run in &self.direct {
            let written = write_direct(&*self.disk, &self.open_files, run, self.is_synced);
            match written {
                Ok(()) => {}
                Err(failure) if failure.is_passing() => return Err(failure),
                Err(failure) => self.failed.push((run.log, failure)),
            }
        }
        for (id, segment) in &self.owed {
            match segment.sync(&*self.disk) {
                Ok(()) => {}
                Err(failure) if failure.is_passing() => return Err(failure),
                Err(failure) => self.failed.push((*id, failure)),
            }
        }
        Ok(())
    }

    /// Takes the entries of failed logs out of the group. None of them is over several logs.
    fn drop_failed(&mut self) {
        let failed = &self.failed;
        let is_failed = |id: Incarnation| failed.iter().any(|(log, _)| *log == id);
        for run in self.direct.iter().filter(|run| is_failed(run.log)) {
            let entries = run.entries.iter();
            self.dropped.extend(entries.map(|entry| (run.log, *entry)));
        }
        let (gone, kept) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry: &QueuedEntry| is_failed(entry.batches[0].log));
        self.entries = kept;
        let gone = gone.iter();
        self.dropped
            .extend(gone.map(|entry| (entry.batches[0].log, entry.id)));
    }

    /// Writes the group and syncs the journal. The flag of the error says whether trying again
    /// could help: a failed sync is never tried again.
    fn run_journal(&mut self) -> Result<(), (IoFailure, bool)> {
        let path = |number| self.layout.journal_file(number);
        if let Some(room) = &self.room {
            if let Some((left, number)) = &room.left {
                left.sync_data()
                    .or_while("syncing", &path(*number))
                    .map_err(|e| (e, false))?;
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let group = self.group(&mut buffer);
            let room = self.room.as_ref().expect("seen above");
            let written = match self.is_synced {
                true => room
                    .file
                    .write_blocks(room.position, &group.slices(&buffer)),
                false => write_cached(&*room.file, room.position, &group.slices(&buffer)),
            };
            let header = group.header;
            self.buffer = buffer;
            written
                .or_while("writing", &path(room.number))
                .map_err(|e| (e, true))?;
            self.header = header;
        }
        if self.is_synced {
            let (file, number) = &self.active_file;
            file.sync_data()
                .or_while("syncing", &path(*number))
                .map_err(|e| (e, false))?;
        }
        Ok(())
    }
}

/// Writes a group that nobody waits to see synced, into the operating system's memory: that survives
/// the death of the process, which is all that `written` promises. Each stretch that is full is begun
/// to be brought to the medium, so that the next sync finds little to do.
fn write_cached(file: &dyn DiskFile, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
    file.write_at(position, parts)?;
    let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
    let full = (position + len) / STRETCH_BYTES * STRETCH_BYTES;
    let begun = position / STRETCH_BYTES * STRETCH_BYTES;
    if full > begun {
        file.uncache(begun..full);
    }
    Ok(())
}

fn write_direct(
    disk: &dyn Disk,
    open_files: &OpenFiles,
    run: &DirectRun,
    is_synced: bool,
) -> Result<(), IoFailure> {
    let before = run.before.iter();
    let before = before.map(|batch| (&batch.segment, batch.position, &batch.bytes));
    let batches = run.batches.iter();
    let batches = batches.map(|batch| (&batch.segment, batch.position, &batch.bytes));
    let all: Vec<(&Arc<Segment>, u64, &Bytes)> = before.chain(batches).collect();
    for part in all.chunk_by(|a, b| Arc::ptr_eq(a.0, b.0)) {
        let batches: Vec<(u64, Bytes)> = part
            .iter()
            .map(|(_, position, bytes)| (*position, Bytes::clone(bytes)))
            .collect();
        let segment = part[0].0;
        segment.write_run(disk, open_files, &batches, run.is_kept)?;
        if is_synced {
            segment.sync(disk)?;
        }
    }
    Ok(())
}
