//! What is said about agents and organisations: ratings by those who worked with them, and that an
//! operator knows who an organisation is.

use super::evidence::VERSION;
use super::record::Entry;
use super::upkeep::Timed;
use super::{AspError, Named};
use crate::access::Principal;
use crate::asp::Links;
use crate::asp::registry::AgentRef;
use crate::asp::trust::{Kind, OrgVerified, Party, RATABLE_MS, Rated, TrustRecord};
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::storage::Need;
use crate::types::{Offset, OrgId, OrgName, SessionId, Timestamp};

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
