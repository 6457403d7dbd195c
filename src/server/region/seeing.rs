//! Requests about a session of another region that name no agent: whoever speaks for one who takes part
//! may see it, and who that is only the home knows.
//!
//! Of a key that the home does not know it takes this region's word, as if it spoke for all agents of its
//! organisation. So where a key speaks for some of them, this region looks at who takes part first, and
//! asks no further where none of these is one of theirs.

use super::Regions;
use super::forward::Asker;
use super::requests::unreachable;
use crate::access::{Ask, Principal};
use crate::broker::BrokerError;
use crate::broker::asp::AspError;
use crate::client::{Link, RequestError};
use crate::protocol::asp::{ParticipantRow, SessionInfo, SessionRow};
use crate::protocol::{AspRequest, AspResponse, Kind, Request, Response, WireError};
use crate::server::access::Caller;
use crate::server::shared::Shared;
use crate::server::{answer, clock};
use crate::types::{OrgName, RegionName, SessionId};

/// The standing of one who was not invited yet, as a home tells it: the session is hidden from them.
const PENDING: &str = "pending";

/// A session that somebody has to be seen in first.
#[derive(Debug, Clone)]
pub(super) struct SeenIn {
    session: SessionId,
    principal: Principal,
    org: OrgName,
}

impl SeenIn {
    /// What is to be looked at before a request of a caller is carried out elsewhere; none where the
    /// caller's key speaks for all agents, or was judged for the one that is named.
    pub fn of(shared: &Shared, caller: &Caller, request: &Request) -> Option<Self> {
        let Request::Asp(request) = request else {
            return None;
        };
        let session = match &**request {
            AspRequest::SessionInfo(asked) => asked.session_id,
            AspRequest::SessionResume(asked) => asked.session_id,
            AspRequest::SessionHistory(asked) if asked.agent.is_none() => asked.session_id,
            _ => return None,
        };
        let principal = caller.principal;
        (!speaks(shared, &principal, "")).then(|| Self {
            session,
            principal,
            org: caller.row().org,
        })
    }

    /// Asks the home who takes part, and judges that.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND` where the key speaks for none of them, and what the home answers.
    pub async fn judge(
        &self,
        shared: &Shared,
        regions: &Regions,
        (home, link): (&RegionName, &Link),
        by: Asker,
    ) -> Result<(), WireError> {
        let session_id = self.session;
        let info = AspRequest::SessionInfo(SessionInfo { session_id });
        let forward = regions.forwarding(by, &Request::Asp(Box::new(info)));
        let mut call = link.send(&Request::LinkForward(Box::new(forward)));
        let row = match call.answer().await {
            Ok(Response::LinkForward(answer)) => match answer.response(Kind::SessionInfo, 1) {
                Ok(Response::Asp(answer)) => row_of(*answer),
                _ => None,
            },
            Err(RequestError::Server(error)) => return Err(*error),
            Ok(_) | Err(_) => None,
        };
        let row = row.ok_or_else(|| unreachable(home))?;
        let is_seen = |one: &ParticipantRow| {
            one.org == self.org
                && one.standing.as_deref() != Some(PENDING)
                && speaks(shared, &self.principal, one.name.as_str())
        };
        match row.participants.iter().any(is_seen) {
            true => Ok(()),
            false => {
                let error = AspError::SessionNotFound(self.session);
                Err(answer::refused(&BrokerError::from(error)))
            }
        }
    }
}

fn row_of(answer: AspResponse) -> Option<SessionRow> {
    match answer {
        AspResponse::SessionInfo(row) => Some(row),
        _ => None,
    }
}

/// Whether a key speaks for an agent; for all of its organisation where the name is empty.
pub(super) fn speaks(shared: &Shared, principal: &Principal, name: &str) -> bool {
    let broker = shared.broker();
    let ask = Ask::Agent { name };
    let judged = broker.access().authorize(principal, &ask, clock::now());
    judged.is_ok()
}
