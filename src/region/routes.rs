//! From which peer a log is pulled, where several have it whole.
//!
//! The home first; else the whole copy that is furthest, by name among equals. A source is changed
//! only where the present one is out of reach, has stopped the log, brings nothing while another one
//! has more, or where the home is back. Whatever is chosen, a copy takes only what follows its end: a
//! wrong choice costs time, and neither order nor a record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::types::{Incarnation, Offset, RegionName};

/// What a peer says to have of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The log's home, as the peer knows it.
    pub home: RegionName,
    /// Everything below is synced there.
    pub flushed: Offset,
    /// Set where the peer does not go on with the log.
    pub refusal: Option<Refusal>,
}

/// Why a peer does not go on with a log that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It can't; another one may.
    Passing,
    /// What it has is not what the copy has. Where it is the home, an operator has to say who is
    /// right, and nobody else is followed meanwhile.
    Differs,
}

/// What a link is to do with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Follow it on this link.
    Follow,
    /// Go on following it on this link.
    Stay,
    /// Follow it on this link no longer.
    Leave,
    /// Leave it to another link, or to a later time.
    Wait,
}

/// What all peers have, and which link follows what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Of each peer that is linked what it has.
    lists: BTreeMap<RegionName, BTreeMap<Incarnation, Offer>>,
    /// Peers that were not linked yet and have not failed either.
    awaited: BTreeSet<RegionName>,
    /// The one link that follows a log.
    claims: HashMap<Incarnation, RegionName>,
}

impl Routes {
    /// Nothing is known yet of these peers.
    #[must_use]
    pub fn new(peers: impl IntoIterator<Item = RegionName>) -> Self {
        Self {
            awaited: peers.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Takes the list of a peer. Refusals of what it has still are kept.
    pub fn listed(
        &mut self,
        peer: &RegionName,
        offers: impl IntoIterator<Item = (Incarnation, RegionName, Offset)>,
    ) {
        self.awaited.remove(peer);
        let before = self.lists.remove(peer).unwrap_or_default();
        let offers = offers.into_iter().map(|(log, home, flushed)| {
            let refusal = before.get(&log).and_then(|offer| offer.refusal);
            let offer = Offer {
                home,
                flushed,
                refusal,
            };
            (log, offer)
        });
        self.lists.insert(peer.clone(), offers.collect());
    }

    /// The link to a peer is lost, and what was followed on it is not followed any more.
    pub fn lost(&mut self, peer: &RegionName) {
        self.awaited.remove(peer);
        self.lists.remove(peer);
        self.claims.retain(|_, by| by != peer);
    }

    /// A peer does not go on with a log; the link follows it no longer.
    pub fn refused(&mut self, peer: &RegionName, log: Incarnation, refusal: Refusal) {
        self.left(peer, log);
        let offers = self.lists.get_mut(peer);
        if let Some(offer) = offers.and_then(|offers| offers.get_mut(&log)) {
            offer.refusal = Some(refusal);
        }
    }

    /// A peer may be tried again with a log.
    pub fn forgiven(&mut self, peer: &RegionName, log: Incarnation) {
        let offers = self.lists.get_mut(peer);
        if let Some(offer) = offers.and_then(|offers| offers.get_mut(&log)) {
            offer.refusal = None;
        }
    }

    /// The link to a peer follows a log no longer.
    pub fn left(&mut self, peer: &RegionName, log: Incarnation) {
        if self.claims.get(&log) == Some(peer) {
            self.claims.remove(&log);
        }
    }

    /// Whether a peer is linked and has a log, as far as it has told.
    #[must_use]
    pub fn is_offered(&self, peer: &RegionName, log: Incarnation) -> bool {
        let offers = self.lists.get(peer);
        offers.is_some_and(|offers| offers.contains_key(&log))
    }

    /// The peer on whose link a log is followed.
    #[must_use]
    pub fn source(&self, log: Incarnation) -> Option<&RegionName> {
        self.claims.get(&log)
    }

    /// From which peer a log is best pulled now; `None` where nobody is to be asked.
    #[must_use]
    pub fn best(&self, log: Incarnation, home: &RegionName) -> Option<&RegionName> {
        if self.awaited.contains(home) {
            return None;
        }
        if let Some((peer, offers)) = self.lists.get_key_value(home) {
            // What its home does not have any more is over.
            match offers.get(&log)?.refusal {
                None => return Some(peer),
                Some(Refusal::Differs) => return None,
                Some(Refusal::Passing) => {}
            }
        }
        let offers = self.lists.iter().filter_map(|(peer, offers)| {
            let offer = offers.get(&log)?;
            (offer.refusal.is_none() && peer != home).then_some((peer, offer.flushed))
        });
        // The first by name is the last of equals in this order.
        let furthest = offers.rev().max_by_key(|(_, flushed)| *flushed);
        furthest.map(|(peer, _)| peer)
    }

    /// What the link to `peer` is to do with a log that this region wants. To follow is a claim:
    /// every other link waits until it is left.
    ///
    /// - `next`: the next offset that the copy needs.
    /// - `is_idle`: whether the link has brought nothing of the log lately.
    pub fn turn(
        &mut self,
        peer: &RegionName,
        log: Incarnation,
        home: &RegionName,
        next: Offset,
        is_idle: bool,
    ) -> Turn {
        let best = self.best(log, home);
        match self.claims.get(&log) {
            Some(by) if by != peer => Turn::Wait,
            Some(_) => match best {
                Some(best) if best == peer => Turn::Stay,
                Some(best) if best == home => Turn::Leave,
                Some(best) if is_idle && self.flushed(best, log) > Some(next) => Turn::Leave,
                _ => Turn::Stay,
            },
            None if best == Some(peer) => {
                self.claims.insert(log, peer.clone());
                Turn::Follow
            }
            None => Turn::Wait,
        }
    }

    fn flushed(&self, peer: &RegionName, log: Incarnation) -> Option<Offset> {
        let offer = self.lists.get(peer)?.get(&log)?;
        Some(offer.flushed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOG: Incarnation = Incarnation(7);

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    /// A home `h` and copies `a`, `b`, each with what it has.
    fn routes(lists: &[(&str, u64)]) -> Routes {
        let mut routes = Routes::default();
        for (peer, flushed) in lists {
            listed(&mut routes, peer, *flushed);
        }
        routes
    }

    fn listed(routes: &mut Routes, peer: &str, flushed: u64) {
        routes.listed(&region(peer), [(LOG, region("h"), Offset(flushed))]);
    }

    fn turn(routes: &mut Routes, peer: &str, next: u64, is_idle: bool) -> Turn {
        routes.turn(&region(peer), LOG, &region("h"), Offset(next), is_idle)
    }

    fn best(routes: &Routes) -> Option<&str> {
        routes.best(LOG, &region("h")).map(RegionName::as_str)
    }

    #[test]
    fn the_home_comes_first_then_the_furthest_then_the_first_by_name() {
        assert_eq!(best(&routes(&[("a", 9), ("h", 3)])), Some("h"));
        assert_eq!(best(&routes(&[("a", 3), ("b", 9)])), Some("b"));
        assert_eq!(best(&routes(&[("b", 9), ("a", 9)])), Some("a"));
        assert_eq!(best(&routes(&[])), None);
    }

    #[test]
    fn a_home_that_was_never_asked_is_awaited_until_it_is_linked_or_fails() {
        let mut routes = Routes::new([region("h"), region("a")]);
        listed(&mut routes, "a", 9);
        assert_eq!(turn(&mut routes, "a", 0, false), Turn::Wait);
        routes.lost(&region("h"));
        assert_eq!(turn(&mut routes, "a", 0, false), Turn::Follow);
    }

    #[test]
    fn one_link_follows_a_log_until_it_leaves_it() {
        let mut routes = routes(&[("a", 9), ("b", 9)]);
        assert_eq!(turn(&mut routes, "b", 0, false), Turn::Wait);
        assert_eq!(turn(&mut routes, "a", 0, false), Turn::Follow);
        assert_eq!(turn(&mut routes, "a", 0, false), Turn::Stay);
        assert_eq!(turn(&mut routes, "b", 0, false), Turn::Wait);
        assert_eq!(routes.source(LOG), Some(&region("a")));
        assert!(routes.is_offered(&region("a"), LOG));
        routes.lost(&region("a"));
        assert!(!routes.is_offered(&region("a"), LOG));
        assert_eq!(turn(&mut routes, "b", 0, false), Turn::Follow);
        routes.left(&region("a"), LOG);
        assert_eq!(routes.source(LOG), Some(&region("b")), "it was not a's");
    }

    #[test]
    fn a_copy_is_left_for_the_home_and_for_another_only_where_it_brings_nothing() {
        let mut routes = routes(&[("a", 9)]);
        assert_eq!(turn(&mut routes, "a", 9, true), Turn::Follow);
        listed(&mut routes, "b", 9);
        assert_eq!(turn(&mut routes, "a", 9, true), Turn::Stay, "b has no more");
        listed(&mut routes, "b", 20);
        assert_eq!(turn(&mut routes, "a", 9, false), Turn::Stay, "it brings");
        assert_eq!(turn(&mut routes, "a", 9, true), Turn::Leave);
        listed(&mut routes, "h", 5);
        assert_eq!(turn(&mut routes, "a", 9, false), Turn::Leave);
        routes.left(&region("a"), LOG);
        assert_eq!(turn(&mut routes, "b", 9, false), Turn::Wait);
        assert_eq!(turn(&mut routes, "h", 9, false), Turn::Follow);
    }

    #[test]
    fn what_the_home_has_no_more_or_otherwise_is_followed_nowhere() {
        let mut gone = routes(&[("a", 9)]);
        gone.listed(&region("h"), []);
        assert_eq!(best(&gone), None);
        let mut routes = routes(&[("a", 9), ("h", 9)]);
        routes.refused(&region("h"), LOG, Refusal::Differs);
        assert_eq!(best(&routes), None);
        routes.refused(&region("h"), LOG, Refusal::Passing);
        assert_eq!(best(&routes), Some("a"));
        listed(&mut routes, "h", 10);
        assert_eq!(best(&routes), Some("a"), "a new list forgives nothing");
        routes.forgiven(&region("h"), LOG);
        assert_eq!(best(&routes), Some("h"));
        routes.refused(&region("a"), LOG, Refusal::Differs);
        routes.refused(&region("h"), LOG, Refusal::Passing);
        assert_eq!(best(&routes), None);
    }

    proptest! {
        #[test]
        fn a_log_has_one_source_at_most_whatever_happens(
            steps in proptest::collection::vec((0..6_u8, 0..3_usize, 0..20_u64), 0..60)
        ) {
            let peers = ["a", "b", "h"];
            let mut routes = Routes::new(peers.map(region));
            let mut follows: BTreeSet<&str> = BTreeSet::new();
            for (step, peer, number) in steps {
                let name = peers[peer];
                match step {
                    0 => listed(&mut routes, name, number),
                    1 => {
                        routes.lost(&region(name));
                        follows.remove(name);
                    }
                    2 => {
                        routes.refused(&region(name), LOG, Refusal::Passing);
                        follows.remove(name);
                    }
                    3 => routes.forgiven(&region(name), LOG),
                    _ => match turn(&mut routes, name, number, step == 5) {
                        Turn::Follow => {
                            follows.insert(name);
                        }
                        Turn::Leave => {
                            routes.left(&region(name), LOG);
                            follows.remove(name);
                        }
                        Turn::Stay => prop_assert!(follows.contains(name)),
                        Turn::Wait => prop_assert!(!follows.contains(name)),
                    },
                }
                prop_assert!(follows.len() <= 1, "{:?}", follows);
            }
        }
    }
}
