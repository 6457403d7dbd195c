//! Snapshots: what a topic folds to, in a file, so that a start reads the topic from there. A
//! snapshot is a cache: without it, or with one that does not fit, the topic is folded from its
//! beginning, to the same state.
//!
//! ```text
//! <log>.snapshot.new: written, synced ─▶ renamed ─▶ the directory synced
//! ```

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::topic::{Fold, TopicError};
use crate::format::{SnapshotHeader, read_snapshot};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::{BatchAt, IoFailure, Layout, Storage, While};
use crate::types::{Incarnation, LogEpoch, Offset};

/// Parts are written in runs of about this many bytes.
const RUN_BYTES: usize = 1024 * 1024;

/// State of a topic that can be kept in a snapshot.
pub(in crate::broker) trait Snapshot:
    Fold + Clone + Default + Send + 'static
{
    /// Type of its state records.
    const STATE_RECORD: &'static str;

    /// The payloads of the state records that it folds to.
    fn state_records(&self) -> Vec<Vec<u8>>;
}

/// Reads the snapshot of a topic: the state, and the offset of the first record that is not in it.
/// None where there is none that fits.
pub(in crate::broker) fn load<S: Snapshot>(
    storage: &mut Storage,
    log: Incarnation,
) -> Option<(S, Offset)> {
    let topic = S::TOPIC;
    match read(storage, log) {
        Ok(Some((header, parts))) => match restore(&parts) {
            Ok(state) => Some((state, header.next_offset)),
            Err(error) => {
                tracing::warn!(%log, %error, "the snapshot of {topic} is not used");
                None
            }
        },
        Ok(None) => None,
        Err(reason) => {
            tracing::warn!(%log, %reason, "the snapshot of {topic} is not used");
            None
        }
    }
}

fn restore<S: Snapshot>(parts: &[Bytes]) -> Result<S, TopicError> {
    let mut state = S::default();
    for part in parts {
        let event = S::decode(S::STATE_RECORD, part).map_err(|source| TopicError::Record {
            topic: S::TOPIC,
            offset: Offset(0),
            source,
        })?;
        let applied = state.event(Offset(0), event);
        applied.map_err(|source| TopicError::Event {
            topic: S::TOPIC,
            offset: Offset(0),
            source,
        })?;
    }
    Ok(state)
}

/// Why a snapshot does not fit, in words for the log.
type Reason = String;

fn read(
    storage: &mut Storage,
    log: Incarnation,
) -> Result<Option<(SnapshotHeader, Vec<Bytes>)>, Reason> {
    let (disk, layout) = storage.place();
    let (disk, path) = (disk.clone(), layout.snapshot(log));
    let shown = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    if !disk.exists(&path).map_err(|error| shown(&error))? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenMode::Read);
    let file = file.map_err(|error| shown(&error))?;
    let len = file.len().map_err(|error| shown(&error))?;
    let mut bytes = vec![0; usize::try_from(len).map_err(|error| shown(&error))?];
    let read = file.read_at(0, &mut bytes);
    bytes.truncate(read.map_err(|error| shown(&error))?);
    let bytes = Bytes::from(bytes);
    let (header, parts) = read_snapshot(&bytes).map_err(|error| shown(&error))?;
    if header.log != log {
        return Err(shown(&format_args!("belongs to log {}", header.log)));
    }
    match epoch_at(storage, log, header.next_offset)? {
        Some(epoch) if epoch == header.log_epoch => Ok(Some((header, parts))),
        found => Err(format!(
            "{}: it was taken at offset {} in epoch {}, and the log has there {}",
            path.display(),
            header.next_offset,
            header.log_epoch.0,
            found.map_or("nothing".to_owned(), |epoch| format!("epoch {}", epoch.0)),
        )),
    }
}

/// Epoch of the record before `next`; 0 where nothing is before it, none where the log has no such
/// record.
fn epoch_at(
    storage: &mut Storage,
    log: Incarnation,
    next: Offset,
) -> Result<Option<LogEpoch>, Reason> {
    let Some(known) = storage.log(log) else {
        return Ok(None);
    };
    if next > known.high_watermark() || next < known.log_start() {
        return Ok(None);
    }
    if next == known.log_start() {
        return Ok(Some(LogEpoch(0)));
    }
    loop {
        match storage.plan_batch_at(log, Offset(next.0 - 1)) {
            BatchAt::Known { epoch, .. } => return Ok(Some(epoch)),
            BatchAt::Segment(job) => {
                let found = job.run().map_err(|error| error.to_string())?;
                return Ok(found.map(|(epoch, _)| epoch));
            }
            BatchAt::Load(task) => {
                let loaded = storage.finish_load(task.run());
                loaded.map_err(|error| error.to_string())?;
            }
            BatchAt::Unknown => return Ok(None),
        }
    }
}

/// The writing of one snapshot, to be run without the broker's lock.
pub struct SnapshotJob {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) log: Incarnation,
    pub(super) next_offset: Offset,
    pub(super) log_epoch: LogEpoch,
    pub(super) state_records: Box<dyn FnOnce() -> Vec<Vec<u8>> + Send>,
}

impl fmt::Debug for SnapshotJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotJob")
            .field("log", &self.log)
            .field("next_offset", &self.next_offset)
            .finish_non_exhaustive()
    }
}

/// How the writing of a snapshot ended.
#[derive(Debug)]
pub struct SnapshotEnd {
    pub(super) log: Incarnation,
    pub(super) next_offset: Offset,
    pub(super) written: Result<u64, IoFailure>,
}

impl SnapshotJob {
    /// Writes the snapshot. One that fails leaves the one before.
    #[must_use]
    pub fn run(self) -> SnapshotEnd {
        let (log, next_offset) = (self.log, self.next_offset);
        SnapshotEnd {
            log,
            next_offset,
            written: self.write(),
        }
    }

    fn write(self) -> Result<u64, IoFailure> {
        let (disk, layout) = (&*self.disk, &self.layout);
        let dir = layout.snapshot_dir();
        if !disk.exists(&dir).or_while("looking for", &dir)? {
            disk.create_dir(&dir).or_while("creating", &dir)?;
            disk.sync_dir(layout.root())
                .or_while("syncing", layout.root())?;
        }
        let (new, path) = (layout.new_snapshot(self.log), layout.snapshot(self.log));
        // A try that failed may have left it; its sync must not be what vouches for these bytes.
        if disk.exists(&new).or_while("looking for", &new)? {
            disk.remove_file(&new).or_while("removing", &new)?;
        }
        let file = disk.open(&new, OpenMode::CreateNew);
        let file = file.or_while("creating", &new)?;
        let records = (self.state_records)();
        let mut header = SnapshotHeader {
            log: self.log,
            next_offset: self.next_offset,
            log_epoch: self.log_epoch,
            body_len: 0,
            parts: u32::try_from(records.len()).unwrap_or(u32::MAX),
            body_crc: 0,
        };
        let mut crc = crc32fast::Hasher::new();
        let mut run = Vec::with_capacity(RUN_BYTES);
        let mut put = |run: &mut Vec<u8>, header: &mut SnapshotHeader| {
            crc.update(run);
            let position = SnapshotHeader::BYTES as u64 + header.body_len;
            let written = file.write_at(position, &[IoSlice::new(run)]);
            header.body_len += run.len() as u64;
            run.clear();
            written.or_while("writing", &new)
        };
        for record in records {
            let len = u32::try_from(record.len()).unwrap_or(u32::MAX);
            run.extend_from_slice(&len.to_le_bytes());
            run.extend_from_slice(&record);
            if run.len() >= RUN_BYTES {
                put(&mut run, &mut header)?;
            }
        }
        put(&mut run, &mut header)?;
        header.body_crc = crc.finalize();
        let head = file.write_at(0, &[IoSlice::new(&header.encode())]);
        head.or_while("writing", &new)?;
        file.sync_data().or_while("syncing", &new)?;
        disk.rename(&new, &path).or_while("renaming", &new)?;
        disk.sync_dir(&dir).or_while("syncing", &dir)?;
        Ok(header.body_len)
    }
}
