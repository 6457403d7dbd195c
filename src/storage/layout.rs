//! Where each file of a data directory lies. Specified by storage-format.md, "Files".

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::Folder;
use crate::types::{Incarnation, Offset};

/// Paths inside one data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    /// What is known of the directory of all logs: all copies share it.
    channels: Arc<Folder>,
}

impl Layout {
    /// The paths of the data directory `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            channels: Arc::default(),
        }
    }

    /// The data directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that says whose directory this is.
    #[must_use]
    pub fn marker(&self) -> PathBuf {
        self.root.join("npayload.marker")
    }

    /// The file with the key under which API keys are hashed.
    #[must_use]
    pub fn secret(&self) -> PathBuf {
        self.root.join("npayload.secret")
    }

    /// That file while it is written.
    #[must_use]
    pub fn new_secret(&self) -> PathBuf {
        self.root.join("npayload.secret.new")
    }

    /// The file whose lock a running broker holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The two slots that say how far the journal was known synced.
    #[must_use]
    pub fn recovery_point(&self) -> PathBuf {
        self.root.join("recovery-point")
    }

    /// The directory of journal files.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Journal file `number` of the ring.
    #[must_use]
    pub fn journal_file(&self, number: u32) -> PathBuf {
        self.journal_dir().join(format!("{number:04}.journal"))
    }

    /// The directory of checkpoints.
    #[must_use]
    pub fn checkpoint_dir(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Checkpoint `number`.
    #[must_use]
    pub fn checkpoint(&self, number: u64) -> PathBuf {
        self.checkpoint_dir()
            .join(format!("{number:020}.checkpoint"))
    }

    /// The second copy of checkpoint `number`.
    #[must_use]
    pub fn checkpoint_copy(&self, number: u64) -> PathBuf {
        self.checkpoint_dir().join(format!("{number:020}.copy"))
    }

    /// The directory of all logs.
    #[must_use]
    pub fn channels_dir(&self) -> PathBuf {
        self.root.join("channels")
    }

    /// The names in it, of which some may not last yet.
    pub(super) fn channels(&self) -> &Arc<Folder> {
        &self.channels
    }

    /// The directory of one log.
    #[must_use]
    pub fn log_dir(&self, id: Incarnation) -> PathBuf {
        self.channels_dir().join(id.to_string())
    }

    /// The segment of `id` whose first record is `base`.
    #[must_use]
    pub fn segment(&self, id: Incarnation, base: Offset) -> PathBuf {
        self.log_dir(id).join(format!("{:020}.log", base.0))
    }

    /// The directory of snapshots.
    #[must_use]
    pub fn snapshot_dir(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The snapshot of what the topic `id` folds to.
    #[must_use]
    pub fn snapshot(&self, id: Incarnation) -> PathBuf {
        self.snapshot_dir().join(format!("{id}.snapshot"))
    }

    /// That file while it is written.
    #[must_use]
    pub fn new_snapshot(&self, id: Incarnation) -> PathBuf {
        self.snapshot_dir().join(format!("{id}.snapshot.new"))
    }

    /// Where files that belong to nothing are kept.
    #[must_use]
    pub fn lost_and_found(&self) -> PathBuf {
        self.root.join("lost+found")
    }
}

/// How the name of a spare file ends: the file of a removed segment, which a later segment of the
/// log is written over. It holds nothing.
pub const SPARE_EXTENSION: &str = "spare";

/// Whether `name` is that of a spare file.
#[must_use]
pub fn is_spare(name: &str) -> bool {
    let stem = name.strip_suffix(SPARE_EXTENSION);
    stem.is_some_and(|stem| segment_base(&format!("{stem}log")).is_some())
}

/// The base offset in a segment's file name, if `name` is one.
#[must_use]
pub fn segment_base(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset)
}
