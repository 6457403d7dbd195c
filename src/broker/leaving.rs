//! A region that leaves the directory of all regions: what is here of it goes.

use super::copies::Residence;
use super::core::{Accepted, After, Broker, Refusal};
use super::travelled::Travelling;
use crate::region::directory::Regions;
use crate::storage::Need;
use crate::types::Timestamp;

impl Broker {
    /// Removes the copy of the directory, which this region does not belong to any more. Copies of
    /// channels stay, as the last bytes there may be.
    ///
    /// # Errors
    /// [`Refusal`]: there is no room for the record.
    pub fn leave_directory(&mut self, now: Timestamp) -> Result<Accepted<()>, Refusal> {
        if let Residence::Copy(id, _) = self.residence(&Travelling::Regions.name()) {
            let event = self.directory.check_delete(id, now)?;
            let staged = self.record_directory(&[event], Need::Freeing, now)?;
            self.after.push((staged.entry, After::Drop(id)));
            self.note_purged(id, now);
        }
        self.regions = Regions::default();
        self.consents += 1;
        self.granted.clear();
        self.settle_trust();
        Ok(Accepted {
            value: (),
            wait: self.directory_wait(),
        })
    }
}
