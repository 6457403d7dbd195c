//! Records that this region has set aside: where they lie, what opens them, and on the record of
//! `__copies` where they were published again. Also what homes were heard to have synced.

use std::sync::Arc;

use super::core::{Accepted, Broker, Refusal};
use super::error::BrokerError;
use super::journal::OwnRecord;
use crate::keys::{Keyring, WrappedKey};
use crate::region::copies::{CopyEvent, Republication, Republished, Seen, SetAside};
use crate::types::{ChannelName, Incarnation, Timestamp};

/// The directory of what is set aside, as records name it.
const PLACE: &str = "lost+found/";

/// A file of batches that was set aside.
#[derive(Debug, Clone)]
pub struct AsideFile {
    /// What is on the record of it.
    pub aside: SetAside,
    /// The channel whose log the batches were taken from, where that is known here.
    pub channel: Option<ChannelName>,
    /// What opens those that are encrypted at rest, of the keys that the log has here now; it may have
    /// let those go that its records of then need.
    pub keyring: Option<Arc<Keyring>>,
}

impl Broker {
    /// A file that was set aside, by its name in `lost+found`.
    ///
    /// # Errors
    /// [`BrokerError::Aside`] where no such file is on the record.
    pub fn aside_file(&self, file: &str) -> Result<AsideFile, BrokerError> {
        let aside = self.kept.copies.aside().iter();
        let is_it = |aside: &&SetAside| aside.place.strip_prefix(PLACE) == Some(file);
        let aside = aside.rev().find(is_it).ok_or_else(|| BrokerError::Aside {
            file: file.to_owned(),
            what: "is not on the record of what this region has set aside".to_owned(),
        })?;
        let id = aside.incarnation;
        // What was refused was in an outbox, and is for another channel.
        let refused = aside.refused.as_ref();
        let refused = refused.map(|refused| refused.channel.clone());
        Ok(AsideFile {
            aside: aside.clone(),
            channel: refused.or_else(|| self.channel_of_log(id)),
            keyring: self.keyrings.get(&id).cloned(),
        })
    }

    /// The keys of a log as they are to lie beside what is set aside of it: wrapped with the master
    /// key. None where it was never encrypted.
    #[must_use]
    pub fn keys_aside(&self, id: Incarnation) -> Option<Vec<u8>> {
        let keys = &self.directory.by_incarnation(id)?.keys;
        let text = serde_json::to_vec(keys).ok();
        text.filter(|_| !keys.is_empty())
    }

    /// What opens the batches of a log with the keys that lie beside them.
    ///
    /// # Errors
    /// What is wrong with the text that lies there.
    pub fn keyring_aside(
        &self,
        id: Incarnation,
        text: &[u8],
    ) -> Result<Arc<Keyring>, serde_json::Error> {
        let keys: Vec<WrappedKey> = serde_json::from_slice(text)?;
        Ok(Arc::new(Keyring::open(&self.config.master_keys, id, &keys)))
    }

    /// The channel of a log that is here, or was.
    fn channel_of_log(&self, id: Incarnation) -> Option<ChannelName> {
        if let Some(channel) = self.directory.by_incarnation(id) {
            return Some(channel.name.clone());
        }
        let known = self.homes.homes.name(id).map(ToString::to_string);
        let copy = || self.kept.copies.copy(id).map(|copy| copy.log.to_string());
        ChannelName::parse_any(&known.or_else(copy)?).ok()
    }

    /// Records how far something that was set aside is published again.
    ///
    /// # Errors
    /// [`Refusal`]: no such file is on the record, more of it is there already, or there is no room.
    pub fn record_republished(
        &mut self,
        file: &str,
        republished: Republished,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let known = self.aside_file(file)?.aside;
        let mut rows = known.republished.iter();
        let is_known = rows.any(|row| {
            let is_it = row.to == republished.to && row.target == republished.target;
            is_it && (row.done || row.records > republished.records)
        });
        if let (true, Some(log)) = (is_known, self.kept.log) {
            // Somebody else does the same, and is ahead.
            return Ok(Accepted {
                value: (),
                wait: self.wait_for(log),
            });
        }
        let event = CopyEvent::Republished(Republication {
            incarnation: known.incarnation,
            place: known.place,
            republished,
        });
        let mut next = self.kept.copies.clone();
        next.apply(&event).map_err(|error| BrokerError::Aside {
            file: file.to_owned(),
            what: format!("can't be noted so: {error}"),
        })?;
        self.record_kept(&[event], next, now)
    }

    /// Records what homes were heard to have synced, where that is more than is on the record.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, or there is no room.
    pub fn record_seen(&mut self, seen: Vec<Seen>, now: Timestamp) -> Result<(), Refusal> {
        let mut next = self.kept.copies.clone();
        let mut events = Vec::new();
        for seen in seen {
            let event = CopyEvent::Seen(seen);
            // One that was seen before changes nothing, and one of no copy is of no use.
            if next.apply(&event).is_ok() {
                events.push(event);
            }
        }
        match events.is_empty() {
            true => Ok(()),
            false => self.record_kept(&events, next, now).map(drop),
        }
    }

    fn record_kept(
        &mut self,
        events: &[CopyEvent],
        next: crate::region::copies::Copies,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let log = self.kept.log.filter(|_| self.config.region.is_some());
        let log = log.ok_or(BrokerError::NotARegion)?;
        let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_copy).collect();
        let accepted = self.record_own(log, &records, now, |broker| {
            broker.kept.copies = next;
            Ok(())
        })?;
        self.kept.events += events.len() as u64;
        Ok(accepted)
    }
}
