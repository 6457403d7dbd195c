//! Keys and grants of the other regions of the deployment, folded from what each of them says.
//!
//! An organisation is known by its name in all regions, as numbers are each region's own. What a key
//! of another region opens here is what it opens there, but for what means the region itself: its
//! broker and the keys in it are administered by its own keys alone.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::event::{AccessEvent, OrgCreated, PrincipalMet};
use super::judge::Principal;
use super::scope::Operation;
use super::secret::KeyHash;
use super::state::{Access, Grant, Key, Org};
use crate::folding::IllegalEvent;
use crate::types::{Incarnation, KeyId, OrgId, PrincipalId, RegionName, Timestamp};

/// What a key opens in its own region alone.
const AT_HOME: [Operation; 4] = [
    Operation::AccessAdmin,
    Operation::Replicate,
    Operation::Inspect,
    Operation::Metrics,
];

/// What other regions have said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    said: BTreeMap<RegionName, Said>,
    /// Those that belong to the deployment: no other's word counts.
    trusted: BTreeSet<RegionName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    access: Box<Access>,
    /// Whether nothing of it is missing: a revocation might be.
    is_whole: bool,
}

/// Who somebody of another region is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Met {
    /// The number here.
    pub principal: PrincipalId,
    /// The topic on which the region said whom its number means.
    pub life: Option<Incarnation>,
}

/// A key of another region.
#[derive(Clone, Copy, Debug)]
pub struct KeyAbroad<'a> {
    /// The region that has made it.
    pub region: &'a RegionName,
    /// The organisation that it belongs to, as it is there.
    pub org: &'a Org,
    /// The key, with the numbers that it has there.
    pub key: &'a Key,
}

/// Whether an operation means a region's own broker and keys, and not what all regions share.
pub(super) fn is_at_home(operation: Operation) -> bool {
    AT_HOME.contains(&operation)
}

impl Access {
    /// Takes what another region says, in the order in which it says it.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow: nothing of that region counts then, until all
    /// of it comes again.
    pub fn apply_of(
        &mut self,
        region: &RegionName,
        event: &AccessEvent,
    ) -> Result<(), IllegalEvent> {
        let said = self.others.said.entry(region.clone());
        let said = said.or_insert_with(|| Said {
            access: Box::default(),
            is_whole: true,
        });
        let applied = said.access.apply(event);
        match event {
            _ if applied.is_err() => said.is_whole = false,
            AccessEvent::Folded(part) if part.part == part.parts => said.is_whole = true,
            _ => {}
        }
        applied
    }

    /// Something of what another region has said is missing: nothing of it counts, until all of it
    /// comes again.
    pub fn lacks_of(&mut self, region: &RegionName) {
        let said = self.others.said.entry(region.clone());
        let said = said.or_insert_with(|| Said {
            access: Box::default(),
            is_whole: false,
        });
        said.is_whole = false;
    }

    /// Forgets what another region has said.
    pub fn forget_of(&mut self, region: &RegionName) {
        self.others.said.remove(region);
    }

    /// Says whose word counts.
    pub fn trust(&mut self, regions: BTreeSet<RegionName>) {
        self.others.trusted = regions;
    }

    /// What the others say whose word counts.
    fn others(&self) -> impl Iterator<Item = (&RegionName, &Access)> {
        let said = self.others.said.iter();
        let counts = said
            .filter(move |(region, said)| said.is_whole && self.others.trusted.contains(*region));
        counts.map(|(region, said)| (region, &*said.access))
    }

    /// A key of another region.
    #[must_use]
    pub fn key_abroad(&self, key: KeyId) -> Option<KeyAbroad<'_>> {
        self.others().find_map(|(region, access)| {
            let key = access.key(key)?;
            let org = access.org(key.org)?;
            Some(KeyAbroad { region, org, key })
        })
    }

    /// The key of another region with the hash that all regions know. It is compared in constant
    /// time.
    #[must_use]
    pub fn key_abroad_by_hash(&self, hash: &KeyHash) -> Option<KeyAbroad<'_>> {
        let found = self.others().find_map(|(_, access)| {
            let key = access.key(*access.travelling.get(&hash.slot())?)?;
            (key.travels.as_ref() == Some(hash)).then_some(key.key)
        });
        self.key_abroad(found?)
    }

    /// The organisation that has that number in another region.
    #[must_use]
    pub fn org_of(&self, region: &RegionName, org: OrgId) -> Option<&Org> {
        let mut others = self.others();
        others.find(|(of, _)| *of == region)?.1.org(org)
    }

    /// A key of this region or of another one.
    #[must_use]
    pub fn known_key(&self, key: KeyId) -> Option<&Key> {
        let abroad = || Some(self.key_abroad(key)?.key);
        self.key(key).or_else(abroad)
    }

    /// Whether somebody acts with a key of another region.
    pub(super) fn is_from_abroad(&self, principal: &Principal) -> bool {
        principal.key.is_some_and(|key| self.key(key).is_none())
    }

    /// Who somebody with a key of another region is here, once they have a number here.
    #[must_use]
    pub fn principal_abroad(&self, key: KeyId) -> Option<Principal> {
        let KeyAbroad { region, org, key } = self.key_abroad(key)?;
        let met = self.met.get(&(region.clone(), key.principal))?;
        Some(Principal {
            id: met.principal,
            org: self.org_by_name(org.name.as_str())?.org,
            key: Some(key.key),
        })
    }

    /// What is to be recorded before somebody with a key of another region acts here: that their
    /// organisation is one here too, and their number; nothing where both are known.
    ///
    /// - `life`: the topic on which their region says who they are.
    #[must_use]
    pub fn check_meet(
        &self,
        key: KeyId,
        life: Option<Incarnation>,
        at: Timestamp,
    ) -> Vec<AccessEvent> {
        let mut events = Vec::new();
        let Some(KeyAbroad { region, org, key }) = self.key_abroad(key) else {
            return events;
        };
        if self.org_by_name(org.name.as_str()).is_none() {
            events.push(AccessEvent::OrgCreated(OrgCreated {
                org: self.next_org,
                name: org.name.clone(),
                limits: org.limits,
                at,
                by: PrincipalId(0),
            }));
        }
        if !self.met.contains_key(&(region.clone(), key.principal)) {
            events.push(AccessEvent::PrincipalMet(PrincipalMet {
                region: region.clone(),
                theirs: key.principal,
                principal: self.next_principal,
                life,
                at,
            }));
        }
        events
    }

    /// What is to be recorded where a region says on another topic who its people are than it did when
    /// they were met: it was begun anew, and its numbers mean other people from then on. Whoever acts
    /// under one of them has a number here that nobody had before. So it is, too, where nobody knows
    /// any more on which topic it was said.
    ///
    /// - `life`: the topic on which it says so from now on.
    #[must_use]
    pub fn check_strangers(
        &self,
        region: &RegionName,
        life: Incarnation,
        at: Timestamp,
    ) -> Vec<AccessEvent> {
        let met = self.met.iter();
        let met = met.filter(|((of, _), met)| of == region && met.life != Some(life));
        let numbers = (self.next_principal.0..).map(PrincipalId);
        let strangers = met.zip(numbers).map(|(((region, theirs), _), principal)| {
            AccessEvent::PrincipalMet(PrincipalMet {
                region: region.clone(),
                theirs: *theirs,
                principal,
                life: Some(life),
                at,
            })
        });
        strangers.collect()
    }

    /// What other regions say that one organisation lets another do: both are known by their names.
    pub(super) fn grants_abroad(&self, owner: OrgId, guest: OrgId) -> impl Iterator<Item = &Grant> {
        let names = self.org(owner).zip(self.org(guest));
        let others = self.others().filter_map(move |(_, access)| {
            let (owner, guest) = names?;
            let owner = access.org_by_name(owner.name.as_str())?.org;
            let guest = access.org_by_name(guest.name.as_str())?.org;
            Some((access, owner, guest))
        });
        others.flat_map(|(access, owner, guest)| {
            let grants = access.grants(guest);
            grants.filter(move |grant| grant.owner == owner && grant.guest == guest)
        })
    }

    /// The newest key of another region that opens something, and that client certificates with one
    /// of these names stand for; of several regions, that of the first by name.
    #[must_use]
    pub fn key_abroad_by_certificate(&self, names: &[&str], now: Timestamp) -> Option<KeyId> {
        let mut others = self.others();
        let found = others.find_map(|(_, access)| access.key_by_certificate(names, now));
        found.map(|key| key.key)
    }
}
