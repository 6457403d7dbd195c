//! Patterns of channels, as interest names them: `orders`, `ml.*.eu`, `acme/ml.>`.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::tree::PatternTree;
use crate::types::{ChannelName, DEFAULT_ORG_NAME, MAX_NAME_BYTES, OrgName};

/// Channels of one organisation: a name in which `*` stands for one segment between dots, and `>`
/// at the end for one or more. No pattern matches an internal topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelPattern {
    /// `None` is the default organisation.
    org: Option<OrgName>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    /// This one.
    Exact(Box<str>),
    /// Any one.
    One,
    /// This and all that follow; stands last.
    Rest,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{pattern}` {rule}")]
pub struct InvalidPattern {
    /// The text, at most 64 characters of it.
    pub pattern: String,
    /// The rule it breaks, reading on from the pattern.
    pub rule: &'static str,
}

impl ChannelPattern {
    /// The pattern of one channel, which may not be an internal topic. Of one region's log it is the
    /// pattern of the channel: no pattern tells its logs apart.
    ///
    /// # Errors
    /// [`InvalidPattern`] for an internal topic.
    pub fn exactly(channel: &ChannelName) -> Result<Self, InvalidPattern> {
        channel.channel().as_str().parse()
    }

    /// The pattern as the broker keeps it when somebody of `org` says it: without an organisation
    /// it means one's own channels.
    ///
    /// - `org`: `None` is the default organisation, as its own name is.
    #[must_use]
    pub fn within(mut self, org: Option<&OrgName>) -> Self {
        self.org = self.org.or_else(|| org.cloned());
        self.org = self.org.filter(|org| org.as_str() != DEFAULT_ORG_NAME);
        self
    }

    /// The organisation whose channels it means; `None` is the default one.
    #[must_use]
    pub fn org(&self) -> Option<&OrgName> {
        self.org.as_ref()
    }

    /// Whether it means a channel, given by the name the broker keeps, or by that of one region's
    /// log of it.
    #[must_use]
    pub fn matches(&self, channel: &ChannelName) -> bool {
        if channel.is_internal() || channel.org() != self.org.as_ref().map(OrgName::as_str) {
            return false;
        }
        let mut named = channel.channel_local().split('.');
        for segment in &self.segments {
            let Some(name) = named.next() else {
                return false;
            };
            match segment {
                Segment::Exact(exact) if **exact == *name => {}
                Segment::Exact(_) => return false,
                Segment::One => {}
                Segment::Rest => return true,
            }
        }
        named.next().is_none()
    }

    /// Whether every channel that `other` means is meant here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if self.org != other.org {
            return false;
        }
        let mut others = other.segments.iter();
        for segment in &self.segments {
            match (segment, others.next()) {
                (_, None) => return false,
                (Segment::Rest, Some(_)) => return true,
                (Segment::One, Some(Segment::Rest)) => return false,
                (Segment::One, Some(_)) => {}
                (exact, Some(same)) if exact == same => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }

    /// Of some patterns those that mean all the channels that they all mean, without those that
    /// another one covers; sorted.
    #[must_use]
    pub fn widest(patterns: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut all: Vec<Self> = patterns.into_iter().collect();
        all.sort();
        all.dedup();
        let mut tree = PatternTree::default();
        all.iter().for_each(|one| tree.insert(one, ()));
        all.retain(|one| !tree.is_covered(one));
        all
    }

    /// Of some patterns those that mean at least all the channels that they all mean, in at most so
    /// many bytes where that can be: of the organisations with the longest list all channels are
    /// meant then.
    #[must_use]
    pub fn within_bytes(patterns: impl IntoIterator<Item = Self>, limit: usize) -> Vec<Self> {
        let mut patterns = Self::widest(patterns);
        let mut lists: BTreeMap<Option<OrgName>, usize> = BTreeMap::new();
        for one in &patterns {
            *lists.entry(one.org.clone()).or_default() += one.json_bytes();
        }
        let mut bytes: usize = lists.values().sum();
        let mut longest: Vec<(usize, Option<OrgName>)> =
            lists.into_iter().map(|(org, bytes)| (bytes, org)).collect();
        longest.sort_unstable();
        let mut whole = BTreeSet::new();
        while bytes > limit
            && let Some((list, org)) = longest.pop()
        {
            let all = Self {
                org,
                segments: vec![Segment::Rest],
            };
            bytes = bytes - list + all.json_bytes();
            whole.insert(all);
        }
        let orgs: BTreeSet<&Option<OrgName>> = whole.iter().map(|all| &all.org).collect();
        patterns.retain(|one| !orgs.contains(&one.org));
        patterns.extend(whole);
        patterns.sort();
        patterns
    }

    /// Bytes of it in a list in JSON.
    fn json_bytes(&self) -> usize {
        self.to_string().len() + r#""","#.len()
    }
}

impl FromStr for ChannelPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let broken = |rule| InvalidPattern {
            pattern: text.chars().take(64).flat_map(char::escape_debug).collect(),
            rule,
        };
        let (org, local) = match text.split_once('/') {
            Some((org, local)) => {
                let org = OrgName::parse(org);
                let org = org.map_err(|_| broken("has no organisation's name before its slash"))?;
                (Some(org), local)
            }
            None => (None, text),
        };
        if local.len() > MAX_NAME_BYTES {
            return Err(broken("is longer than 256 bytes"));
        }
        if local.starts_with("__") {
            return Err(broken("means internal topics, which nobody can ask for"));
        }
        let last = local.split('.').count() - 1;
        let segment = |(at, segment): (usize, &str)| {
            let is_in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            match segment {
                "" => Err(broken("must have something between its dots")),
                "*" => Ok(Segment::One),
                ">" if at == last => Ok(Segment::Rest),
                ">" => Err(broken("has a `>` that is not its last segment")),
                name if name.bytes().all(is_in_name) => Ok(Segment::Exact(name.into())),
                _ => Err(broken(
                    "may hold letters, digits, `_`, `-`, and `*` or `>` as a whole segment",
                )),
            }
        };
        let segments = local.split('.').enumerate().map(segment);
        Ok(Self {
            org,
            segments: segments.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(org) = &self.org {
            write!(f, "{org}/")?;
        }
        for (at, segment) in self.segments.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            let text = match segment {
                Segment::Exact(name) => name,
                Segment::One => "*",
                Segment::Rest => ">",
            };
            write!(f, "{dot}{text}")?;
        }
        Ok(())
    }
}

impl Serialize for ChannelPattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChannelPattern {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> ChannelPattern {
        text.parse().unwrap()
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse_any(name).unwrap()
    }

    #[test]
    fn a_star_is_one_segment_and_an_angle_the_rest() {
        for (text, name, matches) in [
            ("orders", "orders", true),
            ("orders", "orders.eu", false),
            ("ml.*", "ml.feedback", true),
            ("ml.*", "ml", false),
            ("ml.*", "ml.feedback.eu", false),
            ("ml.*.eu", "ml.feedback.eu", true),
            ("ml.*.eu", "ml.feedback.us", false),
            ("ml.>", "ml.feedback", true),
            ("ml.>", "ml.feedback.production.eu", true),
            ("ml.>", "ml", false),
            ("ml.>", "mlx.feedback", false),
            (">", "orders", true),
            ("*", "orders", true),
            ("*", "orders.eu", false),
            ("acme/ml.>", "acme/ml.x", true),
            ("acme/ml.>", "ml.x", false),
            ("ml.>", "acme/ml.x", false),
            ("ml.*", "ml.feedback@eu-west", true),
            ("ml.*.*", "ml.feedback@eu-west", false),
            ("acme/orders", "acme/orders@eu-west", true),
        ] {
            assert_eq!(
                pattern(text).matches(&channel(name)),
                matches,
                "{text} {name}"
            );
        }
    }

    #[test]
    fn no_pattern_means_an_internal_topic() {
        for name in ["__channels", "acme/__asp.sessions"] {
            for text in [">", "*", "*.>", "*.*", "acme/>"] {
                assert!(!pattern(text).matches(&channel(name)), "{text} {name}");
            }
        }
        assert!(ChannelPattern::exactly(&channel("__channels")).is_err());
        assert!(
            pattern("ml.>").matches(&channel("ml.__x")),
            "nothing of the broker's"
        );
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let long = "x".repeat(257);
        for (text, rule) in [
            ("", "something between its dots"),
            ("a..b", "something between its dots"),
            (".", "something between its dots"),
            (">.a", "not its last segment"),
            ("a*", "as a whole segment"),
            ("a.b>", "as a whole segment"),
            ("a b", "as a whole segment"),
            ("a/b/c", "as a whole segment"),
            ("__x", "internal topics"),
            ("acme/__x.>", "internal topics"),
            ("A/x", "organisation's name"),
            ("*/x", "organisation's name"),
            (&long, "longer than 256"),
        ] {
            let error = text.parse::<ChannelPattern>().unwrap_err();
            assert!(error.to_string().contains(rule), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_is_placed_into_the_organisation_of_who_says_it() {
        let acme = OrgName::parse("acme").unwrap();
        assert_eq!(pattern("ml.>").within(Some(&acme)), pattern("acme/ml.>"));
        assert_eq!(pattern("beta/x").within(Some(&acme)), pattern("beta/x"));
        assert_eq!(pattern("default/x").within(Some(&acme)), pattern("x"));
        assert_eq!(pattern("x").within(None), pattern("x"));
    }

    fn segments() -> impl Strategy<Value = String> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("*")];
        (vec(segment, 0..4), any::<bool>()).prop_map(|(mut segments, has_rest)| {
            if has_rest || segments.is_empty() {
                segments.push(">");
            }
            segments.join(".")
        })
    }

    fn channels() -> Vec<ChannelName> {
        let mut names = vec![String::new()];
        for from in 0.. {
            if from == names.len() {
                break;
            }
            if names[from].len() < 9 {
                for segment in ["a", "b", "c"] {
                    names.push(format!("{}.{segment}", names[from]));
                }
            }
        }
        names[1..].iter().map(|name| channel(&name[1..])).collect()
    }

    #[test]
    fn a_list_that_is_too_long_asks_for_all_of_the_organisations_with_most() {
        let named = |org: &str, count: usize| {
            let names = (0..count).map(|n| pattern(&format!("{org}{}.{n}", "x".repeat(200))));
            names.collect::<Vec<_>>()
        };
        let few = [named("beta/", 3), vec![pattern("beta/ml.*"), pattern("y")]].concat();
        let many = [named("acme/", 5000), few.clone()].concat();
        let limit = 64 << 10;
        let asked = ChannelPattern::within_bytes(many.clone(), limit);
        let mut expected = [vec![pattern("acme/>")], few.clone()].concat();
        expected.sort();
        assert_eq!(asked, expected);
        assert!(serde_json::to_vec(&asked).unwrap().len() <= limit);
        // What is short enough stays as it is.
        let all = ChannelPattern::widest(many.clone());
        assert_eq!(ChannelPattern::within_bytes(many, usize::MAX), all);
        // Where nothing is short enough, each is asked for all of it.
        let all = ["acme/>", "beta/>", ">"].map(pattern);
        let asked = ChannelPattern::within_bytes([named("acme/", 9), few].concat(), 1);
        assert_eq!(asked.len(), all.len());
        assert!(all.iter().all(|one| asked.contains(one)));
    }

    proptest! {
        #[test]
        fn covering_is_meaning_all_that_the_other_means(a in segments(), b in segments()) {
            let (a, b) = (pattern(&a), pattern(&b));
            let channels = channels();
            let mut all = channels.iter().filter(|name| b.matches(name));
            // One segment more than either pattern has is enough to tell them apart.
            prop_assert_eq!(a.covers(&b), all.all(|name| a.matches(name)));
            prop_assert_eq!(pattern(&a.to_string()), a);
        }

        #[test]
        fn the_widest_patterns_mean_what_all_mean(texts in vec(segments(), 0..6)) {
            let all: Vec<_> = texts.iter().map(|text| pattern(text)).collect();
            let widest = ChannelPattern::widest(all.clone());
            for name in channels() {
                let is_meant = |patterns: &[ChannelPattern]| patterns.iter().any(|p| p.matches(&name));
                prop_assert_eq!(is_meant(&all), is_meant(&widest), "{}", name);
            }
            let covered = |a: &ChannelPattern| widest.iter().any(|b| a != b && b.covers(a));
            prop_assert!(!widest.iter().any(covered));
        }
    }
}
