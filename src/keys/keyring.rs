//! The data keys of one channel, open as far as the master keys reach.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::master::MasterKeys;
use super::wrapped::{Locked, WrappedKey};
use crate::format::DataKey;
use crate::types::Incarnation;

/// The data keys of one channel, by number.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: BTreeMap<u32, Result<Arc<DataKey>, Locked>>,
}

impl Keyring {
    /// Unwraps what can be unwrapped.
    #[must_use]
    pub fn open(masters: &MasterKeys, log: Incarnation, wrapped: &[WrappedKey]) -> Self {
        let keys = wrapped.iter().map(|key| {
            let raw = key.wrapped.open(masters, log, key.id);
            (key.id, raw.map(|raw| Arc::new(DataKey::new(&raw))))
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// The same with the keys that `before` has besides: what they encrypt may still be read.
    #[must_use]
    pub fn keeping(mut self, before: &Self) -> Self {
        for (id, key) in &before.keys {
            self.keys.entry(*id).or_insert_with(|| key.clone());
        }
        self
    }

    /// The key of that number.
    ///
    /// # Errors
    /// [`Locked`]: the channel has no such key, or the master key for it is not known.
    pub fn key(&self, id: u32) -> Result<&Arc<DataKey>, Locked> {
        match self.keys.get(&id) {
            Some(Ok(key)) => Ok(key),
            Some(Err(locked)) => Err(locked.clone()),
            None => Err(Locked::Unknown),
        }
    }

    /// Number of the newest key, which encrypts what comes; none before the first.
    #[must_use]
    pub fn newest(&self) -> Option<u32> {
        self.keys.last_key_value().map(|(id, _)| *id)
    }

    /// The first key that can't be used, with why.
    #[must_use]
    pub fn first_locked(&self) -> Option<(u32, &Locked)> {
        self.keys
            .iter()
            .find_map(|(id, key)| Some((*id, key.as_ref().err()?)))
    }
}
