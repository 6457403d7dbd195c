//! Which of many patterns mean a channel, without a look at all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{ChannelPattern, Segment};
use crate::types::{ChannelName, OrgName};

/// Patterns, each with what belongs to it. A look at a channel goes down along its segments, so it
/// costs what means the channel or begins as what does, and not what there is.
///
/// ```text
/// acme ── ml ──┬── models          acme/ml.models
///              ├── *  ── eu        acme/ml.*.eu
///              └── >               acme/ml.>
/// ```
/// Nothing is kept of a pattern to which nothing belongs, so equal contents are equal trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternTree<T> {
    orgs: BTreeMap<Option<OrgName>, Node<T>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node<T> {
    /// What belongs to a pattern that ends here.
    here: BTreeSet<T>,
    /// The same, where all that follows is meant.
    rest: BTreeSet<T>,
    one: Option<Box<Node<T>>>,
    exact: BTreeMap<Box<str>, Node<T>>,
}

impl<T> Default for PatternTree<T> {
    fn default() -> Self {
        let orgs = BTreeMap::new();
        Self { orgs }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            here: BTreeSet::new(),
            rest: BTreeSet::new(),
            one: None,
            exact: BTreeMap::new(),
        }
    }
}

impl<T: Ord> PatternTree<T> {
    /// Has something belong to a pattern.
    pub fn insert(&mut self, pattern: &ChannelPattern, belonging: T) {
        let mut node = self.orgs.entry(pattern.org.clone()).or_default();
        for segment in &pattern.segments {
            node = match segment {
                Segment::Exact(name) => node.exact.entry(name.clone()).or_default(),
                Segment::One => node.one.get_or_insert_default(),
                Segment::Rest => {
                    node.rest.insert(belonging);
                    return;
                }
            };
        }
        node.here.insert(belonging);
    }

    /// Has it belong to the pattern no longer.
    pub fn remove(&mut self, pattern: &ChannelPattern, belonging: &T) {
        if let Some(node) = self.orgs.get_mut(&pattern.org) {
            node.remove(&pattern.segments, belonging);
            if node.is_empty() {
                self.orgs.remove(&pattern.org);
            }
        }
    }

    /// What belongs to the patterns that mean a channel, as [`ChannelPattern::matches`] says.
    #[must_use]
    pub fn matching(&self, channel: &ChannelName) -> Vec<&T> {
        let mut found = Vec::new();
        if channel.is_internal() {
            return found;
        }
        let org = channel.org().and_then(|org| OrgName::parse(org).ok());
        if let Some(node) = self.orgs.get(&org) {
            let segments: Vec<&str> = channel.channel_local().split('.').collect();
            node.matching(&segments, &mut found);
        }
        found
    }

    /// Whether another pattern means every channel that this one means.
    #[must_use]
    pub fn is_covered(&self, pattern: &ChannelPattern) -> bool {
        let node = self.orgs.get(&pattern.org);
        node.is_some_and(|node| node.covers(&pattern.segments, true))
    }
}

impl<T: Ord> Node<T> {
    fn is_empty(&self) -> bool {
        let ends = self.here.is_empty() && self.rest.is_empty();
        ends && self.one.is_none() && self.exact.is_empty()
    }

    fn remove(&mut self, segments: &[Segment], belonging: &T) {
        match segments.split_first() {
            None => drop(self.here.remove(belonging)),
            Some((Segment::Rest, _)) => drop(self.rest.remove(belonging)),
            Some((Segment::One, rest)) => {
                let Some(node) = &mut self.one else { return };
                node.remove(rest, belonging);
                if node.is_empty() {
                    self.one = None;
                }
            }
            Some((Segment::Exact(name), rest)) => {
                let Some(node) = self.exact.get_mut(name) else {
                    return;
                };
                node.remove(rest, belonging);
                if node.is_empty() {
                    self.exact.remove(name);
                }
            }
        }
    }

    fn matching<'a>(&'a self, segments: &[&str], found: &mut Vec<&'a T>) {
        let Some((first, rest)) = segments.split_first() else {
            return found.extend(&self.here);
        };
        found.extend(&self.rest);
        if let Some(node) = &self.one {
            node.matching(rest, found);
        }
        if let Some(node) = self.exact.get(*first) {
            node.matching(rest, found);
        }
    }

    /// - `is_same`: all segments so far are those of the pattern itself, which covers it in no way that
    ///   counts.
    fn covers(&self, segments: &[Segment], is_same: bool) -> bool {
        let Some((first, rest)) = segments.split_first() else {
            return !is_same && !self.here.is_empty();
        };
        let has_rest = !self.rest.is_empty();
        let one = |is_same| {
            let node = self.one.as_ref();
            node.is_some_and(|node| node.covers(rest, is_same))
        };
        match first {
            Segment::Rest => has_rest && !is_same,
            Segment::One => has_rest || one(is_same),
            Segment::Exact(name) => {
                let exact = || self.exact.get(name);
                let exact = || exact().is_some_and(|node| node.covers(rest, is_same));
                has_rest || one(false) || exact()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pattern() -> impl Strategy<Value = ChannelPattern> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("*")];
        let org = prop_oneof![Just(""), Just("acme/")];
        (org, vec(segment, 0..4), any::<bool>()).prop_map(|(org, mut segments, has_rest)| {
            if has_rest || segments.is_empty() {
                segments.push(">");
            }
            format!("{org}{}", segments.join(".")).parse().unwrap()
        })
    }

    const CHANNELS: [&str; 10] = [
        "a",
        "b",
        "a.b",
        "b.b",
        "a.b.a",
        "a.b.c@eu-west",
        "acme/a",
        "acme/a.b@us-east",
        "acme/b.b.b.a",
        "__homes",
    ];

    proptest! {
        #[test]
        fn a_tree_finds_what_a_look_at_each_pattern_finds(
            changes in vec((any::<bool>(), pattern(), 0..3_u8), 0..20),
        ) {
            let (mut tree, mut all) = (PatternTree::default(), BTreeSet::new());
            for (is_new, pattern, belonging) in changes {
                match is_new {
                    true => {
                        tree.insert(&pattern, belonging);
                        all.insert((pattern, belonging));
                    }
                    false => {
                        tree.remove(&pattern, &belonging);
                        all.remove(&(pattern, belonging));
                    }
                }
            }
            for name in CHANNELS.map(|name| ChannelName::parse_any(name).unwrap()) {
                let mut found: Vec<u8> = tree.matching(&name).into_iter().copied().collect();
                let matching = all.iter().filter(|(pattern, _)| pattern.matches(&name));
                let mut expected: Vec<u8> = matching.map(|(_, belonging)| *belonging).collect();
                found.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(found, expected, "{}", name);
            }
            for (pattern, _) in &all {
                let covers = |(other, _): &(ChannelPattern, u8)| {
                    other != pattern && other.covers(pattern)
                };
                prop_assert_eq!(tree.is_covered(pattern), all.iter().any(covers), "{}", pattern);
            }
            // However it came to be what it is.
            let mut again = PatternTree::default();
            all.iter().for_each(|(pattern, belonging)| again.insert(pattern, *belonging));
            prop_assert_eq!(again, tree);
        }
    }
}
