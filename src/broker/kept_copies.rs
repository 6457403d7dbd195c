//! What becomes of the copies of this region, on the record of `__copies`: begun, with gaps, stopped
//! and followed again, set aside, purged.

use super::core::{Accepted, Broker, Refusal};
use super::error::BrokerError;
use super::journal::OwnRecord;
use crate::region::LogName;
use crate::region::copies::{Begun, Copies, CopyEvent, Gapped, Purged, Resumed, Stopped};
use crate::types::{ChannelName, Incarnation, Offset, RegionName, Timestamp};

/// What is on the record of the copies that are here.
#[derive(Debug, Default)]
pub(super) struct KeptCopies {
    pub copies: Copies,
    /// The topic, once the broker is a region.
    pub log: Option<Incarnation>,
    pub events: u64,
}

/// Records of an event of a copy that are to be staged.
pub(super) struct DraftedCopy {
    pub log: Incarnation,
    pub records: Vec<OwnRecord>,
    /// All copies behind it.
    pub next: Copies,
}

impl Broker {
    /// What is on the record of the copies that are here.
    #[must_use]
    pub fn kept_copies(&self) -> &Copies {
        &self.kept.copies
    }

    /// Records what became of a copy, and applies it. A copy that was begun before there was such a
    /// record is recorded first.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, the event can't follow, or there is no room.
    pub fn record_copy(
        &mut self,
        event: CopyEvent,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let drafted = self.draft_copy(event, now)?;
        let (log, events) = (drafted.log, drafted.records.len() as u64);
        let accepted = self.record_own(log, &drafted.records, now, |broker| {
            broker.kept.copies = drafted.next;
            Ok(())
        })?;
        self.kept.events += events;
        Ok(accepted)
    }

    /// What records an event of a copy, and what is true behind it.
    pub(super) fn draft_copy(
        &self,
        event: CopyEvent,
        now: Timestamp,
    ) -> Result<DraftedCopy, BrokerError> {
        let log = self.kept.log.filter(|_| self.config.region.is_some());
        let log = log.ok_or(BrokerError::NotARegion)?;
        let id = event.incarnation();
        let is_begun = matches!(event, CopyEvent::Begun(_));
        let copies = &self.kept.copies;
        let is_known = |id: Incarnation| copies.copy(id).is_some() || copies.is_beside(id);
        let unknown = id.filter(|id| !is_begun && !is_known(*id));
        let begun = unknown.and_then(|id| self.begun_copy(id, now));
        let events: Vec<CopyEvent> = begun.into_iter().chain([event]).collect();
        let mut next = copies.clone();
        for event in &events {
            let applied = next.apply(event);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        }
        let records = events.iter().map(OwnRecord::of_copy).collect();
        Ok(DraftedCopy { log, records, next })
    }

    /// The event that records a log here as a copy, as it is.
    fn begun_copy(&self, id: Incarnation, at: Timestamp) -> Option<CopyEvent> {
        let channel = self.directory.by_incarnation(id)?;
        let me = self.config.region.as_ref()?;
        let log: LogName = channel.name.as_str().parse().ok()?;
        Some(CopyEvent::Begun(Begun {
            incarnation: id,
            log,
            source: self.elsewhere(id).unwrap_or(me).clone(),
            from: channel.begins_at(),
            types: None,
            at,
        }))
    }

    /// Records what can wait for the next time where it finds no room: the log itself says it too.
    pub(super) fn note_copy(&mut self, event: CopyEvent, now: Timestamp) {
        if self.config.region.is_none() {
            return;
        }
        if let Err(refusal) = self.record_copy(event, now) {
            tracing::warn!(error = %refusal.error, "what became of a copy is not on the record");
        }
    }

    pub(super) fn note_begun(&mut self, id: Incarnation, now: Timestamp) {
        let event = self.begun_copy(id, now);
        if let Some(event) = event.filter(|_| self.kept.copies.copy(id).is_none()) {
            self.note_copy(event, now);
        }
    }

    pub(super) fn note_gap(&mut self, id: Incarnation, from: Offset, to: Offset, at: Timestamp) {
        let gap = Gapped {
            incarnation: id,
            from,
            to,
            reason: crate::region::copies::GapReason::Trimmed,
            at,
        };
        self.note_copy(CopyEvent::Gap(gap), at);
    }

    pub(super) fn note_purged(&mut self, id: Incarnation, at: Timestamp) {
        let copies = &self.kept.copies;
        if copies.copy(id).is_some() || copies.is_beside(id) {
            let incarnation = id;
            self.note_copy(CopyEvent::Purged(Purged { incarnation, at }), at);
        }
    }

    /// Records that a copy is not followed any more.
    ///
    /// # Errors
    /// As for [`Broker::record_copy`].
    pub fn stop_copy(
        &mut self,
        id: Incarnation,
        code: String,
        message: String,
        at: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let offset = self.copy_place(id).map_or(Offset(0), |place| place.next);
        let event = CopyEvent::Stopped(Stopped {
            incarnation: id,
            code,
            message,
            offset,
            at,
        });
        self.record_copy(event, at)
    }

    /// Records that a stopped copy is followed again, from `source`; nothing where it was not
    /// stopped.
    ///
    /// # Errors
    /// As for [`Broker::record_copy`].
    pub fn resume_copy(
        &mut self,
        id: Incarnation,
        source: RegionName,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let copy = self.kept.copies.copy(id);
        if copy.is_none_or(|copy| copy.stop.is_none()) {
            return Ok(());
        }
        let event = CopyEvent::Resumed(Resumed {
            incarnation: id,
            source,
            at,
        });
        self.record_copy(event, at).map(drop)
    }

    /// The identity of a copy that is to be followed again.
    ///
    /// # Errors
    /// [`BrokerError`]: no such channel, or it lives here.
    pub fn copy_to_retry(&self, name: &ChannelName) -> Result<Incarnation, BrokerError> {
        let channel = name.to_string();
        match self.residence(name) {
            super::Residence::Copy(id, _) => Ok(id),
            super::Residence::Home(_) => Err(BrokerError::NotStopped {
                channel,
                what: "lives here, and is no copy",
            }),
            super::Residence::Unknown => Err(super::positions::no_such(name)),
        }
    }
}
