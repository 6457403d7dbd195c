//! Requests that another region has let in, carried out here. Whoever asks is judged anew by what is
//! known here of their key, made here or in another region. Of a key that is not known here the other region vouches, as its own key
//! may `replicate`; what that writes is stamped with the principal of that key.

use std::sync::Arc;

use super::Regions;
use crate::access::{KeyAbroad, Principal};
use crate::broker::{Broker, BrokerError, Published, Residence};
use crate::protocol::{
    ErrorCode, Kind, LinkForwardRequest, LinkForwardResponse, Request, Response, Whereabouts,
    WireError,
};
use crate::server::access::{Caller, not_authentic};
use crate::server::auditing::Draft;
use crate::server::dispatch::{self, Command, Handled};
use crate::server::shared::Shared;
use crate::server::{admission, answer, clock};
use crate::types::{DEFAULT_ORG_NAME, Durability, KeyId, OrgId, OrgName};

/// Whether a request of this kind is carried out for another region.
fn may_be_forwarded(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Publish
            | Kind::PublishAtomic
            | Kind::FetchBeyond
            | Kind::Commit
            | Kind::ChannelUpdate
            | Kind::ChannelDelete
            | Kind::ConsumerPosition
            | Kind::ConsumerReset
            | Kind::ConsumerDelete
    ) || super::agents::may_be_forwarded(kind)
}

/// Carries out a request that another region has let in.
pub(in crate::server) fn carry_out_for(
    shared: &Shared,
    link: &Caller,
    mut forward: LinkForwardRequest,
) -> Handled {
    let taken = take(shared, link, &mut forward);
    let (caller, request) = match taken {
        Ok(taken) => taken,
        Err(error) => return refused(error),
    };
    // The name of a channel is given back first, which another region may have to record.
    if matches!(request, Request::ChannelDelete(_)) && super::seeks(shared, &caller, &request) {
        return Handled::SeekFor(caller, Box::new(request));
    }
    sought_for(shared, &caller, request)
}

/// Carries out what another region has let in, once no other is to be asked for it.
pub(in crate::server) fn sought_for(
    shared: &Shared,
    caller: &Arc<Caller>,
    request: Request,
) -> Handled {
    let handled = dispatch::handle_here(shared, caller, request);
    for_another(shared, caller, handled)
}

fn refused(error: WireError) -> Handled {
    Handled::Answer(Box::new(Response::Error(error)), None)
}

/// The request and for whom it is carried out.
fn take(
    shared: &Shared,
    link: &Caller,
    forward: &mut LinkForwardRequest,
) -> Result<(Arc<Caller>, Request), WireError> {
    let Some(regions) = &shared.regions else {
        return Err(answer::refused(&BrokerError::NotARegion));
    };
    let kind = Kind::from_number(forward.kind).filter(|kind| may_be_forwarded(*kind));
    let Some(kind) = kind else {
        let name = Kind::from_number(forward.kind).map_or("an unknown kind", Kind::name);
        let text = format!("{name} is not carried out for another region");
        let error = WireError::new(ErrorCode::ForwardRefused, text);
        return Err(error.with("kind", forward.kind));
    };
    let bytes = forward.body.len() as u64;
    let mut request = forward.request()?;
    let caller = match known(shared, forward)? {
        Some(caller) => {
            let usage = {
                let broker = shared.broker();
                shared.quotas.usage(broker.access(), &caller.principal)
            };
            usage.admit(bytes, false)?;
            judge(shared, &caller, &mut request)?;
            caller
        }
        None => vouched(shared, link, &forward.org)?,
    };
    lives_here(shared, regions, kind, &request)?;
    Ok((Arc::new(caller), request))
}

/// Who asks, where their key is known here, whether it still opens anything or not: one of this
/// region, or of another one that belongs to the deployment.
///
/// # Errors
/// What to answer: a key of another region has ended, or there is no room to record who has it.
fn known(shared: &Shared, forward: &LinkForwardRequest) -> Result<Option<Caller>, WireError> {
    let mut broker = shared.broker();
    let Some(id) = forward
        .key
        .filter(|id| broker.access().known_key(*id).is_some())
    else {
        return Ok(None);
    };
    if broker.access().key(id).is_some() {
        return Ok(of_here(&broker, id, forward));
    }
    let is_theirs = |known: KeyAbroad<'_>| known.org.name == forward.org;
    if !broker.access().key_abroad(id).is_some_and(is_theirs) {
        return Ok(None);
    }
    let met = broker.meet(id, clock::now());
    let met = met.map_err(|refusal| answer::refused(&refusal.error))?;
    let principal = met.map_err(|error| not_authentic(&error))?;
    Ok(Some(Caller {
        principal,
        org: (principal.org != OrgId::DEFAULT).then(|| forward.org.clone()),
        peer: None,
    }))
}

/// Who asks with a key that was made here.
fn of_here(broker: &Broker, id: KeyId, forward: &LinkForwardRequest) -> Option<Caller> {
    let access = broker.access();
    let key = access.key(id)?;
    let org = access.org(key.org)?;
    let name = (key.org != OrgId::DEFAULT).then(|| org.name.clone());
    let is_theirs = org.name == forward.org;
    is_theirs.then_some(Caller {
        principal: Principal {
            id: key.principal,
            org: key.org,
            key: Some(key.key),
        },
        org: name,
        peer: None,
    })
}

/// Judges somebody whose key is known here as if they had asked here.
fn judge(shared: &Shared, caller: &Caller, request: &mut Request) -> Result<(), WireError> {
    let judged = admission::admit_kept(&shared.broker(), caller, request);
    judged.inspect_err(|error| {
        Draft::of(request).refused(&mut shared.broker(), caller, error);
        shared.wake_committer();
    })
}

/// Somebody whose key is not known here, for whom the other region vouches: its own key may
/// `replicate`, which is asked of every request of a link, for all organisations there are here.
fn vouched(shared: &Shared, link: &Caller, org: &OrgName) -> Result<Caller, WireError> {
    let known = match org.as_str() {
        DEFAULT_ORG_NAME => Some(OrgId::DEFAULT),
        name => shared
            .broker()
            .access()
            .org_by_name(name)
            .map(|org| org.org),
    };
    let Some(id) = known else {
        let text = format!("there is no organisation `{org}` here");
        return Err(WireError::new(ErrorCode::OrgNotFound, text).with("org", org.as_str()));
    };
    Ok(Caller {
        principal: Principal {
            id: link.principal.id,
            org: id,
            // What it may do was judged where it was asked.
            key: None,
        },
        org: (org.as_str() != DEFAULT_ORG_NAME).then(|| org.clone()),
        peer: link.peer,
    })
}

/// What is carried out for another region is not sent on to a third.
fn lives_here(
    shared: &Shared,
    regions: &Regions,
    kind: Kind,
    request: &Request,
) -> Result<(), WireError> {
    let broker = shared.broker();
    for channel in super::forward::channels(request) {
        let home = match broker.residence(channel) {
            Residence::Home(_) => continue,
            Residence::Copy(_, home) => home,
            Residence::Unknown => match regions.known_home(channel) {
                Some((home, _)) => home,
                // What follows says so.
                None => continue,
            },
        };
        tracing::debug!(%channel, kind = kind.name(), %home, "a forwarded request came elsewhere");
        let channel = channel.to_string();
        let error = BrokerError::LivesElsewhere { channel, home };
        return Err(answer::refused(&error));
    }
    Ok(())
}

/// Turns what became of a request into what the region that has let it in is told.
pub(in crate::server) fn for_another(
    shared: &Shared,
    caller: &Arc<Caller>,
    handled: Handled,
) -> Handled {
    match handled {
        Handled::Answer(response, wait) => {
            Handled::Answer(Box::new(told_region(shared, *response)), wait)
        }
        Handled::Held(response, wait, mut held) => {
            held.is_for_region = true;
            Handled::Held(response, wait, held)
        }
        Handled::Busy(command @ Command::Forwarded(..)) => Handled::Busy(command),
        Handled::Busy(command) => {
            Handled::Busy(Command::Forwarded(caller.clone(), Box::new(command)))
        }
        Handled::Read(request) => Handled::ReadFor(caller.clone(), request),
        Handled::ReadFor(caller, request) => Handled::ReadFor(caller, request),
        // One hop only: what is taken for another region is not routed again.
        Handled::Forward(_) | Handled::Seek(_) | Handled::SeekFor(..) => {
            let text = "a forwarded request was to be forwarded";
            refused(WireError::new(ErrorCode::Internal, text))
        }
    }
}

/// The answer as the region is told that has let its request in. An error stays what it is.
pub(in crate::server) fn told_region(shared: &Shared, response: Response) -> Response {
    match (response, &shared.regions) {
        (response @ (Response::Error(_) | Response::LinkForward(_)), _) => response,
        (response, Some(regions)) => {
            let answer = LinkForwardResponse::of(regions.name.clone(), &response);
            Response::LinkForward(Box::new(answer))
        }
        (response, None) => response,
    }
}

/// Where what was just appended is.
pub(in crate::server) fn whereabouts(shared: &Shared, published: &[Published]) -> Whereabouts {
    let mut levels = published.iter().map(|batch| batch.level);
    let is_synced = levels.all(|level| level == Durability::Synced);
    Whereabouts {
        region: shared.regions.as_ref().map(|regions| regions.name.clone()),
        held: u32::from(is_synced),
        outbox: false,
    }
}
