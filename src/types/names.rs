//! Names that people choose: channels, consumers, organisations, regions, tools, agents.

#[cfg(test)]
mod tests;

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{InvalidName, check_name, shorten};

/// Longest name of a channel within its organisation, or of a consumer, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// Longest name of a channel with its organisation before it, in bytes.
pub const MAX_CHANNEL_NAME_BYTES: usize = MAX_ORG_NAME_BYTES + 1 + MAX_NAME_BYTES;

/// Longest name of one region's log of a channel, in bytes: the channel's, an `@` and the region.
pub const MAX_LOG_NAME_BYTES: usize = MAX_CHANNEL_NAME_BYTES + 1 + MAX_REGION_NAME_BYTES;

/// Name of a channel: letters, digits, `_`, `-` and single dots between them, 1 to
/// [`MAX_NAME_BYTES`] bytes; before it may stand an [`OrgName`] and a slash. Names that start with
/// `__` are the broker's own, in every organisation.
///
/// ```text
/// orders                a channel of the default organisation, or of whoever says it
/// acme/orders           the channel `orders` of the organisation `acme`
/// acme/orders@eu-west   where each region has a log of its own: that of the region `eu-west`
/// ```
/// The broker keeps the channels of the default organisation without a prefix: `default/orders` is
/// what others call its channel `orders`, see [`ChannelName::within`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Box<str>);

impl ChannelName {
    /// Checks a name that a client wants to write to, create or delete.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule, or names an internal topic.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let name = Self::parse_any(text)?;
        if name.region().is_some() {
            return Err(InvalidName {
                what: "channel name",
                name: shorten(text),
                rule: "must not hold `@`: what follows it would be a region, whose log alone is meant",
            });
        }
        if name.is_internal() {
            return Err(InvalidName {
                what: "channel name",
                name: shorten(text),
                rule: "must not start with `__`: such names are the broker's internal topics",
            });
        }
        Ok(name)
    }

    /// Checks a name that a client wants to read from; internal topics are allowed, and the log of
    /// one region.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule.
    pub fn parse_any(text: &str) -> Result<Self, InvalidName> {
        let local = match text.split_once('/') {
            Some((org, local)) => {
                OrgName::parse(org)?;
                local
            }
            None => text,
        };
        let local = match local.split_once('@') {
            Some((local, region)) => {
                RegionName::parse(region)?;
                local
            }
            None => local,
        };
        check_name("channel name", local)?;
        Ok(Self(text.into()))
    }

    /// The region whose log it names, where each region has one of its own.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, region)| region)
    }

    /// The channel that it names, whole or one region's log of it.
    #[must_use]
    pub fn channel(&self) -> Self {
        let channel = self.0.split_once('@').map_or(&*self.0, |(name, _)| name);
        Self(channel.into())
    }

    /// The name of the channel within its organisation, without a region.
    #[must_use]
    pub fn channel_local(&self) -> &str {
        let local = self.local();
        local.split_once('@').map_or(local, |(name, _)| name)
    }

    /// The name of one region's log of the channel.
    #[must_use]
    pub fn log_of(&self, region: &RegionName) -> Self {
        Self(format!("{}@{region}", self.channel()).into())
    }

    /// The name under which an internal topic of another region is kept here: `__homes@eu-west`.
    /// The name of any other channel is the same everywhere.
    #[must_use]
    pub fn of_region(&self, region: &RegionName) -> Self {
        match self.is_internal() {
            true => Self(format!("{}@{region}", self.0).into()),
            false => self.clone(),
        }
    }

    /// The organisation that it names, if it does.
    #[must_use]
    pub fn org(&self) -> Option<&str> {
        self.0.split_once('/').map(|(org, _)| org)
    }

    /// The name within its organisation.
    #[must_use]
    pub fn local(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, local)| local)
    }

    /// The name under which the broker keeps a channel that somebody of `org` calls so: a name
    /// without an organisation is one of theirs, one with an organisation stays that one's.
    ///
    /// - `org`: `None` is the default organisation, as its own name is.
    #[must_use]
    pub fn within(&self, org: Option<&OrgName>) -> Self {
        let org = self.org().or(org.map(OrgName::as_str));
        match org.filter(|name| *name != DEFAULT_ORG_NAME) {
            Some(org) => Self(format!("{org}/{}", self.local()).into()),
            None => Self(self.local().into()),
        }
    }

    /// What somebody of `org` calls the channel that the broker keeps under this name: the other
    /// way of [`ChannelName::within`].
    #[must_use]
    pub fn seen_by(&self, org: &OrgName) -> Self {
        match self.org() {
            Some(name) if name == org.as_str() => Self(self.local().into()),
            Some(_) => self.clone(),
            None if org.as_str() == DEFAULT_ORG_NAME => self.clone(),
            None => Self(format!("{DEFAULT_ORG_NAME}/{}", self.0).into()),
        }
    }

    /// Whether only the broker writes to it.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.local().starts_with("__")
    }
}

/// Name of a consumer: the characters of a channel name, 1 to [`MAX_NAME_BYTES`] bytes. The
/// consumers that another organisation keeps on a channel it was granted stand there with that
/// organisation's name and a slash before theirs, so that they meet none of the owner's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName(Box<str>);

impl ConsumerName {
    /// Checks a consumer's name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let local = match text.split_once('/') {
            Some((org, local)) => {
                OrgName::parse(org)?;
                local
            }
            None => text,
        };
        check_name("consumer name", local)?;
        Ok(Self(text.into()))
    }

    /// The guest whose consumer it is; none where it is the channel's owner's.
    #[must_use]
    pub fn guest(&self) -> Option<&str> {
        self.0.split_once('/').map(|(org, _)| org)
    }

    /// The name as its organisation calls it.
    #[must_use]
    pub fn local(&self) -> Self {
        let local = self.0.split_once('/').map_or(&*self.0, |(_, local)| local);
        Self(local.into())
    }

    /// The name of a guest's consumer, as the channel has it.
    #[must_use]
    pub fn of_guest(&self, org: &OrgName) -> Self {
        Self(format!("{org}/{}", self.local()).into())
    }
}

/// Name of an organisation: lower-case letters, digits and single `-` between them, 1 to
/// [`MAX_ORG_NAME_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrgName(Box<str>);

/// Longest name of an organisation, in bytes.
pub const MAX_ORG_NAME_BYTES: usize = 64;

/// Name of the organisation that is there from the start.
pub const DEFAULT_ORG_NAME: &str = "default";

impl OrgName {
    /// Checks an organisation's name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if !is_plain(text, MAX_ORG_NAME_BYTES) {
            return Err(InvalidName {
                what: "organisation name",
                name: shorten(text),
                rule: "must be 1 to 64 lower-case letters, digits and single `-` between them",
            });
        }
        Ok(Self(text.into()))
    }
}

/// Name of a region: one deployment of npayload among those that serve the same channels. 1 to 32
/// lower-case letters, digits and single `-` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(Arc<str>);

/// Longest name of a region, in bytes.
pub const MAX_REGION_NAME_BYTES: usize = 32;

impl RegionName {
    /// Checks a region's name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if !is_plain(text, MAX_REGION_NAME_BYTES) {
            return Err(InvalidName {
                what: "region name",
                name: shorten(text),
                rule: "must be 1 to 32 lower-case letters, digits and single `-` between them",
            });
        }
        Ok(Self(text.into()))
    }
}

/// Name of a tool that agents call: the characters of a channel name, 1 to [`MAX_NAME_BYTES`]
/// bytes. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolName(Arc<str>);

impl ToolName {
    /// Checks a tool's name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_name("tool name", text)?;
        Ok(Self(text.into()))
    }
}

/// Name of an agent within its organisation: the characters of a channel name, 1 to
/// [`MAX_NAME_BYTES`] bytes, and nothing that reads as an [`AgentId`](super::AgentId). A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentName(Arc<str>);

impl AgentName {
    /// Checks an agent's name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_name("agent name", text)?;
        if text.starts_with("agt_") {
            return Err(InvalidName {
                what: "agent name",
                name: shorten(text),
                rule: "must not begin with `agt_`, as ids do",
            });
        }
        Ok(Self(text.into()))
    }
}

/// Whether a text has 1 to `most` lower-case letters, digits and single `-` between them.
fn is_plain(text: &str, most: usize) -> bool {
    let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_dashed = text.starts_with('-') || text.ends_with('-') || text.contains("--");
    (1..=most).contains(&text.len()) && text.bytes().all(is_fine) && !is_dashed
}

/// Makes names the texts that they are: shown, looked up, written and read as such, by their rule.
macro_rules! texts {
    ($($name:ident by $parse:ident;)*) => {$(
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(from)?;
                Self::$parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

texts! {
    ChannelName by parse_any;
    ConsumerName by parse;
    OrgName by parse;
    RegionName by parse;
    ToolName by parse;
    AgentName by parse;
}
