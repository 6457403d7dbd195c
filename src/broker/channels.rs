//! Channels: create, list, info, update, delete, and finding offsets in them.

use std::collections::BTreeSet;

use super::config::{ChannelConfig, ConfigChange};
use super::core::{Accepted, After, Broker, Refusal, Wait, log_options};
use super::directory::CreateError;
use super::encryption::KeyInfo;
use super::error::BrokerError;
use crate::format::DamageRow;
use crate::storage::{LoadTask, Need};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, RegionName, Timestamp};

/// What is known of a channel.
#[derive(Debug, Clone)]
pub struct ChannelInfo {
    /// Its name.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// Everything below survives power loss.
    pub flushed: Offset,
    /// Everything below may be read.
    pub high_watermark: Offset,
    /// Offset of the next record.
    pub log_end: Offset,
    /// Bytes of its batches; `None` until its older segments were listed.
    pub size: Option<(usize, u64)>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Epoch of its last batch.
    pub log_epoch: LogEpoch,
    /// Known damage.
    pub damage: Vec<DamageRow>,
    /// Why it takes no writes, if so.
    pub refused: Option<String>,
    /// Error number of the operating system, where one is the reason.
    pub errno: Option<i32>,
    /// How it keeps its records.
    pub config: ChannelConfig,
    /// The region where it lives; `None` where the broker is no region.
    pub home: Option<RegionName>,
    /// Regions that alone may hold its bytes; `None` where nobody has said.
    pub residency: Option<BTreeSet<RegionName>>,
    /// The key that encrypts it, or did before encryption was turned off.
    pub key: Option<KeyInfo>,
}

/// The channels that are not well.
#[derive(Debug, Clone, Default)]
pub struct Sick {
    /// How many have known damage.
    pub damaged: u64,
    /// How many take no writes.
    pub refusing: u64,
    /// How many have records, or take none, for want of a key.
    pub locked: u64,
    /// The first [`Sick::REFUSALS`] of these, in the order of the directory.
    pub refusals: Vec<ChannelRefusal>,
}

impl Sick {
    /// Most channels that are named.
    pub const REFUSALS: usize = 20;
}

/// A channel that takes no writes.
#[derive(Debug, Clone)]
pub struct ChannelRefusal {
    /// The channel.
    pub channel: ChannelName,
    /// Why.
    pub reason: String,
    /// Error number of the operating system, where one is the reason.
    pub errno: Option<i32>,
}

/// What a creation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The channel is new.
    Created,
    /// A channel of that name was there, which the client allows.
    Existed,
}

/// A place in a log, as a client names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An offset.
    Offset(Offset),
    /// The log start.
    Start,
    /// The high watermark.
    End,
    /// The first record appended at or after a time.
    Time(Timestamp),
    /// So many records before the high watermark, at most to the log start.
    Back(u64),
}

impl Broker {
    /// Creates a channel.
    ///
    /// # Errors
    /// [`Refusal`]: the name is taken (unless `if_not_exists`), or a configuration value is wrong.
    pub fn create_channel(
        &mut self,
        name: ChannelName,
        change: &ConfigChange,
        if_not_exists: bool,
        now: Timestamp,
    ) -> Result<Accepted<CreateOutcome>, Refusal> {
        let name = self.name_to_create(name, change.regions)?;
        let config = change.apply(&self.defaults_for(&name))?;
        self.check_org_config(&name, &config, None)?;
        self.check_regions(&config)?;
        let outcome = match self.create_with(name, config, now) {
            Ok(_) => CreateOutcome::Created,
            Err(BrokerError::Create(CreateError::Exists { .. })) if if_not_exists => {
                CreateOutcome::Existed
            }
            Err(error) => {
                return Err(Refusal::revealing(error, Some(self.directory_wait())));
            }
        };
        Ok(Accepted {
            value: outcome,
            wait: self.directory_wait(),
        })
    }

    /// Only a region can wait for others.
    fn check_regions(&self, config: &ChannelConfig) -> Result<(), BrokerError> {
        match config.ack_regions > 1 && self.config.region.is_none() {
            true => Err(BrokerError::NotARegion),
            false => Ok(()),
        }
    }

    /// How many regions, this one included, hold a batch of a log before it is acknowledged.
    #[must_use]
    pub fn ack_regions_of(&self, id: Incarnation) -> u32 {
        let channel = self.directory.by_incarnation(id);
        channel.map_or(1, |channel| channel.config.ack_regions)
    }

    /// What an answer about the directory waits for.
    #[must_use]
    pub fn directory_wait(&self) -> Wait {
        self.wait_for(self.storage.directory_id())
    }

    /// Changes a channel's configuration; a change to `synced` syncs all that the channel holds.
    ///
    /// # Errors
    /// [`Refusal`]: no such channel, an internal topic, or a value that breaks its rule.
    pub fn update_channel(
        &mut self,
        name: &ChannelName,
        change: &ConfigChange,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let id = self.channel_to_change(name, None)?;
        let mut events = vec![self.directory.check_update(id, change)?];
        if let Some(channel) = self.directory.by_incarnation(id) {
            let changed = change.apply(&channel.config)?;
            self.check_org_config(name, &changed, Some(&channel.config))?;
            self.check_regions(&changed)?;
        }
        let turned = self.turned_encryption(name, id, change, now)?;
        events.extend(turned.iter().flatten().cloned());
        // A shorter retention is how an operator frees space.
        self.record_directory(&events, Need::Freeing, now)?;
        if turned.is_some() {
            self.open_keyring(id);
            self.storage.roll(id);
        }
        if let Some(channel) = self.directory.by_incarnation(id) {
            self.storage.set_options(id, log_options(&channel.config));
        }
        Ok(Accepted {
            value: (),
            wait: self.directory_wait(),
        })
    }

    /// Deletes a channel. It is gone for everybody at once; its files follow.
    ///
    /// # Errors
    /// [`Refusal`]: no such channel, another identity than expected, an internal topic, or records
    /// that an open dispute points to.
    pub fn delete_channel(
        &mut self,
        name: &ChannelName,
        incarnation: Option<Incarnation>,
        now: Timestamp,
    ) -> Result<Accepted<Incarnation>, Refusal> {
        let id = self.channel_to_change(name, incarnation)?;
        self.check_held(name)?;
        let event = self.directory.check_delete(id, now)?;
        let staged = self.record_directory(&[event], Need::Freeing, now)?;
        self.after.push((staged.entry, After::Drop(id)));
        self.has_stray_positions = true;
        self.drop_positions(now);
        Ok(Accepted {
            value: id,
            wait: self.directory_wait(),
        })
    }

    /// Refuses to let records go that an open dispute points to.
    pub(super) fn check_held(&self, name: &ChannelName) -> Result<(), BrokerError> {
        match self.asp.held(name) {
            None => Ok(()),
            Some((range, dispute)) => Err(BrokerError::Held {
                channel: name.to_string(),
                range,
                dispute,
            }),
        }
    }

    /// What is known of a channel.
    ///
    /// # Errors
    /// [`BrokerError::NoSuchChannel`].
    pub fn channel_info(&self, name: &ChannelName) -> Result<Accepted<ChannelInfo>, BrokerError> {
        let id = self.channel_to_read(name, None)?;
        let value = self
            .info_of(id)
            .ok_or_else(|| super::positions::no_such(name))?;
        Ok(Accepted {
            value,
            wait: self.directory_wait(),
        })
    }

    /// The identity of the channel of that name, if there is one.
    #[must_use]
    pub fn identity_of(&self, name: &ChannelName) -> Option<Incarnation> {
        let (id, _) = self.directory.by_name(name.as_str())?;
        Some(id)
    }

    /// The job that must run before a channel's size is known, if there is one.
    #[must_use]
    pub fn plan_load(&self, id: Incarnation) -> Option<LoadTask> {
        self.storage.plan_load(id)
    }

    /// Books what a load found.
    ///
    /// # Errors
    /// [`BrokerError::Io`] when the directory could not be listed.
    pub fn finish_load(&mut self, loaded: crate::storage::Loaded) -> Result<(), BrokerError> {
        Ok(self.storage.finish_load(loaded)?)
    }

    /// The live channels from `cursor` on, by name, at most `limit`.
    ///
    /// - `prefix`: how the names begin. One without a slash means channels of the default
    ///   organisation, one with it those of the organisation before it.
    /// - `is_internal`: whether internal topics are wanted too.
    #[must_use]
    pub fn list_channels(
        &self,
        prefix: &str,
        is_internal: bool,
        cursor: Option<&str>,
        limit: usize,
    ) -> Accepted<Vec<ChannelInfo>> {
        self.list_channels_of(prefix, is_internal, cursor, limit, |_| true)
    }

    /// As [`Broker::list_channels`], of those channels alone that whoever asks may see: the others
    /// are neither counted nor the last of a page.
    #[must_use]
    pub fn list_channels_of(
        &self,
        prefix: &str,
        is_internal: bool,
        cursor: Option<&str>,
        limit: usize,
        is_seen: impl Fn(&ChannelName) -> bool,
    ) -> Accepted<Vec<ChannelInfo>> {
        let from = cursor.unwrap_or("");
        let has_org = prefix.contains('/');
        let infos = self
            .directory
            .iter()
            .filter(|(_, channel)| {
                let name = channel.name.as_str();
                name.starts_with(prefix)
                    && channel.name.org().is_some() == has_org
                    && (cursor.is_none() || name > from)
                    && (is_internal || !channel.name.is_internal())
                    && is_seen(&channel.name)
            })
            .take(limit)
            .filter_map(|(id, _)| self.info_of(id))
            .collect();
        Accepted {
            value: infos,
            wait: self.directory_wait(),
        }
    }

    fn info_of(&self, id: Incarnation) -> Option<ChannelInfo> {
        let channel = self.directory.by_incarnation(id)?;
        let log = self.storage.log(id)?;
        Some(ChannelInfo {
            name: channel.name.clone(),
            incarnation: id,
            log_start: log.log_start(),
            flushed: log.flushed(),
            high_watermark: log.high_watermark(),
            // Records that a power cut could still take are nobody's to count on.
            log_end: log.high_watermark(),
            size: log.size(),
            created_at: channel.created_at,
            log_epoch: log.last_epoch(),
            damage: log.damage().to_vec(),
            refused: self.refusal_of(id),
            errno: log.errno(),
            config: channel.config.clone(),
            home: self.elsewhere(id).or(self.config.region.as_ref()).cloned(),
            residency: self.region_directory().residency(&channel.name.channel()),
            key: self.key_info(id),
        })
    }

    /// Why a channel takes no writes, if so.
    fn refusal_of(&self, id: Incarnation) -> Option<String> {
        let refused = self.storage.log(id)?.refused().map(ToString::to_string);
        let refused = refused.or_else(|| Some(self.key_to_write(id).err()?.to_string()));
        let unknown = self.unknown_positions.as_ref();
        let unknown = unknown.filter(|_| id == self.positions);
        refused.or_else(|| unknown.map(ToString::to_string))
    }

    /// Which channels have known damage or take no writes.
    #[must_use]
    pub fn sick_channels(&self) -> Sick {
        let mut sick = Sick::default();
        for (id, channel) in self.directory.iter() {
            let Some(log) = self.storage.log(id) else {
                continue;
            };
            sick.damaged += u64::from(!log.damage().is_empty());
            sick.locked += u64::from(self.is_locked(id));
            let Some(reason) = self.refusal_of(id) else {
                continue;
            };
            sick.refusing += 1;
            if sick.refusals.len() < Sick::REFUSALS {
                sick.refusals.push(ChannelRefusal {
                    channel: channel.name.clone(),
                    reason,
                    errno: log.errno(),
                });
            }
        }
        sick
    }

    /// The channel of that name, of that identity if one is given.
    pub(super) fn channel_to_read(
        &self,
        name: &ChannelName,
        incarnation: Option<Incarnation>,
    ) -> Result<Incarnation, BrokerError> {
        let found = self.directory.by_name(name.as_str());
        let (id, _) = found.ok_or_else(|| self.no_such_log(name))?;
        self.same_life(id, incarnation)?;
        Ok(id)
    }

    pub(super) fn channel_to_change(
        &self,
        name: &ChannelName,
        incarnation: Option<Incarnation>,
    ) -> Result<Incarnation, BrokerError> {
        if name.is_internal() {
            return Err(BrokerError::Internal {
                name: name.to_string(),
            });
        }
        let id = self.channel_to_read(name, incarnation)?;
        self.check_home(id, name)?;
        Ok(id)
    }
}
