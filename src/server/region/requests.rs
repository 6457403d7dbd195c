//! Requests about regions: how links are, what is wanted, who may hold what.

use std::sync::Arc;
use std::time::Duration;

use super::Regions;
use super::directory::settled;
use super::naming::directory;
use crate::broker::BrokerError;
use crate::protocol::region::{
    AcknowledgedRange, ConsentSet, Consents, InterestAdd, InterestRemove, InterestRemoved,
    InterestRow, InterestRows, LinkDirectory, RegionAcknowledged, RegionPeer, RegionPurged,
    Regions as RegionRows,
};
use crate::protocol::{ErrorCode, RegionRequest, RegionResponse, Response, WireError};
use crate::region::ChannelPattern;
use crate::region::directory::Scope;
use crate::region::interest::{Declared, Wish};
use crate::server::access::Caller;
use crate::server::auditing::Draft;
use crate::server::dispatch::Answered;
use crate::server::shared::Shared;
use crate::server::{answer, clock};
use crate::types::OrgName;

/// Carries out a request that is not one of a link; it was admitted before.
pub(in crate::server) fn carry_out(
    shared: &Shared,
    caller: &Caller,
    request: &RegionRequest,
) -> Answered {
    let regions = shared.regions.as_ref().ok_or(BrokerError::NotARegion)?;
    let now = clock::now();
    let act = || Draft::of_region(request).done_by(caller);
    let (answer, wait) = match request {
        RegionRequest::RegionList(_) => {
            let rows = region_rows(shared, regions, caller);
            (RegionResponse::RegionList(rows), None)
        }
        RegionRequest::RegionStatus(_) => {
            let told = regions.told(&shared.broker(), now);
            (RegionResponse::RegionStatus(told), None)
        }
        RegionRequest::ConsentList(_) => {
            let rows = consents_of(shared, caller);
            (RegionResponse::ConsentList(rows), None)
        }
        RegionRequest::InterestList(_) => {
            let rows = interests(shared, caller);
            (RegionResponse::InterestList(rows), None)
        }
        RegionRequest::InterestAdd(add) => {
            let (declared, row) = declared(caller, add);
            let mut broker = shared.broker();
            let accepted = broker.acting(act(), |broker| broker.declare_interest(declared, now))?;
            drop(broker);
            regions.tell_wanted();
            (RegionResponse::InterestAdd(row), Some(accepted.wait))
        }
        RegionRequest::InterestRemove(InterestRemove { pattern }) => {
            let kept = pattern.clone().within(caller.org.as_ref());
            let org = caller.row().org;
            let mut broker = shared.broker();
            let accepted = broker.acting(act(), |broker| broker.remove_interest(org, kept, now))?;
            drop(broker);
            regions.tell_wanted();
            let pattern = pattern.clone();
            let removed = RegionResponse::InterestRemove(InterestRemoved { pattern });
            (removed, Some(accepted.wait))
        }
        RegionRequest::RegionPurge(purge) => {
            let mut broker = shared.broker();
            let purged = broker.acting(act(), |broker| broker.purge_copy(&purge.name, now))?;
            drop(broker);
            regions.purged(purged.value);
            // A topic of agents is wanted no more with its copy.
            regions.tell_wanted();
            if purge.name.is_internal() {
                shared.tell_access_changed();
            }
            let name = purge.name.clone();
            let incarnation = purged.value;
            let answer = RegionPurged { name, incarnation };
            (RegionResponse::RegionPurge(answer), Some(purged.wait))
        }
        RegionRequest::RegionRetry(asked) => {
            let retried = super::moving::retry(shared, asked)?;
            let wait = shared.broker().audit(act(), now);
            (RegionResponse::RegionRetry(retried), wait)
        }
        RegionRequest::RegionAcknowledge(asked) => {
            let mut broker = shared.broker();
            let done =
                broker.acting(act(), |broker| broker.acknowledge_missing(&asked.name, now))?;
            drop(broker);
            let (incarnation, claims) = done.value;
            let acknowledged = claims.into_iter().map(|(by, term, missing)| {
                let (from, to) = (missing.from, missing.to);
                AcknowledgedRange { by, term, from, to }
            });
            let answer = RegionAcknowledged {
                name: asked.name.clone(),
                incarnation,
                acknowledged: acknowledged.collect(),
            };
            (RegionResponse::RegionAcknowledge(answer), Some(done.wait))
        }
        // Those of a link are answered by the link, and a comparison asks another region.
        _ => return Err(BrokerError::Bug("a request without a handler".into()).into()),
    };
    Ok((Response::Region(Box::new(answer)), wait))
}

/// This region, its peers, and what all of them know.
fn region_rows(shared: &Shared, regions: &Regions, caller: &Caller) -> RegionRows {
    let residency = consents_of(shared, caller).residency;
    let broker = shared.broker();
    let joined = broker.region_directory().regions();
    RegionRows {
        region: regions.name.clone(),
        peers: regions.peer_rows(),
        directory: regions.directory_home(&broker),
        joined: joined.map(|(name, _)| name.clone()).collect(),
        residency,
    }
}

/// Who may hold what, of what the caller's organisation has; all of it for who runs the broker.
fn consents_of(shared: &Shared, caller: &Caller) -> Consents {
    let own = caller.org.as_ref().map(OrgName::as_str);
    let is_theirs = |org: &str| own.is_none() || own == Some(org);
    let is_seen = |scope: &Scope| match scope {
        Scope::Channel(name) => own.is_none() || name.org() == own,
        Scope::Org(name) => is_theirs(name.as_str()),
    };
    super::directory::consents(&shared.broker(), is_seen, is_theirs)
}

fn declared(caller: &Caller, add: &InterestAdd) -> (Declared, InterestRow) {
    let at = clock::now();
    let pattern = add.pattern.clone().within(caller.org.as_ref());
    let wish = Wish {
        types: add.types.clone(),
        from: add.from,
        retention_days: add.retention_days,
    };
    let row = InterestRow {
        pattern: add.pattern.clone(),
        types: add.types.clone(),
        from: add.from,
        retention_days: add.retention_days,
        automatic: false,
        declared_at: Some(at),
        until: None,
    };
    let org = caller.row().org;
    (
        Declared {
            org,
            pattern,
            wish,
            at,
        },
        row,
    )
}

/// What the caller's organisation has asked for.
fn interests(shared: &Shared, caller: &Caller) -> InterestRows {
    let own = caller.row().org;
    let broker = shared.broker();
    let declared = broker.interests().declared();
    let declared = declared.filter(|(org, ..)| **org == own);
    let declared = declared.map(|(_, pattern, wish, at)| InterestRow {
        pattern: pattern.clone(),
        types: wish.types.clone(),
        from: wish.from,
        retention_days: wish.retention_days,
        automatic: false,
        declared_at: Some(at),
        until: None,
    });
    let automatic = broker.interests().automatic();
    let automatic = automatic.filter(|(org, ..)| **org == own);
    let automatic = automatic.filter_map(|(_, channel, interest)| {
        Some(InterestRow {
            pattern: ChannelPattern::exactly(channel).ok()?,
            types: interest.wish.types.clone(),
            from: interest.wish.from,
            retention_days: interest.wish.retention_days,
            automatic: true,
            declared_at: None,
            until: interest.until,
        })
    });
    let mut interests: Vec<InterestRow> = declared.chain(automatic).collect();
    // Of a channel with a log for each region, several may be read.
    interests
        .dedup_by(|one, before| before.automatic && one.automatic && before.pattern == one.pattern);
    InterestRows { interests }
}

/// Whether a request waits for other regions.
pub(in crate::server) fn waits(request: &RegionRequest) -> bool {
    matches!(
        request,
        RegionRequest::RegionVerify(_)
            | RegionRequest::RegionLogs(_)
            | RegionRequest::RegionMove(_)
            | RegionRequest::ConsentSet(_)
            | RegionRequest::RegionPeer(_)
            | RegionRequest::RegionAside(_)
            | RegionRequest::DirectoryMove(_)
            | RegionRequest::RegionLeave(_)
            | RegionRequest::DirectoryUnname(_)
    )
}

/// Carries out a request that waits for other regions.
pub(in crate::server) async fn ask(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: &RegionRequest,
) -> Response {
    let answer = match request {
        RegionRequest::RegionMove(asked) => {
            let act = Draft::of_region(request).done_by(caller);
            shared.broker().audit(act, clock::now());
            super::moving::move_home(shared, asked)
                .await
                .map(RegionResponse::RegionMove)
        }
        RegionRequest::DirectoryMove(asked) => {
            let act = Draft::of_region(request).done_by(caller);
            shared.broker().audit(act, clock::now());
            super::moving::move_directory(shared, asked)
                .await
                .map(RegionResponse::DirectoryMove)
        }
        RegionRequest::RegionLeave(asked) => super::leaving::leave(shared, caller, asked)
            .await
            .map(RegionResponse::RegionLeave),
        RegionRequest::DirectoryUnname(asked) => super::unnaming::take_back(shared, caller, asked)
            .await
            .map(RegionResponse::DirectoryUnname),
        RegionRequest::RegionPeer(peer) => set_peer(shared, caller, peer)
            .await
            .map(RegionResponse::RegionPeer),
        RegionRequest::ConsentSet(word) => set_consent(shared, caller, word)
            .await
            .map(RegionResponse::ConsentSet),
        RegionRequest::RegionAside(asked) => {
            let draft = Draft::of_region(request);
            super::aside_files::ask(shared, caller, asked, draft)
                .await
                .map(RegionResponse::RegionAside)
        }
        RegionRequest::RegionVerify(asked) => super::verifying::verify(shared, asked)
            .await
            .map(RegionResponse::RegionVerify),
        RegionRequest::RegionLogs(asked) => super::each::logs(shared, caller, asked)
            .await
            .map(RegionResponse::RegionLogs),
        _ => Err(WireError::new(
            ErrorCode::Internal,
            "a request without a handler",
        )),
    };
    match answer {
        Ok(answer) => Response::Region(Box::new(answer)),
        Err(error) => Response::Error(error),
    }
}

/// Adds or removes a peer.
async fn set_peer(
    shared: &Arc<Shared>,
    caller: &Caller,
    peer: &RegionPeer,
) -> Result<RegionRows, WireError> {
    let regions = shared.regions.clone();
    let regions = regions.ok_or_else(|| answer::refused(&BrokerError::NotARegion))?;
    let draft = Draft::of_region(&RegionRequest::RegionPeer(peer.clone()));
    let changed = super::peers::change(shared, &regions, caller, peer, draft.clone());
    let wait = changed.map_err(|refusal| {
        let error = answer::refused(&refusal.error);
        draft.refused(&mut shared.broker(), caller, &error);
        error
    })?;
    settled(shared, wait).await?;
    Ok(region_rows(shared, &regions, caller))
}

/// Has it recorded who may hold what, and waits until this region knows it.
async fn set_consent(
    shared: &Arc<Shared>,
    caller: &Caller,
    word: &ConsentSet,
) -> Result<Consents, WireError> {
    let regions = shared.regions.clone();
    let regions = regions.ok_or_else(|| answer::refused(&BrokerError::NotARegion))?;
    let mut consents = regions.consents.subscribe();
    consents.mark_unchanged();
    let ask = LinkDirectory::Consent { word: word.clone() };
    let told = directory(shared, &regions, ask).await;
    let draft = Draft::of_region(&RegionRequest::ConsentSet(word.clone()));
    {
        let mut broker = shared.broker();
        match &told {
            Ok(_) => {
                broker.audit(draft.done_by(caller), clock::now());
            }
            Err(error) => draft.refused(&mut broker, caller, error),
        }
    }
    shared.wake_committer();
    if told?.home.as_ref() != Some(&regions.name) {
        // The word comes back with the directory's topic.
        let _ = tokio::time::timeout(CONSENT, consents.changed()).await;
    }
    Ok(consents_of(shared, caller))
}

/// How long consent may take to come back from the home of the directory.
const CONSENT: Duration = Duration::from_secs(5);

/// What is answered while a region that has to answer can't be reached.
pub(in crate::server) fn unreachable(region: &crate::types::RegionName) -> WireError {
    let text = format!("region `{region}` can't be reached");
    WireError::new(ErrorCode::RegionUnreachable, text)
        .with("region", region.as_str())
        .retry_after_ms(500)
}
