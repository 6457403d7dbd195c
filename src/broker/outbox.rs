//! Outboxes: batches for channels that live in another region, kept here while their home can't be
//! reached.
//!
//! A log for each channel. Its batches are those of the producers, in the order in which they came,
//! with their own producer, epoch and sequence, so what is carried to the home is what would have
//! been sent there, and the home recognises what it has already. What was carried is trimmed away:
//! the log start is how far the outbox is emptied.
//!
//! ```text
//! Absent --first batch--> Kept(start..end) --batch--> Kept(start..end + n)
//!                              | carried up to offset c: Kept(c..end)
//! ```

use super::config::ChannelConfig;
use super::core::{Accepted, After, Broker, ChannelState, Refusal, Wait, appended, log_options};
use super::directory::{Created, DirectoryEvent, Trimmed};
use super::error::BrokerError;
use super::producers::{ProducerError, Producers, Verdict};
use super::publish::{CheckedBatch, Published};
use crate::storage::{Need, NewBatch};
use crate::types::{ChannelName, Durability, Incarnation, Offset, ProducerId, Timestamp};

/// How the names of outboxes begin.
const PREFIX: &str = "__outbox.";
/// Digits of the channel's identity in the name of its outbox, so that a channel that was created
/// again has another.
const DIGITS: usize = 8;
/// Segments are small, so that what was carried frees space soon.
const SEGMENT_BYTES: u64 = 4 << 20;

/// An outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    /// The channel that its batches are for.
    pub channel: ChannelName,
    /// The identity of that channel.
    pub incarnation: Incarnation,
    /// The log that holds them.
    pub log: Incarnation,
    /// The name of that log.
    pub name: ChannelName,
}

/// Where an outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxPlace {
    /// Everything below is carried.
    pub start: Offset,
    /// Offset of the record that is kept next.
    pub end: Offset,
    /// Bytes that are not carried, estimated from the sizes of segments.
    pub bytes: u64,
}

/// The identity of the outbox of a channel, and the channel's of its outbox.
fn other_side(id: Incarnation) -> Incarnation {
    Incarnation(!id.0)
}

impl Outbox {
    /// The outbox of a channel, whether it is there or not.
    ///
    /// # Errors
    /// [`BrokerError::NoOutbox`] where the channel's name leaves no room for that of an outbox.
    pub fn of(channel: &ChannelName, incarnation: Incarnation) -> Result<Self, BrokerError> {
        let digits = &incarnation.to_string()[..DIGITS];
        let local = format!("{PREFIX}{digits}.{}", channel.local());
        let text = match channel.org() {
            Some(org) => format!("{org}/{local}"),
            None => local,
        };
        let name = ChannelName::parse_any(&text).map_err(|error| BrokerError::NoOutbox {
            channel: channel.to_string(),
            why: error.to_string(),
        })?;
        Ok(Self {
            channel: channel.clone(),
            incarnation,
            log: other_side(incarnation),
            name,
        })
    }

    /// The outbox that a log is, if it is one.
    fn from_log(log: Incarnation, name: &ChannelName) -> Option<Self> {
        let rest = name.local().strip_prefix(PREFIX)?;
        let local = rest.get(DIGITS..)?.strip_prefix('.')?;
        let text = match name.org() {
            Some(org) => format!("{org}/{local}"),
            None => local.to_owned(),
        };
        let channel = ChannelName::parse(&text).ok()?;
        let of = Self::of(&channel, other_side(log)).ok()?;
        (of.name == *name).then_some(of)
    }
}

impl Broker {
    /// The outboxes there are, by name.
    pub fn outboxes(&self) -> impl Iterator<Item = Outbox> + '_ {
        let logs = self.directory.iter();
        logs.filter_map(|(id, channel)| Outbox::from_log(id, &channel.name))
    }

    /// Where an outbox stands; none where there is none yet.
    #[must_use]
    pub fn outbox_place(&self, outbox: &Outbox) -> Option<OutboxPlace> {
        self.directory.by_incarnation(outbox.log)?;
        let log = self.storage.log(outbox.log)?;
        let (start, end) = (log.log_start(), log.end());
        let bytes = match start < end {
            true => self.storage.bytes_from(outbox.log, start),
            false => 0,
        };
        Some(OutboxPlace { start, end, bytes })
    }

    /// Whether batches of a producer wait in an outbox.
    #[must_use]
    pub fn waits_in_outbox(&self, outbox: &Outbox, producer: ProducerId) -> bool {
        let start = self.storage.log(outbox.log).map(|log| log.log_start());
        let channel = self.channels.get(&outbox.log);
        let last = channel.and_then(|channel| channel.producers.last_of(producer));
        start.zip(last).is_some_and(|(start, last)| last >= start)
    }

    /// Keeps a batch in the outbox of its channel, which is made with the first. One that waits there
    /// already is answered as it was then.
    ///
    /// - `encrypted`: whether the channel is encrypted at rest, as its outbox is then.
    /// - `principal`: who writes.
    ///
    /// # Errors
    /// [`Refusal`]: a batch that names no producer, of a former self of its producer, or with a part
    /// of what another has brought; no room. Where [`Refusal::is_busy`], `batch` is left for another
    /// try.
    pub fn keep_in_outbox(
        &mut self,
        outbox: &Outbox,
        encrypted: bool,
        batch: &mut Option<CheckedBatch>,
        principal: u32,
        now: Timestamp,
    ) -> Result<Accepted<Published>, Refusal> {
        let Some(checked) = batch.as_ref() else {
            return Err(BrokerError::Bug("a batch is kept once".into()).into());
        };
        let header = checked.header;
        let refused = |why: &str| BrokerError::NoOutbox {
            channel: outbox.channel.to_string(),
            why: why.to_owned(),
        };
        let producer = header.producer_id();
        if producer.is_none() {
            let why = "a batch without a producer could be carried to its home twice";
            return Err(refused(why).into());
        }
        if header.fence() != 0 {
            return Err(refused("a fenced batch does not wait").into());
        }
        if let Some(channel) = self.channels.get(&outbox.log) {
            let (epoch, sequence) = (header.producer_epoch(), header.base_sequence());
            let producers = &channel.producers;
            // Of what is carried the home tells, which may have forgotten the producer since: then that
            // begins anew, and others of its batches have the same sequences.
            let carried = self.carried_below(outbox).unwrap_or(Offset(0));
            let is_waiting = |offset: Offset| offset >= carried;
            match producers.check(producer, epoch, sequence, header.record_count()) {
                Ok(Verdict::Duplicate {
                    base_offset,
                    append_time,
                }) if is_waiting(base_offset) => {
                    let id = Some(outbox.log);
                    return Ok(self.duplicate(id, &header, base_offset, append_time));
                }
                // What came before it has gone to the home, or comes here again: the home knows.
                Ok(Verdict::New | Verdict::Duplicate { .. })
                | Err(
                    ProducerError::Unknown { .. }
                    | ProducerError::Gap { .. }
                    | ProducerError::TooOld { .. },
                ) => {}
                Err(ProducerError::Overlap { .. })
                    if !producers.last_of(producer).is_some_and(is_waiting) => {}
                Err(error) => return Err(BrokerError::from(error).into()),
            }
        } else {
            self.make_outbox(outbox, encrypted, now)?;
        }
        let sealing = self.sealing(outbox.log, now)?;
        let Some(CheckedBatch { bytes, .. }) = batch.take() else {
            return Err(BrokerError::Bug("a batch is kept once".into()).into());
        };
        let mut batches = vec![NewBatch {
            log: outbox.log,
            span: header.offset_span(),
            bytes,
            expected: None,
            principal,
            sealing,
            copied: None,
        }];
        let staged = match self.storage.stage_for(&mut batches, Need::Producer, now) {
            Ok(staged) => staged,
            Err(error) => {
                let bytes = batches.swap_remove(0).bytes;
                *batch = Some(CheckedBatch { header, bytes });
                return Err(error.into());
            }
        };
        self.booked(outbox.log, &staged);
        let given = &staged.batches[0];
        if let Some(channel) = self.channels.get_mut(&outbox.log) {
            let mut batch = appended(&header);
            batch.base_offset = given.offsets.start;
            batch.append_time = given.append_time;
            channel.producers.record(&batch);
        }
        let value = Published {
            first: given.offsets.start,
            last: Offset(given.offsets.end.0 - 1),
            append_time: given.append_time,
            log_epoch: given.epoch,
            incarnation: outbox.log,
            level: given.level,
            is_duplicate: false,
        };
        Ok(Accepted {
            value,
            wait: Wait {
                entry: staged.entry,
                level: staged.level,
            },
        })
    }

    fn make_outbox(
        &mut self,
        outbox: &Outbox,
        encrypted: bool,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let mut config = ChannelConfig {
            // What was carried is trimmed, nothing else.
            retention_days: None,
            segment_bytes: SEGMENT_BYTES,
            max_record_bytes: 64 * 1024 * 1024,
            ..ChannelConfig::default()
        };
        if encrypted {
            config.encryption = super::config::Encryption::On;
        }
        let mut events = vec![DirectoryEvent::Created(Created {
            name: outbox.name.clone(),
            incarnation: outbox.log,
            config: config.clone(),
            at: now,
            copy: None,
        })];
        if encrypted {
            let key = self.new_data_key(&outbox.name, outbox.log, 1, Offset(0), now)?;
            events.push(DirectoryEvent::clone(&key.event));
        }
        self.storage.create_log(outbox.log, log_options(&config));
        if let Err(error) = self.record_directory(&events, Need::Producer, now) {
            self.storage.forget_log(outbox.log);
            return Err(error);
        }
        self.open_keyring(outbox.log);
        let state = ChannelState::new(Producers::new(self.config.producers));
        self.channels.insert(outbox.log, state);
        Ok(())
    }

    /// The offset below which an outbox is carried, as far as that is on the record, or staged for it.
    fn carried_below(&self, outbox: &Outbox) -> Option<Offset> {
        let start = self.storage.log(outbox.log).map(|log| log.log_start());
        let pending = self.after.iter().filter_map(|(_, after)| match after {
            After::Trim(log, offset) if *log == outbox.log => Some(*offset),
            _ => None,
        });
        start.into_iter().chain(pending).max()
    }

    /// Records that everything below an offset of an outbox is carried: it is trimmed away.
    ///
    /// # Errors
    /// [`BrokerError`] where the record finds no room. Then it is carried again after a restart, and
    /// the home knows it.
    pub fn carried(
        &mut self,
        outbox: &Outbox,
        below: Offset,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        if self.carried_below(outbox) >= Some(below) {
            return Ok(());
        }
        let trimmed = DirectoryEvent::Trimmed(Trimmed {
            incarnation: outbox.log,
            log_start: below,
        });
        let staged = self.record_directory(&[trimmed], Need::Freeing, now)?;
        let after = After::Trim(outbox.log, below);
        self.after.push((staged.entry, after));
        Ok(())
    }

    /// Whether a channel that lives here, or of which a copy is here, is encrypted at rest, and what its
    /// acknowledgements promise.
    #[must_use]
    pub fn kept_as(&self, id: Incarnation) -> Option<(bool, Durability)> {
        let config = &self.directory.by_incarnation(id)?.config;
        Some((!config.encryption.is_off(), config.durability))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_names_its_channel_and_another_life_of_it_has_another() {
        let id = Incarnation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        for (channel, name) in [
            ("orders", "__outbox.00112233.orders"),
            ("acme/orders.eu", "acme/__outbox.00112233.orders.eu"),
        ] {
            let channel = ChannelName::parse(channel).unwrap();
            let outbox = Outbox::of(&channel, id).unwrap();
            assert_eq!(outbox.name.as_str(), name);
            assert_eq!(
                Outbox::from_log(outbox.log, &outbox.name),
                Some(outbox.clone())
            );
            // Of another log's identity it is no outbox.
            assert_eq!(Outbox::from_log(id, &outbox.name), None);
            let again = Outbox::of(&channel, Incarnation(id.0 << 1)).unwrap();
            assert_ne!((again.log, again.name), (outbox.log, outbox.name));
        }
        let longest = ChannelName::parse(&"x".repeat(256)).unwrap();
        let refused = Outbox::of(&longest, id).unwrap_err().to_string();
        assert!(refused.contains("256"), "{refused}");
    }
}
