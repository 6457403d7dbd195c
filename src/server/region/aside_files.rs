//! Files of batches that this region has set aside: what is in them, their batches in plain, and how
//! far they were published again.
//!
//! Whoever publishes them again reads them from here, so that batches which are encrypted at rest are
//! opened by the broker that has their keys, and no key leaves it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::asides::keys_of;
use super::moving::durable;
use crate::broker::{AsideFile, BrokerError};
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, MAX_STORED_BATCH_BYTES, check_stored, unseal,
};
use crate::keys::Keyring;
use crate::protocol::WireError;
use crate::protocol::region::{AsideLook, AsidePart, AsideTold, MAX_ASIDE_BYTES, RegionAside};
use crate::region::copies::Republished;
use crate::server::access::Caller;
use crate::server::auditing::Draft;
use crate::server::shared::Shared;
use crate::server::{answer, clock};
use crate::storage::While;
use crate::storage::disk::{Disk, DiskFile, OpenMode, read_exact_at};

/// Most bytes of the keys beside a file.
const MAX_KEYS: usize = 16 << 20;

/// Carries out what is asked of such a file.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    caller: &Caller,
    asked: &RegionAside,
    draft: Draft,
) -> Result<AsideTold, WireError> {
    let refused = |error: BrokerError| answer::refused(&error);
    if let RegionAside::Published {
        file,
        to,
        target,
        begun_at,
        records,
        done,
    } = asked
    {
        let now = clock::now();
        let republished = Republished {
            to: to.clone(),
            target: *target,
            begun_at: *begun_at,
            records: *records,
            done: *done,
            at: now,
        };
        let recorded = shared.broker().acting(draft.done_by(caller), |broker| {
            broker.record_republished(file, republished, now)
        });
        let recorded = recorded.map_err(|refusal| refused(refusal.error))?;
        durable(shared, recorded.wait).await?;
        return Ok(AsideTold::Published {});
    }
    let known = shared.broker().aside_file(asked.file()).map_err(refused)?;
    if matches!(asked, RegionAside::Look { .. }) {
        // Whoever looks is about to read: that is what the record of acts is for.
        let wait = shared.broker().audit(draft.done_by(caller), clock::now());
        if let Some(wait) = wait {
            durable(shared, wait).await?;
        }
    }
    let (shared, asked) = (shared.clone(), asked.clone());
    let looking = shared.clone();
    let told = looking.on_disk(move || told(&shared, &asked, known)).await;
    told.map_err(refused)
}

fn told(shared: &Shared, asked: &RegionAside, known: AsideFile) -> Result<AsideTold, BrokerError> {
    let opened = Opened::open(shared, asked.file(), known)?;
    match asked {
        RegionAside::Read {
            position, within, ..
        } => opened.part(*position, *within).map(AsideTold::Part),
        _ => Ok(AsideTold::Look(Box::new(opened.look()?))),
    }
}

fn read_keys(
    shared: &Shared,
    disk: &dyn Disk,
    path: &Path,
    name: &str,
    known: &AsideFile,
) -> Result<Arc<Keyring>, BrokerError> {
    let file = disk.open(path, OpenMode::Read).or_while("opening", path)?;
    let len = file.len().or_while("reading the length of", path)?;
    let unreadable = |what: String| BrokerError::Aside {
        file: name.to_owned(),
        what: format!("has keys beside it that can't be read: {what}"),
    };
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_KEYS);
    let len = len.ok_or_else(|| unreadable(format!("more than {MAX_KEYS} bytes")))?;
    let mut text = vec![0; len];
    read_exact_at(&*file, 0, &mut text).or_while("reading", path)?;
    let keyring = shared
        .broker()
        .keyring_aside(known.aside.incarnation, &text);
    keyring.map_err(|error| unreadable(error.to_string()))
}

/// A file of batches, open.
struct Opened {
    name: String,
    path: PathBuf,
    known: AsideFile,
    /// What opens its batches, of the keys that lie beside it.
    kept: Option<Arc<Keyring>>,
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl Opened {
    fn open(shared: &Shared, name: &str, known: AsideFile) -> Result<Self, BrokerError> {
        let (disk, dir, _) = {
            let broker = shared.broker();
            let (disk, dir, root) = broker.aside();
            (disk, dir, root.to_owned())
        };
        let path = dir.join(name);
        if !disk.exists(&path).or_while("looking for", &path)? {
            return Err(BrokerError::Aside {
                file: name.to_owned(),
                what: "was set aside and is not in `lost+found` any more".to_owned(),
            });
        }
        let file = disk.open(&path, OpenMode::Read);
        let file = file.or_while("opening", &path)?;
        let len = file.len().or_while("reading the length of", &path)?;
        let keys = keys_of(&dir, name);
        let kept = match disk.exists(&keys).or_while("looking for", &keys)? {
            true => Some(read_keys(shared, &*disk, &keys, name, &known)?),
            false => None,
        };
        Ok(Self {
            name: name.to_owned(),
            path,
            known,
            kept,
            file,
            len,
        })
    }

    fn unreadable(&self, what: impl Into<String>) -> BrokerError {
        BrokerError::Aside {
            file: self.name.clone(),
            what: what.into(),
        }
    }

    /// The batch that begins at a byte of the file, checked.
    fn batch(&self, position: u64) -> Result<(BatchHeader, Bytes), BrokerError> {
        let damaged = |what: String| {
            let text = format!("is damaged: the batch at byte {position}: {what}");
            self.unreadable(text)
        };
        if position >= self.len {
            let text = format!("has {} bytes and no batch at byte {position}", self.len);
            return Err(self.unreadable(text));
        }
        let left = self.len - position;
        if left < BATCH_HEADER_BYTES as u64 {
            return Err(damaged(format!("{left} bytes are left for its header")));
        }
        let mut header = [0; BATCH_HEADER_BYTES];
        let read = read_exact_at(&*self.file, position, &mut header);
        read.or_while("reading", &self.path)?;
        let peeked = BatchHeader::peek(&header).map_err(|error| damaged(error.to_string()))?;
        let len = peeked.len();
        if len > MAX_STORED_BATCH_BYTES || len as u64 > left {
            return Err(damaged(format!("{left} bytes are left of its {len}")));
        }
        let mut bytes = vec![0; len];
        let read = read_exact_at(&*self.file, position, &mut bytes);
        read.or_while("reading", &self.path)?;
        let header = check_stored(&bytes).map_err(|error| damaged(error.to_string()))?;
        if header.incarnation() != self.known.aside.incarnation {
            return Err(damaged(format!("it is of log {}", header.incarnation())));
        }
        Ok((header, bytes.into()))
    }

    /// The same as it came from its producer, stamped, whether or not it is encrypted at rest.
    fn plain(&self, header: &BatchHeader, stored: Bytes) -> Result<Bytes, BrokerError> {
        if !header.is_sealed() {
            return Ok(stored);
        }
        let key_id = header.key_id();
        let now = self.known.keyring.as_ref();
        let now = now.and_then(|keyring| keyring.key(key_id).ok());
        let Some(keyring) = self.kept.as_ref().or(self.known.keyring.as_ref()) else {
            let text = format!(
                "is encrypted at rest with key {key_id} of its log, which this region has no more"
            );
            return Err(self.unreadable(text));
        };
        let channel = self.known.channel.as_ref();
        // A master key that came since has wrapped the log's own keys anew, and not those beside.
        let key = now
            .map_or_else(|| keyring.key(key_id), Ok)
            .map_err(|reason| BrokerError::KeyUnavailable {
                channel: channel.map_or_else(|| self.name.clone(), ToString::to_string),
                key_id,
                reason,
            })?;
        let mut plain = BytesMut::with_capacity(stored.len());
        unseal(&stored, key, &mut plain).map_err(|error| {
            self.unreadable(format!("offset {}: {error}", header.base_offset()))
        })?;
        Ok(plain.freeze())
    }

    /// Reads and checks all of it.
    fn look(&self) -> Result<AsideLook, BrokerError> {
        let mut sha = Sha256::new();
        let mut look = AsideLook {
            aside: self.known.aside.clone(),
            channel: self.known.channel.clone(),
            bytes: self.len,
            batches: 0,
            records: 0,
            gaps: 0,
            encrypted: false,
            sha256: String::new(),
        };
        let mut position = 0;
        while position < self.len {
            let (header, bytes) = self.batch(position)?;
            position += bytes.len() as u64;
            sha.update(&bytes);
            if header.is_gap() {
                look.gaps += 1;
                continue;
            }
            look.encrypted |= header.is_sealed();
            look.batches += 1;
            look.records += u64::from(header.record_count());
        }
        let digest = sha.finalize();
        look.sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(look)
    }

    /// Batches from a place on, as many as one answer takes.
    fn part(&self, mut position: u64, mut within: u64) -> Result<AsidePart, BrokerError> {
        let mut part = Vec::new();
        while position < self.len && part.len() < MAX_ASIDE_BYTES {
            let (header, stored) = self.batch(position)?;
            let stored_len = stored.len() as u64;
            let plain = self.plain(&header, stored)?;
            let known = usize::try_from(within).unwrap_or(usize::MAX);
            let Some(rest) = plain.get(known..) else {
                let text = format!(
                    "has {} bytes in the batch at byte {position}, not {within}",
                    plain.len()
                );
                return Err(self.unreadable(text));
            };
            let room = MAX_ASIDE_BYTES - part.len();
            if rest.len() > room {
                part.extend_from_slice(&rest[..room]);
                within += room as u64;
                break;
            }
            part.extend_from_slice(rest);
            position += stored_len;
            within = 0;
        }
        Ok(AsidePart {
            batches: STANDARD.encode(part),
            position,
            within,
        })
    }
}
