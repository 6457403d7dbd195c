//! What an organisation's limits leave of channels and their configurations.

use std::cmp::min;

use super::config::ChannelConfig;
use super::core::Broker;
use super::error::BrokerError;
use crate::access::Limits;
use crate::types::{ChannelName, DEFAULT_ORG_NAME};

/// More than an organisation may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("organisation `{org}` may have {field} up to {limit}, not {found}")]
pub struct OrgLimit {
    /// Whose limit.
    pub org: String,
    /// Name of the limit, as in JSON.
    pub field: &'static str,
    /// What was asked for; `null` where it is without end.
    pub found: String,
    /// The most there may be.
    pub limit: u64,
}

impl Broker {
    fn limits_of(&self, channel: &ChannelName) -> Limits {
        let org = self.access().org_by_name(org_of(channel));
        org.map(|org| org.limits).unwrap_or_default()
    }

    /// The configuration of a channel that is made without one: the defaults, as far as the limits
    /// of its organisation go; those of the channel, for a region's log of one that others have.
    pub(super) fn defaults_for(&self, channel: &ChannelName) -> ChannelConfig {
        if let Some(config) = self.config_of_others(channel) {
            return config;
        }
        let limits = self.limits_of(channel);
        let mut config = self.config.defaults.clone();
        if let Some(most) = limits.max_retention_days.map(u64::from) {
            let days = config.retention_days.map_or(most, |days| min(days, most));
            config.retention_days = Some(days);
        }
        if let Some(most) = limits.max_record_bytes.map(u64::from) {
            config.max_record_bytes = min(config.max_record_bytes, most);
        }
        config
    }

    /// Refuses a configuration that the organisation of its channel may not have.
    ///
    /// - `before`: the channel's configuration so far; what stays as it was is not asked for anew.
    pub(super) fn check_org_config(
        &self,
        channel: &ChannelName,
        config: &ChannelConfig,
        before: Option<&ChannelConfig>,
    ) -> Result<(), BrokerError> {
        let limits = self.limits_of(channel);
        let beyond = |field, found: String, limit| {
            let org = org_of(channel).to_owned();
            Err(OrgLimit {
                org,
                field,
                found,
                limit,
            }
            .into())
        };
        if let Some(most) = limits.max_retention_days.map(u64::from)
            && config.retention_days.is_none_or(|days| days > most)
            && before.is_none_or(|before| before.retention_days != config.retention_days)
        {
            let found = config.retention_days;
            let found = found.map_or("null".to_owned(), |days| days.to_string());
            return beyond("maxRetentionDays", found, most);
        }
        match limits.max_record_bytes.map(u64::from) {
            Some(most)
                if config.max_record_bytes > most
                    && before.is_none_or(|before| {
                        before.max_record_bytes != config.max_record_bytes
                    }) =>
            {
                beyond("maxRecordBytes", config.max_record_bytes.to_string(), most)
            }
            _ => Ok(()),
        }
    }

    /// Whether there is room for more channels, in the broker and in their organisations.
    pub(super) fn check_room(&self, more: &[&ChannelName]) -> Result<(), BrokerError> {
        let Some(first) = more.first() else {
            return Ok(());
        };
        let found = self.directory.made_by_clients() + more.len();
        let limit = self.config.max_channels;
        if found > limit {
            return Err(BrokerError::TooManyChannels { found, limit });
        }
        // Whoever makes channels makes them in one organisation.
        let Some(limit) = self.limits_of(first).max_channels else {
            return Ok(());
        };
        let org = first.org();
        let is_theirs = |name: &ChannelName| name.org() == org && !name.is_internal();
        let known = self.directory.iter();
        let known = known
            .filter(|(_, channel)| is_theirs(&channel.name))
            .count();
        let found = known + more.len();
        if found > limit as usize {
            return Err(OrgLimit {
                org: org_of(first).to_owned(),
                field: "maxChannels",
                found: found.to_string(),
                limit: limit.into(),
            }
            .into());
        }
        Ok(())
    }
}

fn org_of(channel: &ChannelName) -> &str {
    channel.org().unwrap_or(DEFAULT_ORG_NAME)
}
