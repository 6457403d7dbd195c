//! What is said about agents and organisations: ratings by those who worked with them, endorsements,
//! and that an operator knows who an organisation is.

use super::evidence::VERSION;
use super::record::Entry;
use super::upkeep::Timed;
use super::{AspError, Named};
use crate::access::Principal;
use crate::asp::Links;
use crate::asp::registry::AgentRef;
use crate::asp::trust::{Endorsed, Kind, OrgVerified, Party, RATABLE_MS, Rated, TrustRecord};
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::storage::Need;
use crate::types::{AgentId, Offset, OrgId, OrgName, SessionId, Timestamp};

/// A rating as answers show it.
#[derive(Clone, Debug)]
pub struct RatingSeen {
    /// Who is rated.
    pub agent: Named,
    /// Who rated.
    pub from: Named,
    /// Where on the topic of evidence it lies.
    pub offset: Offset,
}

/// An endorsement, or that it was taken back, as answers show it.
#[derive(Clone, Debug)]
pub struct EndorsementSeen {
    /// Who is endorsed.
    pub agent: Named,
    /// Who endorses.
    pub from: Named,
    /// The endorser's score for other organisations, in millionths, which the endorsement keeps;
    /// none where it was taken back.
    pub score: Option<u32>,
    /// Where on the topic of evidence it lies.
    pub offset: Offset,
}

impl Broker {
    /// Rates an agent for what it did in a session that both take part in, once. The same rating
    /// again is answered as before.
    ///
    /// - `rating`: in thousandths, 0 to 1,000.
    ///
    /// # Errors
    /// [`Refusal`]: a session or an agent that is not there, a key that does not speak for the one
    /// that rates, agents that did not work together there, or an entry that was not taken.
    pub fn rate_agent(
        &mut self,
        by: &Principal,
        session: SessionId,
        agent: &AgentRef,
        from: &AgentRef,
        rating: u16,
        now: Timestamp,
    ) -> Result<Accepted<RatingSeen>, Refusal> {
        let org = self.org_of_session(by, session, now)?;
        let from = self.own_agent(by, from, now)?;
        let rated = self.recipient(by, org, session, agent, now)?;
        self.settle_due(org, Timed::Sessions, now)?;
        let held = self.asp_of(org);
        let held = held.and_then(|of| of.sessions.state.session(session));
        let held = held.ok_or(AspError::SessionNotFound(session))?;
        let stranger = AspError::NotCounterparty { agent: rated };
        let took_part = |agent| {
            let one = held.participants.get(&agent)?;
            // Who said nothing has done nothing that could be rated.
            (one.sequence > 0).then_some(one.org)
        };
        let orgs = (took_part(rated), took_part(from));
        let (Some(rated_org), Some(from_org)) = orgs else {
            return Err(stranger.into());
        };
        if rated == from {
            return Err(stranger.into());
        }
        let party = |agent, org| Party {
            agent,
            org,
            team: None,
        };
        if now.0 > held.created_at.0.saturating_add(RATABLE_MS) {
            return Err(AspError::SessionNotFound(session).into());
        }
        let known = self.trust_state()?.rating(rated, from, session);
        if let Some(known) = known {
            if known.rating != rating {
                return Err(AspError::AlreadyRated {
                    agent: rated,
                    session,
                    rating: known.rating,
                }
                .into());
            }
            let value = RatingSeen {
                agent: self.named(rated_org, rated),
                from: self.named(from_org, from),
                offset: known.offset,
            };
            let wait = self.evidence_wait();
            return Ok(Accepted { value, wait });
        }
        let record = TrustRecord::Rating(Rated {
            agent: party(rated, rated_org),
            at: now,
            by: party(from, from_org),
            links: Links::default(),
            rating,
            session,
            kind: Kind::Rating,
            v: VERSION,
        });
        let (offset, wait) = self.record_evidence(org, record, now)?;
        let value = RatingSeen {
            agent: self.named(rated_org, rated),
            from: self.named(from_org, from),
            offset,
        };
        Ok(Accepted { value, wait })
    }

    /// Lets an agent endorse another, or take that back. Again, it takes the place of what the
    /// endorser said before.
    ///
    /// - `from`: the endorser, which the caller speaks for.
    ///
    /// # Errors
    /// [`Refusal`]: an agent that is not there, a key that does not speak for the endorser, an
    /// endorser that is not trusted enough, as many endorsements as count, one taken back that was
    /// not given, or an entry that was not taken.
    pub fn endorse_agent(
        &mut self,
        by: &Principal,
        agent: &AgentRef,
        from: &AgentRef,
        withdrawn: bool,
        now: Timestamp,
    ) -> Result<Accepted<EndorsementSeen>, Refusal> {
        let from = self.own_agent(by, from, now)?;
        let (org, agent) = match self.agent_there(by, agent, now) {
            Ok(there) => there,
            Err(absent) => self.endorsed(agent, from, withdrawn).ok_or(absent)?,
        };
        // Before the check, as an hour that has begun changes scores.
        self.read_clock_first(now)?;
        let trust = self.trust_state()?;
        let checked = trust.check_endorse(agent, from, withdrawn);
        checked.map_err(AspError::from)?;
        let record = TrustRecord::Endorsement(Endorsed {
            agent: party(agent, org),
            at: now,
            by: party(from, by.org),
            links: Links::default(),
            kind: Kind::Endorsement,
            v: VERSION,
            withdrawn,
        });
        let (offset, wait) = self.record_evidence(by.org, record, now)?;
        let value = EndorsementSeen {
            agent: self.named(org, agent),
            from: self.named(by.org, from),
            score: self.trust_state()?.endorsement(agent, from),
            offset,
        };
        Ok(Accepted { value, wait })
    }

    /// An agent that is endorsed, by its identity: what was given can be taken back also where the
    /// agent is not shown any more.
    fn endorsed(
        &self,
        agent: &AgentRef,
        from: AgentId,
        withdrawn: bool,
    ) -> Option<(OrgId, AgentId)> {
        let AgentRef::Id(agent) = agent else {
            return None;
        };
        let trust = self.trust_state().ok()?;
        let is_given = withdrawn && trust.endorsement(*agent, from).is_some();
        let org = trust.org_of(*agent).filter(|_| is_given)?;
        Some((org, *agent))
    }

    /// Says that an operator knows who an organisation is, or takes that back.
    ///
    /// # Errors
    /// [`Refusal`]: a caller who is no operator, an organisation that is not there, or an entry
    /// that was not taken.
    pub fn verify_org(
        &mut self,
        by: &Principal,
        org: &OrgName,
        verified: bool,
        now: Timestamp,
    ) -> Result<Accepted<Offset>, Refusal> {
        self.authorize_operator(by, now)?;
        let org = self.org_id_of(org)?;
        self.make_asp(by.org, now)?;
        let record = TrustRecord::Org(OrgVerified {
            at: now,
            by: by.id,
            org,
            kind: Kind::Org,
            v: VERSION,
            verified,
        });
        let (value, wait) = self.record_evidence(by.org, record, now)?;
        Ok(Accepted { value, wait })
    }

    /// Records one piece of evidence; where it lies.
    fn record_evidence(
        &mut self,
        org: OrgId,
        record: TrustRecord,
        now: Timestamp,
    ) -> Result<(Offset, Wait), BrokerError> {
        let entry = Entry {
            evidence: vec![record],
            ..Entry::default()
        };
        self.record_asp(org, &entry, Need::Producer, now)?;
        let log = self.asp.evidence.as_ref().map(|topic| topic.log);
        let next = self.next_offset(log.unwrap_or_default());
        Ok((Offset(next.0.saturating_sub(1)), self.evidence_wait()))
    }

    /// The organisation of that name.
    pub(super) fn org_id_of(&self, name: &OrgName) -> Result<OrgId, BrokerError> {
        if self.shown_org(OrgId::DEFAULT) == *name {
            return Ok(OrgId::DEFAULT);
        }
        let found = self.access.org_by_name(name.as_str());
        Ok(found
            .ok_or_else(|| AspError::OrgNotFound(name.clone()))?
            .org)
    }
}

fn party(agent: AgentId, org: OrgId) -> Party {
    Party {
        agent,
        org,
        team: None,
    }
}
