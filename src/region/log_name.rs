//! Names of logs: a channel's own, or that of one region's log under it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::types::{ChannelName, InvalidName, RegionName};

/// Name of a log: that of its channel, and where each region has a log of its own under the
/// channel's name, an `@` and the region: `acme/orders@eu-west`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// The channel; internal topics too.
    pub channel: ChannelName,
    /// Whose log it is; `None` where the channel is one log.
    pub region: Option<RegionName>,
}

impl FromStr for LogName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (channel, region) = match text.split_once('@') {
            Some((channel, region)) => (channel, Some(RegionName::parse(region)?)),
            None => (text, None),
        };
        let channel = ChannelName::parse_any(channel)?;
        Ok(Self { channel, region })
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.region {
            Some(region) => write!(f, "{}@{region}", self.channel),
            None => self.channel.fmt(f),
        }
    }
}

impl Serialize for LogName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::types::from_text(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_named_by_its_channel_and_its_region() {
        for text in [
            "orders",
            "acme/orders",
            "orders@eu-west",
            "acme/__homes@eu-west",
        ] {
            let name: LogName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(name.region.is_some(), text.contains('@'));
        }
        for text in ["", "@eu-west", "orders@", "orders@EU", "orders@a@b", "a b"] {
            assert!(text.parse::<LogName>().is_err(), "{text}");
        }
    }
}
