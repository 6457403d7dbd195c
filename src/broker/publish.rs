//! Publishing: one batch to one channel, or several with consumer commits, all or nothing.

use std::collections::{HashMap, HashSet};

use bytes::BytesMut;

use super::config::ChannelConfig;
use super::core::{
    Accepted, Broker, ChannelState, Part, Refusal, Wait, appended, door_limits, log_options,
};
use super::directory::{Created, DirectoryEvent};
use super::encryption::NewKey;
use super::error::BrokerError;
use super::journal::{OwnRecord, own_batch};
use super::positions::CommitRequest;
use super::producers::{Producers, Verdict};
use crate::consumer::ConsumerEvent;
use crate::format::{BatchHeader, DoorLimits, Sealing};
use crate::storage::{EntryId, LogOptions, Need, NewBatch, StageError, Staged};
use crate::types::{ChannelName, Durability, Incarnation, LogEpoch, Offset, Timestamp};

/// A batch that was checked at the door.
#[derive(Debug)]
pub struct CheckedBatch {
    /// Its header, as the check gave it.
    pub header: BatchHeader,
    /// All of it.
    pub bytes: BytesMut,
}

/// Where a batch goes, and on what conditions.
#[derive(Debug, Clone)]
pub struct Target {
    /// The channel.
    pub channel: ChannelName,
    /// The identity it must have, if the client knows it.
    pub incarnation: Option<Incarnation>,
    /// The offset that the first record must get.
    pub expected: Option<Offset>,
    /// Who writes.
    pub principal: u32,
}

/// What the record of a channel's creation takes in an entry, at most.
const MADE_BYTES: usize = 4096;

/// A channel that an entry makes for its batches.
struct Made {
    name: ChannelName,
    incarnation: Incarnation,
    options: LogOptions,
    events: Vec<DirectoryEvent>,
    /// Its first key, where it is encrypted.
    key: Option<NewKey>,
}

/// What a published batch was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Offset of its first record.
    pub first: Offset,
    /// Offset of its last record.
    pub last: Offset,
    /// Its append time.
    pub append_time: Timestamp,
    /// Its log epoch.
    pub log_epoch: LogEpoch,
    /// The channel's identity.
    pub incarnation: Incarnation,
    /// The level its acknowledgement promises.
    pub level: Durability,
    /// It was a retry of a batch appended before.
    pub is_duplicate: bool,
}

/// What an atomic publish was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtomicPublished {
    /// One for each batch, in order.
    pub published: Vec<Published>,
    /// One for each commit, in order.
    pub committed: Vec<Offset>,
}

impl Broker {
    /// What a batch for this channel is checked against, before it is published.
    ///
    /// # Errors
    /// [`BrokerError::NoSuchChannel`] where the channel neither exists nor may be created.
    pub fn door(&self, channel: &ChannelName) -> Result<DoorLimits, BrokerError> {
        if channel.is_internal() {
            return Err(BrokerError::Internal {
                name: channel.to_string(),
            });
        }
        match self.directory.by_name(channel.as_str()) {
            Some((_, channel)) => Ok(door_limits(&channel.config)),
            None if self.may_be_made(channel) => Ok(door_limits(&self.defaults_for(channel))),
            None => Err(self.no_such_log(channel)),
        }
    }

    /// Appends a batch to a channel; its offsets are given at once, its answer waits.
    ///
    /// # Errors
    /// [`Refusal`]; where [`Refusal::is_busy`], `batch` is left in place for another try.
    pub fn publish(
        &mut self,
        target: &Target,
        batch: &mut Option<CheckedBatch>,
        now: Timestamp,
    ) -> Result<Accepted<Published>, Refusal> {
        let known = self.channel_to_write(target)?;
        let Some(checked) = batch.as_ref() else {
            return Err(BrokerError::Bug("a batch is published once".into()).into());
        };
        match self.check_batch(known, &checked.header) {
            Ok(Verdict::New) => {}
            Ok(Verdict::Duplicate {
                base_offset,
                append_time,
            }) => {
                return Ok(self.duplicate(known, &checked.header, base_offset, append_time));
            }
            Err(error) => return Err(self.revealing(known, error)),
        }
        let mut made = Vec::new();
        let id = match known {
            Some(id) => id,
            None => {
                // A channel is made for a batch that it will take, not for one that it refuses.
                expect_offset(target.expected, Offset(0))?;
                self.check_room(&[&target.channel])?;
                let (name, config) = (target.channel.clone(), self.defaults_for(&target.channel));
                let len = checked.bytes.len() + MADE_BYTES;
                if len as u64 > self.config.storage.always_direct_bytes {
                    // Too large for an entry that it shares.
                    self.create_with(name, config, now)?
                } else {
                    made.push(self.plan_channel(name, config, now)?);
                    made[0].incarnation
                }
            }
        };
        let sealing = match made.first() {
            Some(made) => self.first_sealing(made.key.as_ref()),
            None => self.sealing(id, now)?,
        };
        let Some(checked) = batch.take() else {
            return Err(BrokerError::Bug("a batch is published once".into()).into());
        };
        let header = checked.header;
        let mut batches = vec![new_batch(id, target, checked, sealing)];
        let staged = match self.stage_with(&made, &mut batches, Need::Producer, now) {
            Ok(staged) => staged,
            Err(error) => {
                let bytes = batches.swap_remove(0).bytes;
                *batch = Some(CheckedBatch { header, bytes });
                return Err(self.revealing(Some(id), error));
            }
        };
        self.booked(id, &staged);
        let published = self.book_batch(id, &header, &staged, 0);
        let wait = Wait {
            entry: staged.entry,
            level: staged.level,
        };
        Ok(Accepted {
            value: published,
            wait,
        })
    }

    /// Appends several batches and records several commits, all or nothing, as one entry.
    ///
    /// # Errors
    /// [`Refusal`]; where [`Refusal::is_busy`], `batches` is left as it was for another try.
    pub fn publish_atomic(
        &mut self,
        batches: &mut Vec<(Target, CheckedBatch)>,
        commits: &[CommitRequest],
        now: Timestamp,
    ) -> Result<Accepted<AtomicPublished>, Refusal> {
        let mut known = Vec::with_capacity(batches.len());
        for (at, (target, _)) in batches.iter().enumerate() {
            let channel = self.channel_to_write(target);
            known.push(channel.map_err(|error| Refusal::from(error).of_part(Part::Batch, at))?);
        }
        let verdicts = self.check_atomic(&known, batches)?;
        let is_duplicate = |verdict: &Verdict| matches!(verdict, Verdict::Duplicate { .. });
        if !verdicts.is_empty() && verdicts.iter().all(is_duplicate) {
            return Ok(self.atomic_duplicate(&known, batches, &verdicts, commits));
        }
        if verdicts.iter().any(is_duplicate) {
            let rule = "some batches of the atomic publish were appended before, others were not";
            return Err(BrokerError::Atomic { rule }.into());
        }
        let events = self.check_commits(commits, now)?;
        self.check_expected(&known, batches)?;
        let missing = known.iter().zip(batches.iter());
        let missing = missing.filter(|(known, _)| known.is_none());
        let missing: HashSet<&ChannelName> = missing.map(|(_, (to, _))| &to.channel).collect();
        self.check_room(&missing.into_iter().collect::<Vec<_>>())?;
        let mut ids = Vec::with_capacity(batches.len());
        let mut made: Vec<Made> = Vec::new();
        for (known, (target, _)) in known.into_iter().zip(batches.iter()) {
            // An earlier part may make the channel.
            let is_named = |made: &&Made| made.name == target.channel;
            let known = known.or_else(|| made.iter().find(is_named).map(|made| made.incarnation));
            ids.push(match known {
                Some(id) => id,
                None => {
                    let config = self.defaults_for(&target.channel);
                    made.push(self.plan_channel(target.channel.clone(), config, now)?);
                    made[made.len() - 1].incarnation
                }
            });
        }
        let mut sealings = Vec::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            let is_made = |made: &&Made| made.incarnation == *id;
            sealings.push(match made.iter().find(is_made) {
                Some(made) => self.first_sealing(made.key.as_ref()),
                None => self
                    .sealing(*id, now)
                    .map_err(|error| Refusal::from(error).of_part(Part::Batch, at))?,
            });
        }
        let headers: Vec<BatchHeader> = batches.iter().map(|(_, batch)| batch.header).collect();
        let mut targets = Vec::with_capacity(batches.len());
        let mut new: Vec<NewBatch> = Vec::with_capacity(batches.len() + 1);
        for ((id, sealing), (target, checked)) in ids.iter().zip(sealings).zip(batches.drain(..)) {
            new.push(new_batch(*id, &target, checked, sealing));
            targets.push(target);
        }
        if !events.is_empty() {
            let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_consumer).collect();
            new.push(own_batch(self.positions, &records)?);
        }
        if new.is_empty() {
            return Err(BrokerError::Atomic {
                rule: "the atomic publish is empty",
            }
            .into());
        }
        // Commits alone are the broker's own records, with a batch beside them a producer's.
        let need = if ids.is_empty() {
            Need::Own
        } else {
            Need::Producer
        };
        let staged = match self.stage_with(&made, &mut new, need, now) {
            Ok(staged) => staged,
            Err(error) => {
                let parts = targets.into_iter().zip(headers).zip(new);
                batches.extend(parts.map(|((target, header), new)| {
                    (
                        target,
                        CheckedBatch {
                            header,
                            bytes: new.bytes,
                        },
                    )
                }));
                let waits = ids.iter().map(|id| self.wait_for(*id));
                let wait = waits.max_by_key(|wait| wait.entry);
                return Err(Refusal::revealing(error, wait));
            }
        };
        let mut published = Vec::with_capacity(ids.len());
        for (at, (id, header)) in ids.iter().zip(&headers).enumerate() {
            self.booked(*id, &staged);
            published.push(self.book_batch(*id, header, &staged, at));
        }
        self.apply_commits(&events, &staged)?;
        let committed = commits.iter().map(|commit| commit.offset).collect();
        let wait = Wait {
            entry: staged.entry,
            level: staged.level,
        };
        Ok(Accepted {
            value: AtomicPublished {
                published,
                committed,
            },
            wait,
        })
    }

    fn check_atomic(
        &self,
        known: &[Option<Incarnation>],
        batches: &[(Target, CheckedBatch)],
    ) -> Result<Vec<Verdict>, Refusal> {
        let mut verdicts = Vec::with_capacity(known.len());
        for (at, (id, (target, batch))) in known.iter().zip(batches).enumerate() {
            let producer = batch.header.producer_id();
            let is_repeated = batches[..at].iter().any(|(earlier, other)| {
                earlier.channel == target.channel && other.header.producer_id() == producer
            });
            if is_repeated && !producer.is_none() {
                let rule = "a producer may have one batch for each channel in an atomic publish";
                return Err(Refusal::from(BrokerError::Atomic { rule }).of_part(Part::Batch, at));
            }
            match self.check_batch(*id, &batch.header) {
                Ok(verdict) => verdicts.push(verdict),
                Err(error) => return Err(self.revealing(*id, error).of_part(Part::Batch, at)),
            }
        }
        Ok(verdicts)
    }

    /// Checks the expected offsets of all parts, each behind the parts before it.
    fn check_expected(
        &self,
        known: &[Option<Incarnation>],
        batches: &[(Target, CheckedBatch)],
    ) -> Result<(), Refusal> {
        let mut ends: HashMap<&ChannelName, Offset> = HashMap::new();
        for (at, (id, (target, batch))) in known.iter().zip(batches).enumerate() {
            let log = id.and_then(|id| self.storage.log(id));
            let end = ends
                .entry(&target.channel)
                .or_insert_with(|| log.map_or(Offset(0), |log| log.end()));
            expect_offset(target.expected, *end)
                .map_err(|error| self.revealing(*id, error).of_part(Part::Batch, at))?;
            end.0 += u64::from(batch.header.offset_span());
        }
        Ok(())
    }

    fn atomic_duplicate(
        &self,
        ids: &[Option<Incarnation>],
        batches: &[(Target, CheckedBatch)],
        verdicts: &[Verdict],
        commits: &[CommitRequest],
    ) -> Accepted<AtomicPublished> {
        let mut published = Vec::with_capacity(ids.len());
        let mut wait = Wait {
            entry: EntryId(0),
            level: Durability::Written,
        };
        if !commits.is_empty() {
            wait = self.wait_for(self.positions);
        }
        for ((id, (_, batch)), verdict) in ids.iter().zip(batches).zip(verdicts) {
            if let Verdict::Duplicate {
                base_offset,
                append_time,
            } = *verdict
            {
                let answer = self.duplicate(*id, &batch.header, base_offset, append_time);
                published.push(answer.value);
                wait.entry = wait.entry.max(answer.wait.entry);
                wait.level = wait.level.max(answer.wait.level);
            }
        }
        let committed = commits.iter().map(|commit| commit.offset).collect();
        Accepted {
            value: AtomicPublished {
                published,
                committed,
            },
            wait,
        }
    }

    /// A refusal that says where the log stands waits until that is durable.
    fn revealing(&self, id: Option<Incarnation>, error: BrokerError) -> Refusal {
        Refusal::revealing(error, id.map(|id| self.wait_for(id)))
    }

    /// The highest fencing token of a channel; 0 where there is none yet, or no such channel.
    #[must_use]
    pub fn fence_of(&self, channel: &ChannelName) -> u64 {
        let id = self.identity_of(channel);
        let channel = id.and_then(|id| self.channels.get(&id));
        channel.map_or(0, |channel| channel.producers.fence())
    }

    /// Judges a batch by its channel's table; a channel that is yet to be made has an empty one.
    fn check_batch(
        &self,
        id: Option<Incarnation>,
        header: &BatchHeader,
    ) -> Result<Verdict, BrokerError> {
        let none = Producers::default();
        let channel = id.and_then(|id| self.channels.get(&id));
        let producers = channel.map_or(&none, |channel| &channel.producers);
        let producer = header.producer_id();
        if !producer.is_none() {
            let (epoch, sequence) = (header.producer_epoch(), header.base_sequence());
            let verdict = producers.check(producer, epoch, sequence, header.record_count())?;
            if matches!(verdict, Verdict::Duplicate { .. }) {
                return Ok(verdict);
            }
        }
        producers.check_fence(header.fence())?;
        Ok(Verdict::New)
    }

    /// The answer to a retry. It waits for the level that it names: the channel's may have been
    /// raised since the first try.
    pub(super) fn duplicate(
        &self,
        id: Option<Incarnation>,
        header: &BatchHeader,
        base: Offset,
        append_time: Timestamp,
    ) -> Accepted<Published> {
        let id = id.unwrap_or_default();
        let level = self.level_of(id);
        let last = Offset(base.0 + u64::from(header.record_count()) - 1);
        let log_epoch = self
            .storage
            .log(id)
            .map_or(LogEpoch(0), |log| log.last_epoch());
        let value = Published {
            first: base,
            last,
            append_time,
            log_epoch,
            incarnation: id,
            level,
            is_duplicate: true,
        };
        let wait = Wait {
            level,
            ..self.wait_for(id)
        };
        Accepted { value, wait }
    }

    fn level_of(&self, id: Incarnation) -> Durability {
        let channel = self.directory.by_incarnation(id);
        channel.map_or(Durability::Synced, |channel| channel.config.durability)
    }

    fn book_batch(
        &mut self,
        id: Incarnation,
        header: &BatchHeader,
        staged: &Staged,
        at: usize,
    ) -> Published {
        let given = &staged.batches[at];
        if let Some(channel) = self.channels.get_mut(&id) {
            let mut batch = appended(header);
            batch.base_offset = given.offsets.start;
            batch.append_time = given.append_time;
            channel.producers.record(&batch);
        }
        Published {
            first: given.offsets.start,
            last: Offset(given.offsets.end.0 - 1),
            append_time: given.append_time,
            log_epoch: given.epoch,
            incarnation: id,
            level: given.level,
            is_duplicate: false,
        }
    }

    /// The channel to write to; none where it is yet to be made, with the defaults.
    fn channel_to_write(&self, target: &Target) -> Result<Option<Incarnation>, BrokerError> {
        if target.channel.is_internal() {
            return Err(BrokerError::Internal {
                name: target.channel.to_string(),
            });
        }
        if let Some((id, _)) = self.directory.by_name(target.channel.as_str()) {
            self.same_life(id, target.incarnation)?;
            self.check_home(id, &target.channel)?;
            return Ok(Some(id));
        }
        if !self.may_be_made(&target.channel) || target.incarnation.is_some() {
            return Err(self.no_such_log(&target.channel));
        }
        Ok(None)
    }

    /// Whether a write makes the channel, or begins the log, that it names and that is not there.
    fn may_be_made(&self, name: &ChannelName) -> bool {
        match name.region() {
            Some(_) => self.is_to_be_begun(name),
            None => self.config.auto_create && self.logs_of(name).next().is_none(),
        }
    }

    /// Refuses a channel that is not the one the client knows under its name.
    pub(super) fn same_life(
        &self,
        actual: Incarnation,
        expected: Option<Incarnation>,
    ) -> Result<(), BrokerError> {
        match expected {
            Some(expected) if expected != actual => {
                Err(BrokerError::Recreated { expected, actual })
            }
            _ => Ok(()),
        }
    }

    /// A channel that is yet to be recorded and opened.
    fn plan_channel(
        &mut self,
        name: ChannelName,
        config: ChannelConfig,
        now: Timestamp,
    ) -> Result<Made, BrokerError> {
        let named = self.named_incarnation(&name)?;
        if let Some(named) = named {
            self.check_made(named, &name)?;
        }
        let incarnation = named.unwrap_or_else(|| self.new_incarnation());
        let options = log_options(&config);
        let is_encrypted = !config.encryption.is_off();
        let created = Created {
            name: name.clone(),
            incarnation,
            config,
            at: now,
            copy: None,
        };
        self.make_way(&name, &created.config, now)?;
        let mut events = vec![self.directory.check_create(created)?];
        let mut key = None;
        if is_encrypted {
            let new = self.new_data_key(&name, incarnation, 1, Offset(0), now)?;
            events.push(new.event.clone());
            key = Some(new);
        }
        Ok(Made {
            name,
            incarnation,
            options,
            events,
            key,
        })
    }

    /// Stages batches together with the creation of the channels that they need: where the entry is
    /// refused, there are no such channels either.
    fn stage_with(
        &mut self,
        made: &[Made],
        batches: &mut Vec<NewBatch>,
        need: Need,
        now: Timestamp,
    ) -> Result<Staged, BrokerError> {
        let directory = self.storage.directory_id();
        if !made.is_empty() {
            let events = made.iter().flat_map(|made| &made.events);
            let records: Vec<OwnRecord> = events.map(OwnRecord::of_directory).collect();
            batches.push(own_batch(directory, &records)?);
        }
        let events = made.iter().flat_map(|made| &made.events);
        let named = self.draft_names(events, batches, now)?;
        let drafted = match made {
            [] => None,
            _ => self.draft_audit(batches, now)?,
        };
        for made in made {
            self.storage.create_log(made.incarnation, made.options);
        }
        let staged = match self.storage.stage_for(batches, need, now) {
            Ok(staged) => staged,
            Err(error) => {
                made.iter()
                    .for_each(|made| self.storage.forget_log(made.incarnation));
                return Err(error.into());
            }
        };
        for made in made {
            for event in &made.events {
                let applied = self.directory.apply(event);
                applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
            }
            let channel = ChannelState::new(Producers::new(self.config.producers));
            self.channels.insert(made.incarnation, channel);
            self.settle_made(made.incarnation);
            self.open_keyring(made.incarnation);
            self.directory_events += made.events.len() as u64;
        }
        if !made.is_empty() {
            self.booked(directory, &staged);
            self.book_names(&named, &staged)?;
            self.book_audit(drafted, &staged);
        }
        Ok(staged)
    }

    /// Creates a channel: on the record first, its log at once.
    pub(super) fn create_with(
        &mut self,
        name: ChannelName,
        config: ChannelConfig,
        now: Timestamp,
    ) -> Result<Incarnation, BrokerError> {
        let made = self.plan_channel(name, config, now)?;
        self.check_room(&[&made.name])?;
        self.record_directory(&made.events, Need::Producer, now)?;
        let incarnation = made.incarnation;
        self.open_keyring(incarnation);
        self.storage.create_log(incarnation, made.options);
        let mut channel = ChannelState::new(Producers::new(self.config.producers));
        channel.last = self.wait_for(self.storage.directory_id());
        self.channels.insert(incarnation, channel);
        self.settle_made(incarnation);
        Ok(incarnation)
    }

    /// Takes commits into the state once they are staged.
    pub(super) fn apply_commits(
        &mut self,
        events: &[ConsumerEvent],
        staged: &Staged,
    ) -> Result<(), BrokerError> {
        for event in events {
            let applied = self.consumers.apply(event);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        }
        if !events.is_empty() {
            self.consumer_events += events.len() as u64;
            self.booked(self.positions, staged);
        }
        Ok(())
    }
}

fn expect_offset(expected: Option<Offset>, actual: Offset) -> Result<(), BrokerError> {
    match expected {
        Some(expected) if expected != actual => {
            Err(StageError::WrongOffset { expected, actual }.into())
        }
        _ => Ok(()),
    }
}

fn new_batch(
    log: Incarnation,
    target: &Target,
    checked: CheckedBatch,
    sealing: Option<Sealing>,
) -> NewBatch {
    NewBatch {
        log,
        span: checked.header.offset_span(),
        bytes: checked.bytes,
        expected: target.expected,
        principal: target.principal,
        sealing,
        copied: None,
    }
}
