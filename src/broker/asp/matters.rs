//! What follows from sessions, by its id alone: whether it is here, and who acts in it. Other regions
//! ask that before they send a request on, and this one before it asks others.

use std::collections::BTreeSet;

use super::resolve::Named;
use super::tools::agent_of;
use super::{AspError, OrgAsp};
use crate::access::Principal;
use crate::asp::Matter;
use crate::asp::commitment::{Commitments, Party};
use crate::asp::escrow::{Account, Currency};
use crate::asp::registry::AgentRef;
use crate::asp::tool::Tools;
use crate::broker::core::Broker;
use crate::broker::topic::Fold;
use crate::types::{ChannelName, CommitmentId, Offset, OrgId, OrgName, Timestamp};

/// What memory holds of an id that somebody chose: one thing, or several of as many organisations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatterHeld {
    /// Who promised, or made the call; not empty.
    pub agents: Vec<Named>,
    /// Who filed it, where it is a dispute.
    pub filers: Vec<Named>,
    /// The organisations that have a part in it: those of its parties, of the session and of who
    /// takes part in that, of arbitrators. Of all others it is none of their business.
    pub orgs: BTreeSet<OrgName>,
}

impl Broker {
    /// Who promised, or made the call, where memory holds it, and who has a part in it; whoever may
    /// see it.
    #[must_use]
    pub fn held_matter(&self, matter: Matter) -> Option<MatterHeld> {
        let mut held = MatterHeld {
            agents: Vec::new(),
            filers: Vec::new(),
            orgs: BTreeSet::new(),
        };
        for (org, of_org) in &self.asp.orgs {
            let mut parts = BTreeSet::from([*org]);
            let actor = match matter {
                Matter::Commitment(id) => of_org.obligor_of(id, &mut parts),
                Matter::Dispute(id) => of_org.commitments.state.dispute(id).and_then(|dispute| {
                    let seats = dispute.arbitration.iter().flat_map(|of| of.sitting());
                    parts.extend(seats.map(|seat| seat.party.org));
                    let filer = dispute.filed.filer;
                    parts.insert(filer.org);
                    held.filers.push(self.named(filer.org, filer.agent));
                    of_org.obligor_of(dispute.commitment(), &mut parts)
                }),
                Matter::Call(id) => of_org.tools.state.call(id).map(|call| Party {
                    agent: agent_of(&call),
                    org: *org,
                }),
            };
            if let Some(actor) = actor {
                held.agents.push(self.named(actor.org, actor.agent));
                held.orgs
                    .extend(parts.into_iter().map(|org| self.shown_org(org)));
            }
        }
        (!held.agents.is_empty()).then_some(held)
    }

    /// The records in which something may be filed that memory does not hold, of each topic.
    #[must_use]
    pub fn matter_files(&self, matter: Matter) -> Vec<(ChannelName, Vec<Offset>)> {
        let all = self.asp.orgs.iter().map(|(org, of_org)| {
            let commitments = &of_org.commitments.state;
            let (topic, files) = match matter {
                Matter::Commitment(id) => (Commitments::TOPIC, commitments.filed(id).collect()),
                Matter::Dispute(id) => {
                    let files: Vec<Offset> = commitments.filed_dispute(id).collect();
                    (Commitments::TOPIC, files)
                }
                Matter::Call(id) => (Tools::TOPIC, of_org.tools.state.filed(id).collect()),
            };
            (self.asp_channel(*org, topic), files)
        });
        all.filter(|(_, files)| !files.is_empty()).collect()
    }

    /// Whether an account that an agent of the caller's has here, in whose ledger so ever, holds any
    /// money of a currency.
    ///
    /// # Errors
    /// [`AspError::Unavailable`] where nobody knows.
    pub fn has_money_here(
        &self,
        by: &Principal,
        agent: &AgentRef,
        currency: Currency,
        now: Timestamp,
    ) -> Result<bool, AspError> {
        let Ok((org, agent)) = self.agent_there(by, agent, now) else {
            // Of an agent that nobody knows here there is no account.
            return Ok(false);
        };
        let agent = Some(agent);
        let account = Account { agent, org };
        for of_org in self.asp.orgs.values() {
            let balance = of_org.escrow.known()?.balance(account, currency);
            if balance.available > 0 || balance.held > 0 || balance.frozen > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl OrgAsp {
    /// Who promised.
    ///
    /// - `parts`: the organisations of all that have a part in it are added.
    fn obligor_of(&self, commitment: CommitmentId, parts: &mut BTreeSet<OrgId>) -> Option<Party> {
        let held = self.commitments.state.commitment(commitment)?;
        let promised = held.commitment();
        let promise = &promised.created.promise;
        let counterparty = promised.counterparty.or(promise.counterparty);
        parts.insert(promise.obligor.org);
        parts.extend(counterparty.map(|party| party.org));
        if let Some(session) = self.sessions.state.session(promise.session) {
            parts.extend(session.participants.values().map(|one| one.org));
        }
        Some(promise.obligor)
    }
}
