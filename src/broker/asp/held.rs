//! Records of channels that open disputes point to: they stay, whatever the channel's retention, and
//! the channel with them.

use std::ops::Range;

use super::{Asp, AspError};
use crate::asp::commitment::{Evidence, Reference};
use crate::broker::core::{After, Broker};
use crate::types::{ChannelName, DisputeId, Incarnation, Offset};

impl Asp {
    /// The first range of a channel that an open dispute points to.
    ///
    /// - `channel`: under the broker's name.
    pub(in crate::broker) fn held(
        &self,
        channel: &ChannelName,
    ) -> Option<(Range<Offset>, DisputeId)> {
        let states = self.orgs.values().map(|of| &of.commitments.state);
        let first = states.filter_map(|state| state.needed(channel).next());
        first.min_by_key(|(range, dispute)| (range.start, *dispute))
    }

    /// Whether a topic of disputes can't be read: then nobody knows what they point to.
    pub(in crate::broker) fn has_unknown_disputes(&self) -> bool {
        let mut all = self.orgs.values();
        all.any(|of| of.commitments.unknown.is_some())
    }
}

impl Broker {
    /// Offset from which on a channel's records stay. Where nobody knows what disputes point to, all
    /// do until the topic is repaired.
    pub(in crate::broker) fn needed_from(&self, id: Incarnation) -> Option<Offset> {
        if self.asp.has_unknown_disputes() {
            return Some(Offset(0));
        }
        let channel = self.directory.by_incarnation(id)?;
        let (range, _) = self.asp.held(&channel.name)?;
        Some(range.start)
    }

    /// Checks, in the moment in which it is recorded, that the records of channels that somebody
    /// points to are there to be held: they may have outlived their retention since they were read.
    pub(super) fn check_there(&self, evidence: &Evidence) -> Result<(), AspError> {
        for reference in &evidence.references {
            let Reference::Channel {
                channel,
                start,
                end,
                ..
            } = reference
            else {
                continue;
            };
            let gone = || AspError::Evidence {
                place: format!("channel `{channel}`, offsets {start}..{end}"),
                what: "there are no such records".into(),
            };
            let id = self.identity_of(channel).ok_or_else(gone)?;
            let log = self.storage.log(id).ok_or_else(gone)?;
            let trims = self.after.iter().filter_map(|(_, after)| match after {
                After::Trim(log, log_start) if *log == id => Some(*log_start),
                After::Trim(..) | After::Drop(_) => None,
            });
            let log_start = trims.fold(log.log_start(), Offset::max);
            if *start < log_start || *end > log.high_watermark() {
                return Err(gone());
            }
        }
        Ok(())
    }
}
