//! What a key may do: operations on channels, and the agents it speaks for.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::types::{MAX_CHANNEL_NAME_BYTES, MAX_NAME_BYTES, OrgName};

/// What is asked of the broker, as scopes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Operation {
    /// Append records.
    Publish,
    /// Read records, and keep consumers' positions.
    Consume,
    /// Create, configure and delete channels.
    ChannelAdmin,
    /// Speak for agents.
    Asp,
    /// Manage keys and grants of the organisation; in the default one, organisations too.
    AccessAdmin,
    /// Copy logs to another region.
    Replicate,
    /// Look at the broker and its own topics.
    Inspect,
    /// Read metrics.
    Metrics,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 8] = [
        Self::Publish,
        Self::Consume,
        Self::ChannelAdmin,
        Self::Asp,
        Self::AccessAdmin,
        Self::Replicate,
        Self::Inspect,
        Self::Metrics,
    ];

    /// The name in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::ChannelAdmin => "channelAdmin",
            Self::Asp => "asp",
            Self::AccessAdmin => "accessAdmin",
            Self::Replicate => "replicate",
            Self::Inspect => "inspect",
            Self::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no operation: {}", Operation::ALL.map(Operation::name).join(", "))]
pub struct InvalidOperation {
    /// The word, at most 64 characters of it.
    pub word: String,
}

impl FromStr for Operation {
    type Err = InvalidOperation;

    fn from_str(text: &str) -> Result<Self, InvalidOperation> {
        let known = Self::ALL.into_iter().find(|one| one.name() == text);
        known.ok_or_else(|| InvalidOperation {
            word: text.chars().take(64).flat_map(char::escape_debug).collect(),
        })
    }
}

/// One name, or all that start with a prefix: `orders`, `orders.*`, `*`. Channels that another
/// organisation has granted are named with it: `acme/orders`, `acme/*`. A prefix without an
/// organisation means one's own names, but for `*`, which means every name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// This name.
    Exact(Box<str>),
    /// Every name that starts with these characters; none of them is every name.
    Prefix(Box<str>),
}

impl Pattern {
    /// Every name.
    #[must_use]
    pub fn all() -> Self {
        Self::Prefix("".into())
    }

    /// Whether a name is one of those meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *name,
            Self::Prefix(prefix) => {
                let is_ours = !name.contains('/') || prefix.is_empty() || prefix.contains('/');
                is_ours && name.starts_with(&**prefix)
            }
        }
    }

    /// Whether every name that `other` means is meant here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Prefix(_), Self::Prefix(longer)) if longer.is_empty() => *self == *other,
            (Self::Prefix(_), Self::Prefix(longer)) => self.matches(longer),
            (Self::Exact(_), Self::Prefix(_)) => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{pattern}` must be a name, or a prefix followed by `*`")]
pub struct InvalidPattern {
    /// The text, at most 64 characters of it.
    pub pattern: String,
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let is_named = is_prefix || !name.is_empty();
        // An organisation's name stands before the only slash.
        let (has_org, max_bytes) = match name.split_once('/') {
            Some((org, rest)) => (
                OrgName::parse(org).is_ok() && !rest.contains('/'),
                MAX_CHANNEL_NAME_BYTES,
            ),
            None => (true, MAX_NAME_BYTES),
        };
        let is_whole = is_prefix || !name.ends_with('/');
        if !is_named
            || !has_org
            || !is_whole
            || name.len() > max_bytes
            || !name.bytes().all(is_in_name)
        {
            return Err(InvalidPattern {
                pattern: text.chars().take(64).flat_map(char::escape_debug).collect(),
            });
        }
        Ok(if is_prefix {
            Self::Prefix(name.into())
        } else {
            Self::Exact(name.into())
        })
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Operations that a key may do, on the channels and for the agents that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// What may be done; at least one.
    pub operations: BTreeSet<Operation>,
    /// On which channels; all of the organisation's, and those granted to it, when left out.
    #[serde(default = "everything")]
    pub channels: Vec<Pattern>,
    /// For which agents a holder speaks; matters with [`Operation::Asp`] only. All when left out.
    #[serde(default = "everything")]
    pub agents: Vec<Pattern>,
}

fn everything() -> Vec<Pattern> {
    vec![Pattern::all()]
}

impl Scope {
    /// Everything there is.
    #[must_use]
    pub fn all() -> Self {
        Self {
            operations: Operation::ALL.into_iter().collect(),
            channels: everything(),
            agents: everything(),
        }
    }

    /// Whether it allows an operation on a channel, or on whatever needs no channel (`None`).
    #[must_use]
    pub fn allows(&self, operation: Operation, channel: Option<&str>) -> bool {
        self.operations.contains(&operation)
            && channel.is_none_or(|name| self.channels.iter().any(|one| one.matches(name)))
    }

    /// Whether it allows to speak for an agent.
    #[must_use]
    pub fn speaks_for(&self, agent: &str) -> bool {
        self.operations.contains(&Operation::Asp)
            && self.agents.iter().any(|one| one.matches(agent))
    }

    /// What this scope of a key of an organisation means to a key of another one: names are the
    /// organisation's own, and what others have granted to it, or its agents, nobody else can name
    /// but by everything there is.
    #[must_use]
    pub fn from_outside(&self, org: &OrgName) -> Self {
        let outside = |pattern: &Pattern| match pattern {
            Pattern::Exact(name) if !name.contains('/') => {
                Pattern::Exact(format!("{org}/{name}").into())
            }
            Pattern::Prefix(prefix) if !prefix.is_empty() && !prefix.contains('/') => {
                Pattern::Prefix(format!("{org}/{prefix}").into())
            }
            _ => Pattern::all(),
        };
        Self {
            operations: self.operations.clone(),
            channels: self.channels.iter().map(outside).collect(),
            agents: self.agents.iter().map(|_| Pattern::all()).collect(),
        }
    }

    /// Whether these scopes together allow all that `wanted` does: nobody gives away more than
    /// they have.
    #[must_use]
    pub fn cover(scopes: &[Self], wanted: &Self) -> bool {
        wanted.operations.iter().all(|operation| {
            let holding: Vec<&Self> = scopes
                .iter()
                .filter(|scope| scope.operations.contains(operation))
                .collect();
            let channels = |pattern: &Pattern| {
                let mut known = holding.iter().flat_map(|scope| &scope.channels);
                known.any(|one| one.covers(pattern))
            };
            let agents = |pattern: &Pattern| {
                let mut known = holding.iter().flat_map(|scope| &scope.agents);
                known.any(|one| one.covers(pattern))
            };
            !holding.is_empty()
                && wanted.channels.iter().all(channels)
                && (*operation != Operation::Asp || wanted.agents.iter().all(agents))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(operations: &[Operation], channels: &[&str]) -> Scope {
        Scope {
            operations: operations.iter().copied().collect(),
            channels: channels.iter().map(|text| text.parse().unwrap()).collect(),
            agents: everything(),
        }
    }

    #[test]
    fn patterns_mean_one_name_or_all_with_a_prefix() {
        let cases = [
            ("orders", "orders", true),
            ("orders", "orders.eu", false),
            ("orders.*", "orders.eu", true),
            ("orders.*", "orders", false),
            ("*", "anything", true),
            ("*", "acme/orders", true),
            ("ac*", "acme/orders", false),
            ("acme/*", "acme/orders", true),
            ("acme/orders", "acme/orders", true),
            ("acme/*", "orders", false),
        ];
        for (pattern, name, expected) in cases {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(name), expected, "{pattern} {name}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for wrong in [
            "",
            "a*b",
            "**",
            "a b",
            "a/",
            "A/b",
            "a/b/c",
            "/b",
            "é",
            &"x".repeat(257),
        ] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_covers_what_can_match_nothing_outside_of_it() {
        let cases = [
            ("*", "a.*", true),
            ("a.*", "*", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.*", true),
            ("a.b", "a.b", true),
            ("a.b", "a.b*", false),
            ("*", "*", true),
            ("a*", "acme/*", false),
            ("a*", "acme/x", false),
            ("*", "acme/*", true),
            ("acme/*", "acme/x.*", true),
        ];
        for (wide, narrow, expected) in cases {
            let wide: Pattern = wide.parse().unwrap();
            assert_eq!(
                wide.covers(&narrow.parse().unwrap()),
                expected,
                "{wide} {narrow}"
            );
        }
    }

    #[test]
    fn scopes_together_cover_only_what_one_of_them_allows_for_each_operation() {
        use Operation::{Asp, Consume, Publish};
        let held = [scope(&[Publish], &["a.*"]), scope(&[Consume], &["*"])];
        assert!(Scope::cover(&held, &scope(&[Publish, Consume], &["a.x"])));
        assert!(Scope::cover(&held, &scope(&[Consume], &["b"])));
        assert!(!Scope::cover(&held, &scope(&[Publish], &["b"])));
        assert!(!Scope::cover(&held, &scope(&[Asp], &["a.x"])));
        let speaking = Scope {
            agents: vec!["bot-1".parse().unwrap()],
            ..scope(&[Asp], &["*"])
        };
        assert!(Scope::cover(&[Scope::all()], &speaking));
        assert!(!Scope::cover(
            std::slice::from_ref(&speaking),
            &scope(&[Asp], &["*"])
        ));
        assert!(speaking.speaks_for("bot-1") && !speaking.speaks_for("bot-2"));
    }

    #[test]
    fn an_unknown_operation_or_member_is_refused() {
        assert!(serde_json::from_str::<Scope>(r#"{"operations":["fly"]}"#).is_err());
        assert!(
            serde_json::from_str::<Scope>(r#"{"operations":["publish"],"chanels":[]}"#).is_err()
        );
        let scope: Scope = serde_json::from_str(r#"{"operations":["publish"]}"#).unwrap();
        assert!(scope.allows(Operation::Publish, Some("x")));
        assert!(!scope.allows(Operation::Consume, Some("x")));
    }
}
