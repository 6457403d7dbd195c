//! Copies of what agents say in other regions: which regions a read is about, and that what it needs is
//! followed from then on, as long as a copy is here. What is read of them is in `server/asp/copies.rs`.

use std::collections::BTreeSet;

use super::Regions;
use super::agents::number_in;
use crate::access::Principal;
use crate::broker::BrokerError;
use crate::broker::asp::CopiedTopic;
use crate::region::RegionNumber;
use crate::region::directory::NameError;
use crate::server::shared::Shared;
use crate::types::{RegionName, SessionId};

/// This region's name, and the regions that a read is about, sorted.
pub(in crate::server) struct Asked {
    pub own: RegionName,
    pub regions: Vec<RegionName>,
}

/// The regions that a read is about; what it needs of them is wanted from now on.
///
/// - `topics`: what it needs, first what it is about.
/// - `region`: the one that is named; without one all are meant, or that of the session.
///
/// # Errors
/// [`BrokerError`]: the broker is no region, or the one that is named is neither this one nor a peer,
/// and no copy of what it had is here.
pub(in crate::server) fn asked(
    shared: &Shared,
    by: &Principal,
    topics: &[CopiedTopic],
    region: Option<&RegionName>,
    session: Option<SessionId>,
) -> Result<Asked, BrokerError> {
    let regions: &Regions = shared.regions.as_ref().ok_or(BrokerError::NotARegion)?;
    let peers: BTreeSet<RegionName> = regions.peers().iter().map(|it| it.name.clone()).collect();
    let mut known = {
        let broker = shared.broker();
        topics
            .first()
            .map_or_else(BTreeSet::new, |topic| broker.regions_copied(by.org, *topic))
    };
    known.extend(peers.iter().cloned());
    known.insert(regions.name.clone());
    if let Some(region) = region {
        if !known.contains(region) {
            let region = region.clone();
            return Err(NameError::UnknownRegion { region }.into());
        }
        known.retain(|one| one == region);
    } else if let Some(session) = session {
        let number = number_in(session);
        known.retain(|one| RegionNumber::of(one) == number);
    }
    let mut is_new = false;
    {
        let mut broker = shared.broker();
        for region in known.iter().filter(|one| peers.contains(*one)) {
            is_new |= broker.want_copied(by.org, topics, region);
        }
    }
    if is_new {
        regions.tell_wanted();
    }
    Ok(Asked {
        own: regions.name.clone(),
        regions: known.into_iter().collect(),
    })
}
