//! What follows from sessions, by its id alone: whether it is here, and who acts in it. Other regions
//! ask that before they send a request on, and this one before it asks others.

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
use crate::types::{ChannelName, CommitmentId, Offset, Timestamp};

impl Broker {
    /// Who promised, or made the call, where memory holds it; whoever may see it.
    #[must_use]
    pub fn held_matter(&self, matter: Matter) -> Option<Named> {
        self.asp.orgs.iter().find_map(|(org, of_org)| {
            let party = match matter {
                Matter::Commitment(id) => of_org.obligor_of(id)?,
                Matter::Dispute(id) => {
                    let dispute = of_org.commitments.state.dispute(id)?;
                    of_org.obligor_of(dispute.commitment())?
                }
                Matter::Call(id) => Party {
                    agent: agent_of(&of_org.tools.state.call(id)?),
                    org: *org,
                },
            };
            Some(self.named(party.org, party.agent))
        })
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
    fn obligor_of(&self, commitment: CommitmentId) -> Option<Party> {
        let held = self.commitments.state.commitment(commitment)?;
        Some(held.commitment().created.promise.obligor)
    }
}
