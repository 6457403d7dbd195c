//! Internal topics that travel between regions: kept here as copies that only the broker writes, and
//! folded as they come and at a start.
//!
//! `__regions` has one home and the same name everywhere. `__homes`, `__interest` and `__access` every
//! region has for itself, so those of others are kept under their names: `__homes@eu-west`.

use bytes::Bytes;

use super::asp::CopiedTopic;
use super::config::ChannelConfig;
use super::copies::NewCopy;
use super::core::{Accepted, After, Broker, ChannelState, Refusal, log_options};
use super::directory::{CopyOf, CreateError, Created, Deleted, DirectoryEvent};
use super::error::{BrokerError, BrokerOpenError};
use super::journal::{ACCESS, HOMES, INTEREST, OwnRecord, own_batch};
use super::keys_abroad::AccessOf;
use super::producers::Producers;
use super::regions::{CopiedRegions, REGIONS};
use super::topic::{TopicError, fold_topic, read_topic};
use super::trimming::is_whole_state;
use crate::format::BatchHeader;
use crate::region::interest::Interests;
use crate::storage::Need;
use crate::types::{ChannelName, Incarnation, Offset, RegionName, Timestamp};

/// An internal topic that travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Travelling {
    /// Which regions and channels there are, from the one home of it.
    Regions,
    /// What a region says of the homes of logs.
    Homes,
    /// What a region asks for.
    Interest,
    /// Which organisations, keys and grants a region has.
    Access,
}

impl Travelling {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Regions, Self::Homes, Self::Interest, Self::Access];

    fn text(self) -> &'static str {
        match self {
            Self::Regions => REGIONS,
            Self::Homes => HOMES,
            Self::Interest => INTEREST,
            Self::Access => ACCESS,
        }
    }

    /// The name that it has in the region that writes it.
    #[must_use]
    pub fn name(self) -> ChannelName {
        ChannelName::parse_any(self.text()).expect("a constant that follows the rule")
    }

    /// The name under which it is kept here when it comes from another region.
    #[must_use]
    pub fn name_from(self, region: &RegionName) -> ChannelName {
        match self {
            Self::Regions => self.name(),
            Self::Homes | Self::Interest | Self::Access => self.name().of_region(region),
        }
    }

    /// The topic that has that name, in the region that writes it or here.
    #[must_use]
    pub fn of(name: &ChannelName) -> Option<Self> {
        let text = name.as_str();
        let text = text.split_once('@').map_or(text, |(topic, _)| topic);
        Self::ALL.into_iter().find(|topic| topic.text() == text)
    }
}

impl Broker {
    /// Makes the copy of an internal topic of another region, under the name that it has here.
    ///
    /// # Errors
    /// [`Refusal`]: no topic of that name travels, there is one, or no room.
    pub fn create_travelled(
        &mut self,
        new: NewCopy,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        if Travelling::of(&new.name).is_none() && CopiedTopic::of(&new.name).is_none() {
            return Err(BrokerError::Internal {
                name: new.name.to_string(),
            }
            .into());
        }
        let (name, incarnation) = (new.name.clone(), new.incarnation);
        let is_known = self.directory.by_incarnation(incarnation).is_some();
        if is_known || self.directory.by_name(name.as_str()).is_some() {
            return Err(BrokerError::from(CreateError::Exists { name, incarnation }).into());
        }
        self.put_travelled(new, None, now)
    }

    /// Makes the copy of a topic of another region. Where that says who people are, and did so on
    /// another topic when they were met, the entry says that its numbers mean others from now on:
    /// the region was begun anew, perhaps while it was no peer and no copy was here.
    ///
    /// - `old`: the copy that it takes the name of, which is removed.
    pub(super) fn put_travelled(
        &mut self,
        new: NewCopy,
        old: Option<Incarnation>,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let strangers = match Travelling::of(&new.name) {
            Some(Travelling::Access) => {
                let access = &self.access;
                access.check_strangers(&new.home, new.incarnation, now)
            }
            _ => Vec::new(),
        };
        let records: Vec<OwnRecord> = strangers.iter().map(OwnRecord::of_access).collect();
        let more_of = match records.is_empty() {
            true => None,
            false => Some(own_batch(self.access_log, &records)?),
        };
        let (incarnation, config) = (new.incarnation, self.own_topic_config());
        let options = log_options(&config);
        let name = new.name.clone();
        let created = DirectoryEvent::Created(Created {
            name: new.name,
            incarnation,
            config,
            at: now,
            copy: Some(CopyOf {
                home: new.home,
                begins_at: new.begins_at,
                from_start: new.from_start,
                types: None,
            }),
        });
        let deleted = old.map(|incarnation| {
            DirectoryEvent::Deleted(Deleted {
                incarnation,
                name,
                at: now,
            })
        });
        let events: Vec<DirectoryEvent> = deleted.into_iter().chain([created]).collect();
        let log = more_of.as_ref().map(|batch| batch.log);
        let staged = self.record_directory_with(&events, more_of, Need::Own, now)?;
        if let Some(log) = log {
            self.booked(log, &staged);
        }
        if let Some(old) = old {
            self.after.push((staged.entry, After::Drop(old)));
            self.note_purged(old, now);
        }
        self.storage
            .create_log_at(incarnation, options, new.begins_at);
        let mut channel = ChannelState::new(Producers::new(self.config.producers));
        channel.last = self.directory_wait();
        self.channels.insert(incarnation, channel);
        for event in &strangers {
            let applied = self.access.apply(event);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        }
        self.access_events += strangers.len() as u64;
        Ok(Accepted {
            value: (),
            wait: self.directory_wait(),
        })
    }

    /// How the broker's own topics keep their records: they are trimmed behind their folded state,
    /// never by age.
    pub(super) fn own_topic_config(&self) -> ChannelConfig {
        ChannelConfig {
            retention_days: None,
            segment_bytes: self.config.storage.own_segment_bytes,
            max_record_bytes: 64 * 1024 * 1024,
            ..ChannelConfig::default()
        }
    }

    /// Takes a batch that was appended to the copy of an internal topic into what is folded from
    /// it. One that holds the whole state makes those before it needless here too.
    pub(super) fn travelled(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        header: &BatchHeader,
        batch: &Bytes,
        now: Timestamp,
    ) {
        if let Some(topic) = CopiedTopic::of(name) {
            let range = header.base_offset()..header.end_offset();
            return self.asp.copied.fold(id, topic, &range, batch);
        }
        // The directory may have been made here, and live elsewhere now.
        let from = self.elsewhere(id).cloned();
        let (Some(topic), Some(from)) = (Travelling::of(name), from) else {
            return;
        };
        if let Err(error) = self.fold_travelled(topic, &from, batch) {
            match topic {
                Travelling::Access => self.access.lacks_of(&from),
                Travelling::Homes => self.lacks(name, id, error.to_string()),
                Travelling::Regions | Travelling::Interest => {}
            }
            tracing::error!(%error, %name, region = %from, "what another region says is not taken");
            return;
        }
        if !self.lacking.is_empty() {
            match is_whole_state(batch) {
                true => self.has_topic(name, now),
                false => self.has_topic_to(name, header.end_offset(), now),
            }
        }
        let begins = header.base_offset();
        let start = self.storage.log(id).map_or(begins, |log| log.log_start());
        if start < begins && is_whole_state(batch) {
            self.trim_folded(id, begins, now);
        }
    }

    /// Takes what a region says on a topic: where it comes, and again at a start.
    fn fold_travelled(
        &mut self,
        topic: Travelling,
        from: &RegionName,
        batches: &Bytes,
    ) -> Result<(), TopicError> {
        match topic {
            Travelling::Regions => {
                let mut copied = CopiedRegions {
                    regions: &mut self.regions,
                    consents: &mut self.consents,
                };
                let folded = fold_topic(&mut copied, batches).map(drop);
                self.settle_trust();
                folded
            }
            Travelling::Access => {
                let mut said = AccessOf {
                    access: &mut self.access,
                    region: from,
                };
                fold_topic(&mut said, batches).map(drop)
            }
            Travelling::Interest => {
                let theirs = self.interests_of.entry(from.clone()).or_default();
                fold_topic(theirs, batches).map(drop)
            }
            Travelling::Homes => self.fold_homes_of(from, batches).map(drop),
        }
    }

    /// Folds the copies of other regions' topics at a start, those first that say who is home: the
    /// directory may have come here, or gone elsewhere. What can't be known comes again with the next
    /// state record of its home.
    pub(super) fn fold_copies_of_topics(&mut self) -> Result<(), BrokerOpenError> {
        self.fold_copies_of(|topic| topic == Travelling::Homes)?;
        self.settle_homes();
        self.fold_own_regions()?;
        self.fold_copies_of(|topic| topic != Travelling::Homes)?;
        self.settle_trust();
        self.fold_copied_topics();
        Ok(())
    }

    fn fold_copies_of(
        &mut self,
        is_meant: impl Fn(Travelling) -> bool,
    ) -> Result<(), BrokerOpenError> {
        let copies = self.directory.iter().filter_map(|(id, channel)| {
            let topic = Travelling::of(&channel.name).filter(|topic| is_meant(*topic))?;
            Some((id, topic, self.elsewhere(id)?.clone()))
        });
        for (id, topic, from) in copies.collect::<Vec<_>>() {
            let read = read_topic(&mut self.storage, topic.text(), id, Offset(0));
            let folded = read.and_then(|(batches, closed)| {
                let mut parts = batches.iter();
                parts.try_for_each(|batches| self.fold_travelled(topic, &from, batches))?;
                self.note_untrimmed(id, &batches);
                // A revocation may be lost at its end.
                closed.map_or(Ok(()), Err)
            });
            match (&folded, topic) {
                (Err(_), Travelling::Access) => self.access.lacks_of(&from),
                // Another region may have taken over what seems to live here.
                (Err(error), Travelling::Homes) => {
                    let name = topic.name_from(&from);
                    self.lacks(&name, id, error.to_string());
                }
                _ => {}
            }
            match folded {
                Ok(()) => {}
                Err(error) if error.refuses_start() => return Err(error.into()),
                Err(error) => tracing::error!(%error, region = %from, "what it says is not known"),
            }
        }
        Ok(())
    }

    /// Folds the directory anew from what its copy holds, after what is another's was taken out of it.
    ///
    /// - `batches`: all that is readable of it.
    ///
    /// # Errors
    /// [`TopicError`]; it is as it was.
    pub fn refold_regions(&mut self, batches: &[Bytes]) -> Result<(), TopicError> {
        let mut regions = crate::region::directory::Regions::default();
        let mut consents = self.consents + 1;
        let mut copied = CopiedRegions {
            regions: &mut regions,
            consents: &mut consents,
        };
        for batches in batches {
            fold_topic(&mut copied, batches)?;
        }
        (self.regions, self.consents) = (regions, consents);
        self.settle_trust();
        Ok(())
    }

    /// What another region asks for, as far as it has told.
    #[must_use]
    pub fn interests_of(&self, region: &RegionName) -> Option<&Interests> {
        self.interests_of.get(region)
    }
}
