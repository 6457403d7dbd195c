//! Where that is which follows from a session and is named by an id of its own: remembered for what
//! was asked for before, else looked for here, then asked of the peers.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;

use super::Regions;
use super::requests::unreachable;
use super::seeing::speaks;
use super::seek::ASKED;
use crate::access::Principal;
use crate::asp::Matter;
use crate::broker::asp::Named;
use crate::protocol::region::{Actor, LinkFind, LinkFound};
use crate::protocol::{ErrorCode, RegionRequest, RegionResponse, WireError};
use crate::region::RegionNumber;
use crate::server::access::Caller;
use crate::server::ranks::{Mutex, MutexGuard};
use crate::server::shared::Shared;
use crate::server::{answer, asp};
use crate::types::{OrgName, RegionName};

/// Most of them whose home is remembered.
const MAX_KNOWN: usize = 10_000;

/// Where something is that is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownMatter {
    /// The region.
    pub home: RegionName,
    /// Who promised, or made the call, where that was told.
    pub agent: Option<Actor>,
    /// Who filed it, where it is a dispute and that was told.
    pub filer: Option<Actor>,
}

/// What a request is about that follows from a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// What.
    pub matter: Matter,
    /// Whether an operator acts, for no agent and no organisation.
    pub by_operator: bool,
    /// Whether only who promised, or made the call, does such a thing.
    pub by_actor: bool,
}

/// How sure it is that what a region has under an id is what somebody means by it, from the least.
/// Ids are chosen by whoever sends them, so that others may use the same: what somebody's own agent has
/// chosen cannot be another's, and what is where the id says comes before what is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// Their organisation has no part in it.
    Others,
    /// It has, or nobody knows.
    Part,
    /// It has, or nobody knows, and the id names the region.
    Named,
    /// An agent that they speak for chose the id, or alone does such a thing there.
    Own,
}

/// Somebody who asks for something.
pub(super) struct Seeker<'a> {
    shared: &'a Shared,
    principal: &'a Principal,
    org: OrgName,
    asked: Asked,
}

impl<'a> Seeker<'a> {
    pub fn new(shared: &'a Shared, caller: &'a Caller, asked: Asked) -> Self {
        Self {
            shared,
            principal: &caller.principal,
            org: caller.row().org,
            asked,
        }
    }

    fn claim(
        &self,
        region: &RegionName,
        agents: &[Actor],
        filers: &[Actor],
        orgs: Option<&BTreeSet<OrgName>>,
    ) -> Claim {
        let choosers = match self.asked.matter {
            Matter::Dispute(_) if !self.asked.by_actor => filers,
            _ => agents,
        };
        let is_own = |one: &Actor| {
            one.org == self.org && speaks(self.shared, self.principal, one.name.as_str())
        };
        if choosers.iter().any(is_own) {
            return Claim::Own;
        }
        if orgs.is_some_and(|orgs| !orgs.contains(&self.org)) {
            return Claim::Others;
        }
        match RegionNumber::of(region).0 == self.asked.matter.last_bits() {
            true => Claim::Named,
            false => Claim::Part,
        }
    }

    /// What is held here, if anything is.
    fn claim_here(&self, regions: &Regions) -> Option<Claim> {
        let held = self.shared.broker().held_matter(self.asked.matter)?;
        let (agents, filers) = (actors(held.agents), actors(held.filers));
        Some(self.claim(&regions.name, &agents, &filers, Some(&held.orgs)))
    }

    /// What is remembered to be elsewhere.
    fn claim_known(&self, known: &KnownMatter) -> Claim {
        let (agents, filers) = (known.agent.as_slice(), known.filer.as_slice());
        self.claim(&known.home, agents, filers, None)
    }

    /// The region that the id names, where it is a peer.
    fn named(&self, regions: &Regions) -> Option<RegionName> {
        let number = self.asked.matter.last_bits();
        let mut names = regions.peer_rows().into_iter().map(|peer| peer.name);
        names.find(|name| RegionNumber::of(name).0 == number)
    }

    /// Whether nothing that a peer might tell would count for more.
    fn is_certain(&self, regions: &Regions, claim: Claim) -> bool {
        match claim {
            Claim::Own | Claim::Named => true,
            // Of what only its actor does somebody else's is not meant.
            Claim::Part => !self.asked.by_actor && self.named(regions).is_none(),
            Claim::Others => false,
        }
    }

    /// Where something is, where that is elsewhere. Of two that count alike the one that is here is
    /// meant; where an operator acts, that one anyway.
    pub fn home(&self, regions: &Regions) -> Option<KnownMatter> {
        let known = regions.matters.of(&self.org, self.asked.matter)?;
        let here = self.claim_here(regions);
        let is_here =
            here.is_some_and(|here| self.asked.by_operator || here >= self.claim_known(&known));
        (!is_here).then_some(known)
    }

    /// Whether the peers have to be asked where something is: what is held here, or known to be
    /// elsewhere, may be another's of the same id.
    pub fn is_unknown(&self, regions: &Regions) -> bool {
        if regions.is_alone() {
            return false;
        }
        let here = self.claim_here(regions);
        if self.asked.by_operator && here.is_some() {
            return false;
        }
        let known = regions.matters.of(&self.org, self.asked.matter);
        let known = known.map(|known| self.claim_known(&known));
        let best = here.max(known);
        !best.is_some_and(|best| self.is_certain(regions, best))
    }
}

fn actors(named: Vec<Named>) -> Vec<Actor> {
    let actor = |named: Named| Actor {
        org: named.org,
        name: named.name,
    };
    named.into_iter().map(actor).collect()
}

/// What was asked for of other regions, by the organisation that asked: of two things of one id each
/// organisation means the one that it has a part in, and none can make another one look for its own
/// in the wrong place.
#[derive(Default)]
pub(super) struct KnownMatters(Mutex<HashMap<(OrgName, Matter), KnownMatter>>);

impl KnownMatters {
    fn lock(&self) -> MutexGuard<'_, HashMap<(OrgName, Matter), KnownMatter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where something is, if that was asked.
    pub fn of(&self, org: &OrgName, matter: Matter) -> Option<KnownMatter> {
        self.lock().get(&(org.clone(), matter)).cloned()
    }

    /// Remembers where something is. Where there are too many, all others are asked for again.
    pub fn remember(&self, org: &OrgName, matter: Matter, known: KnownMatter) {
        let mut all = self.lock();
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert((org.clone(), matter), known);
    }

    /// Forgets where something is: it is not there.
    pub fn forget(&self, org: &OrgName, matter: Matter) {
        self.lock().remove(&(org.clone(), matter));
    }
}

/// Finds out where something is. Where nobody has it, this region says so. Ids are chosen by who asks,
/// so what counts for more (see [`Claim`]) hides what counts for less.
///
/// # Errors
/// What to answer: a peer that may have it can't be reached, or several have it that count alike.
pub(super) async fn seek(
    shared: &std::sync::Arc<Shared>,
    regions: &Regions,
    caller: &Caller,
    asked: Asked,
) -> Result<(), WireError> {
    let matter = asked.matter;
    let looking = shared.clone();
    let here = shared.on_disk(move || asp::find_matter(&looking, matter));
    let here = here.await.map_err(|error| answer::refused(&error))?;
    let seeker = Seeker::new(shared, caller, asked);
    if asked.by_operator && here.is_some() {
        return Ok(());
    }
    // What is filed does not tell whose it is.
    let mut is_filed = here.as_ref().is_some_and(|here| here.orgs.is_none());
    let here = here.map(|here| {
        let (agents, filers) = (actors(here.agents), actors(here.filers));
        seeker.claim(&regions.name, &agents, &filers, here.orgs.as_ref())
    });
    let is_certain = here.is_some_and(|here| seeker.is_certain(regions, here));
    if is_certain || is_filed && seeker.named(regions).is_none() {
        regions.matters.forget(&seeker.org, matter);
        return Ok(());
    }
    let mut found: Vec<(Claim, KnownMatter)> = Vec::new();
    let mut away: Vec<RegionName> = Vec::new();
    for peer in regions.peers() {
        let request = RegionRequest::LinkFind(LinkFind { about: matter });
        let told = match peer.link() {
            Some(link) => link.ask(request, ASKED).await.ok(),
            None => None,
        };
        match told {
            Some(RegionResponse::LinkFind(told)) if told.found => {
                let mut agents: Vec<Actor> = told.agent.into_iter().collect();
                agents.extend(told.others);
                let orgs = told.orgs.as_ref();
                is_filed |= orgs.is_none();
                let claim = seeker.claim(&peer.name, &agents, &told.filers, orgs);
                let of_org = |all: &[Actor]| {
                    let own = all.iter().find(|agent| agent.org == seeker.org);
                    own.or(all.first()).cloned()
                };
                let known = KnownMatter {
                    home: peer.name.clone(),
                    agent: of_org(&agents),
                    filer: of_org(&told.filers),
                };
                found.push((claim, known));
            }
            Some(RegionResponse::LinkFind(_)) => {}
            _ => away.push(peer.name.clone()),
        }
    }
    let there = found.iter().map(|(claim, _)| *claim).max();
    let best = here.max(there);
    let named = seeker.named(regions);
    let missing = match best {
        Some(Claim::Own | Claim::Named) => None,
        // Where it is filed, whether it is theirs says who has it.
        Some(Claim::Part) if !asked.by_actor || is_filed => {
            named.filter(|named| away.contains(named))
        }
        _ => away.first().cloned(),
    };
    if let Some(region) = missing {
        return Err(unreachable(&region));
    }
    found.retain(|(claim, _)| best == Some(*claim));
    if found.is_empty() || here == best {
        // What is here is meant, or this region says that there is none.
        regions.matters.forget(&seeker.org, matter);
        return Ok(());
    }
    if let [_] = found.as_slice() {
        let (_, known) = found.remove(0);
        regions.matters.remember(&seeker.org, matter, known);
        return Ok(());
    }
    let homes: Vec<&str> = found.iter().map(|(_, one)| one.home.as_str()).collect();
    let text = format!("several regions have one of that id: {}", homes.join(", "));
    Err(WireError::new(ErrorCode::ForwardRefused, text).with("homes", homes))
}

/// Answers another region that looks for something.
///
/// # Errors
/// What to answer where a record can't be read.
pub(super) async fn serve(
    shared: &std::sync::Arc<Shared>,
    asked: LinkFind,
) -> Result<LinkFound, WireError> {
    let looking = shared.clone();
    let found = shared.on_disk(move || asp::find_matter(&looking, asked.about));
    let found = found.await.map_err(|error| answer::refused(&error))?;
    let Some(held) = found else {
        return Ok(LinkFound {
            found: false,
            agent: None,
            others: Vec::new(),
            filers: Vec::new(),
            orgs: None,
        });
    };
    let mut agents = actors(held.agents).into_iter();
    Ok(LinkFound {
        found: true,
        agent: agents.next(),
        others: agents.collect(),
        filers: actors(held.filers),
        orgs: held.orgs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CommitmentId;

    fn matter(number: usize) -> Matter {
        Matter::Commitment(CommitmentId(number as u128))
    }

    fn at(region: &str) -> KnownMatter {
        KnownMatter {
            home: RegionName::parse(region).unwrap(),
            agent: None,
            filer: None,
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_not_there_is_forgotten() {
        let known = KnownMatters::default();
        let org = OrgName::parse("acme").unwrap();
        for number in 0..MAX_KNOWN {
            known.remember(&org, matter(number), at("us-east"));
        }
        assert_eq!(known.of(&org, matter(7)), Some(at("us-east")));
        let other = OrgName::parse("bolt").unwrap();
        assert_eq!(known.of(&other, matter(7)), None, "each knows its own");
        known.forget(&org, matter(7));
        assert_eq!(known.of(&org, matter(7)), None);
        known.remember(&org, matter(7), at("us-east"));
        known.remember(&org, matter(MAX_KNOWN), at("eu-west"));
        assert_eq!(known.of(&org, matter(MAX_KNOWN)), Some(at("eu-west")));
        assert_eq!(known.lock().len(), 1, "no more than there may be");
    }
}
