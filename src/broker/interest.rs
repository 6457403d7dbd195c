//! What this region wants of others: declared and withdrawn on the record of `__interest`.

use super::core::{Accepted, Broker, Refusal};
use super::error::BrokerError;
use super::journal::OwnRecord;
use crate::region::ChannelPattern;
use crate::region::interest::{Declared, InterestEvent, Interests, ReadBegun, Removed, Wish};
use crate::types::{ChannelName, OrgName, RegionName, Timestamp};

impl Broker {
    /// Name of the region that the broker is, if it is one.
    #[must_use]
    pub fn region(&self) -> Option<&RegionName> {
        self.config.region.as_ref()
    }

    /// What the region wants of others.
    #[must_use]
    pub fn interests(&self) -> &Interests {
        &self.interests
    }

    /// Declares interest; what the same organisation declared of the pattern before is replaced.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, or a limit is broken.
    pub fn declare_interest(
        &mut self,
        declared: Declared,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let event = self.interests.check(declared).map_err(BrokerError::from)?;
        self.record_interest(&[event], now)
    }

    /// Withdraws interest. Copies stay, and what is in them.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, or nothing like that is declared.
    pub fn remove_interest(
        &mut self,
        org: OrgName,
        pattern: ChannelPattern,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let is_it = |(of, known, ..): (&OrgName, &ChannelPattern, &Wish, Timestamp)| {
            *of == org && *known == pattern
        };
        if !self.interests.declared().any(is_it) {
            let pattern = pattern.to_string();
            return Err(BrokerError::NoSuchInterest { pattern }.into());
        }
        let at = now;
        let event = InterestEvent::Removed(Removed { org, pattern, at });
        self.record_interest(&[event], now)
    }

    /// Records that somebody reads a channel that lives elsewhere.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, or the record finds no room.
    pub fn record_read(
        &mut self,
        org: OrgName,
        channel: ChannelName,
        wish: Wish,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let event = InterestEvent::Read(ReadBegun {
            org,
            channel,
            wish,
            at: now,
        });
        self.record_interest(&[event], now)
    }

    /// Records what was decided of interest, in one entry, and applies it.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, an event can't follow, or there is no room.
    pub fn record_interest(
        &mut self,
        events: &[InterestEvent],
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let log = self.interest_log.filter(|_| self.config.region.is_some());
        let log = log.ok_or(BrokerError::NotARegion)?;
        let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_interest).collect();
        let accepted = self.record_own(log, &records, now, |broker| {
            let mut events = events.iter();
            events.try_for_each(|event| broker.interests.apply(event))
        })?;
        self.interest_events += events.len() as u64;
        Ok(accepted)
    }
}
