//! Names that people choose: channels, consumers, organisations, regions, tools, agents.

use std::fmt;

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
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

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ChannelName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse_any(&text).map_err(serde::de::Error::custom)
    }
}

/// Name of a consumer: the characters of a channel name, 1 to [`MAX_NAME_BYTES`] bytes. The
/// consumers that another organisation keeps on a channel it was granted stand there with that
/// organisation's name and a slash before theirs, so that they meet none of the owner's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
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

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ConsumerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ConsumerName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Name of an organisation: lower-case letters, digits and single `-` between them, 1 to
/// [`MAX_ORG_NAME_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
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
        let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_named = !text.is_empty() && text.len() <= MAX_ORG_NAME_BYTES;
        let is_dashed = text.starts_with('-') || text.ends_with('-') || text.contains("--");
        if !is_named || !text.bytes().all(is_fine) || is_dashed {
            return Err(InvalidName {
                what: "organisation name",
                name: shorten(text),
                rule: "must be 1 to 64 lower-case letters, digits and single `-` between them",
            });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrgName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for OrgName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for OrgName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Name of a region: one deployment of npayload among those that serve the same channels. 1 to 32
/// lower-case letters, digits and single `-` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(std::sync::Arc<str>);

impl Serialize for RegionName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

/// Longest name of a region, in bytes.
pub const MAX_REGION_NAME_BYTES: usize = 32;

impl RegionName {
    /// Checks a region's name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_named = !text.is_empty() && text.len() <= MAX_REGION_NAME_BYTES;
        let is_dashed = text.starts_with('-') || text.ends_with('-') || text.contains("--");
        if !is_named || !text.bytes().all(is_fine) || is_dashed {
            return Err(InvalidName {
                what: "region name",
                name: shorten(text),
                rule: "must be 1 to 32 lower-case letters, digits and single `-` between them",
            });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for RegionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RegionName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
/// Name of a tool that agents call: the characters of a channel name, 1 to [`MAX_NAME_BYTES`]
/// bytes. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolName(std::sync::Arc<str>);

impl ToolName {
    /// Checks a tool's name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks a rule.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_name("tool name", text)?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ToolName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ToolName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Name of an agent within its organisation: the characters of a channel name, 1 to
/// [`MAX_NAME_BYTES`] bytes, and nothing that reads as an [`AgentId`](super::AgentId). A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentName(std::sync::Arc<str>);

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

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AgentName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for AgentName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for AgentName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AgentId, CallId, MessageId, SessionId};
    use super::*;

    #[test]
    fn names_follow_the_rule_and_nothing_else_passes() {
        let longest = format!("{}/{}", "o".repeat(64), "x".repeat(256));
        for good in [
            "a",
            "ml.feedback.production",
            "A_b-9",
            &"x".repeat(256),
            "acme/orders",
            "a-1/A_b-9",
            &longest,
        ] {
            assert_eq!(ChannelName::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(longest.len(), MAX_CHANNEL_NAME_BYTES);
        for bad in [
            "",
            ".a",
            "a.",
            "a..b",
            "a b",
            "a/b/c",
            "/b",
            "a/",
            "/",
            "A/b",
            "../b",
            "a/..",
            "a_b/c",
            "é",
            "a\0",
            "__x",
            "a/__x",
            "a@eu-west",
            "a/b@eu",
            &"x".repeat(257),
            &format!("a/{}", "x".repeat(257)),
            &format!("{}/x", "o".repeat(65)),
        ] {
            assert!(ChannelName::parse(bad).is_err(), "{bad}");
        }
        for topic in ["__channels", "acme/__x", "__homes@eu-west"] {
            assert!(ChannelName::parse_any(topic).unwrap().is_internal());
        }
        let homes = ChannelName::parse_any("__homes").unwrap();
        let theirs = homes.of_region(&RegionName::parse("eu-west").unwrap());
        assert_eq!(theirs.as_str(), "__homes@eu-west");
        for bad in ["__homes@", "__homes@EU", "__homes@a@b", "@eu-west"] {
            assert!(ChannelName::parse_any(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_log_of_one_region_is_named_by_the_channel_and_the_region() {
        let name = ChannelName::parse_any("acme/ml.models@eu-west").unwrap();
        assert_eq!((name.org(), name.region()), (Some("acme"), Some("eu-west")));
        assert_eq!(name.local(), "ml.models@eu-west");
        assert_eq!(name.channel_local(), "ml.models");
        let channel = name.channel();
        assert_eq!(
            (channel.as_str(), channel.region()),
            ("acme/ml.models", None)
        );
        assert_eq!(channel.channel(), channel);
        let east = RegionName::parse("us-east").unwrap();
        for name in [&name, &channel] {
            assert_eq!(name.log_of(&east).as_str(), "acme/ml.models@us-east");
        }
        let acme = OrgName::parse("acme").unwrap();
        assert_eq!(name.seen_by(&acme).as_str(), "ml.models@eu-west");
        assert_eq!(name.seen_by(&acme).within(Some(&acme)), name);
        assert!(
            ChannelName::parse_any("__homes@eu-west")
                .unwrap()
                .is_internal()
        );
        let (org, local, region) = ("o".repeat(64), "x".repeat(256), "r".repeat(32));
        let longest = format!("{org}/{local}@{region}");
        assert_eq!(longest.len(), MAX_LOG_NAME_BYTES);
        ChannelName::parse_any(&longest).unwrap();
        for bad in ["a@", "@a", "a@b@c", "a@B", "a@b/c", "a@b.c", "a/@b"] {
            assert!(ChannelName::parse_any(bad).is_err(), "{bad}");
        }
        assert!(ConsumerName::parse("a@eu-west").is_err());
    }

    #[test]
    fn a_name_is_placed_into_the_organisation_of_who_says_it() {
        let acme = OrgName::parse("acme").unwrap();
        let default = OrgName::parse(DEFAULT_ORG_NAME).unwrap();
        let cases = [
            ("orders", None, "orders"),
            ("orders", Some(&default), "orders"),
            ("orders", Some(&acme), "acme/orders"),
            ("__x", Some(&acme), "acme/__x"),
            // Who names an organisation means that one, whoever they are.
            ("beta/orders", Some(&acme), "beta/orders"),
            ("beta/orders", None, "beta/orders"),
            ("default/orders", Some(&acme), "orders"),
            ("default/orders", None, "orders"),
        ];
        for (said, org, kept) in cases {
            let name = ChannelName::parse_any(said).unwrap().within(org);
            assert_eq!(name.as_str(), kept, "{said}");
            // A kept name stays where it is for those of the default organisation.
            assert_eq!(name.within(None), name);
            assert_eq!(ChannelName::parse_any(kept).unwrap(), name);
        }
        let name = ChannelName::parse("acme/orders").unwrap();
        assert_eq!((name.org(), name.local()), (Some("acme"), "orders"));
        let name = ChannelName::parse("orders").unwrap();
        assert_eq!((name.org(), name.local()), (None, "orders"));
    }

    #[test]
    fn a_channel_is_called_back_by_the_name_it_was_called() {
        let [acme, default] = ["acme", DEFAULT_ORG_NAME].map(|name| OrgName::parse(name).unwrap());
        for (org, said, kept) in [
            (&acme, "orders", "acme/orders"),
            (&acme, "beta/orders", "beta/orders"),
            (&acme, "default/orders", "orders"),
            (&default, "orders", "orders"),
            (&default, "acme/orders", "acme/orders"),
        ] {
            let said = ChannelName::parse(said).unwrap();
            assert_eq!(said.within(Some(org)).as_str(), kept);
            assert_eq!(said.within(Some(org)).seen_by(org), said);
        }
        let consumer = ConsumerName::parse("trainer").unwrap().of_guest(&acme);
        assert_eq!(consumer.as_str(), "acme/trainer");
        assert_eq!(
            (consumer.guest(), consumer.local().as_str()),
            (Some("acme"), "trainer")
        );
        assert!(ConsumerName::parse("a/b/c").is_err());
    }

    #[test]
    fn an_agent_is_never_named_like_an_id() {
        for good in ["research-agent", "a.b", "A_1"] {
            assert_eq!(AgentName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "agent://a/b", "agt_", &AgentId(1).to_string()] {
            assert!(AgentName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(SessionId(7).to_string().parse(), Ok(SessionId(7)));
        assert_eq!(MessageId(7).to_string().parse(), Ok(MessageId(7)));
        assert_eq!(CallId(7).to_string().parse(), Ok(CallId(7)));
    }

    #[test]
    fn organisations_have_plain_names() {
        for good in ["default", "acme", "a-1"] {
            assert_eq!(OrgName::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a--b",
            "Acme",
            "a.b",
            "a/b",
            "a_b",
            &"x".repeat(65),
        ] {
            assert!(OrgName::parse(bad).is_err(), "{bad}");
        }
    }
}
