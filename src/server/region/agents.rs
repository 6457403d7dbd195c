//! Requests of agents about sessions that live in another region: the last 16 bits of a session's id
//! are the number of the region in which it was created, and lives.

use super::Regions;
use crate::access::Ask;
use crate::asp::registry::AgentRef;
use crate::protocol::{AspRequest, WireError};
use crate::region::RegionNumber;
use crate::server::access::{Caller, denied};
use crate::server::clock;
use crate::server::shared::Shared;
use crate::types::{RegionName, SessionId};

/// The session that a request is about, and the caller's agent in it, where the request is carried
/// out in the home of the session.
fn about(request: &AspRequest) -> Option<(SessionId, Option<&AgentRef>)> {
    Some(match request {
        AspRequest::SessionInfo(info) => (info.session_id, None),
        AspRequest::SessionSend(send) => (send.session_id, Some(&send.from)),
        AspRequest::SessionHistory(history) => (history.session_id, history.agent.as_ref()),
        AspRequest::SessionLeave(leave) => (leave.session_id, Some(&leave.agent)),
        AspRequest::SessionResume(resume) => (resume.session_id, None),
        AspRequest::TrustRate(rate) => (rate.session_id, Some(&rate.from)),
        _ => return None,
    })
}

/// The region that an id names.
fn number_in(session: SessionId) -> RegionNumber {
    RegionNumber(u16::try_from(session.0 & u128::from(u16::MAX)).expect("16 bits"))
}

/// The region where the session of a request lives, where that is a peer of this one.
///
/// # Errors
/// `FORBIDDEN`: the caller's key does not speak for the agent. The home of the session may not know
/// the key, and takes this region's word.
pub(super) fn home_of_session(
    shared: &Shared,
    regions: &Regions,
    caller: &Caller,
    request: &AspRequest,
) -> Result<Option<RegionName>, Box<WireError>> {
    let Some((session, agent)) = about(request) else {
        return Ok(None);
    };
    let number = number_in(session);
    if number == RegionNumber::of(&regions.name) {
        return Ok(None);
    }
    let peers = regions.peer_rows();
    let mut names = peers.into_iter().map(|peer| peer.name);
    let Some(home) = names.find(|name| RegionNumber::of(name) == number) else {
        return Ok(None);
    };
    if let Some(agent) = agent {
        // Which agent an identity names only its home knows: a key that speaks for some may not.
        let name = match agent {
            AgentRef::Name(name) | AgentRef::Uri { name, .. } => name.as_str(),
            AgentRef::Id(_) => "",
        };
        let broker = shared.broker();
        let judged =
            broker
                .access()
                .authorize(&caller.principal, &Ask::Agent { name }, clock::now());
        judged.map_err(|error| Box::new(denied(&error)))?;
    }
    Ok(Some(home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_region_in_its_last_bits() {
        let region = RegionName::parse("us-east").unwrap();
        let number = RegionNumber::of(&region);
        let id = SessionId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0000 | u128::from(number.0));
        assert_eq!(number_in(id), number);
    }
}
