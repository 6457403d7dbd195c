//! Requests of agents about what lives in another region. A session lives where it was created, and
//! the last 16 bits of its id are the number of that region; whatever follows from it lives there too.
//! A request is carried out there once it is judged here for which agents the caller's key speaks: the
//! home may not know the key, and takes this region's word.

use super::Regions;
use super::matters::{Asked, KnownMatter, Seeker};
use crate::access::Ask;
use crate::asp::commitment::{EscrowTerms, Offered};
use crate::asp::registry::AgentRef;
use crate::asp::session::{Performative, default_performative};
use crate::asp::{Canonical, Matter};
use crate::protocol::asp::SessionSend;
use crate::protocol::region::Actor;
use crate::protocol::{AspRequest, ErrorCode, Kind, Request, WireError};
use crate::region::RegionNumber;
use crate::server::access::{Caller, denied};
use crate::server::shared::Shared;
use crate::server::{answer, clock};
use crate::types::{OrgName, RegionName, SessionId};

/// What a request hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A session, whose id says where it lives.
    Session(SessionId),
    /// Something whose home is asked for.
    Matter(Matter),
}

/// Whom the caller's key has to speak for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker<'a> {
    /// For nobody: it is an operator's.
    Nobody,
    /// For one who takes part in the session, whoever that is (`seeing.rs`).
    One,
    /// For the agent that is named.
    Agent(&'a AgentRef),
    /// For who promised, or made the call.
    Actor,
    /// For all agents: which one is meant is known at home alone.
    All,
}

impl<'a> Speaker<'a> {
    /// The agent where one is named.
    fn of(agent: Option<&'a AgentRef>) -> Self {
        agent.map_or(Self::All, Self::Agent)
    }
}

/// Whether a request of this kind about agents is carried out for another region.
pub(super) fn may_be_forwarded(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::SessionInfo
            | Kind::SessionSend
            | Kind::SessionHistory
            | Kind::SessionLeave
            | Kind::SessionResume
            | Kind::TrustRate
            | Kind::ToolStart
            | Kind::ToolProgress
            | Kind::ToolFinish
            | Kind::ToolFail
            | Kind::ToolInfo
            | Kind::ToolList
            | Kind::CommitmentCreate
            | Kind::CommitmentDeliver
            | Kind::CommitmentConfirm
            | Kind::CommitmentWindow
            | Kind::CommitmentInfo
            | Kind::CommitmentReceipt
            | Kind::CommitmentList
            | Kind::DisputeCreate
            | Kind::DisputeAnswer
            | Kind::DisputeWithdraw
            | Kind::DisputeRule
            | Kind::DisputeInfo
            | Kind::DisputeList
            | Kind::EscrowLedger
    )
}

/// What a request hangs on, and whom the caller has to speak for, where it is carried out at home.
fn about(request: &AspRequest) -> Option<(Place, Speaker<'_>)> {
    use AspRequest as R;
    let session = |id: SessionId| Place::Session(id);
    let commitment = |id| Place::Matter(Matter::Commitment(id));
    let dispute = |id| Place::Matter(Matter::Dispute(id));
    let call = |id| Place::Matter(Matter::Call(id));
    Some(match request {
        R::SessionInfo(info) => (session(info.session_id), Speaker::One),
        R::SessionSend(send) => (session(send.session_id), Speaker::Agent(&send.from)),
        R::SessionHistory(asked) => {
            let agent = asked.agent.as_ref();
            let speaker = agent.map_or(Speaker::One, Speaker::Agent);
            (session(asked.session_id), speaker)
        }
        R::SessionLeave(leave) => (session(leave.session_id), Speaker::Agent(&leave.agent)),
        R::SessionResume(resume) => (session(resume.session_id), Speaker::One),
        R::TrustRate(rate) => (session(rate.session_id), Speaker::Agent(&rate.from)),
        R::ToolStart(start) => (session(start.session_id?), Speaker::Agent(&start.agent)),
        R::ToolProgress(progress) => (call(progress.call_id), Speaker::Actor),
        R::ToolFinish(finish) => (call(finish.call_id), Speaker::Actor),
        R::ToolFail(fail) => (call(fail.call_id), Speaker::Actor),
        R::ToolInfo(info) => (call(info.call_id), Speaker::Actor),
        R::ToolList(list) => (session(list.session_id?), Speaker::of(list.agent.as_ref())),
        R::CommitmentCreate(create) => {
            (session(create.session_id), Speaker::Agent(&create.agent_id))
        }
        R::CommitmentDeliver(deliver) => (commitment(deliver.commitment_id), Speaker::Actor),
        R::CommitmentConfirm(asked) => {
            let speaker = Speaker::of(asked.agent_id.as_ref());
            (commitment(asked.commitment_id), speaker)
        }
        R::CommitmentWindow(asked) => {
            let speaker = Speaker::of(asked.agent_id.as_ref());
            (commitment(asked.commitment_id), speaker)
        }
        R::CommitmentInfo(asked) => {
            let speaker = Speaker::of(asked.agent_id.as_ref());
            (commitment(asked.commitment_id), speaker)
        }
        R::CommitmentReceipt(asked) => {
            let speaker = Speaker::of(asked.agent_id.as_ref());
            (commitment(asked.commitment_id), speaker)
        }
        R::CommitmentList(list) => {
            let speaker = Speaker::of(list.agent_id.as_ref());
            (session(list.session_id?), speaker)
        }
        R::DisputeCreate(create) => {
            let speaker = Speaker::of(create.agent_id.as_ref());
            (commitment(create.commitment_id), speaker)
        }
        R::DisputeAnswer(asked) => (dispute(asked.dispute_id), Speaker::Actor),
        R::DisputeWithdraw(asked) => (dispute(asked.dispute_id), Speaker::All),
        R::DisputeRule(asked) => {
            // Without an agent an operator rules, who was judged when the request was let in.
            let agent = asked.agent_id.as_ref();
            let speaker = agent.map_or(Speaker::Nobody, Speaker::Agent);
            (dispute(asked.dispute_id), speaker)
        }
        R::DisputeInfo(asked) => {
            let speaker = Speaker::of(asked.agent_id.as_ref());
            (dispute(asked.dispute_id), speaker)
        }
        R::DisputeList(list) => {
            let place = match (list.session_id, list.commitment_id) {
                (Some(id), _) => session(id),
                (None, id) => commitment(id?),
            };
            (place, Speaker::of(list.agent_id.as_ref()))
        }
        R::EscrowLedger(asked) => {
            let speaker = Speaker::of(asked.agent_id.as_ref());
            (commitment(asked.commitment_id?), speaker)
        }
        _ => return None,
    })
}

/// What a request is about whose home may have to be asked for.
pub(super) fn matter_of(request: &Request) -> Option<Asked> {
    let Request::Asp(request) = request else {
        return None;
    };
    match about(request)? {
        (Place::Session(_), _) => None,
        (Place::Matter(matter), speaker) => Some(asked(matter, speaker)),
    }
}

fn asked(matter: Matter, speaker: Speaker<'_>) -> Asked {
    Asked {
        matter,
        by_operator: speaker == Speaker::Nobody,
        by_actor: speaker == Speaker::Actor,
    }
}

/// What a request makes in a session, once its home has said so, and who acts in it.
///
/// - `own`: whose organisation's name alone stands for.
pub(super) fn made(request: &Request, own: &OrgName) -> Option<(Matter, Actor)> {
    let Request::Asp(request) = request else {
        return None;
    };
    let (matter, agent) = match &**request {
        AspRequest::ToolStart(start) => (Matter::Call(start.call_id), &start.agent),
        AspRequest::CommitmentCreate(create) => (Matter::Commitment(create.id), &create.agent_id),
        _ => return None,
    };
    let (org, name) = match agent {
        AgentRef::Name(name) => (own.clone(), name.clone()),
        AgentRef::Uri { org, name } => (org.clone(), name.clone()),
        AgentRef::Id(_) => return None,
    };
    Some((matter, Actor { org, name }))
}

/// The region that an id names.
pub(super) fn number_in(session: SessionId) -> RegionNumber {
    RegionNumber(u16::try_from(session.0 & u128::from(u16::MAX)).expect("16 bits"))
}

/// Where something is, as far as that is known.
fn home_of(
    shared: &Shared,
    regions: &Regions,
    caller: &Caller,
    (place, speaker): (Place, Speaker<'_>),
) -> Option<KnownMatter> {
    match place {
        Place::Session(session) => {
            let number = number_in(session);
            if number == RegionNumber::of(&regions.name) {
                return None;
            }
            let mut names = regions.peer_rows().into_iter().map(|peer| peer.name);
            let home = names.find(|name| RegionNumber::of(name) == number)?;
            Some(KnownMatter {
                home,
                agent: None,
                filer: None,
            })
        }
        Place::Matter(matter) => Seeker::new(shared, caller, asked(matter, speaker)).home(regions),
    }
}

/// The region where that lives which a request of agents hangs on, where it is a peer of this one.
///
/// # Errors
/// `FORBIDDEN`: the caller's key does not speak for the agent. `ESCROW_ACROSS_HOMES`: the money that
/// is to stand behind a promise there is here.
pub(super) fn home_of_agents(
    shared: &Shared,
    regions: &Regions,
    caller: &Caller,
    request: &AspRequest,
) -> Result<Option<RegionName>, Box<WireError>> {
    let Some((place, speaker)) = about(request) else {
        return Ok(None);
    };
    let org = caller.row().org;
    let known = home_of(shared, regions, caller, (place, speaker));
    let Some(KnownMatter { home, agent, .. }) = known else {
        return Ok(None);
    };
    // Which agent an identity names only its home knows: a key that speaks for some may not.
    let name = match speaker {
        Speaker::Nobody | Speaker::One => None,
        Speaker::Agent(AgentRef::Name(name) | AgentRef::Uri { name, .. }) => Some(name.as_str()),
        Speaker::Agent(AgentRef::Id(_)) | Speaker::All => Some(""),
        Speaker::Actor => match &agent {
            Some(actor) if actor.org == org => Some(actor.name.as_str()),
            _ => Some(""),
        },
    };
    if let Some(name) = name {
        let broker = shared.broker();
        let ask = Ask::Agent { name };
        let judged = (broker.access()).authorize(&caller.principal, &ask, clock::now());
        judged.map_err(|error| Box::new(denied(&error)))?;
    }
    check_escrow(shared, regions, caller, request, &home)?;
    Ok(Some(home))
}

/// The money that a request puts behind a promise, and whose it is.
fn escrow_of(request: &AspRequest) -> Option<(&AgentRef, EscrowTerms)> {
    match request {
        AspRequest::CommitmentCreate(create) => Some((&create.agent_id, create.escrow?)),
        AspRequest::SessionSend(send) => Some((&send.from, offered_escrow(send)?)),
        _ => None,
    }
}

/// The money behind what a message offers. What is wrong with one its home says.
fn offered_escrow(send: &SessionSend) -> Option<EscrowTerms> {
    let said = send.performative;
    let said = said.unwrap_or_else(|| default_performative(send.message_type.as_deref()));
    if said != Performative::Commit || send.message_type.is_some() {
        return None;
    }
    let payload = Canonical::parse(send.payload.as_ref()?.text()).ok()?;
    Offered::of(&payload).ok()??.escrow()
}

/// Checks that the money behind a promise in another region is not here. An account is in the region
/// where it was paid into.
fn check_escrow(
    shared: &Shared,
    regions: &Regions,
    caller: &Caller,
    request: &AspRequest,
    home: &RegionName,
) -> Result<(), Box<WireError>> {
    let Some((agent, terms)) = escrow_of(request) else {
        return Ok(());
    };
    let is_here = {
        let broker = shared.broker();
        let by = &caller.principal;
        broker.has_money_here(by, agent, terms.currency, clock::now())
    };
    match is_here {
        Ok(false) => Ok(()),
        Err(error) => Err(Box::new(answer::refused(&error.into()))),
        Ok(true) => {
            let text = format!(
                "the {} of the account are in region `{}` and the promise is made in `{home}`: escrow \
                 is not held across home regions",
                terms.currency, regions.name
            );
            let error = WireError::new(ErrorCode::EscrowAcrossHomes, text);
            let error = error.with("account", regions.name.to_string());
            Err(Box::new(error.with("commitment", home.to_string())))
        }
    }
}

#[cfg(test)]
mod table_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::asp::{CommitmentInfo, DisputeList, ToolList};
    use crate::types::{AgentName, CommitmentId, DisputeId};

    #[test]
    fn an_id_names_its_region_in_its_last_bits() {
        let region = RegionName::parse("us-east").unwrap();
        let number = RegionNumber::of(&region);
        let id = SessionId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0000 | u128::from(number.0));
        assert_eq!(number_in(id), number);
    }

    #[test]
    fn a_request_hangs_on_its_session_before_anything_else_and_lists_of_neither_stay_here() {
        let session = SessionId(7);
        let commitment = CommitmentId(8);
        let both = AspRequest::DisputeList(DisputeList {
            session_id: Some(session),
            commitment_id: Some(commitment),
            ..DisputeList::default()
        });
        let found = about(&both).map(|(place, _)| place);
        assert_eq!(found, Some(Place::Session(session)));
        let one = AspRequest::DisputeList(DisputeList {
            commitment_id: Some(commitment),
            ..DisputeList::default()
        });
        let matter = Matter::Commitment(commitment);
        assert_eq!(
            about(&one),
            Some((Place::Matter(matter), Speaker::All)),
            "whoever reads without an agent speaks for all of them"
        );
        assert_eq!(
            about(&AspRequest::DisputeList(DisputeList::default())),
            None
        );
        assert_eq!(about(&AspRequest::ToolList(ToolList::default())), None);
        let agent = AgentRef::Name(AgentName::parse("writer").unwrap());
        let info = AspRequest::CommitmentInfo(CommitmentInfo {
            commitment_id: commitment,
            agent_id: Some(agent.clone()),
        });
        assert_eq!(
            about(&info),
            Some((Place::Matter(matter), Speaker::Agent(&agent)))
        );
        assert_ne!(matter, Matter::Dispute(DisputeId(8)));
    }
}
