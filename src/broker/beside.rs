//! Lives of a channel beside each other: its home has deleted it and made it again, and what is here
//! of the old one stays, under a name of its own, until its retention ends.
//!
//! ```text
//!   orders (1a2b3c4d…)  ──one entry──▶  __aside.1a2b3c4d.orders (1a2b3c4d…)   read, and purged, as that
//!                                       orders (new)                          begun from its start
//! ```
//! One journal entry says all of it: that the old one has another name, that a new one has its, and
//! on the record of the copies why. So a restart finds the one or the other, and never two channels
//! of a name, or none.

use super::copies::{NewCopy, Residence};
use super::core::{Accepted, Broker, Refusal};
use super::directory::{CreateError, DirectoryEvent, Renamed};
use super::error::BrokerError;
use super::journal::own_batch;
use super::kept_copies::DraftedCopy;
use crate::region::copies::{AsideReason, CopyEvent, SetAside};
use crate::storage::Need;
use crate::types::{ChannelName, Incarnation, Offset, Timestamp};

/// How the names begin that copies of former lives of a channel have.
const PREFIX: &str = "__aside.";
/// Digits of the identity in such a name, so that each life has another.
const DIGITS: usize = 8;

/// The name under which a copy is kept of a channel that was made again.
fn name_aside(channel: &ChannelName, id: Incarnation) -> Result<ChannelName, BrokerError> {
    let digits = &id.to_string()[..DIGITS];
    let local = format!("{PREFIX}{digits}.{}", channel.local());
    let text = match channel.org() {
        Some(org) => format!("{org}/{local}"),
        None => local,
    };
    ChannelName::parse_any(&text).map_err(|error| BrokerError::NotBeside {
        channel: channel.to_string(),
        what: format!("leaves no room for the name of what was here before: {error}"),
    })
}

/// The channel of which a former life is kept under a name, if it is such a name.
#[must_use]
pub fn lived_before(name: &ChannelName) -> Option<ChannelName> {
    let rest = name.local().strip_prefix(PREFIX)?;
    let (digits, local) = (rest.get(..DIGITS)?, rest.get(DIGITS..)?.strip_prefix('.')?);
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let text = match name.org() {
        Some(org) => format!("{org}/{local}"),
        None => local.to_owned(),
    };
    ChannelName::parse_any(&text)
        .ok()
        .filter(|channel| !channel.is_internal())
}

impl Broker {
    /// Makes the copy of a channel that was deleted and made again at its home. The copy of the old
    /// one stays under a name of its own.
    ///
    /// # Errors
    /// [`Refusal`]: no copy of another life of the channel is here, from that home; the identity is
    /// taken, or there is no room. Nothing is changed then.
    pub fn create_recreated(
        &mut self,
        new: NewCopy,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let wrong = |what: &str| BrokerError::NotBeside {
            channel: new.name.to_string(),
            what: what.to_owned(),
        };
        let old = match self.residence(&new.name) {
            Residence::Copy(old, home)
                if old != new.incarnation
                    && (home == new.home || self.is_made_again(&new.name, new.incarnation)) =>
            {
                old
            }
            Residence::Copy(..) => return Err(wrong("was not made again at its home").into()),
            _ => return Err(wrong("has no copy here").into()),
        };
        if self.directory.by_incarnation(new.incarnation).is_some() {
            let incarnation = new.incarnation;
            return Err(CreateError::IncarnationTaken { incarnation }.into());
        }
        // What an organisation may have is not changed by it.
        let (found, limit) = (
            self.directory.made_by_clients() + 1,
            self.config.max_channels,
        );
        if found > limit {
            return Err(BrokerError::TooManyChannels { found, limit }.into());
        }
        new.config.check().map_err(CreateError::from)?;
        let (renamed, drafted) = self.draft_beside(&new.name, old, now)?;
        let more = own_batch(drafted.log, &drafted.records)?;
        let mut events = vec![renamed];
        events.extend(self.with_key(DirectoryEvent::Created(new.created(now)), &new, now)?);
        let staged = self.record_directory_with(&events, Some(more), Need::Producer, now)?;
        self.booked(drafted.log, &staged);
        self.kept.copies = drafted.next;
        self.kept.events += drafted.records.len() as u64;
        self.open_copy(&new, now);
        // Who waits for more of the old one is told.
        if let Some(waiters) = self.log_waiters.remove(&old) {
            self.round_waiters.extend(waiters);
        }
        tracing::warn!(
            channel = %new.name, %old, new = %new.incarnation,
            "the channel was deleted and made again at its home: what is here of the old one is kept \
             beside"
        );
        Ok(Accepted {
            value: (),
            wait: self.directory_wait(),
        })
    }

    /// What gives the copy of a former life of a channel a name of its own, and says so on the record
    /// of the copies.
    pub(super) fn draft_beside(
        &self,
        name: &ChannelName,
        old: Incarnation,
        at: Timestamp,
    ) -> Result<(DirectoryEvent, DraftedCopy), BrokerError> {
        let to = name_aside(name, old)?;
        let log = self.storage.log(old);
        let place = log.map(|log| (log.log_start(), log.end()));
        let (from, end) = place.unwrap_or((Offset(0), Offset(0)));
        let aside = SetAside {
            incarnation: old,
            reason: AsideReason::Recreated,
            from,
            end,
            place: to.to_string(),
            at,
            republished: Vec::new(),
            refused: None,
        };
        let drafted = self.draft_copy(CopyEvent::SetAside(aside), at)?;
        let renamed = DirectoryEvent::Renamed(Renamed {
            incarnation: old,
            name: name.clone(),
            to,
            at,
        });
        Ok((renamed, drafted))
    }

    /// Removes the copy of a former life of a channel once its retention has left nothing of it.
    pub(super) fn drop_spent(&mut self, id: Incarnation, now: Timestamp) {
        let name = self.name_of(id).filter(|name| lived_before(name).is_some());
        let Some(name) = name.cloned() else {
            return;
        };
        let log = self.storage.log(id);
        if log.is_none_or(|log| log.log_start() < log.end()) || self.elsewhere(id).is_none() {
            return;
        }
        match self.drop_log_of_copy(id, now) {
            Ok(()) => {
                tracing::info!(%name, "retention has left nothing of a channel's former life")
            }
            // The next turn finds the same.
            Err(error) => tracing::debug!(%name, %error, "it is removed later"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_aside_tells_which_channel_lived_before() {
        let id = Incarnation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        for (channel, aside) in [
            ("orders", "__aside.00112233.orders"),
            ("acme/orders.eu", "acme/__aside.00112233.orders.eu"),
            ("orders@eu-west", "__aside.00112233.orders@eu-west"),
        ] {
            let channel = ChannelName::parse_any(channel).unwrap();
            let name = name_aside(&channel, id).unwrap();
            assert_eq!(name.as_str(), aside);
            assert!(name.is_internal());
            assert_eq!(lived_before(&name), Some(channel));
        }
        for other in [
            "__aside.0011.orders",
            "__aside.0011223x.o",
            "__asp.x",
            "orders",
        ] {
            let name = ChannelName::parse_any(other).unwrap();
            assert_eq!(lived_before(&name), None, "{other}");
        }
        let long = ChannelName::parse(&"x".repeat(250)).unwrap();
        let refused = name_aside(&long, id).unwrap_err().to_string();
        assert!(refused.contains("leaves no room"), "{refused}");
    }
}
