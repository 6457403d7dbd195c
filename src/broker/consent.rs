//! Consent between organisations: for whom a copy may be kept, here and at its source.
//! `docs/regions.md`, "Consent and residency".

use std::collections::BTreeSet;

use super::core::Broker;
use crate::types::{ChannelName, DEFAULT_ORG_NAME, OrgName};

impl Broker {
    /// The organisations for which this region keeps a copy of a channel, as a source is told: those
    /// that want it and for which it may cross. None where who runs the broker wants it too, and
    /// where nobody does: then it is asked for by the region itself.
    #[must_use]
    pub fn askers(&self, channel: &ChannelName) -> BTreeSet<OrgName> {
        let askers = self.interests().askers(channel);
        if askers.iter().any(|org| org.as_str() == DEFAULT_ORG_NAME) {
            return BTreeSet::new();
        }
        let allowed = askers.into_iter();
        allowed.filter(|org| self.may_cross(channel, org)).collect()
    }

    /// Whether a channel may cross for at least one of those that ask for it in another region.
    ///
    /// - `orgs`: as [`Broker::askers`] of that region gives them.
    #[must_use]
    pub fn may_cross_for(&self, channel: &ChannelName, orgs: &BTreeSet<OrgName>) -> bool {
        orgs.is_empty() || orgs.iter().any(|org| self.may_cross(channel, org))
    }

    /// Whether a copy is not kept up any more for want of consent: this region may not hold it, or
    /// it is wanted only by organisations for which it may not cross.
    #[must_use]
    pub fn is_withdrawn(&self, channel: &ChannelName) -> bool {
        let crosses = |org: &OrgName| self.may_cross(channel, org);
        let is_wanted = || self.interests().wish(channel, |_| true).is_some();
        let is_allowed = || self.interests().wish(channel, crosses).is_some();
        !self.may_hold_here(channel) || (is_wanted() && !is_allowed())
    }
}
