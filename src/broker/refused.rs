//! What homes refused of outboxes: on the record of `__copies` once it lies in `lost+found/`, in one
//! entry with how far the outbox is emptied by that.
//!
//! ```text
//!   file synced ──▶ one entry: copy.setAside, channel.trimmed ──▶ carried
//! ```
//! So a restart finds it in the outbox, or on the record, and never in both or in neither. A file of
//! which there is no record says nothing: what is in it is in the outbox too, and is set aside anew.

use super::core::{Accepted, After, Broker, Refusal, Wait};
use super::directory::{DirectoryEvent, Trimmed};
use super::error::BrokerError;
use super::journal::{OwnRecord, own_batch};
use super::outbox::Outbox;
use crate::region::copies::{AsideReason, CopyEvent, SetAside};
use crate::storage::Need;
use crate::types::{Offset, Timestamp};

/// What lies in `lost+found` of an outbox and was not published again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedOfOutbox {
    /// How many records.
    pub records: u64,
    /// The last that were set aside.
    pub last: SetAside,
}

impl Broker {
    /// Whether a file in `lost+found` is on the record.
    ///
    /// - `place`: relative to the data directory.
    #[must_use]
    pub fn is_aside(&self, place: &str) -> bool {
        let mut aside = self.kept.copies.aside().iter();
        aside.any(|aside| aside.place == place)
    }

    /// What the home has refused of an outbox, where some of it was not published again.
    #[must_use]
    pub fn refused_of(&self, outbox: &Outbox) -> Option<RefusedOfOutbox> {
        let (mut records, mut last) = (0, None);
        for aside in self.kept.copies.aside() {
            let is_it = aside.incarnation == outbox.log && aside.reason == AsideReason::Refused;
            if is_it && !aside.republished.iter().any(|again| again.done) {
                records += aside.refused.as_ref().map_or(0, |it| it.records);
                last = Some(aside);
            }
        }
        let last = last?.clone();
        Some(RefusedOfOutbox { records, last })
    }

    /// Records what was refused of an outbox and lies in `lost+found`, synced, and that everything
    /// below an offset is at home or there: it is trimmed away.
    ///
    /// - `asides`: each of the reason [`AsideReason::Refused`], of that outbox; none where all is at
    ///   home.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, there is no such outbox, less is carried than is on the
    /// record, or there is no room. Nothing is changed then.
    pub fn set_aside_refused(
        &mut self,
        outbox: &Outbox,
        asides: Vec<SetAside>,
        below: Offset,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let log = self.kept.log.filter(|_| self.config.region.is_some());
        let log = log.ok_or(BrokerError::NotARegion)?;
        let mut next = self.kept.copies.clone();
        let mut records = Vec::new();
        for aside in asides {
            let event = CopyEvent::SetAside(aside);
            let applied = next.apply(&event);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
            records.push(OwnRecord::of_copy(&event));
        }
        let trimmed = DirectoryEvent::Trimmed(Trimmed {
            incarnation: outbox.log,
            log_start: below,
        });
        let more = match records.is_empty() {
            true => None,
            false => Some(own_batch(log, &records)?),
        };
        let staged = self.record_directory_with(&[trimmed], more, Need::Own, now)?;
        if !records.is_empty() {
            self.booked(log, &staged);
            self.kept.copies = next;
            self.kept.events += records.len() as u64;
        }
        self.after
            .push((staged.entry, After::Trim(outbox.log, below)));
        Ok(Accepted {
            value: (),
            wait: Wait {
                entry: staged.entry,
                level: staged.level,
            },
        })
    }
}
