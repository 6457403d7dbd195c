//! The file `npayload.secret`: read at a start, made before the first API key.
//!
//! ```text
//! npayload.secret.new: written, synced ─▶ renamed ─▶ the directory synced ─▶ the first key recorded
//! ```
//! A crash before the last arrow leaves no key, and a file that serves as well as any other. Keys
//! without their file are a start refused: nobody could tell whose they are.

use std::fmt;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use super::core::Broker;
use crate::access::KeyHasher;
use crate::format::{DecodeError, SecretFile};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::{IoFailure, Layout, Storage, While};
use crate::types::Incarnation;

/// Why the secret file does not serve. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// There are keys, and no file.
    #[error(
        "{} is missing: without it no API key can be recognised; restore it from the backup of this data directory", .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Its bytes are not those that were written, or are of a newer version.
    #[error("{}: {source}; restore it from the backup of this data directory", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// It belongs to another data directory.
    #[error(
        "{} belongs to data directory {found}, this one is {expected}; restore the file of this one", .path.display()
    )]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// The directory it names.
        found: Incarnation,
        /// The directory it lies in.
        expected: Incarnation,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

/// Why the secret file was not made. There is no key then; the making may be tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the key that API keys are hashed under can't be stored: {0}")]
pub struct SecretError(#[from] pub IoFailure);

/// What the file holds, once it is durable.
type Made = Arc<OnceLock<Result<SecretFile, IoFailure>>>;

/// What the broker has of the file.
#[derive(Debug, Default)]
pub(super) struct DirectorySecret {
    hasher: Option<KeyHasher>,
    /// The making of it, shared by all who wait for it: whoever runs first does it.
    making: Made,
}

impl DirectorySecret {
    /// Reads the file, if it is there. What an unfinished making left beside it was never used.
    pub fn open(storage: &Storage) -> Result<Self, SecretFileError> {
        let (disk, layout) = storage.place();
        let found = read(&**disk, layout, storage.directory_id())?;
        Ok(Self {
            hasher: found.map(hasher_of),
            making: Made::default(),
        })
    }

    /// Refuses to go on without the file, where keys were hashed under it.
    pub fn check_there(&self, storage: &Storage) -> Result<(), SecretFileError> {
        let path = storage.place().1.secret();
        self.hasher
            .is_some()
            .then_some(())
            .ok_or(SecretFileError::Missing { path })
    }

    /// What hashes keys, once there is a file.
    pub fn hasher(&self) -> Option<&KeyHasher> {
        self.hasher.as_ref()
    }
}

fn hasher_of(file: SecretFile) -> KeyHasher {
    KeyHasher::new(file.secret)
}

fn read(
    disk: &dyn Disk,
    layout: &Layout,
    directory_id: Incarnation,
) -> Result<Option<SecretFile>, SecretFileError> {
    let path = layout.secret();
    if !disk.exists(&path).or_while("looking for", &path)? {
        return Ok(None);
    }
    let opened = disk.open(&path, OpenMode::Read);
    let opened = opened.or_while("opening", &path)?;
    let mut bytes = Zeroizing::new([0; SecretFile::BYTES + 1]);
    let read = opened.read_at(0, &mut *bytes).or_while("reading", &path)?;
    let file = SecretFile::decode(&bytes[..read]).map_err(|source| {
        let path = path.clone();
        SecretFileError::Unreadable { path, source }
    })?;
    if file.directory_id != directory_id {
        return Err(SecretFileError::Misplaced {
            path,
            found: file.directory_id,
            expected: directory_id,
        });
    }
    Ok(Some(file))
}

/// The making of the secret file, to be run without the broker's lock.
pub struct SecretJob {
    disk: Arc<dyn Disk>,
    layout: Layout,
    file: SecretFile,
    making: Made,
}

impl fmt::Debug for SecretJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretJob")
            .field("path", &self.layout.secret())
            .finish_non_exhaustive()
    }
}

/// How a making ended.
#[derive(Debug)]
pub struct SecretEnd {
    making: Made,
}

impl SecretJob {
    /// Makes the file. Of several jobs one does it, and the others wait for that one.
    #[must_use]
    pub fn run(self) -> SecretEnd {
        let Self {
            disk,
            layout,
            file,
            making,
        } = self;
        making.get_or_init(|| {
            write(&*disk, &layout, &file)?;
            Ok(file)
        });
        SecretEnd { making }
    }
}

fn write(disk: &dyn Disk, layout: &Layout, file: &SecretFile) -> Result<(), IoFailure> {
    let (new, path, root) = (layout.new_secret(), layout.secret(), layout.root());
    // A try that failed may have left it; its sync must not be what vouches for these bytes.
    if disk.exists(&new).or_while("looking for", &new)? {
        disk.remove_file(&new).or_while("removing", &new)?;
    }
    let opened = disk.open(&new, OpenMode::CreateNew);
    let opened = opened.or_while("creating", &new)?;
    let bytes = file.encode();
    let written = opened.write_at(0, &[IoSlice::new(&*bytes)]);
    written.or_while("writing", &new)?;
    opened.sync_data().or_while("syncing", &new)?;
    disk.rename(&new, &path).or_while("renaming", &new)?;
    disk.sync_dir(root).or_while("syncing", root)
}

impl Broker {
    /// The job that makes the secret file, while there is none: run it without the lock, before
    /// the first key is created.
    pub fn plan_secret(&mut self) -> Option<SecretJob> {
        if self.secret.hasher.is_some() {
            return None;
        }
        let secret = self.random_secret();
        let (disk, layout) = self.storage.place();
        Some(SecretJob {
            disk: disk.clone(),
            layout: layout.clone(),
            file: SecretFile {
                directory_id: self.storage.directory_id(),
                secret,
            },
            making: self.secret.making.clone(),
        })
    }

    /// Books how a making ended; keys may be created then.
    ///
    /// # Errors
    /// [`SecretError`]: the disk refused. The next [`Broker::plan_secret`] tries again.
    pub fn finish_secret(&mut self, end: SecretEnd) -> Result<(), SecretError> {
        let Some(ended) = end.making.get() else {
            return Ok(());
        };
        // Another job of the same making, or of an earlier one, may have come before.
        if self.secret.hasher.is_some() {
            return Ok(());
        }
        let is_current = Arc::ptr_eq(&end.making, &self.secret.making);
        match ended {
            Ok(file) => {
                self.secret.hasher = Some(hasher_of(file.clone()));
                Ok(())
            }
            Err(failure) => {
                if is_current {
                    self.secret.making = Made::default();
                }
                Err(failure.clone().into())
            }
        }
    }

    /// Random bytes for a secret.
    pub(super) fn random_secret(&mut self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.fill_random(&mut *bytes);
        bytes
    }
}
