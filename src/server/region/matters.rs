//! Where that is which follows from a session and is named by an id of its own: remembered for what
//! was asked for before, else looked for here, then asked of the peers.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;

use super::Regions;
use super::requests::unreachable;
use super::seek::ASKED;
use crate::asp::Matter;
use crate::protocol::region::{Actor, LinkFind, LinkFound};
use crate::protocol::{ErrorCode, RegionRequest, RegionResponse, WireError};
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
}

/// What a request is about that follows from a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// What.
    pub matter: Matter,
    /// Whether an operator acts, for no agent and no organisation.
    pub by_operator: bool,
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

/// Whether something is here that an organisation means by its id: what it has a part in, and where
/// an operator acts, whatever there is.
pub(super) fn is_here(shared: &Shared, org: &OrgName, asked: Asked) -> bool {
    let held = shared.broker().held_matter(asked.matter);
    held.is_some_and(|held| asked.by_operator || held.orgs.contains(org))
}

/// Whether the peers have to be asked where something is: neither is it held here, nor known to be
/// elsewhere.
pub(super) fn is_unknown(shared: &Shared, regions: &Regions, org: &OrgName, asked: Asked) -> bool {
    !regions.is_alone()
        && regions.matters.of(org, asked.matter).is_none()
        && !is_here(shared, org, asked)
}

/// Finds out where something is. Where nobody has it, this region says so. Ids are chosen by who asks,
/// so what the organisation has a part in counts before what is others' alone.
///
/// # Errors
/// What to answer: a peer that may have it can't be reached, or several have it.
pub(super) async fn seek(
    shared: &std::sync::Arc<Shared>,
    regions: &Regions,
    org: &OrgName,
    asked: Asked,
) -> Result<(), WireError> {
    let matter = asked.matter;
    let looking = shared.clone();
    let here = shared.on_disk(move || asp::find_matter(&looking, matter));
    let here = here.await.map_err(|error| answer::refused(&error))?;
    let is_part = |orgs: &Option<BTreeSet<OrgName>>| orgs.as_ref().map(|orgs| orgs.contains(org));
    // What is filed does not tell, and is read alone.
    if here
        .as_ref()
        .is_some_and(|here| asked.by_operator || is_part(&here.orgs) != Some(false))
    {
        return Ok(());
    }
    let (mut found, mut others) = (Vec::new(), Vec::new());
    let mut away = None;
    for peer in regions.peers() {
        let request = RegionRequest::LinkFind(LinkFind { about: matter });
        let told = match peer.link() {
            Some(link) => link.ask(request, ASKED).await.ok(),
            None => None,
        };
        match told {
            Some(RegionResponse::LinkFind(told)) if told.found => {
                let is_theirs = is_part(&told.orgs) == Some(false);
                let own = told.others.into_iter().find(|agent| agent.org == *org);
                let first = told
                    .agent
                    .filter(|agent| own.is_none() || agent.org == *org);
                let known = KnownMatter {
                    home: peer.name.clone(),
                    agent: first.or(own),
                };
                match is_theirs {
                    true => others.push(known),
                    false => found.push(known),
                }
            }
            Some(RegionResponse::LinkFind(_)) => {}
            _ => away = Some(peer.name.clone()),
        }
    }
    if found.is_empty() && away.is_none() {
        // None of its own: who has another one says what it says of what is none of one's business.
        if here.is_some() {
            return Ok(());
        }
        found = others;
    }
    match (found.len(), away) {
        (0, None) => Ok(()),
        (0, Some(region)) => Err(unreachable(&region)),
        (1, _) => {
            regions.matters.remember(org, matter, found.remove(0));
            Ok(())
        }
        _ => {
            let homes: Vec<&str> = found.iter().map(|one| one.home.as_str()).collect();
            let text = format!("several regions have one of that id: {}", homes.join(", "));
            Err(WireError::new(ErrorCode::ForwardRefused, text).with("homes", homes))
        }
    }
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
    let is_found = found.is_some();
    let (agents, orgs) = found.map_or((Vec::new(), None), |held| (held.agents, held.orgs));
    let mut agents = agents.into_iter().map(|named| Actor {
        org: named.org,
        name: named.name,
    });
    Ok(LinkFound {
        found: is_found,
        agent: agents.next(),
        others: agents.collect(),
        orgs,
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
