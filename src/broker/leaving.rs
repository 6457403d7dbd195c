//! A region that leaves the directory of all regions: what is here of it goes.

use super::copies::Residence;
use super::core::{Accepted, After, Broker, Refusal};
use super::directory::{Deleted, DirectoryEvent};
use super::error::BrokerError;
use super::travelled::Travelling;
use crate::region::directory::Regions;
use crate::storage::Need;
use crate::types::{ChannelName, Timestamp};

impl Broker {
    /// Removes the copy of the directory, which this region does not belong to any more. Copies of
    /// channels stay, as the last bytes there may be.
    ///
    /// # Errors
    /// [`Refusal`]: there is no room for the record.
    pub fn leave_directory(&mut self, now: Timestamp) -> Result<Accepted<()>, Refusal> {
        self.remove_travelled(&Travelling::Regions.name(), now)?;
        self.regions = Regions::default();
        self.lacks_nothing(now);
        self.consents += 1;
        self.granted.clear();
        self.settle_trust();
        Ok(Accepted {
            value: (),
            wait: self.directory_wait(),
        })
    }

    /// Removes the copy of another region's topic, where there is one. Of one that is brought anew it
    /// stays on the record that it is.
    ///
    /// # Errors
    /// [`BrokerError`]: there is no room for the record.
    pub(super) fn remove_travelled(
        &mut self,
        name: &ChannelName,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let Residence::Copy(id, _) = self.residence(name) else {
            return Ok(());
        };
        let event = DirectoryEvent::Deleted(Deleted {
            incarnation: id,
            name: name.clone(),
            at: now,
        });
        let staged = self.record_directory(&[event], Need::Freeing, now)?;
        self.after.push((staged.entry, After::Drop(id)));
        if !self.lacking.has(id) {
            self.note_purged(id, now);
        }
        Ok(())
    }
}
