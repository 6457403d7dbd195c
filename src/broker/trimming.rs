//! Trimming the broker's own topics, and copies of other regions', behind their whole state: a topic
//! that is folded is bounded only where what is before its state goes.
//!
//! ```text
//!   log start ──── needless ────┤ whole state, one batch ├──── what was said since ────▶
//! ```
//! The state is staged before the trim is recorded, so a crash in between leaves more than is needed,
//! never less. A trim that finds no room is tried again until it is on the record.

use bytes::Bytes;

use super::core::Broker;
use super::topic::Fold;
use super::travelled::Travelling;
use crate::format::{BatchHeader, records};
use crate::types::{ChannelName, Incarnation, Offset, Timestamp};

impl Broker {
    /// Trims a topic that holds its whole state from `start` on; where that finds no room, with the
    /// next tick.
    pub(super) fn trim_folded(&mut self, id: Incarnation, start: Offset, now: Timestamp) {
        match self.trim(id, start, now) {
            Ok(()) => {
                self.untrimmed.remove(&id);
            }
            Err(error) => {
                tracing::debug!(log = %id, %error, "a folded topic is trimmed later");
                self.untrimmed.insert(id, start);
            }
        }
    }

    /// Tries again what found no room.
    pub(super) fn trim_what_waits(&mut self, now: Timestamp) {
        for (id, start) in std::mem::take(&mut self.untrimmed) {
            let log = self.storage.log(id);
            if log.is_some_and(|log| log.log_start() < start) {
                self.trim_folded(id, start, now);
            }
        }
    }

    /// Notes what a start has read of the copy of a topic: a crash may have come between its whole
    /// state and the trim.
    pub(super) fn note_untrimmed(&mut self, id: Incarnation, batches: &[Bytes]) {
        if let Some(start) = last_whole_state(batches) {
            self.untrimmed.insert(id, start);
        }
    }

    /// Takes that records of a copied topic will not come, because its home has trimmed them: the
    /// state that makes them needless comes next.
    pub(super) fn travelled_gap(&mut self, name: &ChannelName, lost: std::ops::Range<Offset>) {
        let Some(from) = (self.identity_of(name)).and_then(|id| self.elsewhere(id).cloned()) else {
            return;
        };
        if Travelling::of(name) != Some(Travelling::Access) {
            return;
        }
        // A revocation may be among them: nothing of that region counts until the state is here.
        let mut said = super::keys_abroad::AccessOf {
            access: &mut self.access,
            region: &from,
        };
        if let Err(error) = said.gap(lost) {
            tracing::error!(%error, %name, "what is missing of a topic is not taken");
        }
    }
}

/// Whether a batch holds the state that a topic folds to, all parts of it.
pub(super) fn is_whole_state(batch: &Bytes) -> bool {
    let first = records(batch).ok().and_then(|mut all| all.next());
    first.is_some_and(|first| {
        first.is_ok_and(|record| record.record_type.as_str().ends_with(".folded"))
    })
}

/// Where the last whole state among consecutive batches begins.
fn last_whole_state(batches: &[Bytes]) -> Option<Offset> {
    let mut found = None;
    for part in batches {
        let mut rest = part.clone();
        while let Ok(header) = BatchHeader::peek(&rest) {
            if header.len() > rest.len() {
                break;
            }
            let batch = rest.split_to(header.len());
            if !header.is_gap() && is_whole_state(&batch) {
                found = Some(header.base_offset());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::stored;
    use crate::format::{Compression, NewRecord, Stamp};
    use crate::types::LogEpoch;

    fn batch(base: u64, types: &[&str]) -> Bytes {
        let records = types.iter().map(|record_type| NewRecord {
            record_type,
            ..NewRecord::default()
        });
        let records: Vec<NewRecord<'_>> = records.collect();
        let at = Stamp {
            incarnation: Incarnation(7),
            base_offset: Offset(base),
            append_time: Timestamp(1),
            log_epoch: LogEpoch(1),
            principal: 0,
        };
        stored(Compression::None, &records, &at).freeze()
    }

    #[test]
    fn a_topic_begins_with_the_last_whole_state_that_is_in_it() {
        let (fact, state) = ("channel.named", "regions.folded");
        assert_eq!(last_whole_state(&[]), None);
        assert_eq!(last_whole_state(&[batch(0, &[fact])]), None);
        let parts = [
            [batch(0, &[fact]), batch(1, &[state])].concat().into(),
            [
                batch(2, &[fact]),
                batch(3, &[state, state]),
                batch(5, &[fact]),
            ]
            .concat()
            .into(),
        ];
        assert_eq!(last_whole_state(&parts), Some(Offset(3)));
        // What a topic does not hold all of says nothing.
        let cut = batch(9, &[state]);
        assert_eq!(last_whole_state(&[cut.slice(..cut.len() - 1)]), None);
    }
}
