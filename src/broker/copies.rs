//! Copies of channels that live in another region: their batches are appended as they came.
//!
//! A copy has the identity of the log at its home, and its batches keep all that they were given
//! there: offsets, append times, log epochs. So a copy is the same bytes, a position in it means the
//! same, and what is folded from it (producers, fences) is what its home folds. Only its retention
//! and, where it is encrypted at rest, its keys are its own.

use std::collections::BTreeSet;
use std::ops::{Bound, Range};

use bytes::{Bytes, BytesMut};

use super::asp::CopiedTopic;
use super::config::ChannelConfig;
use super::core::{Accepted, After, Broker, ChannelState, Refusal, Wait, appended, log_options};
use super::directory::{Channel, CopyOf, Created, DirectoryEvent};
use super::error::BrokerError;
use super::producers::Producers;
use crate::format::{BatchHeader, GAP_TYPE, Gap, MIN_GAP_BYTES, Stamp, check_stored};
use crate::storage::{Copied, Need, NewBatch};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, RegionName, Timestamp};

/// Bytes of a gap that a copy puts over what it will never have: room for all that it says.
const GAP_BYTES: usize = 1024;

/// Reason of a gap that a copy puts over what retention at its home removed before it came.
const TRIMMED: &str = "trimmed";
/// Reason of a gap that a copy of some record types puts over batches without any of them.
const FILTERED: &str = "filtered";

/// Whether a gap was put there by a copy, and is not part of the log at its home.
#[must_use]
pub fn is_of_copy(gap: &Gap) -> bool {
    [TRIMMED, FILTERED].contains(&gap.reason.as_str())
}

/// The gap over batches without any of these types, and its length as a batch.
fn filtered(types: &BTreeSet<String>) -> (Gap, usize) {
    let gap = Gap {
        reason: FILTERED.to_owned(),
        types: types.iter().cloned().collect(),
        ..Gap::default()
    };
    // All of it is told, however many types there are.
    let text = serde_json::to_vec(&gap).map_or(0, |text| text.len());
    let room = MIN_GAP_BYTES + GAP_TYPE.len() + text;
    (gap, room.next_multiple_of(8).min(Gap::MAX_BYTES & !7))
}

/// The gap batches that a copy of some types puts over batches without any of them.
///
/// - `last`: epoch and append time of the last batch that was passed over.
#[must_use]
pub fn skip_batches(
    id: Incarnation,
    skipped: Range<Offset>,
    types: &BTreeSet<String>,
    last: (LogEpoch, Timestamp),
) -> Vec<Bytes> {
    let (gap, bytes) = filtered(types);
    gap_batches(id, skipped, &gap, last, bytes)
}

/// The batches of a gap over a range, which one alone may be too short for.
fn gap_batches(
    id: Incarnation,
    range: Range<Offset>,
    gap: &Gap,
    (log_epoch, append_time): (LogEpoch, Timestamp),
    gap_bytes: usize,
) -> Vec<Bytes> {
    let mut batches = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let span = u32::try_from(range.end.0 - at.0).unwrap_or(u32::MAX);
        let stamp = Stamp {
            incarnation: id,
            base_offset: at,
            append_time,
            log_epoch,
            principal: 0,
        };
        batches.push(Bytes::from(gap.encode(&stamp, span, gap_bytes)));
        at.0 += u64::from(span);
    }
    batches
}

/// A copy that is to be made.
#[derive(Debug, Clone)]
pub struct NewCopy {
    /// Name of the channel, as the broker has it.
    pub name: ChannelName,
    /// Identity of the log at its home, and of the copy.
    pub incarnation: Incarnation,
    /// How the copy keeps its records.
    pub config: ChannelConfig,
    /// Where the channel lives.
    pub home: RegionName,
    /// Offset of the first record that the copy will hold.
    pub begins_at: Offset,
    /// Whether that is the first record that there is.
    pub from_start: bool,
    /// Record types that it is of; `None` is all.
    pub types: Option<BTreeSet<String>>,
}

/// A batch as its home serves it, both checksums checked.
#[derive(Debug)]
pub struct CopiedBatch {
    header: BatchHeader,
    bytes: BytesMut,
}

/// Where a copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyPlace {
    /// Offset of the record that it needs next.
    pub next: Offset,
    /// Everything below survives power loss here.
    pub flushed: Offset,
    /// Log epoch of its last batch; 0 before there is one.
    pub last_epoch: LogEpoch,
    /// Append time of its last batch; the earliest time before there is one.
    pub last_time: Timestamp,
}

/// Where a channel lives, as far as this broker knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Residence {
    /// Here.
    Home(Incarnation),
    /// In another region, and a copy is here.
    Copy(Incarnation, RegionName),
    /// No channel of the name is here.
    Unknown,
}

impl NewCopy {
    /// What is recorded of it.
    pub(super) fn created(&self, at: Timestamp) -> Created {
        Created {
            name: self.name.clone(),
            incarnation: self.incarnation,
            config: self.config.clone(),
            at,
            copy: Some(CopyOf {
                home: self.home.clone(),
                begins_at: self.begins_at,
                from_start: self.from_start,
                types: self.types.clone(),
            }),
        }
    }
}

impl CopiedBatch {
    /// Checks a batch that a home has sent: both of its checksums and every rule of its header.
    ///
    /// # Errors
    /// What is wrong with it, as a text.
    pub fn check(bytes: BytesMut) -> Result<Self, String> {
        let header = check_stored(&bytes).map_err(|error| error.to_string())?;
        if header.is_sealed() {
            return Err("it is encrypted with a key of its home".to_owned());
        }
        Ok(Self { header, bytes })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }
}

impl Broker {
    /// Makes a copy of a channel that lives in another region; its batches come by
    /// [`Broker::append_copied`].
    ///
    /// # Errors
    /// [`Refusal`]: a channel here has the name, the identity is taken, or there is no room.
    pub fn create_copy(&mut self, new: NewCopy, now: Timestamp) -> Result<Accepted<()>, Refusal> {
        self.check_room(&[&new.name])?;
        let created = self.directory.check_create(new.created(now))?;
        let events = self.with_key(created, &new, now)?;
        self.record_directory(&events, Need::Producer, now)?;
        self.open_copy(&new, now);
        Ok(Accepted {
            value: (),
            wait: self.directory_wait(),
        })
    }

    /// The event that makes a copy, and the one of its first key where it is encrypted.
    pub(super) fn with_key(
        &mut self,
        created: DirectoryEvent,
        new: &NewCopy,
        now: Timestamp,
    ) -> Result<Vec<DirectoryEvent>, BrokerError> {
        let mut events = vec![created];
        if !new.config.encryption.is_off() {
            let key = self.new_data_key(&new.name, new.incarnation, 1, new.begins_at, now)?;
            events.push(DirectoryEvent::clone(&key.event));
        }
        Ok(events)
    }

    /// Opens a copy that was recorded.
    pub(super) fn open_copy(&mut self, new: &NewCopy, now: Timestamp) {
        let (id, options) = (new.incarnation, log_options(&new.config));
        self.open_keyring(id);
        self.storage.create_log_at(id, options, new.begins_at);
        let mut channel = ChannelState::new(Producers::new(self.config.producers));
        channel.last = self.directory_wait();
        self.channels.insert(id, channel);
        self.settle_made(id);
        self.note_begun(id, now);
    }

    /// Appends a batch to a copy, as it is. A batch that the copy holds already changes nothing: a
    /// link that was cut begins again somewhat earlier.
    ///
    /// # Errors
    /// [`Refusal`]: the log is no copy, or the batch is of another log, not the next one, or older
    /// than the one before it. Where [`Refusal::is_busy`], `batch` is left for another try.
    pub fn append_copied(
        &mut self,
        id: Incarnation,
        batch: &mut Option<CopiedBatch>,
        now: Timestamp,
    ) -> Result<Accepted<Offset>, Refusal> {
        let Some(copied) = batch.as_ref() else {
            return Err(BrokerError::Bug("a batch is copied once".into()).into());
        };
        let channel = self.directory.by_incarnation(id).filter(|it| it.is_live());
        let Some(channel) = channel else {
            let name = id.to_string();
            return Err(BrokerError::NoSuchChannel { name }.into());
        };
        let topic = channel.name.is_internal().then(|| channel.name.clone());
        let name = channel.name.to_string();
        let wrong = |what: String| BrokerError::NotCopied {
            channel: name.clone(),
            what,
        };
        if self.elsewhere(id).is_none() {
            return Err(wrong("comes to the channel's home".to_owned()).into());
        }
        if self.held_copies.contains(&id) {
            return Err(wrong("comes while the copy is compared with its log".to_owned()).into());
        }
        let header = copied.header;
        if header.incarnation() != id {
            return Err(wrong(format!("is of log {}", header.incarnation())).into());
        }
        let end = self.next_offset(id);
        if header.end_offset() <= end {
            return Ok(Accepted {
                value: end,
                wait: self.wait_for(id),
            });
        }
        if header.base_offset() != end {
            let found = header.base_offset();
            return Err(wrong(format!("begins at offset {found}, the next is {end}")).into());
        }
        let sealing = match header.is_gap() {
            true => None,
            false => self.sealing(id, now)?,
        };
        let Some(CopiedBatch { bytes, .. }) = batch.take() else {
            return Err(BrokerError::Bug("a batch is copied once".into()).into());
        };
        let travelled = topic.map(|name| (name, Bytes::copy_from_slice(&bytes)));
        let mut batches = vec![NewBatch {
            log: id,
            span: header.offset_span(),
            bytes,
            expected: Some(end),
            principal: header.principal(),
            sealing,
            copied: Some(Copied {
                append_time: header.append_time(),
                log_epoch: header.log_epoch(),
            }),
        }];
        let staged = match self.storage.stage_for(&mut batches, Need::Producer, now) {
            Ok(staged) => staged,
            Err(error) => {
                let bytes = batches.swap_remove(0).bytes;
                *batch = Some(CopiedBatch { header, bytes });
                return Err(error.into());
            }
        };
        self.booked(id, &staged);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.producers.record(&appended(&header));
        }
        // What agents say rests on every record, so they are told of gaps too.
        let is_told = |name: &ChannelName| !header.is_gap() || CopiedTopic::of(name).is_some();
        if let Some((name, batch)) = travelled.filter(|(name, _)| is_told(name)) {
            self.travelled(&name, id, &header, &batch, now);
        }
        Ok(Accepted {
            value: header.end_offset(),
            wait: Wait {
                entry: staged.entry,
                level: staged.level,
            },
        })
    }

    /// Removes a copy, with all that is in it. It is gone for everybody at once; its files follow.
    ///
    /// # Errors
    /// [`Refusal`]: no such channel, one that lives here, or one that this region still wants.
    pub fn purge_copy(
        &mut self,
        name: &ChannelName,
        now: Timestamp,
    ) -> Result<Accepted<Incarnation>, Refusal> {
        let refused = |what| BrokerError::NotPurged {
            channel: name.to_string(),
            what,
        };
        let (id, from) = match self.residence(name) {
            Residence::Copy(id, from) => (id, from),
            Residence::Home(_) => return Err(refused("lives here, and is no copy").into()),
            Residence::Unknown => return Err(self.no_such_log(name).into()),
        };
        let is_wanted = self.interests().wish(name, |org| self.may_cross(name, org));
        // Of a channel that is over nothing could be wanted.
        if is_wanted.is_some() && self.may_hold_here(name) && !self.is_over(name) {
            return Err(refused("is still wanted: withdraw the interest in it first").into());
        }
        self.check_purge_topic(name, &from)?;
        self.drop_log_of_copy(id, now)?;
        self.forget_said(name, &from);
        Ok(Accepted {
            value: id,
            wait: self.directory_wait(),
        })
    }

    /// Records that a copy is gone, and removes what it has once that is synced.
    pub(super) fn drop_log_of_copy(
        &mut self,
        id: Incarnation,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let event = self.directory.check_drop(id, now)?;
        let name = self.name_of(id).cloned();
        let staged = self.record_directory(&[event], Need::Freeing, now)?;
        if let Some(name) = name.filter(|name| CopiedTopic::of(name).is_some()) {
            self.asp.copied.drop_copy(id, &name);
        }
        self.after.push((staged.entry, After::Drop(id)));
        self.note_purged(id, now);
        self.has_stray_positions = true;
        self.drop_positions(now);
        Ok(())
    }

    /// Puts gaps over records of a copy that retention at its home removed before they came.
    ///
    /// # Errors
    /// [`Refusal`]: the log is no copy, ends elsewhere, or takes nothing now.
    pub fn append_gap(
        &mut self,
        id: Incarnation,
        lost: Range<Offset>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let gap = Gap {
            reason: TRIMMED.to_owned(),
            what: "retention at the channel's home removed these before they came".to_owned(),
            repaired_at: now,
            tool: concat!("npayload ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..Gap::default()
        };
        let place = self.copy_place(id);
        let place = place.ok_or_else(|| BrokerError::NoSuchChannel {
            name: id.to_string(),
        })?;
        let (epoch, time) = (place.last_epoch, place.last_time.max(Timestamp(0)));
        self.append_own_gap(id, lost.clone(), &gap, (epoch, time), GAP_BYTES, now)?;
        let topic = self.name_of(id).filter(|name| name.is_internal());
        match topic.cloned() {
            // Nothing is lost of it: its home has folded it.
            Some(topic) => self.travelled_gap(&topic, lost),
            None => self.note_gap(id, lost.start, lost.end, now),
        }
        Ok(())
    }

    /// Puts gaps over records of a copy of some types only, none of which is among them.
    ///
    /// - `last`: epoch and append time of the last batch that was passed over.
    ///
    /// # Errors
    /// [`Refusal`]: the log is no copy, ends elsewhere, or takes nothing now.
    pub fn append_skip(
        &mut self,
        id: Incarnation,
        skipped: Range<Offset>,
        types: &BTreeSet<String>,
        last: (LogEpoch, Timestamp),
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let (gap, bytes) = filtered(types);
        self.append_own_gap(id, skipped, &gap, last, bytes, now)
    }

    fn append_own_gap(
        &mut self,
        id: Incarnation,
        range: Range<Offset>,
        gap: &Gap,
        last: (LogEpoch, Timestamp),
        gap_bytes: usize,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        for bytes in gap_batches(id, range, gap, last, gap_bytes) {
            let checked = CopiedBatch::check(BytesMut::from(&bytes[..]));
            let checked = checked.map_err(|text| BrokerError::Bug(text.into()))?;
            self.append_copied(id, &mut Some(checked), now)?;
        }
        Ok(())
    }

    /// Where a copy stands; none where there is no such log.
    #[must_use]
    pub fn copy_place(&self, id: Incarnation) -> Option<CopyPlace> {
        let log = self.storage.log(id)?;
        Some(CopyPlace {
            next: log.end(),
            flushed: log.flushed(),
            last_epoch: log.last_epoch(),
            last_time: log.last_time(),
        })
    }

    /// Whether a channel is one of a name that lives here, or a copy of one, or not known at all.
    #[must_use]
    pub fn residence(&self, name: &ChannelName) -> Residence {
        match self.directory.by_name(name.as_str()) {
            None => Residence::Unknown,
            Some((id, _)) => match self.elsewhere(id) {
                None => Residence::Home(id),
                Some(home) => Residence::Copy(id, home.clone()),
            },
        }
    }

    /// Checks that a channel is still the one of this identity.
    ///
    /// # Errors
    /// [`BrokerError::NoSuchChannel`] and [`BrokerError::Recreated`].
    pub fn channel_is(&self, name: &ChannelName, id: Incarnation) -> Result<(), BrokerError> {
        self.channel_to_read(name, Some(id)).map(drop)
    }

    /// The channels that live here, by name, internal topics left out.
    ///
    /// - `after`: those behind this name.
    pub fn homes(&self, after: &str) -> impl Iterator<Item = (Incarnation, &ChannelName)> {
        let channels = self.directory.iter_from(Bound::Excluded(after));
        channels.filter_map(|(id, channel)| {
            let lives_here = !channel.name.is_internal() && self.elsewhere(id).is_none();
            lives_here.then_some((id, &channel.name))
        })
    }

    /// The channels that other regions may pull from here, by name: those that live here, and whole
    /// copies; internal topics left out.
    ///
    /// - `after`: those behind this name.
    pub fn offered(
        &self,
        after: &str,
    ) -> impl Iterator<Item = (Incarnation, &ChannelName, Option<CopyOf>)> {
        let among = self.offered_among(after);
        among.filter_map(|(name, offer)| offer.map(|(id, copy)| (id, name, copy)))
    }

    /// All channels behind a name, by name, and of each what other regions may pull: for who looks at
    /// so many of them and no more.
    pub fn offered_among(
        &self,
        after: &str,
    ) -> impl Iterator<Item = (&ChannelName, Option<(Incarnation, Option<CopyOf>)>)> {
        let channels = self.directory.iter_from(Bound::Excluded(after));
        channels.map(move |(id, channel)| {
            let is_whole = channel.copy.as_ref().is_none_or(CopyOf::is_whole);
            let is_offered = is_whole && !channel.name.is_internal();
            let offer = is_offered.then(|| (id, self.copy_now(id)));
            (&channel.name, offer)
        })
    }

    /// What a copy was told of its home; none where the channel lives here, or is not known.
    #[must_use]
    pub fn copy_of(&self, id: Incarnation) -> Option<&CopyOf> {
        self.directory.by_incarnation(id)?.copy.as_ref()
    }

    /// The first offset that a log that is here was to have: of a copy where it was begun.
    #[must_use]
    pub fn begins_at(&self, id: Incarnation) -> Option<Offset> {
        Some(self.directory.by_incarnation(id)?.begins_at())
    }

    /// The copies that are here: identity, name, and what each is a copy of.
    pub fn copies(&self) -> impl Iterator<Item = (Incarnation, &ChannelName, CopyOf)> {
        self.directory
            .iter()
            .filter_map(|(id, channel)| Some((id, &channel.name, self.copy_now(id)?)))
    }

    /// What a log is a copy of, by what is known of its home now; none where it lives here.
    fn copy_now(&self, id: Incarnation) -> Option<CopyOf> {
        let home = self.elsewhere(id)?.clone();
        let copy = self.directory.by_incarnation(id)?.copy.clone();
        // One that was made here has all of it.
        let copy = copy.unwrap_or_else(|| CopyOf {
            home: home.clone(),
            begins_at: Offset(0),
            from_start: true,
            types: None,
        });
        Some(CopyOf { home, ..copy })
    }

    /// The channels that were made here and live elsewhere now: they are followed whether or not
    /// anybody has declared interest in them, since this region was to have all of them.
    pub fn former_homes(&self) -> impl Iterator<Item = &ChannelName> {
        let logs = self.directory.iter();
        let former = logs.filter(|(id, channel)| self.is_former(*id, channel));
        former.map(|(_, channel)| &channel.name)
    }

    /// Whether a channel is one of those.
    #[must_use]
    pub fn is_former_home(&self, name: &ChannelName) -> bool {
        let known = self.directory.by_name(name.as_str());
        known.is_some_and(|(id, channel)| self.is_former(id, channel))
    }

    fn is_former(&self, id: Incarnation, channel: &Channel) -> bool {
        let is_moved = channel.copy.is_none() && self.elsewhere(id).is_some();
        is_moved && !channel.name.is_internal()
    }
}
