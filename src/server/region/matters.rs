//! Where that is which follows from a session and is named by an id of its own: remembered for what
//! was asked for before, else looked for here, then asked of the peers.

use std::collections::HashMap;
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
use crate::types::RegionName;

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

/// What was asked for of other regions.
#[derive(Default)]
pub(super) struct KnownMatters(Mutex<HashMap<Matter, KnownMatter>>);

impl KnownMatters {
    fn lock(&self) -> MutexGuard<'_, HashMap<Matter, KnownMatter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where something is, if that was asked.
    pub fn of(&self, matter: Matter) -> Option<KnownMatter> {
        self.lock().get(&matter).cloned()
    }

    /// Remembers where something is. Where there are too many, all others are asked for again.
    pub fn remember(&self, matter: Matter, known: KnownMatter) {
        let mut all = self.lock();
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(matter, known);
    }

    /// Forgets where something is: it is not there.
    pub fn forget(&self, matter: Matter) {
        self.lock().remove(&matter);
    }
}

/// Whether the peers have to be asked where something is: neither is it held here, nor known to be
/// elsewhere.
pub(super) fn is_unknown(shared: &Shared, regions: &Regions, matter: Matter) -> bool {
    !regions.is_alone()
        && regions.matters.of(matter).is_none()
        && shared.broker().held_matter(matter).is_none()
}

/// Finds out where something is. Where nobody has it, this region says so.
///
/// # Errors
/// What to answer: a peer that may have it can't be reached, or several have it.
pub(super) async fn seek(
    shared: &std::sync::Arc<Shared>,
    regions: &Regions,
    matter: Matter,
) -> Result<(), WireError> {
    let looking = shared.clone();
    let found = shared.on_disk(move || asp::find_matter(&looking, matter));
    if found
        .await
        .map_err(|error| answer::refused(&error))?
        .is_some()
    {
        return Ok(());
    }
    let mut found: Vec<KnownMatter> = Vec::new();
    let mut away = None;
    for peer in regions.peers() {
        let request = RegionRequest::LinkFind(LinkFind { about: matter });
        let told = match peer.link() {
            Some(link) => link.ask(request, ASKED).await.ok(),
            None => None,
        };
        match told {
            Some(RegionResponse::LinkFind(told)) if told.found => found.push(KnownMatter {
                home: peer.name.clone(),
                agent: told.agent,
            }),
            Some(RegionResponse::LinkFind(_)) => {}
            _ => away = Some(peer.name.clone()),
        }
    }
    match (found.len(), away) {
        (0, None) => Ok(()),
        (0, Some(region)) => Err(unreachable(&region)),
        (1, _) => {
            regions.matters.remember(matter, found.remove(0));
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
    let agent = found.and_then(|held| held.agent).map(|named| Actor {
        org: named.org,
        name: named.name,
    });
    Ok(LinkFound {
        found: is_found,
        agent,
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
        for number in 0..MAX_KNOWN {
            known.remember(matter(number), at("us-east"));
        }
        assert_eq!(known.of(matter(7)), Some(at("us-east")));
        known.forget(matter(7));
        assert_eq!(known.of(matter(7)), None);
        known.remember(matter(7), at("us-east"));
        known.remember(matter(MAX_KNOWN), at("eu-west"));
        assert_eq!(known.of(matter(MAX_KNOWN)), Some(at("eu-west")));
        assert_eq!(known.lock().len(), 1, "no more than there may be");
    }
}
