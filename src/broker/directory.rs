//! Which channels there are: a pure state machine folded from the events of the internal topic
//! `__channels`.

mod event;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

pub use event::{
    ChannelRow, CopyOf, Created, Deleted, DirectoryEvent, KeyAdded, KeyRewrapped, Removed, Renamed,
    Trimmed, Updated, Widened,
};

use crate::broker::config::{ChannelConfig, ConfigChange, InvalidConfig};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::keys::WrappedKey;
use crate::types::{ChannelName, Incarnation, Offset, Timestamp};

/// What the directory knows of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Its name; once it is deleted, another channel may have the same.
    pub name: ChannelName,
    /// How it keeps its records.
    pub config: ChannelConfig,
    /// When it was created.
    pub created_at: Timestamp,
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// When it was deleted; its files may still be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// The data keys that encrypt what is readable of it, and the newest, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<WrappedKey>,
    /// What it is a copy of, if it lives in another region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyOf>,
}

impl Channel {
    /// Offset of the first record that its log ever had.
    #[must_use]
    pub fn begins_at(&self) -> Offset {
        self.copy.as_ref().map_or(Offset(0), |copy| copy.begins_at)
    }

    /// Whether it has not been deleted.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.deleted_at.is_none()
    }
}

/// Why a channel is not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// A live channel has that name.
    #[error("channel `{name}` exists already, as {incarnation}")]
    Exists {
        /// The name.
        name: ChannelName,
        /// The channel that has it.
        incarnation: Incarnation,
    },
    /// The identity has been given to a channel that is still known.
    #[error("incarnation {incarnation} is taken")]
    IncarnationTaken {
        /// The identity.
        incarnation: Incarnation,
    },
    /// The name is one of the broker's own.
    #[error("`{name}` is the name of an internal topic, which only the broker creates")]
    Internal {
        /// The name.
        name: ChannelName,
    },
    /// The name is that of one region's log.
    #[error(
        "`{name}` is the name of one region's log: create the channel, without `@` and the region"
    )]
    NamesLog {
        /// The name.
        name: ChannelName,
    },
    /// The configuration breaks a limit.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

/// Why a channel is not changed, trimmed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// No channel has that identity.
    #[error("there is no channel {incarnation}")]
    NotFound {
        /// The identity.
        incarnation: Incarnation,
    },
    /// It has been deleted.
    #[error("channel `{name}` ({incarnation}) is deleted")]
    Deleted {
        /// The name it had.
        name: ChannelName,
        /// The identity.
        incarnation: Incarnation,
    },
    /// The channel is one of the broker's own.
    #[error("`{name}` is an internal topic, which only the broker changes")]
    Internal {
        /// The name.
        name: ChannelName,
    },
    /// The configuration would break a limit.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
}

/// All channels. For each incarnation:
///
/// ```text
///           +--updated, renamed, widened, trimmed, keyAdded, keyRewrapped--+
///           v                                                             |
/// Absent --created--> Live -----------------------------------------------+
///                      |
///                   deleted
///                      v
///                   Deleting --removed--> Absent
/// ```
///
/// The name of a channel is free as soon as it is deleted or has another. A trim raises the log start, and drops
/// the keys that encrypt nothing from there on, but never the newest. A state
/// record replaces all once its last part is there; no other event may stand between its parts.
/// An unknown event changes nothing.
///
/// The limits of a configuration and the ban on internal names are judged once, at the door
/// (`check_…`), and not again by a replay: a log written under wider limits stays readable, and
/// the broker records its own topics like any channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    channels: BTreeMap<Incarnation, Channel>,
    /// The live ones.
    names: BTreeMap<ChannelName, Incarnation>,
    assembly: Option<Assembly<ChannelRow>>,
}

impl Directory {
    /// Takes an event into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &DirectoryEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: subject(event),
            rule,
        })
    }

    /// Turns a client's request for a new channel into the event that records it.
    ///
    /// # Errors
    /// [`CreateError`]; nothing is changed either way.
    pub fn check_create(&self, created: Created) -> Result<DirectoryEvent, CreateError> {
        if created.name.is_internal() {
            return Err(CreateError::Internal { name: created.name });
        }
        if let Some((incarnation, _)) = self.by_name(created.name.as_str()) {
            return Err(CreateError::Exists {
                name: created.name,
                incarnation,
            });
        }
        if let Some((incarnation, channel)) = self.other_kind(&created.name) {
            return Err(CreateError::Exists {
                name: channel.name.clone(),
                incarnation,
            });
        }
        if self.channels.contains_key(&created.incarnation) {
            return Err(CreateError::IncarnationTaken {
                incarnation: created.incarnation,
            });
        }
        created.config.check()?;
        Ok(DirectoryEvent::Created(created))
    }

    /// Turns a client's request to configure a channel into the event that records it.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed either way.
    pub fn check_update(
        &self,
        incarnation: Incarnation,
        change: &ConfigChange,
    ) -> Result<DirectoryEvent, ChangeError> {
        let channel = self.changeable(incarnation)?;
        let config = change.apply(&channel.config)?;
        if config.regions != channel.config.regions {
            return Err(InvalidConfig {
                field: "regions",
                value: config.regions.name().to_owned(),
                rule: format!(
                    "what the channel was made with, {}",
                    channel.config.regions.name()
                ),
            }
            .into());
        }
        Ok(DirectoryEvent::Updated(Updated {
            incarnation,
            config,
        }))
    }

    /// Turns a client's request to delete a channel into the event that records it.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed either way.
    pub fn check_delete(
        &self,
        incarnation: Incarnation,
        at: Timestamp,
    ) -> Result<DirectoryEvent, ChangeError> {
        let name = self.changeable(incarnation)?.name.clone();
        Ok(DirectoryEvent::Deleted(Deleted {
            incarnation,
            name,
            at,
        }))
    }

    /// The event that records a copy to be gone, whatever its name.
    ///
    /// # Errors
    /// [`ChangeError`]: it is not there any more.
    pub fn check_drop(
        &self,
        incarnation: Incarnation,
        at: Timestamp,
    ) -> Result<DirectoryEvent, ChangeError> {
        let channel = self.channels.get(&incarnation).filter(|it| it.is_live());
        let name = channel
            .ok_or(ChangeError::NotFound { incarnation })?
            .name
            .clone();
        Ok(DirectoryEvent::Deleted(Deleted {
            incarnation,
            name,
            at,
        }))
    }

    /// The live channel of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<(Incarnation, &Channel)> {
        let incarnation = *self.names.get(name)?;
        Some((incarnation, &self.channels[&incarnation]))
    }

    /// The live logs that regions have of a channel, by region; none where the channel is one log.
    pub fn logs_of(&self, channel: &ChannelName) -> impl Iterator<Item = (Incarnation, &Channel)> {
        let prefix = format!("{channel}@");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let named = self.names.range::<str, _>(from);
        let named = named.take_while(move |(name, _)| name.as_str().starts_with(&prefix));
        named.map(|(_, incarnation)| (*incarnation, &self.channels[incarnation]))
    }

    /// A live channel of the same name that is one log where a log for each region is meant, or the
    /// other way round: the two can't stand side by side.
    fn other_kind(&self, name: &ChannelName) -> Option<(Incarnation, &Channel)> {
        match name.region() {
            Some(_) => self.by_name(name.channel().as_str()),
            None => self.logs_of(name).next(),
        }
    }

    /// The channel with that identity, live or deleted with files still there.
    #[must_use]
    pub fn by_incarnation(&self, incarnation: Incarnation) -> Option<&Channel> {
        self.channels.get(&incarnation)
    }

    /// Lowest readable offset of a live channel.
    #[must_use]
    pub fn log_start(&self, incarnation: Incarnation) -> Option<Offset> {
        self.channels
            .get(&incarnation)
            .filter(|channel| channel.is_live())
            .map(|channel| channel.log_start)
    }

    /// The live channels, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (Incarnation, &Channel)> {
        self.names
            .values()
            .map(|incarnation| (*incarnation, &self.channels[incarnation]))
    }

    /// The live channels from a name on, sorted by name.
    pub fn iter_from<'a>(
        &'a self,
        from: Bound<&str>,
    ) -> impl Iterator<Item = (Incarnation, &'a Channel)> + use<'a> {
        let named = self.names.range::<str, _>((from, Bound::Unbounded));
        named.map(|(_, incarnation)| (*incarnation, &self.channels[incarnation]))
    }

    /// The identities of the live channels from a place on, in order.
    pub fn live_from(&self, from: Bound<Incarnation>) -> impl Iterator<Item = Incarnation> {
        self.channels
            .range((from, Bound::Unbounded))
            .filter(|(_, channel)| channel.is_live())
            .map(|(incarnation, _)| *incarnation)
    }

    /// The deleted channels whose files may still be there, sorted by incarnation.
    pub fn deleting(&self) -> impl Iterator<Item = (Incarnation, &Channel)> {
        self.channels
            .iter()
            .filter(|(_, channel)| !channel.is_live())
            .map(|(incarnation, channel)| (*incarnation, channel))
    }

    /// The names of the live channels that start with `prefix`, sorted; all when it is empty.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a ChannelName> {
        self.names
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(name, _)| name)
            .take_while(move |name| name.as_str().starts_with(prefix))
    }

    /// Number of live channels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Number of channels that clients made: the live ones, and those whose files may still be
    /// there.
    #[must_use]
    pub fn made_by_clients(&self) -> usize {
        self.channels.len() - self.names("__").count()
    }

    /// Whether there is no live channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The whole state as events, to be appended as one entry. Applied in order, to any state that
    /// stands between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<DirectoryEvent> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<DirectoryEvent> {
        let rows = self
            .channels
            .iter()
            .map(|(incarnation, channel)| ChannelRow {
                incarnation: *incarnation,
                channel: channel.clone(),
            });
        folding::split(rows, max_part_bytes)
            .into_iter()
            .map(DirectoryEvent::Folded)
            .collect()
    }

    /// A live channel that clients may change.
    fn changeable(&self, incarnation: Incarnation) -> Result<&Channel, ChangeError> {
        let channel = self
            .channels
            .get(&incarnation)
            .ok_or(ChangeError::NotFound { incarnation })?;
        if channel.name.is_internal() {
            return Err(ChangeError::Internal {
                name: channel.name.clone(),
            });
        }
        if !channel.is_live() {
            return Err(ChangeError::Deleted {
                name: channel.name.clone(),
                incarnation,
            });
        }
        Ok(channel)
    }

    fn transition(&mut self, event: &DirectoryEvent) -> Result<(), &'static str> {
        match event {
            DirectoryEvent::Unknown { .. } => {}
            DirectoryEvent::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
            }
            _ if self.assembly.is_some() => return Err(BETWEEN_PARTS),
            DirectoryEvent::Created(event) => self.insert(
                event.incarnation,
                Channel {
                    name: event.name.clone(),
                    config: event.config.clone(),
                    created_at: event.at,
                    log_start: event.copy.as_ref().map_or(Offset(0), |copy| copy.begins_at),
                    deleted_at: None,
                    keys: Vec::new(),
                    copy: event.copy.clone(),
                },
            )?,
            DirectoryEvent::Updated(event) => {
                self.live(event.incarnation)?.config = event.config.clone();
            }
            DirectoryEvent::Deleted(event) => {
                let channel = self.live(event.incarnation)?;
                if channel.name != event.name {
                    return Err("the channel has another name");
                }
                channel.deleted_at = Some(event.at);
                self.names.remove(&event.name);
            }
            DirectoryEvent::Renamed(event) => {
                if self.names.contains_key(&event.to) {
                    return Err("a live channel has that name");
                }
                let channel = self.live(event.incarnation)?;
                if channel.name != event.name {
                    return Err("the channel has another name");
                }
                channel.name = event.to.clone();
                self.names.remove(&event.name);
                self.names.insert(event.to.clone(), event.incarnation);
            }
            DirectoryEvent::Widened(event) => {
                let channel = self.live(event.incarnation)?;
                if channel.copy.is_none() {
                    return Err("the channel is no copy");
                }
                channel.copy = Some(event.copy.clone());
                channel.log_start = event.log_start;
            }
            DirectoryEvent::Removed(event) => match self.channels.get(&event.incarnation) {
                None => return Err("there is no such channel"),
                Some(channel) if channel.is_live() => return Err("the channel is not deleted"),
                Some(_) => {
                    self.channels.remove(&event.incarnation);
                }
            },
            DirectoryEvent::Trimmed(event) => {
                let channel = self.live(event.incarnation)?;
                if event.log_start <= channel.log_start {
                    return Err("the log start is not raised");
                }
                channel.log_start = event.log_start;
                let next = channel.keys.iter().skip(1);
                let spent = next.take_while(|key| key.from <= event.log_start).count();
                channel.keys.drain(..spent);
            }
            DirectoryEvent::KeyAdded(event) => {
                let channel = self.live(event.incarnation)?;
                let last = channel.keys.last();
                if event.key.id != last.map_or(0, |last| last.id) + 1 {
                    return Err("the key does not have the next number");
                }
                channel.keys.push(event.key.clone());
            }
            DirectoryEvent::KeyRewrapped(event) => {
                let keys = &mut self.live(event.incarnation)?.keys;
                match keys.iter_mut().find(|key| key.id == event.key_id) {
                    Some(key) => key.wrapped = event.wrapped.clone(),
                    None => return Err("the channel has no such key"),
                }
            }
        }
        Ok(())
    }

    fn live(&mut self, incarnation: Incarnation) -> Result<&mut Channel, &'static str> {
        match self.channels.get_mut(&incarnation) {
            None => Err("there is no such channel"),
            Some(channel) if !channel.is_live() => Err("the channel is deleted"),
            Some(channel) => Ok(channel),
        }
    }

    fn insert(&mut self, incarnation: Incarnation, channel: Channel) -> Result<(), &'static str> {
        if self.channels.contains_key(&incarnation) {
            return Err("the incarnation is taken");
        }
        if channel.is_live() {
            if self.names.contains_key(&channel.name) {
                return Err("a live channel has that name");
            }
            self.names.insert(channel.name.clone(), incarnation);
        }
        self.channels.insert(incarnation, channel);
        Ok(())
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &ChannelRow>) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            state.insert(row.incarnation, row.channel.clone())?;
        }
        Ok(state)
    }
}

fn subject(event: &DirectoryEvent) -> String {
    match event {
        DirectoryEvent::Created(event) => {
            format!("channel `{}` ({})", event.name, event.incarnation)
        }
        DirectoryEvent::Updated(Updated { incarnation, .. })
        | DirectoryEvent::Renamed(Renamed { incarnation, .. })
        | DirectoryEvent::Widened(Widened { incarnation, .. })
        | DirectoryEvent::Deleted(Deleted { incarnation, .. })
        | DirectoryEvent::Removed(Removed { incarnation })
        | DirectoryEvent::KeyAdded(KeyAdded { incarnation, .. })
        | DirectoryEvent::KeyRewrapped(KeyRewrapped { incarnation, .. })
        | DirectoryEvent::Trimmed(Trimmed { incarnation, .. }) => format!("channel {incarnation}"),
        DirectoryEvent::Folded(part) => format!("part {} of {}", part.part, part.parts),
        DirectoryEvent::Unknown { .. } => "nobody known".to_owned(),
    }
}
