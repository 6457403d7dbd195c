//! Opening: the storage's recovery, with the directory and the consumers folded from their topics.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::config::ChannelConfig;
use super::core::{Broker, BrokerConfig, ChannelState, Wait, appended, log_options, rows_of};
use super::directory::{Created, Directory, DirectoryEvent, Removed};
use super::error::{BrokerError, BrokerOpenError};
use super::journal::{CHANNELS, CONSUMERS, OwnRecord, own_batch};
use super::producers::{ProducerLimits, ProducerState, Producers};
use super::topic::{Content, TopicError, decoded, read_topic};
use crate::consumer::{ConsumerEvent, Consumers};
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
        fold_directory(&mut directory, &batch)?;
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
    /// - `random`: 64 random bits at each call.
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
        let positions = directory.by_name(CONSUMERS).map(|(id, _)| id);
        let mut broker = Self {
            config,
            storage,
            directory,
            consumers: Consumers::default(),
            unknown_positions: None,
            channels,
            keyrings: HashMap::new(),
            may_rewrap: true,
            positions: positions.unwrap_or_default(),
            random,
            after: Vec::new(),
            round_waiters: Vec::new(),
            log_waiters: HashMap::new(),
            has_stray_positions: true,
            retention_cursor: None,
            directory_events: 0,
            consumer_events: 0,
            is_stopping: false,
            has_given_up: false,
        };
        broker.make_own_topics(directory_id, positions, now)?;
        broker.open_keys(now);
        broker.fold_consumers()?;
        broker.clamp_positions(now)?;
        broker.drop_positions(now);
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

    /// Records the broker's own topics in the directory, the first time.
    fn make_own_topics(
        &mut self,
        directory_id: Incarnation,
        positions: Option<Incarnation>,
        now: Timestamp,
    ) -> Result<(), BrokerOpenError> {
        let config = ChannelConfig {
            // They are trimmed behind their folded state, never by age.
            retention_days: None,
            segment_bytes: self.config.storage.own_segment_bytes,
            max_record_bytes: 64 * 1024 * 1024,
            ..ChannelConfig::default()
        };
        let mut events = Vec::new();
        let mut create = |text: &str, incarnation: Incarnation| {
            let name = ChannelName::parse_any(text).expect("a constant that follows the rule");
            let config = config.clone();
            events.push(DirectoryEvent::Created(Created {
                name,
                incarnation,
                config,
                at: now,
            }));
        };
        if self.directory.by_name(CHANNELS).is_none() {
            create(CHANNELS, directory_id);
        }
        if positions.is_none() {
            let id = self.new_incarnation();
            create(CONSUMERS, id);
            self.positions = id;
            self.storage.create_log(id, log_options(&config));
            self.channels
                .insert(id, ChannelState::new(Producers::new(self.config.producers)));
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
        let topic = CONSUMERS;
        let mut has_gap = false;
        for batch in read_topic(&mut self.storage, topic, self.positions)? {
            for content in decoded(topic, &batch)? {
                let records = match content {
                    Content::Records(records) => records,
                    Content::Gap(lost) => {
                        tracing::warn!(
                            from = %lost.start, to = %lost.end,
                            "records of the topic of positions are lost: a position that was last \
                             committed before them may be out of date, or missing"
                        );
                        has_gap = true;
                        continue;
                    }
                };
                for record in records {
                    let payload = record.payload.clone().unwrap_or_default();
                    let offset = record.offset;
                    let event = ConsumerEvent::decode(record.record_type.as_str(), &payload);
                    let event = event.map_err(|source| TopicError::Record {
                        topic,
                        offset,
                        source,
                    })?;
                    let event = match has_gap {
                        true => self.consumers.behind_gap(event),
                        false => Some(event),
                    };
                    let applied = event.map_or(Ok(()), |event| self.consumers.apply(&event));
                    applied.map_err(|source| TopicError::Event {
                        topic,
                        offset,
                        source,
                    })?;
                    self.consumer_events += 1;
                }
            }
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

fn fold_producers(limits: ProducerLimits, replayed: &Replayed) -> Producers {
    let rows: Vec<ProducerState> = replayed
        .point
        .producers
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
    let fence = replayed.point.fence;
    let mut producers = Producers::from_rows(limits, fence, &rows).unwrap_or_else(|error| {
        tracing::error!(%error, "the producers of a checkpoint do not fit; retries are refused");
        Producers::new(limits)
    });
    for header in &replayed.headers {
        producers.record(&appended(header));
    }
    producers
}

fn fold_directory(directory: &mut Directory, batch: &Bytes) -> Result<(), TopicError> {
    let topic = CHANNELS;
    for content in decoded(topic, batch)? {
        // Without its lost records nobody knows which channels there are: it is never repaired.
        let Content::Records(records) = content else {
            continue;
        };
        for record in records {
            let payload = record.payload.clone().unwrap_or_default();
            let offset = record.offset;
            let event = DirectoryEvent::decode(record.record_type.as_str(), &payload);
            let event = event.map_err(|source| TopicError::Record {
                topic,
                offset,
                source,
            })?;
            let applied = directory.apply(&event);
            applied.map_err(|source| TopicError::Event {
                topic,
                offset,
                source,
            })?;
        }
    }
    Ok(())
}
