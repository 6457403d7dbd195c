//! What was of use last, up to a number.

use std::collections::HashMap;
use std::hash::Hash;

/// A table of bounded size that forgets what was not of use for longest.
///
/// Two generations: what is of use is in the young one. A full one becomes the old one, and what was
/// old by then is forgotten. So at least the last half as many as there is room for are remembered,
/// and never more than there is room for.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Copy, V> Recent<K, V> {
    /// An empty table.
    ///
    /// - `most`: how many it holds, at least 2.
    pub fn new(most: usize) -> Self {
        Self {
            half: most / 2,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// What is remembered of one, without being of use.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// What is remembered of one, which is young again by that.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        if let Some(value) = self.old.remove(key) {
            self.set(*key, value);
        }
        self.young.get(key)
    }

    /// Remembers one.
    pub fn set(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// Forgets one.
    pub fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_what_is_of_use_stays() {
        let mut recent = Recent::new(100);
        recent.set(0, "of use");
        for key in 1..10_000 {
            recent.set(key, "another");
            assert_eq!(recent.get(&0), Some(&"of use"), "{key}");
            assert!(recent.len() <= 100, "{key}: {}", recent.len());
            // Half of the room is for those that came last, whoever is of use beside them.
            let last = (1..=key).rev().take(49);
            assert!(last.into_iter().all(|key| recent.peek(&key).is_some()));
        }
        assert_eq!(recent.peek(&1), None);
        recent.remove(&0);
        assert_eq!(recent.get(&0), None);
        assert!(!recent.is_empty());
    }
}
