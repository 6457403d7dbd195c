//! The names in a folder: those of the segments in that of their log, and those of logs in that of all
//! logs. A name lasts once its folder is synced.
//!
//! The operating system tells of a sync that has failed once: the next one of the same folder succeeds,
//! and has made nothing durable of what the failed one was for. So one that fails has failed for every
//! name that was made and is not known to last, whoever the sync was for.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::disk::Disk;
use super::error::{IoFailure, While};

/// So many names that last may be kept with those that do not.
const MANY: usize = 16;

/// A folder whose names are synced.
#[derive(Debug, Default)]
pub(super) struct Folder {
    made: Mutex<Made>,
    /// Held while it is synced, until those are told that it has failed.
    syncing: Mutex<()>,
}

/// The names that were made, or are about to be, and are not known to last; some of them may by now.
#[derive(Debug, Default)]
struct Made {
    names: Vec<Weak<Name>>,
    /// Those that last are let go of when there are so many.
    most: usize,
}

/// One name in it.
#[derive(Debug, Default)]
pub(super) struct Name {
    folder: Arc<Folder>,
    is_made: AtomicBool,
    is_durable: AtomicBool,
    /// A sync of the folder that has failed since the name was made.
    failed: OnceLock<IoFailure>,
}

impl Folder {
    /// A name that is not known to last, and may not be there yet.
    pub fn name(self: &Arc<Self>) -> Arc<Name> {
        Arc::new(Name {
            folder: self.clone(),
            ..Name::default()
        })
    }

    /// Makes the names in it durable. Who needs one to last books it ([`Name::book`]).
    pub fn sync(&self, disk: &dyn Disk, path: &Path) -> Result<(), IoFailure> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = disk.sync_dir(path).or_while("syncing", path);
        if let Err(failure) = &synced
            && is_lasting(failure)
        {
            let made = std::mem::take(&mut *self.made());
            let made = made.names.iter().filter_map(Weak::upgrade);
            let made = made.filter(|name| !name.is_durable());
            made.for_each(|name| name.keep(failure));
        }
        synced
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Made {
    fn push(&mut self, name: &Arc<Name>) {
        if self.names.len() >= self.most {
            let is_new = |name: &Weak<Name>| name.upgrade().is_some_and(|name| !name.is_durable());
            self.names.retain(is_new);
            self.most = 2 * self.names.len() + MANY;
        }
        self.names.push(Arc::downgrade(name));
    }
}

impl Name {
    /// The name is about to be made, where it is not there.
    pub fn made(self: &Arc<Self>) {
        if self.is_durable() || self.is_made.swap(true, Ordering::AcqRel) {
            return;
        }
        self.folder.made().push(self);
    }

    /// Whether it lasts.
    pub fn is_durable(&self) -> bool {
        self.is_durable.load(Ordering::Acquire)
    }

    /// Syncs its folder.
    pub fn sync(&self, disk: &dyn Disk, folder: &Path) -> Result<(), IoFailure> {
        self.check()?;
        if let Err(failure) = self.folder.sync(disk, folder) {
            if is_lasting(&failure) {
                self.keep(&failure);
            }
            return Err(failure);
        }
        self.book()
    }

    /// Books that its folder was synced behind its making: it lasts, unless another sync has failed.
    pub fn book(&self) -> Result<(), IoFailure> {
        self.check()?;
        self.is_durable.store(true, Ordering::Release);
        Ok(())
    }

    fn check(&self) -> Result<(), IoFailure> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    fn keep(&self, failure: &IoFailure) {
        self.failed.get_or_init(|| failure.clone());
    }
}

/// Whether nobody knows what became of the names: the folder was opened, and is there.
fn is_lasting(failure: &IoFailure) -> bool {
    !failure.is_passing() && failure.source.kind() != ErrorKind::NotFound
}
