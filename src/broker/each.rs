//! Channels with a log for each region: which log a name means here, and how this region begins its
//! own.
//!
//! Such a channel is stored as its logs, named `CHANNEL@REGION`: this region's own, and copies of the
//! others'. Its own name means all of them together, which a reader has to take apart; who writes to
//! it means the log of the region that is asked.

use super::channels::CreateOutcome;
use super::config::ChannelConfig;
use super::core::{Accepted, Broker, Refusal};
use super::directory::{Channel, CreateError};
use super::error::BrokerError;
use crate::region::directory::Spread;
use crate::types::{ChannelName, Incarnation, RegionName, Timestamp};

impl Broker {
    /// The logs here of a channel that has one for each region, by region; none of any other.
    pub fn logs_of(&self, channel: &ChannelName) -> impl Iterator<Item = (Incarnation, &Channel)> {
        // Internal topics of other regions are kept beside this one's own.
        let is_each = channel.region().is_none() && !channel.is_internal();
        let logs = is_each.then(|| self.directory.logs_of(channel));
        logs.into_iter().flatten()
    }

    /// The live channels here that have a log for each region: all logs of them, by name.
    pub fn all_logs(&self) -> impl Iterator<Item = (Incarnation, &Channel)> {
        let logs = self.directory.iter();
        logs.filter(|(_, channel)| !channel.config.regions.is_one())
    }

    /// What the directory has of a live channel.
    #[must_use]
    pub fn channel_of(&self, id: Incarnation) -> Option<&Channel> {
        let channel = self.directory.by_incarnation(id);
        channel.filter(|channel| channel.is_live())
    }

    /// The log that a write to a channel goes to, where the channel has one for each region: that of
    /// this region, which may be yet to be begun. `None` where the name means what it says.
    #[must_use]
    pub fn own_log(&self, name: &ChannelName) -> Option<ChannelName> {
        let region = self.config.region.as_ref()?;
        let is_plain = name.region().is_none() && !name.is_internal();
        if !is_plain || self.directory.by_name(name.as_str()).is_some() {
            return None;
        }
        self.logs_of(name).next()?;
        Some(name.log_of(region))
    }

    /// The identity of the log that a write to a channel goes to here, if it is there.
    #[must_use]
    pub fn identity_to_write(&self, name: &ChannelName) -> Option<Incarnation> {
        match self.own_log(name) {
            Some(own) => self.identity_of(&own),
            None => self.identity_of(name),
        }
    }

    /// Begins this region's log of a channel that another region has told of, with the configuration
    /// that it has there. One that was begun already stays as it is.
    ///
    /// # Errors
    /// [`Refusal`]: the broker is no region, a channel here has the name as one log, or there is no
    /// room.
    pub fn begin_log(
        &mut self,
        channel: &ChannelName,
        config: ChannelConfig,
        now: Timestamp,
    ) -> Result<Accepted<CreateOutcome>, Refusal> {
        let region = self.config.region.as_ref().ok_or(BrokerError::NotARegion)?;
        let name = channel.log_of(region);
        let outcome = match self.create_with(name, config, now) {
            Ok(_) => CreateOutcome::Created,
            Err(BrokerError::Create(CreateError::Exists { name, .. }))
                if name.region().is_some() =>
            {
                CreateOutcome::Existed
            }
            Err(error) => return Err(Refusal::revealing(error, Some(self.directory_wait()))),
        };
        Ok(Accepted {
            value: outcome,
            wait: self.directory_wait(),
        })
    }

    /// The name under which a channel is made that a client wants: that of this region's log, where
    /// it is to have one for each region.
    pub(super) fn name_to_create(
        &self,
        name: ChannelName,
        regions: Option<Spread>,
    ) -> Result<ChannelName, BrokerError> {
        if name.region().is_some() {
            return Err(CreateError::NamesLog { name }.into());
        }
        match (regions, &self.config.region) {
            (Some(Spread::Each), None) => Err(BrokerError::NotARegion),
            (Some(Spread::Each), Some(region)) if !name.is_internal() => Ok(name.log_of(region)),
            _ => Ok(name),
        }
    }

    /// The configuration of the logs that other regions have of the channel of a log that is yet to
    /// be begun here.
    pub(super) fn config_of_others(&self, name: &ChannelName) -> Option<ChannelConfig> {
        name.region()?;
        let (_, channel) = self.logs_of(&name.channel()).next()?;
        Some(channel.config.clone())
    }

    /// Whether a log is this region's own of a channel that others have logs of, so that the first
    /// write to it begins it.
    #[must_use]
    pub fn is_to_be_begun(&self, name: &ChannelName) -> bool {
        let own = self.config.region.as_ref().map(RegionName::as_str);
        own.is_some() && name.region() == own && self.logs_of(&name.channel()).next().is_some()
    }

    /// What is said of a name that nothing has: nothing at all, or that it means several logs.
    #[must_use]
    pub fn no_such_log(&self, name: &ChannelName) -> BrokerError {
        match self.logs_of(name).next() {
            Some(_) => BrokerError::EachRegion {
                channel: name.to_string(),
            },
            None => super::positions::no_such(name),
        }
    }
}
