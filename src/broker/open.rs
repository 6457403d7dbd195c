//! Opening: the storage's recovery, with the directory and the consumers folded from their topics.

mod folding;

use std::collections::{BTreeMap, HashMap, HashSet};
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
use super::topic::fold_topic;
use super::waiters::RoundWaiters;
use crate::access::Access;
use crate::consumer::{ConsumerEvent, Consumers};
use crate::format::ProducerRow;
use crate::region::directory::Regions;
use crate::region::interest::Interests;
use crate::region::peers::Peers;
use crate::storage::disk::Disk;
use crate::storage::{self, EntryId, LiveLog, Need, Replayed, Storage};
use crate::types::{ChannelName, Durability, Incarnation, Timestamp};

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
