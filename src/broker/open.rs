//! Opening: the storage's recovery, with the directory and the consumers folded from their topics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::audit::Audit;
use super::config::ChannelConfig;
use super::core::{Broker, BrokerConfig, ChannelState, Wait, appended, log_options, rows_of};
use super::directory::{Created, Directory, DirectoryEvent, Removed, Updated};
use super::error::{BrokerError, BrokerOpenError};
use super::journal::{
    ACCESS, AUDIT, CHANNELS, CONSUMERS, COPIES, HOMES, INTEREST, OwnRecord, own_batch,
};
use super::producers::{ProducerLimits, ProducerState, Producers};
use super::regions::Asked;
use super::secret::DirectorySecret;
use super::topic::{Fold, TopicError, fold_topic, read_topic};
use super::waiters::RoundWaiters;
use crate::access::{Access, AccessEvent};
use crate::consumer::{ConsumerEvent, Consumers};
use bytes::Bytes;

use crate::folding::{EventError, IllegalEvent};
use crate::format::ProducerRow;
use crate::region::copies::{Copies, CopyEvent};
use crate::region::directory::Regions;
use crate::region::homes::HomeEvent;
use crate::region::interest::{InterestEvent, Interests};
use crate::region::peers::Peers;
use crate::storage::disk::Disk;
use crate::storage::{self, EntryId, LiveLog, Need, Replayed, Storage};
use crate::types::{ChannelName, Durability, Incarnation, Offset, RegionName, Timestamp};

/// A data directory after its recovery, before a broker takes it over: all that was promised is in
/// the segments, and recorded on disk.
#[derive(Debug)]
pub struct Recovered {
    /// The logs; [`Storage::recovery_report`] tells what was found.
    pub storage: Storage,
    /// The channels.
    pub directory: Directory,
    /// Where each log stands.
    pub replayed: HashMap<Incarnation, Replayed>,
}

/// Recovers a data directory as a start does, making it if it is new, and writes nothing further.
///
/// - `holder`: what another process that finds the directory locked is told of this one.
/// - `random`: 64 random bits at each call.
///
/// # Errors
/// [`BrokerOpenError`]; nothing that was stored is lost by it.
pub fn recover(
    disk: Arc<dyn Disk>,
    root: &Path,
    config: &BrokerConfig,
    holder: &str,
    now: Timestamp,
    random: &mut dyn FnMut() -> u64,
) -> Result<Recovered, BrokerOpenError> {
    let mut unrecovered = storage::open(disk, root, config.storage.clone(), holder, now, random)?;
    let mut directory = Directory::default();
    for batch in unrecovered.replay_directory()? {
        fold_topic(&mut directory, &batch)?;
    }
    let live: HashMap<Incarnation, LiveLog> = directory
        .iter()
        .map(|(id, channel)| {
            let options = log_options(&channel.config);
            (
                id,
                LiveLog {
                    options,
                    log_start: channel.log_start,
                    begins_at: channel.begins_at(),
                },
            )
        })
        .collect();
    let deleted: HashSet<Incarnation> = directory.deleting().map(|(id, _)| id).collect();
    let limits = config.producers;
    let fold = |_: Incarnation, replayed: &Replayed| rows_of(&fold_producers(limits, replayed));
    let (storage, replayed) = unrecovered.recover(&live, &deleted, &fold, now)?;
    Ok(Recovered {
        storage,
        directory,
        replayed,
    })
}

impl Broker {
    /// Opens a data directory, making it if it is new.
    ///
    /// - `holder`: what another process that finds the directory locked is told of this one.
    /// - `random`: 64 random bits at each call. API keys and the key of their hashes are made of
    ///   them, so in production they are the operating system's; tests may draw them from a seed.
    ///
    /// # Errors
    /// [`BrokerOpenError`]; nothing that was stored is lost by it.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        config: BrokerConfig,
        holder: &str,
        now: Timestamp,
        mut random: Box<dyn FnMut() -> u64 + Send>,
    ) -> Result<Self, BrokerOpenError> {
        let Recovered {
            storage,
            directory,
            replayed,
        } = recover(disk, root, &config, holder, now, &mut *random)?;
        let (limits, directory_id) = (config.producers, storage.directory_id());
        let deleting: Vec<Incarnation> = directory.deleting().map(|(id, _)| id).collect();
        let channels = replayed
            .iter()
            .map(|(id, replayed)| (*id, ChannelState::new(fold_producers(limits, replayed))))
            .collect();
        let mut broker = Self {
            config,
            storage,
            directory,
            consumers: Consumers::default(),
            unknown_positions: None,
            channels,
            keyrings: HashMap::new(),
            may_rewrap: true,
            positions: Incarnation::default(),
            access: Access::default(),
            access_log: Incarnation::default(),
            access_events: 0,
            secret: DirectorySecret::default(),
            audit: Audit::default(),
            asp: super::asp::Asp::default(),
            random,
            after: Vec::new(),
            untrimmed: BTreeMap::new(),
            round_waiters: RoundWaiters::default(),
            log_waiters: HashMap::new(),
            has_stray_positions: true,
            retention_cursor: None,
            directory_events: 0,
            consumer_events: 0,
            interests: Interests::default(),
            interest_log: None,
            interest_events: 0,
            homes: super::homes::KnownHomes::default(),
            lacking: super::lacking::Lackings::default(),
            kept: super::kept_copies::KeptCopies::default(),
            held_copies: HashSet::new(),
            wider: super::widening::Widenings::default(),
            cuts: HashMap::new(),
            regions: Regions::default(),
            regions_events: 0,
            peers: Peers::default(),
            peer_events: 0,
            consents: 0,
            granted: HashMap::new(),
            asked: Asked::default(),
            interests_of: BTreeMap::new(),
            removed: Vec::new(),
            is_stopping: false,
            has_given_up: false,
        };
        if let Some(number) = broker.other_region() {
            let name = broker.config.region.clone();
            return Err(BrokerOpenError::OtherRegion { name, number });
        }
        let stamp = broker.first_stamp()?;
        broker.storage.set_stamp(stamp);
        broker.make_own_topics(directory_id, now)?;
        broker.open_keys(now);
        broker.fold_access()?;
        broker.find_audit_head()?;
        broker.fold_consumers()?;
        broker.fold_interests()?;
        broker.fold_homes()?;
        broker.fold_copies()?;
        broker.fold_peers()?;
        broker.fold_copies_of_topics()?;
        broker.find_lacking(now);
        broker.clamp_positions(now)?;
        broker.drop_positions(now);
        broker.fold_asp(now)?;
        let removed: Vec<DirectoryEvent> = deleting
            .into_iter()
            .map(|incarnation| DirectoryEvent::Removed(Removed { incarnation }))
            .collect();
        if !removed.is_empty() {
            broker.record_directory(&removed, Need::Freeing, now)?;
        }
        Ok(broker)
    }

    /// A new identity for a log.
    pub(super) fn new_incarnation(&mut self) -> Incarnation {
        Incarnation(u128::from((self.random)()) << 64 | u128::from((self.random)()))
    }

    /// Finds the broker's own topics, and records in the directory those that are missing: all of
    /// them the first time, and those that only a newer broker has.
    fn make_own_topics(
        &mut self,
        directory_id: Incarnation,
        now: Timestamp,
    ) -> Result<(), BrokerOpenError> {
        // But for the audit.
        let config = self.own_topic_config();
        let mut events = Vec::new();
        let mut own = |broker: &mut Self, text: &str, id: Option<Incarnation>| {
            let mut config = config.clone();
            if text == AUDIT {
                config.retention_days = broker.config.audit_retention_days;
            }
            if let Some((incarnation, known)) = broker.directory.by_name(text) {
                if text == AUDIT && known.config.retention_days != config.retention_days {
                    let retention_days = config.retention_days;
                    let config = ChannelConfig {
                        retention_days,
                        ..known.config.clone()
                    };
                    events.push(DirectoryEvent::Updated(Updated {
                        incarnation,
                        config,
                    }));
                }
                return incarnation;
            }
            let incarnation = id.unwrap_or_else(|| broker.new_incarnation());
            let name = ChannelName::parse_any(text).expect("a constant that follows the rule");
            if id.is_none() {
                broker.storage.create_log(incarnation, log_options(&config));
                let state = ChannelState::new(Producers::new(broker.config.producers));
                broker.channels.insert(incarnation, state);
            }
            events.push(DirectoryEvent::Created(Created {
                name,
                incarnation,
                config,
                at: now,
                copy: None,
            }));
            incarnation
        };
        own(self, CHANNELS, Some(directory_id));
        self.positions = own(self, CONSUMERS, None);
        self.access_log = own(self, ACCESS, None);
        self.audit.log = own(self, AUDIT, None);
        if self.config.region.is_some() || self.directory.by_name(INTEREST).is_some() {
            self.interest_log = Some(own(self, INTEREST, None));
        }
        if self.config.region.is_some() {
            self.homes.log = Some(own(self, HOMES, None));
            self.kept.log = Some(own(self, COPIES, None));
        }
        if !events.is_empty() {
            self.record_directory(&events, Need::Own, now)?;
        }
        Ok(())
    }

    /// Folds the positions of all consumers. Where the topic is damaged they are not known, and
    /// all else goes on without them.
    fn fold_consumers(&mut self) -> Result<(), BrokerOpenError> {
        match self.folded_consumers() {
            Ok(()) => Ok(()),
            Err(error) if error.refuses_start() => Err(error.into()),
            Err(error) => {
                tracing::error!(
                    %error,
                    "the positions of consumers can't be known: what asks for them is refused until \
                     the topic is repaired"
                );
                // A part of them would pass for all.
                self.consumers = Consumers::default();
                self.unknown_positions = Some(Arc::new(error));
                Ok(())
            }
        }
    }

    fn folded_consumers(&mut self) -> Result<(), TopicError> {
        let mut folded = FoldedConsumers::default();
        let (batches, closed) =
            read_topic(&mut self.storage, CONSUMERS, self.positions, Offset(0))?;
        if let Some(error) = closed {
            return Err(error);
        }
        for batches in batches {
            self.consumer_events += fold_topic(&mut folded, &batches)?;
        }
        self.consumers = folded.consumers;
        Ok(())
    }

    /// Folds what the region wants of others. Where that can't be known, nothing is asked for anew.
    fn fold_interests(&mut self) -> Result<(), BrokerOpenError> {
        let Some(log) = self.interest_log else {
            return Ok(());
        };
        let folded = read_topic(&mut self.storage, INTEREST, log, Offset(0));
        let folded = folded.and_then(|(batches, closed)| {
            if let Some(error) = closed {
                return Err(error);
            }
            let mut interests = Interests::default();
            let mut events = 0;
            for batches in batches {
                events += fold_topic(&mut interests, &batches)?;
            }
            Ok((interests, events))
        });
        match folded {
            Ok((interests, events)) => (self.interests, self.interest_events) = (interests, events),
            Err(error) if error.refuses_start() => return Err(error.into()),
            Err(error) => tracing::error!(%error, "what this region wants of others is not known"),
        }
        Ok(())
    }

    /// Folds what this region has said of the homes of logs. One that does not know it does not start:
    /// it might append to a log that another one has taken over.
    fn fold_homes(&mut self) -> Result<(), BrokerOpenError> {
        let (Some(me), Some(log)) = (self.config.region.clone(), self.homes.log) else {
            return Ok(());
        };
        let (batches, closed) = read_topic(&mut self.storage, HOMES, log, Offset(0))?;
        for batches in batches {
            self.homes.events += self.fold_homes_of(&me, &batches)?;
        }
        match closed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Takes what a region says on its topic of homes.
    pub(super) fn fold_homes_of(
        &mut self,
        by: &RegionName,
        batches: &Bytes,
    ) -> Result<u64, TopicError> {
        let mut folded = FoldedHomes { broker: self, by };
        fold_topic(&mut folded, batches)
    }

    /// Folds what became of the copies that are here. Where that can't be known, they are followed
    /// as if nothing had become of them.
    fn fold_copies(&mut self) -> Result<(), BrokerOpenError> {
        let Some(log) = self.kept.log else {
            return Ok(());
        };
        let folded = read_topic(&mut self.storage, COPIES, log, Offset(0));
        let folded = folded.and_then(|(batches, closed)| {
            if let Some(error) = closed {
                return Err(error);
            }
            let mut copies = Copies::default();
            let mut events = 0;
            for batches in batches {
                events += fold_topic(&mut copies, &batches)?;
            }
            Ok((copies, events))
        });
        match folded {
            Ok((copies, events)) => (self.kept.copies, self.kept.events) = (copies, events),
            Err(error) if error.refuses_start() => return Err(error.into()),
            Err(error) => tracing::error!(%error, "what became of copies is not known"),
        }
        Ok(())
    }

    /// Folds who may come in and do what. Where any of it is damaged or lost, the broker does not
    /// start: nobody knows which keys were revoked. While there is no secret file there never was
    /// a key, so the end of the topic may be uncertain, and a gap may be in it.
    fn fold_access(&mut self) -> Result<(), BrokerOpenError> {
        self.secret = DirectorySecret::open(&self.storage)?;
        let mut folded = FoldedAccess {
            access: Access::default(),
            may_have_keys: self.secret.hasher().is_some(),
        };
        let (batches, closed) = read_topic(&mut self.storage, ACCESS, self.access_log, Offset(0))?;
        for batches in batches {
            self.access_events += fold_topic(&mut folded, &batches)?;
        }
        if folded.access.has_keys() {
            self.secret.check_there(&self.storage)?;
        }
        match closed {
            Some(error) if folded.may_have_keys => return Err(error.into()),
            Some(error) => tracing::error!(%error, "no organisation can be made or changed"),
            None => {}
        }
        self.access = folded.access;
        Ok(())
    }

    /// Brings positions beyond the end of a log that was cut back to that end, on the record.
    fn clamp_positions(&mut self, now: Timestamp) -> Result<(), BrokerOpenError> {
        let channels: Vec<Incarnation> = self.consumers.channels().map(|(id, _)| id).collect();
        let mut events = Vec::new();
        for id in channels {
            let Some(log) = self.storage.log(id) else {
                continue;
            };
            events.extend(
                self.consumers
                    .clamp_to(id, log.end(), log.last_epoch(), now),
            );
        }
        for event in &events {
            if let ConsumerEvent::Repositioned(moved) = event {
                tracing::warn!(
                    channel = %moved.channel, consumer = %moved.consumer,
                    from = %moved.from, to = %moved.to,
                    "a consumer stood beyond the end of its log and was moved there"
                );
            }
        }
        if !events.is_empty() {
            let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_consumer).collect();
            let mut batches = vec![own_batch(self.positions, &records)?];
            let staged = self.storage.stage_for(&mut batches, Need::Own, now);
            let staged = staged.map_err(BrokerError::from)?;
            self.booked(self.positions, &staged);
            for event in &events {
                let applied = self.consumers.apply(event);
                applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
            }
        }
        Ok(())
    }
}

impl ChannelState {
    pub(super) fn new(producers: Producers) -> Self {
        let last = Wait {
            entry: EntryId(0),
            level: Durability::Written,
        };
        Self { producers, last }
    }
}

/// A table as its rows say.
pub(super) fn producers_of(limits: ProducerLimits, fence: u64, rows: &[ProducerRow]) -> Producers {
    let rows: Vec<ProducerState> = rows
        .iter()
        .map(|row| ProducerState {
            producer_id: row.producer_id,
            epoch: row.epoch,
            base_sequence: row.base_sequence,
            next_sequence: row.next_sequence,
            base_offset: row.base_offset,
            last_append_time: row.last_append_time,
        })
        .collect();
    Producers::from_rows(limits, fence, &rows).unwrap_or_else(|error| {
        tracing::error!(%error, "the producers of a checkpoint do not fit; retries are refused");
        Producers::new(limits)
    })
}

fn fold_producers(limits: ProducerLimits, replayed: &Replayed) -> Producers {
    let point = &replayed.point;
    let mut producers = producers_of(limits, point.fence, &point.producers);
    for header in &replayed.headers {
        producers.record(&appended(header));
    }
    producers
}

impl Fold for Directory {
    type Event = DirectoryEvent;
    const TOPIC: &'static str = CHANNELS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<DirectoryEvent, EventError> {
        DirectoryEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: DirectoryEvent) -> Result<(), IllegalEvent> {
        self.apply(&event)
    }

    /// Without its lost records nobody knows which channels there are: it is never repaired.
    fn gap(&mut self, _: Range<Offset>) -> Result<(), TopicError> {
        Ok(())
    }
}

/// Positions, with what is known of them behind lost records.
#[derive(Default)]
struct FoldedConsumers {
    consumers: Consumers,
    has_gap: bool,
}

impl Fold for FoldedConsumers {
    type Event = ConsumerEvent;
    const TOPIC: &'static str = CONSUMERS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<ConsumerEvent, EventError> {
        ConsumerEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: ConsumerEvent) -> Result<(), IllegalEvent> {
        let event = match self.has_gap {
            true => self.consumers.behind_gap(event),
            false => Some(event),
        };
        event.map_or(Ok(()), |event| self.consumers.apply(&event))
    }

    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        tracing::warn!(
            from = %lost.start, to = %lost.end,
            "records of the topic of positions are lost: a position that was last \
             committed before them may be out of date, or missing"
        );
        self.has_gap = true;
        Ok(())
    }
}

/// What a region says of homes.
struct FoldedHomes<'a> {
    broker: &'a mut Broker,
    by: &'a RegionName,
}

impl Fold for FoldedHomes<'_> {
    type Event = HomeEvent;
    const TOPIC: &'static str = HOMES;

    fn decode(record_type: &str, payload: &[u8]) -> Result<HomeEvent, EventError> {
        HomeEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: HomeEvent) -> Result<(), IllegalEvent> {
        self.broker.apply_homes(self.by, &[event]).map(drop)
    }

    /// What this region has said must be whole. Of another's, its home has trimmed the topic, and a
    /// state record comes next.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        if self.broker.config.region.as_ref() != Some(self.by) {
            return Ok(());
        }
        let topic = Self::TOPIC;
        Err(TopicError::Lost { topic, lost })
    }
}

impl Fold for Copies {
    type Event = CopyEvent;
    const TOPIC: &'static str = COPIES;

    fn decode(record_type: &str, payload: &[u8]) -> Result<CopyEvent, EventError> {
        CopyEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: CopyEvent) -> Result<(), IllegalEvent> {
        self.apply(&event)
    }

    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        tracing::warn!(from = %lost.start, to = %lost.end, "records of what became of copies are lost");
        Ok(())
    }
}

impl Fold for Interests {
    type Event = InterestEvent;
    const TOPIC: &'static str = INTEREST;

    fn decode(record_type: &str, payload: &[u8]) -> Result<InterestEvent, EventError> {
        InterestEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: InterestEvent) -> Result<(), IllegalEvent> {
        self.apply(&event)
    }

    /// What was asked for in them has to be asked for again: less crosses than might.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        tracing::warn!(
            from = %lost.start, to = %lost.end,
            "records of what this region wants of others are lost"
        );
        Ok(())
    }
}

/// Organisations, keys and grants.
struct FoldedAccess {
    access: Access,
    may_have_keys: bool,
}

impl Fold for FoldedAccess {
    type Event = AccessEvent;
    const TOPIC: &'static str = ACCESS;

    fn decode(record_type: &str, payload: &[u8]) -> Result<AccessEvent, EventError> {
        AccessEvent::decode(record_type, payload)
    }

    fn event(&mut self, _: Offset, event: AccessEvent) -> Result<(), IllegalEvent> {
        self.access.apply(&event)
    }

    /// A key that was revoked in them would open the door again.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        let topic = Self::TOPIC;
        if self.may_have_keys {
            return Err(TopicError::Lost { topic, lost });
        }
        tracing::warn!(
            from = %lost.start, to = %lost.end,
            "records of organisations are lost, from before there were keys"
        );
        Ok(())
    }
}
