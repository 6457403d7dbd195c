//! Copies that become wider: one with more is written beside the copy, and takes its place once it has
//! all that the copy has.
//!
//! ```text
//!   copy ──copy.widening──▶ copy, and one beside ──▶ copy takes nothing ──▶ in its place ──▶ channel.widened,
//!                           that nobody knows of     more                   (storage)        copy.widened
//! ```
//! Whatever is lost in a crash is the one beside, or the record of what was done: then the copy has
//! more than it is known to have, shows what is on the record, and is widened again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::core::{After, Broker, Refusal, Wake, log_options};
use super::directory::{CopyOf, DirectoryEvent, Widened};
use super::error::BrokerError;
use super::journal::own_batch;
use super::open::producers_of;
use super::setting_aside::empty;
use crate::format::Sealing;
use crate::region::copies::{CopyEvent, Widening};
use crate::storage::{BesideLog, CutError, Need, StageError};
use crate::types::{Incarnation, Offset, Timestamp};

/// What a copy is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wider {
    /// Offset of its first record.
    pub begins_at: Offset,
    /// Whether that is the first record that there is.
    pub from_start: bool,
    /// Record types that it is of; `None` is all.
    pub types: Option<BTreeSet<String>>,
}

/// The copies that are put in the place of others.
#[derive(Debug, Default)]
pub(super) struct Widenings {
    /// What each will be.
    under_way: HashMap<Incarnation, Wider>,
    /// How they ended.
    ended: HashMap<Incarnation, Result<(), CutError>>,
    /// What is in its place, and not on the record.
    unrecorded: Vec<(Incarnation, Wider)>,
}

impl Wider {
    fn event(&self, incarnation: Incarnation, at: Timestamp) -> Widening {
        Widening {
            incarnation,
            from: self.begins_at,
            types: (self.types.as_ref()).map(|types| types.iter().cloned().collect()),
            at,
        }
    }
}

impl Broker {
    /// Begins a copy with more beside one that is here, on the record.
    ///
    /// # Errors
    /// [`Refusal`]: no such copy is here, or there is no room.
    pub fn begin_wider(
        &mut self,
        id: Incarnation,
        wider: &Wider,
        now: Timestamp,
    ) -> Result<BesideLog, Refusal> {
        let channel = self.directory.by_incarnation(id).filter(|it| it.is_live());
        let channel = channel.filter(|channel| channel.copy.is_some());
        let channel = channel.ok_or_else(|| BrokerError::NoSuchChannel {
            name: id.to_string(),
        })?;
        let options = log_options(&channel.config);
        let fold = empty(self.config.producers);
        let beside = self.storage.beside(id, options, wider.begins_at, fold);
        // What is left of an earlier one is on its way to be removed.
        let beside = beside.ok_or(StageError::Busy)?;
        self.record_copy(CopyEvent::Widening(wider.event(id, now)), now)?;
        Ok(beside)
    }

    /// How the next batch of a copy is encrypted, if it is.
    ///
    /// # Errors
    /// [`BrokerError`]: its key can't be used, or there is no room for a new one.
    pub fn seal_beside(
        &mut self,
        id: Incarnation,
        now: Timestamp,
    ) -> Result<Option<Sealing>, BrokerError> {
        self.sealing(id, now)
    }

    /// Begins to put a copy in the place of the one beside which it was written, and which takes
    /// nothing more until then.
    ///
    /// # Errors
    /// Why not now, or never, and the copy; nothing is changed.
    pub fn put_in_place(
        &mut self,
        beside: BesideLog,
        wider: Wider,
    ) -> Result<(), Box<(BesideLog, CutError)>> {
        let id = beside.id();
        let is_pending =
            |(_, after): &(_, After)| matches!(after, After::Trim(log, _) if *log == id);
        if self.after.iter().any(is_pending) || self.held_copies.contains(&id) {
            return Err(Box::new((beside, CutError::Busy)));
        }
        self.storage.begin_replace(beside)?;
        self.wider.under_way.insert(id, wider);
        Ok(())
    }

    /// How it ended that a copy was put in the place of another, once; none while it goes on.
    pub fn take_wider(&mut self, id: Incarnation) -> Option<Result<(), CutError>> {
        self.wider.ended.remove(&id)
    }

    /// Books that a copy is in the place of another. Those it gives are to be woken.
    pub(super) fn book_wider(&mut self, now: Timestamp) -> Vec<Arc<dyn Wake>> {
        let Some((id, ended)) = self.storage.take_replaced() else {
            return Vec::new();
        };
        let wider = self.wider.under_way.remove(&id);
        let ended = ended.map(|(fence, rows)| {
            let producers = producers_of(self.config.producers, fence, &rows);
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.producers = producers;
            }
            self.wider.unrecorded.extend(wider.map(|wider| (id, wider)));
        });
        self.record_wider(now);
        self.wider.ended.insert(id, ended);
        let mut wake = self.round_waiters.take_all();
        wake.extend(self.log_waiters.remove(&id).unwrap_or_default());
        wake
    }

    /// Records what copies have become; what finds no room is recorded later.
    pub(super) fn record_wider(&mut self, now: Timestamp) {
        for (id, wider) in std::mem::take(&mut self.wider.unrecorded) {
            if let Err(refusal) = self.record_one(id, &wider, now) {
                tracing::debug!(log = %id, error = %refusal.error, "what a copy is now is recorded later");
                self.wider.unrecorded.push((id, wider));
            }
        }
    }

    fn record_one(
        &mut self,
        id: Incarnation,
        wider: &Wider,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let channel = self.directory.by_incarnation(id).filter(|it| it.is_live());
        let copy = channel.and_then(|channel| channel.copy.clone());
        let (Some(copy), Some(log)) = (copy, self.storage.log(id)) else {
            return Ok(()); // It was purged meanwhile.
        };
        let event = DirectoryEvent::Widened(Widened {
            incarnation: id,
            copy: CopyOf {
                begins_at: wider.begins_at,
                from_start: wider.from_start,
                types: wider.types.clone(),
                ..copy
            },
            log_start: log.log_start(),
        });
        let drafted = self.draft_copy(CopyEvent::Widened(wider.event(id, now)), now)?;
        let more = own_batch(drafted.log, &drafted.records)?;
        let staged = self.record_directory_with(&[event], Some(more), Need::Own, now)?;
        self.booked(drafted.log, &staged);
        self.kept.copies = drafted.next;
        self.kept.events += drafted.records.len() as u64;
        Ok(())
    }
}
