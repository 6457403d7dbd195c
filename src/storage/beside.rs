//! A log that is written beside another of the same identity, to be put in its place
//! (`replacing.rs`).
//!
//! It lies in `beside/INCARNATION/`, with the same folders and files as the data directory has for a
//! log. Its batches go straight to segments: nobody is told that they are there before all of them
//! are synced, and a start removes what was not put in its place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::BytesMut;

use super::cutting::FoldHeaders;
use super::disk::Disk;
use super::error::{IoFailure, While};
use super::layout::Layout;
use super::log::{ActivePoint, LogOptions, LogPoint};
use super::open_files::OpenFiles;
use super::segment::{FIRST_BATCH, Previous, Segment, SegmentId};
use super::store::Storage;
use crate::format::{BatchHeader, Sealing, seal};
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// The folder of logs that are written beside others.
const BESIDE: &str = "beside";
/// The folder of the log that was replaced, until it is removed.
const OLD: &str = "old";
/// The file that says that the one has taken the other's place: a checkpoint of one row.
const SWITCH: &str = "switch";
/// After so many bytes a segment is synced, so that the last sync is a short one.
const SYNC_BYTES: u64 = 8 << 20;

/// Where a log lies that is written beside another.
#[derive(Debug, Clone)]
pub(super) struct BesidePlace {
    pub root: PathBuf,
    /// The folders in it.
    pub layout: Layout,
    /// Who has it writes there, or removes what is there.
    held: Arc<()>,
}

impl BesidePlace {
    pub fn new(layout: &Layout, id: Incarnation) -> Self {
        let root = Self::all(layout).join(id.to_string());
        let layout = Layout::new(&root);
        Self {
            root,
            layout,
            held: Arc::default(),
        }
    }

    /// The folder of all of them.
    pub fn all(layout: &Layout) -> PathBuf {
        layout.root().join(BESIDE)
    }

    pub fn old(&self) -> PathBuf {
        self.root.join(OLD)
    }

    pub fn switch(&self) -> PathBuf {
        self.root.join(SWITCH)
    }

    /// Removes all of it. Doing it twice changes nothing.
    pub fn remove(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        remove_tree(disk, &self.root)?;
        let all = self.root.parent().unwrap_or(&self.root);
        if disk.exists(all).or_while("looking for", all)? {
            disk.sync_dir(all).or_while("syncing", all)?;
        }
        Ok(())
    }
}

/// Removes a folder with all that is in it.
pub(super) fn remove_tree(disk: &dyn Disk, dir: &Path) -> Result<(), IoFailure> {
    if !disk.exists(dir).or_while("looking for", dir)? {
        return Ok(());
    }
    for entry in disk.list(dir).or_while("listing", dir)? {
        let path = dir.join(&entry.name);
        match entry.is_dir {
            true => remove_tree(disk, &path)?,
            false => super::segment::remove_file(disk, &path)?,
        }
    }
    disk.remove_dir(dir).or_while("removing", dir)
}

/// A log that is written beside another. Its owner is the only one who knows it.
#[derive(Debug)]
pub struct BesideLog {
    pub(super) id: Incarnation,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) place: BesidePlace,
    open_files: Arc<OpenFiles>,
    options: LogOptions,
    epoch: LogEpoch,
    pub(super) begins_at: Offset,
    pub(super) end: Offset,
    last_time: Timestamp,
    last_epoch: LogEpoch,
    last: Option<BatchHeader>,
    /// The segments before the active one: base offset, the one before, length.
    pub(super) before: Vec<(Offset, Option<Previous>, u64)>,
    active: Option<Active>,
    pub(super) fold: Box<dyn FoldHeaders>,
    /// The key of its batches; all have the same, or none has one.
    key_id: Option<Option<u32>>,
}

#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    position: u64,
    start_time: Timestamp,
    unsynced: u64,
}

/// Why a batch is not taken into a log beside another.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BesideError {
    /// It does not follow what is there.
    #[error("a batch of log {log} begins at {found}, {next} of {expected} is the next")]
    NotNext {
        /// Its log.
        log: Incarnation,
        /// Its first offset.
        found: Offset,
        /// The log that is written.
        expected: Incarnation,
        /// The offset that is needed.
        next: Offset,
    },
    /// The channel has another key than what was written is encrypted with.
    #[error("the channel has another key now than before")]
    OtherKey,
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

impl Storage {
    /// Begins a log beside another of the same identity; what is left of an earlier one is removed
    /// with the first batch. None while an earlier one is written, put in place or removed: of two
    /// in one place, the removal of the one would take the other's files.
    ///
    /// - `begins_at`: offset of its first record.
    /// - `fold`: an empty table; it is given all batches.
    #[must_use]
    pub fn beside(
        &mut self,
        id: Incarnation,
        options: LogOptions,
        begins_at: Offset,
        fold: Box<dyn FoldHeaders>,
    ) -> Option<BesideLog> {
        self.besides.retain(|_, held| held.strong_count() > 0);
        if self.besides.contains_key(&id) {
            return None;
        }
        let place = BesidePlace::new(&self.layout, id);
        self.besides.insert(id, Arc::downgrade(&place.held));
        Some(BesideLog {
            id,
            disk: self.disk.clone(),
            place,
            open_files: self.open_files.clone(),
            options,
            epoch: self.epoch,
            begins_at,
            end: begins_at,
            last_time: Timestamp(i64::MIN),
            last_epoch: LogEpoch(0),
            last: None,
            before: Vec::new(),
            active: None,
            fold,
            key_id: None,
        })
    }
}

/// The logs that are written beside others, and those whose files are still to be removed.
pub(super) type Besides = std::collections::HashMap<Incarnation, Weak<()>>;

impl BesideLog {
    /// The log.
    #[must_use]
    pub fn id(&self) -> Incarnation {
        self.id
    }

    /// Offset of its first record.
    #[must_use]
    pub fn begins_at(&self) -> Offset {
        self.begins_at
    }

    /// Offset of the record that it needs next.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Epoch and append time of its last batch; the earliest before there is one.
    #[must_use]
    pub fn last(&self) -> (LogEpoch, Timestamp) {
        (self.last_epoch, self.last_time)
    }

    /// The header of its last batch, as it came.
    #[must_use]
    pub fn last_header(&self) -> Option<&BatchHeader> {
        self.last.as_ref()
    }

    /// Appends a batch as it came from the log's home; it is on the disk, and not synced. Waits for
    /// the disk.
    ///
    /// - `now`: when its segment is created, where it begins one.
    ///
    /// # Errors
    /// [`BesideError`]; after one of the disk the whole log is to be given up.
    pub fn append(
        &mut self,
        bytes: &[u8],
        sealing: Option<&Sealing>,
        now: Timestamp,
    ) -> Result<(), BesideError> {
        let header = match BatchHeader::peek(bytes) {
            Ok(header) if header.incarnation() == self.id && header.base_offset() == self.end => {
                header
            }
            found => {
                let (log, found) = found.map_or((Incarnation(0), Offset(0)), |header| {
                    (header.incarnation(), header.base_offset())
                });
                return Err(BesideError::NotNext {
                    log,
                    found,
                    expected: self.id,
                    next: self.end,
                });
            }
        };
        // Gaps are never encrypted.
        if !header.is_gap() {
            let key_id = sealing.map(|sealing| sealing.key_id);
            if *self.key_id.get_or_insert(key_id) != key_id {
                return Err(BesideError::OtherKey);
            }
        }
        let stored = match sealing.filter(|_| !header.is_gap()) {
            Some(sealing) => seal(bytes, sealing).0,
            None => BytesMut::from(bytes),
        };
        if self.active.is_none() {
            self.make_folders()?;
        }
        let (len, span) = (stored.len() as u64, u64::from(header.offset_span()));
        self.roll(len, span, &header, now)?;
        let Some(active) = self.active.as_mut() else {
            return Ok(());
        };
        let batch = (active.position, stored.freeze());
        (active.segment).write(&*self.disk, &self.open_files, &[batch], true)?;
        active.position += len;
        active.unsynced += len;
        active.segment.set_length(active.position);
        if active.unsynced >= SYNC_BYTES {
            active.segment.sync(&*self.disk)?;
            active.unsynced = 0;
        }
        self.fold.header(&header);
        self.end = header.end_offset();
        self.last_time = header.append_time();
        self.last_epoch = header.log_epoch();
        self.last = Some(header);
        Ok(())
    }

    /// Begins the segment that the next batch needs, where it needs another.
    fn roll(
        &mut self,
        len: u64,
        span: u64,
        header: &BatchHeader,
        now: Timestamp,
    ) -> Result<(), IoFailure> {
        if let Some(active) = &self.active {
            let base = active.segment.id().base;
            let fits = active.position + len <= FIRST_BATCH + self.options.segment_bytes
                && self.end.0 + span - base.0 <= u64::from(u32::MAX);
            if fits || active.position == FIRST_BATCH {
                return Ok(());
            }
        }
        let previous = match self.active.take() {
            None => None,
            Some(full) => {
                full.segment.sync(&*self.disk)?;
                let (base, length) = (full.segment.id().base, full.position);
                self.before.push((base, full.segment.previous(), length));
                let last_time = self.last_time;
                Some(Previous {
                    base,
                    length,
                    last_time,
                })
            }
        };
        let id = SegmentId::new(&self.place.layout, self.id, self.end);
        let segment = Segment::create(id, previous, now, self.epoch);
        self.active = Some(Active {
            segment: Arc::new(segment),
            position: FIRST_BATCH,
            start_time: header.append_time(),
            unsynced: 0,
        });
        Ok(())
    }

    fn make_folders(&self) -> Result<(), IoFailure> {
        let disk = &*self.disk;
        // Nothing of one that was given up may pass for a part of this one.
        remove_tree(disk, &self.place.root)?;
        let all = self.place.root.parent().unwrap_or(&self.place.root);
        let channels = self.place.layout.channels_dir();
        for dir in [all, &self.place.root, &channels] {
            disk.create_dir(dir).or_while("creating", dir)?;
        }
        Ok(())
    }

    /// Makes all of it durable, names included; `None` where it holds nothing.
    pub(super) fn point(&mut self) -> Result<Option<LogPoint>, IoFailure> {
        let Some(active) = &self.active else {
            return Ok(None);
        };
        let disk = &*self.disk;
        active.segment.sync(disk)?;
        let all = self.place.root.parent().unwrap_or(&self.place.root);
        let data = all.parent().unwrap_or(all);
        for dir in [&self.place.root, all, data] {
            disk.sync_dir(dir).or_while("syncing", dir)?;
        }
        let (fence, producers) = self.fold.rows();
        Ok(Some(LogPoint {
            log_start: self.begins_at,
            end: self.end,
            active: Some(ActivePoint::of(
                &active.segment,
                active.position,
                active.start_time,
            )),
            last_time: self.last_time,
            last_epoch: self.last_epoch,
            refused: false,
            damage: Vec::new(),
            fence,
            producers,
        }))
    }

    /// Gives it up and removes what there is of it. Waits for the disk.
    ///
    /// # Errors
    /// What could not be removed goes at the next start.
    pub fn give_up(self) -> Result<(), IoFailure> {
        self.place.remove(&*self.disk)
    }
}
