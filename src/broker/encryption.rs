//! Encryption at rest: which key a batch is encrypted with, new keys, and keys at a start.
//!
//! A key is on the record of the directory before the first batch that it encrypts: its event is
//! staged first, and the journal keeps that order.

use std::sync::Arc;

use super::config::{ConfigChange, Encryption};
use super::core::{Accepted, Broker, Refusal};
use super::directory::{Channel, DirectoryEvent, KeyAdded, KeyRewrapped};
use super::error::BrokerError;
use crate::format::{DataKey, Sealing};
use crate::keys::{Keyring, RawKey, Wrapped, WrappedKey};
use crate::storage::Need;
use crate::types::{ChannelName, Incarnation, Offset, Timestamp};

/// Events of one entry when keys are wrapped anew.
const REWRAPPED_AT_ONCE: usize = 1000;

/// A key that is yet to be recorded.
pub(super) struct NewKey {
    pub event: DirectoryEvent,
    id: u32,
    key: Arc<DataKey>,
}

/// What is told of a channel's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Number of the newest key.
    pub id: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Offset of the next record when it was made.
    pub from: Offset,
    /// How many keys readable records may need.
    pub keys: usize,
    /// Why some of them can't be used, if so.
    pub locked: Option<String>,
}

impl Broker {
    /// Opens the keys of all channels as far as the master keys reach, and wraps with the first
    /// master key what another one wraps.
    pub(super) fn open_keys(&mut self, now: Timestamp) {
        let with_keys = |(id, channel): (Incarnation, &Channel)| {
            let newest = channel.keys.last()?;
            Some((id, newest.from))
        };
        let channels: Vec<_> = self.directory.iter().filter_map(with_keys).collect();
        let mut locked = Vec::new();
        for (id, newest_from) in channels {
            let Some(keyring) = self.open_keyring(id) else {
                continue;
            };
            if let Some((key, why)) = keyring.first_locked() {
                locked.push((id, key, why.to_string()));
            }
            // Nothing was written under the newest key yet: it still begins a segment.
            let is_unused = |end: Offset| end <= newest_from;
            if self.storage.log(id).is_some_and(|log| is_unused(log.end())) {
                self.storage.roll(id);
            }
        }
        if let Some((log, key, why)) = locked.first() {
            tracing::error!(
                channels = locked.len(), %log, key, why,
                "encrypted channels can't be read or written; this is the first of them"
            );
        }
        self.rewrap(now);
    }

    /// Wraps some of the keys that another master key wraps with the first one; the others have
    /// their turn at the next tick. What finds no room now is tried again then.
    pub(super) fn rewrap(&mut self, now: Timestamp) {
        let masters = self.config.master_keys.clone();
        let Some(first) = masters.first().filter(|_| self.may_rewrap) else {
            return;
        };
        let mut found = Vec::new();
        for (incarnation, channel) in self.directory.iter() {
            for key in &channel.keys {
                if found.len() < REWRAPPED_AT_ONCE
                    && key.wrapped.master_key != first.id()
                    && let Ok(raw) = key.wrapped.open(&masters, incarnation, key.id)
                {
                    found.push((incarnation, key.id, raw));
                }
            }
        }
        if found.is_empty() {
            self.may_rewrap = false;
            if !self.keyrings.is_empty() {
                let master = first.id();
                tracing::info!(%master, "no key needs another master key that is known");
            }
            return;
        }
        let mut events = Vec::with_capacity(found.len());
        for (incarnation, key_id, raw) in found {
            let nonce = self.random_bytes();
            let wrapped = Wrapped::new(&raw, first, incarnation, key_id, nonce);
            events.push(DirectoryEvent::KeyRewrapped(KeyRewrapped {
                incarnation,
                key_id,
                wrapped,
            }));
        }
        match self.record_directory(&events, Need::Own, now) {
            Ok(_) => {
                tracing::info!(keys = events.len(), master = %first.id(), "keys are wrapped anew");
                // What the old master key opens is to leave the record soon.
                self.directory_events = u64::MAX / 2;
            }
            Err(error) => tracing::warn!(%error, "keys are wrapped anew later"),
        }
    }

    /// Opens the keys of a channel as the directory has them now. Those that it let go with a trim
    /// stay until the trim is flushed: up to then their records are read.
    pub(super) fn open_keyring(&mut self, id: Incarnation) -> Option<Arc<Keyring>> {
        let mut keyring = self.keys_on_record(id)?;
        if let Some(before) = self.keyrings.get(&id) {
            keyring = keyring.keeping(before);
        }
        let keyring = Arc::new(keyring);
        self.keyrings.insert(id, keyring.clone());
        Some(keyring)
    }

    /// Lets go of the keys that the directory has no more.
    pub(super) fn let_keys_go(&mut self, id: Incarnation) {
        if !self.keyrings.contains_key(&id) {
            return;
        }
        if let Some(keyring) = self.keys_on_record(id) {
            self.keyrings.insert(id, Arc::new(keyring));
        }
    }

    fn keys_on_record(&self, id: Incarnation) -> Option<Keyring> {
        let keys = &self.directory.by_incarnation(id)?.keys;
        (!keys.is_empty()).then(|| Keyring::open(&self.config.master_keys, id, keys))
    }

    /// A new key number `id` for a channel, wrapped with the first master key.
    pub(super) fn new_data_key(
        &mut self,
        name: &ChannelName,
        incarnation: Incarnation,
        id: u32,
        from: Offset,
        now: Timestamp,
    ) -> Result<NewKey, BrokerError> {
        let masters = self.config.master_keys.clone();
        let Some(first) = masters.first() else {
            return Err(BrokerError::NoMasterKey {
                channel: name.to_string(),
                trouble: masters.trouble().map(Arc::from),
            });
        };
        let mut raw = RawKey::new([0; DataKey::BYTES]);
        self.fill_random(&mut *raw);
        let wrapped = Wrapped::new(&raw, first, incarnation, id, self.random_bytes());
        let key = WrappedKey {
            id,
            from,
            created_at: now,
            wrapped,
        };
        Ok(NewKey {
            event: DirectoryEvent::KeyAdded(KeyAdded { incarnation, key }),
            id,
            key: Arc::new(DataKey::new(&raw)),
        })
    }

    /// The next key of a channel that exists.
    fn next_key(
        &mut self,
        name: &ChannelName,
        incarnation: Incarnation,
        now: Timestamp,
    ) -> Result<NewKey, BrokerError> {
        let channel = self.directory.by_incarnation(incarnation);
        let last = channel.and_then(|channel| channel.keys.last());
        let id = last.map_or(0, |last| last.id) + 1;
        let end = self.storage.log(incarnation).map(|log| log.end());
        self.new_data_key(name, incarnation, id, end.unwrap_or_default(), now)
    }

    /// The events beside the change itself, where it turns encryption on or off.
    pub(super) fn turned_encryption(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        change: &ConfigChange,
        now: Timestamp,
    ) -> Result<Option<Vec<DirectoryEvent>>, BrokerError> {
        let channel = self.directory.by_incarnation(id);
        let is_off = channel.is_none_or(|channel| channel.config.encryption.is_off());
        match change.encryption {
            Some(Encryption::On) if is_off => Ok(Some(vec![self.next_key(name, id, now)?.event])),
            Some(Encryption::Off) if !is_off => Ok(Some(Vec::new())),
            _ => Ok(None),
        }
    }

    /// Gives an encrypted channel a new key: what comes is encrypted with it, in a new segment.
    /// What is stored stays as it is, and is read with the key it was encrypted with.
    ///
    /// # Errors
    /// [`Refusal`]: no such channel, one that is not encrypted, or whose present key can't be used.
    pub fn rotate_data_key(
        &mut self,
        name: &ChannelName,
        now: Timestamp,
    ) -> Result<Accepted<u32>, Refusal> {
        let id = self.channel_to_change(name, None)?;
        let channel = self.directory.by_incarnation(id);
        if channel.is_none_or(|channel| channel.config.encryption.is_off()) {
            let channel = name.to_string();
            return Err(BrokerError::NotEncrypted { channel }.into());
        }
        // A broker with the wrong master key must not go on with keys that the right one can't open.
        self.key_to_write(id)?;
        let value = self.add_key(name, id, now)?;
        Ok(Accepted {
            value,
            wait: self.directory_wait(),
        })
    }

    fn add_key(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        now: Timestamp,
    ) -> Result<u32, BrokerError> {
        let new = self.next_key(name, id, now)?;
        self.record_directory(&[new.event], Need::Producer, now)?;
        self.open_keyring(id);
        self.storage.roll(id);
        Ok(new.id)
    }

    /// How the next batch of a channel is encrypted, if it is. A key that has encrypted as much as
    /// it may is replaced first.
    pub(super) fn sealing(
        &mut self,
        id: Incarnation,
        now: Timestamp,
    ) -> Result<Option<Sealing>, BrokerError> {
        let Some(mut key) = self.key_to_write(id)? else {
            return Ok(None);
        };
        let channel = self.directory.by_incarnation(id);
        let newest = channel.and_then(|channel| Some((&channel.name, channel.keys.last()?.from)));
        let end = self.storage.log(id).map_or(Offset(0), |log| log.end());
        if let Some((name, from)) = newest
            && end.0.saturating_sub(from.0) >= self.config.max_key_offsets
        {
            let name = name.clone();
            self.add_key(&name, id, now)?;
            key = self.key_to_write(id)?.unwrap_or(key);
        }
        let (key_id, key) = key;
        let nonce = self.random_bytes();
        Ok(Some(Sealing { key, key_id, nonce }))
    }

    /// The offset from which on all that was written to a channel is encrypted: since its newest key,
    /// while it is encrypted. Before that it may have been turned off and on.
    pub(super) fn sealed_from(&self, id: Incarnation) -> Option<Offset> {
        let channel = self.directory.by_incarnation(id)?;
        let newest = channel.keys.last()?;
        (!channel.config.encryption.is_off()).then_some(newest.from)
    }

    /// How the first batch of a channel that is made for it is encrypted, if it is.
    pub(super) fn first_sealing(&mut self, key: Option<&NewKey>) -> Option<Sealing> {
        let (key_id, key) = key.map(|new| (new.id, new.key.clone()))?;
        let nonce = self.random_bytes();
        Some(Sealing { key, key_id, nonce })
    }

    /// The key that encrypts what comes to a channel; none where it is not encrypted.
    pub(super) fn key_to_write(
        &self,
        id: Incarnation,
    ) -> Result<Option<(u32, Arc<DataKey>)>, BrokerError> {
        let Some(channel) = self.directory.by_incarnation(id) else {
            return Ok(None);
        };
        if channel.config.encryption.is_off() {
            return Ok(None);
        }
        let unavailable = |key_id, reason| BrokerError::KeyUnavailable {
            channel: channel.name.to_string(),
            key_id,
            reason,
        };
        let keyring = self.keyrings.get(&id);
        let newest = keyring.and_then(|keyring| Some((keyring, keyring.newest()?)));
        let Some((keyring, key_id)) = newest else {
            return Err(unavailable(0, crate::keys::Locked::Unknown));
        };
        match keyring.key(key_id) {
            Ok(key) => Ok(Some((key_id, key.clone()))),
            Err(reason) => Err(unavailable(key_id, reason)),
        }
    }

    /// Why there is no master key, where there should be one.
    #[must_use]
    pub fn master_key_trouble(&self) -> Option<&str> {
        self.config.master_keys.trouble()
    }

    /// Whether a key that a channel's records may need can't be used.
    pub(super) fn is_locked(&self, id: Incarnation) -> bool {
        let keyring = self.keyrings.get(&id);
        keyring.is_some_and(|keyring| keyring.first_locked().is_some())
    }

    pub(super) fn key_info(&self, id: Incarnation) -> Option<KeyInfo> {
        let keys = &self.directory.by_incarnation(id)?.keys;
        let newest = keys.last()?;
        let keyring = self.keyrings.get(&id)?;
        Some(KeyInfo {
            id: newest.id,
            created_at: newest.created_at,
            from: newest.from,
            keys: keys.len(),
            locked: keyring
                .first_locked()
                .map(|(key, why)| format!("key {key}: {why}")),
        })
    }

    /// Random bytes: those of the operating system, but for tests.
    pub(super) fn random_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_random(&mut bytes);
        bytes
    }

    pub(super) fn fill_random(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let random = (self.random)().to_le_bytes();
            part.copy_from_slice(&random[..part.len()]);
        }
    }
}
