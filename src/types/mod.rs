//! Newtypes shared by every room: offsets, identities, names, times.

mod ids;
mod names;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::ids::{
    AgentId, CallId, CommitmentId, DisputeId, GrantId, KeyId, ListingId, MessageId, PaymentId,
    SessionId, SubscriptionId,
};
pub use self::names::{
    AgentName, ChannelName, ConsumerName, DEFAULT_ORG_NAME, MAX_CHANNEL_NAME_BYTES,
    MAX_LOG_NAME_BYTES, MAX_NAME_BYTES, MAX_ORG_NAME_BYTES, MAX_REGION_NAME_BYTES, OrgName,
    RegionName, ToolName,
};

/// Most bytes of what a consumer may store with its position.
pub const MAX_METADATA_BYTES: usize = 4096;

/// Number of a record in its channel: 0, 1, 2, … without gaps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch, UTC; negative before 1970.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time moved by `ms` milliseconds, clamped to the range of the type.
    #[must_use]
    pub fn saturating_add_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Identity of one life of a log: a channel deleted and created again under its old name gets
/// another, so bytes, positions and sequences of the first are never taken for the second's.
///
/// Shown and parsed as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = InvalidIncarnation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidIncarnation(text.to_owned()));
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| InvalidIncarnation(text.to_owned()))
    }
}

impl Serialize for Incarnation {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an incarnation: 32 lower-case hexadecimal digits")]
pub struct InvalidIncarnation(pub String);

/// Number raised at every start of the broker and stamped on each batch, so that an offset is never
/// reused unnoticed. The low 48 bits count starts, the high 16 name the region.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogEpoch(pub u64);

impl fmt::Display for LogEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of an idempotent producer: 128 random bits of the client's choice; zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub u128);

impl ProducerId {
    /// A producer that asked for no idempotence.
    pub const NONE: Self = Self(0);

    /// Whether no idempotence was asked for.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Number of an organisation, given in the order of their creation. 0 is the default one, which is
/// there from the start and runs the broker.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct OrgId(pub u32);

impl OrgId {
    /// The organisation that is there from the start.
    pub const DEFAULT: Self = Self(0);
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of who acts, as it is stamped on batches. 0 is whoever needs no key on this machine.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PrincipalId(pub u32);

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Durability {
    /// The operating system has the bytes: survives a killed process, not a power cut.
    Written = 1,
    /// The disk has the bytes: survives a power cut.
    Synced = 2,
}

impl Durability {
    /// The level with this number on the wire, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Written),
            2 => Some(Self::Synced),
            _ => None,
        }
    }

    /// The name used in JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Synced => "synced",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Durability {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "written" => Ok(Self::Written),
            "synced" => Ok(Self::Synced),
            _ => Err(InvalidName {
                what: "durability",
                name: shorten(text),
                rule: "must be `synced` or `written`",
            }),
        }
    }
}

/// Reads a value from its text without a copy of the text: replays read millions of them.
pub(crate) fn from_text<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: serde::Deserializer<'de>,
{
    struct Text<T>(std::marker::PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    from.deserialize_str(Text(std::marker::PhantomData))
}

/// A name or word that breaks the rule for its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{name}` {rule}")]
pub struct InvalidName {
    /// What the text was meant to name.
    pub what: &'static str,
    /// The text, shortened when very long.
    pub name: String,
    /// The rule it breaks, reading on from the name.
    pub rule: &'static str,
}

fn check_name(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let broken = |rule| {
        Err(InvalidName {
            what,
            name: shorten(text),
            rule,
        })
    };
    if text.is_empty() {
        return broken("must not be empty");
    }
    if text.len() > MAX_NAME_BYTES {
        return broken("is longer than 256 bytes");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    {
        return broken("may hold only letters, digits, `_`, `-` and single dots between them");
    }
    if text.starts_with('.') || text.ends_with('.') || text.contains("..") {
        return broken("may hold dots only singly and between other characters");
    }
    Ok(())
}

/// The text as it may stand in an error: at most 64 characters and nothing unprintable.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_reads_back_as_it_was_shown() {
        let id = Incarnation(0x0123_4567_89ab_cdef << 3);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("0123".parse::<Incarnation>().is_err());
        assert!("+".repeat(32).parse::<Incarnation>().is_err());
    }
}
