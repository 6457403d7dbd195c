//! The directory that all regions share, as this broker has it: written where its home is, folded
//! from a copy elsewhere. `docs/regions.md`, "The directory".
//!
//! Where the directory is at home a channel and its name are one journal entry, so there is neither
//! without the other. Elsewhere the name comes first, from the directory's home, with the identity
//! that the channel will have.

use std::collections::BTreeSet;

use super::asp::CopiedTopic;
use super::copies::Residence;
use super::core::{Accepted, Broker, Refusal, Wait};
use super::directory::{CreateError, Created, DirectoryEvent};
use super::error::{BrokerError, BrokerOpenError};
use super::journal::{OwnRecord, own_batch};
use super::topic::{Fold, TopicError, fold_topic, read_topic};
use super::travelled::Travelling;
use crate::folding::{EventError, IllegalEvent};
use crate::region::directory::{Joined, Named, RegionEvent, Regions, Spread, Unnamed};
use crate::storage::{NewBatch, Staged};
use crate::types::{ChannelName, Incarnation, Offset, OrgName, RegionName, Timestamp};

/// The topic of which regions and channels there are.
pub(super) const REGIONS: &str = "__regions";
/// Facts that one entry takes, so that it stays small.
const AT_ONCE: usize = 200;
/// Most names that were given and are not used yet.
const MAX_GRANTED: usize = 10_000;

/// Where the directory of all regions is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seat {
    /// This region knows of none.
    Nowhere,
    /// Here: this region names channels.
    Here,
    /// In another region, and a copy is here.
    There(RegionName),
}

/// What somebody asks for a new channel, beside its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Regions that may hold its bytes; `None` is all.
    pub residency: Option<BTreeSet<RegionName>>,
    /// Regions that have to hold a record before it is acknowledged.
    pub ack_regions: u32,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            residency: None,
            ack_regions: 1,
        }
    }
}

/// What an entry says of the directory of all regions beside what it does.
#[derive(Debug, Default)]
#[must_use = "it holds once the entry is staged"]
pub(super) struct DraftedNames {
    events: Vec<RegionEvent>,
    made: Vec<ChannelName>,
}

impl Broker {
    /// What all regions know of each other, as far as this one does.
    #[must_use]
    pub fn region_directory(&self) -> &Regions {
        &self.regions
    }

    /// Changes whenever somebody has said who may hold what, or which regions there are.
    #[must_use]
    pub fn consents(&self) -> u64 {
        self.consents
    }

    /// What an answer about the directory of all regions waits for, where it is at home here.
    #[must_use]
    pub fn record_of_regions(&self) -> Option<Wait> {
        match self.residence(&Travelling::Regions.name()) {
            Residence::Home(log) => Some(self.wait_for(log)),
            _ => None,
        }
    }

    /// Where the directory of all regions is.
    #[must_use]
    pub fn directory_seat(&self) -> Seat {
        if self.config.region.is_none() {
            return Seat::Nowhere;
        }
        match self.residence(&Travelling::Regions.name()) {
            Residence::Home(_) => Seat::Here,
            Residence::Copy(_, home) => Seat::There(home),
            Residence::Unknown => Seat::Nowhere,
        }
    }

    /// Whether a region may hold the bytes of a channel. Where neither the channel nor its
    /// organisation says which may, all do.
    #[must_use]
    pub fn may_hold(&self, channel: &ChannelName, region: &RegionName) -> bool {
        if self.regions.left_at(region).is_some() {
            // It may come to know that it has left.
            return Travelling::of(channel) == Some(Travelling::Regions);
        }
        if self.lacking.has_directory() && !channel.is_internal() {
            // What was said of it is on its way here; whoever it comes from judges for this region.
            return self.config.region.as_ref() == Some(region);
        }
        if Travelling::of(channel) == Some(Travelling::Access) {
            // Who has which keys is for the regions of the deployment.
            return self.regions.is_known(region);
        }
        if let Some(topic) = CopiedTopic::of(channel) {
            return self.may_hold_agents(topic, channel, region);
        }
        channel.is_internal()
            || (self.regions.residency(&channel.channel()))
                .is_none_or(|regions| regions.contains(region))
    }

    /// Whether a region may hold what agents say in another one: one that belongs to the directory,
    /// where the organisation lets it. Evidence is of all organisations, so one that leaves the
    /// region out keeps it from there.
    fn may_hold_agents(
        &self,
        topic: CopiedTopic,
        channel: &ChannelName,
        region: &RegionName,
    ) -> bool {
        let said = self.regions.residency(&channel.channel());
        let is_let = said.is_none_or(|regions| regions.contains(region));
        let all_let = || {
            let mut orgs = self.regions.orgs();
            orgs.all(|(_, regions)| regions.contains(region))
        };
        self.regions.is_known(region) && is_let && (topic != CopiedTopic::Evidence || all_let())
    }

    /// Whether this region may hold the bytes of a channel.
    #[must_use]
    pub fn may_hold_here(&self, channel: &ChannelName) -> bool {
        let region = self.config.region.as_ref();
        region.is_none_or(|region| self.may_hold(channel, region))
    }

    /// Whether what an organisation asks for of another region's channel may cross: it is its own,
    /// or both sides have said yes. Who runs the broker, the default organisation, asks for any.
    #[must_use]
    pub fn may_cross(&self, channel: &ChannelName, guest: &OrgName) -> bool {
        guest.as_str() == crate::types::DEFAULT_ORG_NAME
            || self.directory_seat() == Seat::Nowhere
            || self.regions.may_cross(channel, guest)
    }

    /// Carries out a command that makes a channel for which something is asked of the directory.
    pub fn asking<T>(&mut self, asked: Asked, command: impl FnOnce(&mut Self) -> T) -> T {
        self.asked = asked;
        let answer = command(self);
        self.asked = Asked::default();
        answer
    }

    /// Begins the directory here, with this region and the channels that live here.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, or there is no room. What was recorded before stays.
    pub fn begin_directory(&mut self, now: Timestamp) -> Result<Accepted<()>, Refusal> {
        let region = self.config.region.clone().ok_or(BrokerError::NotARegion)?;
        if self.directory_seat() == Seat::Nowhere {
            self.make_own_topic(Travelling::Regions.name(), now)?;
        }
        let mut events = Vec::new();
        if !self.regions.is_known(&region) {
            events.push(RegionEvent::Joined(Joined {
                region: region.clone(),
                at: now,
            }));
        }
        for (channel, incarnation) in self.unnamed("", usize::MAX) {
            events.push(named(channel, incarnation, &region, Asked::default(), now));
        }
        self.record_regions(&events, now)
    }

    /// Channels that live here and have no name in the directory, by name.
    ///
    /// - `after`: those behind this name.
    #[must_use]
    pub fn unnamed(&self, after: &str, limit: usize) -> Vec<(ChannelName, Incarnation)> {
        let homes = self.homes(after);
        // A channel with a log for each region has its name by the first log.
        let unnamed = homes.map(|(id, name)| (name.channel(), id));
        let unnamed = unnamed.filter(|(name, _)| self.regions.channel(name.as_str()).is_none());
        unnamed.take(limit).collect()
    }

    /// Channels that live here under a name that another region's channel has, by name.
    #[must_use]
    pub fn disputed(&self) -> Vec<(ChannelName, RegionName)> {
        if self.regions.rows() == 0 {
            return Vec::new();
        }
        let held = self.homes("").filter_map(|(id, name)| {
            if name.region().is_some() {
                return None;
            }
            let known = self.regions.channel(name.as_str())?;
            if known.logs.values().any(|log| *log == id) {
                return None;
            }
            let region = known.logs.keys().next()?;
            Some((name.clone(), region.clone()))
        });
        held.collect()
    }

    /// Records facts of the directory, which is at home here, and applies them.
    ///
    /// # Errors
    /// [`Refusal`]: it is not, a fact can't follow, or there is no room. Of many facts the first
    /// may be recorded.
    pub fn record_regions(
        &mut self,
        events: &[RegionEvent],
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let Residence::Home(log) = self.residence(&Travelling::Regions.name()) else {
            return Err(BrokerError::NotARegion.into());
        };
        self.check_home(log, &Travelling::Regions.name())?;
        for events in events.chunks(AT_ONCE) {
            let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_regions).collect();
            self.record_own(log, &records, now, |broker| {
                let mut events = events.iter();
                events.try_for_each(|event| broker.regions.apply(event))
            })?;
            self.regions_events += events.len() as u64;
            self.consents += u64::from(events.iter().any(is_consent));
        }
        self.settle_trust();
        Ok(Accepted {
            value: (),
            wait: self.wait_for(log),
        })
    }

    /// Takes the name that the directory's home has given to a channel that is to be made here.
    pub fn grant(&mut self, name: ChannelName, incarnation: Incarnation) {
        if self.granted.len() >= MAX_GRANTED {
            self.granted.clear();
        }
        self.granted.insert(name, incarnation);
    }

    /// Whether a publish to a channel that does not exist makes it.
    #[must_use]
    pub fn makes_channels(&self) -> bool {
        self.config.auto_create
    }

    /// A new identity for a channel, for which a name is asked.
    pub fn draw_incarnation(&mut self) -> Incarnation {
        self.new_incarnation()
    }

    /// Whether a channel could be made here, before a name is asked for it.
    ///
    /// # Errors
    /// [`BrokerError`]: there are too many already.
    pub fn check_making(&self, name: &ChannelName) -> Result<(), BrokerError> {
        self.check_room(&[name])
    }

    /// Whether a channel could be deleted here, before its name is given back.
    ///
    /// # Errors
    /// [`BrokerError`], as [`Broker::delete_channel`] would give it.
    pub fn check_deleting(
        &self,
        name: &ChannelName,
        incarnation: Option<Incarnation>,
    ) -> Result<Incarnation, BrokerError> {
        let id = self.channel_to_change(name, incarnation)?;
        self.check_held(name)?;
        Ok(id)
    }

    /// The identity that a new channel has to have, where its name was given with one.
    pub(super) fn named_incarnation(
        &self,
        name: &ChannelName,
    ) -> Result<Option<Incarnation>, BrokerError> {
        let is_here = self.directory.by_name(name.as_str()).is_some() && !self.is_over(name);
        if name.is_internal() || is_here {
            return Ok(None);
        }
        if name.region().is_some() {
            // One region's log is nobody else's to make.
            return Ok(self.granted.get(&name.channel()).copied());
        }
        match self.directory_seat() {
            Seat::Nowhere => Ok(None),
            Seat::Here => {
                let known = self.regions.channel(name.as_str());
                let known = known.and_then(|known| known.logs.iter().next());
                match known {
                    None => Ok(None),
                    Some((home, id)) if self.config.region.as_ref() == Some(home) => Ok(Some(*id)),
                    Some((_, id)) => Err(CreateError::Exists {
                        name: name.clone(),
                        incarnation: *id,
                    }
                    .into()),
                }
            }
            Seat::There(directory) => match self.granted.get(name) {
                Some(id) => Ok(Some(*id)),
                None => Err(BrokerError::Unnamed {
                    channel: name.to_string(),
                    directory,
                }),
            },
        }
    }

    /// Adds to an entry what it means for the directory: names of the channels that it makes, and
    /// that those which it deletes have none any more.
    pub(super) fn draft_names<'a>(
        &self,
        events: impl IntoIterator<Item = &'a DirectoryEvent>,
        batches: &mut Vec<NewBatch>,
        now: Timestamp,
    ) -> Result<DraftedNames, BrokerError> {
        let mut drafted = DraftedNames::default();
        for event in events {
            match event {
                DirectoryEvent::Created(created)
                    if created.copy.is_none() && !created.name.is_internal() =>
                {
                    self.draft_name(created, &mut drafted, now)?;
                }
                DirectoryEvent::Deleted(deleted) => {
                    let (channel, incarnation) = (deleted.name.channel(), deleted.incarnation);
                    let known = self.regions.channel(channel.as_str());
                    let is_named = known.is_some_and(|known| {
                        let mut logs = known.logs.values();
                        logs.any(|log| *log == incarnation)
                    });
                    let is_home = self.residence(&deleted.name) == Residence::Home(incarnation);
                    if is_named && is_home && self.directory_seat() == Seat::Here {
                        drafted.events.push(RegionEvent::Unnamed(Unnamed {
                            channel,
                            incarnation,
                            at: now,
                        }));
                    }
                }
                _ => {}
            }
        }
        if !drafted.events.is_empty()
            && let Residence::Home(log) = self.residence(&Travelling::Regions.name())
        {
            // While it is moved nobody gives or takes names.
            self.check_home(log, &Travelling::Regions.name())?;
            let records: Vec<OwnRecord> =
                drafted.events.iter().map(OwnRecord::of_regions).collect();
            batches.push(own_batch(log, &records)?);
        }
        Ok(drafted)
    }

    fn draft_name(
        &self,
        created: &Created,
        drafted: &mut DraftedNames,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let channel = created.name.channel();
        drafted.made.push(channel.clone());
        let Some(region) = self.config.region.as_ref() else {
            return Ok(());
        };
        let is_named = self.regions.channel(channel.as_str()).is_some();
        if is_named || self.directory_seat() != Seat::Here {
            return Ok(());
        }
        let event = named(
            channel,
            created.incarnation,
            region,
            self.asked.clone(),
            now,
        );
        if let RegionEvent::Named(named) = &event {
            self.regions.check_name(named.clone())?;
        }
        drafted.events.push(event);
        Ok(())
    }

    /// Applies what was drafted, once its entry is staged.
    pub(super) fn book_names(
        &mut self,
        drafted: &DraftedNames,
        staged: &Staged,
    ) -> Result<(), BrokerError> {
        for name in &drafted.made {
            self.granted.remove(name);
        }
        for event in &drafted.events {
            let applied = self.regions.apply(event);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        }
        self.regions_events += drafted.events.len() as u64;
        if !drafted.events.is_empty()
            && let Residence::Home(log) = self.residence(&Travelling::Regions.name())
        {
            self.booked(log, staged);
        }
        Ok(())
    }

    /// Folds the directory at a start, where it is at home. Where any of it is damaged or lost the
    /// broker does not start: nobody knows who may hold what.
    pub(super) fn fold_own_regions(&mut self) -> Result<(), BrokerOpenError> {
        let Residence::Home(log) = self.residence(&Travelling::Regions.name()) else {
            return Ok(());
        };
        let mut folded = OwnRegions::default();
        let (batches, closed) = read_topic(&mut self.storage, REGIONS, log, Offset(0))?;
        for batches in batches {
            self.regions_events += fold_topic(&mut folded, &batches)?;
        }
        if let Some(error) = closed {
            return Err(error.into());
        }
        if let Some(lost) = folded.lacks {
            let topic = REGIONS;
            return Err(TopicError::Lost { topic, lost }.into());
        }
        self.regions = folded.regions;
        Ok(())
    }

    /// Writes the folded state of the directory, where it is at home, once there is enough behind it.
    pub(super) fn fold_regions(&mut self, now: Timestamp) {
        let rows = self.regions.rows() as u64;
        if self.regions_events < self.config.fold_events.max(4u64.saturating_mul(rows)) {
            return;
        }
        let Residence::Home(log) = self.residence(&Travelling::Regions.name()) else {
            return;
        };
        if self.check_home(log, &Travelling::Regions.name()).is_err() {
            return; // Nothing comes behind its fence.
        }
        let events = self.regions.fold();
        let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_regions).collect();
        if self.fold_topic(log, &records, now) {
            self.regions_events = 0;
        }
    }
}

/// Whether it may change who holds what.
pub(super) fn is_consent(event: &RegionEvent) -> bool {
    !matches!(event, RegionEvent::Named(_) | RegionEvent::Unnamed(_))
}

/// A copy of the directory, and how often consent has changed in it.
pub(super) struct CopiedRegions<'a> {
    pub regions: &'a mut Regions,
    pub consents: &'a mut u64,
}

/// The fact that a channel of one log was made in a region.
pub(super) fn named(
    channel: ChannelName,
    incarnation: Incarnation,
    home: &RegionName,
    asked: Asked,
    now: Timestamp,
) -> RegionEvent {
    RegionEvent::Named(Named {
        channel,
        incarnation,
        regions: Spread::One,
        home: home.clone(),
        residency: asked.residency,
        ack_regions: asked.ack_regions,
        at: now,
    })
}

impl Fold for CopiedRegions<'_> {
    type Event = RegionEvent;
    const TOPIC: &'static str = REGIONS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<RegionEvent, EventError> {
        RegionEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: RegionEvent) -> Result<(), IllegalEvent> {
        self.regions.apply(&event)?;
        *self.consents += u64::from(is_consent(&event));
        Ok(())
    }

    /// Its home has trimmed the topic, and a state record comes next.
    fn gap(&mut self, _: std::ops::Range<Offset>) -> Result<(), TopicError> {
        Ok(())
    }
}

/// The directory at its home, of which nothing may be lost. Where it was a copy before, it may lack
/// what the whole state behind it makes needless.
#[derive(Default)]
struct OwnRegions {
    regions: Regions,
    lacks: Option<std::ops::Range<Offset>>,
}

impl Fold for OwnRegions {
    type Event = RegionEvent;
    const TOPIC: &'static str = REGIONS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<RegionEvent, EventError> {
        RegionEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: RegionEvent) -> Result<(), IllegalEvent> {
        if matches!(&event, RegionEvent::Folded(part) if part.part == part.parts) {
            self.lacks = None;
        }
        self.regions.apply(&event)
    }

    fn gap(&mut self, lost: std::ops::Range<Offset>) -> Result<(), TopicError> {
        self.lacks = Some(lost);
        Ok(())
    }
}
