//! The broker's own records: events as batches of the internal topics.

use bytes::BytesMut;

use super::core::{Accepted, Broker, Refusal, Wait};
use super::directory::DirectoryEvent;
use super::error::BrokerError;
use crate::access::AccessEvent;
use crate::consumer::ConsumerEvent;
use crate::folding::IllegalEvent;
use crate::format::{BatchBuilder, Compression, NewRecord};
use crate::region::copies::CopyEvent;
use crate::region::directory::RegionEvent;
use crate::region::homes::HomeEvent;
use crate::region::interest::InterestEvent;
use crate::region::peers::PeerEvent;
use crate::storage::{Need, NewBatch, Staged};
use crate::types::{Durability, Incarnation, Timestamp};

/// The topic that says which channels there are.
pub(super) const CHANNELS: &str = "__channels";
/// The topic of committed offsets.
pub(super) const CONSUMERS: &str = "__consumers";
/// The topic of who did what to the broker.
pub(super) const AUDIT: &str = "__audit";
/// The topic of organisations, keys and grants.
pub(super) const ACCESS: &str = "__access";

/// The topic of what the region wants of others.
pub(super) const INTEREST: &str = "__interest";

/// The topic of the homes that this region fences, takes and declines.
pub(super) const HOMES: &str = "__homes";
/// The topic of the copies that this region has.
pub(super) const COPIES: &str = "__copies";

/// A record of the broker's own.
pub(super) struct OwnRecord {
    pub record_type: String,
    pub key: String,
    pub payload: Vec<u8>,
}

impl OwnRecord {
    pub fn of_directory(event: &DirectoryEvent) -> Self {
        let key = match event {
            DirectoryEvent::Created(created) => created.name.to_string(),
            DirectoryEvent::Updated(updated) => updated.incarnation.to_string(),
            DirectoryEvent::Deleted(deleted) => deleted.name.to_string(),
            DirectoryEvent::Removed(removed) => removed.incarnation.to_string(),
            DirectoryEvent::Trimmed(trimmed) => trimmed.incarnation.to_string(),
            _ => String::new(),
        };
        Self {
            record_type: event.record_type().to_owned(),
            key,
            payload: event.encode(),
        }
    }

    pub fn of_access(event: &AccessEvent) -> Self {
        let key = match event {
            AccessEvent::OrgCreated(e) => e.org.to_string(),
            AccessEvent::OrgLimited(e) => e.org.to_string(),
            AccessEvent::KeyCreated(e) => e.key.to_string(),
            AccessEvent::KeyUsed(e) => e.key.to_string(),
            AccessEvent::KeyExpirySet(e) => e.key.to_string(),
            AccessEvent::KeyRevoked(e) => e.key.to_string(),
            AccessEvent::KeyTravels(e) => e.key.to_string(),
            AccessEvent::PrincipalMet(e) => e.principal.to_string(),
            AccessEvent::GrantProposed(e) => e.grant.to_string(),
            AccessEvent::GrantAccepted(e) => e.grant.to_string(),
            AccessEvent::GrantRevoked(e) => e.grant.to_string(),
            _ => String::new(),
        };
        Self {
            record_type: event.record_type().to_owned(),
            key,
            payload: event.encode(),
        }
    }

    pub fn of_interest(event: &InterestEvent) -> Self {
        let key = match event {
            InterestEvent::Declared(e) => e.pattern.to_string(),
            InterestEvent::Removed(e) => e.pattern.to_string(),
            InterestEvent::Read(e) => e.channel.to_string(),
            InterestEvent::Idle(e) => e.channel.to_string(),
            InterestEvent::Expired(e) => e.channel.to_string(),
            _ => String::new(),
        };
        Self {
            record_type: event.record_type().to_owned(),
            key,
            payload: event.encode(),
        }
    }

    pub fn of_home(event: &HomeEvent) -> Self {
        let key = event.incarnation().map(|id| id.to_string());
        Self {
            record_type: event.record_type().to_owned(),
            key: key.unwrap_or_default(),
            payload: event.encode(),
        }
    }

    pub fn of_regions(event: &RegionEvent) -> Self {
        let key = match event {
            RegionEvent::Joined(e) => e.region.to_string(),
            RegionEvent::Left(e) => e.region.to_string(),
            RegionEvent::Named(e) => e.channel.to_string(),
            RegionEvent::Unnamed(e) => e.channel.to_string(),
            _ => String::new(),
        };
        Self {
            record_type: event.record_type().to_owned(),
            key,
            payload: event.encode(),
        }
    }

    pub fn of_copy(event: &CopyEvent) -> Self {
        let key = event.incarnation().map(|id| id.to_string());
        Self {
            record_type: event.record_type().to_owned(),
            key: key.unwrap_or_default(),
            payload: event.encode(),
        }
    }

    pub fn of_peer(event: &PeerEvent) -> Self {
        let key = match event {
            PeerEvent::Set(e) => e.region.to_string(),
            PeerEvent::Removed(e) => e.region.to_string(),
            _ => String::new(),
        };
        Self {
            record_type: event.record_type().to_owned(),
            key,
            payload: event.encode(),
        }
    }

    pub fn of_consumer(event: &ConsumerEvent) -> Self {
        let key = match event {
            ConsumerEvent::Committed(e) => format!("{}/{}", e.channel, e.consumer),
            ConsumerEvent::Reset(e) => format!("{}/{}", e.channel, e.consumer),
            ConsumerEvent::Deleted(e) => format!("{}/{}", e.channel, e.consumer),
            ConsumerEvent::Repositioned(e) => format!("{}/{}", e.channel, e.consumer),
            ConsumerEvent::ChannelDropped(e) => e.channel.to_string(),
            _ => String::new(),
        };
        Self {
            record_type: event.record_type().to_owned(),
            key,
            payload: event.encode(),
        }
    }
}

/// A batch of the broker's own records.
pub(super) fn own_batch(log: Incarnation, records: &[OwnRecord]) -> Result<NewBatch, BrokerError> {
    let bug = |error: crate::format::BuildError| BrokerError::Bug(error.to_string().into());
    let mut builder = BatchBuilder::new(Compression::None);
    for record in records {
        let key = Some(record.key.as_bytes()).filter(|key| !key.is_empty());
        builder
            .push(&NewRecord {
                record_type: &record.record_type,
                key,
                headers: &[],
                payload: Some(&record.payload),
                event_time: None,
            })
            .map_err(bug)?;
    }
    let span = builder.record_count();
    let bytes: BytesMut = builder.build().map_err(bug)?;
    Ok(NewBatch {
        log,
        bytes,
        span,
        expected: None,
        principal: 0,
        sealing: None,
        copied: None,
    })
}

impl Broker {
    /// Records directory events in one entry, with the audit record of the act that they are, and
    /// applies them.
    pub(super) fn record_directory(
        &mut self,
        events: &[DirectoryEvent],
        need: Need,
        now: Timestamp,
    ) -> Result<Staged, BrokerError> {
        self.record_directory_with(events, None, need, now)
    }

    /// As [`Broker::record_directory`], with a batch of another topic of the broker's in the entry.
    pub(super) fn record_directory_with(
        &mut self,
        events: &[DirectoryEvent],
        more: Option<NewBatch>,
        need: Need,
        now: Timestamp,
    ) -> Result<Staged, BrokerError> {
        let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_directory).collect();
        let log = self.storage.directory_id();
        let mut batches = vec![own_batch(log, &records)?];
        batches.extend(more);
        let named = self.draft_names(events, &mut batches, now)?;
        let drafted = self.draft_audit(&mut batches, now)?;
        // What can't be staged must not be applied, and what can't follow must not be staged.
        self.storage.check_stage(&batches, need)?;
        for event in events {
            let applied = self.directory.apply(event);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        }
        let staged = self.storage.stage_for(&mut batches, need, now)?;
        self.directory_events += events.len() as u64;
        self.booked(log, &staged);
        self.book_names(&named, &staged)?;
        self.book_audit(drafted, &staged);
        Ok(staged)
    }

    /// Books the last entry of a log, for answers that reveal it.
    pub(super) fn booked(&mut self, log: Incarnation, staged: &Staged) {
        if let Some(channel) = self.channels.get_mut(&log) {
            channel.last = Wait {
                entry: staged.entry,
                level: staged.level,
            };
        }
    }

    /// Records facts of one of the broker's own topics in one entry, with what it says to the audit,
    /// and applies them: neither where there is no room for the entry.
    ///
    /// # Errors
    /// [`Refusal`]: there is no room, or a fact can't follow.
    pub(super) fn record_own(
        &mut self,
        log: Incarnation,
        records: &[OwnRecord],
        now: Timestamp,
        apply: impl FnOnce(&mut Self) -> Result<(), IllegalEvent>,
    ) -> Result<Accepted<()>, Refusal> {
        let mut batches = vec![own_batch(log, records)?];
        let drafted = self.draft_audit(&mut batches, now)?;
        self.storage
            .check_stage(&batches, Need::Own)
            .map_err(BrokerError::from)?;
        apply(self).map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        let staged = self.storage.stage_for(&mut batches, Need::Own, now);
        let staged = staged.map_err(BrokerError::from)?;
        self.booked(log, &staged);
        self.book_audit(drafted, &staged);
        Ok(Accepted {
            value: (),
            wait: self.wait_for(log),
        })
    }

    /// What an answer about a log must wait for, so that it reveals nothing that could be lost.
    pub(super) fn wait_for(&self, log: Incarnation) -> Wait {
        let nothing = Wait {
            entry: crate::storage::EntryId(0),
            level: Durability::Written,
        };
        self.channels
            .get(&log)
            .map_or(nothing, |channel| channel.last)
    }
}
