//! How far somebody reads a session who is no longer in it: through the record with which it went,
//! or until the grant ended that had let it in. docs/security.md, "What is not protected".

use super::history::{links, session_record};
use super::reader::Reader;
use super::sessions::Filed;
use crate::access::Principal;
use crate::asp::Knot;
use crate::asp::session::{Ended, EndedParticipant, EndedStanding, Performative, SessionEvent};
use crate::broker::asp::{AspError, Reads};
use crate::broker::{Broker, BrokerError};
use crate::types::{AgentId, RegionName, Timestamp};

use super::super::shared::Shared;

/// Records of a session that are looked at for the one with which somebody went.
const MAX_LOOKED_AT: usize = 10_000;

/// The last record that is read; none where none is.
pub(super) fn last(
    reader: &mut Reader<'_>,
    head: Knot,
    reads: Reads,
) -> Result<Option<Knot>, BrokerError> {
    match reads {
        Reads::All => Ok(Some(head)),
        Reads::Through(number) => {
            let mut at = head;
            while at.number > number {
                let next = links(reader, at)?.towards(number);
                let next = next.filter(|next| next.number < at.number);
                at = next.ok_or_else(|| reader.damaged(at.offset, "no earlier record"))?;
            }
            Ok(Some(at))
        }
        Reads::Until(until) => {
            let mut at = head;
            loop {
                let record = session_record(reader, at)?;
                if record.at().is_none_or(|recorded| recorded <= until) {
                    return Ok(Some(at));
                }
                let links = record.links().unwrap_or_default();
                // As far back as still is too new, then one by one.
                let is_new = |reader: &mut Reader<'_>, knot: Knot| {
                    let record = session_record(reader, knot)?;
                    Ok::<_, BrokerError>(record.at().is_some_and(|recorded| recorded > until))
                };
                let far = match links.jump {
                    Some(jump) if is_new(reader, jump)? => Some(jump),
                    _ => links.back,
                };
                match far {
                    Some(earlier) => at = earlier,
                    None => return Ok(None),
                }
            }
        }
    }
}

/// How far somebody reads a session that is filed.
pub(super) fn of_filed(
    shared: &Shared,
    by: &Principal,
    filed: &Filed,
    now: Timestamp,
) -> Result<Option<Knot>, BrokerError> {
    let own: Vec<AgentId> = {
        let broker: &Broker = &shared.broker();
        let participants = filed.ended.participants.iter();
        let own = participants.filter(|one| {
            one.standing != EndedStanding::Pending
                && broker.speaks_for_any(by, [(one.org, one.agent)], now)
        });
        own.map(|one| one.agent).collect()
    };
    let mut reader = Reader::new(shared, filed.channel.clone());
    let mut furthest: Option<Knot> = None;
    for agent in own {
        let last = of_ended(shared, &mut reader, (&filed.ended, filed.head), agent, now)?;
        furthest = furthest.max(last);
    }
    Ok(furthest)
}

/// How far somebody reads a session that is filed in a copy of their organisation's own: no grant has
/// let its agents in.
pub(super) fn of_filed_elsewhere(
    shared: &Shared,
    by: &Principal,
    region: &RegionName,
    filed: &Filed,
    now: Timestamp,
) -> Result<Option<Knot>, BrokerError> {
    let own: Vec<&EndedParticipant> = {
        let broker: &Broker = &shared.broker();
        let participants = filed.ended.participants.iter();
        let own = participants.filter(|one| {
            one.org == filed.ended.org && broker.speaks_elsewhere(by, region, one.agent, now)
        });
        own.collect()
    };
    let mut reader = Reader::new(shared, filed.channel.clone());
    let mut furthest: Option<Knot> = None;
    for one in own {
        let last = match one.standing {
            EndedStanding::Pending => None,
            EndedStanding::Refused | EndedStanding::Lapsed | EndedStanding::Left => {
                went(&mut reader, filed.head, one.agent)?
            }
            EndedStanding::Invited | EndedStanding::In => Some(filed.head),
        };
        furthest = furthest.max(last);
    }
    Ok(furthest)
}

/// How far an agent reads a session that has ended.
pub(super) fn of_ended(
    shared: &Shared,
    reader: &mut Reader<'_>,
    (ended, head): (&Ended, Knot),
    agent: AgentId,
    now: Timestamp,
) -> Result<Option<Knot>, BrokerError> {
    let own = ended.participants.iter().find(|one| one.agent == agent);
    let Some(own) = own else {
        return Ok(None);
    };
    match own.standing {
        EndedStanding::Pending => Ok(None),
        EndedStanding::Refused | EndedStanding::Lapsed | EndedStanding::Left => {
            went(reader, head, agent)
        }
        EndedStanding::Invited | EndedStanding::In => {
            let reads = shared
                .broker()
                .shown_in(ended.org, (own.org, own.agent), now);
            last(reader, head, reads)
        }
    }
}

/// The record with which an agent went; none where it is further back than is looked.
fn went(reader: &mut Reader<'_>, head: Knot, agent: AgentId) -> Result<Option<Knot>, BrokerError> {
    let mut at = Some(head);
    for _ in 0..MAX_LOOKED_AT {
        let Some(knot) = at else {
            break;
        };
        let record = session_record(reader, knot)?;
        let is_it = match &record.event {
            SessionEvent::ParticipantLeft(left) => left.agent == agent,
            SessionEvent::InvitationLapsed(lapsed) => lapsed.agent == agent,
            SessionEvent::MessageSent(sent) => {
                sent.message.sender == agent && sent.message.performative == Performative::Reject
            }
            _ => false,
        };
        if is_it {
            return Ok(Some(knot));
        }
        at = record.links().and_then(|links| links.back);
    }
    Ok(None)
}

/// What is answered where nothing is read.
pub(super) fn hidden(session: crate::types::SessionId) -> BrokerError {
    AspError::SessionNotFound(session).into()
}
